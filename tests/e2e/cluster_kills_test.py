"""Daemons, clients, stages and spawners that are killed while flows run over three nodes: nothing is left behind, nothing
hangs, nothing short is called a success, and what goes on in the background goes on."""

import contextlib
import json
import os
import shutil
import signal

import pytest

from clusters import cluster, home
from files import open_for_writing
from flows import FLEE, for_every_user
from machine import IS_ROOT, NOBODY, USERS
from processes import (children_of, describe_processes, is_alive, let_pass, process_name, process_state,
                       processes_below, wait_until)
from settings import SOAK

STUCK = 12  # seconds: far more than any of these flows takes, and less than the time limits of calls and links

KILLS = 50 if SOAK else 6
NAMES = ["n1", "n2", "n3"]

LINES = 150_000
WHOLE = b"".join(b"%d\n" % number for number in range(1, LINES + 1))
THROUGH_ALL = f"seq {LINES} | @n2 cat | @n3 cat | @n1 cat"
ONLY_NODES = f"@n3 seq {LINES} | @n1 cat | @n2 cat"
ENDLESS = "@n1 yes | @n2 cat | @n3 cat > /dev/null"
IN_ONE_PLACE = "@{node} {{ sleep 0.4; echo said; exit 7; }}"
IN_TWO_PLACES = "@n1 {{ sleep 0.2; echo said; }} | @{node} cat"


# --- three nodes of a user ----------------------------------------------------------------------------------------


class Load:
    """Flows over three nodes, started anew in each round."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.household = nodes.household
        self.foreground = []  # pairs of process and the file of its output
        self.background = []  # processes that hand a flow over
        self.endless = None

    def sluice(self, *arguments, **options):
        return self.household.run_sluice(*arguments, user=self.nodes.user, **options)

    def start_node(self, name):
        others = [other for other in self.nodes.nodes if other != name and self.nodes[other].process.poll() is None]
        join = self.nodes[others[0]].url if others else None
        return self.nodes.start(name, join=join)

    def start(self, chance):
        def flow(number, text, *options):
            at = chance.choice(NAMES)
            output = self.household.folder / f"out{number}"
            with open(output, "wb") as stdout:
                process = self.nodes.start_flow(text, *options, at=at, stdout=stdout)
            return process, output

        self.background = [flow(f"b{number}", text.format(node=chance.choice(NAMES)), "--background")
                           for number, text in enumerate([IN_ONE_PLACE, IN_ONE_PLACE, IN_TWO_PLACES])]
        self.foreground = [flow(number, text) for number, text in enumerate([THROUGH_ALL, ONLY_NODES])]
        self.endless, _ = flow("endless", ENDLESS)

    def finish(self):
        """Every client ends by itself, but for the endless one, which is told to; what is called a success is one."""
        self.endless.send_signal(signal.SIGINT)
        assert self.household.finish(self.endless, deadline=STUCK).returncode != 0
        for process, output in self.foreground:
            result = self.household.finish(process, deadline=STUCK)
            if result.returncode == 0:
                assert output.read_bytes() == WHOLE, f"{output.stat().st_size} bytes with status 0: {result}"
            else:
                assert result.returncode == -signal.SIGKILL or result.stderr, result
        ids = []
        for process, output in self.background:
            result = self.household.finish(process, deadline=STUCK)
            if result.returncode == 0:
                ids.append(output.read_text().strip())
        return ids

    def flows(self):
        result = self.sluice("ps", "-a", "--json", *self.nodes.at("n1"))
        assert result.returncode == 0, result
        return {flow["id"]: flow for flow in map(json.loads, result.stdout.splitlines())}

    def wait_until_nothing_runs(self):
        """Neither a program nor what ran one, but for what the living nodes keep ready; nor any zombie."""
        self.nodes.wait_for_no_program()

        def remains():
            living = [node.pid for node in self.nodes.nodes.values() if node.process.poll() is None]
            below = [pid for node in living for pid in processes_below(node)]
            zombies = [pid for pid in below if process_state(pid) == "Z"]
            return zombies + [pid for pid in self.household._reap_orphans() if is_alive(pid)]

        wait_until(lambda: not remains(), lambda: f"no orphan and no zombie: {describe_processes(remains())}")

    def assert_all_is_over(self, ids, killed_stage=False):
        """What was handed over is known, has ended, and with which status."""
        flows = wait_until(lambda: all(flow["state"] == "ended" for flow in self.flows().values()) and self.flows(),
                           lambda: f"the end of all flows: {self.flows()}") if ids else self.flows()
        for flow_id in ids:
            flow = flows[flow_id]
            alone = len(flow["stages"]) == 1
            expected = {7} if alone else {0, 125}
            expected |= {137, 143} if killed_stage else set()
            assert flow["status"] in expected, flow
            waited = self.sluice("wait", flow_id, *self.nodes.at("n1"))
            assert waited.returncode == flow["status"], (waited, flow)
            if alone and flow["status"] == 7:
                logs = self.sluice("logs", flow_id, *self.nodes.at("n1"))
                assert logs.outcome == (0, b"said\n"), (logs, flow)
        for flow_id in flows:
            removed = self.sluice("rm", flow_id, *self.nodes.at("n1"))
            assert removed.returncode == 0, removed

    def assert_it_serves(self):
        result = self.nodes.run("@n1 echo still | @n2 cat | @n3 cat")
        assert result.outcome == (0, b"still\n"), result


@pytest.fixture
def nodes_of(cluster, home):
    """Starts nodes of this user's, which know each other."""

    def start(user, *names):
        home.chmod(0o777)
        cluster.user = user
        if IS_ROOT and user == "ordinary":
            os.chown(cluster.key, NOBODY, NOBODY)
        for name in names:
            cluster.start(name, join=cluster[names[0]].url if name != names[0] else None)
        cluster.wait_until_all_list(names)
        return cluster

    return start


