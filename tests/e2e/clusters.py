"""Clusters of real nodes on this host: starting nodes, asking them, running flows over them, and ending everything.

A cluster belongs to one test. Its key, its nodes' directories and all that commands would otherwise find in the user's
folders lie in the test's own folder. A node's processes carry the test's marker; so do the programs of its flows,
because `run` hands it on by --env, whereas a stage on a node has nothing of the caller's environment.
"""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from processes import (DEADLINE_SECONDS, MARKER_VARIABLE, children_of, describe_processes, find_processes_by_marker,
                       is_alive, process_name, wait_until)
from settings import SLUICE

_URL = re.compile(r"sluice://(?P<address>\S+:(?P<port>\d+))/(?P<name>[a-z0-9-]+)\n")

# What the tests themselves read; everything else of the caller's settings is taken away.
_OWN_VARIABLES = {"SLUICE_BINARY", "SLUICE_SEED", "SLUICE_SOAK"}


# --- a world of its own for each test -----------------------------------------------------------------------------


@pytest.fixture
def home(household, monkeypatch):
    """The folder where commands of this test find their home, configuration and state, and no other setting."""
    for name in list(os.environ):
        if name.startswith("SLUICE_") and name not in _OWN_VARIABLES:
            monkeypatch.delenv(name)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    folder = household.folder / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.setenv("SLUICE_SYSTEM_CONFIG_DIR", str(folder / "system"))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    # Root's state is in /var/lib, whatever its home.
    monkeypatch.setenv("SLUICE_DATA", str(folder / "data"))
    return folder


@pytest.fixture
def cluster(household, home, marker):
    """A cluster that has a key and no node yet."""
    nodes = Cluster(household, marker)
    try:
        yield nodes
    finally:
        nodes.end()


@pytest.fixture
def pair(cluster):
    """A cluster of the nodes n1 and n2, which know each other; commands ask n1."""
    return cluster.grow_to(2)


@pytest.fixture
def trio(cluster):
    """A cluster of the nodes n1, n2 and n3, which know each other; commands ask n1."""
    return cluster.grow_to(3)


# --- one node -----------------------------------------------------------------------------------------------------


class Node:
    """A running `sluice start`."""

    def __init__(self, name, process, output, log, data):
        self.name = name
        self.process = process
        self.output = output
        self.log = log
        self.data = data
        self.url = None

    @property
    def pid(self):
        return self.process.pid

    @property
    def address(self):
        return _URL.fullmatch(self.url + "\n")["address"]

    @property
    def host_and_port(self):
        host, _, port = self.address.rpartition(":")
        return host, int(port)

    @property
    def socket(self):
        return self.data / "sluice.sock"

    def wait_until_ready(self, deadline=DEADLINE_SECONDS):
        """Waits for the line that says where it listens, which is the first one on stdout."""

        def first_line():
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}: {self.log_text()}"
            line, newline, _ = self.output.read_text().partition("\n")
            return line + newline if newline else None

        line = wait_until(first_line, lambda: f"the URL of {self.name}; its log: {self.log_text()}", deadline)
        assert _URL.fullmatch(line), line
        self.url = line.rstrip("\n")
        return self

    def log_text(self):
        return self.log.read_text(errors="replace")

    def kill(self):
        """Ends the daemon suddenly. Its spawner ends what it had started."""
        self.process.kill()
        self.process.wait(timeout=DEADLINE_SECONDS)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=DEADLINE_SECONDS)

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def anonymous_bytes(self):
        """What it holds itself, for growth: pages of its binary and libraries come back by and by as they are used."""
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as file:
            _, resident, of_files, *_ = map(int, file.read().split())
        return (resident - of_files) * os.sysconf("SC_PAGE_SIZE")


# --- a cluster ----------------------------------------------------------------------------------------------------


