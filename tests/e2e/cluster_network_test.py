"""A cluster on several hosts, whose network is cut, loses packets, or lets connections pass in one direction only."""

import hashlib
import json
import os
import signal
import subprocess

import pytest

from clusters import cluster, home, promised
from files import write_script
from hosts import needs_hosts, world
from processes import is_alive, let_pass, wait_until
from settings import SOAK
from workers import JOIN_BRANCHES, QUICK_BRANCH, write_worker

pytestmark = needs_hosts

MIB = 1 << 20
CUT_SECONDS = 30 if SOAK else 8
# Of the design: keepalive finds out after 15 s that a host is gone; membership knows it earlier.
LOSS_SECONDS = 20


class Site:
    """A cluster with one node on each host of the same name, and a client on a host without a node."""

    def __init__(self, cluster, world):
        self.cluster = cluster
        self.world = world
        world.add("client")

    def grow(self, *names):
        self.world.add(*names)
        seed = next(iter(self.cluster.nodes), None)
        for name in names:
            self.start(name, join=self.cluster[seed].url if seed else None)
            seed = seed or name
        self.cluster.wait_until_all_list(self.cluster.nodes)
        return self

    def start(self, name, *options, **settings):
        return self.cluster.start(name, *options, listen=f"{self.world.address(name)}:7117",
                                  before_exec=self.world.enter(name), **settings)

    def reach(self, name):
        return ["--node", self.cluster[name].url, "--key", str(self.cluster.key)]

    def start_flow(self, text, *options, by="n1", host="client", **settings):
        return self.cluster.start_flow(text, *self.reach(by), *options, at=None, before_exec=self.world.enter(host),
                                       **settings)

    def run(self, text, *options, input=None, deadline=60, **settings):
        if input is not None:
            settings["stdin"] = subprocess.PIPE
        return self.cluster.household.finish(self.start_flow(text, *options, **settings), input, deadline)

    def finish(self, flow, deadline=LOSS_SECONDS):
        return self.cluster.household.finish(flow, deadline=promised(deadline))


@pytest.fixture
def site(cluster, world):
    return Site(cluster, world)


def digest(data):
    return hashlib.sha256(data).hexdigest()


# --- a network as it should be ------------------------------------------------------------------------------------


def test_flow_crosses_hosts_from_a_host_without_a_node(site):
    site.grow("n1", "n2", "n3")
    data = os.urandom(5 * MIB)
    for text in ("@n2 cat", "@n2 cat | @n3 cat | @n1 cat", "cat | @n3 cat | @here cat"):
        result = site.run(text, input=data)
        assert (result.returncode, result.stderr) == (0, b""), text
        assert digest(result.stdout) == digest(data), text


@pytest.mark.parametrize("text", ["@n2 cat", "@n1 cat", "cat | @n2 cat | @here cat | @n3 cat",
                                  "@here cat | @n1 cat | @n2 cat"])
