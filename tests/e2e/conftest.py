"""The fixtures of the end-to-end tests."""

import os
import random
import shutil
import tempfile
import uuid
from pathlib import Path

import pytest

from files import write_script
from household import Household
from processes import MARKER_VARIABLE, end_processes_by_marker
from settings import SLUICE
from terminals import Shell, TerminalProgram


@pytest.fixture(scope="session", autouse=True)
def program_under_test():
    if not os.access(SLUICE, os.X_OK):
        pytest.fail(f"{SLUICE} is not there; build it, or name another with SLUICE_BINARY")


@pytest.fixture
def marker():
    """A value of the marker variable that no other test has. What carries it is ended with the test."""
    value = uuid.uuid4().hex
    yield value
    end_processes_by_marker(value)


@pytest.fixture
def chance(request):
    """A random generator that is seeded by SLUICE_SEED, else anew; a failing test shows the printed seed."""
    seed = os.environ.get("SLUICE_SEED") or str(random.SystemRandom().randrange(2**32))
    print(f"rerun: SLUICE_SEED={seed} pytest {request.node.nodeid}")
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture
def household(marker):
    # Not below pytest's own folder, which other users may not enter.
    folder = Path(tempfile.mkdtemp(prefix="sluice-household-"))
    folder.chmod(0o777)
    family = Household(folder, marker)
    try:
        yield family
    finally:
        family.end()
        shutil.rmtree(folder, ignore_errors=True)


# --- in front of a terminal ---------------------------------------------------------------------------------------


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A fresh folder, which is the current one too."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def environment(workdir, marker):
    """A small environment that is the same on every machine, in which `sluice` is found by its plain name."""
    programs = workdir / "programs"
    programs.mkdir()
    (programs / "sluice").symlink_to(SLUICE)
    settings = workdir / "inputrc"
    # Bracketed paste would put escape sequences around every prompt and command.
    settings.write_text("set enable-bracketed-paste off\nset enable-keypad off\n")
    return {
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(workdir),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
        "INPUTRC": str(settings),
        "LESSHISTFILE": "-",
        MARKER_VARIABLE: marker,
    }


@pytest.fixture
def shell(environment, marker):
    """An interactive bash on a pseudo-terminal, in the test's folder."""
    program = Shell(environment, marker)
    yield program
    program.close()


@pytest.fixture
def start_on_terminal(environment):
    """Starts a program as the leader of a session on a pseudo-terminal, with no shell in between."""
    started = []

    def start(*arguments, **variables):
        started.append(TerminalProgram(list(arguments), {**environment, **variables}))
        return started[-1]

    yield start
    for program in started:
        program.close()


# --- stages that terminals meet -----------------------------------------------------------------------------------


@pytest.fixture
def fifo(workdir):
    """What a stage reads until the test, too, opens and closes it."""
    path = workdir / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture
def stubborn(workdir):
    """A program that ignores what asks it to end."""
    return write_script(workdir / "stubborn", "trap '' INT TERM HUP QUIT\necho ready\nsleep 1000\nsleep 1000\n")


@pytest.fixture
def silent_typing(workdir):
    """A program that takes keys one by one and without echo, as a password prompt or a pager does, and then waits."""
    return write_script(workdir / "silent_typing",
                        "stty -icanon -echo < /dev/tty\necho ready > /dev/tty\nexec sleep 1000\n")
