"""Nodes and clients that find each other by multicast: on the loopback of this host, and over hosts of their own."""

import json
import random
import socket
import struct

import pytest

from clusters import cluster, home, promised
from hosts import needs_hosts, world
from processes import let_pass, wait_until

# A client gives finding and connecting 3 s. The rest is for starting it on a loaded machine.
CLIENT_SECONDS = 3 + 2
# docs/cluster.md: clusters that started apart hear each other within 20 s of being able to.
APART_SECONDS = 20 + 5


@pytest.fixture
def group():
    """A group of this test's own, since all tests share the loopback of this host."""
    chance = random.SystemRandom()
    return f"239.{chance.randrange(1, 255)}.{chance.randrange(256)}.{chance.randrange(1, 255)}:" \
           f"{chance.randrange(20000, 30000)}"


def find(cluster, group, *options, key=None, **settings):
    """What `sluice nodes` says that finds its node by itself."""
    settings.setdefault("deadline", promised(CLIENT_SECONDS))
    return cluster.household.run_sluice("nodes", "--json", "--discover", group, "--key", str(key or cluster.key),
                                        *options, **settings)


def names(result):
    assert result.returncode == 0, result
    return sorted(json.loads(line)["name"] for line in result.stdout.splitlines())


def who_answered(result):
    assert result.returncode == 0, result
    name, = [entry["name"] for entry in map(json.loads, result.stdout.splitlines()) if entry["self"]]
    return name


# --- nodes of one host --------------------------------------------------------------------------------------------


def test_nodes_that_start_together_find_each_other(cluster, group):
    nodes = [cluster.launch(name, "--discover", group) for name in ("n1", "n2", "n3")]
    for node in nodes:
        node.wait_until_ready()
    cluster.wait_until_all_list(["n1", "n2", "n3"], deadline=promised(5))


def test_nodes_find_those_that_started_before(cluster, group):
    for count in (1, 2, 3):
        cluster.start(f"n{count}", "--discover", group, "--interface", "lo")
        cluster.wait_until_all_list(cluster.nodes, deadline=promised(5))


def test_node_that_was_killed_comes_back_to_another_address(cluster, group):
    for name in ("n1", "n2"):
        cluster.start(name, "--discover", group)
    cluster.wait_until_all_list(["n1", "n2"])
    before = cluster["n2"].url
    cluster["n2"].kill()
    assert cluster.start("n2", "--discover", group).url != before
    # At first the one that was killed may still be listed.
    wait_until(lambda: cluster.list_nodes("n1").get("n2", {}).get("url") == cluster["n2"].url, "the new address",
               promised(10))
    cluster.wait_until_all_list(["n1", "n2"])


def test_one_of_them_joined_finds_the_rest(cluster, group):
    cluster.start("n1", "--discover", group)
    cluster.start("n2", join=cluster["n1"].url)
    cluster.start("n3", "--discover", group)
    cluster.wait_until_all_list(["n1", "n2", "n3"], deadline=promised(5))


def test_node_of_another_key_is_not_let_in(cluster, group):
    for name in ("n1", "n2"):
        cluster.start(name, "--discover", group)
    cluster.wait_until_all_list(["n1", "n2"])
    other = cluster.new_key("other.key")
    cluster.start("foreign", "--discover", group, key=other)
    wait_until(lambda: "another key" in cluster["n1"].log_text(), "its datagrams are refused", promised(5))
    # Each key finds its own cluster.
    assert names(find(cluster, group)) == ["n1", "n2"]
    assert names(find(cluster, group, key=other)) == ["foreign"]
    cluster.start("n3", "--discover", group)
    cluster.wait_until_all_list(["n1", "n2", "n3"], deadline=promised(5))
    assert sorted(cluster.list_nodes("foreign")) == ["foreign"]


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, named", [
    ("10.0.0.5:7118", "239.255.255.255"),
    ("239.17.17.17", "port"),
    ("239.17.17.17:0", "port"),
    ("239.17.17.17:port", "GROUP:PORT"),
    ("239.17.17.17:70000", "GROUP:PORT"),
    ("[ff02::1]:7118", "IPv6"),
])
def test_unusable_groups_are_refused(cluster, text, named):
    result = cluster.household.run_sluice("start", "--data", str(cluster.folder / "other"), "--key",
                                          str(cluster.key), "--listen", "127.0.0.1:0", "--discover", text)
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (2, b"", 1), result
    line = result.stderr.decode()
    assert line.startswith("sluice: start: --discover") and text in line and named in line, line
    result = find(cluster, text)
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (2, b"", 1), result
    assert text in result.stderr.decode() and named in result.stderr.decode()
    result = cluster.household.run_sluice("nodes", environment={"SLUICE_DISCOVER": text})
    assert result.returncode == 2 and b"SLUICE_DISCOVER" in result.stderr, result


