"""Who knows of whom, and how soon: joining, leaving, dying, and being silent for a while.

The times are those that the design promises; on a machine where many wait for a processor they are longer.
"""

import json
import signal

import pytest

from clusters import cluster, home, pair, promised, trio
from processes import let_pass, wait_until
from settings import SOAK

# A stopped node is suspected first and taken for dead later; either says that it does not answer.
NOT_ALIVE = {"suspect", "dead"}


def wait_for_states(cluster, node, states, by, deadline):
    """Waits until each of these sees the node in one of these states."""
    seen = {}

    def all_see_it():
        seen.update({name: cluster.states(name).get(node) for name in by})
        return set(seen.values()) <= set(states)

    wait_until(all_see_it, lambda: f"{node} is {sorted(states)}; it is seen as {seen}", deadline)


# --- joining ------------------------------------------------------------------------------------------------------


def test_joined_node_is_known_to_all(trio):
    watches = [trio.watch(name) for name in trio.nodes]
    trio.start("n4", join=trio["n3"].url)
    for watch in watches:
        watch.wait_for("joined", "n4", promised(1))
    trio.wait_until_all_list(["n1", "n2", "n3", "n4"])


def test_nodes_that_join_before_their_seed_is_there_find_it(cluster):
    seed = cluster.start("n1")
    listen = seed.address
    seed.kill()
    early = cluster.start("n2", join=f"sluice://{listen}/n1")
    assert list(cluster.list_nodes("n2")) == ["n2"]
    cluster.start("n1", listen=listen)
    cluster.wait_until_all_list(["n1", "n2"], deadline=promised(10))
    assert early.process.poll() is None


def test_node_says_why_it_is_alone_and_that_it_is_no_longer(cluster):
    cluster.start("n1")
    address = cluster["n1"].address
    cluster["n1"].terminate()
    late = cluster.start("n2", join=f"sluice://{address}")
    wait_until(lambda: warnings_of(late), lambda: f"n2 says why it is alone: {late.log_text()}")
    assert "refused" in warnings_of(late)[0] and address in warnings_of(late)[0]
    cluster.start("n1", listen=address)
    cluster.wait_until_all_list(["n1", "n2"])
    wait_until(lambda: "joined after all" in late.log_text(), late.log_text)
    assert len(warnings_of(late)) == 1


def test_one_of_several_seeds_is_enough(pair):
    gone = pair["n2"].url
    pair["n2"].kill()
    pair.start("n3", "--join", pair["n1"].url, join=gone)
    pair.wait_until_all_list(["n1", "n3"])


def test_two_clusters_become_one_when_a_node_joins_both(cluster):
    for name in ("n1", "n2"):
        cluster.start(name)
    cluster.start("n3", "--join", cluster["n1"].url, join=cluster["n2"].url)
    cluster.wait_until_all_list(["n1", "n2", "n3"])


def warnings_of(node):
    return [line for line in node.log_text().splitlines() if "not joined" in line]


def test_node_with_another_key_is_no_member(cluster):
    cluster.start("n1")
    stranger = cluster.launch("n2", join=cluster["n1"].url, key=cluster.new_key("other.key"))
    wait_until(lambda: warnings_of(stranger), lambda: f"n2 says that the key is wrong: {stranger.log_text()}")
    assert "wrong key" in warnings_of(stranger)[0] and cluster["n1"].address in warnings_of(stranger)[0]
    assert list(cluster.list_nodes("n1")) == ["n1"]


def test_node_that_comes_back_under_another_port_is_one_node(pair):
    before = pair.list_nodes("n1")["n2"]
    pair["n2"].kill()
    pair.start("n2", join=pair["n1"].url)
    pair.wait_until_all_list(["n1", "n2"])
    wait_until(lambda: pair.list_nodes("n1", "--all")["n2"]["url"] == pair["n2"].url, "the new URL")
    everybody = pair.household.run_sluice("nodes", "--json", "--all", *pair.at("n1")).stdout.splitlines()
    assert len(everybody) == 2, everybody
    assert pair.list_nodes("n1")["n2"]["id"] == before["id"]


