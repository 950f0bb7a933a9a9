"""Starting, finding, waiting for and ending the processes of a test.

Nothing here sleeps for a fixed time: a test waits for what it needs to see, and fails when the deadline passes.
Processes are found by a marker in their environment, which children inherit, so that also those are found that
left their session or lost their parent. Only processes that carry the marker of a test are ever ended.
"""

import os
import re
import resource
import signal
import subprocess
import threading
import time

# Generous, because a passing test never waits for it: a loaded machine must not fail a test.
DEADLINE_SECONDS = 30.0
POLL_SECONDS = 0.01

MARKER_VARIABLE = "SLUICE_TEST_MARKER"

_pause = threading.Event()  # never set: waiting for it yields the processor for a while


# --- waiting ------------------------------------------------------------------------------------------------------


def wait_until(condition, what, deadline=DEADLINE_SECONDS):
    """Returns the first true value of `condition()`; fails with `what` if there is none within `deadline` seconds.

    `what` is a text, or a function that returns it where it shall tell how things stand at the deadline.
    """
    ends_at = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= ends_at:
            raise AssertionError(f"not within {deadline:g} s: {what() if callable(what) else what}")
        _pause.wait(POLL_SECONDS)


def let_pass(seconds):
    """For a moment that is random on purpose, or to see that nothing happens; never to wait for something."""
    _pause.wait(seconds)


# --- looking at one process ---------------------------------------------------------------------------------------


def _read_process_file(pid, name):
    # Without a buffer, because each look at the processes reads hundreds of these.
    try:
        with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
            return file.read()
    except OSError:  # it has ended, or is another user's
        return b""


def _stat_fields(pid):
    """The fields of proc_pid_stat(5) from the third one, the state; none when there is no such process."""
    # The name stands in parentheses and may hold anything; the fields behind the last one are plain words.
    return _read_process_file(pid, "stat").decode(errors="replace").rpartition(")")[2].split()


def process_state(pid):
    """The letter of proc_pid_stat(5), such as T for stopped; empty when there is no such process."""
    return (_stat_fields(pid) or [""])[0]


def is_alive(pid):
    """Whether it runs: a zombie does not."""
    return process_state(pid) not in ("", "Z", "X")


def process_group(pid):
    fields = _stat_fields(pid)
    return int(fields[2]) if fields else None


def process_name(pid):
    return _read_process_file(pid, "comm").decode(errors="replace").rstrip("\n")


def process_command(pid):
    return _read_process_file(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def has_pending_signal(pid, number):
    """A signal was sent to the process that it has not taken yet."""
    match = re.search(rb"^ShdPnd:\s*([0-9a-f]+)$", _read_process_file(pid, "status"), re.MULTILINE)
    return match is not None and int(match[1], 16) >> (number - 1) & 1 == 1


def describe_processes(pids):
    return "; ".join(f"{process_name(pid)} (pid {pid}, {process_state(pid)}) {process_command(pid)[:80]}"
                     for pid in pids) or "none"


# --- finding processes --------------------------------------------------------------------------------------------


def _all_pids():
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _is_marked(pid, marker):
    return f"{MARKER_VARIABLE}={marker}".encode() in _read_process_file(pid, "environ").split(b"\0")


def find_processes_by_marker(marker, name=None):
    """Process ids of the live processes that carry the marker. A zombie has no environment, and is none of them."""
    found = [pid for pid in _all_pids() if _is_marked(pid, marker)]
    return [pid for pid in found if name is None or process_name(pid) == name]


def children_of(parent):
    """Process ids of the children, zombies included, in the order in which they were started."""
    # The kernel's own list, /proc/PID/task/TID/children, may leave out living children while others end.
    fields_by_pid = {pid: fields for pid in _all_pids() if (fields := _stat_fields(pid)) and int(fields[1]) == parent}
    return sorted(fields_by_pid, key=lambda pid: (int(fields_by_pid[pid][19]), pid))


def processes_below(root):
    """Process ids of all descendants of a process, zombies included."""
    below = []
    for child in children_of(root):
        below += [child, *processes_below(child)]
    return below


# --- starting and ending processes --------------------------------------------------------------------------------


def start_in_session(arguments, environment, *before_exec, **options):
    """Starts a program that leads a session; the child calls the functions of `before_exec` before it becomes it."""

    def prepare():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what SIGQUIT ends would leave a core file
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)  # a shell ignores them for tests that it runs in the background
        for step in before_exec:
            step()

    # restore_signals matters: Python ignores SIGPIPE, and a shell would pass that on to every program.
    options.setdefault("restore_signals", True)
    return subprocess.Popen(arguments, env=environment, start_new_session=True, preexec_fn=prepare, **options)


def _kill_if_marked(pid, marker):
    # The descriptor pins the process: the number may meanwhile be that of another one, which the marker then tells.
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _is_marked(pid, marker):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:  # it has ended meanwhile, or is another user's
        pass
    finally:
        os.close(descriptor)


def kill_processes_by_marker(marker):
    """Kills the processes that carry the marker and returns them. They may have started others: call it again."""
    found = find_processes_by_marker(marker)
    for pid in found:
        _kill_if_marked(pid, marker)
    return found


def end_processes_by_marker(marker):
    """Ends what a test has left running, until nothing that carries its marker is found."""
    wait_until(lambda: not kill_processes_by_marker(marker), f"the end of the processes marked {marker}")


def wait_for_no_process(marker, but=()):
    """Waits until no process with the marker is left, except for `but`."""

    def left():
        return [pid for pid in find_processes_by_marker(marker) if pid not in but]

    wait_until(lambda: not left(), lambda: f"the end of every process; left: {describe_processes(left())}")
