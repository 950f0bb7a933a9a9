"""Stages of workers that are linked with a library: which records are done, and what becomes of the others."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter

import pytest

from flows import SHORT_GRACE
from processes import is_alive, let_pass, wait_until
from workers import (JOIN_BRANCHES, NODE, PYTHON, QUICK_BRANCH, ROOT, SLOW_BRANCH, USERS, compile_worker, workers_of, write_flow,
                     write_worker)

NUMBERS = b"".join(b"%d\n" % number for number in range(1, 3001))


@pytest.fixture(scope="session")
def cpp(tmp_path_factory):
    """The conformance worker in C++."""
    return compile_worker(tmp_path_factory.mktemp("cpp") / "conformance", ROOT / "tests/conformance/workers/conformance.cc")


def letters(household, name="dead"):
    return [json.loads(line) for line in (household.folder / name).read_text().splitlines()]


def lines(*records):
    return "".join(record + "\n" for record in records).encode()


def memory_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))


# --- the example --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def example_programs(tmp_path_factory):
    """The C++ workers of the example."""
    folder = tmp_path_factory.mktemp("users")
    subprocess.run(["make", "-s", "-C", USERS / "cpp", f"OUT={folder}", "CXXFLAGS=-O1"], check=True)
    return folder


@pytest.fixture
def users(household, example_programs):
    """The example in the test's folder, with ten thousand users."""
    for language in ("node", "python"):
        (household.folder / language).symlink_to(USERS / language)
    (household.folder / "cpp").symlink_to(example_programs)
    for flow in USERS.glob("*.flow.yaml"):
        shutil.copy(flow, household.folder)
    names = ["Ada Lovelace", "Grace Hopper", "Alan Turing", "Bj\u00f6rk Gu\u00f0mundsd\u00f3ttir"]
    rows = "".join(f"{number},{names[number % 4]}\n" for number in range(1, 10_001))
    (household.folder / "users.csv").write_text("id,name\n" + rows)
    return household


def assert_every_user_is_there_once(household):
    with contextlib.closing(sqlite3.connect(household.folder / "users.db")) as database:
        rows = database.execute("select * from users order by id").fetchall()
    assert len(rows) == 10_000
    for number, row in enumerate(rows, start=1):
        first = row[1].split()[0].lower()
        assert row[0] == number and row[2:] == (f"{first}.{number}@facebook", f"{first}.{number}@twitter"), row


@pytest.mark.parametrize("language", ["cpp", "node", "python"])
def test_the_example_writes_every_user_with_both_look_ups(users, language):
    result = users.run_sluice("run", "--json", f"{language}.flow.yaml", deadline=60)
    assert result.returncode == 0 and result.stdout == b"", result.stderr
    assert_every_user_is_there_once(users)
    stages = result.summary["stages"]
    assert [stage["processes"] for stage in stages] == [1, 2, 2, 1]
    for stage in stages[1:3]:
        assert sum(worker["records_given"] for worker in stage["workers"]) == 10_000
        assert sum(worker["records_written"] for worker in stage["workers"]) == 10_000
    users.assert_clean()


@pytest.mark.parametrize("language", ["cpp", "python"])
def test_kills_of_workers_lose_no_user(users, chance, language):
    process = users.start_sluice("run", f"{language}.flow.yaml", environment={"LOOKUP_SECONDS": "0.1"})
    kills = 0
    while kills < 20 and process.poll() is None:
        # Not one after the other: whatever is with four workers that end is condemned.
        let_pass(0.2 + chance.random() * 0.3)
        victims = workers_of(process, "lookup") + workers_of(process, "database")
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(chance.choice(victims), signal.SIGKILL)
            kills += 1
    result = users.finish(process, deadline=90)
    assert result.returncode == 0, result.stderr
    assert kills == 20, "it was over before"
    assert_every_user_is_there_once(users)
    users.assert_clean()


@pytest.mark.parametrize("language", ["cpp", "node", "python"])
def test_the_example_in_parallel_writes_every_user_once_too(users, language):
    result = users.run_sluice("run", "--json", f"{language}-parallel.flow.yaml", deadline=60)
    assert result.returncode == 0 and result.stdout == b"", result.stderr
    assert_every_user_is_there_once(users)
    users.assert_clean()