def refusal(cluster, *options, key=True):
    proof = ["--key", str(cluster.key)] if key else []
    result = cluster.household.run_sluice("start", "--data", str(cluster.folder / "other"), *proof, *options)
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (1, b"", 1), result
    return result.stderr.decode()


def test_unusable_interface_is_refused(cluster, group):
    message = refusal(cluster, "--discover", group, "--interface", "nosuch0", "--listen", "127.0.0.1:0")
    assert "nosuch0" in message, message


def test_port_that_another_program_has_is_refused(cluster, group):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", int(group.split(":")[1])))
        message = refusal(cluster, "--discover", group, "--listen", "127.0.0.1:0")
    assert group in message and "in use" in message, message


def test_node_without_a_key_can_find_nobody(cluster, group):
    message = refusal(cluster, "--discover", group, "--listen", "127.0.0.1:0", key=False)
    assert "key" in message and group in message, message


# --- clients ------------------------------------------------------------------------------------------------------


def test_client_finds_a_node_and_runs_on_it(cluster, group):
    for name in ("n1", "n2"):
        cluster.start(name, "--discover", group)
    cluster.wait_until_all_list(["n1", "n2"])
    assert names(find(cluster, group)) == ["n1", "n2"]
    reach = ["--discover", group, "--key", str(cluster.key)]
    for text in ("@n1 echo there", "@n2 echo there", "@n1 echo there | @n2 cat | @here cat"):
        assert cluster.household.run_sluice("run", *reach, text).outcome == (0, b"there\n"), text
    result = cluster.household.run_sluice("leave", *reach, "n2")
    assert result.returncode == 0, result
    assert names(find(cluster, group)) == ["n1"]


def test_first_that_can_be_reached_is_taken(cluster, group):
    """A node that answers and can't be dialled keeps no client from the others."""
    cluster.start("n1", "--discover", group)
    cluster.start("far", "--discover", group, "--advertise", "127.0.0.1:1")
    for _ in range(5):
        assert who_answered(find(cluster, group)) == "n1"
    cluster["n1"].kill()
    result = find(cluster, group)
    assert result.returncode == 5 and result.stderr.count(b"\n") == 1, result
    assert "127.0.0.1:1" in result.stderr.decode() and "refused" in result.stderr.decode()


def test_nobody_there_is_said_within_three_seconds(cluster, group):
    result = find(cluster, group)
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (5, b"", 1), result
    message = result.stderr.decode()
    assert f"--discover {group}" in message and "3 s" in message and "--node" in message, message


def test_order_in_which_a_client_looks(cluster, group):
    """--node, --discover, SLUICE_NODE, the context, SLUICE_DISCOVER, the local socket."""
    for name in ("named", "found"):
        cluster.start(name, *(["--discover", group] if name == "found" else []))
    key, url = ["--key", str(cluster.key)], cluster["named"].url

    def nodes(*options, **variables):
        return who_answered(cluster.household.run_sluice("nodes", "--json", *key, *options, environment=variables))

    assert nodes("--node", url, "--discover", group) == "named"
    assert nodes("--discover", group, SLUICE_NODE=url) == "found"
    assert nodes(SLUICE_DISCOVER=group, SLUICE_NODE=url) == "named"
    assert nodes(SLUICE_DISCOVER=group) == "found"
    assert cluster.household.run_sluice("context", "add", "mine", "--node", url, *key, "--use").returncode == 0
    assert nodes(SLUICE_DISCOVER=group) == "named"
    assert nodes("--discover", group) == "found"


