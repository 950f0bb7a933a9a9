"""`--timeout` of a flow in the background outlives the daemon that started it."""

import pytest

from clusters import cluster, home
from processes import is_alive, let_pass


def start_in_background(nodes, *options):
    started = nodes.run("sleep 1001", "--background", *options)
    assert (started.returncode, started.stderr) == (0, b""), started
    return started.stdout.decode().strip(), nodes.wait_for_programs("sleep")[0]


def wait(nodes, flow):
    return nodes.household.run_sluice("wait", flow, *nodes.at("n1"))


def test_timeout_is_kept_by_the_next_daemon(cluster):
    cluster.start("n1")
    flow, stage = start_in_background(cluster, "--timeout", "4s")
    cluster["n1"].kill()
    cluster.start("n1")
    assert is_alive(stage)
    ended = wait(cluster, flow)
    assert ended.returncode == 124 and b"--timeout" in ended.stderr, ended
    cluster.wait_for_no_program()
    # So says every daemon from now on.
    cluster["n1"].kill()
    cluster.start("n1")
    assert wait(cluster, flow).returncode == 124


def test_timeout_that_passed_without_a_daemon_is_enforced_at_its_start(cluster):
    cluster.start("n1")
    flow, stage = start_in_background(cluster, "--timeout", "1500ms")
    cluster["n1"].kill()
    let_pass(2)
    assert is_alive(stage)
    cluster.start("n1")
    assert wait(cluster, flow).returncode == 124
    cluster.wait_for_no_program()


def test_flow_that_ends_in_time_has_its_own_status_after_a_restart(cluster):
    cluster.start("n1")
    started = cluster.run("sleep 1; exit 7", "--background", "--timeout", "60s")
    flow = started.stdout.decode().strip()
    cluster["n1"].kill()
    cluster.start("n1")
    assert wait(cluster, flow).returncode == 7
    assert cluster["n1"].terminate() == 0  # at once: nobody waits for the timeout