@pytest.mark.parametrize("language", ["cpp", "node", "python"])
def test_one_look_up_of_the_example_may_be_far_behind_the_other(users, language):
    name = f"{language}-parallel.flow.yaml"
    text = (users.folder / name).read_text()
    slower = text.replace("lookup facebook,", "lookup facebook, env: { LOOKUP_SECONDS: '0.02' },").replace(
        "lookup.js facebook,", "lookup.js facebook, env: { LOOKUP_SECONDS: '0.02' },").replace(
        "lookup.py facebook,", "lookup.py facebook, env: { LOOKUP_SECONDS: '0.02' },")
    assert slower != text
    (users.folder / name).write_text(slower)
    result = users.run_sluice("run", name, deadline=90)
    assert (result.returncode, result.stderr) == (0, b"")
    assert_every_user_is_there_once(users)
    users.assert_clean()


# --- several links into a stage ------------------------------------------------------------------------------------

def write_join(household, merger, *links):
    for name, text in (("join", JOIN_BRANCHES), ("quick", QUICK_BRANCH), ("slow", SLOW_BRANCH)):
        write_worker(household.folder / name, text)
    (household.folder / "a.flow.yaml").write_text(
        f"stages:\n  tap: {{ run: seq 3000 }}\n  quick: {{ worker: ./quick }}\n  slow: {{ worker: ./slow }}\n"
        f"  merger: {{ worker: ./join, {merger} }}\nlinks: [ {', '.join(links)} ]\n")
    return "a.flow.yaml"


@pytest.mark.parametrize("keys", ["", ", ordered: true", ", workers: 3, by: '1'"], ids=["plain", "ordered", "by"])
@pytest.mark.parametrize("branches", [("quick", "slow"), ("slow", "quick")], ids=["quick-first", "slow-first"])
def test_a_branch_that_stands_does_not_fill_a_merger_with_the_records_of_the_other(household, branches, keys):
    """It works on ten records, and one branch is a thousand ahead before the other begins."""
    flow = write_join(household, "concurrency: 10" + keys, *(f"tap -> {branch} -> merger" for branch in branches))
    result = household.run_sluice("run", "--json", flow)
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines(), key=int) == [b"%d" % number for number in range(1, 3001)]
    links = {(link["from"], link["to"]): link["records"] for link in result.summary["links"]}
    assert links["quick", "merger"] == links["slow", "merger"] == 3000
    household.assert_clean()


def test_a_merger_that_is_killed_gets_both_halves_again(household):
    flow = write_join(household, "concurrency: 10, restart: on-failure", "tap -> quick -> merger", "tap -> slow -> merger")
    write_worker(household.folder / "slow", SLOW_BRANCH.replace("far", "go"))
    process = household.start_sluice("run", flow)
    wait_until(lambda: (household.folder / "far").exists(), "one branch is not ahead")
    os.kill(workers_of(process, "join")[0], signal.SIGKILL)
    (household.folder / "go").touch()
    result = household.finish(process)
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines(), key=int) == [b"%d" % number for number in range(1, 3001)]
    household.assert_clean()


