"""Who may do what: roles, dates, revocation, strangers on the port, and programs that run as another user."""

import json
import os
import random
import resource
import shutil
import signal
import socket
import ssl
import struct
import threading

import pytest

from certificates import hours, now, redate
from clusters import cluster, home, pair, promised
from files import write_script
from machine import IS_ROOT, requires_program
from processes import is_alive, let_pass, wait_until

MIB = 1 << 20
FIRST_FRAME = b"SLUI" + struct.pack(">HHBH", 1, 0, 1, 0)
ACCEPTED = b"SLUI" + struct.pack(">HHBH", 1, 0, 0, 0)


def issue(cluster, role, *options, name=None):
    path = cluster.folder / f"{name or role}.pem"
    result = cluster.household.run_sluice("cert", "issue", "--role", role, "--out", str(path), "--key",
                                          str(cluster.key), *options)
    assert result.returncode == 0, result
    assert path.stat().st_mode & 0o777 == 0o600
    return path


def reach(cluster, credentials, node="n1"):
    """The options by which a command comes to a node from elsewhere."""
    return ["--node", cluster[node].url, "--cert", str(credentials)]


def list_with(cluster, credentials):
    return cluster.household.run_sluice("nodes", *reach(cluster, credentials))


def run_with(cluster, credentials, text="@n2 echo ran"):
    return cluster.household.run_sluice("run", *reach(cluster, credentials), text)


# --- one id for one node -----------------------------------------------------------------------------------------


def test_of_two_nodes_with_one_certificate_the_earlier_ends_and_says_why(pair):
    path = str(issue(pair, "node", name="shared"))
    twins = [pair.start(name, "--cert", path, key=False, join=pair["n1"].url) for name in ("one", "other")]
    wait_until(lambda: any(node.process.poll() is not None for node in twins), "that one of them ends")
    gone, = [node for node in twins if node.process.poll() is not None]
    stays, = [node for node in twins if node is not gone]
    assert gone.process.returncode == 7
    assert "was started later under the same id" in gone.log_text() and stays.address in gone.log_text()
    pair.wait_until_all_list(["n1", "n2", stays.name], by=["n1", "n2", stays.name])


# --- roles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["read", "submit", "invoke", "worker", "agent", "gateway"])
def test_role_that_may_not_run_sees_nodes_and_runs_nothing(pair, role):
    credentials = issue(pair, role)
    assert list_with(pair, credentials).returncode == 0
    result = run_with(pair, credentials)
    assert result.outcome == (125, b"")
    assert role in result.stderr.decode() and result.stderr.count(b"\n") == 1, result
    assert pair.programs() == []


@pytest.mark.parametrize("role", ["run", "operate", "admin"])
def test_role_that_may_run_runs_on_every_node(pair, role):
    credentials = issue(pair, role)
    assert list_with(pair, credentials).returncode == 0
    for text in ("@n2 echo ran", "@n1 echo ran", "@n2 echo ran | @n1 cat | @here cat"):
        assert run_with(pair, credentials, text).outcome == (0, b"ran\n"), text


@pytest.mark.parametrize("role", ["read", "run", "node"])
def test_role_that_may_not_take_nodes_out_is_refused(pair, role):
    credentials = issue(pair, role)
    for arguments in (["leave"], ["leave", "n2"]):
        result = pair.household.run_sluice(*arguments, *reach(pair, credentials))
        assert result.returncode == 4 and role in result.stderr.decode(), result
    assert sorted(pair.list_nodes("n1")) == ["n1", "n2"]


@pytest.mark.parametrize("role", ["read", "run", "operate", "node"])
def test_role_that_may_not_revoke_is_refused(pair, role):
    credentials, other = issue(pair, role), issue(pair, "read", name="other")
    result = pair.household.run_sluice("cert", "revoke", str(other), *reach(pair, credentials))
    assert result.returncode == 4 and role in result.stderr.decode(), result
    assert list_with(pair, other).returncode == 0


