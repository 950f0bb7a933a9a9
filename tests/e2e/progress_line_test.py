"""The progress line: shown on a terminal where it is in nobody's way, and wiped."""

import re

import pytest

from files import open_for_writing, write_script

# Return, text, erase to the end of the line (ECMA-48 EL), return.
PROGRESS_LINE = r"\r[^\r\n]*1 [^\r\n]* \| 2 [^\r\n]*\x1b\[K\r"
ERASE_LINE = "\x1b[K"


def test_progress_line_is_shown_and_wiped(shell, workdir, fifo):
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


def test_progress_line_is_not_wiped_from_the_background(shell, fifo):
    # Where the line was there is the shell's prompt by then.
    shell.start("sluice run 'cat fifo | tr a-z A-Z' > result")
    with open_for_writing(fifo) as input:
        shell.expect(PROGRESS_LINE)
        shell.wait_for_process("tr")
        shell.suspend("sluice", "cat", "tr")
        background = shell.seen()
        shell.continue_in_background()
        input.write("hello\n")
    assert "status=0" in shell.run("wait %1; echo status=$?")
    assert ERASE_LINE not in shell.transcript[background:]


def test_progress_line_is_held_back_while_a_stage_keeps_the_terminal(shell, workdir, fifo):
    write_script(workdir / "screen", """
saved=$(stty -g < /dev/tty)
stty -icanon -echo < /dev/tty
echo begin of the screen > /dev/tty
sleep 2
echo end of the screen > /dev/tty
stty "$saved" < /dev/tty
cat fifo
""")
    shell.start("sluice run './screen | cat' > result")
    shell.expect("begin of the screen")
    begin = shell.seen()
    shell.expect("end of the screen")
    assert ERASE_LINE not in shell.transcript[begin:shell.seen()]
    with open_for_writing(fifo):
        shell.expect(PROGRESS_LINE)
    shell.prompt()
    assert shell.status() == 0
