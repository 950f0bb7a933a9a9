"""`sluice run` on a terminal: full-screen programs, prompts, job control, Ctrl-C, hang-up and the progress line.

Most tests type commands into an interactive bash on a pseudo-terminal, since job control is made by the shell, the
kernel and the program together. Stages wait on fifos or sleep far longer than a test lasts; the tests end them.
"""

import os
import re
import signal
import termios

import pytest

from harness import (END_OF_FILE_KEY, ESCAPE_KEY, INTERRUPT_KEY, QUIT_KEY, SUSPEND_KEY, has_pending_signal,
                     open_for_writing, process_group, process_name, process_state, requires_program,
                     wait_for_no_process, wait_until, write_script)

LOCAL_FLAGS = 3  # the place of c_lflag in what tcgetattr(3) gives

# Return, text, erase to the end of the line (ECMA-48 EL), return.
PROGRESS_LINE = r"\r[^\r\n]*1 [^\r\n]* \| 2 [^\r\n]*\x1b\[K\r"
ERASE_LINE = "\x1b[K"
BELL = "\x07"


def keeps_terminal_raw(terminal):
    return terminal.modes()[LOCAL_FLAGS] & (termios.ICANON | termios.ECHO) == 0


def press_until_shown(shell, key, pattern):
    """For a program that may drop a key, as a pager does that is just busy with an interrupt."""

    def shown():
        shell.send(key)
        try:
            return shell.expect(pattern, deadline=0.5)
        except AssertionError:
            return None

    wait_until(shown, f"{pattern!r} upon {key!r}; the terminal showed {shell.transcript[-500:]!r}")


def interrupt_pager(shell):
    """Presses Ctrl-C, and waits until the pager has answered with its bell and sluice has judged whose the signal is:
    no user leaves the pager before that, but a test might."""
    shell.send(INTERRUPT_KEY)
    shell.expect(BELL)
    pid = shell.wait_for_process("sluice")
    wait_until(lambda: not has_pending_signal(pid, signal.SIGINT) and process_state(pid) == "S",
               "the interrupt to be judged")


def job_processes(shell):
    """The processes of the shell's jobs, without the spawner, which is in no job."""
    return [pid for pid in shell.processes() if process_name(pid) != "sluice-spawner"]


def wait_until_stopped(shell, names):
    """Waits until the job consists of these programs, each of them stopped."""

    def states():
        return sorted((process_name(pid), process_state(pid)) for pid in job_processes(shell))

    expected = sorted((name, "T") for name in names)
    try:
        wait_until(lambda: states() == expected, "")
    except AssertionError:
        assert states() == expected


def wait_until_resumed(shell):
    wait_until(lambda: all(process_state(pid) != "T" for pid in job_processes(shell)),
               "a job without stopped processes")


def make_fifo(workdir):
    path = workdir / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture
def stubborn(workdir):
    """A program that ignores what asks it to end."""
    return write_script("stubborn", "trap '' INT TERM HUP QUIT\necho ready\nsleep 1000\nsleep 1000\n", workdir)


@pytest.fixture
def silent_typing(workdir):
    """A program that takes keys one by one and without echo, as a password prompt or a pager does, and then waits."""
    return write_script("silent_typing", "stty -icanon -echo < /dev/tty\necho ready > /dev/tty\nexec sleep 1000\n",
                        workdir)


# --- full-screen programs and prompts -----------------------------------------------------------------------------


@requires_program("less")
@pytest.mark.parametrize("command", ["seq 1000 | sluice run 'less'", "sluice run 'seq 1000 | less'"])
def test_pager_shows_its_page_takes_keys_and_quits(shell, command):
    modes = shell.run("stty -g")
    shell.start(command)
    shell.expect(r"(?<!\d)1\r\n2\r\n3\r\n")
    shell.expect(r"(?<!\d)23\r\n:")
    assert keeps_terminal_raw(shell)
    shell.send(" ")
    shell.expect(r"(?<!\d)24\r\n")
    shell.send("G")
    shell.expect(r"(?<!\d)1000\r\n")
    shell.send("q")
    shell.prompt()
    assert shell.status() == 0
    assert shell.run("stty -g") == modes
    shell.wait_for_no_process()