@pytest.mark.parametrize("role", ["read", "run", "operate", "admin"])
def test_only_a_node_can_serve(cluster, role):
    credentials = issue(cluster, role)
    result = cluster.household.run_sluice("start", "--cert", str(credentials), "--listen", "127.0.0.1:0",
                                          "--data", str(cluster.folder / "data"))
    assert result.returncode not in (0, -signal.SIGABRT) and result.stdout == b"", result
    assert role in result.stderr.decode() and result.stderr.count(b"\n") == 1, result


def tls_context(credentials, side=ssl.PROTOCOL_TLS_CLIENT):
    """TLS as a stranger's program would speak it, with a credential file of ours and without any check of its own."""
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["sluice/1"])
    if side == ssl.PROTOCOL_TLS_CLIENT:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if credentials:
        context.load_cert_chain(credentials)
    return context


@pytest.mark.parametrize("role", ["read", "run", "admin"])
def test_client_refuses_a_server_that_has_no_certificate_of_a_node(cluster, role):
    credentials = issue(cluster, role)
    with socket.create_server(("127.0.0.1", 0)) as server:
        answered = []

        def pose():
            connection, _ = server.accept()
            try:
                with tls_context(credentials, ssl.PROTOCOL_TLS_SERVER).wrap_socket(connection, server_side=True) as tls:
                    answered.append(tls.recv(4096))
                    tls.sendall(ACCEPTED)
                    answered.append(tls.recv(4096))
            except OSError:
                pass

        thread = threading.Thread(target=pose)
        thread.start()
        result = cluster.household.run_sluice("nodes", "--key", str(cluster.key), "--node",
                                              f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert result.outcome == (4, b""), result
    assert not any(answered), "not a byte was said to it"


def test_certificate_of_a_node_is_enough_to_be_one(cluster):
    cluster.start("n1")
    credentials = issue(cluster, "node", "--name", "n2")
    cluster.start("n2", "--cert", str(credentials), join=cluster["n1"].url, key=False)
    cluster.wait_until_all_list(["n1", "n2"])
    assert cluster.run("@n2 echo ran | @n1 cat").outcome == (0, b"ran\n")


def test_audit_log_names_who_ran_and_who_was_refused(pair):
    may, may_not = issue(pair, "run", "--name", "alice", name="alice"), issue(pair, "read", "--name", "bob", name="bob")
    assert run_with(pair, may, "@n1 echo secret-word").returncode == 0
    assert run_with(pair, may_not).returncode == 125
    lines = (pair["n1"].data / "audit.log").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    seen = {(entry["who"], entry["role"], entry["allowed"]) for entry in entries if entry["method"].endswith("/Run")}
    assert {("alice", "run", True), ("bob", "read", False)} <= seen
    assert (pair["n1"].data / "audit.log").stat().st_mode & 0o077 == 0


def test_audit_log_names_what_was_changed(pair):
    def changed(method, node="n1"):
        entries = map(json.loads, (pair[node].data / "audit.log").read_text().splitlines())
        return [entry.get("object") for entry in entries if entry["method"].endswith(method)]

    household = pair.household
    started = household.run_sluice("run", *pair.at("n1"), "--background", "--name", "mine", "@n1 echo secret-word")
    flow = started.stdout.decode().strip()
    assert changed("/Run") == [{"flow": flow, "name": "mine"}]
    assert household.run_sluice("wait", *pair.at("n1"), "mine").returncode == 0
    assert household.run_sluice("stop", *pair.at("n1"), "mine").returncode == 0
    assert household.run_sluice("rm", *pair.at("n1"), flow[:8]).returncode == 0
    assert changed("/StopFlow") == [{"flow": "mine"}] and changed("/RemoveFlow") == [{"flow": flow[:8]}]
    revoked = household.run_sluice("cert", "revoke", SOME_SERIAL, *pair.at("n1"))
    assert revoked.outcome == (0, f"serial {SOME_SERIAL}  revoked\n".encode())
    assert changed("/Revoke") == [{"serial": SOME_SERIAL}]
    elsewhere = household.run_sluice("run", *pair.at("n1"), "--background", "@n2 true").stdout.decode().strip()
    assert list(changed("/Run")[1]) == ["node"] and {"flow": elsewhere} in changed("/Run", "n2")
    assert household.run_sluice("leave", "n2", *pair.at("n1")).returncode == 0
    assert changed("/Leave") == [{"node": "n2"}]
    assert "secret-word" not in (pair["n1"].data / "audit.log").read_text()


def test_refusal_says_which_roles_may(pair):
    credentials = issue(pair, "read")
    refused = pair.household.run_sluice("leave", *reach(pair, credentials))
    assert b"the role read may not call sluice.v1.Cluster/Leave; operate and admin may" in refused.stderr, refused


def test_certificate_file_is_not_overwritten(cluster):
    path = issue(cluster, "read")
    before = path.read_bytes()
    again = cluster.household.run_sluice("cert", "issue", "--role", "run", "--out", str(path), "--key", str(cluster.key))
    assert again.outcome == (7, b"") and str(path).encode() in again.stderr, again
    assert path.read_bytes() == before


def test_node_is_named_by_its_certificate(cluster):
    cluster.start("n1")
    credentials = issue(cluster, "node", "--name", "pi4")

    def name_of(data, *options):
        command = ["start", "--cert", str(credentials), "--listen", "127.0.0.1:0", "--data", str(cluster.folder / data)]
        node = cluster.household.start_sluice(*command, *options)
        url = node.stdout.readline().decode()
        node.terminate()
        log = cluster.household.finish(node).stderr.decode()
        assert "cluster key included" not in log and 'key=""' not in log and "certificate=" in log, log
        return url.rstrip("\n").rpartition("/")[2]

    assert name_of("first") == "pi4"
    assert name_of("second", "--name", "other") == "other"


# --- dates and revocation -----------------------------------------------------------------------------------------


def say_hello(node, credentials):
    """Connects as a client that checks nothing, and returns what the node answers to the first frame."""
    with socket.create_connection(node.host_and_port, timeout=30) as plain:
        try:
            with tls_context(credentials).wrap_socket(plain) as tls:
                tls.sendall(FIRST_FRAME)
                return tls.recv(4096)
        except (ssl.SSLError, ConnectionError):
            return b""


@requires_program("openssl")
@pytest.mark.parametrize("begins, ends, valid", [(-48, 1, True), (-48, -1, False), (1, 48, False)],
                         ids=["valid", "expired", "not yet valid"])
def test_dates_of_a_certificate_count(pair, begins, ends, valid):
    credentials = issue(pair, "run")
    redate(credentials, pair.key, now() + hours(begins), now() + hours(ends))
    assert say_hello(pair["n1"], credentials) == (ACCEPTED if valid else b"")
    listed, ran = list_with(pair, credentials), run_with(pair, credentials)
    if valid:
        assert listed.returncode == 0 and ran.outcome == (0, b"ran\n")
    else:
        assert listed.outcome == (4, b"") and ran.outcome == (125, b""), (listed, ran)
        assert listed.stderr.count(b"\n") == 1 and b"certificate" in listed.stderr, listed.stderr
        assert (b"`sluice cert issue`" in listed.stderr) == (ends < 0), listed.stderr


def test_stranger_is_not_answered(pair):
    assert say_hello(pair["n1"], issue(pair, "read")) == ACCEPTED
    assert say_hello(pair["n1"], None) == b""


@pytest.mark.parametrize("by", ["file", "serial"])
def test_revoked_certificate_is_refused_by_all_and_its_connections_are_closed(pair, by):
    credentials, other = issue(pair, "run"), issue(pair, "run", name="other")
    watches = [pair.watch(name, reach=reach(pair, credentials, name)) for name in ("n1", "n2")]
    unconcerned = pair.watch("n1", reach=reach(pair, other))
    # The comment of the file says what `cert issue` printed.
    serial = credentials.read_text().split("serial ")[1][:32]
    result = pair.household.run_sluice("cert", "revoke", str(credentials) if by == "file" else serial, *pair.at("n1"))
    assert result.returncode == 0, result
    for watch in watches:
        assert watch.process.wait(timeout=promised(5)) == 4
        assert "the certificate of run was revoked" in watch.errors(), watch.errors()
    for node in ("n1", "n2"):
        refused = pair.household.run_sluice("nodes", *reach(pair, credentials, node))
        assert refused.outcome == (4, b""), refused
        assert b"revoked" in refused.stderr
        assert say_hello(pair[node], credentials) == b""
        listed = pair.household.run_sluice("cert", "revoked", "--json", *pair.at(node))
        assert [json.loads(line)["serial"] for line in listed.stdout.splitlines()] == [serial], listed
    table = pair.household.run_sluice("cert", "revoked", *pair.at("n2")).stdout.decode().splitlines()
    assert table[0].split() == ["SERIAL", "REFUSED", "UNTIL"] and table[1].split()[0] == serial
    assert run_with(pair, credentials).outcome == (125, b"")
    assert unconcerned.process.poll() is None
    assert run_with(pair, other).outcome == (0, b"ran\n")


def test_revoking_ends_what_the_certificate_runs(pair):
    credentials = issue(pair, "run")
    flow = pair.start_flow("@n2 sleep 1001 | @n1 sleep 1001", *reach(pair, credentials), at=None)
    pair.wait_for_programs("sleep", "sleep")
    assert pair.household.run_sluice("cert", "revoke", str(credentials), *pair.at("n2")).returncode == 0
    ended = pair.household.finish(flow)
    assert ended.returncode == 125 and b"revoked" in ended.stderr, ended
    pair.wait_for_no_program()


def test_revocation_survives_a_restart_and_reaches_who_was_away(pair):
    credentials = issue(pair, "run")
    pair["n2"].kill()
    pair.wait_until_all_list(["n1"])
    assert pair.household.run_sluice("cert", "revoke", str(credentials), *pair.at("n1")).returncode == 0
    pair["n1"].kill()
    pair.start("n1")
    assert list_with(pair, credentials).returncode == 4
    pair.start("n2", join=pair["n1"].url)
    wait_until(lambda: pair.household.run_sluice("nodes", *reach(pair, credentials, "n2")).returncode == 4,
               "n2 has learnt of it")


def test_node_with_a_revoked_certificate_is_shut_out(cluster):
    cluster.start("n1")
    credentials = issue(cluster, "node", "--name", "n2")
    cluster.start("n2", "--cert", str(credentials), join=cluster["n1"].url, key=False)
    cluster.wait_until_all_list(["n1", "n2"])
    assert cluster.household.run_sluice("cert", "revoke", str(credentials), *cluster.at("n1")).returncode == 0
    result = cluster.household.run_sluice("run", "--node", str(cluster["n1"].socket), "@n2 echo ran")
    assert result.outcome == (125, b""), result
    result = cluster.household.run_sluice("run", "--node", str(cluster["n2"].socket), "@n1 echo ran")
    assert result.outcome == (125, b""), result


def test_credentials_that_others_may_read_are_refused(pair):
    credentials = issue(pair, "read")
    credentials.chmod(0o640)
    result = list_with(pair, credentials)
    assert result.returncode != 0 and f"chmod 600 {credentials}".encode() in result.stderr, result


SOME_SERIAL = "00112233445566778899aabbccddeeff"


def test_revocation_that_can_not_be_kept_is_an_error(cluster):
    node = cluster.start("n1")
    (node.data / "revocations").mkdir()
    refused = cluster.household.run_sluice("cert", "revoke", SOME_SERIAL, *cluster.at("n1"))
    assert refused.returncode == 1 and b"only until this node restarts" in refused.stderr, refused
    (node.data / "revocations").rmdir()
    assert cluster.household.run_sluice("cert", "revoke", SOME_SERIAL, *cluster.at("n1")).returncode == 0


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"SLUICE REVOKED\n\1half"])
def test_node_does_not_start_without_the_revocations_that_it_had(cluster, damage):
    node = cluster.start("n1")
    node.terminate()
    (node.data / "revocations").write_bytes(damage)
    (node.data / "revocations").chmod(0o600)
    again = cluster.launch("n1")
    assert again.process.wait(timeout=60) == 1
    assert "revocations: " in again.log_text() and "Put a copy back" in again.log_text()
    (node.data / "revocations").unlink()
    cluster.start("n1")


