"""A process for each record (`@each`): its output whole or not at all, failures tried again, buried or told."""

import base64
import json
import os
import resource
import signal
import subprocess
import threading
from collections import Counter

import pytest

from flows import SHORT_GRACE, for_every_user
from processes import is_alive, wait_until

# Fails for the record 3 and says so.
PICKY = """sh -c '[ "$1" != 3 ] || { echo "no $1" >&2; exit 4; }; echo "$1"' sh {}"""


def numbers(count):
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


def letters(household, name="dead"):
    return [json.loads(line) for line in (household.folder / name).read_text().splitlines()]


def log_rows(household, name="log"):
    lines = (household.folder / name).read_text().splitlines()
    columns = lines[0].split("\t")
    return [dict(zip(columns, line.split("\t", len(columns) - 1))) for line in lines[1:]]


# --- what a process gets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["@each cat", "@x4 @each cat", "cat | @x2 @each cat | cat", "@x2 cat | @x2 @each cat",
                                  "@x2 @each cat | @x2 cat", "@each cat | @each cat", "@x4 @each=7 cat"])
def test_every_record_is_given_to_one_process(household, text):
    data = numbers(300)
    result = household.run_sluice("run", text, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert Counter(result.stdout.splitlines()) == Counter(data.splitlines())
    household.assert_clean()


def test_a_process_gets_one_record_or_as_many_as_asked(household):
    assert household.run_sluice("run", "seq 3 | @each wc -l").stdout == b"1\n1\n1\n"
    assert household.run_sluice("run", "seq 10 | @each=4 wc -l").stdout == b"4\n4\n2\n"
    assert household.run_sluice("run", "true | @each wc -l").stdout == b""
    result = household.run_sluice("run", "--json", "seq 10 | @x2 @each=4 cat")
    stage = result.summary["stages"][1]
    assert stage["processes"] == 3 and sum(worker["records_given"] for worker in stage["workers"]) == 10


@pytest.mark.parametrize("framing, data, printed", [
    ("@lines", b"a b\n\nlast", b"<a b><><last>"),
    ("@null", b"a\nb\0c\0", b"<a\nb><c>"),
    ("@len", b"\0\0\0\3a\nb\0\0\0\0", b"<a\nb><>"),
    ("@json", b'{"a": 1}[2] "x"', b'<{"a": 1}><[2]><"x">'),
])
def test_braces_are_replaced_by_the_record(household, framing, data, printed):
    result = household.run_sluice("run", f"@each {framing} printf '<%s>' {{}}", input=data)
    assert (result.returncode, result.stdout, result.stderr) == (0, printed, b"")


# Whatever a record holds, no shell reads it as text.
@pytest.mark.parametrize("command", ["printf '%s\\n' {}", "printf '%s\\n' {} | cat", "{ x={}; printf '%s\\n' \"$x\"; }",
                                     "printf '%s\\n' $(printf '%s' {})x", "cat <<< {}"])
def test_a_record_is_one_word_whatever_it_holds(household, command):
    nasty = [b"a b", b"$(touch pwned)", b"`touch pwned`", b"'; touch pwned; '", b'"; touch pwned; "', b"\\'; touch pwned",
             b"-n", b"*", b"~", b"!x", b"\xff\xfe"]
    if "$(" in command:
        nasty = [word for word in nasty if b" " not in word and b"*" not in word]
        expected = [word + b"x" for word in nasty]
    else:
        expected = nasty
    result = household.run_sluice("run", f"@each @ordered {command}", input=b"\n".join(nasty) + b"\n")
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.splitlines() == expected
    assert not (household.folder / "pwned").exists()


def test_stderr_is_that_of_the_flow(household):
    result = household.run_sluice("run", "seq 2 | @each @ordered sh -c 'echo out; echo error >&2'")
    assert (result.stdout, result.stderr) == (b"out\n" * 2, b"error\n" * 2)
    result = household.run_sluice("run", "--mark-stderr", "seq 2 | @each sh -c 'echo error >&2'")
    assert result.stderr == b"[2 sh] error\n" * 2
    result = household.run_sluice("run", "seq 2 | @each sh -c 'echo error >&2' |& cat")
    assert (result.stdout, result.stderr) == (b"error\n" * 2, b"")


def test_stdin_is_empty_where_the_record_is_an_argument(household):
    assert household.run_sluice("run", "seq 2 | @each @ordered sh -c 'cat; echo $1' sh {}").stdout == b"1\n2\n"


@pytest.mark.parametrize("text, words", [
    ("seq 2 | @each sh -c 'rm {}'", ["within quotes", 'sh -c \'... "$1"\' sh {}']),
    ('seq 2 | @each echo "{}"', ["within quotes"]),
    ("seq 2 | @each echo `cat {}`", ["within backquotes"]),
    ("seq 2 | @each=2 echo {}", ["@each=2", "leave the number out"]),
    ("seq 2 | @x2 @each=2 @by=1 cat", ["exclude each other"]),
    ("seq 2 | @by=1 @each cat", ["@x4 @by=1"]),
    ("seq 2 | @x2 @by=name @each cat", ["names no field"]),
    ("seq 2 | @x2 @ordered cat", ["@map", "@each"]),
])
def test_what_cannot_be_meant_is_refused_with_a_hint(household, text, words):
    result = household.run_sluice("run", text)
    assert result.returncode == 125 and result.stdout == b""
    for word in words:
        assert word in result.stderr.decode()


@pytest.mark.parametrize("options, words", [
    (["--resume", "seq 2 | @each cat"], ["--joblog"]),
    (["--retries", "2", "seq 2 | @x2 cat"], ["@each"]),
    (["--rate", "3", "seq 2 | cat"], ["@x4"]),
    (["--rate", "0", "seq 2 | @each cat"], ["2.5/s"]),
    (["--rate", "5/d", "seq 2 | @each cat"], ["50/h"]),
    (["--retries", "x", "seq 2 | @each cat"], ["--retries x"]),
    (["--joblog", "log", "seq 2 | @each cat | @each cat"], ["several stages"]),
    (["--joblog", "no/log", "seq 2 | @each cat"], ["no/log", "No such file"]),
    (["--dead-letter", "no/dead", "seq 2 | @each cat"], ["no/dead", "No such file"]),
])
def test_options_without_sense_are_refused_with_a_hint(household, options, words):
    result = household.run_sluice("run", *options)
    assert result.returncode == 125 and result.stdout == b""
    for word in words:
        assert word in result.stderr.decode()


def test_a_record_too_long_for_an_argument_is_refused_alone(household):
    data = b"short\n" + b"x" * 200_000 + b"\nlast\n"
    result = household.run_sluice("run", "@each echo {}", input=data)
    assert result.returncode == 126
    assert b"record 2 can't be given" in result.stderr and b"read it from stdin" in result.stderr
    result = household.run_sluice("run", "--dead-letter", "dead", "@each echo {}", input=data)
    assert (result.returncode, result.stdout) == (0, b"short\nlast\n")
    assert [(letter["number"], letter["status"]) for letter in letters(household)] == [(2, None)]
    result = household.run_sluice("run", "@each wc -c", input=data)
    assert result.stdout == b"6\n200001\n5\n"


def test_the_plan_says_how_records_are_handled(household):
    result = household.run_sluice("run", "--dry-run", "seq 3 | @x2 @each @ordered gzip {} | @each=10 wc -l")
    plan = result.stdout.decode()
    assert "2 workers, a process for each record: exec" in plan and "a process for every 10 records" in plan
    result = household.run_sluice("run", "--dry-run", "@x2 @each @ordered gzip")
    assert "promise: the output of every record once, in the order of the input" in result.stdout.decode()


# --- output -------------------------------------------------------------------------------------------------------


def test_output_is_whole_and_in_order_if_asked(household):
    text = "@x4 @each @ordered sh -c 'sleep 0.0$(($1 % 7)); echo a $1; echo b $1' sh {}"
    result = household.run_sluice("run", text, input=numbers(40))
    assert result.stdout == b"".join(b"a %d\nb %d\n" % (number, number) for number in range(1, 41))
    result = household.run_sluice("run", text.replace("@ordered ", ""), input=numbers(40))
    lines = result.stdout.splitlines()
    assert Counter(line[2:] for line in lines[::2]) == Counter(line[2:] for line in lines[1::2])
    assert all(first == b"a" + second[1:] for first, second in zip(lines[::2], lines[1::2]))


def test_long_output_is_kept_in_a_file_without_a_name(household, tmp_path):
    text = "@x2 @each @ordered sh -c 'yes $1 | head -c 3000000' sh {}"
    result = household.run_sluice("run", text, input=numbers(4), environment={"TMPDIR": str(tmp_path)})
    assert result.returncode == 0
    assert [result.stdout[at] for at in range(0, 12_000_000, 3_000_000)] == [ord(digit) for digit in "1234"]
    assert len(result.stdout) == 12_000_000 and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_keep_output_is_named(household):
    result = household.run_sluice("run", "@each sh -c 'yes | head -c 300000'", input=b"x\n", environment={"TMPDIR": "/nowhere"})
    assert result.returncode == 125
    assert b"/nowhere" in result.stderr and b"TMPDIR" in result.stderr


def test_nothing_of_a_process_that_fails_goes_on(household):
    result = household.run_sluice("run", "--retries", "1",
                                  "@each sh -c 'echo partly; [ -e tried ] || { touch tried; exit 1; }; echo whole'",
                                  input=b"x\n")
    assert (result.returncode, result.stdout) == (0, b"partly\nwhole\n")


def test_a_slow_record_makes_nobody_keep_what_has_been_run(household):
    """Neither the records behind it, nor a descriptor for each output."""
    text = "@x4 @each @ordered sh -c '[ -e first ] || { touch first; while [ ! -e go ]; do sleep 0.01; done; }; " \
           "head -c 20000'"
    process = household.start_sluice("run", text, stdin=subprocess.PIPE, before_exec=lambda: resource.setrlimit(
        resource.RLIMIT_NOFILE, (250, 250)))
    data = b"".join(b"%d " % number * 250_000 + b"\n" for number in range(300))
    output = []
    reader = threading.Thread(target=lambda: output.append(process.stdout.read()))
    reader.start()
    feeder = threading.Thread(target=lambda: (process.stdin.write(data), process.stdin.close()))
    feeder.start()

    def stands_still():
        before = len(list(os.scandir(f"/proc/{process.pid}/fd")))
        threading.Event().wait(0.3)
        return before > 50 and before == len(list(os.scandir(f"/proc/{process.pid}/fd")))

    wait_until(stands_still, "the stage to hold back", deadline=60)
    with open(f"/proc/{process.pid}/statm", encoding="ascii") as file:
        assert int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") < 64 << 20
    (household.folder / "go").touch()
    assert process.wait(timeout=60) == 0, process.stderr.read()
    reader.join()
    feeder.join()
    assert output[0] == b"".join(line[:20_000] for line in data.splitlines(keepends=True))


def test_a_stderr_that_nobody_reads_does_not_keep_the_flow_from_ending(household):
    """With dead letters it leads through us."""
    read_end, write_end = os.pipe()
    process = household.start_sluice("run", "--timeout", "1s", "--dead-letter", "dead",
                                     "seq 50 | @x2 @each sh -c 'yes error | head -c 100000 >&2'", stderr=write_end)
    assert process.wait(timeout=20) == 124
    os.close(read_end)
    os.close(write_end)


def test_a_reader_that_is_done_ends_the_stage(household):
    result = household.run_sluice("run", "yes | @x2 @each cat | head -n 3", deadline=30)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"y\n" * 3, b"")
    result = household.run_sluice("run", "--pipefail=strict", "yes | @each cat | head -n 3", deadline=30)
    assert result.returncode == 141
    household.assert_clean()


