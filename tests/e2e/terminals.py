"""Pseudo-terminals, and the programs and shells on them with the user in front."""

import fcntl
import os
import re
import select
import struct
import termios
import time

import pytest

from processes import (DEADLINE_SECONDS, find_processes_by_marker, process_name, process_state, processes_below,
                       start_in_session, wait_for_no_process, wait_until)

INTERRUPT_KEY = "\x03"
END_OF_FILE_KEY = "\x04"
TABULATOR_KEY = "\t"
SUSPEND_KEY = "\x1a"
ESCAPE_KEY = "\x1b"
QUIT_KEY = "\x1c"

_LOCAL_FLAGS = 3  # the place of c_lflag in what tcgetattr(3) gives


class PseudoTerminal:
    """The two ends: `slave` is for programs, `master` is where the user sits."""

    def __init__(self, rows=24, columns=200):
        try:
            self.master, self.slave = os.openpty()
        except OSError as error:
            pytest.skip(f"this machine has no pseudo-terminals: {error}")
        # Wide, so that no command is wrapped when a shell shows it.
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def become_controlling(self):
        """To be called in a child that leads a session."""
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def close_slave(self):
        """Once no program has it open either, what reads the master sees the end."""
        if self.slave >= 0:
            os.close(self.slave)
        self.slave = -1

    def close_master(self):
        """Hangs up: the session on the terminal gets SIGHUP."""
        if self.master >= 0:
            os.close(self.master)
        self.master = -1

    def close(self):
        self.close_master()
        self.close_slave()


class TerminalProgram:
    """A program on a pseudo-terminal of its own, which leads the session, and the user in front of it."""

    def __init__(self, arguments, environment):
        self._terminal = PseudoTerminal()
        slave = self._terminal.slave
        try:
            self.process = start_in_session(arguments, environment, self._terminal.become_controlling,
                                            stdin=slave, stdout=slave, stderr=slave)
        except BaseException:
            self._terminal.close_master()
            raise
        finally:
            self._terminal.close_slave()
        self.transcript = ""
        self._seen = 0  # what lies before has been matched by `expect`
        self._ended = False

    def send(self, keys):
        os.write(self._terminal.master, keys.encode())

    def _has_output(self, patience):
        return not self._ended and bool(select.select([self._terminal.master], [], [], patience)[0])

    def _read(self, patience):
        """Reads what there is, after at most `patience` seconds."""
        if not self._has_output(patience):
            return
        try:
            piece = os.read(self._terminal.master, 65536)
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

    def _has_local_flags(self, flags):
        return termios.tcgetattr(self._terminal.master)[_LOCAL_FLAGS] & flags != 0

    def echoes(self):
        return self._has_local_flags(termios.ECHO)

    def is_raw(self):
        """Whether some program takes the keys one by one, and shows them or not itself."""
        return not self._has_local_flags(termios.ICANON | termios.ECHO)

    def wait(self, deadline=DEADLINE_SECONDS):
        """The status of the program, as subprocess has it: -N if signal N ended it (WIFSIGNALED)."""

        def ended():
            self._read(0)  # a program that waits for room on the terminal must not wait for us
            return self.process.poll() is not None

        wait_until(ended, lambda: f"the end of {self.process.args}; the terminal showed {self.transcript[-500:]!r}",
                   deadline)
        while self._has_output(0):
            self._read(0)
        return self.process.returncode

    def hang_up(self):
        """Closes the window."""
        self._terminal.close_master()
        self._ended = True

    def close(self):
        """Ends the program, which must be one that the test still owns, and reaps it."""
        self.hang_up()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE_SECONDS)


class Shell(TerminalProgram):
    """An interactive bash on a pseudo-terminal. Its prompt counts commands, so that no old one is taken for a new."""

    def __init__(self, environment, marker):
        super().__init__(["/bin/bash", "--norc", "--noprofile", "-i"],
                         {**environment, "PS1": r"<ready \#> ", "HISTFILE": ""})
        self.marker = marker
        self.expect(r"<ready 1> ")

    # --- typing commands ------------------------------------------------------------------------------------------

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

    def modes(self):
        """The modes in which the terminal is while a command runs, in the form of stty(1)."""
        return self.run("stty -g")

    # --- its processes --------------------------------------------------------------------------------------------

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

    def wait_for_processes(self, *names):
        return [self.wait_for_process(name) for name in names]

    def wait_for_no_process(self):
        """Waits until the shell has no process left, zombies included."""
        wait_for_no_process(self.marker, but=(self.process.pid,))
        wait_until(lambda: not processes_below(self.process.pid), "no process below the shell")

    # --- its jobs -------------------------------------------------------------------------------------------------

    def _job_states(self):
        """Names and states of the processes of the shell's jobs, without the spawner, which is in no job."""
        states = [(process_name(pid), process_state(pid)) for pid in self.processes()]
        return sorted(entry for entry in states if entry[0] != "sluice-spawner")

    def wait_until_stopped(self, *names):
        """Waits until the job consists of these programs, each of them stopped."""
        expected = sorted((name, "T") for name in names)
        wait_until(lambda: self._job_states() == expected, lambda: f"{expected}; there are {self._job_states()}")

    def suspend(self, *names):
        """Presses Ctrl-Z, upon which the shell has to say that its job stopped, and these programs of it have to."""
        self.send(SUSPEND_KEY)
        assert "Stopped" in self.prompt()
        self.wait_until_stopped(*names)

    def wait_until_resumed(self):
        wait_until(lambda: all(state != "T" for _, state in self._job_states()), "a job without stopped processes")

    def bring_to_foreground(self):
        self.start("fg")
        self.wait_until_resumed()

    def continue_in_background(self):
        self.run("bg")
        self.wait_until_resumed()
