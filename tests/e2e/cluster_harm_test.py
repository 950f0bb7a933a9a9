"""What strangers, full disks, slow readers and missing descriptors do to a node: it goes on serving, in bounded memory."""

import os
import random
import resource
import signal
import socket
import ssl
import struct
import subprocess

import pytest

from clusters import cluster, home, pair, promised, seconds_of
from machine import UNSHARE, can_unshare
from processes import let_pass, process_state, wait_until
from settings import SLUICE

MIB = 1 << 20
MEMORY_MAX = 40 * MIB
HELLO = b"SLUI" + struct.pack(">HHBH", 1, 0, 1, 0)


# --- strangers on every port --------------------------------------------------------------------------------------


@pytest.fixture
def many_descriptors():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 8192:
        pytest.skip(f"no more than {before[1]} descriptors are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 8192), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Doors:
    """A node, and where strangers can come to it."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.node = nodes.start("n1", "--http", "127.0.0.1:0")
        listening = next(line for line in self.node.log_text().splitlines() if "http ready" in line)
        self.http_port = int(listening.rpartition(":")[2])
        self.strangers = []
        self.assert_it_serves()  # what is kept ready is there from now on
        self.before = self.node.descriptors()

    def connect(self, door):
        if door == "socket":
            stranger = socket.socket(socket.AF_UNIX)
            stranger.connect(str(self.node.socket))
        else:
            at = ("127.0.0.1", self.http_port) if door == "http" else self.node.host_and_port
            stranger = socket.create_connection(at, timeout=30)
        stranger.settimeout(30)
        self.strangers.append(stranger)
        if door in ("tls", "https"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["http/1.1"] if door == "https" else ["sluice/1"])
            self.strangers[-1] = stranger = context.wrap_socket(stranger)
        return stranger

    def assert_it_serves(self):
        listed = seconds_of(lambda: self.nodes.list_nodes("n1"))
        assert listed < promised(3)
        assert self.nodes.run("@n1 echo still").outcome == (0, b"still\n")
        assert self.node.resident_bytes() < MEMORY_MAX, f"{self.node.resident_bytes() / MIB:.1f} MiB"

    def assert_it_lets_go(self, seconds):
        wait_until(lambda: self.node.descriptors() <= self.before + 3,
                   lambda: f"{self.before} descriptors; it has {self.node.descriptors()}", promised(seconds))

    def close(self):
        for stranger in self.strangers:
            stranger.close()


@pytest.fixture
def doors(cluster, many_descriptors):
    opened = Doors(cluster)
    yield opened
    opened.close()


def say(stranger, words):
    try:
        stranger.sendall(words)
    except OSError:  # it has had enough
        pass


def hello_fragments():
    """The beginning of a TLS client's first flight, cut into records of one byte."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    hello = outgoing.read()[5:]
    return b"".join(b"\x16\x03\x01\x00\x01" + hello[at:at + 1] for at in range(len(hello) - 1))


# What is said first, and then no more: half of something, or a length that no memory would hold.
FIRST_WORDS = {
    "port": [b"", b"\x16", b"\x16\x03\x01\xff\xff\x01\xff\xff\xff", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
             "fragments", b"GET / HTTP/1.1\r\n"],
    "https": [b"", b"POST /v1/run HTTP/1.1\r\nHost: localhost\r\n", b"X" * 60000,
              b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200000],
    "socket": [b"", b"S", HELLO[:-1], b"SLUI" + struct.pack(">HHBH", 1, 0, 1, 65535), b"SLUI" + b"\xff" * 7,
               b"SLUI" + struct.pack(">HHBH", 1, 0, 2, 1024), b"POST /v1/run HTTP/1.1\r\nHost: localhost\r\n"],
    "http": [b"", b"G", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 200000,
             b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: x\r\n" % number for number in range(5000)),
             b"POST /v1/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18446744073709551615\r\n\r\n",
             b"POST /v1/run HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"],
}
# A handshake and a first frame have 5 s; the head of an HTTP request has 10, and its refusal 2 to be read.
FIRST_FRAME_SECONDS = 6
HTTP_SECONDS = 13


def is_closed(stranger):
    try:
        while stranger.recv(65536, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def test_strangers_who_stop_in_the_middle_are_let_go(doors):
    quick = []
    for door, beginnings in FIRST_WORDS.items():
        for words in beginnings * 4:
            stranger = doors.connect(door)
            say(stranger, hello_fragments() if words == "fragments" else words)
            speaks_http = door in ("http", "https") or (door == "socket" and words.startswith(b"POST"))
            quick += [] if speaks_http else [stranger]
    doors.assert_it_serves()
    wait_until(lambda: all(map(is_closed, quick)), lambda: f"{sum(map(is_closed, quick))} of {len(quick)} are let go",
               promised(FIRST_FRAME_SECONDS))
    doors.assert_it_lets_go(HTTP_SECONDS)
    doors.assert_it_serves()


@pytest.mark.parametrize("door", ["https", "http", "socket"])
def test_thousand_strangers_who_have_come_in_and_say_half_a_sentence(doors, door):
    for _ in range(1000):
        try:
            say(doors.connect(door), b"POST /v1/run HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 8000)
        except OSError:  # it may take no more
            pass
    doors.assert_it_serves()
    doors.close()
    doors.assert_it_lets_go(5)
    doors.assert_it_serves()


def ask_for_flows(client):
    client.sendall(b"POST /sluice.v1.Flows/ListFlows HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                   b"Content-Length: 2\r\n\r\n{}")
    return client.recv(4096)


def test_client_that_is_known_keeps_its_connection_when_strangers_come(doors):
    known = doors.connect("socket")
    assert ask_for_flows(known).startswith(b"HTTP/1.1 200")
    silent = doors.connect("socket")
    flow = doors.nodes.start_flow("@n1 sleep 1008")
    doors.nodes.wait_for_programs("sleep")
    for _ in range(300):
        say(doors.connect("http"), b"GET / HTTP/1.1\r\n")
    wait_until(lambda: is_closed(silent), "the end of a connection that says nothing", promised(2))
    assert ask_for_flows(known).startswith(b"HTTP/1.1 200")
    assert flow.poll() is None
    flow.send_signal(signal.SIGINT)
    assert doors.nodes.household.finish(flow).returncode == -signal.SIGINT


@pytest.mark.parametrize("door", ["port", "socket", "http", "https"])
def test_random_bytes_at_every_door(doors, chance, door):
    words = [piece for piece in FIRST_WORDS[door] if isinstance(piece, bytes)] + [HELLO]
    for _ in range(60):
        noise = random.Random(chance.random()).randbytes(chance.choice([1, 9, 300, 70000]))
        say(doors.connect(door), chance.choice(words) + noise)
        if chance.random() < 0.7:
            doors.strangers.pop().close()
    doors.assert_it_serves()
    doors.close()
    doors.assert_it_lets_go(5)


def test_stranger_on_the_gossip_port(doors, chance):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for _ in range(3000):
            head = chance.choice([b"", b"S", b"S\x01", b"S\x01" + b"\xff" * 20])
            noise = random.Random(chance.random()).randbytes(chance.choice([0, 1, 100, 1400, 60000]))
            stranger.sendto(head + noise, doors.node.host_and_port)
    doors.assert_it_serves()


# --- no descriptors -----------------------------------------------------------------------------------------------


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def poor(cluster):
    """A node with 64 descriptors, and connections of strangers."""
    node = cluster.start("n1", before_exec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    strangers = []
    yield node, strangers
    for stranger in strangers:
        stranger.close()


def fill(node, strangers, count):
    for _ in range(count):
        strangers.append(socket.socket(socket.AF_UNIX))
        strangers[-1].setblocking(False)
        try:
            strangers[-1].connect(str(node.socket))
        except BlockingIOError:  # as many wait as may
            break


def test_node_without_descriptors_pauses_and_recovers(cluster, poor):
    node, strangers = poor
    before = node.descriptors()
    for _ in range(2):
        fill(node, strangers, 100)
        wait_until(lambda: "accepting paused" in node.log_text(), "the warning")
        used = processor_seconds(node.pid)
        let_pass(1)
        assert processor_seconds(node.pid) - used < 0.2, "it does not spin"
    assert node.log_text().count("accepting paused") == 1, node.log_text()
    while strangers:
        strangers.pop().close()
    assert cluster.run("echo served | @n1 cat").outcome == (0, b"served\n")
    wait_until(lambda: node.descriptors() <= before + 12, lambda: f"{before} descriptors; it has {node.descriptors()}")


def test_flows_without_descriptors_are_refused_clearly_and_leak_nothing(cluster, poor):
    node, strangers = poor

    def burst():
        flows = [cluster.start_flow("@n1 cat", stdin=subprocess.PIPE) for _ in range(14)]
        return [cluster.household.finish(flow, b"data\n", deadline=60) for flow in flows]

    results = burst()
    cluster.wait_for_no_program()
    before = node.descriptors()  # what is kept ready is there from now on
    for _ in range(2):
        results += burst()
    assert any(result.returncode != 0 for result in results), "there are too few descriptors for all of them"
    for result in results:
        if result.returncode == 0:
            assert result.stdout == b"data\n", result
        else:
            assert result.returncode == 125 and result.stdout in (b"", b"data\n"), result
            assert result.stderr.startswith(b"sluice: "), result
    cluster.wait_for_no_program()
    wait_until(lambda: node.descriptors() <= before + 3, lambda: f"{before} descriptors; it has {node.descriptors()}")
    assert cluster.run("echo served | @n1 cat").outcome == (0, b"served\n")


# --- no room on the disk ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not can_unshare(), reason="no mount namespace inside a user namespace")
def test_full_disk_is_told_and_breaks_nothing(cluster):
    data = cluster.folder / "n1-data"
    data.mkdir(mode=0o700)
    script = f'mount -t tmpfs -o size=1m,mode=700 tmpfs {data} && exec "$@"'
    node = cluster.start("n1", prefix=[*UNSHARE, "sh", "-c", script, "sh"])
    inside = f"/proc/{node.pid}/root{data}"

    def sluice(*arguments):
        command = [SLUICE, *arguments, "--node", node.url, "--key", str(cluster.key)]
        return cluster.household.run(command, deadline=60)

    def hand_over(text):
        return sluice("run", "--background", text)

    growing = hand_over("@n1 { sleep 0.5; head -c 3000000 /dev/zero; sleep 0.3; exit 4; }")
    assert growing.returncode == 0, growing
    flow_id = growing.stdout.decode().strip()
    assert sluice("wait", flow_id).returncode == 4
    logs = sluice("logs", flow_id)
    assert logs.returncode == 0 and len(logs.stdout) < MIB and b"could not be written on the node" in logs.stderr, (
        len(logs.stdout), logs.stderr)

    def fill_disk():
        with open(f"{inside}/filler", "ab", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                pass

    fill_disk()
    refused = hand_over("@n1 echo x")
    assert refused.outcome == (125, b"") and b"No space left" in refused.stderr, refused
    assert cluster.household.left() != [] and node.process.poll() is None
    # What needs no disk goes on, or says why it can't.
    result = sluice("run", "@n1 echo still")
    assert result.outcome == (0, b"still\n") or b"No space left" in result.stderr, result
    assert sluice("ps", "-a").returncode == 0
    # The audit log has a little room of its own, so that one can tidy up.
    assert sluice("rm", flow_id).returncode == 0

    fill_disk()
    # Without that too, what changes something does not happen: it could not be recorded.
    for _ in range(1000):
        stopped = sluice("stop", "0000")
        if stopped.returncode != 3:
            break
    assert stopped.returncode == 1, stopped
    for words in ("audit log", f"{data}/audit.log", "No space left on device", "nothing was done", "make room"):
        assert words in stopped.stderr.decode(), (words, stopped)
    not_run = sluice("run", "@n1 echo still")
    assert not_run.returncode == 125 and b"audit log" in not_run.stderr, not_run
    assert node.log_text().count("audit log not written") == 1
    # What only reads is not recorded, and goes on.
    assert sluice("ps", "-a").returncode == 0
    assert sluice("nodes").returncode == 0

    os.unlink(f"{inside}/filler")
    again = hand_over("@n1 { echo room; exit 3; }")
    assert sluice("wait", again.stdout.decode().strip()).returncode == 3
    assert sluice("logs", again.stdout.decode().strip()).stdout == b"room\n"


# --- slow readers -------------------------------------------------------------------------------------------------


def test_stopped_client_stops_the_source_and_it_goes_on_at_once(pair):
    counter = pair.folder / "received"
    with open(counter, "wb") as sink:
        flow = pair.start_flow("@n2 yes | @n1 cat", stdout=sink)
    wait_until(lambda: counter.stat().st_size > 8 * MIB, "the first bytes")
    memory = {name: node.anonymous_bytes() for name, node in pair.nodes.items()}
    flow.send_signal(signal.SIGSTOP)
    wait_until(lambda: process_state(flow.pid) == "T", "the stop")
    let_pass(1.5)
    grown = {name: node.anonymous_bytes() - memory[name] for name, node in pair.nodes.items()}
    assert max(grown.values()) < 4 * MIB, grown
    stopped_at = counter.stat().st_size
    flow.send_signal(signal.SIGCONT)
    wait_until(lambda: counter.stat().st_size > stopped_at + 32 * MIB, "full rate", promised(1))
    os.truncate(counter, 0)
    flow.send_signal(signal.SIGINT)
    assert pair.household.finish(flow).returncode == -signal.SIGINT
    pair.wait_for_no_program()


def test_slow_client_does_not_fill_any_memory(pair):
    flow = pair.start_flow("@n2 yes | @n1 cat")
    flow.stdout.read(MIB)
    memory = {name: node.anonymous_bytes() for name, node in pair.nodes.items()}
    for _ in range(30):
        flow.stdout.read(4096)
        let_pass(0.03)
    grown = {name: node.anonymous_bytes() - memory[name] for name, node in pair.nodes.items()}
    assert max(grown.values()) < 4 * MIB, grown
    flow.send_signal(signal.SIGINT)
    pair.household.finish(flow)
    pair.wait_for_no_program()


def test_client_that_does_not_read_errors_does_not_fill_any_memory(pair):
    flow = pair.start_flow("@n2 { yes >&2; }")
    pair.wait_for_programs("yes")
    flow.send_signal(signal.SIGSTOP)
    let_pass(0.5)
    memory = {name: node.anonymous_bytes() for name, node in pair.nodes.items()}
    let_pass(1)
    grown = {name: node.anonymous_bytes() - memory[name] for name, node in pair.nodes.items()}
    assert max(grown.values()) < 4 * MIB, grown
    flow.kill()
    flow.wait(timeout=30)
    pair.wait_for_no_program()
