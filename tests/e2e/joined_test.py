"""Workers that are linked with the C++ library and join flows by themselves (include/sluice/joined_worker.h): the example with
look-ups that are started by hand, what becomes of their records when they or their node are lost, and that the library
leaves the program that it is in alone."""

import os
import pathlib
import signal
import subprocess

import pytest

from certificates import hours, now, redate
from cluster_trust_test import issue
from clusters import cluster, home, pair
from hosts import needs_hosts, world
from processes import is_alive, let_pass, wait_until
from roles_test import Flow
from settings import SLUICE
from worker_test import assert_every_user_is_there_once, example_programs, users
from workers import ROOT, USERS, ByHand

ARCHIVE = pathlib.Path(SLUICE).parent / "libsluice_worker.a"
LIBRARIES = ["-lprotobuf-lite", "-lssl", "-lcrypto", "-pthread"]

pytestmark = pytest.mark.skipif(not ARCHIVE.exists(), reason="libsluice_worker.a is not built")


@pytest.fixture(scope="session")
def joined_programs(tmp_path_factory):
    """The look-up of the example and the worker of these tests, compiled as a user would."""
    folder = tmp_path_factory.mktemp("joined")
    flags = [f"-I{ROOT}/include", str(ARCHIVE), *LIBRARIES]
    subprocess.run(["make", "-s", "-C", USERS / "cpp", "joined", f"OUT={folder}", "CXXFLAGS=-O1", f"JOINED={' '.join(flags)}"],
                   check=True)
    subprocess.run(["g++", "-std=c++17", "-O1", ROOT / "tests/e2e/joined_worker.cc", *flags, "-o", folder / "worker"], check=True)
    return folder


class Joined(ByHand):
    """A program that was started by hand, and what it says."""

    count = 0

    def __init__(self, cluster, command, **options):
        Joined.count += 1
        self.log = cluster.folder / f"joined-{Joined.count}.log"
        with open(self.log, "wb") as stderr:
            self.process = cluster.household.start(command, stdout=stderr, stderr=stderr, **options)

    def ends(self, status):
        assert self.process.wait(timeout=60) == status, self.said()
        return self

    def leave(self, status=0):
        self.process.send_signal(signal.SIGTERM)
        return self.ends(status)


@pytest.fixture
def join(pair, joined_programs):
    """Starts the worker of these tests at n1, with a certificate of the role `worker`, from a folder without a key."""
    certificate = issue(pair, "worker")
    elsewhere = pair.folder / "elsewhere"
    elsewhere.mkdir()

    def start(*modes, who="anna", node=None, certificate=certificate, **variables):
        return Joined(pair, [joined_programs / "worker", pair["n1"].url if node is None else node, certificate, *modes],
                      cwd=elsewhere, environment={"WHO": who, "SLUICE_DATA": str(elsewhere), "HOME": str(elsewhere), **variables})

    start.folder = elsewhere
    return start


# --- the example --------------------------------------------------------------------------------------------------


@pytest.fixture
def look_up(pair, users, joined_programs):
    """Starts a look-up: `facebook` by TLS, with a certificate that is good for nothing else; `twitter` at the socket of n2."""
    certificate = issue(pair, "worker")

    def start(network, seconds=0.02):
        here = {"facebook": ([pair["n1"].url, certificate], {"SLUICE_DATA": str(pair.folder / "nothing")}),
                "twitter": ([], {"SLUICE_DATA": str(pair["n2"].data)})}
        arguments, variables = here[network]
        return Joined(pair, [joined_programs / "joined-lookup", network, *arguments],
                      environment={"HOME": str(pair.folder / "nowhere"), "LOOKUP_SECONDS": str(seconds), **variables})

    return start


def start_example(pair):
    with open(pair.folder / "errors", "wb") as errors:
        return pair.household.start_sluice("run", *pair.at("n1"), "cpp-joined.flow.yaml", stderr=errors)


def assert_example_ends_well(pair, process):
    assert process.wait(timeout=120) == 0, (pair.folder / "errors").read_text()
    assert_every_user_is_there_once(pair.household)


def test_the_example_with_look_ups_that_join(pair, look_up):
    hands = [look_up(network).waits() for network in ("facebook", "twitter")]
    assert_example_ends_well(pair, start_example(pair))
    for hand in hands:
        hand.wait_until_it_says("done with that flow").waits(2).leave()
        assert "lost" not in hand.said()


