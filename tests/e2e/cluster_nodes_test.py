"""One node, and finding it: its life, what it refuses, and errors that can be told apart."""

import json
import os
import signal
import socket
import struct
import threading

import pytest

from clusters import cluster, home, pair, seconds_of
from machine import IS_ROOT
from processes import children_of, is_alive, process_command, processes_below, wait_until
from settings import SLUICE

# Of the design: a client gives connecting and the handshake 3 s. The rest is for starting it on a loaded machine.
CLIENT_SECONDS = 3 + 2


# --- the life of a node -------------------------------------------------------------------------------------------


def test_first_line_is_the_url_and_nothing_else_is_on_stdout(cluster):
    node = cluster.start("first")
    assert node.url == f"sluice://{node.address}/first"
    cluster.start("second", join=node.url)
    cluster.wait_until_all_list(["first", "second"])
    assert node.output.read_text() == node.url + "\n"


def test_nodes_are_listed_with_all_fields(cluster):
    cluster.start("first", "--label", "disk=fast", "--label", "site=a")
    cluster.start("second", join=cluster["first"].url)
    cluster.wait_until_all_list(["first", "second"])
    listed = cluster.list_nodes("second")
    assert {name: entry["url"] for name, entry in listed.items()} == {
        "first": cluster["first"].url, "second": cluster["second"].url}
    assert listed["first"]["labels"] == {"disk": "fast", "site": "a"}
    assert listed["second"]["labels"] == {}
    for entry in listed.values():
        assert entry["state"] == "alive" and entry["version"]
        assert len(entry["id"]) == 32 and set(entry["id"]) <= set("0123456789abcdef")


def test_table_has_a_line_for_each_node(pair):
    result = pair.household.run_sluice("nodes", *pair.at("n2"))
    assert result.returncode == 0
    heading, *lines = result.stdout.decode().splitlines()
    assert heading.split() == ["NAME", "ID", "STATE", "URL", "LABELS"]
    assert [line.split()[0] for line in lines] == ["n1", "n2"]


def test_idle_node_needs_little_memory(cluster):
    node = cluster.start("small")
    wait_until(lambda: len(processes_below(node.pid)) == 2, "its zygote and a spawner")

    def kilobytes(pid, kind):
        lines = open(f"/proc/{pid}/smaps_rollup", encoding="ascii").read().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(kind + ":")))

    # A page that several of them share is counted once.
    assert sum(kilobytes(pid, "Pss_Anon") for pid in [node.pid, *processes_below(node.pid)]) <= 2000
    assert kilobytes(node.pid, "Rss") <= 10000, "what only coming up needed was not given back"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_id_and_name_survive_a_restart(cluster, end):
    node = cluster.start("stable")
    before = cluster.list_nodes("stable")["stable"]["id"]
    node.process.send_signal(end)
    status = node.process.wait(timeout=30)
    assert status == (-9 if end == signal.SIGKILL else 0)
    # Without --name: the name, too, is in the directory.
    cluster.household.start_sluice("start", "--data", str(node.data), "--listen", "127.0.0.1:0",
                                   "--key", str(cluster.key))
    wait_until(lambda: node.socket.exists() and
               cluster.household.run_sluice("nodes", *cluster.at("stable")).returncode == 0, "the node is back")
    assert cluster.list_nodes("stable")["stable"]["id"] == before


def test_ended_node_leaves_no_process_and_no_socket(cluster):
    node = cluster.start("brief")
    spawner = children_of(node.pid)
    assert spawner
    assert node.terminate() == 0
    wait_until(lambda: not any(is_alive(pid) for pid in spawner), "the end of the spawner")
    assert not node.socket.exists()
    cluster.household.assert_clean()


def test_killed_node_leaves_no_process(cluster):
    node = cluster.start("brief")
    below = processes_below(node.pid)
    assert below
    node.kill()
    wait_until(lambda: not any(is_alive(pid) for pid in below), "the end of the spawner")
    cluster.household.assert_clean()


def test_node_without_options_is_for_this_machine_and_needs_nothing(household, home):
    # The port is given because another node on this machine may have the usual one.
    node = household.start_sluice("start", "--listen", "127.0.0.1:0")
    assert node.stdout.readline().startswith(b"sluice://127.0.0.1:")
    folder = home / "data"
    assert folder.stat().st_mode & 0o777 == 0o700
    # No option says where it is.
    result = household.run_sluice("nodes", "--json")
    assert result.returncode == 0, result
    assert json.loads(result.stdout)["self"] is True


