"""Workers that are started by hand (`sluice worker --role R`): they join a stage of a flow that runs, leave it, and come
back; what becomes of their records when they, or the node that they wait on, are lost."""

import os
import re
import signal
import subprocess

import pytest

from cluster_trust_test import issue, reach
from clusters import cluster, home, pair, trio
from files import write_script
from processes import is_alive, process_command, processes_below, wait_until
from top_test import wait_for_sample
from workers import ByHand, write_flow, write_worker

DOUBLER = """
import os, time
worker = Worker(concurrency=4)

@worker.on_data
def got(record, item):
    if int(record) % 10 == 0:
        time.sleep(0.01)
    item.write(b"%d %s" % (2 * int(record), os.environ.get("WHO", "nobody").encode()))
    item.done()

raise SystemExit(worker.run())
"""
TICKS = "while read -r n; do echo $((2 * n)) $WHO; case $n in *0) sleep 0.01;; esac; done"


def lines(numbers):
    return b"".join(b"%d\n" % number for number in numbers)


class Hand(ByHand):
    """A worker that was started by hand, and what it says."""

    def __init__(self, cluster, who, *command, role="double", node="n1", options=(), reach=None):
        self.who = who
        self.cluster = cluster
        self.log = cluster.folder / f"{who}.log"
        command = command or ("./doubler.py",)
        node_options = reach or [word for name in node.split() for word in ("--join", str(cluster[name].socket))]
        with open(self.log, "wb") as stderr:
            self.process = cluster.household.start_sluice("worker", "--role", role, *node_options, *options, "--", *command,
                                                          environment={"WHO": who}, stdout=stderr, stderr=stderr)

    def programs(self):
        return [pid for pid in processes_below(self.process.pid) if "sluice" not in process_command(pid).split(" ")[0]]

    def leave(self):
        """In good order; returns its status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def kill(self):
        programs = self.programs()
        self.process.kill()
        self.process.wait(timeout=60)
        wait_until(lambda: not any(map(is_alive, programs)), "that its program has ended with it")


class Flow:
    """A flow that is fed at once; its input ends when it is told so."""

    def __init__(self, cluster, keys, count, *options, at="n1", first="run: cat"):
        self.cluster = cluster
        self.count = count
        self.output = cluster.folder / "answers"
        self.errors = cluster.folder / "errors"
        name = write_flow(cluster.household, first, keys)
        with open(self.output, "wb") as stdout, open(self.errors, "wb") as stderr:
            self.process = cluster.start_flow(name, *options, at=at, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr)

    def feed(self, first=1, last=None):
        """Never more than a pipe and the windows hold."""
        self.process.stdin.write(lines(range(first, (last or self.count) + 1)))
        self.process.stdin.flush()
        return self

    def answers(self):
        return [line.split() for line in self.output.read_bytes().splitlines()]

    def wait_for(self, count):
        wait_until(lambda: len(self.answers()) >= count or self.process.poll() is not None,
                   lambda: f"{count} answers; there are {len(self.answers())}; {self.errors.read_text()}")
        assert self.process.poll() is None, self.errors.read_text()
        return self

    def wait_until_told(self, text, count=1):
        wait_until(lambda: self.errors.read_text().count(text) >= count or self.process.poll() is not None,
                   lambda: f"'{text}' in {self.errors.read_text()}")
        assert self.errors.read_text().count(text) >= count
        return self

    def finish(self, status=0):
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == status, self.errors.read_text()
        return self

    def assert_each_once(self):
        assert sorted(int(answer[0]) for answer in self.answers()) == [2 * n for n in range(1, self.count + 1)]

    def who(self):
        return {answer[1].decode() for answer in self.answers()}


@pytest.fixture
def doubler(household):
    return write_worker(household.folder / "doubler.py", DOUBLER)


# --- joining ------------------------------------------------------------------------------------------------------


def test_worker_that_waits_joins_a_flow_that_starts(pair, doubler):
    hand = Hand(pair, "anna").waits()
    flow = Flow(pair, "role: double", 2000).feed().finish()
    flow.assert_each_once()
    assert flow.who() == {"anna"}
    hand.wait_until_it_says("done with that flow")
    Flow(pair, "role: double", 10).feed().finish().assert_each_once()  # it is there for the next
    assert hand.leave() == 0
    assert "waits for workers" not in flow.errors.read_text()
    pair.wait_for_no_program()


def test_stage_waits_for_its_first_worker_and_says_so(pair, doubler):
    flow = Flow(pair, "role: double", 100).feed()
    flow.wait_until_told(f"stage 's2' waits for workers: sluice worker --role double --join {pair['n1'].url} -- CMD")
    stranger = Hand(pair, "stranger", role="triple").waits()
    hand = Hand(pair, "anna", "./doubler.py", options=["--once"])
    flow.wait_until_told("joins stage 's2'").finish().assert_each_once()
    assert flow.errors.read_text().count("waits for workers") == 1
    assert flow.who() == {"anna"}
    assert hand.process.wait(timeout=60) == 0, "--once"
    assert "serving" not in stranger.said()


def test_worker_reaches_a_flow_through_another_node_than_its_own(trio, doubler):
    hand = Hand(trio, "anna", node="n3").waits()
    flow = Flow(trio, "role: double", 2000, at="n1").feed()
    hand.serves()
    late = Hand(trio, "berta", node="n2").serves()
    flow.wait_for(100).finish().assert_each_once()
    for each in (hand, late):
        each.wait_until_it_says("done with that flow")


# Its records are on a node then, and the links go from node to node.
def test_worker_joins_a_stage_whose_records_are_on_a_node(trio, doubler):
    hand = Hand(trio, "anna", node="n3").waits()
    flow = Flow(trio, "role: double", 2000, at="n1", first="run: cat, on: n2").feed().finish()
    flow.assert_each_once()
    assert flow.who() == {"anna"}
    assert hand.leave() == 0


def test_stage_has_workers_of_its_own_and_any_that_come(pair, doubler):
    hand = Hand(pair, "anna").waits()
    flow = Flow(pair, "worker: ./doubler.py, workers: 2, role: double", 4000)
    hand.serves()
    flow.feed().finish().assert_each_once()
    assert flow.who() == {"anna", "nobody"}


def test_flow_that_is_named_is_the_only_one_that_is_served(pair, doubler):
    hand = Hand(pair, "anna", options=["--flow", "second"]).waits()
    other = Hand(pair, "berta").waits()
    first = Flow(pair, "role: double", 50, "--name", "first").feed().finish()
    assert first.who() == {"berta"}
    assert other.leave() == 0
    second = Flow(pair, "role: double", 50, "--name", "second").feed().finish()
    assert second.who() == {"anna"}
    assert "first" not in hand.said()


# --- any program --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", ["role: double, map: true", "role: double, map: true, ordered: true",
                                  "role: double, each: true", "role: double, each: 7"])
def test_plain_programs_join_stages_of_map_and_each(pair, keys):
    write_script(pair.folder / "ticks", TICKS)
    for who in ("anna", "berta"):
        Hand(pair, who, "./ticks").waits()
    flow = Flow(pair, keys, 300).feed().finish()
    flow.assert_each_once()
    assert flow.who() <= {"anna", "berta"}
    if "ordered" in keys:
        assert [int(answer[0]) for answer in flow.answers()] == [2 * n for n in range(1, 301)]


def test_program_that_is_not_there_is_its_own_mistake(pair, doubler):
    result = pair.household.run_sluice("worker", "--role", "double", "--", "./no-such-program")
    assert (result.returncode, b"no such program" in result.stderr) == (127, True), result
    write_script(pair.folder / "gone", "exit 3\n")
    flow = Flow(pair, "role: double", 100).feed()
    flow.wait_until_told("waits for workers")
    bad = Hand(pair, "bad", "./gone").wait_until_it_says("serving stage", 2)
    Hand(pair, "anna").serves()
    flow.finish().assert_each_once()
    assert flow.who() == {"anna"}
    assert bad.leave() == 0


# --- leaving and being lost ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys, command", [("role: double", "./doubler.py"), ("role: double, map: true", "./ticks"),
                                           ("role: double, each: true", "./ticks")])
def test_worker_that_leaves_finishes_what_it_has_and_comes_back(pair, doubler, keys, command):
    write_script(pair.folder / "ticks", TICKS)
    count = 300 if "each" in keys else 4000
    first, second = (Hand(pair, who, command).waits() for who in ("anna", "berta"))
    flow = Flow(pair, keys, count).feed(1, count // 2)
    flow.wait_for(count // 10)
    assert first.leave() == 0
    flow.wait_for(count // 2)
    assert second.leave() == 0
    flow.feed(count // 2 + 1, count)
    Hand(pair, "carla", command).serves()
    flow.finish().assert_each_once()
    assert flow.who() == {"anna", "berta", "carla"}
    assert "lost" not in flow.errors.read_text()


@pytest.mark.parametrize("keys, command", [("role: double", "./doubler.py"), ("role: double, map: true", "./ticks"),
                                           ("role: double, each: true", "./ticks")])
def test_worker_that_is_killed_costs_no_record(pair, doubler, keys, command):
    write_script(pair.folder / "ticks", TICKS)
    count = 400 if "each" in keys else 6000
    first, second = (Hand(pair, who, command, node=node).waits() for who, node in (("anna", "n1"), ("berta", "n2")))
    flow = Flow(pair, keys, count).feed()
    flow.wait_for(count // 20)
    first.kill()
    flow.wait_for(count // 2)
    second.kill()
    Hand(pair, "carla", command).serves()
    flow.finish().assert_each_once()


@pytest.mark.parametrize("keys, command", [("role: double", "./stuck.py"), ("role: double, map: true", "./stuck")])
def test_worker_whose_program_is_killed_is_told_of_once(pair, doubler, keys, command):
    write_worker(pair.folder / "stuck.py", DOUBLER.replace("time.sleep(0.01)", "time.sleep(1000)").replace("% 10", "% 1"))
    write_script(pair.folder / "stuck", "exec sleep 1000\n")
    write_script(pair.folder / "ticks", TICKS)
    flow = Flow(pair, keys, 20).feed()
    stuck = Hand(pair, "anna", command).serves()
    program = wait_until(stuck.programs, "its program")[-1]
    wait_for_sample(pair, lambda sample: sample["stages"][1]["in_flight"] and sample["stages"][1]["waiting"] < 20)
    os.kill(program, signal.SIGKILL)
    flow.wait_until_told("was ended by signal 9 with")
    stuck.kill()
    Hand(pair, "berta", "./doubler.py" if command.endswith(".py") else "./ticks").serves()
    flow.finish().assert_each_once()
    told, = [line for line in flow.errors.read_text().splitlines() if "was ended by signal" in line]
    assert "in hand, which run" in told, told


# What a worker takes too long for is still open when it goes: another is needed, and the user is told so each time.
@pytest.mark.parametrize("keys, command", [("role: double", "./stuck.py"), ("role: double, map: true", "./stuck"),
                                           ("role: double, each: true", "./stuck")])
def test_stage_whose_workers_have_all_gone_says_so_and_waits_again(pair, doubler, keys, command):
    write_worker(pair.folder / "stuck.py", DOUBLER.replace("time.sleep(0.01)", "time.sleep(1000)").replace("% 10", "% 1"))
    write_script(pair.folder / "stuck", "exec sleep 1000\n")
    write_script(pair.folder / "ticks", TICKS)
    flow = Flow(pair, keys, 20).feed().wait_until_told("waits for workers")
    for time in (2, 3):
        stuck = Hand(pair, "anna", command).serves()
        wait_until(stuck.programs, "its program")
        stuck.kill()
        flow.wait_until_told("waits for workers", time)
        assert flow.errors.read_text().count("lost a worker that had joined stage 's2' through n1: "
                                             "it ended without a word; what it had not done is done elsewhere") == time - 1
    Hand(pair, "berta", "./doubler.py" if command.endswith(".py") else "./ticks").serves()
    flow.finish().assert_each_once()
    assert flow.errors.read_text().count("waits for workers") == 3
    assert flow.errors.read_text().count("lost a worker") == 2
    assert "has left" not in flow.errors.read_text()


def test_worker_that_leaves_is_told_and_another_that_comes_in_time_is_enough(pair, doubler):
    first, second = (Hand(pair, who, node=node).waits() for who, node in (("anna", "n1"), ("berta", "n2")))
    flow = Flow(pair, "role: double", 2000).feed(1, 1000).wait_for(1000)
    assert first.leave() == 0
    flow.wait_until_told("a worker that had joined stage 's2' through n1 has left")
    Hand(pair, "carla").serves()
    assert second.leave() == 0
    flow.wait_until_told("a worker that had joined stage 's2' through n2 has left")
    flow.feed(1001).finish().assert_each_once()
    assert "waits for workers" not in flow.errors.read_text() and "lost" not in flow.errors.read_text()
    assert flow.errors.read_text().count("has left") == 2, "those that served to the end have not left"


def test_stage_that_no_worker_ever_joined_is_what_top_names(pair, doubler):
    flow = Flow(pair, "role: double", 20).feed()
    last = wait_for_sample(pair, lambda sample: sample["bottleneck"] and sample["bottleneck"]["kind"] == "stage")
    assert last["bottleneck"]["stage"] == 2, last
    assert re.search(r"has no worker, and \d+ (bytes|records) wait for one", last["bottleneck"]["text"]), last
    Hand(pair, "anna").serves()
    flow.finish().assert_each_once()


def test_stage_without_a_worker_is_what_top_names(pair, doubler):
    write_worker(pair.folder / "stuck.py", DOUBLER.replace("time.sleep(0.01)", "time.sleep(1000)").replace("% 10", "% 1"))
    flow = Flow(pair, "role: double", 20).feed()

    def lacks_workers(sample):
        bottleneck = sample["bottleneck"]
        return sample["stages"][1]["workers"] == 0 and bottleneck and "has no worker" in bottleneck["text"]

    stuck = Hand(pair, "anna", "./stuck.py").serves()
    wait_for_sample(pair, lambda sample: sample["stages"][1]["workers"] == 1)
    stuck.kill()
    last = wait_for_sample(pair, lacks_workers)
    assert (last["bottleneck"]["kind"], last["bottleneck"]["stage"]) == ("stage", 2)
    stage = last["stages"][1]
    assert [worker["running"] for worker in stage["each_worker"]] == [False]
    assert stage["busy_percent"] is None and stage["idle_percent"] is None, stage
    Hand(pair, "berta").serves()
    flow.finish().assert_each_once()


def test_second_signal_ends_a_worker_at_once(pair):
    write_worker(pair.folder / "stuck.py", DOUBLER.replace("time.sleep(0.01)", "time.sleep(1000)").replace("% 10", "% 1"))
    hand = Hand(pair, "anna", "./stuck.py").waits()
    flow = Flow(pair, "role: double", 10).feed()
    hand.serves()
    wait_until(hand.programs, "its program")
    program, = hand.programs()
    hand.process.send_signal(signal.SIGTERM)
    hand.wait_until_it_says("finishing what it has")
    hand.process.send_signal(signal.SIGTERM)
    assert hand.process.wait(timeout=60) == -signal.SIGTERM
    assert not is_alive(program)
    write_worker(pair.folder / "doubler.py", DOUBLER)
    Hand(pair, "berta").serves()
    flow.finish().assert_each_once()


def test_end_of_the_flow_by_a_signal_ends_its_workers_and_they_wait_again(pair):
    write_worker(pair.folder / "stuck.py", DOUBLER.replace("time.sleep(0.01)", "time.sleep(1000)").replace("% 10", "% 1"))
    hand = Hand(pair, "anna", "./stuck.py").waits()
    flow = Flow(pair, "role: double", 10).feed()
    hand.serves()
    wait_until(hand.programs, "its program")
    flow.process.send_signal(signal.SIGINT)
    assert flow.process.wait(timeout=60) == -signal.SIGINT
    hand.wait_until_it_says("waiting for a flow", 2)
    wait_until(lambda: not hand.programs(), "that its program has ended")


# --- nodes that are lost ------------------------------------------------------------------------------------------


# Killed, ended in good order, and taken out of the cluster: of the node on which the worker waits.
@pytest.mark.parametrize("how", ["kill", "terminate", "leave"])
def test_node_of_a_worker_that_is_lost_costs_no_record_and_the_worker_finds_another(trio, doubler, how):
    hand = Hand(trio, "anna", node="n3 n2").waits()
    flow = Flow(trio, "role: double", 6000, at="n1").feed(1, 3000)
    flow.wait_for(100)
    if how == "leave":
        trio.household.run_sluice("leave", *trio.at("n3"), "--grace", "1s")
    else:
        getattr(trio["n3"], how)()
    hand.wait_until_it_says("serving stage", 2)
    flow.feed(3001, 6000).finish().assert_each_once()


def test_orchestrator_that_dies_leaves_the_worker_waiting_for_the_next_flow(pair, doubler):
    hand = Hand(pair, "anna", node="n2").waits()
    flow = Flow(pair, "role: double", 1000, at="n1").feed()
    hand.serves()
    pair["n1"].kill()
    flow.process.stdin.close()
    assert flow.process.wait(timeout=60) != 0
    hand.wait_until_it_says("waiting for a flow", 2)
    wait_until(lambda: not hand.programs(), "that nothing of that flow runs any more")
    Flow(pair, "role: double", 200, at="n2").feed().finish().assert_each_once()


def test_worker_waits_for_a_node_that_is_not_there_yet(pair, doubler):
    port = pair["n2"].host_and_port[1]
    pair["n2"].terminate()
    hand = Hand(pair, "anna", reach=["--join", pair["n2"].url, "--key", str(pair.key)]).wait_until_it_says("trying again")
    pair.start("n2", join=pair["n1"].url, listen=f"127.0.0.1:{port}")
    hand.waits()
    Flow(pair, "role: double", 100, at="n1").feed().finish().assert_each_once()


# --- who may ------------------------------------------------------------------------------------------------------


def test_certificate_of_the_role_worker_is_enough_and_may_nothing_else(pair, doubler):
    credentials = issue(pair, "worker")
    by_certificate = ["--join", pair["n1"].url, "--cert", str(credentials)]
    hand = Hand(pair, "anna", reach=by_certificate).waits()
    Flow(pair, "role: double", 500).feed().finish().assert_each_once()
    assert hand.leave() == 0
    for verb in (["ps"], ["run", "@n1 true"], ["stop", "x"], ["leave"]):
        refused = pair.household.run_sluice(*verb, *reach(pair, credentials))
        assert refused.returncode in (4, 125), refused
    reader = issue(pair, "read")
    refused = Hand(pair, "reader", reach=["--join", pair["n1"].url, "--cert", str(reader)])
    assert refused.process.wait(timeout=60) == 4, refused.said()


# A flow can't run what it likes on the host of a worker, so no part of a record is put into the command.
def test_flow_with_a_role_needs_a_node_and_a_command_without_the_record_in_it(household, home):
    name = write_flow(household, "run: cat", "role: double")
    assert "workers join through a node" in household.refusal("run", name)
    name = write_flow(household, "run: cat", "role: double, run: 'echo {}', each: true")
    checked = household.run_sluice("flow", "check", name)
    assert checked.returncode == 2 and b"read theirs from stdin" in checked.stderr, checked


def test_plan_and_drawing_show_the_role(pair):
    name = write_flow(pair.household, "run: cat", "role: double", "worker: ./x, workers: 2, role: triple")
    drawn = pair.household.run_sluice("flow", "graph", name)
    assert b"role double" in drawn.stdout and b"role triple" in drawn.stdout
    checked = pair.household.run_sluice("flow", "check", name)
    assert checked.returncode == 0, checked
    plan = pair.household.run_sluice("run", *pair.at("n1"), "--dry-run", write_flow(pair.household, "run: cat", "role: double"))
    assert plan.returncode == 0, plan
    assert b"workers of the role 'double'" in plan.stdout