# --- records ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["cpp", "node", "python"])
def test_every_record_is_given_once_and_its_outputs_go_on(household, library, request):
    command = {"cpp": lambda: request.getfixturevalue("cpp"), "node": lambda: NODE, "python": lambda: PYTHON}[library]()
    flow = write_flow(household, "run: cat", f"worker: {command}, workers: 3", f"worker: {command}", "run: cat")
    data = b"".join(b"%d\n" % number for number in range(50_000))
    result = household.run_sluice("run", flow, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert Counter(result.stdout.splitlines()) == Counter(data.splitlines())
    household.assert_clean()


def test_one_worker_keeps_the_order(household):
    flow = write_flow(household, f"worker: {PYTHON}")
    assert household.run_sluice("run", flow, input=NUMBERS).outcome == (0, NUMBERS)


def test_order_is_kept_if_asked_whatever_the_workers_do(household):
    flow = write_flow(household, f"worker: {PYTHON}, workers: 3, concurrency: 20, ordered: true")
    records = [f"later:{37 * number % 50}:{number}" if number % 5 else f"many:{number % 3}:{number}"
               for number in range(300)]
    expected = [str(number) for number in range(300) for _ in range(1 if number % 5 else number % 3)]
    result = household.run_sluice("run", flow, input=lines(*records))
    assert (result.returncode, result.stdout) == (0, lines(*expected))


def test_records_of_one_key_go_to_one_worker_in_their_order(household):
    write_worker(household.folder / "worker", """
import os
worker = Worker(concurrency=5)
@worker.on_data
def data(record, item):
    item.write(record + b",%d" % os.getpid())
    item.done()
sys.exit(worker.run())
""")
    flow = write_flow(household, "worker: ./worker, workers: 3, by: '1'")
    records = [f"{number % 10},{number}" for number in range(1000)]
    result = household.run_sluice("run", flow, input=lines(*records))
    assert result.returncode == 0
    workers, last = {}, {}
    for line in result.stdout.decode().split():
        key, number, pid = line.split(",")
        assert workers.setdefault(key, pid) == pid
        assert last.get(key, -1) < int(number)
        last[key] = int(number)
    assert len(set(workers.values())) == 3


@pytest.mark.parametrize("framing, data, records", [
    ("len", b"\0\0\0\3a\nb\0\0\0\0\0\0\0\2\0\xff", b"\0\0\0\3a\nb\0\0\0\0\0\0\0\2\0\xff"),
    ("'null'", b"a\nb\0\0c\0", b"a\nb\0\0c\0"),
    ("json", b'{"a": 1}[2] "x"', b'{"a": 1}\n[2]\n"x"\n'),
    ("lines", b"a\n\nb", b"a\n\nb\n"),
])
def test_records_are_told_apart_as_the_stage_says(household, framing, data, records):
    flow = write_flow(household, f"worker: {PYTHON}, framing: {framing}")
    assert household.run_sluice("run", flow, input=data).outcome == (0, records)


def test_an_output_that_would_be_two_records_ends_the_flow(household):
    write_worker(household.folder / "worker", "worker = Worker()\n"
                 "worker.on_data(lambda record, item: (item.write('two\\nlines'), item.done()))\nsys.exit(worker.run())\n")
    flow = write_flow(household, "worker: ./worker")
    result = household.run_sluice("run", flow, input=b"a\n")
    assert result.returncode == 125 and b"a record that holds a line end" in result.stderr
    assert b"'framing: len' takes any" in result.stderr
    household.assert_clean()


def test_long_records_pass(household, cpp):
    flow = write_flow(household, f"worker: {cpp}, workers: 2", f"worker: {PYTHON}, ordered: true")
    data = b"".join(bytes([97 + at]) * 5_000_000 + b"\n" for at in range(6))
    result = household.run_sluice("run", flow, input=data)
    assert result.returncode == 0 and sorted(result.stdout.split()) == sorted(data.split())


def test_a_record_goes_on_when_it_is_done_not_when_the_input_ends(household):
    flow = write_flow(household, f"worker: {PYTHON}", f"worker: {NODE}")
    process = household.start_sluice("run", flow, stdin=-1)
    for number in (b"1", b"2", b"3"):
        process.stdin.write(number + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == number + b"\n"
    process.stdin.close()
    assert process.wait(timeout=20) == 0


def test_what_a_worker_prints_goes_to_stderr(household):
    flow = write_flow(household, f"worker: {PYTHON}")
    result = household.run_sluice("run", flow, input=b"print:a word\necho:b\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"b\n", b"a word\n")


def test_the_rate_is_kept(household):
    flow = write_flow(household, f"worker: {PYTHON}, rate: 100")
    result = household.run_sluice("run", "--json", flow, input=lines(*map(str, range(60))))
    assert result.returncode == 0 and result.summary["duration_ms"] >= 500


def test_a_stage_has_its_variables(household):
    write_worker(household.folder / "worker", "import os\nworker = Worker()\n"
                 "worker.on_data(lambda record, item: (item.write(os.environ['GREETING']), item.done()))\n"
                 "sys.exit(worker.run())\n")
    flow = write_flow(household, "worker: ./worker, env: { GREETING: it's me }")
    assert household.run_sluice("run", flow, input=b"a\n").outcome == (0, b"it's me\n")


def test_few_records_go_to_all_workers(household):
    flow = write_flow(household, f"worker: {PYTHON}, workers: 4, concurrency: 10")
    result = household.run_sluice("run", "--json", flow, input=lines(*["later:2000:x"] * 8))
    assert [worker["records_given"] for worker in result.summary["stages"][0]["workers"]] == [2, 2, 2, 2]


def test_a_slow_worker_is_given_little(household):
    write_worker(household.folder / "worker", """
import os, time
try:
    os.mkdir("slow")
    rest = 0.4
except FileExistsError:
    rest = 0.001
worker = Worker()
@worker.on_data
def data(record, item):
    time.sleep(rest)
    item.done()
sys.exit(worker.run())
""")
    flow = write_flow(household, "worker: ./worker, workers: 3")
    result = household.run_sluice("run", "--json", flow, input=lines(*map(str, range(600))))
    given = sorted(worker["records_given"] for worker in result.summary["stages"][0]["workers"])
    assert sum(given) == 600 and given[0] <= 6, given


# --- records that fail --------------------------------------------------------------------------------------------


def test_a_record_that_fails_ends_the_flow_with_its_reason(household):
    flow = write_flow(household, f"worker: {PYTHON}")
    result = household.run_sluice("run", flow, input=b"echo:a\nfail:no such user\necho:b\n")
    assert result.returncode == 1
    assert b"failed record 2: no such user; --retries tries again, --dead-letter FILE lets the rest go on" in result.stderr
    household.assert_clean()


def test_a_record_that_fails_is_tried_again_and_then_a_dead_letter(household):
    flow = write_flow(household, f"worker: {PYTHON}, retries: 2, workers: 2, ordered: true")
    result = household.run_sluice("run", "--json", "--dead-letter", "dead", flow,
                                  input=b"echo:a\nfail:no such user\nthrow:broken\necho:b\n")
    assert (result.returncode, result.stdout) == (0, b"a\nb\n")
    first, second = sorted(letters(household), key=lambda letter: letter["number"])
    assert (first["number"], first["attempts"], first["why"], first["record"], first["status"]) == (
        2, 3, "no such user", "fail:no such user\n", None)
    assert second["number"] == 3 and "broken" in second["why"] and "Traceback" in second["stderr"]
    (stage,) = result.summary["stages"]
    assert (stage["retries"], stage["dead_letters"]) == (4, 2)


def test_a_record_that_fails_at_first_is_done_later(household):
    write_worker(household.folder / "worker", """
worker = Worker()
@worker.on_data
def data(record, item):
    if item.attempt < 3:
        item.write("dropped")
        return item.fail("not yet")
    item.write(record)
    item.done()
sys.exit(worker.run())
""")
    flow = write_flow(household, "worker: ./worker, retries: 2")
    result = household.run_sluice("run", flow, input=b"a\nb\n")
    assert result.returncode == 0 and sorted(result.stdout.split()) == [b"a", b"b"]


# --- workers that end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [False, True])
def test_kills_of_workers_lose_and_repeat_nothing(household, chance, ordered):
    keys = f"worker: {PYTHON}, workers: 3, concurrency: 5, restart: on-failure, ordered: {str(ordered).lower()}"
    flow = write_flow(household, keys)
    process = household.start_sluice("run", flow, stdin=subprocess.PIPE)
    records = b"".join(b"later:10:%d\n" % number for number in range(1, 3001))
    threading.Thread(target=lambda: (process.stdin.write(records), process.stdin.close()), daemon=True).start()
    output, kills, next_kill = [], 0, time.monotonic() + 0.5
    for line in process.stdout:
        output.append(line)
        if time.monotonic() < next_kill:
            continue
        # Not one right behind the other: what is with four workers that end is condemned.
        next_kill = time.monotonic() + 0.3 + chance.random() * 0.3
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(chance.choice(workers_of(process, "conformance.py")), signal.SIGKILL)
            kills += 1
    assert process.wait(timeout=20) == 0, process.stderr.read()
    assert kills > 0 and Counter(output) == Counter(NUMBERS.splitlines(keepends=True))
    if ordered:
        assert b"".join(output) == NUMBERS
    household.assert_clean()


@pytest.mark.parametrize("command, status, words", [
    ("/bin/true", 125, ["`/bin/true` exited with status 0 before it said hello", "linked with a library"]),
    ("exit 3", 3, ["`exit 3` exited with status 3 before it said hello", "linked with a library"]),
    ("kill -9 $$", 137, ["was ended by signal 9 before it said hello"]),
    ("echo garbage >&0; sleep 100", 125, ["does not speak the protocol of workers: 'garbage\\x0a'"]),
    ("exec yes >&0", 125, ["does not speak the protocol of workers: 'y\\x0ay"]),
    ("exec <&-; sleep 100", 125, ["it closed its connection before it had finished"]),
], ids=["true", "status", "signal", "garbage", "much garbage", "closed"])
def test_a_program_that_is_no_worker_ends_the_flow(household, command, status, words):
    flow = write_flow(household, "run: 'yes'", f"worker: \"{command}\"")
    result = household.run_sluice("run", flow)
    assert result.returncode == status
    for word in words:
        assert word in result.stderr.decode()
    household.assert_clean()


def test_a_program_that_ends_again_and_again_ends_the_flow(household):
    flow = write_flow(household, "run: 'yes'", "worker: 'echo >> starts; exit 3', restart: always")
    result = household.run_sluice("run", flow)
    assert result.returncode == 3
    assert b"exited with status 3 before it said hello, for the 6th time in a row without anything done" in result.stderr
    assert (household.folder / "starts").read_text() == 6 * "\n"


def test_a_command_that_is_not_there_is_named(household):
    flow = write_flow(household, "worker: ./none")
    result = household.run_sluice("run", flow, input=b"a\n")
    assert result.returncode == 127 and b"./none" in result.stderr


DIES = """
import os
worker = Worker(concurrency=50)
@worker.on_data
def data(record, item):
    if record == b"40":
        {end}
    item.write(record)
    item.done()
sys.exit(worker.run())
"""


def test_others_go_on_with_the_records_of_a_worker_that_is_not_replaced(household):
    write_worker(household.folder / "worker", DIES.format(end="os.path.exists('died') or (open('died', 'w'), os._exit(3))"))
    flow = write_flow(household, "worker: ./worker, workers: 2")
    data = lines(*map(str, range(100)))
    result = household.run_sluice("run", flow, input=data)
    assert result.returncode == 3, "that of the one which failed"
    assert Counter(result.stdout.split()) == Counter(data.split())


@pytest.mark.parametrize("end, status, signal_number", [("os.kill(os.getpid(), 9)", 137, 9), ("os._exit(3)", 3, None)])
def test_a_record_that_ends_its_worker_each_time_is_found(household, end, status, signal_number):
    write_worker(household.folder / "worker", DIES.format(end=end))
    flow = write_flow(household, "worker: ./worker, workers: 2, restart: on-failure, ordered: true")
    data = lines(*map(str, range(1, 101)))
    result = household.run_sluice("run", flow, input=data)
    assert result.returncode == status
    assert b"record 40 was in its hand, and has ended its worker for the 4th time" in result.stderr
    result = household.run_sluice("run", "--dead-letter", "dead", flow, input=data)
    assert (result.returncode, result.stdout) == (0, data.replace(b"\n40\n", b"\n"))
    (letter,) = letters(household)
    assert (letter["record"], letter["attempts"], letter["status"], letter["signal"]) == ("40\n", 4, status, signal_number)


def test_a_worker_that_breaks_a_rule_in_the_middle_loses_its_seat_and_no_record(household):
    write_worker(household.folder / "worker", """
import os, struct
worker = Worker()
@worker.on_data
def data(record, item):
    if record == b"7" and not os.path.exists("tried"):
        open("tried", "w")
        worker._control.append(struct.pack(">IB3xQI", 12, 4, 12345, 1))
    item.write(record)
    item.done()
sys.exit(worker.run())
""")
    flow = write_flow(household, "worker: ./worker, restart: on-failure, ordered: true")
    data = lines(*map(str, range(1, 101)))
    result = household.run_sluice("run", "--json", flow, input=data)
    assert (result.returncode, result.stdout) == (0, data)
    assert b"the stage refuses it: it said that record 12345 is done, which it does not have" in result.stderr
    assert result.summary["stages"][0]["processes"] == 2


def test_a_worker_that_leaves_is_replaced_if_always(household):
    write_worker(household.folder / "worker", """
worker = Worker()
seen = 0
@worker.on_data
def data(record, item):
    global seen
    seen += 1
    item.write(record)
    item.done()
    if seen == 20:
        worker.end()
sys.exit(worker.run())
""")
    for restart, status in (("always", 0), ("never", 125)):
        flow = write_flow(household, f"worker: ./worker, restart: {restart}, ordered: true")
        data = lines(*map(str, range(200)))
        result = household.run_sluice("run", "--json", flow, input=data)
        assert result.returncode == status, result.stderr
        if restart == "always":
            assert result.stdout == data and result.summary["stages"][0]["processes"] > 1
        else:
            assert b"exited with status 0, and no worker is left for the records" in result.stderr


# --- sources ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["cpp", "node", "python"])
def test_a_source_writes_what_the_flow_begins_with(household, library, request):
    command = {"cpp": lambda: request.getfixturevalue("cpp"), "node": lambda: NODE, "python": lambda: PYTHON}[library]()
    flow = write_flow(household, f"worker: {command} --source 30000", f"worker: {command}", "run: wc -l")
    assert household.run_sluice("run", flow).outcome == (0, b"30000\n")


def test_a_source_that_dies_fails_the_flow(household):
    flow = write_flow(household, f"worker: {PYTHON} --source endless", "run: head -n 1 > out; cat > /dev/null")
    process = household.start_sluice("run", flow)
    out = household.folder / "out"
    wait_until(lambda: out.exists() and out.stat().st_size > 0, "what the source writes")
    os.kill(workers_of(process, "conformance.py")[0], signal.SIGKILL)
    result = household.finish(process)
    assert result.returncode == 137 and b"was ended by signal 9; it is a source" in result.stderr
    household.assert_clean()


@pytest.mark.parametrize("library", ["cpp", "node", "python"])
def test_a_reader_that_is_done_ends_everything_quietly(household, library, request):
    command = {"cpp": lambda: request.getfixturevalue("cpp"), "node": lambda: NODE, "python": lambda: PYTHON}[library]()
    flow = write_flow(household, f"worker: {command} --source endless", f"worker: {command}, workers: 2", "run: head -n 3")
    result = household.run_sluice("run", flow)
    assert (result.returncode, len(result.stdout.split()), result.stderr) == (0, 3, b"")
    household.assert_clean()


# --- memory, and the end ------------------------------------------------------------------------------------------


SLOW = """
import time
worker = Worker()
@worker.on_data
def data(record, item):
    {do}
sys.exit(worker.run())
"""


@pytest.mark.parametrize("do", ["time.sleep(0.05); item.done()", "pass", "worker.pause()", "time.sleep(1000)"],
                         ids=["slow", "never done", "paused", "stuck"])
def test_a_worker_that_does_little_closes_the_tap(household, cpp, do):
    write_worker(household.folder / "worker", SLOW.format(do=do))
    flow = write_flow(household, f"worker: {cpp} --source endless", "worker: ./worker, workers: 2", "run: cat")
    process = household.start_sluice("run", *SHORT_GRACE, flow)
    (tap,) = wait_until(lambda: workers_of(process, "--source"), "the source")
    wait_until(lambda: len(workers_of(process, "./worker")) == 2, "the workers")

    def written():
        with open(f"/proc/{tap}/io") as counters:
            return next(int(line.split()[1]) for line in counters if line.startswith("wchar"))

    def stands_still():
        before = written()
        let_pass(0.5)
        return written() == before

    wait_until(stands_still, lambda: f"a tap that is closed; it has written {written()} bytes")
    assert written() < 64 << 20
    for pid in (process.pid, tap, *workers_of(process, "./worker")):
        assert memory_kib(pid) < 24 << 10
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == -signal.SIGTERM
    household.assert_clean()


def test_a_worker_that_writes_without_end_for_one_record_loses_its_seat(household, cpp):
    flow = write_flow(household, f"worker: {cpp}")
    result = household.run_sluice("run", flow, input=b"many:3000000:" + b"x" * 100 + b"\n", deadline=60)
    assert result.returncode == 125
    assert b"it has written more than 192 MiB for records that it has not said are done" in result.stderr
    household.assert_clean()


def test_a_slow_reader_makes_workers_wait(household, cpp):
    flow = write_flow(household, f"worker: {cpp} --source endless", f"worker: {cpp}, workers: 2, concurrency: 1000",
                      "run: sleep 1000")
    process = household.start_sluice("run", *SHORT_GRACE, flow)
    wait_until(lambda: len(workers_of(process, "conformance")) == 3, "the workers")
    let_pass(1.5)
    for pid in (process.pid, *workers_of(process, "conformance")):
        assert memory_kib(pid) < 24 << 10
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == -signal.SIGINT
    household.assert_clean()


def test_a_kill_of_sluice_is_no_end_for_its_workers(household):
    write_worker(household.folder / "worker", SLOW.format(do="item.done()").replace(
        "sys.exit", "worker.on_end(lambda: open('whole', 'w'))\nsys.exit"))
    flow = write_flow(household, "run: 'yes'", "worker: ./worker, workers: 2")
    process = household.start_sluice("run", flow)
    wait_until(lambda: len(workers_of(process, "./worker")) == 2, "two workers")
    workers = workers_of(process, "./worker")
    process.kill()
    process.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in workers), "the end of the workers")
    assert not (household.folder / "whole").exists()


# --- the plan -----------------------------------------------------------------------------------------------------


def test_the_plan_says_what_workers_promise(household):
    flow = write_flow(household, "worker: ls, workers: 2", "worker: cat")
    plan = household.run_sluice("run", "--dry-run", flow)
    assert plan.returncode == 0
    assert b"2 workers of the library: exec /usr/bin/ls" in plan.stdout
    assert b"promise: what a worker wrote for a record goes on once" in plan.stdout
    assert b"links: stdin =records=> s1 =records=> s2 =records=> stdout" in plan.stdout


def test_what_is_not_for_workers_is_refused(household):
    flow = write_flow(household, "run: cat, restart: always")
    result = household.run_sluice("run", flow, input=b"")
    assert result.returncode == 125 and b"'restart' of stage 's1': what a program had read" in result.stderr
    flow = write_flow(household, "worker: cat, framing: len, image: x")
    assert b"needs containers" in household.run_sluice("run", flow, input=b"").stderr


# --- ends that are no good ones -----------------------------------------------------------------------------------

TOTAL = """
import os, signal, threading, time

worker, total = Worker(), 0

@worker.on_data
def got(record, item):
    global total
    total += int(record)
    item.done()

@worker.on_end
def end():
    %s
    worker.write(str(total))

raise SystemExit(worker.run())
"""


def test_stderr_of_workers_may_be_a_link(household, cpp):
    (household.folder / "a.flow.yaml").write_text(
        f"stages: {{ n: {{ run: seq 5 }}, d: {{ worker: {cpp}, stderr: log }}, log: {{ run: wc -l }} }}\nlinks: [ n -> d ]\n")
    result = household.run_sluice("run", "a.flow.yaml")
    assert (result.returncode, sorted(result.stdout.split())) == (0, [b"0", b"1", b"2", b"3", b"4", b"5"]), result


@pytest.mark.parametrize("restart", ["never", "on-failure"])
@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)", "os._exit(3)"])
def test_worker_that_ends_before_it_has_finished_is_no_success(household, end, restart):
    write_worker(household.folder / "total.py", TOTAL % end)
    flow = write_flow(household, "run: seq 100", f"worker: ./total.py, restart: {restart}")
    result = household.run_sluice("run", flow)
    assert result.returncode != 0 and b"before it had finished" in result.stderr, result