def test_client_that_accepts_no_connection_pipes_through_nodes(site, text):
    site.grow("n1", "n2", "n3")
    site.world.accept_no_connection("client")
    data = os.urandom(20 * MIB + 1)
    result = site.run(text, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert digest(result.stdout) == digest(data)


def test_client_that_reaches_one_node_only_uses_all(site):
    site.grow("n1", "n2", "n3")
    site.world.accept_no_connection("client")
    site.world.cut(["client"], ["n2", "n3"])
    data = os.urandom(5 * MIB)
    for text in ("@n2 cat", "@n2 cat | @n3 cat", "@n3 cat | @here cat | @n2 cat"):
        result = site.run(text, input=data)
        assert (result.returncode, result.stderr) == (0, b""), text
        assert digest(result.stdout) == digest(data), text


def test_nodes_of_which_one_accepts_no_connection_of_the_other_are_linked_both_ways(site):
    """The producer's side dials when the consumer's can't."""
    site.grow("n1", "n2", "n3")
    site.world.refuse_connections(["n2"], "n3")
    data = os.urandom(3 * MIB)
    for text in ("@n2 cat | @n3 cat", "@n3 cat | @n2 cat"):
        result = site.run(text, input=data)
        assert (result.returncode, result.stderr) == (0, b""), text
        assert digest(result.stdout) == digest(data), text


def test_nodes_that_can_not_reach_each_other_are_relayed_by_one_that_reaches_both(site):
    site.grow("n1", "n2", "n3")
    site.world.cut(["n2"], ["n3"])
    data = os.urandom(3 * MIB)
    result = site.run("@n2 cat | @n3 cat", input=data)
    assert (result.returncode, result.stderr) == (
        0, b"sluice: n2 and n3 cannot reach each other: n1 relays between them\n")
    assert digest(result.stdout) == digest(data)


def test_node_listens_on_an_interface(site):
    site.world.add("n1")
    node = site.cluster.start("n1", "--interface", "eth0", listen="0.0.0.0:7117", before_exec=site.world.enter("n1"))
    assert node.address == f"{site.world.address('n1')}:7117"
    assert site.run("@n1 echo here").outcome == (0, b"here\n")


def test_node_behind_every_address_tells_the_one_that_it_was_given(site):
    site.world.add("n1")
    site.cluster.start("n1", "--advertise", site.world.address("n1"), listen="0.0.0.0:7117",
                       before_exec=site.world.enter("n1"))
    site.grow("n2")
    assert site.cluster.list_nodes("n2")["n1"]["url"] == f"sluice://{site.world.address('n1')}:7117/n1"
    assert site.run("@n1 echo there", by="n2").outcome == (0, b"there\n")


def test_host_that_drops_everything_times_out_and_one_that_is_not_there_is_unreachable(site):
    site.world.add("n1")
    site.world.cut(["client"], ["n1"])
    key = ["--key", str(site.cluster.key)]

    def status_of(address):
        result = site.cluster.household.run_sluice("nodes", "--node", f"{address}:7117", *key,
                                                   before_exec=site.world.enter("client"), deadline=promised(5))
        assert result.stdout == b"" and result.stderr.count(b"\n") == 1 and address.encode() in result.stderr
        return result.returncode

    assert status_of(site.world.address("n1")) == 6
    assert status_of("192.0.2.1") == 5, "there is no route at all"


# --- a network that is cut ----------------------------------------------------------------------------------------


def test_cluster_that_was_cut_in_two_is_one_again(site):
    site.grow("n1", "n2", "n3", "n4")
    halves = [["n1", "n2"], ["n3", "n4"]]
    site.world.cut(*halves)
    for half in halves:
        site.cluster.wait_until_all_list(half, deadline=promised(8))
    let_pass(CUT_SECONDS)
    site.world.heal()
    site.cluster.wait_until_all_list(site.cluster.nodes, deadline=promised(10))
    assert site.run("@n4 echo one | @n1 cat | @n3 cat").outcome == (0, b"one\n")


def test_unplugged_host_is_missed_and_comes_back(site):
    site.grow("n1", "n2", "n3")
    site.world.unplug("n3")
    site.cluster.wait_until_all_list(["n1", "n2"], deadline=promised(8))
    site.world.plug("n3")
    site.cluster.wait_until_all_list(["n1", "n2", "n3"], deadline=promised(10))


def test_cut_in_one_direction_heals_and_others_vouch_meanwhile(site):
    site.grow("n1", "n2", "n3", "n4")
    site.world.cut_one_way(["n1"], ["n2"])
    let_pass(CUT_SECONDS)
    # n3 and n4 reach both, and nobody who reaches a node may take it for dead.
    assert site.cluster.those_who_list_others_than(site.cluster.nodes, ["n3", "n4"]) == {}
    site.world.heal()
    site.cluster.wait_until_all_list(site.cluster.nodes, deadline=promised(10))


def test_cluster_lives_with_a_loss_of_a_fifth(site):
    site.grow("n1", "n2", "n3", "n4")
    watches = [site.cluster.watch(name) for name in ("n1", "n4")]
    site.world.lose(20)
    let_pass(CUT_SECONDS)
    lost = [event for watch in watches for event in watch.events() if event[0] == "lost"]
    assert lost == [], "nobody is taken for dead"
    # TCP is slow then: it waits twice as long after each loss of the same segment, and every third one is lost, or its answer.
    data = os.urandom(MIB // 64)
    result = site.run("@n2 cat | @n3 cat", input=data, deadline=600)
    for _ in range(4):
        if b"no answer within 3 s" not in result.stderr:  # what a client gives its node for the handshake
            break
        result = site.run("@n2 cat | @n3 cat", input=data, deadline=600)
    assert result.returncode == 0, result.stderr
    assert digest(result.stdout) == digest(data)
    site.world.heal()
    site.cluster.wait_until_all_list(site.cluster.nodes, deadline=promised(10))


# --- flows over a network that is cut -----------------------------------------------------------------------------


@pytest.fixture
def committer(site):
    """A stage that says in a file when it has read to the end."""
    site.committed = site.cluster.folder / "committed"
    site.received = site.cluster.folder / "received"
    return write_script(site.cluster.folder / "commit", f"cat > {site.received}; echo > {site.committed}\n")


# What writes for ever and little, so that the link's buffers do not matter.
TICKS = "while :; do echo tick; sleep 0.02; done"


@pytest.mark.parametrize("reader", ["@n3", "@here"])
def test_reader_of_an_unplugged_host_is_ended_before_its_stdin(site, committer, reader):
    site.grow("n1", "n2", "n3")
    flow = site.start_flow(f"@n2 {{ {TICKS}; }} | {reader} {committer}")
    wait_until(lambda: site.received.exists() and site.received.stat().st_size > 0, "the first bytes")
    site.world.unplug("n2")
    result = site.finish(flow)
    assert result.returncode == 125 and b"n2" in result.stderr, result
    assert not site.committed.exists()
    # The host that was cut off ends its part too, alone.
    site.cluster.wait_for_no_program(deadline=promised(LOSS_SECONDS))
    assert not site.committed.exists()


def test_unplugged_client_ends_the_flow_on_every_node(site, committer):
    site.grow("n1", "n2")
    flow = site.start_flow(f"@here {{ {TICKS}; }} | @n2 {committer} | @n1 sleep 1001")
    wait_until(lambda: site.received.exists() and site.received.stat().st_size > 0, "the first bytes")
    site.cluster.wait_for_programs("sleep", "cat")
    site.world.unplug("client")
    result = site.finish(flow, LOSS_SECONDS + 10)
    assert result.returncode == 125, result
    site.cluster.wait_for_no_program(deadline=promised(LOSS_SECONDS))
    assert not site.committed.exists()


def test_short_cut_does_no_harm(site):
    site.grow("n1", "n2", "n3")
    numbers = b"".join(b"%d\n" % number for number in range(1, 101))
    flow = site.start_flow("@n2 { for i in $(seq 100); do echo $i; sleep 0.03; done; } | @n3 cat")
    site.cluster.wait_for_programs("cat")
    site.world.cut(["n2"], ["n3"])
    let_pass(1)
    site.world.heal()
    result = site.finish(flow, 30)
    assert result.outcome == (0, numbers), result


# Keeps all that it gets but for the first records, which merger joins, until the test opens `gate`.
HOLDING_BRANCH = """
import threading
worker = Worker(concurrency=100_000)
held, lock = [], threading.Lock()

def answer(record, item):
    item.write(record)
    item.done()

@worker.on_data
def pass_on(record, item):
    with lock:
        answer(record, item) if held is None or int(record) <= 20 else held.append((record, item))

def wait():
    global held
    open("{gate}").read()
    with lock:
        for record, item in held:
            answer(record, item)
        held = None

threading.Thread(target=wait, daemon=True).start()
sys.exit(worker.run())
"""


def test_short_cut_is_not_taken_for_a_flow_whose_stages_wait_for_each_other(site):
    """Every stage waits for another, but what slow has answered is on its way to merger."""
    site.grow("n1", "n2", "n3")
    folder = site.cluster.household.folder
    gate = folder / "gate"
    os.mkfifo(gate)
    for name, text in (("join", JOIN_BRANCHES), ("quick", QUICK_BRANCH), ("hold", HOLDING_BRANCH.replace("{gate}", str(gate)))):
        write_worker(folder / name, text)
    (folder / "a.flow.yaml").write_text("""
stages:
  tap: { run: "seq -f '%0200.0f' 60000", on: n2 }
  quick: { worker: ./quick, concurrency: 100, on: n2 }
  slow: { worker: ./hold, on: n3 }
  merger: { worker: ./join, concurrency: 10, on: n2 }
links: [ tap -> quick -> merger, tap -> slow -> merger ]
""")
    flow = site.start_flow("a.flow.yaml", "--stall-timeout", "1s")

    def taken_by_slow():
        seen = site.cluster.household.run_sluice("top", "--json", "--once", "--interval", "300ms", *site.reach("n1"),
                                                 before_exec=site.world.enter("client"))
        flows = json.loads(seen.stdout)["flows"]
        return next((stage for each in flows for stage in each["stages"] if stage["command"] == "./hold"), None)

    wait_until(lambda: (stage := taken_by_slow()) and stage["records_read"] and not stage["records_read_per_second"],
               lambda: f"a tap that is closed: {taken_by_slow()}")
    site.world.cut(["n2"], ["n3"])
    gate.write_text("\n")
    let_pass(4)
    assert flow.poll() is None
    site.world.heal()
    result = site.cluster.household.finish(flow, deadline=120)
    assert (result.returncode, len(result.stdout.splitlines())) == (0, 60_000), result.stderr


def test_cut_link_of_nodes_that_others_reach_fails_the_flow_or_is_whole(site, committer):
    """The nodes are alive and known as such, only the link between two of them is dead."""
    site.grow("n1", "n2", "n3")
    flow = site.start_flow(f"@n2 {{ {TICKS}; }} | @n3 {committer}")
    wait_until(lambda: site.received.exists() and site.received.stat().st_size > 0, "the first bytes")
    site.world.cut(["n2"], ["n3"])
    result = site.finish(flow, 40)
    assert result.returncode == 125, result
    assert b"n2" in result.stderr and b"n3" in result.stderr, result
    assert not site.committed.exists()
    site.cluster.wait_for_no_program()


def test_interrupted_client_of_a_cut_cluster_ends_soon(site):
    site.grow("n1", "n2")
    flow = site.start_flow("@n2 sleep 1001 | @n1 sleep 1001")
    here, there = site.cluster.wait_for_programs("sleep", "sleep")
    site.world.unplug("n2")
    flow.send_signal(signal.SIGINT)
    result = site.finish(flow, 15)
    assert result.returncode in (-signal.SIGINT, 125), result
    site.cluster.wait_for_no_program(deadline=promised(LOSS_SECONDS))
    assert not is_alive(here) and not is_alive(there)


def unsent_bytes_by_connection(node, address):
    """The established TCP connections of a node's host with that address: what the other end has not taken of each."""
    hexadecimal = "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
    with open(f"/proc/{node.pid}/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return {row[1]: int(row[4].split(":")[0], 16) for row in rows
            if row[2].startswith(hexadecimal + ":") and row[3] == "01"}


def test_stopped_reader_of_logs_is_kept_until_its_host_is_gone(site):
    site.grow("n1")
    site.world.have_small_receive_buffers("client")  # a call's own window would close first
    # Not before the reader stands still: it might take a whole window of the call, and then nothing is outstanding.
    go = site.cluster.folder / "go"
    started = site.run(f"@n1 {{ echo y; while [ ! -e {go} ]; do sleep 0.01; done; exec yes; }}", "--background",
                       "--name", "talks")
    assert started.returncode == 0, started
    waiting = lambda: unsent_bytes_by_connection(site.cluster["n1"], site.world.address("client"))
    reader = site.cluster.household.start_sluice("logs", "-f", "talks", *site.reach("n1"),
                                                 before_exec=site.world.enter("client"))
    assert reader.stdout.read(2) == b"y\n"
    reader.send_signal(signal.SIGSTOP)
    go.touch()
    try:
        wait_until(lambda: any(waiting().values()), "that its window is closed")
        let_pass(LOSS_SECONDS)
        assert any(waiting().values()), "its host is alive"
        site.world.unplug("client")
        wait_until(lambda: not waiting(), "that it is given up",
                   deadline=promised(LOSS_SECONDS))
    finally:
        reader.kill()
    assert site.cluster.household.run_sluice("stop", "talks", *site.reach("n1"),
                                             before_exec=site.world.enter("n1")).returncode == 0


# --- an orchestrator that is cut off from what it has started -----------------------------------------------------


def in_background(site, text):
    started = site.run(text, "--background")
    assert started.returncode == 0, started
    return started.stdout.decode().strip()


def told(site, flow, by):
    listed = site.cluster.household.run_sluice("ps", "-a", "--json", *site.reach(by), before_exec=site.world.enter(by))
    assert listed.returncode in (0, 6), listed
    return next((each for each in map(json.loads, listed.stdout.splitlines()) if each["id"] == flow), None)


def dialled_ports(site, name):
    """The node's own ports of its connections to other nodes."""
    with open(f"/proc/{site.cluster[name].pid}/net/tcp", encoding="ascii") as file:
        entries = [line.split() for line in file.readlines()[1:]]
    established = "01"
    return {int(entry[1].partition(":")[2], 16) for entry in entries if entry[3] == established and entry[2].endswith(f":{7117:X}")}


def test_flow_whose_lines_to_its_orchestrator_break_goes_on(site):
    site.grow("n1", "n2", "n3")
    flow = in_background(site, "@n2 yes | @n3 cat > /dev/null")
    site.cluster.wait_for_programs("yes", "cat")
    dialled = dialled_ports(site, "n1")
    site.world.reset_connections("n1", dialled, ["n2", "n3"])
    wait_until(lambda: not dialled & dialled_ports(site, "n1"), "connections that broke")
    assert told(site, flow, "n1")["state"] == "running"
    stopped = site.cluster.household.run_sluice("stop", flow, *site.reach("n2"), before_exec=site.world.enter("n2"))
    assert stopped.returncode == 0, stopped
    assert told(site, flow, "n1")["state"] == "ended"
    site.cluster.wait_for_no_program()


def test_flow_that_its_orchestrator_took_for_lost_is_ended_when_they_meet_again(site):
    site.grow("n1", "n2", "n3")
    flow = in_background(site, "@n2 yes | @n3 cat > /dev/null")
    site.cluster.wait_for_programs("yes", "cat")
    site.world.cut(["n1"], ["n2", "n3"])
    wait_until(lambda: (told(site, flow, "n2") or {}).get("alone"), "a flow that is alone", promised(LOSS_SECONDS))
    assert told(site, flow, "n1")["state"] == "ended"
    assert site.cluster.programs("yes")
    site.world.heal()
    site.cluster.wait_for_no_program(promised(LOSS_SECONDS))
