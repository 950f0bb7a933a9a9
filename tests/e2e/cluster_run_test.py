"""Flows over the nodes of a cluster: bytes, statuses, placement, ends of every kind, and that nothing is left of them."""

import hashlib
import json
import os
import re
import signal
import subprocess
import threading

import pytest

from clusters import cluster, home, pair, trio
from files import open_for_writing, write_script
from processes import (children_of, describe_processes, is_alive, let_pass, process_name, process_state,
                       processes_below, wait_until)
from settings import SLUICE, SOAK

MIB = 1 << 20


def digest(data):
    return hashlib.sha256(data).hexdigest()


def digest_of_file(path):
    return digest(path.read_bytes())


# --- the text, or a file ------------------------------------------------------------------------------------------


def test_row_of_a_flow_file_runs_where_its_stages_say(trio):
    text = """{"name": "fleet", "stages": {"a": {"run": "echo $V; hostname", "on": "n2", "env": {"V": "x y"}},
               "b": {"run": "cat", "on": "n3"}, "c": {"run": "rev"}}, "links": ["a -> b -> c"]}"""
    (trio.household.folder / "a.flow.json").write_text(text)
    result = trio.run("a.flow.json", "--json")
    assert result.returncode == 0 and result.stdout.splitlines()[0] == b"y x"
    assert [stage["host"] for stage in result.summary["stages"]] == ["n2", "n3", "n3"]
    assert result.summary["flow"] == "fleet"


