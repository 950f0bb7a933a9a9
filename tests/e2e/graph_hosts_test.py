"""Graphs of flow files over the hosts of a cluster: links that copy, share, merge, drop and spill between nodes, and what
the loss of a node, a reader that leaves, or a signal does."""

import contextlib
import json
import os
import re
import signal
import sqlite3
from collections import Counter

import pytest

from clusters import cluster, home, pair, trio
from processes import let_pass, wait_until
from workers import USERS, write_worker

MIB = 1 << 20


def numbers(count, mark=""):
    return "".join(f"{mark}{number}\n" for number in range(1, count + 1)).encode()


def flow(stages, links):
    """A flow file, as JSON: commands need no second quotes there. A stage is a command, or (node, command)."""
    def keys(stage):
        if isinstance(stage, tuple):
            return {"on": stage[0], "run": stage[1]}
        return {"run": stage} if isinstance(stage, str) else stage
    return json.dumps({"stages": {name: keys(stage) for name, stage in stages.items()}, "links": links})


def write(cluster, text, name="a.flow.yaml"):
    (cluster.household.folder / name).write_text(text)
    return name


def run(cluster, text, *options, **how):
    return cluster.run(write(cluster, text), *options, **how)


def start(cluster, text, *options, **how):
    return cluster.start_flow(write(cluster, text), *options, **how)


def node_of(folder):
    """The node whose folder for stages a path lies in."""
    return re.search(r"/(n\d)-", folder.decode())[1]


# --- copy and merge -----------------------------------------------------------------------------------------------

DIAMOND = {"source": ("n1", "seq 100000"), "left": ("n2", "sed s/^/l/"), "right": ("n3", "sed s/^/r/"),
           "join": ("n1", "cat")}
BRANCHES = ["source -> left -> join", "source -> right -> join"]
REPORTS = pytest.mark.parametrize("options", [[], ["--progress=json"], ["--exact", "--json"], ["--mark-stderr"]])


@REPORTS
@pytest.mark.parametrize("join", ["n1", "n2", "here"])
def test_every_record_goes_down_both_branches_and_joins_whole(trio, options, join):
    result = run(trio, flow(DIAMOND | {"join": (join, "cat")}, BRANCHES), *options)
    assert result.returncode == 0, result
    assert Counter(result.stdout.splitlines()) == Counter((numbers(100_000, "l") + numbers(100_000, "r")).splitlines())
    for mark in (b"l", b"r"):
        own = [int(line[1:]) for line in result.stdout.splitlines() if line.startswith(mark)]
        assert own == list(range(1, 100_001)), "a branch keeps its order"
    trio.wait_for_no_program()


@pytest.mark.parametrize("kind", ["map", "each"])
def test_records_that_wait_for_a_slow_stage_keep_no_flow_from_its_end(pair, kind):
    """They fill its pipe when it is told to end, and nobody reads them any more."""
    slow = {"run": "while read -r n; do sleep 0.01; echo $n; done", kind: True, "on": "n1"}
    stages = {"source": ("n1", "yes"), "slow": slow, "other": ("n1", "head -c 50M > /dev/null; cat > /dev/null; echo done >&2")}
    started = run(pair, flow(stages, [{"link": "source -> slow", "slow": "drop"}, "source -> other"]), "--background")
    assert started.returncode == 0, started
    told = started.stdout.decode().strip()

    def read(stage):
        seen = pair.household.run_sluice("top", "--json", "--once", "--interval", "100ms", *pair.at("n1"), told)
        return json.loads(seen.stdout)["flows"][0]["stages"][stage]["records_read"]

    wait_until(lambda: read(1), "the slow stage reads")
    assert pair.household.run_sluice("stop", *pair.at("n1"), told).returncode == 0
    pair.household.run_sluice("wait", *pair.at("n1"), told)
    pair.wait_for_no_program()


def test_stages_run_where_the_file_says_and_else_beside_their_left_neighbour(trio):
    stages = {"a": ("n2", "pwd"), "b": "cat; pwd", "c": ("n3", "cat; pwd"), "d": "cat; pwd"}
    result = run(trio, flow(stages, ["a -> b", "a -> c", "b -> d", "c -> d"]))
    assert result.returncode == 0, result.stderr
    assert Counter(map(node_of, result.stdout.splitlines())) == {"n2": 4, "n3": 1}


