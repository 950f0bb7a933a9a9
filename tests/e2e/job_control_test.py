"""A flow is a job of the shell like any other: it stops, goes on and ends as a whole, by keys, signals and hang-up."""

import re
import signal

import pytest

from files import open_for_writing, write_script
from processes import has_pending_signal, process_group, wait_for_no_process, wait_until
from settings import SLUICE
from terminals import END_OF_FILE_KEY, INTERRUPT_KEY, QUIT_KEY


# --- job control --------------------------------------------------------------------------------------------------


def test_suspended_flow_stops_as_a_whole_and_goes_on_in_the_foreground(shell, fifo):
    shell.start("sluice run '{ cat fifo; echo end; } | tr a-z A-Z'")
    with open_for_writing(fifo) as input:
        shell.wait_for_process("tr")
        shell.suspend("sluice", "bash", "cat", "tr")
        shell.bring_to_foreground()
        input.write("hello\n")
    assert shell.prompt().endswith("HELLO\r\nEND\r\n")
    assert shell.status() == 0


def test_suspended_flow_goes_on_in_the_background(shell, workdir, fifo):
    shell.start("sluice run --progress=none '{ cat fifo; echo end; } | tr a-z A-Z' > result")
    with open_for_writing(fifo) as input:
        shell.wait_for_process("tr")
        shell.suspend("sluice", "bash", "cat", "tr")
        shell.continue_in_background()
        input.write("hello\n")
    assert "status=0" in shell.run("wait %1; echo status=$?")
    assert (workdir / "result").read_text() == "HELLO\nEND\n"


def test_suspended_flow_is_ended_by_kill(shell):
    shell.start("sluice run 'sleep 1000 | cat'")
    shell.wait_for_processes("sleep", "cat")
    shell.suspend("sluice", "sleep", "cat")
    shell.run("kill %1")
    shell.wait_for_no_process()
    # The shell says "Exit 143" of a program that exits with that status, and this of one that a signal ended.
    assert "Terminated" in shell.transcript + shell.run("jobs")


def test_resumed_flow_is_interrupted(shell):
    shell.start("sluice run 'sleep 1000 | cat'")
    shell.wait_for_processes("sleep", "cat")
    shell.suspend("sluice", "sleep", "cat")
    shell.bring_to_foreground()
    shell.send(INTERRUPT_KEY)
    shell.prompt()
    assert shell.status() == 130
    shell.wait_for_no_process()


@pytest.mark.parametrize("command", ["cat", "sluice run 'cat'"])
def test_background_job_that_reads_the_terminal_stops_like_the_shells_own(shell, command):
    stopped = ["cat"] if command == "cat" else ["cat", "sluice"]
    shell.run(command + " &")
    shell.wait_until_stopped(*stopped)
    # The shell learns of it by a signal; the first look may come too early.
    wait_until(lambda: re.search(r"Stopped \(tty input\)", shell.run("jobs -l")), "a job stopped by SIGTTIN")
    shell.bring_to_foreground()
    shell.send("hello\n")
    shell.expect("hello\r\nhello\r\n")
    shell.send(END_OF_FILE_KEY)
    shell.prompt()
    assert shell.status() == 0
    shell.wait_for_no_process()


@pytest.mark.parametrize("name, status", [("INT", 130), ("TERM", 143), ("HUP", 129), ("QUIT", 131)])
def test_signal_of_the_shell_ends_a_background_flow(shell, name, status):
    shell.run("sluice run 'sleep 1000 | cat' &")
    shell.wait_for_processes("sleep", "cat")
    assert f"status={status}" in shell.run(f"kill -{name} %1; wait %1; echo status=$?")
    shell.wait_for_no_process()


def test_nothing_outlives_the_kill_of_the_whole_job(shell):
    # The spawner is in no job, so that it is left to end what has left the job.
    shell.run("sluice run 'setsid --fork sleep 1000 | cat' &")
    shell.wait_for_processes("sleep", "cat")
    shell.run("kill -KILL %1")
    shell.wait_for_no_process()


def test_background_flow_is_killed_after_the_grace_while_the_shell_edits_its_line(shell, fifo, stubborn):
    # At its prompt the shell itself keeps the terminal raw; that must not be taken for an editor in the flow. The flow
    # starts while it is not raw: the shell is waiting for `head`, which ends when the flow has started.
    assert "ready" in shell.run("sluice run --grace 300ms './stubborn | cat > fifo' & head -1 fifo")
    shell.wait_for_process("sleep")
    shell.run("kill %1")
    assert shell.is_raw()
    shell.wait_for_no_process()
    assert "status=143" in shell.run("wait %1; echo status=$?")