def test_a_process_that_leaves_something_running_is_over_with_itself(household):
    result = household.run_sluice("run", *SHORT_GRACE, "seq 3 | @each @ordered sh -c 'sleep 1000 & echo $1' sh {}",
                                  deadline=30)
    assert result.stdout == b"1\n2\n3\n"
    household.assert_clean()


# --- failures -----------------------------------------------------------------------------------------------------


def test_a_failure_ends_the_flow_with_its_status_and_says_what_to_do(household):
    result = household.run_sluice("run", f"seq 9 | @each @ordered {PICKY}")
    assert (result.returncode, result.stdout) == (4, b"1\n2\n")
    said = result.stderr.decode()
    assert "record 3 failed" in said and "status 4" in said and "--retries" in said and "--dead-letter" in said
    household.assert_clean()


def test_a_failure_is_tried_again_as_often_as_asked(household):
    again = "sh -c 'echo x >> tries; [ $(wc -l < tries) -ge 3 ]'"
    assert household.run_sluice("run", "--retries", "2", f"echo 1 | @each {again}").returncode == 0
    (household.folder / "tries").unlink()
    result = household.run_sluice("run", "--retries", "1", f"echo 1 | @each {again}")
    assert result.returncode == 1 and b"at attempt 2" in result.stderr