@requires_program("less")
# The shell of the second pipeline needs its trap: it would die by an interrupt that comes before it waits for `less`.
@pytest.mark.parametrize("pipeline, status", [("seq 1000 | less", 0), ("seq 1000 | { trap : INT; less; exit 7; }", 7)])
def test_interrupt_belongs_to_the_pager(shell, pipeline, status):
    # With hardly any grace, a flow that took the interrupt for its end would be killed before the next key.
    shell.start(f"sluice run --grace 1ms '{pipeline}'")
    shell.expect(r"(?<!\d)23\r\n:")
    wait_until(lambda: not shell.processes("seq"), "the end of seq, which would die by the interrupt")
    interrupt_pager(shell)
    press_until_shown(shell, "G", r"(?<!\d)1000\r\n")
    shell.send("q")
    shell.prompt()
    assert shell.status() == status
    shell.wait_for_no_process()


@requires_program("less")
def test_interrupt_belongs_to_a_pager_that_was_started_in_the_background(shell):
    # The modes that sluice finds at its start are then those of the shell's prompt, which are raw themselves.
    modes = shell.run("stty -g")
    shell.run("seq 1000 > numbers")
    shell.run("sluice run --grace 1ms 'less numbers' &")
    wait_until_stopped(shell, ["less", "sluice"])
    shell.start("fg")
    shell.expect(r"(?<!\d)23\r\n")
    shell.expect("numbers")
    interrupt_pager(shell)
    press_until_shown(shell, "G", r"(?<!\d)1000\r\n")
    shell.send("q")
    shell.prompt()
    assert shell.status() == 0
    assert shell.run("stty -g") == modes


@requires_program("fzf")
@pytest.mark.parametrize("before, behind", [
    ("", "> chosen"),
    ("", "| cat > chosen"),
    ("x=$(", '); echo "$x" > chosen'),
])
def test_fuzzy_finder_gives_the_chosen_item(shell, workdir, before, behind):
    modes = shell.run("stty -g")
    shell.start(f"{before}sluice run \"printf 'apple\\nbanana\\ncherry\\n' | fzf\"{behind}")
    shell.expect("3/3")
    shell.send("nan")
    shell.expect("1/3")
    shell.send("\r")
    shown = shell.prompt()
    assert (workdir / "chosen").read_text() == "banana\n"
    assert "sluice:" not in shown
    assert shell.status() == 0
    assert shell.run("stty -g") == modes


@requires_program("fzf")
def test_fuzzy_finder_on_the_terminal_alone(shell):
    shell.start("sluice run \"printf 'apple\\nbanana\\ncherry\\n' | fzf\"")
    shell.expect("3/3")
    shell.send("\r")
    assert shell.prompt().endswith("apple\r\n")
    assert shell.status() == 0


@requires_program("fzf")
def test_fuzzy_finder_left_with_escape(shell):
    shell.start("sluice run \"printf 'apple\\nbanana\\n' | fzf\"")
    shell.expect("2/2")
    shell.send(ESCAPE_KEY)
    shell.prompt()
    assert shell.status() == 130
    shell.wait_for_no_process()


def test_password_prompt_shows_nothing_that_is_typed(shell, workdir):
    write_script("ask", 'read -r -s -p "Password: " password < /dev/tty\necho "got $password"\n', workdir)
    shell.start("sluice run './ask | tr a-z A-Z'")
    shell.expect("Password: ")
    wait_until(lambda: not shell.modes()[LOCAL_FLAGS] & termios.ECHO, "a terminal without echo")
    shell.send("secret\n")
    assert shell.prompt().strip() == "GOT SECRET"
    assert shell.status() == 0


def test_first_stage_reads_the_terminal(shell):
    shell.start("sluice run 'head -1 | tr a-z A-Z'")
    shell.wait_for_process("head")
    shell.send("hello\n")
    assert shell.prompt() == "hello\r\nHELLO\r\n"
    assert shell.status() == 0


