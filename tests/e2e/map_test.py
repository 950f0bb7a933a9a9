"""Workers that stay running and answer each record (`@map`): order if asked, and nothing lost when one dies."""

import contextlib
import json
import os
import signal
import threading
from collections import Counter

import pytest

from files import write_script
from flows import SHORT_GRACE, for_every_user
from processes import children_of, is_alive, process_name, wait_until

ANSWERS = """
import sys
for line in sys.stdin:
    if line == "{poison}\\n":
        {end}
    print("got " + line, end="", flush={flush})
"""


def numbers(count):
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


def got(count, without=()):
    return b"".join(b"got %d\n" % number for number in range(1, count + 1) if number not in without)


def letters(household, name="dead"):
    return [json.loads(line) for line in (household.folder / name).read_text().splitlines()]


def write_answerer(household, poison=0, end="pass", flush=True):
    (household.folder / "answer.py").write_text(ANSWERS.format(poison=poison, end=end, flush=flush))
    write_script(household.folder / "answer", "exec /usr/bin/python3 answer.py\n")


# --- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["@map cat", "@x4 @map cat", "cat | @x3 @map cat | cat", "@x2 cat | @x2 @map cat",
                                  "@x2 @map cat | @x2 cat", "@x2 @map cat | @x2 @map sed ''", "@x2 @each cat | @map cat"])
def test_every_record_is_answered_once(household, text):
    data = numbers(5_000 if "@each" not in text else 100)
    result = household.run_sluice("run", text, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert Counter(result.stdout.splitlines()) == Counter(data.splitlines())
    household.assert_clean()


# tr and sed keep their answers in a buffer, sed -u does not.
@pytest.mark.parametrize("program", ["tr 0-9 a-j", "sed s/x/y/", "sed -u s/x/y/", "/usr/bin/python3 -c "
                                     "'import sys; [print(line, end=str()) for line in sys.stdin]'"])
def test_answers_keep_the_order_of_the_records_if_asked(household, program):
    data = numbers(30_000)
    result = household.run_sluice("run", f"@x4 @map @ordered {program}", input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == (data.translate(bytes.maketrans(b"0123456789", b"abcdefghij")) if program.startswith("tr") else data)


@pytest.mark.parametrize("framing, data, records", [
    ("@null", b"a\nb\0\0c\0", b"a\nb\0\0c\0"),
    ("@len", b"\0\0\0\3a\nb\0\0\0\0", b"\0\0\0\3a\nb\0\0\0\0"),
    ("@json", b'{"a": 1}[2] "x"', b'{"a": 1}\n[2]\n"x"\n'),
])
def test_answers_are_framed_as_the_records_are(household, framing, data, records):
    result = household.run_sluice("run", f"@x2 @map @ordered {framing} cat", input=data)
    assert (result.returncode, result.stdout) == (0, records)


def test_without_records_nothing_is_started(household):
    result = household.run_sluice("run", "--json", "true | @x4 @map cat")
    assert result.returncode == 0 and result.summary["stages"][1]["processes"] == 0


def test_long_records_pass(household):
    data = b"".join(bytes([97 + at]) * 3_000_000 + b"\n" for at in range(6))
    result = household.run_sluice("run", "@x2 @map @ordered cat", input=data)
    assert result.returncode == 0 and result.stdout == data


def test_a_worker_that_answers_at_once_gets_its_records_at_once(household):
    write_answerer(household)
    process = household.start_sluice("run", "@map ./answer", stdin=-1)
    for number in (b"1", b"2", b"3"):
        process.stdin.write(number + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"got " + number + b"\n"
    process.stdin.close()
    assert process.wait(timeout=20) == 0


def test_few_records_go_to_all_workers(household):
    result = household.run_sluice("run", "--json", "seq 8 | @x4 @map sh -c 'while read x; do sleep 0.2; echo $x; done'")
    assert [worker["records_given"] for worker in result.summary["stages"][1]["workers"]] == [2, 2, 2, 2]


def test_a_slow_worker_is_given_little(household):
    (household.folder / "answer.py").write_text(
        "import os, sys, time\n"
        "try:\n    os.mkdir('slow')\n    rest = 0.5\nexcept FileExistsError:\n    rest = 0.001\n"
        "for line in sys.stdin:\n    time.sleep(rest)\n    print(line, end='', flush=True)\n")
    result = household.run_sluice("run", "--json", "seq 600 | @x3 @map /usr/bin/python3 answer.py")
    given = sorted(worker["records_given"] for worker in result.summary["stages"][1]["workers"])
    assert sum(given) == 600 and given[0] <= 6, given


# --- what is no answer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command, words", [
    ("grep 1", ["status 0", "8 records unanswered", "one record for each"]),
    ("sh -c 'echo more; cat'", ["1 record more than it was given"]),
    ("sh -c 'cat; exit 5' | cat", []),
])
def test_a_program_that_does_not_answer_each_record_ends_the_flow(household, command, words):
    result = household.run_sluice("run", "--pipefail=lenient", f"seq 10 | @map {command}")
    assert result.returncode == (5 if not words else 125)
    for word in words:
        assert word in result.stderr.decode()
    household.assert_clean()


def test_a_reader_that_is_done_ends_the_stage(household):
    result = household.run_sluice("run", "yes | @x2 @map cat | head -n 3", deadline=30)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"y\n" * 3, b"")
    household.assert_clean()