def test_signals_of_the_shell_stop_and_continue_a_flow(shell, workdir, fifo):
    shell.run("sluice run --progress=none 'cat fifo | tr a-z A-Z' > result &")
    with open_for_writing(fifo) as input:
        shell.wait_for_process("tr")
        shell.run("kill -STOP %1")
        shell.wait_until_stopped("sluice", "cat", "tr")
        shell.run("kill -CONT %1")
        shell.wait_until_resumed()
        input.write("hello\n")
    assert "status=0" in shell.run("wait %1; echo status=$?")
    assert (workdir / "result").read_text() == "HELLO\n"


def test_stage_that_suspends_its_process_group_suspends_the_job(shell, workdir, fifo):
    write_script(workdir / "suspends", "read -r line < fifo\nkill -TSTP 0\necho after\n")
    shell.start("sluice run './suspends | cat'")
    with open_for_writing(fifo) as input:
        # A stage that is started later than the signal would miss it, in a shell's pipeline as well.
        shell.wait_for_process("cat")
        input.write("go\n")
    assert "Stopped" in shell.prompt()
    shell.wait_until_stopped("sluice", "suspends", "cat")
    shell.start("fg")
    assert shell.prompt().endswith("after\r\n")
    assert shell.status() == 0


def test_editor_suspends_itself_by_a_key_and_comes_back(shell, workdir):
    # As vim does: in its raw mode Ctrl-Z is a key, upon which it gives the terminal back and stops its group.
    write_script(workdir / "editor", """
saved=$(stty -g < /dev/tty)
show() {
  stty raw -echo < /dev/tty
  printf '%s' "$1" > /dev/tty
  key=$(head -c 1 < /dev/tty)
  stty "$saved" < /dev/tty
}
show 'first screen'
kill -TSTP 0
show 'second screen'
echo "the key was $key"
""")
    modes = shell.modes()
    shell.start("sluice run './editor | cat'")
    shell.expect("first screen")
    shell.wait_for_process("cat")
    shell.suspend("sluice", "editor", "cat")
    assert shell.modes() == modes
    shell.start("fg")
    shell.expect("second screen")
    shell.send("q")
    assert shell.prompt().endswith("the key was q\r\n")
    assert shell.status() == 0
    assert shell.modes() == modes


# --- the end by a key ---------------------------------------------------------------------------------------------


def test_interrupt_ends_the_loop_around(shell):
    shell.start("for i in 1 2 3 4 5; do sluice run 'sleep 1000 | cat'; echo round $i; done")
    shell.wait_for_processes("sleep", "cat")
    shell.send(INTERRUPT_KEY)
    assert "round" not in shell.prompt()
    assert shell.status() == 130
    shell.wait_for_no_process()


def test_interrupt_without_echo_ends_the_loop_around(shell, silent_typing):
    # While a stage keeps the terminal to itself the interrupt is the stage's own; but when the stage dies by it, the
    # user at the password prompt wants to be rid of the loop, too.
    modes = shell.modes()
    shell.start("for i in 1 2 3 4 5; do sluice run './silent_typing | cat'; echo round $i; done")
    shell.expect("ready")
    shell.wait_for_processes("sleep", "cat")
    shell.send(INTERRUPT_KEY)
    assert "round" not in shell.prompt()
    assert shell.status() == 130
    assert shell.modes() == modes
    shell.wait_for_no_process()


def test_flow_that_ignores_the_interrupt_is_killed_after_the_grace(shell, stubborn):
    shell.start("for i in 1 2 3; do sluice run --grace 300ms './stubborn | cat'; echo round $i; done")
    shell.expect("ready")
    shell.wait_for_process("sleep")
    shell.send(INTERRUPT_KEY)
    shown = shell.prompt()
    assert "killing the rest" in shown
    assert "round" not in shown, "sluice has to die by the signal, else the loop goes on"
    assert shell.status() == 130
    shell.wait_for_no_process()


@pytest.mark.parametrize("key, number", [(INTERRUPT_KEY, signal.SIGINT), (QUIT_KEY, signal.SIGQUIT)])
def test_sluice_dies_by_the_signal_of_the_key(start_on_terminal, marker, stubborn, key, number):
    program = start_on_terminal(SLUICE, "run", "--grace", "300ms", "./stubborn | cat")
    program.expect("ready")
    program.send(key)
    assert program.wait() == -number, "the parent has to see WIFSIGNALED"
    wait_for_no_process(marker)


