"""Stages of many workers on one machine (`@x4`): each record whole to one of them, nothing lost, nothing unbounded."""

import fcntl
import os
import signal
from collections import Counter

import pytest

from files import write_script
from flows import SHORT_GRACE, for_every_user, on_and_off_a_terminal
from processes import is_alive, let_pass, process_state, wait_until

MIB = 1 << 20


def numbers(count):
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


def start_into_file(household, *arguments):
    """Runs a flow whose output goes to the file `got`."""
    with open(household.folder / "got", "wb") as file:
        return household.start_sluice("run", *arguments, stdout=file)


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- what goes where ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["@x4 cat", "cat | @x4 cat", "@x4 cat | cat", "cat | @x3 cat | cat", "@x2 cat | @x3 cat",
                                  "@x1 cat", "cat | @x2 cat | cat | @x2 cat | cat"])
def test_every_record_arrives_once(household, text):
    data = numbers(50_000)
    result = household.run_sluice("run", text, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert Counter(result.stdout.splitlines()) == Counter(data.splitlines())
    household.assert_clean()


def test_records_go_to_every_worker(household):
    result = household.run_sluice("run", "seq 40 | @x4 sh -c 'echo worker; cat > /dev/null' | sort | uniq -c")
    assert result.stdout.split() == [b"4", b"worker"]
    result = household.run_sluice("run", "--json", "seq 40 | @x4 wc -l")
    workers = result.summary["stages"][1]["workers"]
    assert [worker["worker"] for worker in workers] == [1, 2, 3, 4]
    assert sum(worker["records_given"] for worker in workers) == 40
    assert all(worker["records_given"] > 0 and worker["records_written"] == 1 for worker in workers), workers


def test_records_of_one_key_go_to_one_worker_in_their_order(household):
    data = b"".join(b"k%d,%d\n" % (number % 11, number) for number in range(20_000))
    result = household.run_sluice("run", "@x3 @by=1 sh -c 'exec sed \"s/$/,$$/\"'", input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    rows = [line.split(b",") for line in result.stdout.splitlines()]
    assert len(rows) == 20_000
    for key in range(11):
        own = [row for row in rows if row[0] == b"k%d" % key]
        assert [int(row[1]) for row in own] == [number for number in range(20_000) if number % 11 == key]
        assert len({row[-1] for row in own}) == 1
    assert len({row[-1] for row in rows}) > 1


# The records of a worker that has left go to another, still in their order.
def test_keys_of_a_worker_that_leaves_move_to_another(household):
    data = b"".join(b"%d %d\n" % (number % 2, number) for number in range(40_000))
    text = "@x2 @by=~^. sh -c 'if mkdir first 2> /dev/null; then head -n 1 > /dev/null; else cat; fi'"
    result = household.run_sluice("run", text, input=data)
    assert result.returncode == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    for key in (b"0", b"1"):
        own = [int(row[1]) for row in rows if row[0] == key]
        assert own == sorted(own)
    assert {row[0] for row in rows} == {b"0", b"1"}
    assert len(rows) > 20_000


@pytest.mark.parametrize("framing, data, records", [
    ("@lines", b"a\nb\n\nc", [b"a\n", b"b\n", b"\n", b"c\n"]),
    ("@null", b"a\nb\0c\0", [b"a\nb\0", b"c\0"]),
    ("@len", b"\0\0\0\3a\nb\0\0\0\0\0\0\0\1z", [b"\0\0\0\3a\nb", b"\0\0\0\0", b"\0\0\0\1z"]),
    ("@json", b'{"a": "}\\""}[1,\n2] 3 "x"', [b'{"a": "}\\""}\n', b"[1,\n2]\n", b"3\n", b'"x"\n']),
])
def test_records_are_told_apart_as_the_word_says(household, framing, data, records):
    # Each worker marks what it got, so that a record that was divided would show.
    result = household.run_sluice("run", f"@x1 {framing} cat", input=data)
    assert result.outcome == (0, b"".join(records))
    result = household.run_sluice("run", f"@x3 {framing} cat", input=data)
    assert result.returncode == 0 and len(result.stdout) == len(b"".join(records))
    assert all(record in result.stdout for record in records)


def test_long_records_stay_whole(household):
    lines = [bytes([letter]) * size + b"\n" for letter, size in ((97, 3 * MIB), (98, 10), (99, 5 * MIB), (100, 1))]
    result = household.run_sluice("run", "cat | @x2 cat | cat", input=b"".join(lines))
    assert result.returncode == 0
    assert sorted(result.stdout.splitlines(keepends=True)) == sorted(lines)


def test_slow_worker_holds_up_nobody_else(household):
    # The first of two workers reads nothing before the other has had its share, which takes all that does not fit a pipe.
    (household.folder / "stands").touch()
    write_script(household.folder / "worker", "if mkdir first 2> /dev/null; then\n"
                 "  while [ -e stands ]; do sleep 0.01; done\nfi\nexec cat\n")
    process = start_into_file(household, "seq 1000000 | @x2 ./worker")
    wait_until(lambda: (household.folder / "got").stat().st_size > 4 * MIB, "that the other does nearly all of it")
    (household.folder / "stands").unlink()
    assert household.finish(process).returncode == 0
    assert Counter((household.folder / "got").read_bytes().splitlines()) == Counter(numbers(1_000_000).splitlines())


# --- flood control ------------------------------------------------------------------------------------------------


def test_stopped_sink_closes_the_tap_and_costs_no_memory(household):
    process = household.start_sluice("run", "yes | @x4 cat | { echo $$ > sink; exec cat > /dev/null; }")
    household.wait_for_files("sink")
    sink = int(wait_until(lambda: (household.folder / "sink").read_text(), "the number of the sink"))
    tap = household.stages_of(process, 6)[0]
    os.kill(sink, signal.SIGSTOP)
    written = -1

    def stands():
        nonlocal written
        with open(f"/proc/{tap}/io", encoding="ascii") as file:
            before, written = written, int(file.read().split("wchar: ")[1].split()[0])
        let_pass(0.2)
        return written == before

    wait_until(stands, "that the tap is closed")
    held = resident_bytes(process.pid)
    let_pass(1)
    assert resident_bytes(process.pid) <= held + MIB // 4
    assert held < 40 * MIB
    os.kill(sink, signal.SIGCONT)
    wait_until(lambda: not stands(), "that it flows again")
    process.send_signal(signal.SIGINT)
    household.finish(process)
    household.assert_clean()


def test_reader_that_has_enough_ends_the_flow(household):
    assert household.run_sluice("run", "yes | @x4 cat | head -3").outcome == (0, b"y\n" * 3)
    assert household.run_sluice("run", "yes | @x4 head -1").outcome == (0, b"y\n" * 4)
    result = household.run_sluice("run", "seq 1000 | @x2 sh -c 'exec < /dev/null'")
    assert result.outcome == (0, b"")
    household.assert_clean()


def test_slow_reader_of_stdout_gets_all(household):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)  # how large a new pipe is depends on how many the user has
    process = household.start_sluice("run", "seq 2000 | @x2 cat", stdout=writer)  # twice what it holds
    os.close(writer)
    spawner = household.spawner_of(process)
    wait_until(lambda: not is_alive(spawner), "the end of every stage")
    with open(reader, "rb") as stdout:
        assert len(stdout.read().splitlines()) == 2000
    assert household.finish(process).returncode == 0


# --- failures -----------------------------------------------------------------------------------------------------


def test_status_is_the_highest_of_the_workers(household):
    result = household.run_sluice("run", "seq 9 | @x3 sh -c 'mkdir one 2> /dev/null && exit 3; cat > /dev/null'")
    assert result.returncode == 3
    assert b"(worker" in result.stderr and b"exited with status 3" in result.stderr
    assert household.run_sluice("run", "seq 4 | @x2 sh -c 'cat; exit 1' | cat").returncode == 1


def test_killed_worker_fails_the_flow_before_its_reader_sees_the_end(household):
    write_script(household.folder / "commit", "cat > /dev/null; touch committed\n")
    for worker in range(3):
        process = household.start_sluice("run", *SHORT_GRACE, "yes | @x3 cat | ./commit")
        victim = household.stages_of(process, 5)[1 + worker]
        os.kill(victim, signal.SIGKILL)
        result = household.finish(process)
        assert result.returncode == 137, result
        assert b"worker %d of stage 2 `cat` was ended by signal 9" % (worker + 1) in result.stderr
        assert not (household.folder / "committed").exists()
        household.assert_clean()


def test_lost_worker_may_be_allowed_and_is_reported(household):
    process = start_into_file(household, "--on-loss=continue", "--json",
                              "{ seq 100000; while [ ! -e over ]; do sleep 0.01; done; } | @x3 cat")
    wait_until(lambda: (household.folder / "got").stat().st_size > 500_000, "that they have done most")
    victim = household.stages_of(process, 4)[2]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not is_alive(victim), "its end")
    (household.folder / "over").touch()
    result = household.finish(process)
    assert result.returncode == 0, result
    lost = result.summary["stages"][1]["workers"][1]
    assert lost["signal"] == "SIGKILL"
    assert b"worker 2 of stage 2 was lost by signal 9: it had been given %d records" % lost["records_given"] in result.stderr
    got = (household.folder / "got").read_bytes().splitlines()
    missing = 100_000 - len(got)
    assert 0 <= missing <= lost["records_given"] - lost["records_written"]
    assert len(set(got)) == len(got)


