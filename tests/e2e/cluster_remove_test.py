"""`sluice rm` of flows in the background with parts on several nodes: nothing of them is left, or it is said where."""

import shutil

from clusters import cluster, home, pair, trio
from processes import wait_until


def in_background(cluster, text):
    started = cluster.run(text, "--background")
    assert (started.returncode, started.stderr) == (0, b""), started
    flow = started.stdout.decode().strip()
    assert cluster.household.run_sluice("wait", flow, *cluster.at("n1")).returncode == 0
    return flow


def remove(cluster, flow, at="n1"):
    return cluster.household.run_sluice("rm", flow, *cluster.at(at))


def kept(cluster, flow):
    """The nodes that keep something of the flow."""
    return {name for name, node in cluster.nodes.items() if (node.data / "flows" / flow).exists()}


def test_removed_flow_leaves_nothing_on_any_node(trio):
    flow = in_background(trio, "@n1 seq 3 | @n2 cat | @n3 cat >&2")
    assert kept(trio, flow) == {"n1", "n2", "n3"}
    # Any node may be asked; the one that orchestrated the flow tells the others.
    assert remove(trio, flow, at="n3").outcome == (0, b"")
    assert kept(trio, flow) == set()
    assert remove(trio, flow).returncode == 3


def test_node_that_does_not_answer_is_named_and_the_flow_stays(pair):
    flow = in_background(pair, "@n1 seq 3 | @n2 cat")
    pair["n2"].kill()
    refused = remove(pair, flow)
    assert refused.returncode != 0 and b"n2" in refused.stderr and b"repeat" in refused.stderr, refused
    listed = pair.household.run_sluice("ps", "-a", *pair.at("n1")).stdout.decode()
    assert flow in listed
    pair.start("n2", join=pair["n1"].url)
    pair.wait_until_all_list(["n1", "n2"])
    wait_until(lambda: remove(pair, flow).returncode == 0, "the flow is removed")
    assert kept(pair, flow) == set()


def test_dead_node_whose_flows_can_not_be_listed_is_named(pair):
    flow = in_background(pair, "@n2 echo said")
    pair["n2"].kill()
    wait_until(lambda: pair.states("n1")["n2"] == "dead", "that n2 is known to be dead")
    listed = pair.household.run_sluice("ps", "-a", "--json", *pair.at("n1"))
    assert listed.outcome == (0, b"") and b"n2, which is dead: its flows are not listed" in listed.stderr, listed
    for verb in ("wait", "logs", "stop"):
        refused = pair.household.run_sluice(verb, flow, *pair.at("n1"))
        assert refused.returncode == 3 and b"n2 can't be asked" in refused.stderr, refused
    unplaced = pair.run("@n2 true")
    assert unplaced.returncode != 0 and b"the node 'n2' is dead; those that are alive: n1\n" in unplaced.stderr, unplaced
    pair.start("n2", join=pair["n1"].url)
    pair.wait_until_all_list(["n1", "n2"])
    listed = pair.household.run_sluice("ps", "-a", "--json", *pair.at("n1"))
    assert flow.encode() in listed.stdout and listed.stderr == b"", listed


def test_node_that_has_left_is_not_waited_for(pair):
    flow = in_background(pair, "@n1 seq 3 | @n2 cat")
    assert pair.household.run_sluice("leave", *pair.at("n2")).returncode == 0
    assert pair["n2"].process.wait(timeout=30) == 0
    pair.wait_until_all_list(["n1"])
    removed = remove(pair, flow)
    assert removed.returncode == 0 and b"n2 has left the cluster" in removed.stderr, removed
    assert kept(pair, flow) == {"n2"}


def test_flow_that_could_not_be_started_leaves_nothing_on_any_node(pair):
    job = pair.household.folder / "job"
    shutil.copy("/bin/true", job)
    with open(job, "r+b"):  # it may be executed, says the look at it, but not while somebody may write to it
        refused = pair.run(f"@n1 sleep 1001 | @n2 {job}", "--background")
    assert refused.returncode == 126 and b"ext file busy" in refused.stderr, refused
    for node in pair.nodes.values():
        assert list((node.data / "flows").glob("*")) == [], node.name
    assert pair.household.run_sluice("ps", "-a", "--json", *pair.at("n1")).outcome == (0, b"")
