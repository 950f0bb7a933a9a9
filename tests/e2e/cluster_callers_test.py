"""What callers that go away, and callers and programs that stand still, may not do to a node."""

import signal
import subprocess

import pytest

from clusters import cluster, home, pair
from flows import SHORT_GRACE
from processes import DEADLINE_SECONDS, let_pass, wait_until
from settings import SLUICE

ABANDONED = 20


def in_background(nodes, text, name):
    started = nodes.run(text, "--background", "--name", name)
    assert (started.returncode, started.stderr) == (0, b""), started


def reads_a_second(node):
    """Calls of read(2): whoever waits for something that another process writes looks into its files ten times a second."""
    def count():
        with open(f"/proc/{node.pid}/io", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("syscr"))
    before = count()
    let_pass(1)
    return count() - before


def test_waits_that_were_given_up_leave_nothing_to_do(pair):
    in_background(pair, "@n1 sleep 1001", "left")
    pair["n1"].kill()  # of a flow that an earlier daemon left, the node looks at the files ten times a second
    pair.start("n1", join=pair["n2"].url)
    pair.wait_until_all_list(["n1", "n2"])
    for by in ("n1", "n2"):
        for _ in range(ABANDONED):
            assert pair.household.run_sluice("wait", "--timeout", "0", "left", *pair.at(by)).returncode == 6
    wait_until(lambda: reads_a_second(pair["n1"]) < 5 * ABANDONED, "nobody looks for those that gave up")
    assert pair.household.run_sluice("stop", "left", *pair.at("n1")).returncode == 0


def test_readers_of_logs_that_went_away_leave_nothing_to_do(pair):
    in_background(pair, "@n2 sh -c 'echo said; sleep 1001'", "elsewhere")
    command = [SLUICE, "logs", "-f", "elsewhere", *pair.at("n1")]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(ABANDONED)]
    for reader in readers:
        assert reader.stdout.readline() == b"said\n"
    assert reads_a_second(pair["n2"]) > 5 * ABANDONED
    for reader in readers:
        reader.kill()
        reader.wait(timeout=DEADLINE_SECONDS)
        reader.stdout.close()
    wait_until(lambda: reads_a_second(pair["n2"]) < 5 * ABANDONED, "nobody looks for the readers that are gone")
    assert pair.household.run_sluice("stop", "elsewhere", *pair.at("n1")).returncode == 0


def test_node_ends_though_a_client_of_its_flows_is_stopped(cluster):
    cluster.start("n1")
    client = cluster.start_flow("@n1 sleep 1001 | @here cat", *SHORT_GRACE)
    cluster.wait_for_programs("sleep")
    client.send_signal(signal.SIGSTOP)
    try:
        assert cluster["n1"].terminate() == 0
    finally:
        client.send_signal(signal.SIGCONT)
    assert client.wait(timeout=DEADLINE_SECONDS) != 0


def test_a_signal_for_the_stages_does_not_make_the_next_one_the_last(cluster):
    cluster.start("n1")
    said = cluster.household.folder / "said"
    traps = f"trap 'echo usr1 >> {said}' USR1; trap 'echo term >> {said}; exit 0' TERM"
    client = cluster.start_flow(f"@n1 {{ {traps}; echo ready; while :; do sleep 0.1; done; }}")
    assert client.stdout.readline() == b"ready\n"
    client.send_signal(signal.SIGUSR1)
    wait_until(lambda: said.exists() and "usr1" in said.read_text(), "that the stage has got SIGUSR1")
    client.send_signal(signal.SIGTERM)
    client.wait(timeout=DEADLINE_SECONDS)
    assert "term" in said.read_text(), "the stage was asked before it was killed"


def test_a_flow_of_an_earlier_daemon_ends_though_it_has_stopped_its_spawner(cluster):
    cluster.start("n1")
    go, gone = cluster.household.folder / "go", cluster.household.folder / "gone"
    in_background(cluster, f"until test -e {go}; do sleep 0.1; done; kill -STOP $PPID; : > {gone}; exec sleep 1001", "still")
    cluster["n1"].kill()
    cluster.start("n1")
    go.touch()  # not before: the kernel continues a stopped process group whose parent ends
    wait_until(gone.exists, "that the spawner is stopped")
    stopped = cluster.household.run_sluice("stop", *SHORT_GRACE, "still", *cluster.at("n1"))
    assert stopped.returncode == 0, stopped
    cluster.wait_for_no_program()


@pytest.mark.parametrize("text", ["@n2 sleep 1001", "@n1 sleep 1001 | @n2 sleep 1001"])
def test_background_flow_whose_starter_went_away_before_it_ran_is_not_started(pair, text):
    pair["n2"].stop()  # it can't answer yet
    starter = pair.start_flow(text, "--background", *SHORT_GRACE)
    try:
        let_pass(0.5)
        starter.kill()
        starter.wait(timeout=DEADLINE_SECONDS)
    finally:
        pair["n2"].go_on()
    pair.wait_until_all_list(["n1", "n2"])
    for by in ("n1", "n2"):
        wait_until(lambda: pair.household.run_sluice("ps", "-a", "--json", *pair.at(by)).outcome == (0, b""),
                   "that nobody knows the flow")
    pair.wait_for_no_program()