# --- job control ----------------------------------------------------------------------------------------------------


def test_suspended_flow_stops_as_a_whole_and_goes_on_in_the_foreground(shell, workdir):
    fifo = make_fifo(workdir)
    shell.start("sluice run '{ cat fifo; echo end; } | tr a-z A-Z'")
    with open_for_writing(fifo) as input:
        shell.wait_for_process("tr")
        shell.send(SUSPEND_KEY)
        assert "Stopped" in shell.prompt()
        wait_until_stopped(shell, ["sluice", "bash", "cat", "tr"])
        shell.start("fg")
        wait_until_resumed(shell)
        input.write("hello\n")
    assert shell.prompt().endswith("HELLO\r\nEND\r\n")
    assert shell.status() == 0


def test_suspended_flow_goes_on_in_the_background(shell, workdir):
    fifo = make_fifo(workdir)
    shell.start("sluice run --progress=none '{ cat fifo; echo end; } | tr a-z A-Z' > result")
    with open_for_writing(fifo) as input:
        shell.wait_for_process("tr")
        shell.send(SUSPEND_KEY)
        assert "Stopped" in shell.prompt()
        wait_until_stopped(shell, ["sluice", "bash", "cat", "tr"])
        shell.run("bg")
        wait_until_resumed(shell)
        input.write("hello\n")
    assert "status=0" in shell.run("wait %1; echo status=$?")
    assert (workdir / "result").read_text() == "HELLO\nEND\n"


def test_suspended_flow_is_ended_by_kill(shell):
    shell.start("sluice run 'sleep 1000 | cat'")
    shell.wait_for_process("sleep")
    shell.wait_for_process("cat")
    shell.send(SUSPEND_KEY)
    shell.prompt()
    wait_until_stopped(shell, ["sluice", "sleep", "cat"])
    shell.run("kill %1")
    shell.wait_for_no_process()
    # The shell says "Exit 143" of a program that exits with that status, and this of one that a signal ended.
    assert "Terminated" in shell.transcript + shell.run("jobs")


def test_resumed_flow_is_interrupted(shell):
    shell.start("sluice run 'sleep 1000 | cat'")
    shell.wait_for_process("sleep")
    shell.wait_for_process("cat")
    shell.send(SUSPEND_KEY)
    shell.prompt()
    wait_until_stopped(shell, ["sluice", "sleep", "cat"])
    shell.start("fg")
    wait_until_resumed(shell)
    shell.send(INTERRUPT_KEY)
    shell.prompt()
    assert shell.status() == 130
    shell.wait_for_no_process()


@pytest.mark.parametrize("command", ["cat", "sluice run 'cat'"])
def test_background_job_that_reads_the_terminal_stops_like_the_shells_own(shell, command):
    shell.run(command + " &")
    wait_until_stopped(shell, ["cat"] if command == "cat" else ["cat", "sluice"])
    # The shell learns of it by a signal; the first look may come too early.
    wait_until(lambda: re.search(r"Stopped \(tty input\)", shell.run("jobs -l")), "a job stopped by SIGTTIN")
    shell.start("fg")
    wait_until_resumed(shell)
    shell.send("hello\n")
    shell.expect("hello\r\nhello\r\n")
    shell.send(END_OF_FILE_KEY)
    shell.prompt()
    assert shell.status() == 0
    shell.wait_for_no_process()


@pytest.mark.parametrize("name, status", [("INT", 130), ("TERM", 143), ("HUP", 129), ("QUIT", 131)])
def test_signal_of_the_shell_ends_a_background_flow(shell, name, status):
    shell.run("sluice run 'sleep 1000 | cat' &")
    shell.wait_for_process("sleep")
    shell.wait_for_process("cat")
    assert f"status={status}" in shell.run(f"kill -{name} %1; wait %1; echo status=$?")
    shell.wait_for_no_process()


