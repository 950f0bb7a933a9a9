"""What the end-to-end tests share: waiting with a deadline, finding processes, and pseudo-terminals.

Nothing here sleeps for a fixed time: a test waits for what it needs to see, and fails when the deadline passes.
Processes are found by a marker in their environment, which children inherit, so that also those are found that
left their session or lost their parent. Only processes that carry the marker of a test are ever ended.
"""

import fcntl
import os
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import termios
import threading
import time
import uuid
from pathlib import Path

import pytest

# Generous, because a passing test never waits for it: a loaded machine must not fail a test.
DEADLINE_SECONDS = 30.0
POLL_SECONDS = 0.01

MARKER_VARIABLE = "SLUICE_TEST_MARKER"

INTERRUPT_KEY = "\x03"
END_OF_FILE_KEY = "\x04"
SUSPEND_KEY = "\x1a"
ESCAPE_KEY = "\x1b"
QUIT_KEY = "\x1c"


def requires_program(name):
    """Skips a test, by name, on a machine that lacks a program which the test needs."""
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


# --- waiting --------------------------------------------------------------------------------------------------


def wait_until(condition, what, deadline=DEADLINE_SECONDS):
    """Returns the first true value of `condition()`; fails with `what` if there is none within `deadline` seconds."""
    ends_at = time.monotonic() + deadline
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= ends_at:
            raise AssertionError(f"not within {deadline:g} s: {what}")
        pause.wait(POLL_SECONDS)


def open_for_writing(fifo):
    """Waits until somebody reads the fifo, and opens it: the reader then sees its end when this is closed."""
    descriptors = []

    def try_to_open():
        # Without a reader this fails, where a blocking open would wait for ever.
        try:
            descriptors.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:
            return False
        return True

    wait_until(try_to_open, f"a reader of {fifo}")
    return os.fdopen(descriptors[0], "w")


# --- processes ------------------------------------------------------------------------------------------------


def new_marker():
    return uuid.uuid4().hex


def _read_process_file(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it has ended, or is another user's
        return b""


def _stat_fields(pid):
    # The name stands in parentheses and may hold anything; the fields behind the last one are plain words.
    return _read_process_file(pid, "stat").decode(errors="replace").rpartition(")")[2].split()


def process_state(pid):
    """The letter of proc_pid_stat(5), such as T for stopped; empty when there is no such process."""
    return (_stat_fields(pid) or [""])[0]


def process_group(pid):
    fields = _stat_fields(pid)
    return int(fields[2]) if fields else None


def process_name(pid):
    return _read_process_file(pid, "comm").decode(errors="replace").rstrip("\n")


def has_pending_signal(pid, number):
    """A signal was sent to the process that it has not taken yet."""
    match = re.search(rb"^ShdPnd:\s*([0-9a-f]+)$", _read_process_file(pid, "status"), re.MULTILINE)
    return match is not None and int(match[1], 16) >> (number - 1) & 1 == 1


def _all_pids():
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _is_marked(pid, marker):
    return f"{MARKER_VARIABLE}={marker}".encode() in _read_process_file(pid, "environ").split(b"\0")


def find_processes_by_marker(marker, name=None):
    """Process ids of the live processes that carry the marker. A zombie has no environment, and is none of them."""
    found = [pid for pid in _all_pids() if _is_marked(pid, marker)]
    return [pid for pid in found if name is None or process_name(pid) == name]


def processes_below(root):
    """Process ids of all descendants of a process, zombies included."""
    parents = {pid: int(fields[1]) for pid in _all_pids() if (fields := _stat_fields(pid))}
    below, level = [], {root}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level}
        below.extend(sorted(level))
    return below


def _kill_if_marked(pid, marker):
    # The descriptor pins the process: the number may meanwhile be that of another one, which the marker then tells.
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _is_marked(pid, marker):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def end_processes_by_marker(marker):
    """Ends what a test has left running, until nothing that carries its marker is found."""

    def nothing_left():
        left = find_processes_by_marker(marker)
        for pid in left:
            _kill_if_marked(pid, marker)
        return not left

    wait_until(nothing_left, f"the end of the processes marked {marker}")


def describe_processes(pids):
    return ", ".join(f"{process_name(pid)} (pid {pid}, {process_state(pid)})" for pid in pids) or "none"


def wait_for_no_process(marker, names=None, but=()):
    """Waits until no process with the marker is left, except for `but`. `names` restricts the search."""
    found = []

    def nothing_left():
        found[:] = [pid for pid in find_processes_by_marker(marker)
                    if pid not in but and (names is None or process_name(pid) in names)]
        return not found

    try:
        wait_until(nothing_left, "the end of every process")
    except AssertionError as error:
        raise AssertionError(f"{error}; left: {describe_processes(found)}") from None


# --- files ----------------------------------------------------------------------------------------------------


def write_script(name, text, folder="."):
    """An executable script for /bin/bash, so that a stage needs no nested quotes."""
    path = Path(folder) / name
    path.write_text("#!/bin/bash\n" + text)
    path.chmod(0o755)
    return path


# --- environment ------------------------------------------------------------------------------------------------


def make_environment(workdir, sluice, marker):
    """A small environment that is the same on every machine, in which `sluice` is found by its plain name."""
    programs = Path(workdir) / "programs"
    programs.mkdir(exist_ok=True)
    link = programs / "sluice"
    if not link.exists():
        link.symlink_to(sluice)
    settings = Path(workdir) / "inputrc"
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