def test_second_interrupt_kills_at_once(shell, stubborn):
    shell.start("sluice run --grace 1h './stubborn | cat'")
    shell.expect("ready")
    shell.wait_for_process("sleep")
    shell.send(INTERRUPT_KEY)
    # Two interrupts that come together would be one signal: `cat` dies by the first and shows that it has come, and
    # sluice must have taken it.
    wait_until(lambda: not shell.processes("cat"), "the end of cat")
    wait_until(lambda: not any(has_pending_signal(pid, signal.SIGINT) for pid in shell.processes("sluice")),
               "that sluice has taken the interrupt")
    assert shell.processes("stubborn"), "the first interrupt must not kill"
    shell.send(INTERRUPT_KEY)
    shell.prompt()
    assert shell.status() == 130
    shell.wait_for_no_process()


def test_quit_key_ends_the_flow(shell):
    shell.start("sluice run 'sleep 1000 | cat'")
    shell.wait_for_processes("sleep", "cat")
    shell.send(QUIT_KEY)
    shell.prompt()
    assert shell.status() == 131
    shell.wait_for_no_process()


# --- within a larger pipeline -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command, output, statuses", [
    ("sluice run 'seq 100000 | cat' | head -1", "1\n", [0, 0]),
    ("yes | sluice run 'head -2' | cat", "y\ny\n", [141, 0, 0]),
    ("sluice run 'yes | cat' | head -1", "y\n", [0, 0]),
    ("seq 5 | sluice run 'tac | head -2' | sluice run --quiet 'cat; exit 3'", "5\n4\n", [0, 0, 3]),
])
def test_flow_as_a_part_of_a_pipeline(shell, command, output, statuses):
    assert shell.run(command) == output
    assert shell.pipe_status() == statuses
    shell.wait_for_no_process()


def test_writer_outside_sees_that_the_flow_reads_no_more(shell, fifo):
    shell.start("yes | sluice run 'exec < /dev/null; cat fifo'")
    with open_for_writing(fifo):
        wait_until(lambda: not shell.processes("yes"), "the end of yes while the flow runs")
        assert shell.processes("cat")
    shell.prompt()
    assert shell.pipe_status() == [141, 0]


def test_reader_outside_sees_that_the_flow_writes_no_more(shell, fifo):
    shell.start("sluice run 'exec > /dev/null; cat fifo' | wc -l")
    with open_for_writing(fifo):
        shell.expect(r"(?<!\d)0\r\n")
        assert shell.processes("cat")
    shell.prompt()
    assert shell.pipe_status() == [0, 0]


@pytest.mark.parametrize("command", ["sluice run 'sleep 1000' | cat", "sleep 1000 | sluice run 'cat'"])
def test_interrupt_ends_the_whole_pipeline(shell, command):
    shell.start(command)
    job = shell.wait_for_processes("sluice", "sleep", "cat")
    assert len({process_group(pid) for pid in job}) == 1
    shell.send(INTERRUPT_KEY)
    shell.prompt()
    assert shell.status() == 130
    shell.wait_for_no_process()


# --- hang-up ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pipeline, stages", [
    ("sleep 1000 | cat", ["sleep", "cat"]),
    ("setsid sleep 1000 | cat", ["sleep", "cat"]),
    ("setsid --fork sleep 1000 | cat", ["sleep", "cat"]),
    ("./stubborn | cat", ["stubborn", "sleep", "cat"]),
    ("./silent_typing | cat", ["sleep", "cat"]),
    ("setsid --fork ./stubborn | cat", ["stubborn", "sleep", "cat"]),
])
def test_closed_window_ends_everything(shell, marker, stubborn, silent_typing, pipeline, stages):
    shell.start(f"sluice run --grace 300ms '{pipeline}'")
    shell.wait_for_processes(*stages)
    shell.hang_up()
    wait_for_no_process(marker)


def test_closed_window_ends_a_suspended_flow(shell, marker):
    shell.start("sluice run 'sleep 1000 | cat'")
    shell.wait_for_processes("sleep", "cat")
    shell.suspend("sluice", "sleep", "cat")
    shell.hang_up()
    wait_for_no_process(marker)


def test_end_of_the_session_ends_a_stage_that_keeps_the_terminal_and_ignores_the_hang_up(shell, marker, workdir):
    # A signal belongs to the stage that keeps the terminal raw; but the hang-up says that there is no terminal more.
    write_script(workdir / "lasting", "trap '' HUP\nstty -icanon -echo < /dev/tty\necho ready > /dev/tty\nsleep 1000\n")
    shell.start("sluice run --grace 300ms './lasting | cat'")
    shell.expect("ready")
    shell.wait_for_process("sleep")
    assert shell.is_raw()
    shell.process.kill()
    shell.process.wait()
    wait_for_no_process(marker)