class Cluster:
    """The nodes of a test, and the commands that ask them."""

    def __init__(self, household, marker):
        self.household = household
        self.folder = household.folder
        self.nodes = {}
        self.user = "root"  # who starts the nodes, and asks them; see Household.start
        self._marker = marker
        self._watches = []
        self.key = self.new_key("cluster.key")

    def __getitem__(self, name):
        return self.nodes[name]

    def new_key(self, name):
        path = self.folder / name
        result = self.household.run_sluice("keygen", str(path))
        assert result.returncode == 0, result
        return path

    # --- nodes ----------------------------------------------------------------------------------------------------

    def launch(self, name, *options, join=None, key=None, listen="127.0.0.1:0", prefix=(), **settings):
        """Starts a node and does not wait for it. Its data directory is the same when it is started again."""
        data = self.folder / f"{name}-data"
        output, log = self.folder / f"{name}.out", self.folder / f"{name}.log"
        arguments = [*prefix, SLUICE, "start", "--data", str(data), "--name", name]
        arguments += ["--listen", listen] if listen else []
        arguments += ["--key", str(key or self.key)] if key is not False else []
        arguments += ["--join", join] if join else []
        settings.setdefault("user", self.user)
        with open(output, "wb") as stdout, open(log, "ab") as stderr:
            process = self.household.start([*arguments, *options], stdout=stdout, stderr=stderr, **settings)
        self.nodes[name] = Node(name, process, output, log, data)
        return self.nodes[name]

    def start(self, name, *options, **settings):
        """Starts a node and waits until it says that it is ready."""
        return self.launch(name, *options, **settings).wait_until_ready()

    def grow_to(self, count, *options):
        """Has the nodes n1, n2 and so on, joined through n1, and waits until each knows all of them."""
        missing = [f"n{number}" for number in range(1, count + 1) if f"n{number}" not in self.nodes]
        if "n1" in missing:
            missing.remove("n1")
            self.start("n1", *options)
        started = [self.launch(name, *options, join=self["n1"].url) for name in missing]
        for node in started:
            node.wait_until_ready()
        self.wait_until_all_list(self.nodes)
        return self

    # --- what nodes know ------------------------------------------------------------------------------------------

    def at(self, node):
        """The options by which a command asks this node, through its socket."""
        return ["--node", str(self[node].socket)]

    def list_nodes(self, by="n1", *options, **settings):
        """What a node tells of all nodes, by their names."""
        settings.setdefault("user", self.user)
        result = self.household.run_sluice("nodes", "--json", *self.at(by), *options, **settings)
        assert (result.returncode, result.stderr) == (0, b""), result
        return {entry["name"]: entry for entry in map(json.loads, result.stdout.splitlines())}

    def states(self, by="n1"):
        """The states of all nodes, those that are gone included, as a node sees them."""
        return {name: entry["state"] for name, entry in self.list_nodes(by, "--all").items()}

    def those_who_list_others_than(self, names, by=None):
        """Which nodes list others than these alive, and whom. None, if all agree."""
        wanted = set(names)
        wrong = {}
        for node in by or names:
            alive = {name for name, entry in self.list_nodes(node).items() if entry["state"] == "alive"}
            if alive != wanted:
                wrong[node] = f"lacks {sorted(wanted - alive)}, has {sorted(alive - wanted)}"
        return wrong

    def wait_until_all_list(self, names, by=None, deadline=DEADLINE_SECONDS):
        """Waits until each of these nodes (or of `by`) lists exactly these as alive."""
        names = list(names)
        pending = list(by or names)  # those that have not been seen right yet: asking thirty nodes takes a while

        def settled():
            while pending:
                if self.those_who_list_others_than(names, pending[-1:]):
                    return False
                pending.pop()
            return True

        wait_until(settled, lambda: f"all know the same: {self.those_who_list_others_than(names, pending)}", deadline)

    def watch(self, by="n1", reach=None):
        """Follows what a node tells of changes."""
        self._watches.append(Watch(self.household, reach or self.at(by), len(self._watches)))
        return self._watches[-1].wait_until_it_follows()

    # --- flows ----------------------------------------------------------------------------------------------------

    def start_flow(self, text, *options, at="n1", **settings):
        """Starts `sluice run`. Its programs can be told by the marker, those on nodes too."""
        reach = self.at(at) if at else []
        marked = ["--env", f"{MARKER_VARIABLE}={self._marker}"]
        settings.setdefault("user", self.user)
        return self.household.start_sluice("run", *reach, *marked, *options, text, **settings)

    def run(self, text, *options, at="n1", input=None, deadline=DEADLINE_SECONDS, **settings):
        if input is not None:
            settings["stdin"] = subprocess.PIPE
        return self.household.finish(self.start_flow(text, *options, at=at, **settings), input, deadline)

    def programs(self, name=None):
        """The programs that flows run now, on all nodes and here."""
        own = self.household.left()
        return [pid for pid in own if not process_name(pid).startswith("sluice") and
                (name is None or process_name(pid) == name)]

    def wait_for_programs(self, *names):
        """Waits until the flows run at least these programs, and returns their numbers in this order."""

        def all_there():
            there = {name: self.programs(name) for name in set(names)}
            return all(len(there[name]) >= names.count(name) for name in there) and there

        there = wait_until(all_there, lambda: f"{names}; there are {describe_processes(self.programs())}")
        return [there[name].pop(0) for name in names]

    def wait_for_no_program(self, deadline=DEADLINE_SECONDS):
        """Waits until no flow has any process left, on any node or here."""
        wait_until(lambda: not self.programs(), lambda: f"no program left: {describe_processes(self.programs())}",
                   deadline)

    # --- the end --------------------------------------------------------------------------------------------------

    def end(self):
        """Ends every node, and says what each logged last; the household then ends everything else."""
        for node in self.nodes.values():
            print(f"--- the log of {node.name} ends with")
            print("\n".join(node.log_text().splitlines()[-15:]))
            if node.process.poll() is None:
                node.process.kill()
                node.process.wait(timeout=DEADLINE_SECONDS)
        # Programs that a node started have no marker if their environment was the test's subject; when its spawner is
        # gone they become our children.
        mine = set(find_processes_by_marker(self._marker))
        for pid in children_of(os.getpid()):
            if pid not in mine and is_alive(pid) and process_name(pid) != "python3":
                _kill_child(pid)


