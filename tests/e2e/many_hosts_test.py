"""Stages of many workers over the nodes of a cluster: where the workers run, what comes out, and what the loss of a worker
or of a node does."""

import json
import os
import re
import signal
import subprocess

import pytest

from clusters import cluster, home, pair, trio
from files import write_script
from processes import process_name, processes_below, wait_until
from settings import SOAK
from workers import write_flow, write_worker

NUMBERS = [b"%d" % number for number in range(1, 3001)]


def lines(numbers):
    return b"".join(number + b"\n" for number in numbers)


def node_of(folder):
    """The node whose folder for stages a path lies in."""
    return re.search(rb"/(n\d)-", folder)[1]


# --- each kind of stage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["@x4 cat", "@x4 @map cat", "@x4 @each cat", "@x3 @each=7 cat", "@x2 @each echo {}"])
def test_every_record_comes_out_once(trio, text):
    result = trio.run(text, input=lines(NUMBERS[:600]))
    assert (result.returncode, result.stderr) == (0, b"")
    assert sorted(result.stdout.splitlines()) == sorted(NUMBERS[:600])


@pytest.mark.parametrize("text", ["@x4 @map @ordered cat", "@x4 @each @ordered cat"])
def test_ordered_output_is_that_of_one_worker(trio, text):
    result = trio.run(text, input=lines(NUMBERS[:600]))
    assert (result.returncode, result.stdout) == (0, lines(NUMBERS[:600]))


def test_workers_run_on_every_node(trio):
    result = trio.run("@x6 @each pwd", input=lines(NUMBERS[:60]))
    assert result.returncode == 0
    assert {node_of(folder) for folder in result.stdout.split()} == {b"n1", b"n2", b"n3"}


def test_stages_around_it_are_where_they_were_placed(trio):
    result = trio.run("@n2 seq 1000 | @x3 @map awk '{print $1 * 2; fflush()}' | @n3 { pwd; cat; }")
    assert result.returncode == 0, result.stderr
    first, *rest = result.stdout.splitlines()
    assert node_of(first) == b"n3"
    assert sorted(map(int, rest)) == [2 * number for number in range(1, 1001)]


def test_workers_of_a_stage_that_names_its_node_run_there(trio):
    result = trio.run("@n2 @x3 @each pwd", input=lines(NUMBERS[:30]))
    assert (result.returncode, [node_of(folder) for folder in result.stdout.split()]) == (0, 30 * [b"n2"])


def test_stages_of_records_follow_each_other(trio):
    result = trio.run("seq 500 | @x2 @map sed -u s/^/a/ | @x2 @each cat | @x2 cat | sort")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == sorted(b"a%d" % number for number in range(1, 501))


# --- failures -----------------------------------------------------------------------------------------------------


def test_record_that_fails_ends_the_flow_with_its_status(trio):
    result = trio.run("@x2 @each sh -c 'read n; test $n != 7 || exit 9; echo $n'", input=lines(NUMBERS[:20]))
    assert result.returncode == 9
    assert b"exited with status 9" in result.stderr


def test_dead_letters_and_job_log_are_files_of_the_client(trio):
    script = "read n; case $n in *7) echo bad $n >&2; exit 3;; esac; echo $n"
    arguments = ["--dead-letter", "dead", "--joblog", "log", "--retries", "1"]
    result = trio.run(f"@x3 @each sh -c '{script}'", *arguments, input=lines(NUMBERS[:20]))
    assert result.returncode == 0, result.stderr
    assert sorted(map(int, result.stdout.split())) == [n for n in range(1, 21) if n % 10 != 7]
    letters = [json.loads(line) for line in (trio.household.folder / "dead").read_text().splitlines()]
    assert sorted(letter["record"].strip() for letter in letters) == ["17", "7"]
    assert {letter["attempts"] for letter in letters} == {2}
    assert all("bad" in letter["stderr"] for letter in letters), letters
    log = [line.split("\t") for line in (trio.household.folder / "log").read_text().splitlines()]
    assert len(log) == 21 and {host for _, host, *_ in log[1:]} == {"n1", "n2", "n3"}, log


