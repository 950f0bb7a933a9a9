"""Commands about several flows in the background, and waiting with a limit."""

import json

from clusters import cluster, home, pair


def in_background(nodes, text, name):
    started = nodes.run(text, "--background", "--name", name)
    assert (started.returncode, started.stderr) == (0, b""), started


def about(nodes, verb, *arguments):
    return nodes.household.run_sluice(verb, *arguments, *nodes.at("n1"))


def names(nodes):
    listed = about(nodes, "ps", "-a", "--json").stdout
    return {json.loads(line)["name"] for line in listed.splitlines()}


def test_wait_for_several_has_the_status_of_the_last(cluster):
    cluster.start("n1")
    in_background(cluster, "exit 3", "first")
    in_background(cluster, "exit 7", "second")
    assert about(cluster, "wait", "first", "second").returncode == 7
    both = about(cluster, "wait", "--json", "second", "first")
    assert both.returncode == 3
    assert [json.loads(line)["name"] for line in both.stdout.splitlines()] == ["second", "first"]


def test_wait_gives_up_in_time_and_the_flow_goes_on(cluster):
    cluster.start("n1")
    in_background(cluster, "sleep 1001", "long")
    for timeout in ("0", "400ms"):
        waited = about(cluster, "wait", "--timeout", timeout, "long")
        assert waited.returncode == 6 and b"the flow long has not ended yet; it goes on" in waited.stderr, waited
    cluster.wait_for_programs("sleep")
    in_background(cluster, "exit 5", "short")
    assert about(cluster, "wait", "short").returncode == 5
    assert about(cluster, "wait", "--timeout", "0", "short").returncode == 5, "one that has ended is told at once"
    wrong = about(cluster, "wait", "--timeout", "soon", "long")
    assert wrong.returncode == 2 and b"wait: --timeout: " in wrong.stderr, wrong
    assert about(cluster, "stop", "long").returncode == 0


def test_stop_and_remove_go_on_behind_one_that_fails(cluster):
    cluster.start("n1")
    in_background(cluster, "sleep 1001", "one")
    in_background(cluster, "sleep 1002", "two")
    removed = about(cluster, "rm", "one", "two")
    assert removed.returncode != 0 and removed.stderr.count(b"sluice stop") == 2, removed
    stopped = about(cluster, "stop", "one", "nobody", "two")
    assert stopped.returncode == 3 and b"no flow 'nobody'" in stopped.stderr, stopped
    cluster.wait_for_no_program()
    assert about(cluster, "rm", "one", "two").outcome == (0, b"")
    assert names(cluster) == set()


# --- what goes wrong, by name -------------------------------------------------------------------------------------


def test_wait_and_logs_name_the_node_that_is_lost(pair):
    started = pair.run("echo said; sleep 1001", "--background", "--name", "far", at="n2")
    assert started.returncode == 0, started
    pair.wait_for_programs("sleep")
    asking = [pair.household.start_sluice(*command, "far", *pair.at("n1")) for command in (["wait"], ["logs", "-f"])]
    assert asking[1].stdout.read(5) == b"said\n"
    pair["n2"].kill()
    for process in asking:
        result = pair.household.finish(process)
        assert result.returncode == 5 and b"lost n2: " in result.stderr and b"far" in result.stderr, result


def test_flow_whose_id_can_not_be_printed_is_a_failure_and_named(cluster):
    cluster.start("n1")
    with open("/dev/full", "wb") as full:
        process = cluster.household.start_sluice("run", "--background", "--name", "unheard", "sleep 1001", *cluster.at("n1"),
                                                 stdout=full)
        result = cluster.household.finish(process)
    assert result.returncode == 1, result
    assert b"cannot write to stdout: No space left on device" in result.stderr and b"was started all the same" in result.stderr
    assert about(cluster, "stop", "unheard").returncode == 0


def test_names_and_sizes_that_would_not_be_kept_to_are_refused(household, home):
    assert "a name has no '/'" in household.refusal("run", "--name", "a/1", "true")
    for size in ("0", "100", "4095"):
        assert "at least 4K" in household.refusal("run", "--output-max", size, "true")