def test_context_remembers_the_node_that_was_found(cluster, group):
    """It is found once: later commands go straight there, and need no multicast."""

    def add(*options):
        return cluster.household.run_sluice("context", "add", "lab", *options, "--key", str(cluster.key))

    nobody = add("--discover", group)
    assert nobody.returncode == 5 and group.encode() in nobody.stderr, nobody
    assert cluster.household.run_sluice("context", "ls").outcome == (0, b"")
    node = cluster.start("n1", "--discover", group)
    assert add("--discover", group, "--node", node.url).returncode == 2
    assert add("--discover", group).outcome == (0, node.address.encode() + b"\n")
    listed = cluster.household.run_sluice("context", "ls", "--json").stdout
    contexts = [json.loads(line) for line in listed.splitlines()]
    assert contexts == [{"name": "lab", "node": node.address, "current": True}]
    assert who_answered(cluster.household.run_sluice("nodes", "--json")) == "n1"


def test_certificate_alone_finds_a_node_only_if_it_is_a_nodes(cluster, group):
    cluster.start("n1", "--discover", group)
    for role, status in (("run", 4), ("node", 0)):
        path = cluster.folder / f"{role}.pem"
        issued = cluster.household.run_sluice("cert", "issue", "--role", role, "--out", str(path), "--key",
                                              str(cluster.key))
        assert issued.returncode == 0, issued
        result = cluster.household.run_sluice("nodes", "--json", "--discover", group, "--cert", str(path))
        assert result.returncode == status, result
        if status:
            message = result.stderr.decode()
            assert "key" in message and str(path) in message and message.count("\n") == 1, message
    result = cluster.household.run_sluice("nodes", "--discover", group)
    assert result.returncode == 4 and b"--key" in result.stderr, result


# --- harm ---------------------------------------------------------------------------------------------------------


def listen_to(group):
    """A socket that hears what is said on the group."""
    address, _, port = group.partition(":")
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    ear.bind((address, int(port)))
    loopback = socket.if_nametoindex("lo")
    membership = struct.pack("4s4si", socket.inet_aton(address), bytes(4), loopback)
    ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    ear.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, membership)
    ear.settimeout(30)
    return ear


def test_strangers_datagrams_do_nothing(cluster, group, chance):
    address, _, port = group.partition(":")
    to = (address, int(port))
    with listen_to(group) as ear:
        node = cluster.start("n1", "--discover", group)
        recorded = [ear.recv(2048) for _ in range(3)]  # alone, it announces itself again and again
        assert all(len(datagram) < 200 and datagram.startswith(b"S\x01") for datagram in recorded)
        descriptors, memory = node.descriptors(), node.anonymous_bytes()
        for _ in range(3000):
            datagram = bytearray(chance.choice(recorded))
            kind = chance.randrange(5)
            if kind == 0:
                datagram = bytearray(chance.randbytes(chance.randrange(2000)))
            elif kind == 1:
                datagram[chance.randrange(len(datagram))] ^= 1 << chance.randrange(8)
            elif kind == 2:
                del datagram[chance.randrange(len(datagram)):]
            elif kind == 3:
                datagram += chance.randbytes(chance.randrange(1, 1500))
            ear.sendto(datagram, to)
        assert names(find(cluster, group)) == ["n1"]
        cluster.start("n2", "--discover", group)
        cluster.wait_until_all_list(["n1", "n2"], deadline=promised(5))
        for datagram in recorded:  # new to nobody but a third, whom it tells of a living node
            ear.sendto(datagram, to)
        cluster.start("n3", "--discover", group)
        cluster.wait_until_all_list(["n1", "n2", "n3"], deadline=promised(5))
    assert node.descriptors() < descriptors + 20
    assert node.anonymous_bytes() < memory + (4 << 20)
    assert len(node.log_text().splitlines()) < 100, "a flood of datagrams is no flood of lines"