def test_nothing_outlives_the_kill_of_the_whole_job(shell):
    # The spawner is in no job, so that it is left to end what has left the job.
    shell.run("sluice run 'setsid --fork sleep 1000 | cat' &")
    shell.wait_for_process("sleep")
    shell.wait_for_process("cat")
    shell.run("kill -KILL %1")
    shell.wait_for_no_process()


def test_background_flow_is_killed_after_the_grace_while_the_shell_edits_its_line(shell, workdir, stubborn):
    # At its prompt the shell itself keeps the terminal raw; that must not be taken for an editor in the flow. The flow
    # starts while it is not raw: the shell is waiting for `head`, which ends when the flow has started.
    make_fifo(workdir)
    assert "ready" in shell.run("sluice run --grace 300ms './stubborn | cat > fifo' & head -1 fifo")
    shell.wait_for_process("sleep")
    shell.run("kill %1")
    assert keeps_terminal_raw(shell)
    shell.wait_for_no_process()
    assert "status=143" in shell.run("wait %1; echo status=$?")


def test_signals_of_the_shell_stop_and_continue_a_flow(shell, workdir):
    fifo = make_fifo(workdir)
    shell.run("sluice run --progress=none 'cat fifo | tr a-z A-Z' > result &")
    with open_for_writing(fifo) as input:
        shell.wait_for_process("tr")
        shell.run("kill -STOP %1")
        wait_until_stopped(shell, ["sluice", "cat", "tr"])
        shell.run("kill -CONT %1")
        wait_until_resumed(shell)
        input.write("hello\n")
    assert "status=0" in shell.run("wait %1; echo status=$?")
    assert (workdir / "result").read_text() == "HELLO\n"


def test_stage_that_suspends_its_process_group_suspends_the_job(shell, workdir):
    fifo = make_fifo(workdir)
    write_script("suspends", "read -r line < fifo\nkill -TSTP 0\necho after\n", workdir)
    shell.start("sluice run './suspends | cat'")
    with open_for_writing(fifo) as input:
        # A stage that is started later than the signal would miss it, in a shell's pipeline as well.
        shell.wait_for_process("cat")
        input.write("go\n")
    assert "Stopped" in shell.prompt()
    wait_until_stopped(shell, ["sluice", "suspends", "cat"])
    shell.start("fg")
    assert shell.prompt().endswith("after\r\n")
    assert shell.status() == 0


def test_editor_suspends_itself_by_a_key_and_comes_back(shell, workdir):
    # As vim does: in its raw mode Ctrl-Z is a key, upon which it gives the terminal back and stops its group.
    write_script("editor", """
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
""", workdir)
    modes = shell.run("stty -g")
    shell.start("sluice run './editor | cat'")
    shell.expect("first screen")
    shell.wait_for_process("cat")
    shell.send(SUSPEND_KEY)
    assert "Stopped" in shell.prompt()
    wait_until_stopped(shell, ["sluice", "editor", "cat"])
    assert shell.run("stty -g") == modes
    shell.start("fg")
    shell.expect("second screen")
    shell.send("q")
    assert shell.prompt().endswith("the key was q\r\n")
    assert shell.status() == 0
    assert shell.run("stty -g") == modes


# --- the end by a key -----------------------------------------------------------------------------------------------


def test_interrupt_ends_the_loop_around(shell):
    shell.start("for i in 1 2 3 4 5; do sluice run 'sleep 1000 | cat'; echo round $i; done")
    shell.wait_for_process("sleep")
    shell.wait_for_process("cat")
    shell.send(INTERRUPT_KEY)
    assert "round" not in shell.prompt()
    assert shell.status() == 130
    shell.wait_for_no_process()


def test_interrupt_without_echo_ends_the_loop_around(shell, silent_typing):
    # While a stage keeps the terminal to itself the interrupt is the stage's own; but when the stage dies by it, the
    # user at the password prompt wants to be rid of the loop, too.
    modes = shell.run("stty -g")
    shell.start("for i in 1 2 3 4 5; do sluice run './silent_typing | cat'; echo round $i; done")
    shell.expect("ready")
    shell.wait_for_process("sleep")
    shell.wait_for_process("cat")
    shell.send(INTERRUPT_KEY)
    assert "round" not in shell.prompt()
    assert shell.status() == 130
    assert shell.run("stty -g") == modes
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
def test_sluice_dies_by_the_signal_of_the_key(terminal, marker, stubborn, sluice, key, number):
    program = terminal(sluice, "run", "--grace", "300ms", "./stubborn | cat")
    program.expect("ready")
    program.send(key)
    assert program.wait() == -number, "the parent has to see WIFSIGNALED"
    wait_for_no_process(marker)


