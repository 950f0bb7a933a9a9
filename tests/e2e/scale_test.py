"""`sluice scale`: another number of workers for a stage of a flow that runs."""

import json
import signal

import pytest

from clusters import cluster, home, pair, trio
from many_hosts_test import Answers, numbers_of
from processes import wait_until
from workers import write_flow, write_worker

SLOW_MAP = "sh -c 'while read -r n; do sleep 0.01; echo $n; done'"


def scale(cluster, *operands, at="n1"):
    return cluster.household.run_sluice("scale", *cluster.at(at), *operands)


def wait_for_workers(cluster, name, count):
    wait_until(lambda: len(cluster.programs(name)) == count,
               lambda: f"{count} workers {name}; there are {cluster.programs(name)}")


def scale_up_down_and_up(cluster, flow, stage, program, at="n1"):
    result = scale(cluster, flow, f"{stage}=5", at=at)
    assert (result.returncode, result.stdout) == (0, b"stage %d: 2 -> 5 workers\n" % stage), result
    wait_for_workers(cluster, program, 5)
    result = scale(cluster, flow, f"{stage}=1", at=at)
    assert (result.returncode, result.stdout) == (0, b"stage %d: 5 -> 1 workers\n" % stage), result
    wait_for_workers(cluster, program, 1)
    assert scale(cluster, flow, f"{stage}=8", at=at).returncode == 0
    wait_for_workers(cluster, program, 8)


@pytest.mark.parametrize("asked", ["n1", "n2"])
def test_map_stage_gets_more_and_fewer_workers_and_loses_nothing(trio, asked):
    flow = Answers(trio, f"@x2 @map {SLOW_MAP}", 3000, "--name", "scaled")
    flow.wait_for(20)
    scale_up_down_and_up(trio, "scaled", 1, "sh", at=asked)
    result = flow.finish()
    assert (result.returncode, result.stderr) == (0, b"")
    assert numbers_of(result) == list(range(1, 3001))


def test_stage_whose_records_are_on_a_node_is_scaled_there(trio):
    flow = Answers(trio, f"@n2 seq 3000 | @x2 @map @ordered {SLOW_MAP}", 0, "--name", "scaled")
    flow.wait_for(20)
    scale_up_down_and_up(trio, "scaled", 2, "sh")
    result = flow.finish()
    assert (result.returncode, result.stderr) == (0, b"")
    assert list(map(int, result.stdout.split())) == list(range(1, 3001))


def test_each_stage_runs_more_processes_at_a_time(pair):
    flow = Answers(pair, "@x1 @each sh -c 'read n; while :; do sleep 0.1; done'", 12, "--name", "scaled")
    wait_for_workers(pair, "sh", 1)
    assert scale(pair, "scaled", "1=4").returncode == 0
    wait_for_workers(pair, "sh", 4)
    assert pair.household.run_sluice("stop", *pair.at("n1"), "scaled").returncode == 0
    assert flow.finish().returncode == -signal.SIGTERM


def test_workers_of_the_library_come_and_leave_in_good_order(pair):
    write_worker(pair.household.folder / "w.py", """
import time
worker = Worker(concurrency=4)
@worker.on_data
def handle(record, input):
    time.sleep(0.002)
    input.write(record)
    input.done()
worker.run()
""")
    flow = Answers(pair, write_flow(pair.household, "worker: ./w.py, workers: 2"), 5000, "--name", "scaled")
    flow.wait_for(20)
    assert b"no stage 'w'; its stages are s1" in scale(pair, "scaled", "w=2").stderr
    assert scale(pair, "scaled", "s1=2").stdout == b"stage s1: 2 -> 2 workers\n"
    scale_up_down_and_up(pair, "scaled", 1, "w.py")
    result = flow.finish()
    assert (result.returncode, result.stderr) == (0, b"")
    assert numbers_of(result) == list(range(1, 5001))


def test_summary_counts_the_workers_that_came_later(pair):
    flow = Answers(pair, f"@x1 @map {SLOW_MAP}", 500, "--name", "scaled", "--json")
    flow.wait_for(5)
    assert scale(pair, "scaled", "1=3").returncode == 0
    result = flow.finish()
    assert result.returncode == 0
    workers = json.loads(result.stderr)["stages"][0]["workers"]
    assert len(workers) == 3 and sum(worker["records_given"] for worker in workers) == 500
    assert all(worker["records_given"] > 0 for worker in workers), workers


@pytest.mark.parametrize("operands, status, words", [
    (["scaled", "2=3"], 1, b"it takes no records"),
    (["scaled", "3=3"], 1, b"a plain @xN begin and end with it"),
    (["scaled", "4=3"], 1, b"keys are divided"),
    (["scaled", "5=3"], 3, b"no stage '5'; its stages are 1 to 4"),
    (["scaled", "sort=3"], 3, b"no stage 'sort'"),
    (["nobody", "1=3"], 3, b"no flow 'nobody'"),
    (["scaled", "1=0"], 2, b"1 to 10000 workers"),
    (["scaled", "1=10001"], 2, b"1 to 10000 workers"),
    (["scaled", "1"], 2, b"2=8"),
    (["scaled", "=2"], 2, b"2=8"),
    (["scaled", "1=many"], 2, b"1 to 10000 workers"),
])
def test_what_cannot_be_scaled_is_told(pair, operands, status, words):
    text = "@x2 @map cat | cat | @x2 cat | @x2 @map @by=1 cat"
    process = pair.start_flow(text, "--name", "scaled", stdin=-1, stdout=-1)
    pair.wait_for_programs("cat")
    wait_until(lambda: b"scaled" in pair.household.run_sluice("ps", *pair.at("n1")).stdout, "the flow to be listed")
    result = scale(pair, *operands)
    assert result.returncode == status and words in result.stderr, result
    result = pair.household.finish(process, b"a\nb\n")
    assert (result.returncode, sorted(result.stdout.split())) == (0, [b"a", b"b"])


def test_flow_that_has_ended_is_not_scaled(pair):
    started = pair.run("true", "--background", "--name", "over")
    assert started.returncode == 0
    assert pair.household.run_sluice("wait", *pair.at("n1"), "over").returncode == 0
    result = scale(pair, "over", "1=2")
    assert (result.returncode, b"has ended" in result.stderr) == (1, True), result