def test_copy_is_exact_whatever_the_bytes_are(trio):
    data = os.urandom(3 * MIB) + b"\0no line end"
    folder = trio.household.folder
    text = flow({"a": ("n1", "cat"), "b": ("n2", f"cat > {folder}/b"), "c": ("n3", f"cat > {folder}/c"),
                 "d": f"cat > {folder}/d"},
                ["a -> b", "a -> c", "a -> d"])
    result = run(trio, text, input=data)
    assert result.outcome == (0, b""), result
    assert (folder / "b").read_bytes() == (folder / "c").read_bytes() == (folder / "d").read_bytes() == data


@pytest.mark.parametrize("source", ["seq 20000", {"run": ["cat"], "map": True, "workers": 2, "on": "n1"}])
def test_stream_that_leaves_a_node_and_comes_back_to_it_ends(trio, source):
    stages = {"source": ("n1", source) if isinstance(source, str) else source, "there": ("n2", "sed s/^/t/"), "back": ("n1", "cat")}
    result = run(trio, flow(stages, ["source -> there -> back", "source -> back"]), input=numbers(20000))
    assert (result.returncode, result.stderr) == (0, b"")
    assert Counter(result.stdout.splitlines()) == Counter((numbers(20000, "t") + numbers(20000)).splitlines())


def test_several_rows_have_their_outputs_merged_and_one_of_them_reads_stdin(trio):
    stages = {"a": {"on": "n1", "run": "sed s/^/a/", "stdin": True}, "b": ("n2", "seq 1000"), "c": ("n3", "sed s/^/c/"),
              "d": ("here", "sed s/^/d/"), "e": ("n2", "wc -c")}
    text = flow(stages, ["a -> c", "b -> d", "b -> e"])
    result = run(trio, text, input=numbers(1000))
    assert (result.returncode, result.stderr) == (0, b"")
    assert Counter(result.stdout.splitlines()) == Counter((numbers(1000, "ca") + numbers(1000, "d") + b"3893\n").splitlines())


def test_stages_that_nothing_leads_to_have_no_stdin_but_the_one_that_says_so(trio):
    stages = {"a": {"on": "n2", "run": "cat", "stdin": True}, "b": ("here", "cat"), "c": ("n3", "cat"), "join": "sort"}
    result = run(trio, flow(stages, ["a -> join", "b -> join", "c -> join"]), input=b"once\n")
    assert result.outcome == (0, b"once\n"), result


def test_links_of_many_writers_to_many_readers(trio):
    stages = {"a": ("n1", "seq 2000 | sed s/^/a/"), "b": ("n2", "seq 2000 | sed s/^/b/"),
              "c": ("n3", "sed s/^/c/"), "d": ("n2", "sed s/^/d/"), "e": ("here", "cat")}
    result = run(trio, flow(stages, ["a -> c", "a -> d", "b -> c", "b -> d", "c -> e", "d -> e"]))
    assert (result.returncode, result.stderr) == (0, b"")
    expected = b"".join(numbers(2000, mark) for mark in ("ca", "cb", "da", "db"))
    assert Counter(result.stdout.splitlines()) == Counter(expected.splitlines())