@needs_hosts
def test_look_ups_on_hosts_of_their_own_join_the_nodes_of_others(cluster, world, users, joined_programs):
    world.add("n1", "n2", "third", "fourth")
    for name in ("n1", "n2"):
        join = cluster["n1"].url if name == "n2" else None
        cluster.start(name, listen=f"{world.address(name)}:7117", join=join, before_exec=world.enter(name))
    certificate = issue(cluster, "worker")
    hands = [Joined(cluster, [joined_programs / "joined-lookup", network, cluster[node].url, certificate],
                    before_exec=world.enter(host)).waits()
             for network, node, host in (("facebook", "n1", "third"), ("twitter", "n2", "fourth"))]
    process = cluster.household.start_sluice("run", *cluster.at("n1"), "cpp-joined.flow.yaml", before_exec=world.enter("n1"))
    result = cluster.household.finish(process, deadline=90)
    assert result.returncode == 0, result
    assert_every_user_is_there_once(cluster.household)
    for hand in hands:
        hand.leave()


def test_kills_of_look_ups_that_join_lose_no_user(pair, look_up, chance):
    hands = {network: [look_up(network, 0.1) for _ in range(2)] for network in ("facebook", "twitter")}
    process = start_example(pair)
    kills = 0
    while kills < 12 and process.poll() is None:
        # Not one after the other: whatever is with four workers that end is condemned.
        let_pass(0.2 + chance.random() * 0.3)
        network = chance.choice(list(hands))
        victim = hands[network].pop(0)
        victim.process.kill()
        victim.process.wait(timeout=60)
        hands[network].append(look_up(network, 0.1))
        kills += 1
    assert kills == 12, "it was over before"
    assert_example_ends_well(pair, process)


def test_look_ups_that_join_leave_and_come_back(pair, look_up):
    hands = [look_up("facebook"), look_up("twitter")]
    process = start_example(pair)
    for hand in hands:
        hand.serves().leave()
        assert "finishing what it has" in hand.said()
    for network in ("facebook", "twitter"):
        look_up(network).serves()
    assert_example_ends_well(pair, process)


# The flow's own node is n1; n2 is only where a look-up waits.
def test_look_up_finds_its_node_again_when_that_was_restarted(pair, look_up):
    facebook, twitter = look_up("facebook"), look_up("twitter")
    process = start_example(pair)
    twitter.serves()
    port = pair["n2"].host_and_port[1]
    pair["n2"].kill()
    twitter.wait_until_it_says("lost the node")
    pair.start("n2", join=pair["n1"].url, listen=f"127.0.0.1:{port}")
    twitter.serves(2)
    assert_example_ends_well(pair, process)
    assert "lost" not in facebook.said()


# --- what is installed --------------------------------------------------------------------------------------------

HEADERS = "asio/", "boost/", "google/", "openssl/", "fmt/"


# It can be moved to another place: a package is made in a folder that is not its own.
def test_installed_library_is_found_by_pkg_config_and_brings_no_header_but_its_own(pair, users):
    tree, prefix = ARCHIVE.parent, pair.folder / "moved"
    subprocess.run(["cmake", "--install", tree, "--prefix", pair.folder / "installed"], check=True, stdout=subprocess.DEVNULL)
    (pair.folder / "installed").rename(prefix)
    (file,) = prefix.rglob("sluice-worker.pc")
    environment = {**os.environ, "PKG_CONFIG_PATH": str(file.parent)}
    subprocess.run(["make", "-s", "-C", USERS / "cpp", "joined", f"OUT={pair.folder}", "CXXFLAGS=-O1 -Wall -Wextra -Wpedantic -Werror"],
                   check=True, env=environment)
    hand = Joined(pair, [pair.folder / "joined-lookup", "facebook", str(pair["n1"].socket)]).waits()
    hand.leave()
    flags = subprocess.run(["pkg-config", "--cflags", "sluice-worker"], check=True, env=environment, capture_output=True, text=True)
    included = subprocess.run(["g++", "-std=c++17", "-M", "-x", "c++", "-", *flags.stdout.split()], check=True, text=True,
                              input="#include <sluice/joined_worker.h>", capture_output=True).stdout
    assert str(prefix) in included
    assert not [name for name in HEADERS if name in included], included


# --- who may, and what it is told ---------------------------------------------------------------------------------