def test_two_nodes_of_one_name_are_told_apart_or_refused(pair):
    twin = pair.folder / "twin"
    process = pair.household.start_sluice("start", "--data", str(twin), "--key", str(pair.key), "--name", "n2",
                                          "--listen", "127.0.0.1:0", "--join", pair["n1"].url)

    def entries():
        lines = pair.household.run_sluice("nodes", "--json", *pair.at("n1")).stdout.splitlines()
        return [entry for entry in map(json.loads, lines) if entry["name"] == "n2"]

    wait_until(lambda: process.poll() is not None or len(entries()) == 2, "two of the name, or a refusal")
    if process.poll() is None:
        result = pair.run("@n2 true")
        assert result.returncode == 125, result
        message = result.stderr.decode()
        assert all(entry["id"][:8] in message for entry in entries()), message


# --- ends ---------------------------------------------------------------------------------------------------------


def test_leaving_node_is_seen_as_left(trio):
    watches = [trio.watch(name) for name in ("n1", "n2")]
    result = trio.household.run_sluice("leave", *trio.at("n3"))
    assert result.returncode == 0, result
    assert trio["n3"].process.wait(timeout=30) == 0
    for watch in watches:
        watch.wait_for("left", "n3", promised(1))
    for name in ("n1", "n2"):
        assert trio.states(name) == {"n1": "alive", "n2": "alive", "n3": "left"}
        assert sorted(trio.list_nodes(name)) == ["n1", "n2"]


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_node_that_is_asked_to_end_leaves(trio, sign):
    trio["n3"].process.send_signal(sign)
    assert trio["n3"].process.wait(timeout=30) == 0
    for name in ("n1", "n2"):
        wait_for_states(trio, "n3", ["left"], [name], promised(2))


def test_node_is_told_to_leave_by_way_of_another(trio):
    result = trio.household.run_sluice("leave", "n3", *trio.at("n1"))
    assert trio["n3"].process.wait(timeout=30) == 0
    for name in ("n1", "n2"):
        wait_for_states(trio, "n3", ["left"], [name], promised(2))
    assert (result.returncode, result.stderr) == (0, b""), result


@pytest.mark.parametrize("at, named", [("n3", []), ("n3", ["n3"]), ("n1", ["n3"])])
def test_leave_returns_when_the_node_has_ended(trio, at, named):
    result = trio.household.run_sluice("leave", *named, *trio.at(at))
    assert not trio["n3"].socket.exists()
    assert trio.states("n1")["n3"] == "left"
    assert (result.returncode, result.stderr) == (0, b""), result
    # Its connections are the last that it closes; its process is gone a moment later.
    assert trio["n3"].process.wait(timeout=promised(1)) == 0


def test_unknown_node_can_not_be_told_to_leave(pair):
    result = pair.household.run_sluice("leave", "n7", *pair.at("n1"))
    assert result.returncode == 3 and b"n7" in result.stderr, result
    assert sorted(pair.list_nodes("n1")) == ["n1", "n2"]


def test_killed_node_is_known_to_all_within_a_second(cluster):
    cluster.grow_to(6)
    watches = {name: cluster.watch(name) for name in cluster.nodes}
    for victim in ("n4", "n1", "n6"):
        del watches[victim]
        cluster[victim].kill()
        for watch in watches.values():
            watch.wait_for("lost", victim, promised(1))
    cluster.wait_until_all_list(watches)


def test_watch_of_a_node_that_is_killed_ends_with_an_error(pair):
    watch = pair.watch("n2")
    pair["n2"].kill()
    assert watch.process.wait(timeout=30) == 5
    assert watch.errors().count("\n") == 1


def test_watch_ends_quietly_when_nobody_reads_it(pair):
    watch = pair.household.start_sluice("nodes", "--watch", "--json", *pair.at("n1"))
    for _ in range(2):
        assert json.loads(watch.stdout.readline())["event"] == "present"
    watch.stdout.close()  # and nothing more is told that could be written
    assert watch.wait(timeout=10) in (0, -signal.SIGPIPE)
    assert watch.stderr.read() == b""