def test_records_are_told_apart_as_the_stage_that_writes_says(trio):
    data = b"".join(b"a\nb %d\0" % number for number in range(1000))
    stages = {"a": {"on": "n2", "run": "cat", "framing": "null", "stdin": True},
              "b": {"on": "n3", "run": "printf 'x\\ny\\0z\\0'", "framing": "null"}, "c": ("n1", "cat")}
    result = run(trio, flow(stages, ["a -> c", "b -> c"]), input=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert Counter(result.stdout.split(b"\0")) == Counter(data.split(b"\0")[:-1] + [b"x\ny", b"z", b""])


def test_stage_on_every_node_is_a_branch_like_others(trio):
    stages = {"a": ("n1", "seq 1000"), "each": {"on": "all", "run": "wc -l"}, "b": ("n2", "wc -c"), "join": ("n3", "sort -n")}
    result = run(trio, flow(stages, ["a -> each -> join", "a -> b -> join"]))
    assert result.outcome == (0, 3 * b"1000\n" + b"3893\n"), result


def test_stages_of_many_workers_and_of_jobs_are_branches_like_others(trio):
    stages = {"source": ("n1", "seq 300"), "each": {"run": ["printf", "e%s\n", "{}"], "each": True, "workers": 3},
              "map": {"run": "sed -u s/^/m/", "map": True, "workers": 3}, "many": {"run": "sed s/^/x/", "workers": 3},
              "join": {"on": "n2", "run": "cat"}}
    result = run(trio, flow(stages, [f"source -> {branch} -> join" for branch in ("each", "map", "many")]))
    assert (result.returncode, result.stderr) == (0, b"")
    expected = numbers(300, "e") + numbers(300, "m") + numbers(300, "x")
    assert Counter(result.stdout.splitlines()) == Counter(expected.splitlines())
    trio.wait_for_no_program()


def test_wide_fan_of_branches_over_three_nodes(trio):
    stages = {"source": ("n1", "seq 3000")} | {f"b{n}": (f"n{n % 3 + 1}", "cat") for n in range(30)} | {"join": ("n2", "wc -l")}
    result = run(trio, flow(stages, [f"source -> b{n} -> join" for n in range(30)]))
    assert result.outcome == (0, b"90000\n"), result


def test_client_on_another_node_than_all_stages(trio):
    text = flow(DIAMOND | {"source": ("n2", "cat"), "join": ("n3", "cat")}, BRANCHES)
    result = run(trio, text, at="n1", input=numbers(5000))
    assert result.returncode == 0, result
    assert Counter(result.stdout.splitlines()) == Counter((numbers(5000, "l") + numbers(5000, "r")).splitlines())


# --- share, stderr ------------------------------------------------------------------------------------------------


def test_shared_records_go_to_one_branch_each(trio):
    source = {"on": "n1", "run": "seq 100000", "share": True}
    result = run(trio, flow(DIAMOND | {"source": source}, BRANCHES))
    assert result.returncode == 0, result
    assert Counter(line[1:] for line in result.stdout.splitlines()) == Counter(numbers(100_000).splitlines())
    assert {line[:1] for line in result.stdout.splitlines()} == {b"l", b"r"}


def test_stderr_is_a_link_to_another_node(trio):
    noisy = "for i in $(seq 500); do echo $i; echo e$i >&2; done"
    log = trio.household.folder / "log"
    stages = {"a": {"on": "n1", "run": noisy, "stderr": "log"},
              "b": {"on": "n2", "run": noisy.replace("e$i", "f$i"), "stderr": "log"},
              "out": ("here", "sort -n | uniq -c | wc -l"), "log": ("n3", f"sort > {log}")}
    result = run(trio, flow(stages, ["a -> out", "b -> out"]))
    assert (result.outcome, result.stderr) == ((0, b"500\n"), b"")
    assert Counter(log.read_bytes().splitlines()) == Counter((numbers(500, "e") + numbers(500, "f")).splitlines())


def test_stderr_of_workers_elsewhere_is_a_link(trio):
    log = trio.household.folder / "log"
    each = {"run": "read n; echo $n; echo e$n >&2", "each": True, "workers": 6, "stderr": "log"}
    result = run(trio, flow({"a": ("n2", "seq 60"), "each": each, "log": ("n3", f"sort > {log}")}, ["a -> each"]))
    assert (result.returncode, result.stderr) == (0, b"")
    assert Counter(log.read_bytes().splitlines()) == Counter(numbers(60, "e").splitlines())


def test_stderr_of_workers_that_share_records_over_several_nodes_is_refused(trio):
    many = {"run": "cat", "workers": 6, "stderr": "log"}
    stages = {"a": ("n1", f"touch {trio.household.folder}/started"), "many": many, "log": "cat"}
    result = run(trio, flow(stages, ["a -> many"]))
    assert result.outcome == (125, b""), result
    assert b"stage 'many': its workers go over several nodes" in result.stderr and b"'on'" in result.stderr
    assert not (trio.household.folder / "started").exists()


# --- slow links ---------------------------------------------------------------------------------------------------


def held(folder, then="cat"):
    return f"while [ ! -e {folder}/go ]; do sleep 0.01; done; {then} > {folder}/slow"


def size_of(path):
    return path.stat().st_size if path.exists() else 0


def test_slow_branch_closes_the_tap(trio):
    folder = trio.household.folder
    stages = {"tap": ("n1", "yes"), "quick": ("n2", f"cat > {folder}/quick"), "slow": ("n3", held(folder))}
    process = start(trio, flow(stages, ["tap -> quick", "tap -> slow"]))
    size = -1

    def stands():
        nonlocal size
        before, size = size, size_of(folder / "quick")
        let_pass(0.5)
        return size == before > 0

    wait_until(stands, "that the tap is closed")
    assert size < 24 * MIB, "what the pipes and the connection hold"
    (folder / "go").touch()
    wait_until(lambda: size_of(folder / "quick") > size + 24 * MIB, "that it flows again")
    process.send_signal(signal.SIGINT)
    assert trio.household.finish(process).returncode == -signal.SIGINT
    trio.wait_for_no_program()


def test_link_that_drops_holds_nobody_up_and_says_what_was_lost(trio):
    folder = trio.household.folder
    stages = {"source": ("n1", "seq 5000000"), "quick": ("n2", f"cat > {folder}/quick"), "slow": ("n3", held(folder))}
    process = start(trio, flow(stages, ["source -> quick", {"link": "source -> slow", "slow": "drop"}]), "--json", "--quiet")
    whole = len(numbers(5_000_000))
    wait_until(lambda: size_of(folder / "quick") == whole, "that the quick one has everything")
    (folder / "go").touch()
    result = trio.household.finish(process)
    assert result.outcome == (0, b""), result
    kept = [int(line) for line in (folder / "slow").read_bytes().splitlines()]
    assert kept == sorted(set(kept)), "in order, and each once"
    link = next(link for link in result.summary["links"] if link["to"] == "slow")
    assert (link["records"], link["records_dropped"]) == (len(kept), 5_000_000 - len(kept))
    assert f"the link 'source -> slow' dropped {link['records_dropped']} records" in result.stderr.decode()


def test_link_that_spills_holds_nobody_up_and_loses_nothing(trio):
    folder = trio.household.folder
    stages = {"source": ("n1", "seq 5000000"), "quick": ("n2", f"cat > {folder}/quick"), "slow": ("n3", held(folder))}
    process = start(trio, flow(stages, ["source -> quick", {"link": "source -> slow", "slow": {"spill": "100M"}}]), "--json")
    whole = len(numbers(5_000_000))
    wait_until(lambda: size_of(folder / "quick") == whole, "that the quick one has everything")
    (folder / "go").touch()
    result = trio.household.finish(process)
    assert result.returncode == 0, result
    assert (folder / "slow").read_bytes() == numbers(5_000_000)
    link = next(link for link in result.summary["links"] if link["to"] == "slow")
    assert 4 * MIB < link["spilled_bytes_max"] < 100 * MIB


# --- ends ---------------------------------------------------------------------------------------------------------


def test_reader_that_leaves_releases_its_own_branch_only(trio):
    stages = {"source": ("n1", "seq 1000000"), "leaves": ("n2", "head -n 1"), "stays": ("n3", "tail -n 1"),
              "join": ("n1", "sort")}
    result = run(trio, flow(stages, ["source -> leaves -> join", "source -> stays -> join"]))
    assert (result.outcome, result.stderr) == ((0, b"1\n1000000\n"), b"")


def test_writer_whose_readers_have_all_left_ends(trio):
    stages = {"source": ("n1", "yes"), "a": ("n2", "head -n 1"), "b": ("n3", "head -n 2"), "join": ("here", "cat")}
    result = run(trio, flow(stages, ["source -> a -> join", "source -> b -> join"]))
    assert (result.outcome, result.stderr) == ((0, 3 * b"y\n"), b"")


def test_merger_that_has_enough_ends_its_branches(trio):
    stages = {"a": ("n1", "yes a"), "b": ("n2", "yes b"), "join": ("n3", "head -n 5 | wc -l")}
    result = run(trio, flow(stages, ["a -> join", "b -> join"]))
    assert (result.outcome, result.stderr) == ((0, b"5\n"), b"")
    trio.wait_for_no_program()


def test_status_is_that_of_the_failed_stage_which_is_furthest_down(trio):
    stages = {"a": ("n1", "seq 5; exit 3"), "b": ("n2", "cat; exit 4"), "c": ("n3", "cat; exit 5"),
              "d": ("n1", "cat > /dev/null")}
    result = run(trio, flow(stages, ["a -> b -> d", "a -> c -> d"]))
    assert result.returncode == 5, result
    said = result.stderr.decode()
    for name, node, status in (("a", "n1", 3), ("b", "n2", 4), ("c", "n3", 5)):
        assert re.search(rf"stage '{name}' `.*` on {node} exited with status {status}", said), said


def commit(folder):
    """It hears no SIGTERM, and would take an end of its input for the whole."""
    return f"trap '' TERM; cat > /dev/null && touch {folder}/committed"


@pytest.mark.parametrize("killed", ["n2", "n3"])
def test_node_that_is_killed_ends_the_flow_and_nothing_is_committed(trio, killed):
    folder = trio.household.folder
    stages = {"source": ("n1", f"touch {folder}/started; yes"), "left": ("n2", "cat"), "right": ("n3", "cat"),
              "join": ("n1", commit(folder)), "beside": ("here", commit(folder))}
    process = start(trio, flow(stages, BRANCHES + ["right -> beside"]), "--grace", "500ms")
    wait_until((folder / "started").exists, "that it runs")
    trio.nodes[killed].kill()
    result = trio.household.finish(process)
    assert result.returncode == 125, result
    said = result.stderr.decode()
    name = "left" if killed == "n2" else "right"
    assert killed in said and f"stage '{name}'" in said, said
    trio.wait_for_no_program()
    assert not (folder / "committed").exists()


def test_orchestrator_that_is_killed_leaves_no_program(trio):
    folder = trio.household.folder
    stages = {"source": ("n2", f"touch {folder}/started; yes"), "left": ("n2", "cat"), "right": ("n3", "cat"),
              "join": ("here", commit(folder))}
    process = start(trio, flow(stages, BRANCHES))
    wait_until((folder / "started").exists, "that it runs")
    trio.nodes["n1"].kill()
    assert trio.household.finish(process).returncode == 125
    trio.wait_for_no_program()
    assert not (folder / "committed").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_every_stage_on_every_node(trio, number):
    stages = {"source": ("n1", "yes"), "left": ("n2", "cat"), "right": ("n3", "cat"), "join": ("here", "cat > /dev/null")}
    process = start(trio, flow(stages, BRANCHES))
    trio.wait_for_programs("yes", "cat", "cat", "cat")
    process.send_signal(number)
    assert trio.household.finish(process).returncode == -number
    trio.wait_for_no_program()


def test_client_that_is_killed_leaves_no_program(trio):
    stages = {"source": ("n1", "yes"), "left": ("n2", "cat"), "right": ("n3", "cat"), "join": ("here", "cat > /dev/null")}
    process = start(trio, flow(stages, BRANCHES))
    trio.wait_for_programs("yes", "cat", "cat", "cat")
    process.kill()
    trio.wait_for_no_program()


def test_program_that_is_not_there_starts_nothing(trio):
    folder = trio.household.folder
    stages = {"source": ("n1", f"touch {folder}/started; seq 5"), "left": ("n2", ["no-such-program"]), "right": ("n3", "cat"),
              "join": "cat"}
    result = run(trio, flow(stages, BRANCHES))
    assert result.returncode == 127, result
    assert "stage 'left'" in result.stderr.decode() and "(on n2)" in result.stderr.decode()
    assert not (folder / "started").exists()


# --- workers of the library ---------------------------------------------------------------------------------------

MERGER = """
worker = Worker(concurrency=20000)
waiting = {}

@worker.on_data
def got(record, item):
    mark, number = record[:1], int(record[1:])
    halves = waiting.setdefault(number, {})
    halves[mark] = item
    if len(halves) == 2:
        item.write(b"%d" % number)
        for each in waiting.pop(number).values():
            each.done()

raise SystemExit(worker.run())
"""
MARKER = """
import time
worker = Worker(concurrency=8)

@worker.on_data
def got(record, item):
    if int(record) % 20 == 0:
        time.sleep(0.005)
    item.write(sys.argv[1].encode() + record)
    item.done()

raise SystemExit(worker.run())
"""


def write_look_ups(cluster, left, right, merger):
    """Both look-ups side by side as workers, and a merger that answers once for each record that both have."""
    folder = cluster.household.folder
    write_worker(folder / "marker.py", MARKER)
    write_worker(folder / "merger.py", MERGER)
    stages = {"source": "cat", "left": {"worker": "./marker.py l", **left}, "right": {"worker": "./marker.py r", **right},
              "merger": {"worker": "./merger.py", **merger}, "sink": ("n1", "cat")}
    return flow(stages, ["source -> left -> merger", "source -> right -> merger", "merger -> sink"])


@pytest.mark.parametrize("places", [
    ({"on": "n2", "workers": 2}, {"on": "n3", "workers": 2}, {"on": "n1"}),
    ({"workers": 4}, {"workers": 4}, {"on": "n3"}),
    ({"on": "n2"}, {"on": "n2"}, {"on": "here"}),
])
def test_workers_side_by_side_and_a_merger_answer_once_for_each_record(trio, places):
    result = run(trio, write_look_ups(trio, *places), input=numbers(3000))
    assert (result.returncode, result.stderr) == (0, b"")
    assert sorted(map(int, result.stdout.split())) == list(range(1, 3001))
    trio.wait_for_no_program()


def test_node_that_is_killed_costs_workers_side_by_side_no_record(trio):
    keys = {"workers": 4, "restart": "on-failure"}
    folder = trio.household.folder
    (folder / "numbers").write_bytes(numbers(20000))
    text = write_look_ups(trio, keys, keys, {"on": "n1"})
    with open(folder / "numbers", "rb") as stdin, open(folder / "out", "wb") as stdout:
        process = start(trio, text, stdin=stdin, stdout=stdout)
    wait_until(lambda: size_of(folder / "out") > 1000, "the first answers")
    trio.nodes["n3"].kill()
    result = trio.household.finish(process)
    assert result.returncode == 0, result
    assert re.search(rb"lost the workers of stage '(left|right)' on n3", result.stderr), result
    assert sorted(map(int, (folder / "out").read_bytes().split())) == list(range(1, 20001))


def test_stage_of_a_graph_is_given_more_workers_by_its_name(trio):
    stages = {"source": ("n1", "seq 2000"), "slow": {"on": "n2", "run": "while read -r n; do sleep 0.01; echo $n; done", "map": True},
              "beside": ("n3", "cat"), "join": ("n1", "wc -l")}
    process = start(trio, flow(stages, ["source -> slow -> join", "source -> beside -> join"]), "--name", "scaled")
    trio.wait_for_programs("sleep")
    scaled = trio.household.run_sluice("scale", *trio.at("n1"), "scaled", "slow=6")
    assert scaled.outcome == (0, b"stage slow: 1 -> 6 workers\n"), scaled
    result = trio.household.finish(process)
    assert (result.outcome, result.stderr) == ((0, b"4000\n"), b"")


def test_example_in_parallel_over_three_nodes_writes_every_user_once_with_both_look_ups(trio):
    folder = trio.household.folder
    names = ["Ada Lovelace", "Grace Hopper", "Alan Turing"]
    (folder / "users.csv").write_text("id,name\n" + "".join(f"{n},{names[n % 3]}\n" for n in range(1, 3001)))
    places = {"parser": "here", "facebook": "n2", "twitter": "n3", "merger": "n1", "database": "here"}
    script = (USERS / "python-parallel.flow.yaml").read_text().replace("python/", f"{USERS}/python/")
    for stage, place in places.items():
        script = re.sub(rf"(  {stage}: +\{{)", rf"\1 on: {place},", script)
    result = run(trio, script, "--json", deadline=60)
    assert result.outcome == (0, b""), result
    with contextlib.closing(sqlite3.connect(folder / "users.db")) as database:
        rows = database.execute("select * from users order by id").fetchall()
    assert [row[0] for row in rows] == list(range(1, 3001))
    for number, name, facebook, twitter in rows:
        first = name.split()[0].lower()
        assert (facebook, twitter) == (f"{first}.{number}@facebook", f"{first}.{number}@twitter")
    assert [stage["host"] for stage in result.summary["stages"]][1:4] == ["n2", "n3", "n1"]
    trio.wait_for_no_program()


def test_record_that_fails_on_a_branch_is_tried_again_and_buried_with_the_clients_file(trio):
    each = {"run": "read n; case $n in *7) exit 3;; esac; echo $n", "each": True, "workers": 3, "retries": 2}
    stages = {"source": ("n1", "seq 20"), "each": each, "beside": ("n2", "sed s/^/b/"), "join": ("n3", "cat")}
    result = run(trio, flow(stages, ["source -> each -> join", "source -> beside -> join"]), "--dead-letter", "dead")
    assert result.returncode == 0, result
    kept = b"".join(b"%d\n" % n for n in range(1, 21) if n % 10 != 7)
    assert Counter(result.stdout.splitlines()) == Counter((kept + numbers(20, "b")).splitlines())
    letters = [json.loads(line) for line in (trio.household.folder / "dead").read_text().splitlines()]
    assert sorted((letter["record"].strip(), letter["attempts"], letter["stage"]) for letter in letters) == \
        [("17", 3, 2), ("7", 3, 2)]
    assert b"stage 'each': 2 records failed for good" in result.stderr


def test_worker_of_many_that_is_killed_ends_the_flow_and_nothing_is_committed(trio):
    folder = trio.household.folder
    stages = {"source": ("n1", "yes"), "many": {"on": "n2", "run": f"echo $$ > {folder}/pid; cat", "workers": 1},
              "beside": ("n3", "cat"), "join": ("n1", commit(folder))}
    process = start(trio, flow(stages, ["source -> many -> join", "source -> beside -> join"]), "--grace", "500ms")
    pid = int(wait_until(lambda: (folder / "pid").exists() and (folder / "pid").read_text().strip(), "a worker"))
    os.kill(pid, signal.SIGKILL)
    result = trio.household.finish(process)
    assert result.returncode == 137, result
    assert b"worker 1 of stage 'many'" in result.stderr, result
    trio.wait_for_no_program()
    assert not (folder / "committed").exists()


# --- messages and plans -------------------------------------------------------------------------------------------


def test_plan_shows_where_each_stage_runs_and_each_link(trio):
    stages = DIAMOND | {"log": ("here", "cat")}
    stages["left"] = {"on": "n2", "run": "sed s/^/l/", "stderr": "log"}
    links = ["source -> left -> join", {"link": "source -> right", "slow": {"spill": "10M"}}, "right -> join"]
    result = run(trio, flow(stages, links), "--dry-run")
    assert result.returncode == 0, result
    plan = result.stdout.decode()
    assert re.search(r"source +n1 +@n1 ", plan) and re.search(r"left +n2 ", plan), plan
    address = r"\(byte link: n2 dials n1 \(\S+\), else n1 dials n2 \(\S+\), else .*\)"
    assert re.search(rf"source => left, copied {address}", plan), plan
    assert re.search(r"source => right, copied, spill 10.0 MiB \(byte link", plan), plan
    assert re.search(r"right => join, merged \(byte link", plan), plan
    assert re.search(r"stderr of left => log \(byte link, relayed by n1\)", plan), plan
    assert "stdin => source (byte link)" in plan and "join => stdout" in plan, plan
    assert "promise: every byte in order" in plan and "where links merge, records come whole" in plan, plan
    parsed = json.loads(run(trio, flow(stages, links), "--dry-run", "--json").stdout)
    assert {"from": 1, "to": 3, "rules": ["copied", "spill 10.0 MiB"]}.items() <= \
        next(link for link in parsed["links"] if (link["from"], link["to"]) == (1, 3)).items()


def test_file_that_is_one_row_has_the_names_of_its_stages_in_messages_too(pair):
    text = flow({"first": ("n1", "seq 5"), "second": ("n2", "cat; exit 7")}, ["first -> second"])
    result = run(pair, text, "--json")
    assert result.returncode == 7
    assert re.search(r"stage 'second' `.*` on n2 exited with status 7", result.stderr.decode()), result
    assert [stage["name"] for stage in result.summary["stages"]] == ["first", "second"]
    plan = run(pair, text, "--dry-run").stdout.decode()
    assert re.search(r"second +n2 ", plan) and "first => second (byte link" in plan, plan
    assert run(pair, flow({"a": ("n1", "echo x >&2"), "b": ("n2", "cat")}, ["a -> b"]), "--mark-stderr").stderr == b"[a] x\n"


def test_files_environment_and_rate_reach_each_stage(trio):
    script = trio.household.folder / "mark.sh"
    script.write_text("#!/bin/sh\nsed s/^/$MARK/\n")
    script.chmod(0o755)
    stages = {"source": ("n1", "seq 100")}
    for mark, node in (("l", "n2"), ("r", "n3")):
        stages[mark] = {"on": node, "run": "./mark.sh", "env": {"MARK": mark}}
    stages["join"] = {"on": "n2", "run": "cat", "map": True}
    result = run(trio, flow(stages, ["source -> l -> join", "source -> r -> join"]), "--rate", "100000")
    assert (result.returncode, result.stderr) == (0, b"")
    assert Counter(result.stdout.splitlines()) == Counter((numbers(100, "l") + numbers(100, "r")).splitlines())