def test_what_fails_for_good_goes_to_the_dead_letters_and_the_rest_flows(household):
    result = household.run_sluice("run", "--name", "nightly", "--retries", "1", "--dead-letter", "dead", "--json",
                                  f"seq 5 | @x2 @each @ordered {PICKY}")
    assert (result.returncode, result.stdout) == (0, b"1\n2\n4\n5\n")
    assert b"1 record failed for good and went to the dead letters in dead" in result.stderr
    assert result.stderr.count(b"no 3\n") == 2
    (letter,) = letters(household)
    assert letter["record"] == "3\n" and letter["stderr"] == "no 3\n"
    assert (letter["flow"], letter["stage"], letter["number"], letter["attempts"], letter["status"], letter["signal"]) == (
        "nightly", 2, 3, 2, 4, None)
    stage = result.summary["stages"][1]
    assert (stage["dead_letters"], stage["retries"], stage["processes"]) == (1, 1, 6)


def test_a_dead_letter_holds_any_bytes_and_the_tail_of_stderr_alone(household):
    result = household.run_sluice("run", "--dead-letter", "dead", "@each sh -c 'yes error | head -c 100000 >&2; exit 1'",
                                  input=b"\xff\0x\n")
    assert result.returncode == 0 and len(result.stderr) > 100_000
    (letter,) = letters(household)
    assert base64.b64decode(letter["record_base64"]) == b"\xff\0x\n"
    assert len(letter["stderr"]) == 4096 and "error\nerror\n" in letter["stderr"]