# --- bytes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 20 * MIB + 3])
def test_stdin_and_stdout_pass_exactly(pair, size):
    data = os.urandom(size)
    result = pair.run("@n2 cat", input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert digest(result.stdout) == digest(data)


def test_files_as_stdin_and_stdout(pair):
    (pair.folder / "in").write_bytes(os.urandom(5 * MIB + 1))
    with open(pair.folder / "in", "rb") as source, open(pair.folder / "out", "wb") as sink:
        result = pair.run("@n2 cat", stdin=source, stdout=sink)
    assert (result.returncode, result.stderr) == (0, b"")
    assert digest_of_file(pair.folder / "out") == digest_of_file(pair.folder / "in")


def test_null_device_as_stdin_or_stdout_is_that_of_the_stage(pair):
    links = "readlink /proc/$$/fd/0; readlink /proc/$$/fd/1 >&2"
    kept = pair.run(f"@n2 {{ {links}; }}", stdin=subprocess.PIPE)
    assert kept.stdout.startswith(b"pipe:") and kept.stderr.startswith(b"pipe:"), kept
    empty = pair.run(f"@n2 {{ {links}; }}", stdin=subprocess.DEVNULL)
    assert (empty.returncode, empty.stdout) == (0, b"/dev/null\n") and empty.stderr.startswith(b"pipe:"), empty
    thrown_away = pair.run(f"@n2 {{ {links}; }}", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert (thrown_away.returncode, thrown_away.stderr) == (0, b"/dev/null\n")


def test_stdout_that_is_closed_is_an_error_once_something_is_written(pair):
    def run_closed(text):
        closed = ["/bin/sh", "-c", 'exec "$@" >&-', "sh", SLUICE, "run", *pair.at("n1"), text]
        return pair.household.finish(pair.household.start(closed))

    assert run_closed("@n2 true").returncode == 0
    result = run_closed("@n2 seq 3")
    assert (result.returncode, result.stdout) == (1, b"") and b"stdout is closed" in result.stderr, result
    result = run_closed("@n2 seq 3 | @here cat")
    assert (result.returncode, result.stdout) == (1, b""), result
    pair.wait_for_no_program()


def test_every_node_writes_to_nobody(trio):
    result = trio.run("@all { readlink /proc/$$/fd/1 >&2; exit 3; }", stdout=subprocess.DEVNULL)
    assert result.returncode == 3
    assert result.stderr.count(b"/dev/null\n") == 3


@pytest.mark.parametrize("text", [
    "cat | @n1 cat | @here cat | @n2 cat",
    "@n1 cat | @n2 cat | @n3 cat | @n1 cat",
    "@n3 cat | cat | { cat; } | @here cat | cat",
    "@n2 cat | @here cat | @n2 cat | @here cat",
])
@pytest.mark.parametrize("asked", ["n1", "n3"])
def test_mixed_pipelines_pass_every_byte(trio, text, asked):
    data = os.urandom(3 * MIB + 17)
    result = trio.run(text, input=data, at=asked)
    assert (result.returncode, result.stderr) == (0, b"")
    assert digest(result.stdout) == digest(data)
    trio.wait_for_no_program()


def test_long_pipeline_over_all_nodes(trio):
    text = " | ".join(f"@n{number % 3 + 1} cat" for number in range(30))
    data = os.urandom(MIB)
    result = trio.run(text, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert digest(result.stdout) == digest(data)


def test_flow_over_the_nodes_address_with_the_key(pair):
    data = os.urandom(3 * MIB)
    result = pair.run("@n2 cat | @n1 cat", "--node", pair["n1"].url, "--key", str(pair.key), at=None, input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert digest(result.stdout) == digest(data)


def test_many_flows_at_once(trio):
    texts = [f"seq {number} 5000 | @n2 sort -rn | @n3 sort -n | wc -l" for number in range(1, 25)]
    flows = [trio.start_flow(text) for text in texts]
    results = [trio.household.finish(flow, deadline=120).outcome for flow in flows]
    assert results == [(0, b"%d\n" % (5001 - number)) for number in range(1, 25)]
    trio.wait_for_no_program()


def test_stages_stay_where_their_left_neighbour_is(pair):
    result = pair.run("@n2 true | true | @here true | true", "--dry-run", "--json")
    places = [stage["place"] for stage in json.loads(result.stdout)["stages"]]
    assert places == ["n2", "n2", "here", "here"]


# --- statuses and messages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, status, sentence", [
    ("@n2 sh -c 'exit 7'", 7, "stage 1 `sh -c 'exit 7'` on n2 exited with status 7"),
    ("@n2 sh -c 'exit 3' | @n1 cat", 3, "stage 1 `sh -c 'exit 3'` on n2 exited with status 3"),
    ("@n2 { exit 3; } | @n1 { exit 4; } | cat", 4, "stage 2 "),
    ("true | @n2 { cat; exit 9; } | @here cat", 9, "stage 2 "),
    ("@n2 sh -c 'kill -9 $$'", 137, "was ended by signal 9 (SIGKILL)"),
    ("@n2 sh -c 'kill -SEGV $$' | @n1 cat", 139, "was ended by signal 11 (SIGSEGV)"),
])
def test_failure_of_a_stage_is_the_status_and_is_named(pair, text, status, sentence):
    result = pair.run(text)
    assert result.outcome == (status, b"")
    assert sentence in result.stderr.decode(), result.stderr


def test_stderr_of_stages_comes_back_and_is_not_mixed_with_stdout(trio):
    text = "@n2 { echo from-n2 >&2; echo data; } | @n3 { echo from-n3 >&2; cat; }"
    result = trio.run(text)
    assert result.outcome == (0, b"data\n")
    assert sorted(result.stderr.splitlines()) == [b"from-n2", b"from-n3"]


def test_all_of_a_long_stderr_comes_back(pair):
    result = pair.run("@n2 { seq 200000 >&2; }")
    assert result.outcome == (0, b"")
    assert digest(result.stderr) == digest(b"".join(b"%d\n" % number for number in range(1, 200001)))


def test_stderr_is_marked_wherever_a_stage_runs(trio):
    result = trio.run("@here { echo a >&2; printf b >&2; } | @n2 sh -c 'echo c >&2' | @n3 { echo d >&2; }",
                      "--mark-stderr", stdin=subprocess.DEVNULL)
    assert result.outcome == (0, b"")
    expected = [b"[1 bash] a", b"[1 bash] b", b"[2 sh] c", b"[3 bash] d"]
    assert sorted(result.stderr.splitlines()) == expected, result
    result = trio.run("@all { echo x >&2; }", "--mark-stderr")
    assert sorted(result.stderr.splitlines()) == [b"[1 bash] n1: x", b"[1 bash] n2: x", b"[1 bash] n3: x"]


def test_exact_counts_what_links_carry_and_says_what_it_can_not(trio):
    result = trio.run("@n2 seq 1000 | @n3 cat | head -c 100 | @here cat", "--exact", "--json")
    assert result.outcome == (0, b"".join(b"%d\n" % number for number in range(1, 1001))[:100])
    said, report = result.stderr.decode().splitlines()
    assert "stage 2" in said and "not counted" in said
    stages = json.loads(report)["stages"]
    assert [stage.get("output_bytes") for stage in stages] == [3893, None, 100, None]
    result = trio.run("@all seq 100 | wc -l", "--exact", "--json")
    assert json.loads(result.stderr)["stages"][0]["output_bytes"] == 3 * 292
    assert "output_bytes" not in json.loads(trio.run("@n2 true | @n3 cat", "--json").stderr)["stages"][0]


def test_folder_of_the_client_that_no_stage_works_in_is_refused(pair):
    result = pair.run("@n2 pwd", "--cwd", "/usr")
    assert result.outcome == (125, b"") and b"--cwd /usr" in result.stderr, result
    assert pair.run("@here pwd | @n2 cat", "--cwd", "/usr").outcome == (0, b"/usr\n")
    (pair.folder / "data").write_bytes(b"data")
    assert pair.run("@n2 cat ./data", "--cwd", str(pair.folder)).outcome == (0, b"data")


@pytest.mark.parametrize("options", [["--json"], ["--progress", "plain"], ["--progress=json"], ["--mark-stderr"],
                                     ["--exact"]])
def test_option_that_does_nothing_in_the_background_is_refused(pair, options):
    result = pair.run("@n2 true", "--background", *options)
    assert result.outcome == (125, b"") and options[0].split("=")[0].encode() in result.stderr, result
    assert b"--background" in result.stderr


@pytest.mark.parametrize("text, options, status", [
    ("true | @n2 cat | @here cat | @n2 cat | @here true", ["--dry-run"], 0),
    ("true | @n2 nosuch-program | @here cat", [], 127), ("true | @n9 cat | @here cat", [], 125)])
def test_what_is_not_started_ends_however_many_parts_it_has_here(pair, text, options, status):
    assert pair.run(text, *options).returncode == status


def test_dry_run_in_the_background_shows_the_plan(pair):
    result = pair.run("@n2 nosuch-program | cat", "--background", "--dry-run")
    assert result.returncode == 1 and b"n2" in result.stdout and b"nosuch-program" in result.stderr, result
    result = pair.run("true | @n2 cat", "--background", "--dry-run", "--json")
    assert (result.returncode, result.stderr) == (0, b"")
    plan = json.loads(result.stdout)
    assert [stage["place"] for stage in plan["stages"]] == ["n1", "n2"]
    assert [(link["from"], link["to"]) for link in plan["links"]] == [(1, 2)]
    assert pair.run("@nowhere cat", "--background", "--dry-run").returncode == 1
    assert pair.household.run_sluice("ps", "-a", "--json", *pair.at("n1")).stdout == b""


def test_json_summary_names_the_hosts(pair):
    result = pair.run("@n2 sh -c 'exit 7' | @n1 cat | @here cat", "--json")
    assert result.returncode == 7
    stages = result.summary["stages"]
    assert [(stage["host"], stage["status"]) for stage in stages[:2]] == [("n2", 7), ("n1", 0)]
    assert stages[2]["status"] == 0


@pytest.mark.parametrize("text", ["@m2 cat", "@on=m2 cat", "true | @m2 cat"])
def test_unknown_node_is_refused_with_a_suggestion(pair, text):
    result = pair.run(text)
    assert result.outcome == (125, b"")
    message = result.stderr.decode()
    assert "'m2'" in message or "@m2" in message, message
    assert "did you mean" in message and "n2" in message, message


@pytest.mark.parametrize("text", ["@n2 no-such-program | @n1 touch {}", "@n1 touch {} | @n2 no-such-program",
                                  "touch {} | @n2 no-such-program", "@n2 no-such-program | @here touch {}"])
def test_command_that_a_node_does_not_have_starts_nothing_anywhere(pair, text):
    touched = pair.folder / "touched"
    result = pair.run(text.format(touched))
    assert result.outcome == (127, b"")
    message = result.stderr.decode()
    assert "no-such-program" in message and "not found" in message and "n2" in message, message
    assert not touched.exists()


def test_file_that_may_not_be_executed_on_a_node(pair):
    path = pair.folder / "plain"
    path.write_text("no program\n")
    result = pair.run(f"@n2 {path}")
    assert result.outcome == (126, b""), result
    assert b"n2" in result.stderr


def test_dead_node_is_no_place(pair):
    pair["n2"].kill()
    pair.wait_until_all_list(["n1"])
    result = pair.run("@n2 cat", input=b"")
    assert result.outcome == (125, b"")
    assert b"n2" in result.stderr


def test_dry_run_starts_nothing_and_says_why(pair):
    touched = pair.folder / "touched"
    result = pair.run(f"@n2 touch {touched} | @here cat", "--dry-run", "--json")
    assert result.returncode == 0 and not touched.exists()
    plan = json.loads(result.stdout)
    assert [(stage["place"], stage["place_reason"]) for stage in plan["stages"]] == [("n2", "@n2"), ("here", "@here")]
    assert plan["problems"] == []
    table = pair.run(f"@n2 touch {touched} | @here cat", "--dry-run").stdout.decode()
    assert [line.split()[:3] for line in table.splitlines()[1:3]] == [["1", "n2", "@n2"], ["2", "here", "@here"]]
    assert not touched.exists()


@pytest.mark.parametrize("asked, last", [("n3", "n3 relays"), ("n1", "the flow fails"), ("n2", "the flow fails")])
def test_dry_run_says_which_end_of_a_link_dials_which(trio, asked, last):
    plan = json.loads(trio.run("@n1 true | @n2 true | @here true", "--dry-run", "--json", at=asked).stdout)
    n1, n2 = trio["n1"].address, trio["n2"].address
    between = f"byte link: n2 dials n1 ({n1}), else n1 dials n2 ({n2}), else {last}"
    carriers = {(link["from"], link["to"]): link["carrier"] for link in plan["links"]}
    assert carriers[1, 2] == between
    assert carriers[2, 3] == ("byte link" if asked == "n2" else f"byte link, relayed by {asked}")


# --- placement ----------------------------------------------------------------------------------------------------

# What a node's programs have in common with no other node's: the folder where they run is below its data.
WHERE = "pwd"


def node_of(cluster, output):
    """The node whose program wrote this folder."""
    found = [name for name, node in cluster.nodes.items() if str(node.data) in output.decode()]
    assert len(found) == 1, output
    return found[0]


def test_labels_place_stages(cluster):
    cluster.start("n1", "--label", "disk=slow")
    cluster.start("n2", "--label", "disk=fast", "--label", "zone=b", join=cluster["n1"].url)
    cluster.wait_until_all_list(["n1", "n2"])
    for word, node in [("@disk=fast", "n2"), ("@disk=slow", "n1"), ("@zone=b", "n2"), ("@on=n2", "n2"), ("@n1", "n1")]:
        result = cluster.run(f"{word} {WHERE}")
        assert result.returncode == 0, (word, result)
        assert node_of(cluster, result.stdout) == node, word
    result = cluster.run(f"@zone=c {WHERE}")
    assert result.outcome == (125, b"") and b"zone" in result.stderr, result


def test_every_node_runs_all(trio):
    result = trio.run(f"@all {WHERE}")
    assert result.returncode == 0, result
    lines = sorted(line.split(b": ", 1) for line in result.stdout.splitlines())
    assert [mark for mark, _ in lines] == [b"n1", b"n2", b"n3"]
    assert all(node_of(trio, folder) == mark.decode() for mark, folder in lines)


def test_lines_of_all_are_whole(trio):
    script = write_script(trio.folder / "halves", """
for number in $(seq 300); do printf 'first half %s ' "$number"; printf 'second half\\n'; done
head -c 300000 /dev/zero | tr '\\0' x; echo
printf 'no newline at the end'
""")
    result = trio.run(f"@all {script}")
    assert (result.returncode, result.stderr) == (0, b"")
    expected = [f"first half {number} second half" for number in range(1, 301)]
    expected += ["x" * 300000, "no newline at the end"]
    for name in trio.nodes:
        mark = f"{name}: "
        own = [line.removeprefix(mark) for line in result.stdout.decode().splitlines() if line.startswith(mark)]
        assert own == expected, name
    assert result.stdout.count(b"\n") == 3 * len(expected)


@pytest.mark.parametrize("text, options, marked", [
    ("@all echo x", [], True), ("@all echo x", ["--no-mark"], False),
    ("@all echo x | sort", [], False), ("@all echo x | sort", ["--mark"], True),
    ("@all echo x | @n2 sort", [], False),
])
def test_marks_of_all(trio, text, options, marked):
    result = trio.run(text, *options)
    assert (result.returncode, result.stderr) == (0, b"")
    expected = [f"{name}: x" if marked else "x" for name in ("n1", "n2", "n3")]
    assert sorted(result.stdout.decode().splitlines()) == expected


def test_all_has_no_stdin(pair):
    result = pair.run("@all wc -c", "--no-mark", input=b"not for everybody")
    assert result.outcome == (0, b"0\n0\n"), result


def test_one_of_all_that_fails_is_named(trio):
    result = trio.run("@all sh -c 'echo out; case $PWD in *n2-data*) exit 5;; esac'")
    assert result.returncode == 5
    assert sorted(result.stdout.splitlines()) == [b"n1: out", b"n2: out", b"n3: out"]
    message = result.stderr.decode()
    assert "status 5" in message and "n2" in message and "n1" not in message, message


def test_workers_of_all_are_told_apart_in_messages_and_json(trio):
    result = trio.run("@all case $PWD in *n2-data*) exit 4;; *n3-data*) kill -9 $$;; esac", "--json")
    assert result.returncode == 137, result
    *sentences, report = result.stderr.decode().splitlines()
    assert len(sentences) == 2 and " on n2 exited with status 4" in sentences[0], sentences
    assert " on n3 was ended by signal 9 (SIGKILL)" in sentences[1], sentences
    stage, = json.loads(report)["stages"]
    workers = {worker["host"]: worker for worker in stage["workers"]}
    assert {name: worker["status"] for name, worker in workers.items()} == {"n1": 0, "n2": 4, "n3": 137}
    assert workers["n3"]["signal"] == "SIGKILL" and all(worker["pid"] for worker in workers.values())
    assert (stage["host"], stage["status"], stage["pid"]) == ("n1 n2 n3", 137, None)


def test_stderr_of_all_is_whole_lines_with_their_node(trio):
    halves = "{ for i in $(seq 200); do printf 'one ' >&2; printf 'two\\n' >&2; done; printf end >&2; }"
    result = trio.run(f"@all {halves}")
    assert result.returncode == 0
    expected = sorted(f"{name}: {line}" for name in trio.nodes for line in ["one two"] * 200 + ["end"])
    assert sorted(result.stderr.decode().splitlines()) == expected
    unmarked = trio.run(f"@all {halves}", "--no-mark")
    assert sorted(unmarked.stderr.decode().splitlines()) == sorted((["one two"] * 200 + ["end"]) * 3)


# --- the world of a remote stage ----------------------------------------------------------------------------------


def test_environment_is_small_and_the_nodes(pair):
    secret = {"SECRET_OF_THE_CALLER": "1", "LD_LIBRARY_PATH_OF_MINE": "2"}
    result = pair.household.run_sluice("run", *pair.at("n1"), "--env", "ADDED=a b=c", "@n2 env", environment=secret)
    assert result.returncode == 0, result
    variables = dict(line.split("=", 1) for line in result.stdout.decode().splitlines())
    # LOGNAME is USER's other name; PWD and _ are of every program that a shell would start.
    assert set(variables) - {"LOGNAME", "PWD", "_"} == {"PATH", "HOME", "USER", "ADDED"}
    assert variables["ADDED"] == "a b=c"


def test_folder_is_fresh_private_and_gone_afterwards(pair):
    script = write_script(pair.folder / "look", "ls -A | wc -l; stat -c %a .; echo x > left; mkdir sub; pwd\n")
    folders = []
    for _ in range(2):
        result = pair.run(f"@n2 {script}")
        assert result.returncode == 0, result
        count, mode, folder = result.stdout.decode().splitlines()
        assert (count, mode) == ("0", "700")
        folders.append(folder)
    assert folders[0] != folders[1]
    wait_until(lambda: not any(os.path.exists(folder) for folder in folders), f"the end of {folders}")


def test_stages_of_different_nodes_have_different_folders(pair):
    result = pair.run("@n1 pwd | @n2 { cat; pwd; }")
    first, second = result.stdout.decode().splitlines()
    assert first != second


def test_stage_is_no_child_of_the_daemon_and_has_no_descriptor_of_it(pair):
    result = pair.run("@n2 ls -l /proc/self/fd")
    assert result.returncode == 0, result
    # 0, 1, 2 and the folder that ls itself reads.
    numbers = [line.split()[-3] for line in result.stdout.decode().splitlines()[1:]]
    assert numbers == ["0", "1", "2", "3"], result.stdout


# --- ends that are asked for --------------------------------------------------------------------------------------

ENDLESS = "sleep 1001 | @n2 sleep 1001 | @n1 sleep 1001 | @here sleep 1001"


def start_endless(cluster, *options, **settings):
    flow = cluster.start_flow(ENDLESS, *options, **settings)
    cluster.wait_for_programs(*["sleep"] * 4)
    return flow


def test_timeout_ends_every_stage_on_every_node(pair):
    result = pair.run(ENDLESS, "--timeout", "1s")
    assert result.outcome == (124, b"")
    assert result.stderr == b"sluice: timed out after 1.0 s; every stage was ended\n"
    pair.wait_for_no_program()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_to_the_client_ends_every_stage_on_every_node(pair, sign):
    flow = start_endless(pair)
    flow.send_signal(sign)
    result = pair.household.finish(flow)
    assert result.returncode == -sign
    pair.wait_for_no_program()


def test_stages_that_are_deaf_and_those_that_fled_are_ended_too(pair):
    script = write_script(pair.folder / "deaf", """
trap '' INT TERM HUP
setsid -f sleep 1001 < /dev/null > /dev/null 2>&1
sleep 1001; sleep 1001
""")
    flow = pair.start_flow(f"@n2 {script} | @n1 {script}", "--grace", "200ms")
    pair.wait_for_programs(*["sleep"] * 4)
    flow.send_signal(signal.SIGINT)
    result = pair.household.finish(flow)
    assert result.returncode == -signal.SIGINT
    pair.wait_for_no_program()


def test_killed_client_ends_every_stage_on_every_node(pair):
    flow = start_endless(pair)
    flow.kill()
    flow.wait(timeout=30)
    pair.wait_for_no_program(deadline=5)


def test_killed_client_that_reached_the_node_by_tcp_ends_every_stage(pair):
    flow = start_endless(pair, "--node", pair["n1"].url, "--key", str(pair.key), at=None)
    flow.kill()
    flow.wait(timeout=30)
    pair.wait_for_no_program(deadline=5)


def test_clients_that_are_killed_at_random_moments_leave_nothing(trio, chance):
    for _ in range(50 if SOAK else 10):
        flow = trio.start_flow("yes | @n2 cat | @n3 cat | @n1 cat | @here cat", stdout=subprocess.DEVNULL)
        let_pass(chance.uniform(0, 0.15))
        flow.kill()
        flow.wait(timeout=30)
    trio.wait_for_no_program(deadline=10)
    assert trio.run("@n2 echo still | @n3 cat").outcome == (0, b"still\n")


def test_stopped_client_does_not_end_the_flow(pair):
    script = write_script(pair.folder / "ticks", "while sleep 0.05; do echo tick; done\n")
    with open(pair.folder / "out", "wb") as sink:
        flow = pair.start_flow(f"@n2 {script} | @n1 cat", stdout=sink)
    output = pair.folder / "out"
    wait_until(lambda: output.stat().st_size > 0, "the first tick")
    flow.send_signal(signal.SIGSTOP)
    wait_until(lambda: process_state(flow.pid) == "T", "the stop")
    let_pass(1)
    cat, = pair.wait_for_programs("cat")
    assert is_alive(cat)
    before = output.stat().st_size
    flow.send_signal(signal.SIGCONT)
    wait_until(lambda: output.stat().st_size > before, "further ticks")
    assert flow.poll() is None
    flow.send_signal(signal.SIGINT)
    assert pair.household.finish(flow).returncode == -signal.SIGINT
    pair.wait_for_no_program()


# --- readers that stop, and readers that leave --------------------------------------------------------------------

# Counts what it could write, in a file, a block of 64 KiB at a time.
COUNTING_PRODUCER = """#!/usr/bin/python3
import os, sys
block = bytes(65536)
counter = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
total = 0
while True:
    total += os.write(1, block)
    os.pwrite(counter, b"%20d" % total, 0)
"""

# What pipes, sockets, TLS and the relay may hold between two hosts.
IN_FLIGHT_MAX = 64 * MIB


def counted(path):
    return int(path.read_text() or 0) if path.exists() else 0


def wait_until_still(value, seconds=0.5):
    """Waits until a number has not changed for a while, and returns it."""
    seen = [value()]

    def same():
        let_pass(seconds)
        seen.append(value())
        return seen[-1] == seen[-2]

    wait_until(same, lambda: f"a number at rest; it was {seen[-3:]}")
    return seen[-1]


@pytest.mark.parametrize("text", ["@n2 {producer} | @n1 {reader}", "{producer} | @n2 {reader}",
                                  "@n2 {producer} | @here {reader}"], ids=["node-node", "client-node", "node-client"])
def test_reader_that_stops_stops_the_source_and_it_goes_on_at_once(pair, text):
    producer = pair.folder / "producer"
    producer.write_text(COUNTING_PRODUCER)
    producer.chmod(0o755)
    counter = pair.folder / "counter"
    flow = pair.start_flow(text.format(producer=f"{producer} {counter}", reader="wc -c"))
    reader, = pair.wait_for_programs("wc")
    wait_until(lambda: counted(counter) > MIB, "the first bytes")
    memory = {name: node.anonymous_bytes() for name, node in pair.nodes.items()}
    os.kill(reader, signal.SIGSTOP)
    before = counted(counter)
    still = wait_until_still(lambda: counted(counter))
    assert still - before < IN_FLIGHT_MAX
    for name, node in pair.nodes.items():
        assert node.anonymous_bytes() - memory[name] < 16 * MIB, name
    os.kill(reader, signal.SIGCONT)
    wait_until(lambda: counted(counter) > still + 64 * MIB, "the source goes on at full rate", deadline=10)
    flow.send_signal(signal.SIGINT)
    pair.household.finish(flow)
    pair.wait_for_no_program()


def test_client_whose_output_is_not_read_stops_the_source(pair):
    producer = pair.folder / "producer"
    producer.write_text(COUNTING_PRODUCER)
    producer.chmod(0o755)
    counter = pair.folder / "counter"
    flow = pair.start_flow(f"@n2 {producer} {counter}")
    wait_until(lambda: counted(counter) > 0, "the first bytes")
    still = wait_until_still(lambda: counted(counter))
    assert still < IN_FLIGHT_MAX
    flow.stdout.read(still + MIB)
    wait_until(lambda: counted(counter) > still, "the source goes on")
    flow.send_signal(signal.SIGINT)
    pair.household.finish(flow)
    pair.wait_for_no_program()


@pytest.mark.parametrize("text", ["@n2 yes | @n1 head -1", "@n2 yes | @here head -1", "yes | @n2 head -1",
                                  "@n2 yes | @n1 cat | @n2 cat | head -1"])
def test_reader_that_leaves_early_ends_its_producer(pair, text):
    result = pair.run(text, deadline=10)
    assert result.outcome == (0, b"y\n"), result
    assert result.stderr == b""
    pair.wait_for_no_program(deadline=5)


def test_output_that_nobody_reads_any_more_ends_the_flow(pair):
    command = [SLUICE, "run", *pair.at("n1"), "@n2 yes"]
    result = pair.household.run(["bash", "-c", '"$@" | head -1', "bash", *command], deadline=10)
    assert result.outcome == (0, b"y\n"), result
    pair.wait_for_no_program(deadline=5)


def test_reader_that_ignores_its_input_is_no_failure(pair):
    result = pair.run("@n2 true | @n1 true", input=b"x" * MIB)
    assert (result.returncode, result.stderr) == (0, b"")
    pair.wait_for_no_program()


# --- ends that nobody asked for -----------------------------------------------------------------------------------


def assert_link_was_cut(result, *names):
    """Never a short output with status 0; the message names these hosts."""
    assert result.returncode == 125, result
    message = result.stderr.decode()
    for name in names:
        assert re.search(rf"\b{name}\b", message), (name, message)


def flow_whose_first_node_was_killed(trio):
    flow = trio.start_flow("@n2 yes | @n3 cat | @here wc -c")
    trio.wait_for_programs("yes", "cat", "wc")
    trio["n2"].kill()
    return trio.household.finish(flow, deadline=15)


def test_killed_node_in_mid_flow_fails_it(trio):
    assert_link_was_cut(flow_whose_first_node_was_killed(trio), "n2")
    trio.wait_for_no_program()


def test_killed_node_in_mid_flow_names_both_hosts_of_the_link(trio):
    assert_link_was_cut(flow_whose_first_node_was_killed(trio), "n2", "n3")


def test_killed_node_of_the_last_stage_fails_the_flow(trio):
    flow = trio.start_flow("@n2 yes | @n3 cat", stdout=subprocess.DEVNULL)
    trio.wait_for_programs("yes", "cat")
    trio["n3"].kill()
    result = trio.household.finish(flow, deadline=15)
    assert result.returncode == 125, result
    assert b"n3" in result.stderr, result
    trio.wait_for_no_program()


def test_killed_node_that_was_asked_fails_the_flow(trio):
    flow = trio.start_flow("@n2 yes | @n3 cat", at="n1", stdout=subprocess.DEVNULL)
    trio.wait_for_programs("yes", "cat")
    trio["n1"].kill()
    result = trio.household.finish(flow, deadline=15)
    assert result.returncode == 125, result
    assert result.stderr != b""
    trio.wait_for_no_program(deadline=10)


@pytest.mark.parametrize("reader", ["@n3", "@here"])
def test_reader_of_a_cut_link_is_ended_before_its_stdin(trio, reader):
    # A database client would commit half a file.
    received, committed = trio.folder / "received", trio.folder / "committed"
    script = write_script(trio.folder / "commit", f"cat > {received}; echo > {committed}\n")
    for _ in range(5 if SOAK else 2):
        flow = trio.start_flow(f"@n2 yes | {reader} {script}")
        wait_until(lambda: received.exists() and received.stat().st_size > 0, "the first bytes")
        trio["n2"].kill()
        result = trio.household.finish(flow, deadline=15)
        assert_link_was_cut(result, "n2")
        trio.wait_for_no_program()
        assert not committed.exists()
        received.unlink()
        trio.start("n2", join=trio["n1"].url)
        trio.wait_until_all_list(["n1", "n2", "n3"])


def test_reader_of_a_killed_clients_stdin_is_ended_before_its_stdin(pair):
    received, committed = pair.folder / "received", pair.folder / "committed"
    script = write_script(pair.folder / "commit", f"cat > {received}; echo > {committed}\n")
    read_end, write_end = os.pipe()
    flow = pair.start_flow(f"@n2 {script}", stdin=read_end)
    os.close(read_end)
    os.write(write_end, b"half a file\n")
    wait_until(lambda: received.exists() and received.stat().st_size > 0, "the first bytes")
    flow.kill()
    flow.wait(timeout=30)
    pair.wait_for_no_program()
    os.close(write_end)
    assert not committed.exists()


def test_killed_stage_on_a_node_is_named(pair):
    flow = pair.start_flow("@n2 sleep 1001 | @n1 cat")
    stage, = pair.wait_for_programs("sleep")
    os.kill(stage, signal.SIGKILL)
    result = pair.household.finish(flow)
    assert result.returncode == 137
    assert b"stage 1 `sleep 1001` on n2 was ended by signal 9 (SIGKILL)" in result.stderr, result
    pair.wait_for_no_program()


def test_killed_spawner_of_a_node_fails_the_flow_and_the_node_goes_on(pair):
    killed_spawner_of_a_node(pair)


def killed_spawner_of_a_node(pair):
    flow = start_endless(pair)
    spawners = [pid for pid in processes_below(pair["n2"].pid)
                if process_name(pid).startswith("sluice") and
                any(process_name(child) == "sleep" for child in children_of(pid))]
    assert len(spawners) == 1, describe_processes(processes_below(pair["n2"].pid))
    os.kill(spawners[0], signal.SIGKILL)
    result = pair.household.finish(flow, deadline=15)
    assert result.returncode == 125, result
    assert b"spawner" in result.stderr, result
    pair.wait_for_no_program()
    assert pair.run("@n2 echo still").outcome == (0, b"still\n")
    return result


def test_killed_spawner_of_a_node_names_the_node(pair):
    assert b"n2" in killed_spawner_of_a_node(pair).stderr


def test_nodes_that_are_killed_at_random_moments_never_give_a_short_output(trio, chance):
    """Each time the output is whole with status 0, or the status is not 0."""
    text = "seq 2000000 | @n2 cat | @n3 cat | @n2 cat"
    whole = digest(b"".join(b"%d\n" % number for number in range(1, 2000001)))
    for _ in range(50 if SOAK else 6):
        flow = trio.start_flow(text)
        victim = chance.choice(["n2", "n3"])
        killing = trio[victim]
        # The kill is timed, and the client's output read meanwhile.
        timer = threading.Timer(chance.uniform(0, 0.6), killing.process.kill)
        timer.start()
        result = trio.household.finish(flow, deadline=30)
        timer.join()
        killing.process.wait(timeout=30)
        if result.returncode == 0:
            assert digest(result.stdout) == whole
        else:
            assert result.returncode == 125, result.stderr
        trio.wait_for_no_program()
        trio.start(victim, join=trio["n1"].url)
        trio.wait_until_all_list(["n1", "n2", "n3"])


# --- nothing is used up -------------------------------------------------------------------------------------------


def test_two_hundred_runs_leak_no_descriptor_and_no_process(pair):
    def round_of(count):
        flows = [pair.start_flow("seq 100 | @n2 sort -n | @n1 tail -1") for _ in range(count)]
        assert [pair.household.finish(flow).outcome for flow in flows] == [(0, b"100\n")] * count

    round_of(10)  # what is kept ready is there from now on
    pair.wait_for_no_program()

    def descriptors():
        return {name: node.descriptors() for name, node in pair.nodes.items()}

    def processes():
        return {name: len(processes_below(node.pid)) for name, node in pair.nodes.items()}

    wait_until_still(lambda: (descriptors(), processes()))
    before = descriptors(), processes()
    for _ in range(20 if not SOAK else 200):
        round_of(10)
    pair.wait_for_no_program()
    # A connection more or less is kept between the nodes, and for a minute each spawner that a burst has needed.
    kept = 4 + 10
    wait_until(lambda: all(descriptors()[name] <= before[0][name] + kept for name in pair.nodes),
               lambda: f"descriptors as before: {before[0]}, now {descriptors()}")
    wait_until(lambda: all(processes()[name] <= before[1][name] + kept for name in pair.nodes),
               lambda: f"processes as before: {before[1]}, now {processes()}")
    zombies = [pid for node in pair.nodes.values() for pid in processes_below(node.pid) if process_state(pid) == "Z"]
    assert zombies == [], describe_processes(zombies)


# --- leaving while flows run --------------------------------------------------------------------------------------


def test_leaving_node_ends_what_runs_there_and_the_flow_fails(pair):
    flow = pair.start_flow("@n2 sleep 1001 | @n1 cat")
    pair.wait_for_programs("sleep", "cat")
    result = pair.household.run_sluice("leave", *pair.at("n2"), "--grace", "1s")
    assert result.returncode == 0, result
    assert pair["n2"].process.wait(timeout=30) == 0
    result = pair.household.finish(flow)
    assert result.returncode not in (0, -signal.SIGKILL), result
    assert b"n2" in result.stderr, result
    pair.wait_for_no_program()


def test_leave_that_waits_lets_the_flow_end(pair):
    gate = pair.folder / "gate"
    os.mkfifo(gate)
    flow = pair.start_flow(f"@n2 {{ cat {gate}; echo done; }}")
    stage, = pair.wait_for_programs("cat")
    opened = open_for_writing(gate)
    leaving = pair.household.start_sluice("leave", *pair.at("n2"), "--wait")
    let_pass(3)  # longer than the grace, and than the answer to a node that does not wait
    assert is_alive(stage) and pair["n2"].process.poll() is None
    opened.write("last\n")
    opened.close()
    assert pair.household.finish(flow).outcome == (0, b"last\ndone\n")
    assert pair.household.finish(leaving).returncode == 0
    assert pair["n2"].process.wait(timeout=30) == 0