def test_a_process_that_leaves_something_running_is_over_with_itself(household):
    result = household.run_sluice("run", *SHORT_GRACE, "seq 3 | @map sh -c 'sleep 1000 & exec cat'", deadline=30)
    assert (result.returncode, result.stdout) == (0, b"1\n2\n3\n"), result
    household.assert_clean()


# --- workers that die ---------------------------------------------------------------------------------------------


def workers_of(process, name):
    return [pid for spawner in children_of(process.pid) for pid in children_of(spawner) if process_name(pid) == name]


@pytest.mark.parametrize("order", ["", "@ordered "])
def test_kills_of_workers_lose_and_repeat_nothing(household, chance, order):
    write_script(household.folder / "slow", "while read x; do echo got $x; sleep 0.002; done\n")
    process = household.start_sluice("run", f"seq 3000 | @x3 @map {order}./slow")
    output = []
    # A record may be with a process that is killed three times: not more often than they can be answered.
    for line in process.stdout:
        output.append(line)
        if len(output) % 250 == chance.randrange(20) and (workers := workers_of(process, "slow")):
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
    assert process.wait(timeout=20) == 0, process.stderr.read()
    assert Counter(output) == Counter(got(3000).splitlines(keepends=True))
    if order:
        assert b"".join(output) == got(3000)
    household.assert_clean()


def test_half_an_answer_of_a_worker_that_was_killed_is_none(household):
    write_script(household.folder / "half", "read x\n[ -e tried ] || { touch tried; printf 'got'; kill -9 $$; }\n"
                                            "echo got $x; while read x; do echo got $x; done\n")
    result = household.run_sluice("run", "@map @ordered ./half", input=numbers(3))
    assert (result.returncode, result.stdout) == (0, got(3))


def test_a_record_that_kills_its_worker_each_time_is_found(household):
    write_answerer(household, poison=40, end="import os; os.kill(os.getpid(), 9)")
    result = household.run_sluice("run", "@x2 @map @ordered ./answer", input=numbers(100))
    assert result.returncode == 137
    assert b"was ended by signal 9 by the same record for the 4th time" in result.stderr
    result = household.run_sluice("run", "--dead-letter", "dead", "@x2 @map @ordered ./answer", input=numbers(100))
    assert (result.returncode, result.stdout) == (0, got(100, without=[40]))
    (letter,) = letters(household)
    assert (letter["record"], letter["attempts"], letter["signal"]) == ("40\n", 4, 9)


def test_a_status_ends_the_flow_unless_records_may_fail(household):
    write_answerer(household, poison=40, end="print('no', file=sys.stderr); sys.exit(3)")
    result = household.run_sluice("run", "@x2 @map ./answer", input=numbers(100))
    assert result.returncode == 3 and b"exited with status 3" in result.stderr and b"--retries" in result.stderr
    for options, attempts in ([], 2), (["--retries", "2"], 3):
        (household.folder / "dead").unlink(missing_ok=True)
        result = household.run_sluice("run", *options, "--dead-letter", "dead", "@x2 @map @ordered ./answer",
                                      input=numbers(100))
        assert (result.returncode, result.stdout) == (0, got(100, without=[40]))
        (letter,) = letters(household)
        assert (letter["record"], letter["attempts"], letter["status"]) == ("40\n", attempts, 3)
        assert letter["stderr"] == "no\n"


@for_every_user
def test_ending_the_flow_ends_every_worker(household, user):
    process = household.start_sluice("run", *SHORT_GRACE, "yes | @x3 @map sleep 1000", user=user)
    wait_until(lambda: len(workers_of(process, "sleep")) == 3, "three workers")
    workers = workers_of(process, "sleep")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == -signal.SIGTERM
    assert not any(is_alive(pid) for pid in workers)
    household.assert_clean()


def test_a_kill_of_sluice_leaves_no_worker_that_takes_half_its_input_for_the_whole(household):
    write_script(household.folder / "count", "cat > /dev/null\ntouch whole\n")
    process = household.start_sluice("run", "yes | @x2 @map ./count")
    wait_until(lambda: len(workers_of(process, "count")) == 2, "two workers")
    workers = workers_of(process, "count")
    process.kill()
    process.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in workers), "the end of the workers")
    assert not (household.folder / "whole").exists()


# --- flow control -------------------------------------------------------------------------------------------------


def test_a_slow_reader_closes_the_tap(household):
    process = household.start_sluice("run", "--progress=none", "yes | @x2 @map cat | sleep 1000")
    wait_until(lambda: workers_of(process, "yes"), "the tap")
    (tap,) = workers_of(process, "yes")

    def written():
        with open(f"/proc/{tap}/io", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("wchar"))

    def stands_still():
        before = written()
        threading.Event().wait(0.5)
        return before > 0 and written() == before

    wait_until(stands_still, "the tap to close", deadline=60)
    assert written() < 16 << 20
    process.terminate()
    process.wait(timeout=20)


def test_records_of_one_key_stay_with_one_worker_in_their_order(household):
    data = b"".join(b"k%d\t%d\n" % (number % 7, number) for number in range(3000))
    result = household.run_sluice("run", "@x3 @map @by=1 sh -c 'while read -r k x; do echo $k $x $$; done'", input=data)
    assert result.returncode == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    for key in range(7):
        own = [row for row in rows if row[0] == b"k%d" % key]
        assert [int(row[1]) for row in own] == [number for number in range(3000) if number % 7 == key]
        assert len({row[2] for row in own}) == 1
    assert len({row[2] for row in rows}) > 1