def test_dead_letters_that_cannot_be_written_end_the_flow(household):
    result = household.run_sluice("run", "--dead-letter", "/dev/full", f"seq 5 | @each {PICKY}")
    assert result.returncode == 125
    assert b"/dev/full" in result.stderr and b"No space left" in result.stderr


def test_a_process_that_a_signal_ends_is_run_again_three_times(household):
    result = household.run_sluice("run", "echo x | @each sh -c 'echo x >> tries; [ $(wc -l < tries) -gt 3 ] || kill -9 $$'")
    assert result.returncode == 0, result.stderr
    (household.folder / "tries").unlink()
    result = household.run_sluice("run", "echo x | @each sh -c 'echo x >> tries; kill -9 $$'")
    assert result.returncode == 137
    assert b"was ended by signal 9" in result.stderr and b"attempt 4" in result.stderr
    assert (household.folder / "tries").read_text() == "x\n" * 4


# Killed at random, each record is answered once all the same.
def test_kills_of_processes_lose_and_repeat_nothing(household):
    process = household.start_sluice("run", "seq 150 | @x2 @each sh -c 'echo $$ > pid.$1; sleep 0.01; echo $1' sh {}")
    killed = 0

    def kill_some():
        nonlocal killed
        for file in sorted(household.folder.glob("pid.*"), key=lambda each: os.stat(each).st_mtime)[-2:]:
            text = file.read_text().strip()
            if text and file.suffix[1:] not in hit:
                try:
                    os.kill(int(text), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                hit.add(file.suffix[1:])
                killed += 1
        return process.poll() is not None

    hit = set()
    output = []
    reader = threading.Thread(target=lambda: output.append(process.stdout.read()))
    reader.start()
    wait_until(kill_some, "the end of the flow", deadline=60)
    reader.join()
    assert killed > 20, "too few were met"
    assert process.returncode == 0
    assert Counter(output[0].splitlines()) == Counter(numbers(150).splitlines())
    household.assert_clean()


SLEEPERS = "seq 9 | @x3 @each sh -c 'echo $$ > pid.$1; exec sleep 1000' sh {}"


def sleepers(household):
    """The numbers of the three processes, when all of them run."""
    def files():
        return [file for file in household.folder.glob("pid.*") if file.read_text().endswith("\n")]

    wait_until(lambda: len(files()) == 3, "three processes")
    return [int(file.read_text()) for file in files()]


@for_every_user
def test_ending_the_flow_ends_every_process_of_it(household, user):
    process = household.start_sluice("run", *SHORT_GRACE, SLEEPERS, user=user)
    pids = sleepers(household)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == -signal.SIGTERM
    assert not any(is_alive(pid) for pid in pids)
    assert len(list(household.folder.glob("pid.*"))) == 3, "none was started afterwards"
    household.assert_clean()


def test_a_kill_of_sluice_ends_every_process_of_it(household):
    process = household.start_sluice("run", SLEEPERS)
    pids = sleepers(household)
    process.kill()
    process.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in pids), "the end of the processes")