def test_second_interrupt_kills_at_once(shell, stubborn):
    shell.start("sluice run --grace 1h './stubborn | cat'")
    shell.expect("ready")
    shell.wait_for_process("sleep")
    shell.send(INTERRUPT_KEY)
    # Two interrupts that come together would be one signal: `cat` dies by the first and shows that it has come.
    wait_until(lambda: not shell.processes("cat"), "the end of cat")
    assert shell.processes("stubborn"), "the first interrupt must not kill"
    shell.send(INTERRUPT_KEY)
    shell.prompt()
    assert shell.status() == 130
    shell.wait_for_no_process()


def test_quit_key_ends_the_flow(shell):
    shell.start("sluice run 'sleep 1000 | cat'")
    shell.wait_for_process("sleep")
    shell.wait_for_process("cat")
    shell.send(QUIT_KEY)
    shell.prompt()
    assert shell.status() == 131
    shell.wait_for_no_process()


# --- within a larger pipeline -----------------------------------------------------------------------------------------


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


def test_writer_outside_sees_that_the_flow_reads_no_more(shell, workdir):
    fifo = make_fifo(workdir)
    shell.start("yes | sluice run 'exec < /dev/null; cat fifo'")
    with open_for_writing(fifo):
        wait_until(lambda: not shell.processes("yes"), "the end of yes while the flow runs")
        assert shell.processes("cat")
    shell.prompt()
    assert shell.pipe_status() == [141, 0]


def test_reader_outside_sees_that_the_flow_writes_no_more(shell, workdir):
    fifo = make_fifo(workdir)
    shell.start("sluice run 'exec > /dev/null; cat fifo' | wc -l")
    with open_for_writing(fifo):
        shell.expect(r"(?<!\d)0\r\n")
        assert shell.processes("cat")
    shell.prompt()
    assert shell.pipe_status() == [0, 0]


@pytest.mark.parametrize("command", ["sluice run 'sleep 1000' | cat", "sleep 1000 | sluice run 'cat'"])
def test_interrupt_ends_the_whole_pipeline(shell, command):
    shell.start(command)
    job = [shell.wait_for_process(name) for name in ("sluice", "sleep", "cat")]
    assert len({process_group(pid) for pid in job}) == 1
    shell.send(INTERRUPT_KEY)
    shell.prompt()
    assert shell.status() == 130
    shell.wait_for_no_process()


# --- hang-up ----------------------------------------------------------------------------------------------------------


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
    for name in stages:
        shell.wait_for_process(name)
    shell.hang_up()
    wait_for_no_process(marker)


def test_closed_window_ends_a_suspended_flow(shell, marker):
    shell.start("sluice run 'sleep 1000 | cat'")
    shell.wait_for_process("sleep")
    shell.wait_for_process("cat")
    shell.send(SUSPEND_KEY)
    shell.prompt()
    wait_until_stopped(shell, ["sluice", "sleep", "cat"])
    shell.hang_up()
    wait_for_no_process(marker)


def test_end_of_the_session_ends_a_stage_that_keeps_the_terminal_and_ignores_the_hang_up(shell, marker, workdir):
    # A signal belongs to the stage that keeps the terminal raw; but the hang-up says that there is no terminal more.
    write_script("lasting", "trap '' HUP\nstty -icanon -echo < /dev/tty\necho ready > /dev/tty\nsleep 1000\n", workdir)
    shell.start("sluice run --grace 300ms './lasting | cat'")
    shell.expect("ready")
    shell.wait_for_process("sleep")
    assert keeps_terminal_raw(shell)
    shell.process.kill()
    shell.process.wait()
    wait_for_no_process(marker)