# --- another key --------------------------------------------------------------------------------------------------


def test_key_is_changed_while_the_cluster_works(cluster):
    """The steps of docs/security.md, "Changing the key": node by node, and pipelines cross them all the while."""
    old, new = cluster.key, cluster.new_key("new.key")
    names = ["n1", "n2", "n3"]
    keys = {name: cluster.new_key(f"{name}.key") for name in names}

    def restart(name):
        if name in cluster.nodes:
            assert cluster[name].terminate() == 0
        other = next((cluster[each].url for each in names if each != name and each in cluster.nodes), None)
        cluster.start(name, key=keys[name], join=other)

    def works():
        cluster.wait_until_all_list(names)
        for asked in names:
            result = cluster.run("@n1 echo whole | @n2 cat | @n3 cat", at=asked)
            assert (result.returncode, result.stdout, result.stderr) == (0, b"whole\n", b"")

    for name in names:
        keys[name].write_bytes(old.read_bytes())
        restart(name)
    for content in ([old, new], [new, old], [new]):
        for name in names:
            keys[name].write_bytes(b"".join(key.read_bytes() for key in content))
            restart(name)
            works()
    reach = ["nodes", "--node", cluster["n1"].url]
    refused = cluster.household.run_sluice(*reach, "--key", str(old))
    assert refused.returncode == 4 and b"key" in refused.stderr, refused
    assert cluster.household.run_sluice(*reach, "--key", str(new)).returncode == 0


