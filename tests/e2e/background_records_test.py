"""Flows in the background with stages that take records, and with branches: their output is kept whole, and they are
listed, followed, awaited, scaled, stopped and removed as all others. Unlike those they end with their daemon."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from clusters import cluster, home, pair, trio
from machine import IS_ROOT, UNSHARE, can_unshare
from processes import let_pass, wait_until
from settings import SLUICE
from workers import write_flow, write_worker

SLOW_MAP = "sh -c 'while read -r n; do sleep 0.01; echo $n; done'"
ENDLESS = "while :; do date; sleep 0.01; done"


@pytest.fixture(params=["one node", "two nodes"])
def nodes(request, cluster):
    """One node, or two of which the workers have a share each."""
    return cluster.grow_to(1 if request.param == "one node" else 2)


def hand_over(nodes, text, *options):
    started = nodes.run(text, "--background", *options)
    assert (started.returncode, started.stderr) == (0, b""), started
    return started.stdout.decode().strip()


def ask(nodes, verb, *arguments, at="n1", **settings):
    return nodes.household.run_sluice(verb, *nodes.at(at), *arguments, **settings)


def status_of(nodes, flow):
    return ask(nodes, "wait", flow).returncode


def logs(nodes, *operands, at="n1"):
    """What is kept of a stream, of which nothing is missing."""
    result = ask(nodes, "logs", *operands, at=at)
    assert (result.returncode, result.stderr) == (0, b""), result
    return result.stdout


def flow_of(nodes, flow, at="n1"):
    listed = ask(nodes, "ps", "-a", "--json", at=at)
    assert listed.returncode in (0, 6), listed  # 6: another node does not answer
    return {entry["id"]: entry for entry in map(json.loads, listed.stdout.splitlines())}.get(flow)


def fill_disk(filler):
    with open(filler, "ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(512))


def numbers(count, mark=""):
    return [f"{mark}{number}".encode() for number in range(1, count + 1)]


def write_graph(nodes, stages, links, name="a.flow.yaml"):
    (nodes.household.folder / name).write_text(json.dumps({"stages": stages, "links": links}))
    return name


# --- what comes out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["@x4 cat", "@x4 @map cat", "@x4 @each cat", "@x3 @each=7 cat", "@x2 @each echo {}",
                                   "@map cat", "@x2 cat | @x2 @map cat | @x2 @each cat"])
def test_every_record_is_kept_once(nodes, stage):
    flow = hand_over(nodes, f"seq 900 | {stage}")
    assert status_of(nodes, flow) == 0
    assert Counter(logs(nodes, flow).splitlines()) == Counter(numbers(900))
    flow = hand_over(nodes, f"seq 900 | {stage} | sort -n")
    assert status_of(nodes, flow) == 0
    assert logs(nodes, flow).splitlines() == numbers(900)
    nodes.wait_for_no_program()


@pytest.mark.parametrize("stage", ["@x4 @map @ordered cat", "@x4 @each @ordered cat"])
def test_order_is_kept(nodes, stage):
    flow = hand_over(nodes, f"seq 300000 | sed -n 1,400p | {stage}" if "each" in stage else f"seq 300000 | {stage}")
    assert status_of(nodes, flow) == 0
    assert logs(nodes, flow).splitlines() == numbers(400 if "each" in stage else 300000)


@pytest.mark.parametrize("text", ["@n1 seq 600 | @n2 @x3 @map cat", "@n2 seq 600 | @n1 @x3 @each cat",
                                  "@n2 seq 600 | @n2 @x3 @map cat", "@n1 seq 600 | @n2 cat | @n1 @x2 cat", "@all seq 300 | @n2 @x2 @map cat"])
def test_records_go_between_nodes(pair, text):
    flow = hand_over(pair, text)
    assert status_of(pair, flow) == 0
    expected = numbers(600) if "@all" not in text else numbers(300) * 2
    assert Counter(logs(pair, flow).splitlines()) == Counter(expected)
    assert Counter(logs(pair, flow, at="n2").splitlines()) == Counter(expected)
    pair.wait_for_no_program()


def test_workers_of_the_library_run_in_the_background(nodes):
    write_worker(nodes.household.folder / "w.py", """
