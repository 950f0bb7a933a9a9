"""The streams and descriptors that a flow is given: closed, inherited, full or flooded."""

import re

import pytest

from flows import on_and_off_a_terminal, with_every_kind_of_report, with_options
from settings import BASH, SLUICE, STRICT

# --- closed and inherited descriptors -----------------------------------------------------------------------------

# How a caller may have closed standard streams: as redirections of a shell.
CLOSINGS = ["0<&-", "1>&-", "2>&-", "0<&- 1>&-", "0<&- 2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"]
# What is written goes to files, because stdout may be the stream that is closed. Its descriptors are listed by each
# kind of stage: straight by exec, and a shell.
DESCRIPTOR_TEXTS = [
    "ls -l /proc/self/fd",
    "ls -l /proc/self/fd > listed",
    "true | ls -l /proc/self/fd | cat > listed",
    "{ true; } | { ls -l /proc/self/fd; } | tee listed",
    "cat | cat > listed",
    "echo x | cat",
    "echo x | { cat; } | cat >&2",
    "seq 3 | wc -l > listed; echo $? >> listed",
]


def listing(text):
    """Numbers and targets of `ls -l /proc/self/fd`; pipes differ in their inode, and ls has its own folder open."""
    found = re.findall(r" (\d+) -> (\S+)", text)
    return sorted((int(number), re.sub(r"\d+", "N", target)) for number, target in found)


def outcome_with_closed_streams(household, command, text, closing):
    listed = household.folder / "listed"
    listed.unlink(missing_ok=True)
    script = f'exec "$@" {closing}'
    result = household.run(["bash", "-c", script, "bash", *command, text])
    content = listed.read_text() if listed.exists() else None
    if content is not None and "->" in content:
        content = listing(content)
    stdout = listing(result.stdout.decode()) if b"->" in result.stdout else result.stdout
    return result.returncode, stdout, content


@pytest.mark.parametrize("text", DESCRIPTOR_TEXTS)
@pytest.mark.parametrize("closing", CLOSINGS)
def test_closed_standard_streams_are_as_under_bash(household, closing, text):
    expected = outcome_with_closed_streams(household, BASH, text, closing)
    assert outcome_with_closed_streams(household, STRICT, text, closing) == expected


@pytest.mark.parametrize("closing, why", [(">&-", b"writing"), ("<&-", b"reading")])
@pytest.mark.parametrize("stage", ["@map cat", "@x2 cat", "@each cat", "@each echo {}", "@x2 @map @ordered cat"])
def test_records_come_from_no_closed_stream_and_vanish_into_none(household, stage, closing, why):
    text = f"seq 3 | {stage}" if closing == ">&-" else stage
    result = household.run(["bash", "-c", f'exec "$@" {closing}', "bash", SLUICE, "run", text])
    assert result.returncode == 125
    assert why in result.stderr and b"failed: Bad file descriptor" in result.stderr, result.stderr
    household.assert_clean()


@with_every_kind_of_report
@on_and_off_a_terminal
@pytest.mark.parametrize("text", ["ls -l /proc/self/fd", "true | ls -l /proc/self/fd | cat",
                                  "true | { ls -l /proc/self/fd; } | cat", "true | ls -l /proc/self/fd"])
def test_stages_get_the_inherited_descriptors_and_none_of_ours(household, text, on_terminal, options):
    listings = []
    for command in ([SLUICE, "run", *options], BASH):
        script = 'exec "$@" 7< /etc/passwd 12> /dev/null'
        result = household.run(["bash", "-c", script, "bash", *command, text], on_terminal=on_terminal)
        assert result.returncode == 0, result
        listings.append(listing(result.stdout.decode()))
    assert listings[0] == listings[1]
    assert {0, 1, 2, 7, 12} <= {number for number, _ in listings[0]}


# --- full devices -------------------------------------------------------------------------------------------------


@pytest.fixture
def full_device():
    with open("/dev/full", "wb") as device:
        yield device


def test_full_stdout_is_reported_with_the_stage_that_met_it(household, full_device):
    result = household.run_sluice("run", "seq 3 | cat", stdout=full_device)
    assert result.returncode == 1
    assert b"No space left on device" in result.stderr
    assert b"sluice: stage 2 `cat` exited with status 1\n" in result.stderr


@pytest.mark.parametrize("arguments", [["version"], ["--help"], ["run", "--help"], ["completion", "zsh"],
                                       ["run", "--dry-run", "cat"]], ids=" ".join)
def test_own_answer_to_a_full_stdout_fails(household, full_device, arguments):
    result = household.run_sluice(*arguments, stdout=full_device)
    assert result.returncode == 1
    assert b"No space left on device" in result.stderr


def test_full_stderr_does_not_matter(household, full_device):
    result = household.run_sluice("run", "--json", "--mark-stderr", "{ echo lost >&2; echo kept; } | cat",
                                  stderr=full_device)
    # Its shell notices the lost line, or does not; what counts is that we go on without messages.
    assert result.returncode in (0, 1) and result.stdout == b"kept\n"


# --- floods of messages -------------------------------------------------------------------------------------------

FLOOD = 10 * 1024 * 1024


@with_options([], ["--mark-stderr"], ["--mark-stderr", "--exact", "--progress=json"])
def test_flood_on_stderr_never_deadlocks(household, options):
    flood = f"head -c {FLOOD} /dev/zero | tr '\\0' x | fold -w 99 >&2"
    text = f"seq 100000 | {{ {flood}; echo done; }} | cat"
    result = household.run_sluice("run", *options, text, deadline=60)
    assert result.outcome == (0, b"done\n"), result.stderr[-200:]
    assert result.stderr.count(b"x") >= FLOOD
    if "--mark-stderr" in options:
        marked = [line for line in result.stderr.splitlines() if b"xxxx" in line]
        assert all(re.fullmatch(rb"\[2 bash\] x+", line) for line in marked)


def test_marks_name_the_stage(household):
    text = "{ echo one >&2; echo from one; } | sh -c 'cat; echo two >&2; printf end >&2' | cat"
    result = household.run_sluice("run", "--mark-stderr", text)
    assert result.outcome == (0, b"from one\n")
    assert sorted(result.stderr.splitlines()) == [b"[1 bash] one", b"[2 sh] end", b"[2 sh] two"]