# What it leaves running has its connection too, which so does not end with it.
def test_worker_that_dies_and_leaves_something_running_is_over_with_itself(household):
    write_worker(household.folder / "worker.py", """
import os, signal, subprocess
is_first = not os.path.exists("first")
if is_first:
    open("first", "w").close()
    subprocess.Popen(["sleep", "1000"])
worker = Worker()
@worker.on_data
def data(record, item):
    if is_first:
        os.kill(os.getpid(), signal.SIGKILL)
    item.write(record)
    item.done()
sys.exit(worker.run())
""")
    flow = write_flow(household, "run: seq 3", "worker: ./worker.py, restart: on-failure")
    result = household.run_sluice("run", *SHORT_GRACE, flow, deadline=30)
    assert (result.returncode, result.stdout) == (0, b"1\n2\n3\n"), result
    household.assert_clean()


def test_worker_that_has_finished_and_does_not_exit_is_ended_and_named(household):
    write_worker(household.folder / "total.py", TOTAL % "threading.Thread(target=lambda: time.sleep(1000)).start()")
    result = household.run_sluice("run", write_flow(household, "run: seq 100", "worker: ./total.py"))
    assert (result.returncode, result.stdout) == (0, b"5050\n"), result
    assert b"has finished and does not exit" in result.stderr
    household.assert_clean()