@pytest.fixture
def load_of(nodes_of):
    return lambda user: Load(nodes_of(user, *NAMES))


# --- under load ---------------------------------------------------------------------------------------------------


@for_every_user
def test_killed_daemon_under_load(load_of, chance, user):
    load = load_of(user)
    for _ in range(KILLS):
        load.start(chance)
        let_pass(chance.uniform(0, 0.5))
        victim = chance.choice(NAMES)
        load.nodes[victim].kill()
        load.start_node(victim)
        ids = load.finish()
        load.wait_until_nothing_runs()
        load.nodes.wait_until_all_list(NAMES)
        load.assert_all_is_over(ids)
    load.assert_it_serves()


@for_every_user
def test_killed_client_under_load(load_of, chance, user):
    load = load_of(user)
    for _ in range(KILLS):
        load.start(chance)
        let_pass(chance.uniform(0, 0.5))
        victims = [process for process, _ in load.foreground + load.background] + [load.endless]
        chance.choice(victims).kill()
        ids = load.finish()
        load.wait_until_nothing_runs()
        load.assert_all_is_over(ids)
    load.assert_it_serves()


@for_every_user
def test_killed_stage_under_load(load_of, chance, user):
    load = load_of(user)
    for _ in range(KILLS):
        load.start(chance)
        let_pass(chance.uniform(0, 0.5))
        victims = load.nodes.programs()
        if victims:
            try:
                os.kill(chance.choice(victims), signal.SIGKILL)
            except ProcessLookupError:  # it has ended meanwhile
                pass
        ids = load.finish()
        load.wait_until_nothing_runs()
        load.assert_all_is_over(ids, killed_stage=True)
    load.assert_it_serves()


# --- in the background --------------------------------------------------------------------------------------------


def hand_over(nodes, text, *options, at="n1"):
    result = nodes.run(text, "--background", *options, at=at)
    assert result.returncode == 0, result
    return result.stdout.decode().strip()


def restart(nodes, name, join=None):
    nodes[name].kill()
    nodes.start(name, join=nodes[join].url if join else None)
    nodes.wait_until_all_list(nodes.nodes)


def flow_of(nodes, flow_id, at="n1"):
    result = nodes.household.run_sluice("ps", "-a", "--json", *nodes.at(at), user=nodes.user)
    assert result.returncode == 0, result
    flows = {flow["id"]: flow for flow in map(json.loads, result.stdout.splitlines())}
    return flows.get(flow_id)


def wait_for_flow(nodes, flow_id):
    return nodes.household.run_sluice("wait", flow_id, *nodes.at("n1"), user=nodes.user).returncode