worker = Worker(concurrency=4)
@worker.on_data
def handle(record, input):
    print(f"has {record.decode()}", file=sys.stderr)
    input.write(record)
    input.done()
worker.run()
""")
    flow = hand_over(nodes, write_flow(nodes.household, "run: seq 500", "worker: ./w.py, workers: 3"))
    assert status_of(nodes, flow) == 0
    assert Counter(logs(nodes, flow).splitlines()) == Counter(numbers(500))
    assert Counter(logs(nodes, f"{flow}/s2").splitlines()) == Counter(numbers(500, "has "))


def test_workers_that_were_started_by_hand_join_it(nodes):
    program = write_worker(nodes.household.folder / "w.py", """
worker = Worker(concurrency=4)
@worker.on_data
def handle(record, input):
    input.write(record)
    input.done()
worker.run()
""")
    flow = hand_over(nodes, write_flow(nodes.household, "run: seq 500", "role: doubler"))
    nodes.household.start_sluice("worker", "--role", "doubler", "--join", nodes["n1"].url, "--key", str(nodes.key), "--",
                                 str(program))
    assert status_of(nodes, flow) == 0
    assert Counter(logs(nodes, flow).splitlines()) == Counter(numbers(500))
    assert logs(nodes, f"{flow}/2") == b""


@pytest.mark.skipif(not IS_ROOT, reason="only root can run programs as another user")
def test_programs_of_another_user_open_what_is_kept_of_them(cluster):
    cluster.start("n1", "--run-as", "nobody")
    flow = hand_over(cluster, "seq 20 | @x2 @each sh -c 'read n; echo bad $n > /dev/stderr; echo $n' | "
                              "sh -c 'cat > /dev/stdout; id -un > /dev/stderr'")
    assert status_of(cluster, flow) == 0
    assert Counter(logs(cluster, flow).splitlines()) == Counter(numbers(20))
    assert Counter(logs(cluster, f"{flow}/2").splitlines()) == Counter(numbers(20, "bad "))
    assert logs(cluster, f"{flow}/3") == b"nobody\n"


def test_stage_without_any_input_ends_at_once(nodes):
    flow = hand_over(nodes, "@x2 @map cat")
    assert status_of(nodes, flow) == 0
    assert logs(nodes, flow) == b""


def test_output_of_every_node_is_shown_with_its_name(pair):
    flow = hand_over(pair, "@all { echo said; hostname >&2; }")
    assert status_of(pair, flow) == 0
    assert sorted(logs(pair, flow).splitlines()) == [b"n1: said", b"n2: said"]
    assert sorted(line.split(b": ")[0] for line in logs(pair, f"{flow}/1").splitlines()) == [b"n1", b"n2"]


def test_newest_output_is_kept_and_what_is_dropped_is_told(nodes):
    flow = hand_over(nodes, "seq 200000 | @x2 @map @ordered cat", "--output-max", "64K")
    assert status_of(nodes, flow) == 0
    result = ask(nodes, "logs", flow)
    whole = b"".join(line + b"\n" for line in numbers(200000))
    assert result.returncode == 0 and whole.endswith(result.stdout), result
    assert 7 * 8192 <= len(result.stdout) <= 65536
    assert result.stderr.startswith(b"sluice: %d bytes are missing here: more was written" % (len(whole) - len(result.stdout)))


def test_logs_that_follow_end_with_the_flow(nodes):
    flow = hand_over(nodes, f"seq 300 | @x2 @map {SLOW_MAP}")
    follower = nodes.household.start_sluice("logs", "-f", *nodes.at("n1"), flow, stdout=subprocess.PIPE,
                                            stderr=subprocess.PIPE)
    result = nodes.household.finish(follower)
    assert flow_of(nodes, flow)["state"] == "ended"
    assert result.returncode == 0 and Counter(result.stdout.splitlines()) == Counter(numbers(300)), result


@pytest.mark.parametrize("stage", ["@x2 @each sh -c 'read n; echo bad $n >&2; echo $n'",
                                   "@x2 @map sh -c 'while read -r n; do echo bad $n >&2; echo $n; done'",
                                   "@x2 sh -c 'while read -r n; do echo bad $n >&2; echo $n; done'"])
def test_what_workers_say_on_stderr_is_kept_with_their_stage(nodes, stage):
    flow = hand_over(nodes, f"seq 60 | {stage} | cat")
    assert status_of(nodes, flow) == 0
    assert Counter(logs(nodes, f"{flow}/2").splitlines()) == Counter(numbers(60, "bad "))
    assert logs(nodes, f"{flow}/1") == logs(nodes, f"{flow}/3") == b""


# --- how it ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, status", [
    ("seq 20 | @x2 @each sh -c 'read n; test $n != 7 || exit 9; echo $n'", 9),
    ("seq 20 | @x2 sh -c 'cat; exit 3'", 3),
    ("sh -c 'seq 20; exit 4' | @x2 @map cat", 4),
    ("seq 20 | @x2 @map nosuch-program", 127),
])
def test_status_is_that_of_the_stage_that_failed(nodes, text, status):
    started = nodes.run(text, "--background")
    if status == 127:
        assert started.outcome == (127, b"") and b"nosuch-program" in started.stderr, started
        return
    flow = started.stdout.decode().strip()
    assert status_of(nodes, flow) == status
    entry = flow_of(nodes, flow)
    assert (entry["state"], entry["status"]) == ("ended", status), entry
    assert ("record 7" in entry.get("message", "")) == (status == 9), entry
    nodes.wait_for_no_program()


@pytest.mark.parametrize("stage", ["@x2 cat", f"@x2 @map {SLOW_MAP}", "@x2 @each cat"])
def test_stop_in_the_middle_leaves_no_process_and_what_had_come(nodes, stage):
    flow = hand_over(nodes, f"sh -c '{ENDLESS}' | {stage}")
    wait_until(lambda: logs(nodes, flow), "the first output")
    assert ask(nodes, "stop", flow).returncode == 0
    assert flow_of(nodes, flow)["state"] == "ended"
    nodes.wait_for_no_program()
    assert logs(nodes, flow)


def test_stop_ends_what_ignores_it(nodes):
    flow = hand_over(nodes, "yes | head -4 | @x2 @each sh -c 'trap \"\" TERM; sleep 1005; sleep 1005'")
    nodes.wait_for_programs("sleep", "sleep")
    assert ask(nodes, "stop", "--grace", "100ms", flow).returncode == 0
    nodes.wait_for_no_program()
    assert flow_of(nodes, flow)["state"] == "ended"


def test_timeout_ends_it(nodes):
    flow = hand_over(nodes, f"sh -c '{ENDLESS}' | @x2 @map cat", "--timeout", "500ms")
    assert status_of(nodes, flow) == 124
    entry = flow_of(nodes, flow)
    assert (entry["state"], entry["status"]) == ("ended", 124), entry
    assert explained(nodes, flow) == "timed out (--timeout); every stage was ended"
    nodes.wait_for_no_program()


@pytest.mark.parametrize("stage", ["@x2 cat", f"@x2 @map {SLOW_MAP}", "@x2 @each cat"])
def test_killed_daemon_ends_the_flow_and_the_next_one_tells_so(nodes, stage):
    flow = hand_over(nodes, f"sh -c '{ENDLESS}' | {stage}")
    before = wait_until(lambda: logs(nodes, flow), "the first output")
    nodes["n1"].kill()
    nodes.wait_for_no_program()
    nodes.start("n1", join=nodes["n2"].url if "n2" in nodes.nodes else None)
    nodes.wait_until_all_list(nodes.nodes)
    assert status_of(nodes, flow) == 125
    entry = flow_of(nodes, flow)
    assert (entry["state"], entry["status"]) == ("ended", 125), entry
    assert entry["message"] == "the node was restarted, and records of the flow went through it"
    assert logs(nodes, flow).startswith(before)
    assert ask(nodes, "rm", flow).outcome == (0, b"")
    assert flow_of(nodes, flow) is None


def test_node_with_workers_that_is_killed_costs_no_record_that_can_run_again(pair):
    flow = hand_over(pair, f"@n1 seq 600 | @x4 @map {SLOW_MAP}")
    wait_until(lambda: len(logs(pair, flow).splitlines()) > 20, "the first output")
    pair["n2"].kill()
    assert status_of(pair, flow) == 0
    assert Counter(logs(pair, flow).splitlines()) == Counter(numbers(600))


def test_records_that_never_met_the_orchestrator_go_on_without_it(trio):
    gate = trio.folder / "gate"
    os.mkfifo(gate)
    flow = hand_over(trio, f"@n2 {{ seq 300; cat {gate}; seq 301 600; }} | @n3 @x2 @map sh -c 'echo said >&2; exec cat'")
    trio.wait_for_programs("cat", "cat", "cat")
    trio["n1"].kill()
    wait_until(lambda: flow_of(trio, flow, at="n2") and flow_of(trio, flow, at="n2")["alone"], "a flow that is alone")
    wait_until(lambda: Counter(logs(trio, flow, at="n2").splitlines()) == Counter(numbers(300)), "what was written so far")
    assert logs(trio, f"{flow}/2", at="n3") == b"said\nsaid\n"
    trio.start("n1", join=trio["n2"].url)
    trio.wait_until_all_list(trio.nodes)
    assert flow_of(trio, flow)["state"] == "running"
    gate.write_text("")
    assert status_of(trio, flow) == 0
    assert Counter(logs(trio, flow).splitlines()) == Counter(numbers(600))
    assert logs(trio, f"{flow}/2") == b"said\nsaid\n"


def test_node_with_records_that_is_killed_ends_the_flow(pair):
    flow = hand_over(pair, f"@n2 sh -c '{ENDLESS}' | @x2 @map cat | @n1 cat")
    wait_until(lambda: logs(pair, flow), "the first output")
    pair["n2"].kill()
    assert status_of(pair, flow) == 125
    assert "n2" in flow_of(pair, flow)["message"]
    assert logs(pair, flow)
    pair.wait_for_no_program()


def test_daemon_that_is_told_to_end_ends_the_flow(nodes):
    flow = hand_over(nodes, f"sh -c '{ENDLESS}' | @x2 @map cat")
    wait_until(lambda: logs(nodes, flow), "the first output")
    assert nodes["n1"].terminate() == 0
    nodes.wait_for_no_program()
    nodes.start("n1", join=nodes["n2"].url if "n2" in nodes.nodes else None)
    entry = flow_of(nodes, flow)
    assert entry["state"] == "ended" and entry["status"] != 0, entry


def test_rows_without_records_go_on_without_their_daemon(cluster):
    cluster.start("n1")
    gates = [cluster.folder / name for name in ("left.gate", "right.gate")]
    for gate in gates:
        os.mkfifo(gate)
    stages = {name: {"run": run} for name, run in [("left", f"cat {gates[0]}"), ("l", "sed s/^/l/"),
                                                   ("right", f"cat {gates[1]}"), ("r", "sed s/^/r/")]}
    flow = hand_over(cluster, write_graph(cluster, stages, ["left -> l", "right -> r"]))
    cluster.wait_for_programs("cat", "cat", "sed", "sed")
    cluster["n1"].kill()
    cluster.start("n1")
    assert flow_of(cluster, flow)["state"] == "running"
    for gate in gates:
        gate.write_text("done\n")
    assert status_of(cluster, flow) == 0
    assert sorted(logs(cluster, flow).splitlines()) == [b"ldone", b"rdone"]


@pytest.mark.skipif(not can_unshare(), reason="no mount namespace inside a user namespace")
def test_full_disk_holds_no_record_up_and_is_told(cluster):
    data = cluster.folder / "n1-data"
    data.mkdir(mode=0o700)
    script = f'mount -t tmpfs -o size=1m,mode=700 tmpfs {data} && exec "$@"'
    node = cluster.start("n1", prefix=[*UNSHARE, "sh", "-c", script, "sh"])

    def sluice(*arguments):
        return cluster.household.run([SLUICE, *arguments, "--node", node.url, "--key", str(cluster.key)])

    flow = sluice("run", "--background", "seq 1000000 | @x2 @map @ordered cat | @x2 cat").stdout.decode().strip()
    assert sluice("wait", flow).returncode == 0
    kept = sluice("logs", flow)
    whole = sum(len(line) + 1 for line in numbers(1000000))
    assert kept.returncode == 0 and 0 < len(kept.stdout) < 1 << 20, kept
    missing = [int(line.split()[1]) for line in kept.stderr.splitlines()]
    assert b"could not be written on the node" in kept.stderr and sum(missing) + len(kept.stdout) == whole, kept.stderr


@pytest.mark.skipif(not can_unshare(), reason="no mount namespace inside a user namespace")
def test_end_that_found_the_disk_full_is_written_when_there_is_room(cluster):
    data = cluster.folder / "n1-data"
    data.mkdir(mode=0o700)
    script = f'mount -t tmpfs -o size=1m,mode=700 tmpfs {data} && exec "$@"'
    node = cluster.start("n1", prefix=[*UNSHARE, "sh", "-c", script, "sh"])
    inside = Path(f"/proc/{node.pid}/root{data}")
    go_on = cluster.folder / "go-on"

    def sluice(*arguments):
        return cluster.household.run([SLUICE, *arguments, "--node", node.url, "--key", str(cluster.key)])

    waits = f"sh -c 'until [ -e {go_on} ]; do sleep 0.05; done'"
    flow = sluice("run", "--background", f"seq 60 | @x2 @each {waits}").stdout.decode().strip()
    fill_disk(inside / "filler")
    go_on.touch()
    assert sluice("wait", flow).returncode == 0
    wait_until(lambda: "flow's end not written" in node.log_text(), node.log_text)
    assert "ENDED" not in (inside / "flows" / flow / "flow.json").read_text()
    (inside / "filler").unlink()
    wait_until(lambda: "ENDED" in (inside / "flows" / flow / "flow.json").read_text(), node.log_text)
    # The next daemon finds what the first one has written.
    shutil.copytree(inside, data, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
    node.kill()
    cluster.start("n1")
    entry = flow_of(cluster, flow)
    assert (entry["state"], entry["status"]) == ("ended", 0), entry


@pytest.mark.parametrize("stage", ["@x2 sh -c 'setsid sleep 1006 >/dev/null & cat; echo said >&2'",
                                   "@x2 @map sh -c 'setsid sleep 1006 >/dev/null & echo said >&2; exec cat'"])
@pytest.mark.parametrize("option", ["--keep", "--grace=200ms"])
def test_what_a_worker_leaves_running_keeps_nothing_from_being_whole(nodes, stage, option):
    flow = hand_over(nodes, f"seq 3000 | {stage} | @x2 cat", option)
    assert status_of(nodes, flow) == 0
    assert Counter(logs(nodes, flow).splitlines()) == Counter(numbers(3000))
    assert logs(nodes, f"{flow}/2") == b"said\nsaid\n"
    if option == "--keep":
        assert len(nodes.programs("sleep")) == 2
    else:
        nodes.wait_for_no_program()


def test_flow_that_is_stopped_while_it_starts_is_over_at_once(nodes, chance):
    texts = ["seq 100000 | @x3 cat | @x2 @map cat", "yes | @x2 @each cat", "@all yes | @n1 @x2 @map cat", "@map cat"]
    for number in range(24):
        starting = nodes.start_flow(chance.choice(texts), "--background", "--name", f"f{number}")
        let_pass(chance.uniform(0, 0.06))
        if chance.random() < 0.5:
            starting.terminate()
        ask(nodes, "stop", "--grace", "100ms", f"f{number}")
        nodes.household.finish(starting)
        ask(nodes, "stop", "--grace", "100ms", f"f{number}")
    nodes.wait_for_no_program()
    assert ask(nodes, "ps", "--json").outcome == (0, b"")


# --- while it runs ------------------------------------------------------------------------------------------------


def test_stage_is_scaled_and_shown(nodes):
    flow = hand_over(nodes, f"seq 2000 | @x2 @map {SLOW_MAP}", "--name", "scaled")
    wait_until(lambda: len(logs(nodes, flow).splitlines()) > 20, "the first output")
    scaled = ask(nodes, "scale", "scaled", "2=6")
    assert scaled.outcome == (0, b"stage 2: 2 -> 6 workers\n"), scaled
    wait_until(lambda: len(nodes.programs("sh")) == 6, lambda: f"six workers; there are {nodes.programs('sh')}")
    shown = ask(nodes, "top", "--json", "--once", flow)
    assert shown.returncode == 0, shown
    stage = json.loads(shown.stdout)["flows"][0]["stages"][1]
    assert stage["kind"] == "map" and stage["workers"] >= 6 and stage["records_written"] > 20, stage
    assert status_of(nodes, flow) == 0
    assert Counter(logs(nodes, flow).splitlines()) == Counter(numbers(2000))


def test_removed_flow_leaves_nothing_on_any_node(pair):
    flow = hand_over(pair, f"@n1 sh -c '{ENDLESS}' | @n2 @x2 @map cat")
    kept = lambda: {name for name, node in pair.nodes.items() if (node.data / "flows" / flow).exists()}
    assert ask(pair, "rm", flow).returncode == 1 and kept() == {"n1", "n2"}
    assert ask(pair, "stop", flow).returncode == 0
    assert ask(pair, "rm", flow).outcome == (0, b"")
    assert kept() == set()


@pytest.mark.parametrize("options, word", [(["--dead-letter", "dead"], b"--dead-letter dead"),
                                           (["--joblog", "log"], b"--joblog log")])
def test_files_of_the_client_are_refused(pair, options, word):
    for extra in ([], ["--dry-run"]):
        result = pair.run("seq 3 | @each cat", "--background", *options, *extra)
        assert result.returncode == 125 and word in result.stderr and b"foreground" in result.stderr, result
    assert not (pair.household.folder / options[1]).exists()


# --- branches -----------------------------------------------------------------------------------------------------


def on(*names):
    """The keys that place a stage, by how many nodes there are."""
    return lambda nodes: {"on": names[min(len(names), len(nodes.nodes)) - 1]}


def test_graph_keeps_each_of_its_outputs(nodes):
    there = on("n1", "n2")(nodes)
    stages = {"source": {"run": "seq 5000"}, "left": {"run": "sed s/^/l/; echo left >&2"},
              "right": {"run": "sed s/^/r/", **there}, "count": {"run": "wc -l"}}
    flow = hand_over(nodes, write_graph(nodes, stages, ["source -> left", "source -> right", "source -> count"]))
    assert status_of(nodes, flow) == 0
    left, right, count = ([line + b"\n" for line in lines] for lines in (numbers(5000, "l"), numbers(5000, "r"), [b"5000"]))
    assert logs(nodes, "--output", f"{flow}/left") == b"".join(left)
    assert logs(nodes, "--output", f"{flow}/right") == b"".join(right)
    assert logs(nodes, "--output", f"{flow}/count") == b"".join(count)
    assert Counter(logs(nodes, flow).splitlines(True)) == Counter(left + right + count)
    assert logs(nodes, f"{flow}/left") == b"left\n"
    refused = ask(nodes, "logs", "--output", f"{flow}/source")
    assert refused.returncode == 1 and b"goes to another" in refused.stderr, refused
    assert ask(nodes, "logs", f"{flow}/nobody").returncode == 3


def test_graph_copies_shares_and_merges_records(nodes):
    there = on("n1", "n2")(nodes)
    stages = {"source": {"run": "seq 3000", **there}, "map": {"run": ["sed", "-u", "s/^/m/"], "map": True, "workers": 2},
              "each": {"run": ["sed", "s/^/e/"], "each": 50, "workers": 2}, "join": {"run": "cat", **there}}
    links = ["source -> map -> join", "source -> each -> join"]
    flow = hand_over(nodes, write_graph(nodes, stages, links))
    assert status_of(nodes, flow) == 0
    assert Counter(logs(nodes, flow).splitlines()) == Counter(numbers(3000, "m") + numbers(3000, "e"))
    nodes.wait_for_no_program()


def test_followers_of_two_outputs_see_whole_lines(nodes):
    stages = {"source": {"run": "seq 2000"}, "left": {"run": "sed -u s/^/l/"},
              "right": {"run": "sed -u s/^/r/", **on("n1", "n2")(nodes)}}
    gate = nodes.folder / "gate"
    os.mkfifo(gate)
    stages["source"] = {"run": f"cat {gate}; seq 2000"}
    flow = hand_over(nodes, write_graph(nodes, stages, ["source -> left", "source -> right"]))
    follower = nodes.household.start_sluice("logs", "-f", *nodes.at("n1"), flow, stdout=subprocess.PIPE)
    gate.write_text("")
    result = nodes.household.finish(follower)
    assert Counter(result.stdout.splitlines()) == Counter(numbers(2000, "l") + numbers(2000, "r"))


def test_killed_daemon_ends_a_graph_whose_links_meet(nodes):
    stages = {"source": {"run": ENDLESS}, "left": {"run": "cat"}, "right": {"run": "cat > /dev/null"}}
    flow = hand_over(nodes, write_graph(nodes, stages, ["source -> left", "source -> right"]))
    wait_until(lambda: logs(nodes, flow), "the first output")
    nodes["n1"].kill()
    nodes.wait_for_no_program()
    nodes.start("n1", join=nodes["n2"].url if "n2" in nodes.nodes else None)
    assert status_of(nodes, flow) == 125
    assert "records of the flow went through it" in flow_of(nodes, flow)["message"]


def test_killed_spawner_ends_the_flow(nodes):
    flow = hand_over(nodes, f"sh -c '{ENDLESS}' | @x2 @map {SLOW_MAP}")
    wait_until(lambda: logs(nodes, flow), "the first output")
    state = nodes["n1"].data / "flows" / flow / "0" / "lock"
    holder = wait_until(lambda: lock_holder(state), "the spawner")
    os.kill(holder, signal.SIGKILL)
    assert status_of(nodes, flow) == 125
    assert "spawner" in flow_of(nodes, flow)["message"]
    nodes.wait_for_no_program()


def lock_holder(path):
    """A process called a spawner that has this file open."""
    inode = os.stat(path).st_ino
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii") as file:
                if file.read() != "sluice-spawner\n":
                    continue
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                if os.stat(f"/proc/{pid}/fd/{descriptor}").st_ino == inode:
                    return int(pid)
        except OSError:
            continue
    return None


# --- what its user is told ----------------------------------------------------------------------------------------


def explained(nodes, flow, at="n1"):
    """What is said of a flow that failed: in the list, and to who waits for it."""
    waited = ask(nodes, "wait", flow, at=at)
    message = flow_of(nodes, flow, at=at)["message"]
    assert (waited.returncode, waited.stderr.decode()) == (flow_of(nodes, flow, at=at)["status"], f"sluice: {message}\n"), waited
    return message


@pytest.mark.parametrize("text, sentence", [
    ("seq 3 | cat nosuch", "stage 2 `cat nosuch` on n1 exited with status 1"),
    ("seq 3 | @x2 @map sh -c 'cat; exit 3'", "stage 2 `sh -c 'cat; exit 3'` on n1 exited with status 3"),
    ("seq 3 | sh -c 'kill -9 $$'", "stage 2 `sh -c 'kill -9 $$'` on n1 was ended by signal 9 (SIGKILL)")])
def test_flow_that_failed_is_explained(nodes, text, sentence):
    flow = hand_over(nodes, text)
    status_of(nodes, flow)
    assert explained(nodes, flow) == f"{sentence} (sluice logs {flow[:8]}/2)"


def test_flow_that_failed_while_its_daemon_was_gone_is_explained(cluster):
    cluster.grow_to(1)
    flow = hand_over(cluster, "seq 3 | sh -c 'while [ ! -e go ]; do sleep 0.05; done; exit 4'"
                     .replace("go ]", f"{cluster.folder}/go ]"))
    cluster["n1"].kill()
    (cluster.folder / "go").touch()
    cluster.start("n1")
    wait_until(lambda: flow_of(cluster, flow)["state"] == "ended", "its end")
    assert "on n1 exited with status 4 (sluice logs" in explained(cluster, flow)


def test_loss_of_a_node_with_workers_is_told_to_who_asks_and_in_the_log_of_the_node_that_was_asked(pair):
    flow = hand_over(pair, "seq 30 | @x6 @each @ordered sh -c 'sleep 0.2; echo $1' sh {}")
    wait_until(lambda: logs(pair, flow), "the first answers")
    assert "notes" not in flow_of(pair, flow)
    pair["n2"].kill()
    waited = ask(pair, "wait", flow)
    assert waited.returncode == 0
    assert logs(pair, flow).splitlines() == numbers(30)
    note, = flow_of(pair, flow)["notes"]
    assert "lost the workers of stage 2 on n2" in note and "what they had not done is done elsewhere" in note
    assert waited.stderr.decode() == f"sluice: {note}\n"
    told, = [line for line in pair["n1"].log_text().splitlines() if "lost the workers of stage 2 on n2" in line]
    assert flow in told and "what they had not done is done elsewhere" in told, told
