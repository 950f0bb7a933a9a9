"""Flows in the background that outlive their orchestrator: no part of them is on its node. They go on while that is gone,
and it knows them again."""

import json
import os
import random
import re
from collections import Counter

import pytest

from clusters import cluster, home, trio
from processes import let_pass, wait_until
from roles_test import Hand
from settings import SOAK
from workers import write_worker

NUMBERS = "".join(f"{number}\n" for number in range(1, 2001)).encode()


class Flow:
    """A flow in the background that n1 has started, with all its stages on n2 and n3."""

    def __init__(self, nodes, text, *options):
        self.nodes = nodes
        started = nodes.run(text, "--background", *options)
        assert started.returncode == 0, started
        self.id = started.stdout.decode().strip()

    def ask(self, verb, *options, by="n1", **settings):
        return self.nodes.household.run_sluice(verb, *self.nodes.at(by), *options, self.id, **settings)

    def as_told(self, by="n1"):
        listed = self.nodes.household.run_sluice("ps", "-a", "--json", *self.nodes.at(by))
        assert listed.returncode in (0, 6), listed  # 6: a node that has just died did not answer
        return next((flow for flow in map(json.loads, listed.stdout.splitlines()) if flow["id"] == self.id), None)

    def wait(self, by="n1"):
        return self.ask("wait", by=by).returncode

    def output(self):
        return self.ask("logs").stdout

    def wait_until_alone(self, by="n2", stages=2):
        def alone():
            flow = self.as_told(by)
            return flow and flow["alone"] and len(flow["stages"]) == stages and flow
        return wait_until(alone, lambda: f"a flow that is alone: {self.as_told(by)}")


def come_back(nodes, name="n1", by="n2"):
    """The node starts again, at another port, and is known by the others."""
    nodes.start(name, join=nodes[by].url)
    nodes.wait_until_all_list(nodes.nodes)


END = {"killed": lambda node: node.kill(), "ended": lambda node: node.terminate()}
ends = pytest.mark.parametrize("end", END)


def gate(nodes, name="go"):
    """Words of a shell that wait until the test opens this gate, by opening it for writing."""
    path = nodes.folder / name
    os.mkfifo(path)
    path.chmod(0o666)
    return f"read -r _ < {path}", lambda: path.write_text("\n")


# --- it goes on ---------------------------------------------------------------------------------------------------


@ends
def test_flow_goes_on_and_is_known_again(trio, end):
    shut, open_gate = gate(trio)
    flow = Flow(trio, f"@n2 {{ seq 1000; {shut}; seq 1001 2000; }} | @n3 cat")
    trio.wait_for_programs("cat")
    END[end](trio["n1"])
    told = flow.wait_until_alone()
    assert (told["state"], told["node"], told["background"]) == ("running", "n1", True)
    assert [stage["node"] for stage in told["stages"]] == ["n2", "n3"] and told["text"].endswith("@n3 cat")
    come_back(trio)
    told = flow.as_told()
    assert (told["state"], told["alone"]) == ("running", False)
    wait_until(lambda: all(stage["pid"] for stage in flow.as_told()["stages"]), "what its parts say of themselves")
    open_gate()
    assert flow.wait() == 0
    assert flow.output() == NUMBERS
    assert flow.ask("rm").returncode == 0
    assert flow.as_told() is None and flow.as_told("n3") is None
    for name in trio.nodes:
        assert not list((trio[name].data / "flows").glob("*")), name


@ends
def test_flow_that_ended_meanwhile_has_its_own_status(trio, end):
    shut, open_gate = gate(trio)
    flow = Flow(trio, f"@n2 {{ seq 2000; {shut}; exit 3; }} | @n3 cat")
    trio.wait_for_programs("cat")
    END[end](trio["n1"])
    flow.wait_until_alone()
    open_gate()
    wait_until(lambda: flow.as_told("n2") is None, "that it is over")
    come_back(trio)
    assert flow.wait() == 3
    assert flow.output() == NUMBERS
    told = flow.as_told()
    assert [stage["status"] for stage in told["stages"]] == [3, 0]
    assert not (trio["n1"].data / "flows" / flow.id / "parts.json").exists(), "it holds an environment"