@for_every_user
def test_background_flow_goes_on_in_its_folder_when_its_daemon_is_killed(nodes_of, user):
    nodes = nodes_of(user, "n1")
    gate = nodes.folder / "gate"
    os.mkfifo(gate)
    gate.chmod(0o666)
    flow_id = hand_over(nodes, f"{{ echo kept > file; read -r line < {gate}; cat file; pwd; exit 9; }}")
    wait_until(lambda: list(nodes["n1"].data.glob("run/*/file")), "the stage's file")
    restart(nodes, "n1")
    flow = flow_of(nodes, flow_id)
    assert flow["state"] == "running" and is_alive(flow["stages"][0]["pid"]), flow
    with open_for_writing(gate) as opened:
        opened.write("go on\n")
    assert wait_for_flow(nodes, flow_id) == 9
    flow = flow_of(nodes, flow_id)
    assert (flow["state"], flow["status"]) == ("ended", 9), flow
    said, folder = nodes.household.run_sluice("logs", flow_id, *nodes.at("n1"), user=user).stdout.decode().splitlines()
    assert said == "kept"
    assert nodes.household.run_sluice("rm", flow_id, *nodes.at("n1"), user=user).returncode == 0
    wait_until(lambda: not os.path.exists(folder), f"the end of {folder}")
    assert flow_of(nodes, flow_id) is None


def test_folder_of_a_flow_that_ended_without_its_daemon_goes_with_the_next_start(nodes_of):
    nodes = nodes_of(USERS[0], "n1")
    flow_id = hand_over(nodes, "{ echo x > file; sleep 1002; }")
    sleep, = nodes.wait_for_programs("sleep")
    nodes["n1"].kill()
    os.kill(sleep, signal.SIGKILL)
    nodes.wait_for_no_program()
    nodes.start("n1")
    assert list(nodes["n1"].data.glob("run/*")) == []
    assert flow_of(nodes, flow_id)["status"] == 137


def test_producer_whose_reader_was_done_is_no_failure_after_a_restart_either(nodes_of):
    nodes = nodes_of(USERS[0], "n1")
    gate = nodes.folder / "gate"
    os.mkfifo(gate)
    flow_id = hand_over(nodes, f"yes | {{ cat {gate}; head -1; }}")
    nodes.wait_for_programs("yes", "cat")
    restart(nodes, "n1")
    open_for_writing(gate).close()
    assert wait_for_flow(nodes, flow_id) == 0
    assert flow_of(nodes, flow_id)["status"] == 0


def test_part_of_a_flow_that_another_node_started_ends_with_either_daemon(nodes_of):
    nodes = nodes_of(USERS[0], "n1", "n2")
    for victim in ("n2", "n1"):
        flow_id = hand_over(nodes, "@all sleep 1003")
        nodes.wait_for_programs("sleep", "sleep")
        nodes[victim].kill()
        nodes.wait_for_no_program()
        nodes.start(victim, join=nodes["n2" if victim == "n1" else "n1"].url)
        nodes.wait_until_all_list(["n1", "n2"])
        assert wait_for_flow(nodes, flow_id) == 125
        flow = flow_of(nodes, flow_id)
        assert (flow["state"], flow["status"]) == ("ended", 125), flow