# --- terminal modes ---------------------------------------------------------------------------------------------------


def test_modes_are_restored_when_the_stage_that_changed_them_is_killed(shell, silent_typing):
    modes = shell.run("stty -g")
    shell.start("sluice run './silent_typing | cat'")
    shell.expect("ready")
    stage = shell.wait_for_process("sleep")
    assert keeps_terminal_raw(shell)
    os.kill(stage, signal.SIGKILL)
    shell.prompt()
    assert shell.status() == 137
    assert shell.run("stty -g") == modes


def test_modes_are_left_to_a_stage_that_changed_them_and_ended_well(shell):
    # `stty` in a pipeline is meant to last, as in a shell.
    modes = shell.run("stty -g")
    shell.run("sluice run 'stty -icanon'")
    assert shell.run("stty -g") != modes


# --- the progress line ------------------------------------------------------------------------------------------------


def test_progress_line_is_shown_and_wiped(shell, workdir):
    fifo = make_fifo(workdir)
    shell.start("sluice run 'cat fifo | tr a-z A-Z' > result")
    with open_for_writing(fifo) as input:
        shell.expect(PROGRESS_LINE)
        input.write("hello\n")
    rest = re.sub(PROGRESS_LINE, "", shell.prompt())
    assert rest == "\r" + ERASE_LINE
    assert (workdir / "result").read_text() == "HELLO\n"
    assert shell.status() == 0


# The flows of the next tests last until their timeout, longer than a progress line would take to appear.


@pytest.mark.parametrize("redirection", ["> result 2> errors", "2> errors", "2>&1 > result | cat > errors"])
def test_progress_line_is_not_shown_where_stderr_is_no_terminal(shell, workdir, redirection):
    assert shell.run(f"sluice run --timeout 1500ms 'sleep 1000 | cat' {redirection}") == ""
    assert re.fullmatch(r"sluice: timed out after [^\n]*\n", (workdir / "errors").read_text())


def test_progress_line_is_not_shown_where_the_output_goes_to_the_terminal(shell):
    shown = shell.run("sluice run --timeout 1500ms 'sleep 1000 | cat'")
    assert re.fullmatch(r"sluice: timed out after [^\n]*\n", shown)


def test_progress_line_is_not_shown_by_a_background_job(shell):
    shown = shell.run("sluice run --timeout 1500ms 'sleep 1000 | cat' > result & wait %1; echo status=$?")
    assert "status=124" in shown
    assert ERASE_LINE not in shown


def test_progress_line_is_not_wiped_from_the_background(shell, workdir):
    # Where the line was there is the shell's prompt by then.
    fifo = make_fifo(workdir)
    shell.start("sluice run 'cat fifo | tr a-z A-Z' > result")
    with open_for_writing(fifo) as input:
        shell.expect(PROGRESS_LINE)
        shell.wait_for_process("tr")
        shell.send(SUSPEND_KEY)
        shell.prompt()
        wait_until_stopped(shell, ["sluice", "cat", "tr"])
        background = shell.seen()
        shell.run("bg")
        wait_until_resumed(shell)
        input.write("hello\n")
    assert "status=0" in shell.run("wait %1; echo status=$?")
    assert ERASE_LINE not in shell.transcript[background:]


def test_progress_line_is_held_back_while_a_stage_keeps_the_terminal(shell, workdir):
    fifo = make_fifo(workdir)
    write_script("screen", """
saved=$(stty -g < /dev/tty)
stty -icanon -echo < /dev/tty
echo begin of the screen > /dev/tty
sleep 2
echo end of the screen > /dev/tty
stty "$saved" < /dev/tty
cat fifo
""", workdir)
    shell.start("sluice run './screen | cat' > result")
    shell.expect("begin of the screen")
    begin = shell.seen()
    shell.expect("end of the screen")
    assert ERASE_LINE not in shell.transcript[begin:shell.seen()]
    with open_for_writing(fifo):
        shell.expect(PROGRESS_LINE)
    shell.prompt()
    assert shell.status() == 0
