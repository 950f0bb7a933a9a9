"""`sluice run` on a terminal: full-screen programs, prompts, and the modes that they leave.

Most tests type commands into an interactive bash on a pseudo-terminal, since the shell, the kernel and the program make
together what a user sees. Stages wait on fifos or sleep far longer than a test lasts; the tests end them.
"""

import os
import signal

import pytest

from files import write_script
from machine import requires_program
from processes import has_pending_signal, process_state, wait_until
from terminals import ESCAPE_KEY, INTERRUPT_KEY

BELL = "\x07"


# --- full-screen programs and prompts -----------------------------------------------------------------------------


def press_until_shown(shell, key, pattern):
    """For a program that may drop a key, as a pager does that is just busy with an interrupt."""

    def shown():
        shell.send(key)
        try:
            return shell.expect(pattern, deadline=0.5)
        except AssertionError:
            return None

    wait_until(shown, lambda: f"{pattern!r} upon {key!r}; the terminal showed {shell.transcript[-500:]!r}")


def interrupt_pager(shell):
    """Presses Ctrl-C, and waits until the pager has answered with its bell and sluice has judged whose the signal is:
    no user leaves the pager before that, but a test might."""
    shell.send(INTERRUPT_KEY)
    shell.expect(BELL)
    pid = shell.wait_for_process("sluice")
    wait_until(lambda: not has_pending_signal(pid, signal.SIGINT) and process_state(pid) == "S",
               "the interrupt to be judged")


@requires_program("less")
@pytest.mark.parametrize("command", ["seq 1000 | sluice run 'less'", "sluice run 'seq 1000 | less'"])
def test_pager_shows_its_page_takes_keys_and_quits(shell, command):
    modes = shell.modes()
    shell.start(command)
    shell.expect(r"(?<!\d)1\r\n2\r\n3\r\n")
    shell.expect(r"(?<!\d)23\r\n:")
    assert shell.is_raw()
    shell.send(" ")
    shell.expect(r"(?<!\d)24\r\n")
    shell.send("G")
    shell.expect(r"(?<!\d)1000\r\n")
    shell.send("q")
    shell.prompt()
    assert shell.status() == 0
    assert shell.modes() == modes
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
    modes = shell.modes()
    shell.run("seq 1000 > numbers")
    shell.run("sluice run --grace 1ms 'less numbers' &")
    shell.wait_until_stopped("less", "sluice")
    shell.start("fg")
    shell.expect(r"(?<!\d)23\r\n")
    shell.expect("numbers")
    interrupt_pager(shell)
    press_until_shown(shell, "G", r"(?<!\d)1000\r\n")
    shell.send("q")
    shell.prompt()
    assert shell.status() == 0
    assert shell.modes() == modes


@requires_program("fzf")
@pytest.mark.parametrize("before, behind", [
    ("", "> chosen"),
    ("", "| cat > chosen"),
    ("x=$(", '); echo "$x" > chosen'),
])
def test_fuzzy_finder_gives_the_chosen_item(shell, workdir, before, behind):
    modes = shell.modes()
    shell.start(f"{before}sluice run \"printf 'apple\\nbanana\\ncherry\\n' | fzf\"{behind}")
    shell.expect("3/3")
    shell.send("nan")
    shell.expect("1/3")
    shell.send("\r")
    shown = shell.prompt()
    assert (workdir / "chosen").read_text() == "banana\n"
    assert "sluice:" not in shown
    assert shell.status() == 0
    assert shell.modes() == modes


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
    write_script(workdir / "ask", 'read -r -s -p "Password: " password < /dev/tty\necho "got $password"\n')
    shell.start("sluice run './ask | tr a-z A-Z'")
    shell.expect("Password: ")
    wait_until(lambda: not shell.echoes(), "a terminal without echo")
    shell.send("secret\n")
    assert shell.prompt().strip() == "GOT SECRET"
    assert shell.status() == 0


def test_first_stage_reads_the_terminal(shell):
    shell.start("sluice run 'head -1 | tr a-z A-Z'")
    shell.wait_for_process("head")
    shell.send("hello\n")
    assert shell.prompt() == "hello\r\nHELLO\r\n"
    assert shell.status() == 0


# --- terminal modes -----------------------------------------------------------------------------------------------


def test_modes_are_restored_when_the_stage_that_changed_them_is_killed(shell, silent_typing):
    modes = shell.modes()
    shell.start("sluice run './silent_typing | cat'")
    shell.expect("ready")
    stage = shell.wait_for_process("sleep")
    assert shell.is_raw()
    os.kill(stage, signal.SIGKILL)
    shell.prompt()
    assert shell.status() == 137
    assert shell.modes() == modes


def test_modes_are_left_to_a_stage_that_changed_them_and_ended_well(shell):
    # `stty` in a pipeline is meant to last, as in a shell.
    modes = shell.modes()
    shell.run("sluice run 'stty -icanon'")
    assert shell.modes() != modes