def test_flow_whose_workers_are_all_lost_fails(household):
    result = household.run_sluice("run", "--on-loss=continue", "seq 100 | @x2 sh -c 'kill -9 $$'")
    assert result.returncode == 137


def test_record_that_is_too_long_ends_the_flow_before_a_reader_sees_the_end(household):
    write_script(household.folder / "commit", "cat > /dev/null; touch committed\n")
    for text in ("yes $(seq 100) | @x2 cat | ./commit", "echo | @x2 sh -c 'seq -s , 100' | ./commit"):
        result = household.run_sluice("run", *SHORT_GRACE, "--max-record", "100", text)
        assert result.returncode == 125, result
        assert b"longer than 100 bytes" in result.stderr and b"stage 2" in result.stderr
        assert not (household.folder / "committed").exists()
    assert household.run_sluice("run", "--max-record", "100", "echo ok | @x2 cat").outcome == (0, b"ok\n")
    household.assert_clean()


def test_full_disk_is_an_error(household):
    with open("/dev/full", "wb") as full:
        result = household.run_sluice("run", "--json", "seq 100 | @x2 cat", stdout=full)
    assert result.returncode == 125 and b"No space left on device" in result.stderr
    assert (result.summary["end"], result.summary["status"]) == ("broken", 125)


@on_and_off_a_terminal
@for_every_user
def test_killed_sluice_leaves_no_worker(household, chance, user, on_terminal):
    for _ in range(5):
        process = household.start_sluice("run", "yes | @x4 cat | @x2 cat | cat > /dev/null", user=user,
                                         on_terminal=on_terminal)
        let_pass(chance.uniform(0, 0.06))
        process.kill()
        household.finish(process)
        household.assert_clean()