def test_logs_end_quietly_when_nobody_reads_them(pair):
    flow = pair.household.run_sluice("run", *pair.at("n1"), "--background", "@n2 { echo first; sleep 1001; }")
    flow_id = flow.stdout.decode().strip()
    logs = pair.household.start_sluice("logs", "-f", flow_id, *pair.at("n1"))
    assert logs.stdout.readline() == b"first\n"
    logs.stdout.close()
    assert logs.wait(timeout=10) in (0, -signal.SIGPIPE)
    assert logs.stderr.read() == b""
    assert pair.household.run_sluice("stop", flow_id, *pair.at("n1")).returncode == 0


# --- silence ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["n3"], ["n1"]], ids=["a member", "the seed"])
def test_stopped_node_is_missed_and_is_back_when_it_goes_on(trio, names):
    name, = names
    others = [other for other in trio.nodes if other != name]
    trio[name].stop()
    wait_for_states(trio, name, NOT_ALIVE, others, promised(5))
    trio[name].go_on()
    trio.wait_until_all_list(trio.nodes, deadline=promised(2))


def test_node_that_was_taken_for_dead_is_back_when_it_goes_on(trio):
    trio["n3"].stop()
    wait_for_states(trio, "n3", ["dead"], ["n1", "n2"], promised(30))
    before = trio.states("n1")["n3"]
    assert before == "dead"
    trio["n3"].go_on()
    trio.wait_until_all_list(trio.nodes, deadline=promised(2))
    # A flow through it works again.
    assert trio.run("@n3 echo back").outcome == (0, b"back\n")


def test_short_pause_is_forgiven(trio):
    """Less than the time of a suspicion: nobody takes it for dead."""
    watches = [trio.watch(name) for name in ("n1", "n2")]
    trio["n3"].stop()
    let_pass(0.5)
    trio["n3"].go_on()
    trio.wait_until_all_list(trio.nodes)
    assert not any(("lost", "n3") in watch.events() for watch in watches)


def test_node_that_was_stopped_itself_accuses_nobody(trio):
    watches = [trio.watch(name) for name in ("n1", "n2")]
    trio["n3"].stop()
    wait_for_states(trio, "n3", NOT_ALIVE, ["n1"], promised(5))
    trio["n3"].go_on()
    trio.wait_until_all_list(trio.nodes, deadline=promised(2))
    let_pass(2)
    for watch in watches:
        accused = {name for event, name in watch.events() if event not in ("present", "joined")}
        assert accused <= {"n3"}, watch.events()


# --- many ---------------------------------------------------------------------------------------------------------


def test_thirty_nodes_survive_their_seed_and_ten_more(cluster, chance):
    cluster.grow_to(30)
    names = set(cluster.nodes)

    def assert_they_agree():
        alive = {name for name in names if cluster[name].process.poll() is None}
        cluster.wait_until_all_list(alive, deadline=promised(5))
        let_pass(2)
        assert cluster.those_who_list_others_than(alive) == {}, "and it stays so"

    cluster["n1"].kill()
    assert_they_agree()
    for victim in chance.sample(sorted(names - {"n1"}), 10):
        cluster[victim].process.send_signal(signal.SIGKILL)
    wait_until(lambda: sum(node.process.poll() is None for node in cluster.nodes.values()) == 19, "ten more ends")
    assert_they_agree()


def test_nodes_are_small(cluster):
    # Resident pages of the binary are shared by all nodes and count for each.
    cluster.grow_to(3)
    for name, node in cluster.nodes.items():
        assert node.resident_bytes() < 24 << 20, name


def test_churn_settles(cluster, chance):
    cluster.grow_to(5)
    for _ in range(20 if SOAK else 4):
        victim = chance.choice(["n2", "n3", "n4", "n5"])
        cluster[victim].process.send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM]))
        cluster[victim].process.wait(timeout=30)
        ready = [node.url for node in cluster.nodes.values() if node.name != victim and node.url]
        cluster.launch(victim, join=chance.choice(ready))
    for node in cluster.nodes.values():
        node.wait_until_ready()
    cluster.wait_until_all_list(cluster.nodes, deadline=promised(10))