def test_what_is_wrong_is_said_and_has_its_status(pair, join):
    stranger = pair.new_key("other.key")
    other = pair.folder / "other.pem"
    assert pair.household.run_sluice("cert", "issue", "--role", "worker", "--out", str(other), "--key", str(stranger)).returncode == 0
    expired = issue(pair, "worker", name="expired")
    redate(expired, pair.key, now() - hours(48), now() - hours(24))
    wrong = [
        (dict(certificate=issue(pair, "read")), 4, "may not call sluice.v1.Roles/Serve"),
        (dict(certificate=other), 4, "wrong key"),
        (dict(certificate=expired), 4, "expired"),
        (dict(certificate=pair.folder / "none.pem"), 4, "none.pem"),
        (dict(certificate=""), 4, "JoinOptions::certificate"),
        (dict(node="nowhere:port"), 2, "JoinOptions::nodes: 'nowhere:port' is no address"),
        (dict(ROLE=""), 2, "JoinOptions::role is empty"),
        (dict(ROLE="x" * 64), 2, "too long"),
    ]
    for options, status, message in wrong:
        hand = join(**options).ends(status)
        assert message in hand.said(), hand.said()
        assert f"returned {status}; SIGTERM default, SIGINT default" in hand.said()


def test_worker_whose_certificate_is_revoked_ends(pair, join):
    certificate = issue(pair, "worker", name="revoked")
    hand = join(certificate=certificate).waits()
    assert pair.household.run_sluice("cert", "revoke", str(certificate), *pair.at("n2")).returncode == 0
    assert "revoked" in hand.ends(4).said()


def test_node_that_is_not_there_yet_is_waited_for(pair, join):
    hand = join(node="").wait_until_it_says("trying again")
    assert "there is no socket" in hand.said()
    hand.leave()
    hand = join(node=str(pair.folder / "n3-data/sluice.sock")).wait_until_it_says("trying again")
    pair.start("n3", join=pair["n1"].url)
    hand.waits().leave()


def test_next_node_is_tried_when_one_is_lost(pair, join):
    hand = join(node=f"{pair['n2'].url},{pair['n1'].url}").waits()
    flow = Flow(pair, "role: double", 3000).feed(1, 1500)
    flow.wait_for(100)
    pair["n2"].kill()
    hand.serves(2)
    flow.feed(1501, 3000).finish().assert_each_once()
    hand.leave()


# Its stage would give it bytes on a stdin that it does not read.
def test_stage_for_plain_programs_is_none_for_it(pair, join):
    flow = Flow(pair, "role: double, map: true", 10)
    hand = join().wait_until_it_says("is for a program that reads records from its stdin")
    hand.leave()
    flow.process.send_signal(signal.SIGINT)
    flow.process.wait(timeout=60)


# --- one flow after the other -------------------------------------------------------------------------------------


def test_one_flow_after_the_other_is_served_and_each_has_a_start(pair, join):
    hand = join("--starts").waits()
    for number in (1, 2, 3):
        Flow(pair, "role: double", 500 * number).feed().finish().assert_each_once()
        hand.waits(number + 1)
    assert hand.said().count("it starts") == 3
    hand.leave()


def test_one_flow_is_enough_if_that_is_said(pair, join):
    hand = join("--once").waits()
    Flow(pair, "role: double", 100).feed().finish().assert_each_once()
    hand.ends(0)


def test_worker_that_says_its_end_is_given_no_more(pair, join):
    hand = join("--end").waits()
    flow = Flow(pair, "role: double", 1000).feed()
    hand.ends(0)
    join(who="berta").serves()
    flow.finish().assert_each_once()
    assert flow.who() == {"anna", "berta"}


# What its threads say of a flow that is over must not be taken for something of the next.
def test_answers_that_come_late_are_not_those_of_the_next_flow(pair, join):
    hand = join("--late").waits()
    first = Flow(pair, "role: double", 50).feed()
    hand.serves()
    first.process.send_signal(signal.SIGINT)
    assert first.process.wait(timeout=60) == -signal.SIGINT
    hand.waits(2)
    second = Flow(pair, "role: double", 200).feed(1001, 1200)
    hand.serves(2)
    (join.folder / "go").touch()
    second.finish()
    assert sorted(int(answer[0]) for answer in second.answers()) == [2 * n for n in range(1001, 1201)]
    assert hand.leave().said().count("serving stage") == 2, "it was thrown out"


def test_concurrency_of_one_flow_is_not_that_of_the_next(pair, join):
    go = join.folder / "go"
    go.touch()
    hand = join("--late").waits()
    Flow(pair, "role: double, concurrency: 1", 20).feed().finish().assert_each_once()
    hand.waits(2)
    go.unlink()
    flow = Flow(pair, "role: double", 50).feed()
    hand.wait_until_it_says("it has 70\n")  # all at a time: the program wishes for a hundred
    go.touch()
    flow.finish().assert_each_once()
    hand.leave()