def test_flow_is_known_from_before_its_first_program_on(nodes_of, chance):
    nodes = nodes_of(USERS[0], "n1")
    for _ in range(KILLS // 2):
        flows = [nodes.start_flow("sleep 1004", "--background") for _ in range(5)]
        let_pass(chance.uniform(0, 0.03))
        nodes["n1"].kill()
        for flow in flows:
            nodes.household.finish(flow, deadline=STUCK)
        nodes.start("n1")
        result = nodes.household.run_sluice("ps", "-a", "--json", *nodes.at("n1"))
        known = [json.loads(line) for line in result.stdout.splitlines()]
        running = [each for each in known if each["state"] != "ended"]
        alive = nodes.programs("sleep")
        assert sorted(stage["pid"] for each in running for stage in each["stages"]) == sorted(alive), (known, alive)
        for each in known:
            assert nodes.household.run_sluice("stop", each["id"], "--grace", "1s", *nodes.at("n1")).returncode == 0
            assert wait_for_flow(nodes, each["id"]) in (125, 143)
            assert nodes.household.run_sluice("rm", each["id"], *nodes.at("n1")).returncode == 0
        nodes.wait_for_no_program()


@for_every_user
def test_spawner_ends_with_its_flow_when_the_folder_of_its_node_was_removed(nodes_of, user):
    nodes = nodes_of(user, "n1")
    gate = nodes.folder / "gate"
    os.mkfifo(gate)
    gate.chmod(0o666)
    hand_over(nodes, f"{{ read -r line < {gate}; }}")
    assert nodes["n1"].terminate() == 0
    shutil.rmtree(nodes["n1"].data)
    assert nodes.household.left(), "the flow goes on"
    with open_for_writing(gate) as opened:
        opened.write("go on\n")
    nodes.household.assert_clean()


# --- the spawner is killed ----------------------------------------------------------------------------------------


def spawners_with(nodes, name, program):
    return [pid for pid in processes_below(nodes[name].pid) if process_name(pid) == "sluice-spawner" and
            any(process_name(below) == program for below in processes_below(pid))]


@for_every_user
@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
def test_killed_spawner_leaves_nothing(nodes_of, user, background):
    nodes = nodes_of(user, "n1")
    for _ in range(KILLS if SOAK else 2):
        text = f"@n1 {{ {FLEE}; exec sleep 1005; }}"
        if background:
            flow_id = hand_over(nodes, text)
        else:
            flow = nodes.start_flow(text)
        nodes.wait_for_programs("sleep", "sleep", "sleep")
        spawner, = wait_until(lambda: spawners_with(nodes, "n1", "sleep"), "the spawner")
        os.kill(spawner, signal.SIGKILL)
        nodes.wait_for_no_program()
        if background:
            assert wait_for_flow(nodes, flow_id) == 125
            assert flow_of(nodes, flow_id)["state"] == "ended"
        else:
            assert nodes.household.finish(flow, deadline=STUCK).returncode == 125


@for_every_user
def test_spawner_killed_without_a_daemon_leaves_nothing(nodes_of, user):
    nodes = nodes_of(user, "n1")
    flow_id = hand_over(nodes, f"{{ {FLEE}; exec sleep 1006; }}")
    nodes.wait_for_programs("sleep", "sleep", "sleep")
    spawner, = wait_until(lambda: spawners_with(nodes, "n1", "sleep"), "the spawner")
    nodes["n1"].kill()
    os.kill(spawner, signal.SIGKILL)
    nodes.wait_for_no_program()
    nodes.start("n1")
    assert flow_of(nodes, flow_id)["state"] == "unknown"
    assert wait_for_flow(nodes, flow_id) == 1


def kill_at_one_moment(pids):
    """Stopped, none can do anything about the death of another; some die of it at once, by their parent-death signal."""
    for sign in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)


@for_every_user
def test_what_escaped_when_everybody_who_knew_of_it_was_killed_ends_with_the_next_start(nodes_of, user):
    nodes = nodes_of(user, "n1")
    hand_over(nodes, f"{{ {FLEE}; exec sleep 1007; }}")
    direct = nodes.wait_for_programs("sleep", "sleep", "sleep")
    spawner, = wait_until(lambda: spawners_with(nodes, "n1", "sleep"), "the spawner")
    direct = [pid for pid in children_of(spawner) if os.getsid(pid) != pid]
    below = processes_below(nodes["n1"].pid)
    family = [nodes["n1"].pid] + [pid for pid in below if process_name(pid).startswith("sluice")]
    kill_at_one_moment(family)
    nodes["n1"].process.wait(timeout=30)
    wait_until(lambda: not any(map(is_alive, direct)), "the end of the direct children")
    nodes.start("n1")
    nodes.wait_for_no_program()


# As a program that sudo starts: without the parent-death signal, and without our environment. An ordinary user's node has no
# cgroup to find it by either.
UNBOUND = "exec env -i /usr/bin/python3 -c 'import ctypes, time; ctypes.CDLL(None).prctl(1, 0); time.sleep(1008)'"


@for_every_user
def test_unbound_program_of_a_spawner_that_was_killed_with_everybody_ends_with_the_next_start(nodes_of, user):
    nodes = nodes_of(user, "n1")
    flow_id = hand_over(nodes, UNBOUND)

    def unbound():
        spawners = [pid for pid in processes_below(nodes["n1"].pid) if process_name(pid) == "sluice-spawner"]
        return [pid for spawner in spawners for pid in children_of(spawner) if process_state(pid) == "S"
                and process_name(pid) == "python3"]

    program, = wait_until(unbound, "the program")
    with open(f"/proc/{program}/environ", "rb") as environment:
        assert environment.read() == b""
    try:
        family = [nodes["n1"].pid] + [pid for pid in processes_below(nodes["n1"].pid) if pid != program]
        kill_at_one_moment(family)
        nodes["n1"].process.wait(timeout=30)
        nodes.start("n1")
        wait_until(lambda: not is_alive(program), "its end")
    finally:
        if is_alive(program):
            os.kill(program, signal.SIGKILL)
    flow = flow_of(nodes, flow_id)
    assert flow["state"] == "unknown" and "its spawner was killed" in flow["message"], flow