def test_service_manager_is_told_when_the_node_is_ready_and_when_it_stops(cluster):
    path = str(cluster.folder / "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(30)
        node = cluster.launch("told", environment={"NOTIFY_SOCKET": path})
        assert "READY=1" in manager.recv(4096).decode().splitlines()
        # Ready is ready: it answers at once.
        assert list(cluster.list_nodes("told")) == ["told"]
        node.terminate()
        words = []
        wait_until(lambda: words.extend(manager.recv(4096).decode().splitlines()) or "STOPPING=1" in words,
                   lambda: f"STOPPING=1 in {words}")


# --- what is refused ----------------------------------------------------------------------------------------------


def assert_refused(cluster, *arguments, named, status=1):
    """The node does not start; one line says why."""
    result = cluster.household.run_sluice("start", *arguments, deadline=10)
    assert result.returncode == status, result
    assert result.stdout == b""
    line = result.stderr.decode()
    assert line.startswith("sluice: start: ") and line.count("\n") == 1, line
    for word in named:
        assert word in line, line


def new_node(cluster, *options, key=None, listen="127.0.0.1:0"):
    return ["--data", str(cluster.folder / "other"), "--key", str(key or cluster.key), "--listen", listen, *options]


def test_directory_may_be_named_from_the_folder_where_the_node_is_started(cluster):
    arguments = ["start", "--data", "here", "--listen", "127.0.0.1:0", "--key", str(cluster.key)]
    node = cluster.household.start_sluice(*arguments, cwd=str(cluster.folder))
    url = node.stdout.readline().decode().strip()
    for text in ("echo ran", "@here echo ran", f"@{url.rpartition('/')[2]} echo ran"):
        socket = str(cluster.folder / "here/sluice.sock")
        assert cluster.household.run_sluice("run", "--node", socket, text).outcome == (0, b"ran\n")
    node.terminate()
    assert cluster.household.finish(node).returncode == 0


def test_second_node_on_a_directory_is_refused(cluster):
    node = cluster.start("first")
    assert_refused(cluster, "--data", str(node.data), "--key", str(cluster.key), "--listen", "127.0.0.1:0",
                   named=["another node", str(node.pid), str(node.data), "--data"])
    assert list(cluster.list_nodes("first")) == ["first"], "the first goes on"


def test_port_in_use_is_refused(cluster):
    node = cluster.start("first")
    assert_refused(cluster, *new_node(cluster, listen=node.address), named=[node.address, "in use"])


def test_port_that_is_open_for_datagrams_only_is_refused(cluster):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert_refused(cluster, *new_node(cluster, listen=address), named=[address, "in use"])


@pytest.mark.parametrize("options, named", [
    (["--interface", "nope0"], ["nope0"]),
    (["--listen", "203.0.113.1:0"], ["203.0.113.1"]),
    (["--run-as", "nobody-of-that-name"], ["nobody-of-that-name"]),
], ids=lambda value: "=".join(value) if len(value) > 1 else "")
def test_what_this_host_does_not_have_is_refused(cluster, options, named):
    arguments = new_node(cluster)
    if options[0] == "--listen":
        del arguments[-2:]
    assert_refused(cluster, *arguments, *options, named=named)


@pytest.mark.parametrize("option, value", [
    ("--listen", "127.0.0.1:99999"),
    ("--advertise", "host:port"),
    ("--name", "Upper_Case"),
    ("--name", "all"),
    ("--name", "x8"),
    ("--label", "here=1"),
    ("--label", "x8=1"),
    ("--label", "nothing"),
    ("--join", "http://127.0.0.1:1/"),
    ("--discover", "10.0.0.1:7118"),
    ("--http", "10.0.0.1:80"),
    ("--log-level", "loud"),
    ("--log-format", "yaml"),
])
def test_values_that_make_no_sense_are_refused_before_anything_is_done(cluster, option, value):
    arguments = new_node(cluster)
    if option == "--listen":
        del arguments[-2:]
    assert_refused(cluster, *arguments, option, value, named=[option, value.split("=")[0]], status=2)
    assert not (cluster.folder / "other").exists()


def test_label_with_two_values_is_refused(cluster):
    result = cluster.household.run_sluice("start", "--data", str(cluster.folder / "d"), "--label", "a=1", "--label", "a=2")
    assert result.returncode == 2 and b"--label a is given twice" in result.stderr, result


def test_key_that_others_may_read_is_refused_with_the_remedy(cluster):
    cluster.key.chmod(0o644)
    assert_refused(cluster, *new_node(cluster), named=[f"chmod 600 {cluster.key}"])


def test_key_that_is_missing_is_refused(cluster):
    assert_refused(cluster, *new_node(cluster, key=cluster.folder / "nowhere"), named=["nowhere", "No such file"])


def test_key_that_is_none_is_refused(cluster):
    other = cluster.folder / "other.key"
    other.write_text("a letter\n")
    other.chmod(0o600)
    assert_refused(cluster, *new_node(cluster, key=other), named=[str(other)])


@pytest.mark.skipif(not IS_ROOT, reason="only root can have a key that another user may not open")
def test_key_that_may_not_be_opened_is_refused(cluster):
    cluster.folder.joinpath("shelter").mkdir(mode=0o700)
    hidden = cluster.folder / "shelter/key"
    cluster.key.rename(hidden)
    result = cluster.household.run_sluice("start", *new_node(cluster, key=hidden), user="ordinary")
    assert result.returncode not in (0, -6, -11)
    assert b"Permission denied" in result.stderr and result.stderr.count(b"\n") == 1, result.stderr


def test_listening_for_other_hosts_needs_a_key(cluster):
    assert_refused(cluster, "--data", str(cluster.folder / "other"), "--listen", "0.0.0.0:0", named=["0.0.0.0", "key"])


def test_plaintext_beyond_loopback_is_refused(cluster):
    assert_refused(cluster, *new_node(cluster, "--insecure-loopback", listen="0.0.0.0:0"),
                   named=["--insecure-loopback"])


# --- finding a node: errors that can be told apart ----------------------------------------------------------------


def error_of(cluster, *arguments, status, verb="nodes"):
    """The one line that a command says when it reaches no node, and says in time."""
    results = []
    elapsed = seconds_of(lambda: results.append(cluster.household.run_sluice(verb, *arguments)))
    result, = results
    assert elapsed < CLIENT_SECONDS, elapsed
    assert result.outcome == (status, b""), result
    assert result.stderr.startswith(b"sluice: ") and result.stderr.count(b"\n") == 1, result.stderr
    return result.stderr.decode()


@pytest.fixture
def silent_listener():
    """The address of a port where connections are taken, and never a word is said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed_port():
    """An address where nobody listens: the port is held and not listened on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def test_refused_connection(cluster, closed_port):
    message = error_of(cluster, "--node", closed_port, "--key", str(cluster.key), status=5)
    assert closed_port in message and "refused" in message and "--node" in message, message


def test_silent_listener_times_out(cluster, silent_listener):
    message = error_of(cluster, "--node", silent_listener, "--key", str(cluster.key), status=6)
    assert silent_listener in message and "timed out" in message, message


def test_silent_socket_times_out(cluster):
    path = str(cluster.folder / "silent.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        message = error_of(cluster, "--node", path, status=6)
        assert path in message and "timed out" in message, message


@pytest.mark.parametrize("arguments", [("nodes", "--node", "sluice://127.0.0.1:1"),
                                       ("worker", "--role", "a", "--join", "nowhere", "--", "cat")])
def test_without_a_key_nobody_is_asked(household, home, arguments):
    said = household.refusal(*arguments, status=4)
    assert "no key and no certificate to show to the node at" in said and "--key" in said and "--cert" in said, said


def test_wrong_key(cluster):
    node = cluster.start("first")
    message = error_of(cluster, "--node", node.url, "--key", str(cluster.new_key("other.key")), status=4)
    assert node.address in message and "key" in message, message


def answer_with_version(server, major):
    """Takes one connection, and answers its first frame as a node of another version does."""
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        why = b"I speak another protocol"
        connection.sendall(b"SLUI" + struct.pack(">HHBH", major, 0, 1, len(why)) + why)
        connection.recv(4096)


@pytest.mark.parametrize("major", [0, 2, 65535])
def test_wrong_version(cluster, major):
    path = str(cluster.folder / "foreign.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.settimeout(30)
        thread = threading.Thread(target=answer_with_version, args=(server, major))
        thread.start()
        message = error_of(cluster, "--node", path, status=8)
        thread.join()
    assert path in message and "version" in message, message


def test_old_client_is_told_the_version_of_the_node(cluster):
    node = cluster.start("first")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(node.socket))
        client.sendall(b"SLUI" + struct.pack(">HHBH", 9, 0, 1, 0))
        answer = b""
        while piece := client.recv(4096):
            answer += piece
    magic, major, _, status, length = struct.unpack(">4sHHBH", answer[:11])
    assert (magic, major, status, length) == (b"SLUI", 1, 1, len(answer) - 11)


def test_listener_that_is_no_node(cluster):
    with socket.create_server(("127.0.0.1", 0)) as server:
        def greet():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 mail.example ESMTP\r\n")
                connection.recv(4096)

        thread = threading.Thread(target=greet)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        result = cluster.household.run_sluice("nodes", "--node", address, "--key", str(cluster.key))
        thread.join()
    assert result.returncode in (5, 8), result
    assert address in result.stderr.decode() and result.stderr.count(b"\n") == 1, result.stderr


def test_no_node_at_all_says_what_was_tried(cluster, home):
    message = error_of(cluster, status=5)
    assert str(home / "data/sluice.sock") in message and "sluice start" in message, message


def test_leave_says_that_there_is_no_node(cluster, home):
    message = error_of(cluster, verb="leave", status=5)
    assert str(home / "data/sluice.sock") in message, message


def test_run_says_that_no_node_is_known(cluster):
    message = error_of(cluster, "@n2 cat", verb="run", status=125)
    assert "@n2" in message and "no node is known" in message, message


def test_name_that_does_not_resolve(cluster):
    message = error_of(cluster, "--node", "no-such-host.invalid:7117", "--key", str(cluster.key), status=5)
    assert "no-such-host.invalid" in message, message


def test_unusable_addresses_are_refused(cluster):
    for address in ["127.0.0.1:port", "sluice://:1", ":::", "127.0.0.1:0x1"]:
        result = cluster.household.run_sluice("nodes", "--node", address, "--key", str(cluster.key))
        assert result.returncode in (1, 2, 5), (address, result)
        assert address.removeprefix("sluice://").encode() in result.stderr and result.stderr.count(b"\n") == 1, result.stderr


def test_variable_names_the_node_and_the_option_wins(cluster, closed_port):
    node = cluster.start("first")
    variables = {"SLUICE_NODE": node.url, "SLUICE_KEY": str(cluster.key)}
    result = cluster.household.run_sluice("nodes", "--json", environment=variables)
    assert result.returncode == 0 and json.loads(result.stdout)["name"] == "first", result
    result = cluster.household.run_sluice("nodes", "--node", closed_port, environment=variables)
    assert result.returncode == 5


def test_context_names_the_node(pair, home):
    household = pair.household
    for name in ("n1", "n2"):
        added = household.run_sluice("context", "add", name, "--node", pair[name].url, "--key", str(pair.key))
        assert added.returncode == 0, added

    def who_answers():
        result = household.run_sluice("nodes", "--json")
        assert result.returncode == 0, result
        return [entry["name"] for entry in map(json.loads, result.stdout.splitlines()) if entry["self"]]

    for name in ("n2", "n1"):
        assert household.run_sluice("context", "use", name).returncode == 0
        assert who_answers() == [name]
    assert household.run_sluice("context", "use", "n3").returncode == 3
    assert household.run_sluice("context", "rm", "n1").returncode == 0
    assert b"n1" not in household.run_sluice("context", "ls").stdout
    assert household.run_sluice("nodes").returncode == 5, "another one does not take its place by itself"


def test_context_is_checked_and_says_what_it_replaces(cluster, home):
    household = cluster.household

    def add(*options):
        return household.run_sluice("context", "add", "rack", "--node", "127.0.0.1:7117", *options)

    missing = home / "nosuch.key"
    for option in ("--key", "--cert"):
        refused = add(option, str(missing))
        assert refused.outcome == (4, b"") and str(missing).encode() in refused.stderr, refused
    assert not (home / "config/sluice/contexts.json").exists()
    assert add("--key", str(cluster.key)).stderr == b""
    again = add("--key", os.path.relpath(cluster.key, cluster.folder))
    assert again.returncode == 0 and b"replaced" in again.stderr, again
    assert json.loads((home / "config/sluice/contexts.json").read_text())["contexts"]["rack"]["key"] == str(cluster.key)


# --- init and keygen ----------------------------------------------------------------------------------------------


def test_keygen_overwrites_nothing(cluster):
    before = cluster.key.read_text()
    assert cluster.key.stat().st_mode & 0o777 == 0o600
    result = cluster.household.run_sluice("keygen", str(cluster.key))
    assert result.returncode in (1, 7) and str(cluster.key).encode() in result.stderr, result
    assert cluster.key.read_text() == before


def test_init_writes_a_key_where_start_finds_it(household, home):
    # Not as root, whose key would be that of the whole machine.
    home.chmod(0o777)
    result = household.run_sluice("init", "--listen", "10.0.0.5:7117", user="ordinary")
    assert result.returncode == 0, result
    keys = [path for path in home.rglob("*.key")]
    assert len(keys) == 1 and keys[0].stat().st_mode & 0o777 == 0o600
    assert str(keys[0]).encode() in result.stdout, "the line that copies it"
    assert b"sluice start" in result.stdout and b"--join" in result.stdout
    node = household.start_sluice("start", "--listen", "0.0.0.0:0", user="ordinary")
    assert node.stdout.readline().startswith(b"sluice://")
    key = keys[0].read_text()
    again = household.run_sluice("init", "--listen", "10.0.0.5:7117", user="ordinary")
    assert len(list(home.rglob("*.key"))) == 1 and keys[0].read_text() == key and b"sluice-key" not in again.stdout
    assert again.returncode == 0 and again.stdout.partition(b"\n\n")[2] == result.stdout.partition(b"\n\n")[2], again


@pytest.mark.parametrize("listen", ["foo", "db1.example:7117", "10.0.0.5:0", "10.0.0.5:x"])
def test_init_refuses_what_start_would_before_it_writes_a_key(household, home, listen):
    result = household.run_sluice("init", "--listen", listen)
    assert result.outcome == (2, b"") and result.stderr.count(b"\n") == 1, result
    assert list(home.rglob("*.key")) == []


def test_init_on_loopback_prints_no_line_that_other_hosts_could_not_use(household, home):
    result = household.run_sluice("init", "--listen", "127.0.0.1:17117")
    assert result.returncode == 0 and b"sluice start --listen 127.0.0.1:17117" in result.stdout, result
    assert b"sluice://127" not in result.stdout and b"of this host alone" in result.stdout


# --- a cluster in one terminal ------------------------------------------------------------------------------------


def start_dev(household, *options):
    process = household.start_sluice("dev", *options)
    lines = []
    while not any("Ctrl-C" in line for line in lines):
        line = process.stdout.readline().decode()
        assert line, household.finish(process)
        lines.append(line)
    wait_until(lambda: handles_signal(process.pid, signal.SIGINT), "that it takes signals")
    return process, lines


def handles_signal(pid, number):
    """The process has said what a signal shall do: it blocks it, to read it from a descriptor, or catches it."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        masks = dict(line.split(":\t") for line in file if line.startswith(("SigBlk", "SigCgt")))
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks.values())


def names_of_nodes(household):
    result = household.run_sluice("nodes", "--json")
    return sorted(json.loads(line)["name"] for line in result.stdout.splitlines())


def temporary_folders(home):
    return sorted(path.name for path in (home / "tmp").iterdir())


@pytest.fixture
def own_temporary_folder(home, monkeypatch):
    (home / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(home / "tmp"))
    return home / "tmp"


def contexts(home):
    """What the user's contexts file says, without its layout."""
    path = home / "config/sluice/contexts.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    return {key: value for key, value in stored.items() if value}


def test_dev_is_found_without_options_and_leaves_nothing(household, home, own_temporary_folder):
    process, lines = start_dev(household)
    assert [line.split()[0] for line in lines[:3]] == ["n1", "n2", "n3"]
    wait_until(lambda: names_of_nodes(household) == ["n1", "n2", "n3"], "three nodes")
    result = household.run_sluice("run", "seq 1000 | @n2 sort -rn | @n3 head -1")
    assert result.outcome == (0, b"1000\n"), result
    process.send_signal(signal.SIGINT)
    household.finish(process)
    assert process.returncode in (0, 130, -2)
    household.assert_clean()
    assert list(own_temporary_folder.iterdir()) == []
    assert household.run_sluice("nodes").returncode == 5
    assert contexts(home) == {}


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
def test_dev_leaves_nothing_when_it_is_told_to_end(household, home, own_temporary_folder, sign):
    process, _ = start_dev(household, "--nodes", "2")
    process.send_signal(sign)
    household.finish(process)
    household.assert_clean()
    assert list(own_temporary_folder.iterdir()) == []


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_dev_leaves_nothing_when_it_is_told_to_end_while_it_starts(household, home, own_temporary_folder, sign):
    process = household.start_sluice("dev", "--nodes", "20")
    wait_until(lambda: list(own_temporary_folder.glob("*/n1/sluice.sock")), "the first node")
    process.send_signal(sign)
    household.finish(process)
    household.assert_clean()
    assert list(own_temporary_folder.iterdir()) == []


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_dev_ends_the_flows_in_the_background(household, home, own_temporary_folder, sign):
    process, _ = start_dev(household, "--nodes", "2")
    wait_until(lambda: names_of_nodes(household) == ["n1", "n2"], "two nodes")
    told, deaf = home / "told", home / "deaf"
    orderly = f"trap 'echo > {told}; exit' TERM; echo > {deaf}.1; while :; do sleep 0.1; done"
    for text in (f"@n1 {{ {orderly}; }}", f"@n2 {{ trap '' TERM; echo > {deaf}.2; sleep 1010; }}"):
        assert household.run_sluice("run", "--background", text).returncode == 0
    wait_until(lambda: all((home / f"deaf.{number}").exists() for number in (1, 2)), "both run")
    process.send_signal(sign)
    household.finish(process)
    household.assert_clean()
    assert told.exists(), "it had its grace"
    assert list(own_temporary_folder.iterdir()) == []


def test_dev_gives_back_the_context_that_was_there(household, home, closed_port, own_temporary_folder):
    added = household.run_sluice("context", "add", "mine", "--node", closed_port, "--use")
    assert added.returncode == 0, added
    before = contexts(home)
    process, _ = start_dev(household, "--nodes", "1")
    assert names_of_nodes(household) == ["n1"]
    process.send_signal(signal.SIGINT)
    household.finish(process)
    assert contexts(home) == before


@pytest.mark.parametrize("first_to_end", ["the first", "the second"])
def test_dev_gives_back_the_context_of_another_that_still_runs(household, home, own_temporary_folder, first_to_end):
    first, _ = start_dev(household, "--nodes", "1")
    of_first = contexts(home)
    second, _ = start_dev(household, "--nodes", "2")
    of_second = contexts(home)
    ends, stays, expected = (first, second, of_second) if first_to_end == "the first" else (second, first, of_first)
    ends.send_signal(signal.SIGINT)
    household.finish(ends)
    assert contexts(home) == expected
    assert "n1" in names_of_nodes(household)
    stays.send_signal(signal.SIGINT)
    household.finish(stays)
    assert contexts(home) == {}


def test_killed_dev_leaves_no_process(household, home, own_temporary_folder):
    process, _ = start_dev(household, "--nodes", "2")
    process.kill()
    household.finish(process)
    household.assert_clean()


def test_dev_tells_when_a_node_dies(household, home, own_temporary_folder):
    process, _ = start_dev(household, "--nodes", "3")
    wait_until(lambda: names_of_nodes(household) == ["n1", "n2", "n3"], "three nodes")
    victim, = [pid for pid in children_of(process.pid) if "--name n2" in process_command(pid)]
    os.kill(victim, signal.SIGKILL)
    lines = []
    while not any(line.startswith(b"n2 has ended") for line in lines):
        lines.append(process.stdout.readline())
        assert lines[-1], lines
    wait_until(lambda: names_of_nodes(household) == ["n1", "n3"], "the cluster goes on without it")
    process.send_signal(signal.SIGINT)
    household.finish(process)
    household.assert_clean()
    assert list(own_temporary_folder.iterdir()) == []


def test_dev_waits_for_a_node_that_died(household, home, own_temporary_folder):
    process, _ = start_dev(household, "--nodes", "2")
    victim = max(children_of(process.pid))
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in children_of(process.pid), "the dead node is waited for", deadline=5)


def test_demo_of_make_run_ends_and_leaves_nothing(household):
    script = os.path.join(os.path.dirname(__file__), "..", "..", "scripts", "demo.sh")
    result = household.run([script, SLUICE], deadline=60)
    assert (result.returncode, result.stderr) == (0, b""), result
    assert result.stdout.count(b"345 the") == 2 or b"LICENSE" in result.stdout
    wait_until(lambda: household.left() == [], "the end of all processes")