def test_orchestrator_may_die_again_and_again(trio):
    shut, open_gate = gate(trio)
    flow = Flow(trio, f"@n2 {{ seq 1000; {shut}; seq 1001 2000; }} | @n3 cat")
    for _ in range(3):
        trio["n1"].kill()
        flow.wait_until_alone()
        come_back(trio)
        assert flow.as_told()["state"] == "running"
    open_gate()
    assert flow.wait() == 0 and flow.output() == NUMBERS


def test_timeout_counts_from_the_start_of_the_flow(trio):
    flow = Flow(trio, "@n2 yes | @n3 cat > /dev/null", "--timeout", "1h")
    trio["n1"].kill()
    flow.wait_until_alone()
    limits = trio["n1"].data / "flows" / flow.id / "limits"
    deadline, grace = map(int, limits.read_text().split())
    limits.write_text(f"{deadline - 3_600_000} {grace}\n")  # as if it had been gone for an hour
    come_back(trio)
    assert flow.wait() == 124
    trio.wait_for_no_program()


# --- it ends ------------------------------------------------------------------------------------------------------


def test_flow_can_be_stopped_without_its_orchestrator(trio):
    flow = Flow(trio, "@n2 yes | @n3 cat > /dev/null")
    trio["n1"].kill()
    flow.wait_until_alone()
    assert flow.ask("stop", by="n3").returncode == 0
    trio.wait_for_no_program()
    assert flow.as_told("n2") is None
    come_back(trio)
    assert flow.wait() != 0
    assert flow.as_told()["state"] == "ended"


def test_flow_can_be_stopped_by_an_orchestrator_that_is_back(trio):
    flow = Flow(trio, "@n2 yes | @n3 cat > /dev/null")
    trio["n1"].kill()
    come_back(trio)
    assert flow.ask("stop").returncode == 0
    trio.wait_for_no_program()
    assert flow.as_told()["state"] == "ended"


@pytest.mark.parametrize("lost", ["n2", "n3"])
def test_flow_without_orchestrator_that_loses_a_node_ends(trio, lost):
    flow = Flow(trio, "@n2 yes | @n3 cat > /dev/null")
    trio["n1"].kill()
    flow.wait_until_alone()
    trio[lost].kill()
    trio.wait_for_no_program()
    trio.start(lost, join=trio["n3" if lost == "n2" else "n2"].url)
    come_back(trio)
    assert flow.wait() == 125
    assert lost in flow.as_told()["message"], flow.as_told()


def test_flow_whose_orchestrator_has_forgotten_it_ends(trio):
    flow = Flow(trio, "@n2 yes | @n3 cat > /dev/null")
    trio["n1"].kill()
    flow.wait_until_alone()
    memory = trio["n1"].data / "flows" / flow.id / "parts.json"
    assert memory.stat().st_mode & 0o777 == 0o600
    memory.write_text(memory.read_text()[:-10])
    come_back(trio)
    trio.wait_for_no_program()
    told = flow.as_told()
    assert (told["state"], told["status"]) == ("ended", 125), told
    assert "memory of a flow damaged" in trio["n1"].log_text()


def test_flow_with_a_part_on_its_orchestrator_ends_with_it(trio):
    flow = Flow(trio, "@n1 yes | @n3 cat > /dev/null")
    trio.wait_for_programs("cat")
    trio["n1"].kill()
    trio.wait_for_no_program()
    assert flow.as_told("n2") is None
    come_back(trio)
    told = flow.as_told()
    assert (told["state"], told["status"]) == ("ended", 125) and "link of the flow went through it" in told["message"]


def test_node_that_leaves_takes_its_flows_along(trio):
    flow = Flow(trio, "@n2 yes | @n3 cat > /dev/null")
    trio.wait_for_programs("cat")
    assert trio.household.run_sluice("leave", *trio.at("n1")).returncode == 0
    trio.wait_for_no_program()
    assert flow.as_told("n2") is None


# --- whenever it dies ---------------------------------------------------------------------------------------------


def die_again_and_again(nodes, times, start, output):
    """The orchestrator is killed at a random moment of each flow, before or after the second half of its input comes."""
    chance = random.Random(os.environ.get("SLUICE_SEED"))
    for number in range(times):
        shut, open_gate = gate(nodes, f"go{number}")
        flow = start(shut)
        opened_first = chance.random() < 0.5
        if opened_first:
            open_gate()
        let_pass(chance.random() * 0.1)
        nodes["n1"].kill()
        come_back(nodes)
        if not opened_first:
            open_gate()
        assert flow.wait() == 0, flow.as_told()
        assert Counter(flow.output().splitlines()) == Counter(output.splitlines())
        assert flow.ask("rm").returncode == 0
    nodes.wait_for_no_program()