def _kill_child(pid):
    try:
        os.kill(pid, signal.SIGKILL)  # a child that nobody has waited for: the number is still its own
    except ProcessLookupError:
        pass


# --- following changes --------------------------------------------------------------------------------------------


class Watch:
    """A running `sluice nodes --watch --json`."""

    def __init__(self, household, options, number):
        self._output = household.folder / f"watch{number}.out"
        self._errors = household.folder / f"watch{number}.err"
        with open(self._output, "wb") as stdout, open(self._errors, "wb") as stderr:
            self.process = household.start_sluice("nodes", "--watch", "--json", *options, stdout=stdout, stderr=stderr)

    def wait_until_it_follows(self):
        wait_until(self.events, lambda: f"the first lines of a watch: {self.errors()}")
        return self

    def errors(self):
        return self._errors.read_text()

    def events(self):
        """Pairs of event and node's name, in order."""
        whole_lines = self._output.read_text().rpartition("\n")[0]
        return [(entry["event"], entry["node"]["name"]) for entry in map(json.loads, whole_lines.splitlines())]

    def wait_for(self, event, name, deadline=DEADLINE_SECONDS):
        wait_until(lambda: (event, name) in self.events(), lambda: f"{event} {name} in {self.events()}", deadline)


def promised(seconds):
    """A time that the design promises, for a machine that has a processor to spare: more where many wait for one."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def seconds_of(action):
    """How long it takes to do something."""
    begin = time.monotonic()
    action()
    return time.monotonic() - begin
