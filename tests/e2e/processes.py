"""Starting `sluice` under hard conditions, and seeing what of it is left.

Every process of a test inherits a marker in its environment. Together with this process being a subreaper, to which
every orphan of a test comes, the marker shows each process that a flow left behind, wherever it went.
"""
import ctypes
import fcntl
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import termios
import threading
import time
import uuid

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SLUICE = os.environ.get("SLUICE_BINARY") or str(REPOSITORY / "build" / "release" / "sluice")
SLUICE = str(pathlib.Path(SLUICE).resolve())

SOAK = os.environ.get("SLUICE_SOAK") == "1"
KILLS = 50 if SOAK else 5
FLOWS = 1000 if SOAK else 100

# Far above what anything here takes, so that only what is stuck reaches it, also on a busy machine.
PATIENCE = 30.0

MARKER = "SLUICE_HARM_MARKER"
NOBODY = 65534

_PR_SET_CHILD_SUBREAPER = 36
_POLL_INTERVAL = 0.01
_pause = threading.Event()  # never set: waiting for it yields the processor for an interval


def wait_until(condition, deadline=PATIENCE):
    """Waits until `condition` answers something true, and returns the answer; after the deadline its last one."""
    end = time.monotonic() + deadline
    while True:
        answer = condition()
        if answer or time.monotonic() >= end:
            return answer
        _pause.wait(_POLL_INTERVAL)


def let_pass(seconds):
    """For a moment that is random on purpose, or to see that nothing happens; never to wait for something."""
    _pause.wait(seconds)


def random_generator(request):
    """Seeded by SLUICE_SEED, else anew; a failing test shows the printed seed."""
    seed = os.environ.get("SLUICE_SEED") or str(random.SystemRandom().randrange(2**32))
    print(f"rerun: SLUICE_SEED={seed} pytest {request.node.nodeid}")
    return random.Random(f"{seed} {request.node.name}")


# --- looking at processes -------------------------------------------------------------------------------------------