def test_program_that_a_node_lacks_ends_the_flow(trio):
    result = trio.run("@x2 @map no-such-program", input=lines(NUMBERS[:5]))
    assert result.returncode == 127
    assert b"no-such-program" in result.stderr


def test_reader_that_has_enough_ends_the_stage(trio):
    result = trio.run("seq 1000000 | @x2 @map cat | head -n 5")
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 5


# --- losses -------------------------------------------------------------------------------------------------------

SLOW_CAT = "@x6 @map sh -c 'while read -r n; do echo $n; case $n in *50) sleep 0.02;; esac; done'"
SPREAD_CAT = SLOW_CAT.replace("@map ", "")
KILLS = 100 if SOAK else 3


def numbers_of(result):
    return sorted(map(int, result.stdout.split()))


class Answers:
    """A flow that is fed at once and whose answers are counted as they come."""

    def __init__(self, cluster, text, count, *options):
        self.cluster = cluster
        self.output = cluster.household.folder / "answers"
        self.input = cluster.household.folder / "numbers"
        self.input.write_bytes(lines(b"%d" % number for number in range(1, count + 1)))
        with open(self.input, "rb") as stdin, open(self.output, "wb") as stdout:
            self.process = cluster.start_flow(text, *options, stdin=stdin, stdout=stdout)

    def count(self):
        return self.output.read_bytes().count(b"\n")

    def wait_for(self, answers):
        wait_until(lambda: self.count() >= answers or self.process.poll() is not None,
                   lambda: f"{answers} answers; there are {self.count()}")
        assert self.process.poll() is None, self.process.communicate()

    def finish(self):
        result = self.cluster.household.finish(self.process)
        result.stdout = self.output.read_bytes()
        return result


@pytest.mark.parametrize("text", ["yes | @n2 cat", "yes | @n2 @x2 cat", "yes | @x4 cat"])
def test_loss_names_the_node_that_was_lost_and_says_it_once(pair, text):
    flow = pair.start_flow(text, stdout=subprocess.DEVNULL)
    pair.wait_for_programs("yes", "cat")
    pair["n2"].kill()
    said = pair.household.finish(flow).stderr.decode()
    assert "n2" in said and "sluice.sock" not in said, said
    assert "has ended: the connection broke" not in said, said


@pytest.mark.parametrize("text", [SLOW_CAT, SLOW_CAT.replace("@map", "@map @ordered"),
                                  "@x6 @each sh -c 'read n; sleep 0.002; echo $n'"])
