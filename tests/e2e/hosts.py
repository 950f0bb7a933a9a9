"""Several hosts on one: network namespaces that a bridge joins, all inside one user namespace, without being root.

The world is made by a process of its own and ends with it, or with us: that process waits on a pipe that we hold.
Programs enter a host by setns(2) between fork and exec, so that they are children of ours as all others, and are found
by their marker. Nothing here changes anything on the real host.
"""

import ctypes
import os
import select
import subprocess

import pytest

from processes import DEADLINE_SECONDS, children_of, start_in_session, wait_until

_UNSHARE = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child",
            "--mount-proc"]
# Carries out one line after another, and answers each with what it said and its status. It ends when we do.
_FIRST_SCRIPT = """
mount -t tmpfs tmpfs /run && echo ready
while read -r line; do said=$(sh -euc "$line" 2>&1); echo "$?" $said; done
"""
# What the tests need of the kernel and of the tools.
_PROBE = """
mount -t tmpfs tmpfs /run && ip netns add probe && ip link add bridge0 type bridge
ip link add probe type veth peer name eth0 netns probe
ip netns exec probe nft 'add table inet t; add chain inet t c { type filter hook input priority 0; };
    add rule inet t c numgen random mod 100 < 20 drop'
"""


def _why_not():
    """Why there can be no such hosts here; empty if there can."""
    try:
        probe = subprocess.run([*_UNSHARE, "sh", "-euc", _PROBE], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (probe.stderr.strip() or "failed").splitlines()[-1] if probe.returncode != 0 else ""


_WHY_NOT = _why_not()
needs_hosts = pytest.mark.skipif(bool(_WHY_NOT), reason=f"no network namespaces inside a user namespace: {_WHY_NOT}")


@pytest.fixture
def world(household, home):
    """Hosts that are added by name, and a network between them that can be cut and can lose packets."""
    del household, home  # they end after the hosts
    network = World()
    try:
        yield network
    finally:
        network.end()


class World:
    """The hosts of a test, on one network 10.7.0.0/24. The bridge is beside all hosts and has no address."""

    def __init__(self):
        self._numbers = {}
        # Without the marker: it belongs to no flow.
        self._process = start_in_session([*_UNSHARE, "sh", "-c", _FIRST_SCRIPT], dict(os.environ),
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._process.stdout.readline() == b"ready\n", self._process.communicate()
        self._first, = wait_until(lambda: children_of(self._process.pid), "the first process of the world")
        self._run("ip link add bridge0 type bridge", "ip link set bridge0 up")

    # --- hosts ----------------------------------------------------------------------------------------------------

    def add(self, *names):
        for name in names:
            self._numbers[name] = len(self._numbers) + 1
            self._run(f"ip netns add {name}",
                      f"ip link add {name} type veth peer name eth0 netns {name}",
                      f"ip link set {name} master bridge0 up",
                      f"ip -n {name} link set lo up",
                      f"ip -n {name} address add {self.address(name)}/24 dev eth0",
                      f"ip -n {name} link set eth0 up")
            self._filter(name, "add table inet world; add chain inet world in { type filter hook input priority 0; }")

    def address(self, name):
        return f"10.7.0.{self._numbers[name]}"

    def enter(self, name):
        """A step between fork and exec that puts the program on that host."""
        # The user namespace first: it gives the right to enter the other.
        paths = [f"/proc/{self._first}/ns/user", f"/proc/{self._first}/root/run/netns/{name}"]
        setns = ctypes.CDLL(None, use_errno=True).setns

        def step():
            descriptors = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths]
            for descriptor in descriptors:
                if setns(descriptor, 0) != 0:
                    raise OSError(ctypes.get_errno(), "setns")

        return step

    def have_small_receive_buffers(self, name):
        """TCP's window of that host closes after some 16 KiB that a program does not read."""
        self._run(f"ip netns exec {name} sh -c 'echo 4096 16384 16384 > /proc/sys/net/ipv4/tcp_rmem'")

    # --- the network ----------------------------------------------------------------------------------------------

    def unplug(self, *names):
        """As if the cable were pulled: nothing comes in or goes out, and nobody is told."""
        for name in names:
            self._run(f"ip link set {name} down")

    def plug(self, *names):
        for name in names:
            self._run(f"ip link set {name} up")

    def cut(self, some, others):
        """Nothing passes between these and those, either way."""
        self.cut_one_way(some, others)
        self.cut_one_way(others, some)

    def cut_one_way(self, senders, receivers):
        """What the first send does not reach the second."""
        for receiver in receivers:
            for sender in senders:
                self._filter(receiver, f"add rule inet world in ip saddr {self.address(sender)} drop")

    def accept_no_connection(self, name):
        """As behind a NAT: only what answers comes in."""
        self._filter(name, "add rule inet world in iifname eth0 tcp flags & (syn | ack) == syn drop; "
                           "add rule inet world in iifname eth0 meta l4proto udp drop")

    def refuse_connections(self, senders, receiver):
        """A firewall: what these send to open a connection does not reach it."""
        for sender in senders:
            self._filter(receiver, f"add rule inet world in ip saddr {self.address(sender)} "
                                   "tcp flags & (syn | ack) == syn drop")

    def reset_connections(self, sender, ports, receivers):
        """What `sender` says from these ports is answered by a reset: the next probe of TCP at the latest."""
        for receiver in receivers:
            for port in ports:
                self._filter(receiver, f"add rule inet world in ip saddr {self.address(sender)} tcp sport {port} "
                                       "reject with tcp reset")

    def lose(self, percent):
        """Every host loses this part of what comes in."""
        for name in self._numbers:
            self._filter(name, f"add rule inet world in iifname eth0 numgen random mod 100 < {percent} drop")

    def lose_every_other_datagram(self, name):
        """Of the UDP that comes to this host."""
        self._filter(name, "add rule inet world in iifname eth0 meta l4proto udp numgen inc mod 2 == 0 drop")

    def heal(self):
        """Every filter is taken away. Cables stay as they are."""
        for name in self._numbers:
            self._filter(name, "flush chain inet world in")

    # --- inside ---------------------------------------------------------------------------------------------------

    def _filter(self, name, rules):
        self._run(f"ip netns exec {name} nft '{rules}'")

    def _run(self, *commands):
        self._process.stdin.write(("; ".join(commands) + "\n").encode())
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], DEADLINE_SECONDS)
        assert ready, f"no answer to {commands}"
        status, _, said = self._process.stdout.readline().decode().rstrip("\n").partition(" ")
        assert status == "0", f"{commands}: {said}"

    def end(self):
        self._process.communicate(timeout=30)