def test_questions_that_are_played_back_are_answered_within_limits(cluster, group):
    address, _, port = group.partition(":")
    cluster.start("n1", "--discover", group)
    with listen_to(group) as ear:
        assert names(find(cluster, group)) == ["n1"]
        # Of what is said, the shortest is the question.
        datagrams = []
        wait_until(lambda: datagrams.append(ear.recv(2048)) or min(map(len, datagrams)) < 70, "a question")
        question = min(datagrams, key=len)
        for _ in range(1000):
            ear.sendto(question, (address, int(port)))
        assert names(find(cluster, group)) == ["n1"], "others are still answered"
    # The answers went to the address that asked, which is the ear's own: the group's port.
    assert cluster["n1"].process.poll() is None


# --- hosts --------------------------------------------------------------------------------------------------------


class Site:
    """Hosts with a node each, and one without, none of which knows an address of another."""

    def __init__(self, cluster, world, group):
        self.cluster, self.world, self.group = cluster, world, group
        world.add("client", "n1", "n2", "n3", "n4")

    def start(self, *names, **settings):
        for name in names:
            self.cluster.start(name, "--discover", self.group, listen=f"{self.world.address(name)}:7117",
                               before_exec=self.world.enter(name), **settings)
        return self

    def find(self, **settings):
        return find(self.cluster, self.group, before_exec=self.world.enter("client"), **settings)


@pytest.fixture
def site(cluster, world, group):
    return Site(cluster, world, group)


@needs_hosts
def test_hosts_find_each_other_and_a_client_finds_them(site):
    site.start("n2", "n1", "n3")
    site.cluster.wait_until_all_list(["n1", "n2", "n3"], deadline=promised(5))
    assert names(site.find()) == ["n1", "n2", "n3"]
    result = site.cluster.household.run_sluice("run", "--discover", site.group, "--key", str(site.cluster.key),
                                               "@n1 echo far | @n3 cat", before_exec=site.world.enter("client"))
    assert result.outcome == (0, b"far\n"), result


@needs_hosts
def test_node_that_listens_on_every_address_is_found_on_its_interface(site):
    site.start("n1")
    site.cluster.start("n2", "--discover", site.group, "--interface", "eth0", listen=None,
                       before_exec=site.world.enter("n2"))
    site.cluster.start("n3", "--discover", site.group, listen="0.0.0.0:7117", before_exec=site.world.enter("n3"))
    site.cluster.wait_until_all_list(["n1", "n2", "n3"], deadline=promised(5))


@needs_hosts
def test_client_is_told_that_a_node_which_answers_can_not_be_dialled(site):
    site.start("n1")
    site.world.refuse_connections(["client"], "n1")
    result = site.find()
    assert (result.returncode, result.stderr.count(b"\n")) == (6, 1), result
    message = result.stderr.decode()
    assert message.count("timed out") == 1 and site.world.address("n1") in message, message
    site.start("n2")
    site.cluster.wait_until_all_list(["n1", "n2"])
    assert who_answered(site.find()) == "n2"


@needs_hosts
def test_clusters_that_started_apart_become_one(site):
    apart = ["n1", "n2"], ["n3", "n4"]
    site.world.cut(*apart)
    site.start("n1", "n2", "n3", "n4")
    for names_of_one in apart:
        site.cluster.wait_until_all_list(names_of_one)
    let_pass(2)  # what nodes say of themselves in the first moments is over
    site.world.heal()
    site.cluster.wait_until_all_list(["n1", "n2", "n3", "n4"], deadline=promised(APART_SECONDS))


@needs_hosts
def test_client_whose_datagrams_are_lost_asks_again(site):
    site.start("n1")
    for lossy in ("client", "n1"):
        site.world.lose_every_other_datagram(lossy)
        for _ in range(4):
            assert names(site.find()) == ["n1"]
        site.world.heal()


@needs_hosts
def test_host_of_another_key_sees_nothing(site):
    site.start("n1", "n2")
    other = site.cluster.new_key("other.key")
    site.start("n3", key=other)
    wait_until(lambda: "another key" in site.cluster["n1"].log_text(), "its datagrams are refused", promised(5))
    site.cluster.wait_until_all_list(["n1", "n2"])
    assert names(site.find()) == ["n1", "n2"]
    assert names(site.find(key=other)) == ["n3"]