# --- pseudo-terminals -------------------------------------------------------------------------------------------


class Terminal:
    """A program on a pseudo-terminal of its own, which leads the session, and the user in front of it."""

    def __init__(self, arguments, environment, rows=24, columns=200):
        self._master, slave = os.openpty()
        # Wide, so that no command is wrapped when the shell shows it.
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

        def take_terminal():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what SIGQUIT ends would leave a core file

        try:
            # restore_signals matters: Python ignores SIGPIPE, and a shell would pass that on to every program.
            self.process = subprocess.Popen(arguments, stdin=slave, stdout=slave, stderr=slave, env=environment,
                                            start_new_session=True, preexec_fn=take_terminal, restore_signals=True)
        except BaseException:
            os.close(self._master)
            raise
        finally:
            os.close(slave)
        self.transcript = ""
        self._seen = 0  # what lies before has been matched by `expect`
        self._ended = False

    def send(self, keys):
        os.write(self._master, keys.encode())

    def _read(self, patience):
        """Reads what there is, after at most `patience` seconds."""
        if self._ended or not select.select([self._master], [], [], patience)[0]:
            return
        try:
            piece = os.read(self._master, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            piece = b""
        self._ended = not piece
        self.transcript += piece.decode(errors="replace")

    def expect(self, pattern, deadline=DEADLINE_SECONDS):
        """Waits until the regular expression matches behind the last match, and returns the match."""
        ends_at = time.monotonic() + deadline
        while True:
            match = re.compile(pattern).search(self.transcript, self._seen)
            if match:
                self._seen = match.end()
                return match
            left = ends_at - time.monotonic()
            if left <= 0 or self._ended:
                why = "the terminal was closed" if self._ended else f"not within {deadline:g} s"
                raise AssertionError(f"{why}: {pattern!r}; the terminal showed {self.transcript[self._seen:]!r} "
                                     f"behind {self.transcript[max(0, self._seen - 300):self._seen]!r}")
            self._read(min(left, 0.5))

    def seen(self):
        """Where `expect` stands in the transcript: `transcript[here:]` is what comes later."""
        return self._seen

    def modes(self):
        """The terminal's modes, without the changing parts: input, output, control and local flags and the keys."""
        flags = termios.tcgetattr(self._master)
        return flags[:4] + flags[6:]

    def wait(self, deadline=DEADLINE_SECONDS):
        """The status of the program, as subprocess has it: -N if signal N ended it (WIFSIGNALED)."""

        def ended():
            self._read(0)  # a program that waits for room on the terminal must not wait for us
            return self.process.poll() is not None

        wait_until(ended, f"the end of {self.process.args}; the terminal showed {self.transcript[-500:]!r}", deadline)
        while not self._ended and select.select([self._master], [], [], 0)[0]:
            self._read(0)
        return self.process.returncode

    def hang_up(self):
        """Closes the window."""
        if self._master >= 0:
            os.close(self._master)
        self._master = -1
        self._ended = True

    def close(self):
        """Ends the program, which must be one that the test still owns, and reaps it."""
        self.hang_up()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE_SECONDS)


class Shell(Terminal):
    """An interactive bash on a pseudo-terminal. Its prompt counts commands, so that no old one is taken for a new."""

    def __init__(self, environment, marker, **size):
        super().__init__(["/bin/bash", "--norc", "--noprofile", "-i"],
                         {**environment, "PS1": r"<ready \#> ", "HISTFILE": ""}, **size)
        self.marker = marker
        self.expect(r"<ready 1> ")

    def start(self, command):
        """Types a command, and waits until the shell has shown it: what comes behind is the command's own."""
        self.send(command + "\n")
        self.expect(re.escape(command) + "\r\n")

    def prompt(self, deadline=DEADLINE_SECONDS):
        """Waits for the prompt, and returns what was shown before it."""
        before = self._seen
        match = self.expect(r"<ready \d+> ", deadline)
        return self.transcript[before:match.start()]

    def run(self, command):
        """Types a command, waits for its end, and returns what it showed, with plain line ends."""
        self.start(command)
        return self.prompt().replace("\r\n", "\n")

    def status(self):
        """The status of the last command."""
        return int(re.search(r"status=(\d+)", self.run("echo status=$?"))[1])

    def pipe_status(self):
        """The statuses of the commands of the last pipeline."""
        return [int(word) for word in self.run('echo "${PIPESTATUS[@]}"').split()]

    def processes(self, name=None):
        """The processes that the shell started and that live, wherever they are now."""
        return [pid for pid in find_processes_by_marker(self.marker, name) if pid != self.process.pid]

    def wait_for_process(self, name):
        """Waits until the shell has exactly one program of this name, and returns its process id."""
        found = []

        def only_one():
            # Between fork and exec a child has the name of its parent: there may be two for a moment.
            found[:] = self.processes(name)
            return len(found) == 1

        wait_until(only_one, f"one process named {name}")
        return found[0]

    def wait_for_no_process(self):
        """Waits until the shell has no process left, zombies included."""
        wait_for_no_process(self.marker, but=(self.process.pid,))
        wait_until(lambda: not processes_below(self.process.pid), "no process below the shell")