def test_node_that_is_killed_costs_no_record_and_repeats_none(trio, text):
    count, in_time = 1200 if "@each" in text else 12000, 0
    for chance in range(KILLS):
        flow = Answers(trio, text, count)
        flow.wait_for(count // 10 * (chance % 7) + 1)
        trio.nodes["n3"].kill()
        result = flow.finish()
        assert result.returncode == 0, result.stderr
        in_time += b"lost the workers of stage 1 on n3" in result.stderr
        assert numbers_of(result) == list(range(1, count + 1))
        if "@ordered" in text:
            assert result.stdout == flow.input.read_bytes()
        trio.start("n3", join=trio.nodes["n1"].url)
    assert in_time >= 0.9 * KILLS - 1, "most flows were over before the kill"


@pytest.mark.parametrize("text", [SLOW_CAT, SLOW_CAT.replace("@map", "@map @ordered"),
                                  "@x6 @each sh -c 'read n; sleep 0.002; echo $n'"])
def test_process_that_is_killed_costs_no_record_and_repeats_none(trio, text):
    count = 1200 if "@each" in text else 12000
    for chance in range(KILLS):
        flow = Answers(trio, text, count)
        flow.wait_for(count // 10 * (chance % 7) + 1)
        kill_one(trio, "sh", flow)
        result = flow.finish()
        assert (result.returncode, result.stderr) == (0, b"")
        assert numbers_of(result) == list(range(1, count + 1))
        if "@ordered" in text:
            assert result.stdout == flow.input.read_bytes()


def kill_one(cluster, name, flow):
    """Kills one of the programs of this name, which may end by themselves meanwhile, as the flow may."""

    def killed():
        for pid in cluster.programs(name):
            try:
                os.kill(pid, signal.SIGKILL)
                return True
            except ProcessLookupError:
                pass
        return False

    wait_until(lambda: killed() or flow.process.poll() is not None, f"a program {name} to kill")


@pytest.mark.parametrize("text", [SLOW_CAT, "@x6 @each sh -c 'read n; sleep 0.002; echo $n'"])
def test_orchestrator_that_is_killed_ends_the_flow_and_repeats_nothing(trio, text):
    count = 1200 if "@each" in text else 12000
    for chance in range(KILLS):
        flow = Answers(trio, text, count)
        flow.wait_for(count // 10 * (chance % 7) + 1)
        trio.nodes["n1"].kill()
        result = flow.finish()
        assert result.returncode == 125 and b"the node ended the call" in result.stderr, result
        assert len(set(numbers_of(result))) == len(numbers_of(result)) < count
        trio.wait_for_no_program()
        trio.start("n1", join=trio.nodes["n2"].url)
        trio.wait_until_all_list(trio.nodes)


@pytest.mark.parametrize("word", ["@map", "@each"])
def test_stage_of_which_every_host_is_lost_ends_the_flow(trio, word):
    flow = Answers(trio, f"@n3 @x2 {word} sh -c 'while read n; do echo $n; sleep 0.01; done'", 500, "--dead-letter", "dead")
    flow.wait_for(10)
    trio.nodes["n3"].kill()
    result = flow.finish()
    assert (result.returncode, b"every host" in result.stderr) == (125, True), result


def test_worker_of_a_spread_stage_that_is_lost_with_its_node_ends_the_flow(trio):
    flow = Answers(trio, SPREAD_CAT, 12000)
    flow.wait_for(20)
    trio.nodes["n3"].kill()
    result = flow.finish()
    assert result.returncode == 137, result
    assert b"--on-loss=continue" in result.stderr


def test_spread_stage_that_may_lose_workers_goes_on_without_them(trio):
    flow = Answers(trio, SPREAD_CAT, 12000, "--on-loss=continue")
    flow.wait_for(20)
    trio.nodes["n3"].kill()
    result = flow.finish()
    assert result.returncode == 0, result
    assert 6000 < len(numbers_of(result)) < 12000 and len(set(numbers_of(result))) == len(numbers_of(result))
    assert b"was lost" in result.stderr


# --- every node gets everything -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["seq 50000 | @all wc -l", "@n2 seq 50000 | @all wc -l", "@n2 seq 50000 | @all wc -l | @n3 cat"])
def test_all_behind_another_stage_gets_the_whole_on_each_node(trio, text):
    result = trio.run(text)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == 3 * b"50000\n"


def test_node_that_has_enough_leaves_the_others_in_peace(trio):
    result = trio.run("seq 300000 | @all sh -c 'case $PWD in */n2-*) head -n 1;; *) wc -l;; esac'")
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.split()) == [b"1", b"300000", b"300000"]


def test_all_behind_all_gets_what_every_node_wrote(trio):
    result = trio.run("@all seq 100 | @all wc -l")
    assert (result.returncode, result.stdout) == (0, 3 * b"300\n")


def test_stage_of_many_workers_gets_what_every_node_wrote(trio):
    result = trio.run("@all seq 100 | @x4 @map cat | sort -n")
    assert (result.returncode, result.stdout.split()) == (0, sorted(3 * [b"%d" % n for n in range(1, 101)], key=int))


def test_node_that_falls_silent_costs_no_record(trio):
    flow = Answers(trio, SLOW_CAT, 12000)
    flow.wait_for(3000)
    trio.nodes["n3"].stop()
    try:
        result = flow.finish()
    finally:
        trio.nodes["n3"].go_on()
    assert result.returncode == 0, result.stderr
    assert b"lost the workers of stage 1 on n3" in result.stderr
    assert numbers_of(result) == list(range(1, 12001))


# --- ends ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["@each", "@map"])
def test_what_a_worker_elsewhere_leaves_running_is_ended_and_named(trio, word):
    result = trio.run(f"@x2 {word} bash -c 'sleep 1000 > /dev/null 2>&1 & cat'", input=lines(NUMBERS[:3]))
    assert result.returncode == 0 and sorted(result.stdout.splitlines()) == sorted(NUMBERS[:3])
    assert b"left running: sleep" in result.stderr


def test_stage_that_fails_elsewhere_is_named_and_nothing_is_called_lost(trio):
    result = trio.run("@x3 false", input=lines(NUMBERS[:3]))
    assert (result.returncode, b"`false`" in result.stderr) == (1, True), result
    result = trio.run("@x4 @each false", input=lines(NUMBERS[:3]))
    assert result.returncode == 1 and b"record" in result.stderr and b"lost" not in result.stderr, result


def test_files_beside_the_output_are_refused_for_a_stage_on_every_node(trio):
    result = trio.run("seq 4 | @all @x2 @each cat", "--joblog", "log")
    assert (result.returncode, b"--joblog" in result.stderr) == (125, True), result


# --- workers of the library ---------------------------------------------------------------------------------------

DOUBLER = """
import os, time
worker = Worker(concurrency=4)

@worker.on_data
def got(record, item):
    if int(record) % 50 == 0:
        time.sleep(0.01)
    item.write(b"%d %s" % (2 * int(record), os.getcwd().encode()))
    item.done()

raise SystemExit(worker.run())
"""


def write_doubler(cluster, keys="workers: 6"):
    write_worker(cluster.household.folder / "doubler.py", DOUBLER)
    return write_flow(cluster.household, "run: cat", f"worker: ./doubler.py, {keys}")


def test_workers_of_the_library_run_where_cores_are_free(trio):
    result = trio.run(write_doubler(trio), input=lines(NUMBERS))
    assert (result.returncode, result.stderr) == (0, b"")
    answers = [line.split() for line in result.stdout.splitlines()]
    assert sorted(int(number) for number, _ in answers) == [2 * n for n in range(1, 3001)]
    assert {node_of(folder) for _, folder in answers} == {b"n1", b"n2", b"n3"}


def test_workers_of_the_library_run_on_the_node_that_their_stage_names(trio):
    flow = write_doubler(trio, "workers: 2, ordered: true, on: n2")
    result = trio.run(flow, input=lines(NUMBERS))
    assert (result.returncode, result.stderr) == (0, b"")
    answers = [line.split() for line in result.stdout.splitlines()]
    assert [int(number) for number, _ in answers] == [2 * n for n in range(1, 3001)]
    assert {node_of(folder) for _, folder in answers} == {b"n2"}


def test_node_that_is_killed_costs_workers_of_the_library_no_record(trio):
    flow = Answers(trio, write_doubler(trio, "workers: 6, restart: on-failure"), 6000)
    flow.wait_for(500)
    trio.nodes["n3"].kill()
    result = flow.finish()
    assert result.returncode == 0, result.stderr
    assert sorted(int(line.split()[0]) for line in result.stdout.splitlines()) == [2 * n for n in range(1, 6001)]


def test_worker_elsewhere_that_has_finished_and_does_not_exit_is_ended(trio):
    idle = DOUBLER.replace("raise SystemExit(worker.run())",
                           "import threading\nthreading.Thread(target=lambda: time.sleep(1000)).start()\nworker.run()")
    write_worker(trio.household.folder / "idle.py", idle)
    result = trio.run(write_flow(trio.household, "run: cat", "worker: ./idle.py, workers: 3"), input=lines(NUMBERS[:9]))
    assert result.returncode == 0 and b"has finished and does not exit" in result.stderr, result
    assert len(result.stdout.splitlines()) == 9