def test_interrupt_ends_every_worker(household):
    process = household.start_sluice("run", "yes | @x4 sh -c \"trap '' TERM; exec cat\" | cat > /dev/null")
    workers = household.stages_of(process, 6)
    process.send_signal(signal.SIGINT)
    assert household.finish(process).returncode == -signal.SIGINT
    assert not any(is_alive(pid) or process_state(pid) for pid in workers)
    household.assert_clean()


# --- what is said of it -------------------------------------------------------------------------------------------


def test_plan_shows_workers_and_promise(household):
    plan = household.run_sluice("run", "--dry-run", "seq 5 | @x4 cat | wc -l").stdout.decode()
    assert "4 workers: exec" in plan and "=records=> 2 =records=> 3" in plan
    assert "promise: every record to one worker, in any order" in plan
    lossy = household.run_sluice("run", "--dry-run", "--on-loss=continue", "@x4 cat").stdout.decode()
    assert "loses at most" in lossy and "stdin =records=> 1 =records=> stdout" in lossy


def test_marks_name_the_worker(household):
    result = household.run_sluice("run", "--mark-stderr", "seq 2 | @x2 sh -c 'cat >&2'")
    assert sorted(result.stderr.splitlines()) in ([b"[2.1 sh] 1", b"[2.2 sh] 2"], [b"[2.1 sh] 2", b"[2.2 sh] 1"])


def test_bytes_are_counted_exactly(household):
    result = household.run_sluice("run", "--exact", "--json", "seq 1000 | @x2 cat | cat | wc -c", input=b"")
    data = numbers(1000)
    assert [stage.get("output_bytes") for stage in result.summary["stages"]] == [len(data)] * 3 + [None]


@pytest.mark.parametrize("arguments, reason", [
    (["--on-loss", "fail", "cat"], "--on-loss: no stage takes records"),
    (["--max-record", "1M", "cat"], "--max-record: no stage takes records"),
    (["--on-loss", "continue", "@x2 @map cat"], "--on-loss: no stage is one of many workers alone"),
    (["--on-loss", "maybe", "@x2 cat"], "--on-loss=maybe is unknown"),
    (["--max-record", "0", "@x2 cat"], "from 1 byte to 1G"),
    (["--max-record", "2G", "@x2 cat"], "from 1 byte to 1G"),
    (["seq 3 | @null cat"], "'@null' says how records are told apart"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_what_makes_no_sense_is_refused(household, arguments, reason):
    assert reason in household.refusal("run", *arguments)
