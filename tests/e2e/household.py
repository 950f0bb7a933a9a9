"""Starting `sluice` under hard conditions, and seeing what of it is left.

This process is a subreaper: every orphan of a test comes to it. Together with the marker that every process of a test
inherits, that shows each process which a flow left behind, wherever it went.
"""

import ctypes
import json
import os
import subprocess

from machine import NOBODY, as_user
from processes import (DEADLINE_SECONDS, MARKER_VARIABLE, children_of, describe_processes, find_processes_by_marker,
                       kill_processes_by_marker, process_command, process_name, start_in_session, wait_until)
from settings import SLUICE
from terminals import PseudoTerminal

_PR_SET_CHILD_SUBREAPER = 36


class Result(subprocess.CompletedProcess):
    """How a command ended, and what it wrote."""

    @property
    def outcome(self):
        return self.returncode, self.stdout

    @property
    def summary(self):
        """What --json writes at the end."""
        return json.loads(self.stderr.splitlines()[-1].decode())


class Household:
    """The processes of one test: it starts them, waits for them, and ends what is left of them."""

    def __init__(self, folder, marker):
        self.folder = folder
        self.adopted = []  # orphans that came to us, in the order in which they were reaped
        self._marker = marker
        self._started = []
        self._terminals = []
        self._before = set(children_of(os.getpid()))
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    # --- starting -------------------------------------------------------------------------------------------------

    def start(self, arguments, *, user="root", on_terminal=False, environment=None, before_exec=None, **options):
        """Starts a command in its own session, or on a terminal of its own; stdin is empty unless it is given."""
        steps = [before_exec] if before_exec else []
        standard_input = subprocess.DEVNULL
        if on_terminal:
            self._terminals.append(PseudoTerminal())
            steps.insert(0, self._terminals[-1].become_controlling)
            standard_input = self._terminals[-1].slave
        options = {"stdin": standard_input, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": self.folder,
                   **options}
        # LC_ALL: some expectations of the tests are messages of the shell.
        variables = {**os.environ, "LC_ALL": "C", **(environment or {}), MARKER_VARIABLE: self._marker}
        prefix = as_user(NOBODY) if user == "ordinary" else []
        process = start_in_session(prefix + list(arguments), variables, *steps, **options)
        self._started.append(process)
        if prefix:
            # setpriv becomes the program by execve, keeping its number.
            wait_until(lambda: process_name(process.pid) not in ("setpriv", "python3"), "the program behind setpriv")
        return process

    def start_sluice(self, *arguments, **options):
        return self.start([SLUICE, *arguments], **options)

    def run(self, arguments, input=None, deadline=DEADLINE_SECONDS, **options):
        """Runs a command to its end."""
        if input is not None:
            options["stdin"] = subprocess.PIPE
        process = self.start(arguments, **options)
        return self.finish(process, input, deadline)

    def run_sluice(self, *arguments, **options):
        return self.run([SLUICE, *arguments], **options)

    def finish(self, process, input=None, deadline=DEADLINE_SECONDS):
        """Waits until it has ended and nobody keeps its output open: a flow that is stuck fails here."""
        try:
            stdout, stderr = process.communicate(input, timeout=deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"stuck: {process_command(process.pid)}; "
                                 f"left: {describe_processes(self.left())}") from None
        return Result(process.args, process.returncode, stdout, stderr)

    def refusal(self, *arguments, status=125):
        """The message of `sluice` when it refuses these arguments, and starts nothing."""
        result = self.run_sluice(*arguments, input=b"")
        assert result.outcome == (status, b""), result
        message = result.stderr.decode()
        assert message.startswith("sluice: ") and message.endswith("\n"), message
        return message

    # --- waiting for what runs ------------------------------------------------------------------------------------

    def wait_for_files(self, *names):
        """Waits for the files by which stages tell how far they are."""
        wait_until(lambda: all((self.folder / name).exists() for name in names),
                   lambda: f"{names} in {os.listdir(self.folder)}")

    def spawner_of(self, process):
        """The number of the spawner of a running `sluice`."""

        def spawners():
            return [child for child in children_of(process.pid) if process_name(child) == "sluice-spawner"]

        found = wait_until(lambda: spawners() or process.poll() is not None, "a spawner")
        assert found is not True, f"no spawner; status {process.returncode}"
        return found[0]

    def stages_of(self, process, count):
        """The numbers of the stages, in order, when all of them run their programs."""
        spawner = self.spawner_of(process)

        def running():
            stages = [pid for pid in children_of(spawner) if process_name(pid) != "sluice-spawner"]
            return stages[:count] if len(stages) >= count else None

        return wait_until(running, lambda: f"{count} stages; there are {describe_processes(children_of(spawner))}")

    # --- what is left ---------------------------------------------------------------------------------------------

    def left(self):
        """The marked processes that live, without those that this test started itself and that have not ended."""
        own = {process.pid for process in self._started if process.poll() is None}
        return [pid for pid in find_processes_by_marker(self._marker) if pid not in own]

    def _reap_orphans(self):
        """Waits for what has come to us as init would; returns the children that are left, alive or not."""
        left = []
        own = {process.pid for process in self._started}
        for child in children_of(os.getpid()):
            if child in own or child in self._before:
                continue
            try:
                reaped, _ = os.waitpid(child, os.WNOHANG)
            except ChildProcessError:
                continue
            (self.adopted if reaped else left).append(child)
        return left

    def assert_clean(self):
        """No marked process lives, and we have no child left, zombies included."""

        def remains():
            # The living first: what dies between the two looks comes to us, where the second one finds it.
            return self.left() + self._reap_orphans()

        wait_until(lambda: not remains(), lambda: f"nothing left behind; there are {describe_processes(remains())}")

    def assert_nothing_came_to_us(self):
        """Nothing is left, and `sluice` itself has waited for everything: we are the next subreaper above it."""
        self.assert_clean()
        assert self.adopted == [], "sluice left orphans to its parent"

    def end(self):
        """Ends everything of this test. What escaped is found by its marker, and waited for because it comes to us."""

        def nothing_left():
            killed = kill_processes_by_marker(self._marker)
            for process in self._started:
                process.poll()
            return not self._reap_orphans() and not killed

        wait_until(nothing_left, lambda: f"the end of {describe_processes(self.left())}")
        for process in self._started:
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    try:
                        stream.close()
                    except BrokenPipeError:
                        pass
            process.wait(timeout=DEADLINE_SECONDS)
        while self._terminals:
            self._terminals.pop().close()