def test_wrong_key_is_refused_by_both_sides(pair):
    other = pair.new_key("other.key")
    for verb, status in ((["nodes"], 4), (["run", "@n2 echo ran"], 125), (["leave"], 4)):
        result = pair.household.run_sluice(*verb, "--node", pair["n1"].url, "--key", str(other))
        assert result.outcome == (status, b"") and b"key" in result.stderr, result
    assert sorted(pair.list_nodes("n1")) == ["n1", "n2"]


# --- strangers on the port ----------------------------------------------------------------------------------------

MEMORY_MAX = 40 * MIB


def assert_it_serves(node, cluster):
    assert cluster.list_nodes(node.name)
    assert cluster.household.run_sluice("nodes", "--node", node.url, "--key", str(cluster.key)).returncode == 0
    assert node.resident_bytes() < MEMORY_MAX


def assert_it_lets_go(node, count):
    """It keeps no connection of a stranger beyond the time of a handshake, 5 s."""
    wait_until(lambda: node.descriptors() <= count, lambda: f"{count} descriptors; it has {node.descriptors()}",
               deadline=5 + promised(5))


@pytest.fixture
def many_descriptors():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] not in (resource.RLIM_INFINITY,) and before[1] < 4096:
        pytest.skip("no more than %d descriptors are allowed" % before[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 4096), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def garbage(chance, family):
    """What a stranger may say first. Each begins with something that a node could take seriously."""
    noise = bytes(chance.getrandbits(8) for _ in range(chance.choice([1, 9, 300, 5000])))
    heads = [b"", b"\x16\x03\x01\xff\xff\x01\x00\xff\xff", b"\x16\x03\x01\x40\x01", b"GET / HTTP/1.1\r\n", b"\x00" * 9,
             b"SSH-2.0-OpenSSH_9.2\r\n", b"\x80\x80\x01\x03\x01"]
    if family == socket.AF_UNIX:
        heads += [b"SLUI", FIRST_FRAME, FIRST_FRAME + b"\xff" * 10, b"SLUI" + struct.pack(">HHBH", 1, 0, 1, 65535),
                  FIRST_FRAME + struct.pack(">IBBI", MIB + 1, 1, 0, 1),
                  FIRST_FRAME + struct.pack(">IBBI", MIB, 2, 1, 1), b"SLUI" + struct.pack(">HHBH", 1, 0, 2, 1024)]
    return chance.choice(heads) + noise


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["port", "socket"])
def test_random_bytes_do_no_harm(cluster, chance, family):
    node = cluster.start("n1")
    before = node.descriptors()
    address = node.host_and_port if family == socket.AF_INET else str(node.socket)
    for _ in range(300):
        with socket.socket(family) as stranger:
            stranger.settimeout(30)
            stranger.connect(address)
            try:
                stranger.sendall(garbage(chance, family))
                if chance.random() < 0.5:
                    stranger.shutdown(socket.SHUT_WR)
            except OSError:  # it has closed already
                pass
    assert_it_lets_go(node, before + 2)
    assert_it_serves(node, cluster)


