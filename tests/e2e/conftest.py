"""Fixtures that every end-to-end test may use."""

import os
from pathlib import Path

import pytest

import harness

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def sluice():
    """The path of the program under test, as a string."""
    path = Path(os.environ.get("SLUICE_BINARY", REPOSITORY / "build/release/sluice")).resolve()
    if not os.access(path, os.X_OK):
        pytest.fail(f"{path} is not there; build it, or name another with SLUICE_BINARY")
    return str(path)


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A fresh folder, which is the current one too."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def marker():
    """A value of the marker variable that no other test has. What carries it is ended with the test."""
    value = harness.new_marker()
    yield value
    harness.end_processes_by_marker(value)


@pytest.fixture
def environment(workdir, sluice, marker):
    """The environment for what a test starts: small, marked, and with `sluice` on the PATH."""
    return harness.make_environment(workdir, sluice, marker)


@pytest.fixture
def shell(environment, marker):
    """An interactive bash on a pseudo-terminal, in the test's folder."""
    try:
        terminal = harness.Shell(environment, marker)
    except OSError as error:
        pytest.skip(f"this machine has no pseudo-terminals: {error}")
    yield terminal
    terminal.close()


@pytest.fixture
def terminal(environment):
    """Starts a program as the leader of a session on a pseudo-terminal, with no shell in between."""
    started = []

    def start(*arguments):
        try:
            started.append(harness.Terminal(list(arguments), environment))
        except OSError as error:
            pytest.skip(f"this machine has no pseudo-terminals: {error}")
        return started[-1]

    yield start
    for program in started:
        program.close()