def test_nothing_is_lost_whenever_the_orchestrator_dies(trio):
    die_again_and_again(trio, 100 if SOAK else 4,
                        lambda shut: Flow(trio, f"@n2 {{ seq 1000; {shut}; seq 1001 2000; }} | @n3 cat"), NUMBERS)


# --- records and workers ------------------------------------------------------------------------------------------

ECHO = """
worker = Worker(concurrency=4)

@worker.on_data
def got(record, item):
    item.write(record)
    item.done()

raise SystemExit(worker.run())
"""


def record_flow(nodes, how, count, shut=":"):
    """`count` records from n2 through a stage of workers on n3. The second half comes when the gate is open."""
    half = count // 2
    tap = f"{{ seq {half}; {shut}; seq {half + 1} {count}; }}"
    if not how.startswith("worker:"):
        return Flow(nodes, f"@n2 {tap} | @n3 {how} | @n2 cat")
    write_worker(nodes.folder / "echo.py", ECHO)
    stages = {"tap": {"on": "n2", "run": tap}, "echo": {"on": "n3", "worker": "./echo.py", "workers": 3},
              "sink": {"on": "n2", "run": "cat"}}
    (nodes.folder / "a.flow.yaml").write_text(json.dumps({"stages": stages, "links": ["tap -> echo -> sink"]}))
    return Flow(nodes, "a.flow.yaml")


@pytest.mark.parametrize("how", ["@x4 cat", "@x4 @map cat", "@x2 @each cat", "worker:"])
def test_no_record_is_lost_or_repeated_whenever_the_orchestrator_dies(trio, how):
    """The row of each of these stages in the table of promises, but for the last: on one node it repeats nothing."""
    count = 400 if "@each" in how else 4000
    die_again_and_again(trio, 25 if SOAK else 2, lambda shut: record_flow(trio, how, count, shut),
                        b"".join(b"%d\n" % number for number in range(1, count + 1)))


def test_a_flow_that_is_known_again_is_scaled_and_counted(trio):
    shut, open_gate = gate(trio)
    flow = record_flow(trio, "@x2 @map cat", 1000, shut)
    trio["n1"].kill()
    come_back(trio)
    scaled = trio.household.run_sluice("scale", *trio.at("n1"), flow.id, "2=5")
    assert scaled.returncode == 0, scaled
    seen = trio.household.run_sluice("top", "--once", "--json", *trio.at("n1"), flow.id)
    assert seen.returncode == 0, seen
    stage = json.loads(seen.stdout.splitlines()[-1])["flows"][0]["stages"][1]
    assert stage["workers"] == 5, stage
    open_gate()
    assert flow.wait() == 0


def test_workers_started_by_hand_stay_and_come_while_the_orchestrator_dies(trio):
    write_worker(trio.folder / "echo.py", ECHO)
    shut, open_gate = gate(trio)
    stages = {"tap": {"on": "n2", "run": f"{{ seq 1000; {shut}; seq 1001 2000; }}"}, "echo": {"role": "echo"},
              "sink": {"on": "n3", "run": "cat"}}
    (trio.folder / "a.flow.yaml").write_text(json.dumps({"stages": stages, "links": ["tap -> echo -> sink"]}))
    first = Hand(trio, "first", "./echo.py", role="echo", node="n3")
    flow = Flow(trio, "a.flow.yaml")
    first.serves()
    trio["n1"].kill()
    flow.wait_until_alone(stages=4)  # the worker by hand is told by its own node
    second = Hand(trio, "second", "./echo.py", role="echo", node="n2").waits()
    come_back(trio)
    second.serves()
    trio["n1"].kill()

    def alone_on(name):
        return Counter(re.findall(r"goes on without its orchestrator .*part=(\d+)", trio[name].log_text()))

    # The worker by hand has a line to the orchestrator that is back, as all parts have.
    wait_until(lambda: list(alone_on("n3").values()) == [2, 2], lambda: f"parts on n3 that were left twice: {alone_on('n3')}")
    come_back(trio)
    first.kill()
    open_gate()
    assert flow.wait() == 0, flow.as_told()
    assert Counter(flow.output().splitlines()) == Counter(NUMBERS.splitlines())
    assert second.leave() == 0