def test_thousand_half_open_handshakes_do_no_harm(cluster, many_descriptors):
    node = cluster.start("n1")
    before = node.descriptors()
    strangers = []
    # Half of them say nothing at all, half of them begin a handshake and stop in the middle.
    beginning = client_hello()[:-20]
    try:
        for number in range(1000):
            strangers.append(socket.create_connection(node.host_and_port, timeout=30))
            if number % 2:
                try:
                    strangers[-1].sendall(beginning)
                except OSError:  # it may refuse more
                    pass
        assert_it_serves(node, cluster)
        assert_it_lets_go(node, before + 2)
        assert_it_serves(node, cluster)
    finally:
        for stranger in strangers:
            stranger.close()


def client_hello():
    """The first flight of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_context(None).wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def test_handshakes_that_stall_after_the_first_flight_are_ended(cluster):
    node = cluster.start("n1")
    before = node.descriptors()
    strangers = [socket.create_connection(node.host_and_port, timeout=30) for _ in range(50)]
    try:
        for stranger in strangers:
            stranger.sendall(client_hello())
        for stranger in strangers:
            assert stranger.recv(5) != b"", "the server's flight"
        assert_it_serves(node, cluster)
        assert_it_lets_go(node, before + 2)
    finally:
        for stranger in strangers:
            stranger.close()


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_node_without_descriptors_waits_and_recovers(cluster):
    def limited():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    node = cluster.start("n1", before_exec=limited)
    strangers = [socket.create_connection(node.host_and_port, timeout=30) for _ in range(100)]
    try:
        used = processor_seconds(node.pid)
        let_pass(1)
        assert processor_seconds(node.pid) - used < 0.3, "it does not spin"
    finally:
        for stranger in strangers:
            stranger.close()
    wait_until(lambda: cluster.household.run_sluice("nodes", *cluster.at("n1")).returncode == 0, "it serves again")
    assert_it_serves(node, cluster)


def test_datagrams_of_strangers_do_no_harm(pair, chance):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for _ in range(2000):
            size = chance.choice([0, 1, 30, 200, 1200, 1500, 60000])
            head = chance.choice([b"", b"S\x01"])
            stranger.sendto(head + random.Random(chance.random()).randbytes(size), pair["n1"].host_and_port)
    assert_it_serves(pair["n1"], pair)
    assert sorted(pair.list_nodes("n1")) == sorted(pair.list_nodes("n2")) == ["n1", "n2"]


# --- other users of the host --------------------------------------------------------------------------------------


@pytest.mark.skipif(not IS_ROOT, reason="only root can be somebody else")
def test_socket_is_for_the_nodes_own_user(pair):
    result = pair.household.run_sluice("nodes", *pair.at("n1"), user="ordinary")
    assert result.returncode in (4, 5) and result.stdout == b"", result
    # Not even when somebody opens the folder for all.
    pair["n1"].data.chmod(0o755)
    pair["n1"].socket.chmod(0o777)
    result = pair.household.run_sluice("nodes", *pair.at("n1"), user="ordinary")
    assert result.returncode in (4, 5) and result.stdout == b"", result


@pytest.fixture
def run_as_nobody(cluster):
    if not IS_ROOT:
        pytest.skip("--run-as needs root")
    cluster.start("n1", "--run-as", "nobody")
    return cluster


def test_programs_run_as_another_user(run_as_nobody):
    result = run_as_nobody.run("@n1 { id -un; id -G; stat -c '%U %a' .; echo $HOME $USER; touch mine && echo may; }")
    assert result.returncode == 0, result
    user, groups, folder, variables, may = result.stdout.decode().splitlines()
    assert (user, folder, may) == ("nobody", "nobody 700", "may")
    assert groups.split() == ["65534"] and variables.split()[1] == "nobody"


@pytest.mark.parametrize("leaves", [True, False])
def test_folder_for_programs_of_another_user_goes_with_the_node(cluster, monkeypatch, leaves):
    if not IS_ROOT:
        pytest.skip("--run-as needs root")
    temporary = cluster.folder / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(temporary))
    node = cluster.start("n1", "--run-as", "nobody")
    assert cluster.run("@n1 { echo > file; cat file; }").returncode == 0
    assert [path.name for path in temporary.iterdir()] == ["sluice-" + cluster.list_nodes("n1")["n1"]["id"]]
    if leaves:
        assert cluster.household.run_sluice("leave", *cluster.at("n1")).returncode == 0
        assert node.process.wait(timeout=30) == 0
    else:
        assert node.terminate() == 0
    assert list(temporary.iterdir()) == []


def test_programs_of_another_user_can_not_read_the_key_or_the_nodes_state(run_as_nobody):
    node = run_as_nobody["n1"]
    for path in (run_as_nobody.key, node.data / "node.pem", node.data / "audit.log", node.data / "node.json"):
        result = run_as_nobody.run(f"@n1 cat {path}")
        assert result.returncode == 1 and result.stdout == b"", (path, result)
        assert b"Permission denied" in result.stderr
    result = run_as_nobody.run(f"@n1 {shutil.which('kill') or '/bin/kill'} -9 {node.pid}")
    assert result.returncode != 0 and is_alive(node.pid)
    script = write_script(run_as_nobody.folder / "bin/spy",
                          f"cat /proc/{node.pid}/environ /proc/$PPID/environ /proc/{node.pid}/mem\n")
    result = run_as_nobody.run(f"@n1 {script}")
    assert result.returncode != 0 and result.stdout == b"", result


def test_node_says_that_run_equals_admin_unless_programs_run_as_another(cluster):
    plain = cluster.start("n1")
    assert "`run` equals `admin`" in plain.log_text()
    if IS_ROOT:
        apart = cluster.start("n2", "--run-as", "nobody")
        assert "`run` equals `admin`" not in apart.log_text()


def test_flow_of_another_user_is_ended_as_any_other(run_as_nobody):
    flow = run_as_nobody.start_flow("@n1 { pwd; setsid -f sleep 1001 < /dev/null > /dev/null; exec sleep 1001; }")
    run_as_nobody.wait_for_programs("sleep", "sleep")
    folder = flow.stdout.readline().decode().rstrip("\n")
    assert os.path.isdir(folder)
    flow.kill()
    flow.wait(timeout=30)
    run_as_nobody.wait_for_no_program(deadline=5)
    # An empty one may be kept for the next program.
    wait_until(lambda: not os.path.exists(folder) or os.listdir(folder) == [], f"the end of {folder}")


@pytest.mark.skipif(not IS_ROOT, reason="only root can become an ordinary user")
def test_ordinary_user_can_not_run_as_another(cluster, home):
    home.chmod(0o777)
    result = cluster.household.run_sluice("start", "--run-as", "daemon", "--listen", "127.0.0.1:0", user="ordinary")
    assert result.returncode not in (0, -signal.SIGABRT) and b"root" in result.stderr, result