def test_handler_is_given_nothing_more_of_a_flow_that_was_given_up(pair, join):
    hand = join("--stick", "20000").waits()
    flow = Flow(pair, "role: double", 40000, first="run: seq 40000")
    hand.wait_until_it_says("it sticks")
    flow.process.send_signal(signal.SIGINT)
    assert flow.process.wait(timeout=20) == -signal.SIGINT
    (join.folder / "go").touch()
    hand.waits(2).leave().wait_until_it_says("given 20000\n")


def test_flow_does_not_wait_for_a_handler_that_is_stuck(pair, join):
    hand = join("--slow", "5").waits()
    flow = Flow(pair, "role: double", 10).feed()
    flow.wait_for(1)
    flow.process.send_signal(signal.SIGINT)
    assert flow.process.wait(timeout=20) == -signal.SIGINT
    (join.folder / "go").touch()
    hand.waits(2)
    Flow(pair, "role: double", 100).feed().finish().assert_each_once()
    hand.leave()


def test_two_workers_in_one_program_end_with_one_signal(pair, join):
    hand = join("--two").waits(2)
    flow = Flow(pair, "role: double", 300, first="role: triple").feed()
    hand.serves(2)
    flow.finish().assert_each_once()
    hand.waits(4).leave()


# --- whose program it is ------------------------------------------------------------------------------------------


def test_second_signal_has_its_own_effect_again(pair, join):
    hand = join("--slow", "5").waits()
    flow = Flow(pair, "role: double", 10).feed()
    flow.wait_for(1)
    hand.process.send_signal(signal.SIGTERM)
    hand.wait_until_it_says("finishing what it has")
    hand.process.send_signal(signal.SIGINT)
    hand.ends(-signal.SIGINT)
    join(who="berta").serves()
    flow.finish().assert_each_once()


def test_signal_that_the_program_handles_is_left_to_it(pair, join):
    hand = join("--own-signal").waits()
    hand.process.send_signal(signal.SIGTERM)
    hand.wait_until_it_says("own handler")
    Flow(pair, "role: double", 100).feed().finish().assert_each_once()
    hand.process.send_signal(signal.SIGINT)
    hand.ends(0)
    assert "returned 0; SIGTERM own, SIGINT default" in hand.said()


def test_what_a_handler_throws_comes_out_of_run(pair, join):
    hand = join("--throw").waits()
    flow = Flow(pair, "role: double", 10).feed()
    hand.ends(0)
    assert "thrown 5\nreturned 0; SIGTERM default" in hand.said()
    join(who="berta").serves()
    flow.finish().assert_each_once()


def test_program_may_exit_in_a_handler(pair, join):
    hand = join("--exit").waits()
    flow = Flow(pair, "role: double", 10).feed()
    hand.ends(7)
    join(who="berta").serves()
    flow.finish().assert_each_once()


# Else its node would not see that it has died, and its records would wait for the child.
def test_child_of_the_program_has_none_of_its_descriptors(pair, join):
    hand = join("--child").waits()
    flow = Flow(pair, "role: double", 1000).feed()
    hand.wait_until_it_says("child ")
    child = int(hand.said().partition("child ")[2].split()[0])
    open_ones = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{child}/fd")]
    assert not [target for target in open_ones if "socket" in target or "anon_inode" in target], open_ones
    hand.process.kill()
    join(who="berta").serves()
    flow.finish().assert_each_once()
    assert is_alive(child)
    os.kill(child, signal.SIGKILL)


def test_stderr_that_nobody_reads_ends_nothing(pair, joined_programs):
    reading, writing = os.pipe()
    process = pair.household.start([joined_programs / "worker", str(pair["n1"].socket), ""], stderr=writing)
    os.close(writing)
    os.close(reading)
    Flow(pair, "role: double", 100).feed().finish().assert_each_once()
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    # By what the program itself prints at its end, which is none of the library's.
    assert process.wait(timeout=60) in (0, -signal.SIGPIPE)


def test_worker_has_two_threads_beside_its_own_and_leaves_no_descriptor(pair, join):
    hand = join().waits()

    def look():
        return len(os.listdir(f"/proc/{hand.process.pid}/task")), len(os.listdir(f"/proc/{hand.process.pid}/fd"))

    Flow(pair, "role: double", 100).feed().finish()
    hand.waits(2)
    before = look()
    for number in range(3):
        Flow(pair, "role: double", 100).feed().finish()
        hand.waits(3 + number)
    assert look() == before and before[0] <= 2, (before, look())
    hand.leave()