# --- the job log --------------------------------------------------------------------------------------------------


def test_the_job_log_has_the_columns_of_gnu_parallel(household):
    result = household.run_sluice("run", "--joblog", "log", "--dead-letter", "dead", f"seq 4 | @each @ordered {PICKY}")
    assert result.returncode == 0
    rows = log_rows(household)
    assert list(rows[0]) == ["Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command"]
    assert {row["Seq"]: (row["Exitval"], row["Signal"], row["Receive"]) for row in rows} == {
        "1": ("0", "0", "2"), "2": ("0", "0", "2"), "3": ("4", "0", "0"), "4": ("0", "0", "2")}
    assert all(float(row["Starttime"]) > 1e9 and 0 <= float(row["JobRuntime"]) < 60 for row in rows)
    assert rows[0]["Command"].endswith("sh 1")


def test_resume_with_other_batches_is_refused_and_skips_nothing(household):
    assert household.run_sluice("run", "--joblog", "log", "seq 4 | @each=2 cat").returncode == 0
    result = household.run_sluice("run", "--joblog", "log", "--resume", "seq 8 | @each=3 cat")
    assert (result.returncode, result.stdout) == (125, b"")
    assert b"batch 1 has 6 bytes, and the job log says that 4 were sent" in result.stderr
    result = household.run_sluice("run", "--joblog", "log", "--resume", "seq 8 | @each=2 cat")
    assert (result.returncode, sorted(result.stdout.split())) == (0, [b"5", b"6", b"7", b"8"]), result


@pytest.mark.parametrize("content", ["my notes\n", "S"])
def test_a_file_that_is_no_job_log_is_left_alone(household, content):
    notes = household.folder / "notes"
    notes.write_text(content)
    result = household.run_sluice("run", "--joblog", "notes", "seq 2 | @each cat")
    assert (result.returncode, result.stdout) == (125, b"")
    assert b"--joblog notes: it is there and is no job log" in result.stderr
    assert notes.read_text() == content