def _read(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:
        return b""


def is_alive(pid):
    """Whether it runs: a zombie does not."""
    return state_of(pid) not in ("", "Z", "X")


def state_of(pid):
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return fields[0].decode() if fields else ""


def name_of(pid):
    return _read(f"/proc/{pid}/comm").decode(errors="replace").strip()


def command_of(pid):
    return _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def children_of(pid):
    children = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return children
    for thread in threads:
        children += [int(child) for child in _read(f"/proc/{pid}/task/{thread}/children").split()]
    return children


def marked(marker):
    """The live processes that carry the marker."""
    wanted = f"{MARKER}={marker}".encode()
    return [
        int(entry)
        for entry in os.listdir("/proc")
        if entry.isdigit() and wanted in _read(f"/proc/{entry}/environ").split(b"\0") and is_alive(entry)
    ]


def describe(pids):
    return "; ".join(f"{pid} {name_of(pid)} ({command_of(pid)[:80]})" for pid in pids)


# --- starting them --------------------------------------------------------------------------------------------------


def is_root():
    return os.geteuid() == 0


def as_user(uid):
    """What to put before a command so that it runs as that ordinary user; only root can."""
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all"]


USERS = ["root", "ordinary"] if is_root() else ["ordinary"]


def prefix_for(user):
    if user == "ordinary" and is_root():
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is missing: cannot become an ordinary user")
        return as_user(NOBODY)
    return []


class Terminal:
    """A pseudo-terminal; what is written to it is thrown away unless it is read."""

    def __init__(self):
        self.master, self.slave = os.openpty()

    def become_controlling(self):
        """In the child, behind setsid."""
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def close(self):
        os.close(self.master)
        os.close(self.slave)


class Household:
    """The processes of one test: it starts them, waits for them, and ends what is left of them."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.marker = uuid.uuid4().hex
        self.adopted = []  # orphans that came to us, in the order in which they were reaped
        self._started = []
        self._terminals = []
        self._before = set(children_of(os.getpid()))
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def start(self, arguments, *, user="root", terminal=False, environment=None, before_exec=None, **options):
        """Starts a command in its own session, or on a terminal of its own; stdin is empty unless it is given."""
        controlling = None
        if terminal:
            controlling = Terminal()
            self._terminals.append(controlling)

        def prepare():
            os.setsid()
            if controlling:
                controlling.become_controlling()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if before_exec:
                before_exec()

        options.setdefault("stdin", controlling.slave if controlling else subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        options.setdefault("cwd", self.folder)
        # LC_ALL: some expectations below are messages of the shell.
        variables = {**os.environ, "LC_ALL": "C", **(environment or {}), MARKER: self.marker}
        prefix = prefix_for(user)
        process = subprocess.Popen(prefix + list(arguments), env=variables, preexec_fn=prepare, **options)
        self._started.append(process)
        # setpriv becomes the program by execve, keeping its number.
        if prefix and not wait_until(lambda: name_of(process.pid) != "setpriv" and name_of(process.pid) != "python3"):
            raise AssertionError("setpriv did not start the program")
        return process

    def sluice(self, *arguments, **options):
        return self.start([SLUICE, *arguments], **options)

    def run(self, arguments, input=None, deadline=PATIENCE, **options):
        """Runs a command to its end."""
        if input is not None:
            options["stdin"] = subprocess.PIPE
        process = self.start(arguments, **options)
        return self.finish(process, input, deadline)

    def finish(self, process, input=None, deadline=PATIENCE):
        """Waits until it has ended and nobody keeps its output open: a flow that is stuck fails here."""
        try:
            stdout, stderr = process.communicate(input, timeout=deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"stuck: {command_of(process.pid)}; left: {describe(self.left())}") from None
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def left(self):
        """The marked processes that live, without those that this test started itself and that have not ended."""
        own = {process.pid for process in self._started if process.poll() is None}
        return [pid for pid in marked(self.marker) if pid not in own]

    def reap_orphans(self):
        """Waits for what has come to us as init would; answers the children that are left, alive or not."""
        left = []
        own = {process.pid for process in self._started}
        for child in children_of(os.getpid()):
            if child in own or child in self._before:
                continue
            try:
                reaped, _ = os.waitpid(child, os.WNOHANG)
            except ChildProcessError:
                continue
            if reaped:
                self.adopted.append(child)
            else:
                left.append(child)
        return left

    def is_clean(self):
        """No marked process lives and no child, zombies included, is left."""
        left = self.reap_orphans()
        return not left and not self.left()

    def assert_clean(self, deadline=PATIENCE):
        assert wait_until(self.is_clean, deadline), f"left behind: {describe(self.left() + self.reap_orphans())}"

    def spawner_of(self, process, deadline=PATIENCE):
        """The number of the spawner of a running `sluice`."""

        def find():
            named = [child for child in children_of(process.pid) if name_of(child) == "sluice-spawner"]
            return named[0] if named else process.poll() is not None and -1

        spawner = wait_until(find, deadline)
        assert spawner and spawner > 0, f"no spawner; status {process.returncode}"
        return spawner

    def stages_of(self, process, count, deadline=PATIENCE):
        """The numbers of the stages, in order, when all of them run their programs."""
        spawner = self.spawner_of(process, deadline)

        def find():
            stages = sorted_by_start(children_of(spawner))
            started = [pid for pid in stages if name_of(pid) != "sluice-spawner"]
            return started[:count] if len(started) >= count else None

        stages = wait_until(find, deadline)
        assert stages, f"only {describe(children_of(spawner))} of {count} stages"
        return stages

    def end(self):
        """Ends everything of this test. What escaped is found by its marker, and waited for because it comes to us."""

        def kill_round():
            for pid in marked(self.marker):
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            for process in self._started:
                process.poll()
            return not self.reap_orphans() and not marked(self.marker)

        wait_until(kill_round, 10)
        for process in self._started:
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    try:
                        stream.close()
                    except BrokenPipeError:
                        pass
            process.wait(timeout=10)
        while self._terminals:
            self._terminals.pop().close()


def sorted_by_start(pids):
    def start_of(pid):
        fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        return (int(fields[19]) if len(fields) > 19 else 0, pid)

    return sorted(pids, key=start_of)


@pytest.fixture
def household():
    # Not below pytest's own folder, which other users may not enter.
    folder = tempfile.mkdtemp(prefix="sluice-harm-")
    os.chmod(folder, 0o777)
    family = Household(folder)
    try:
        yield family
    finally:
        family.end()
        shutil.rmtree(folder, ignore_errors=True)