def test_resume_goes_on_where_the_log_ends(household):
    command = "sh -c 'echo $1 >> ran; echo $1; [ $1 -ne 3 ] || [ -e mended ]' sh {}"
    result = household.run_sluice("run", "--joblog", "log", f"seq 6 | @each @ordered {command}")
    assert result.returncode == 1 and result.stdout == b"1\n2\n"
    (household.folder / "mended").touch()
    result = household.run_sluice("run", "--joblog", "log", "--resume", "--json", f"seq 6 | @each @ordered {command}")
    assert (result.returncode, result.stdout) == (0, b"3\n4\n5\n6\n")
    assert result.summary["stages"][1]["skipped"] == 2
    assert (household.folder / "ran").read_text().split() == ["1", "2", "3", "3", "4", "5", "6"]
    result = household.run_sluice("run", "--joblog", "log", "--resume", f"seq 6 | @each @ordered {command}")
    assert (result.returncode, result.stdout) == (0, b"")


def test_a_line_that_a_crash_cut_short_is_dropped(household):
    household.run_sluice("run", "--joblog", "log", "seq 2 | @each cat")
    with open(household.folder / "log", "a", encoding="ascii") as file:
        file.write("3\t:\t123")
    for _ in range(2):
        result = household.run_sluice("run", "--joblog", "log", "--resume", "seq 4 | @each @ordered cat")
        assert result.returncode == 0, result.stderr
    assert [row["Seq"] for row in log_rows(household)] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("option", ["--joblog", "--dead-letter"])
def test_a_pipe_keeps_no_log(household, option):
    os.mkfifo(household.folder / "pipe")
    assert "it is a pipe, which keeps nothing" in household.refusal("run", option, "pipe", "seq 2 | @each cat")


def test_a_log_that_is_none_is_refused(household):
    (household.folder / "log").write_text("anything\n")
    result = household.run_sluice("run", "--joblog", "log", "--resume", "seq 2 | @each cat")
    assert result.returncode == 125 and b"line 1 is none of a job log" in result.stderr


# --- keys and rates -----------------------------------------------------------------------------------------------


def test_records_of_one_key_are_run_one_after_the_other_in_their_order(household):
    data = b"".join(b"k%d,%d\n" % (number % 5, number) for number in range(100))
    text = "@x4 @each @by=1 sh -c 'key=${1%%,*}; mkdir lock.$key || echo overlap; sleep 0.00$((RANDOM % 5)); " \
           "rmdir lock.$key; echo \"$1\"' sh {}"
    result = household.run_sluice("run", "--shell", "bash", text, input=data)
    assert result.returncode == 0 and b"overlap" not in result.stdout
    for key in range(5):
        own = [line for line in result.stdout.splitlines() if line.startswith(b"k%d," % key)]
        assert own == [b"k%d,%d" % (number % 5, number) for number in range(100) if number % 5 == key]


@pytest.mark.parametrize("stage", ["@x4 @each cat", "@x4 cat"])
def test_the_rate_is_kept(household, stage):
    result = household.run_sluice("run", "--rate", "20", "--json", f"seq 10 | {stage}")
    assert result.returncode == 0 and len(result.stdout.splitlines()) == 10
    assert result.summary["duration_ms"] >= 400, "ten records at twenty a second, of which one comes at once"


def test_a_slow_reader_closes_the_tap(household):
    process = household.start_sluice("run", "sh -c 'i=0; while echo $i; do i=$((i+1)); echo $i > at; done' | @x2 @each cat | "
                                     "sh -c 'while [ ! -e go ]; do sleep 0.01; done; head -n 5 > /dev/null'")

    def stands_still():
        if not (household.folder / "at").exists():
            return False
        before = (household.folder / "at").read_text()
        threading.Event().wait(0.5)
        return before and before == (household.folder / "at").read_text()

    wait_until(stands_still, "the tap to close", deadline=60)
    (household.folder / "go").touch()
    assert process.wait(timeout=30) == 0
