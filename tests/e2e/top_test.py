"""`sluice top` and /metrics: what flows move, what their stages do with their time, and what holds them back."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from clusters import cluster, home, pair, promised, trio
from processes import DEADLINE_SECONDS, children_of, process_name, wait_until
from settings import SLUICE
from terminals import INTERRUPT_KEY, SUSPEND_KEY
from workers import write_worker

SLOWLY = "while read -r n; do sleep 0.01; echo $n; done"
SLOW_IN_THE_MIDDLE = f"@n1 seq 100000000 | @n2 sh -c '{SLOWLY}' | @n3 cat > /dev/null"
ALTERNATE_SCREEN, ORDINARY_SCREEN = r"\x1b\[\?1049h", r"\x1b\[\?1049l"


# --- asking -------------------------------------------------------------------------------------------------------


def top(nodes, *options, status=0):
    result = nodes.household.run_sluice("top", *nodes.at("n1"), "--once", *options)
    assert result.returncode == status, result
    return result


def sample_of(nodes, *options):
    """The only flow of one look."""
    flows = json.loads(top(nodes, "--json", *options).stdout)["flows"]
    assert len(flows) == 1, flows
    return flows[0]


def wait_for_sample(nodes, good, *options):
    """The first look that is good. What a flow does in its first moments is no rule for the rest."""
    seen = []

    def look():
        seen[:] = [sample_of(nodes, *options)]
        return good(seen[0]) and seen[0]

    return wait_until(look, lambda: f"a good sample; the last is {seen}")


@contextlib.contextmanager
def samples(nodes, *options):
    """Whole looks, as they come."""
    process = nodes.household.start_sluice("top", *nodes.at("n1"), "--json", *options)

    def lines():
        for line in process.stdout:
            yield json.loads(line)

    try:
        yield lines()
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_SECONDS)


@contextlib.contextmanager
def running(nodes, text, *options, **settings):
    """A flow, until the test has seen enough of it."""
    flow = nodes.start_flow(text, *options, **settings)
    try:
        yield flow
    finally:
        assert flow.poll() is None, flow.communicate()
        flow.terminate()
        nodes.household.finish(flow)


# --- what must hold in every sample -------------------------------------------------------------------------------


def balanced(counts):
    return counts["in"] == counts["out"] + counts["dropped"] + counts["dead"] + counts["in_flight"]


def check(flow):
    """The counters of every link, and the shares of every stage and worker."""
    for link in flow["links"]:
        assert balanced(link["bytes"]), link
        assert link["records"] is None or balanced(link["records"]), link
    for stage in flow["stages"]:
        for each in [stage, *stage["each_worker"]]:
            shares = [each["busy_percent"], each["idle_percent"], each["held_back_percent"]]
            assert shares == [None] * 3 or sum(shares) == 100, each


def is_bottleneck(flow, stage):
    return flow["bottleneck"] and (flow["bottleneck"]["kind"], flow["bottleneck"]["stage"]) == ("stage", stage)


def link_between(flow, ends, stderr=False):
    return next(link for link in flow["links"] if (link["from"], link["to"], link["stderr"]) == (*ends, stderr))


# --- flows over hosts ---------------------------------------------------------------------------------------------


def test_slow_stage_in_the_middle_is_the_bottleneck(trio):
    with running(trio, SLOW_IN_THE_MIDDLE):
        flow = wait_for_sample(trio, lambda flow: is_bottleneck(flow, 2))
    check(flow)
    assert [stage["nodes"] for stage in flow["stages"]] == [["n1"], ["n2"], ["n3"]]
    first, middle, last = flow["stages"]
    assert first["held_back_percent"] > 50 and middle["busy_percent"] > 90 and last["idle_percent"] > 50, flow
    assert {(link["from"], link["to"]) for link in flow["links"]} >= {(1, 2), (2, 3)}
    assert link_between(flow, (1, 2))["bytes"]["in_flight"] > 0, flow
    assert not link_between(flow, (1, 2))["estimated"]


def test_counters_of_every_link_are_balanced_in_fifty_samples(trio):
    with running(trio, SLOW_IN_THE_MIDDLE), samples(trio, "--interval", "100ms") as looks:
        flows = [next(looks)["flows"][0] for _ in range(50)]
    for flow in flows:
        check(flow)
    moved = [link_between(flow, (1, 2))["bytes"]["in"] for flow in flows]
    assert moved == sorted(moved) and moved[-1] > 0


KINDS = {"spread": f"@x4 sh -c '{SLOWLY}'",
         "map": f"@x4 @map sh -c '{SLOWLY}'",
         "each": "@x4 @each sh -c 'read n; sleep 0.05; echo $n'"}


@pytest.mark.parametrize("kind", KINDS)
def test_stage_of_many_workers_is_the_bottleneck(trio, kind):
    with running(trio, f"@n1 seq 100000000 | {KINDS[kind]} | @n3 cat > /dev/null"):
        wait_for_sample(trio, lambda flow: is_bottleneck(flow, 2))
        with samples(trio, "--interval", "100ms") as looks:
            flows = [next(looks)["flows"][0] for _ in range(20)]
    for flow in flows:
        check(flow)
    stage = flows[-1]["stages"][1]
    assert (stage["kind"], stage["workers"], len(stage["each_worker"])) == (kind, 4, 4), stage
    assert stage["records_read"] > 0 and stage["busy_percent"] > 50, stage
    assert {worker["node"] for worker in stage["each_worker"]} <= {"n1", "n2", "n3"}
    records = link_between(flows[-1], (1, 2))["records"]
    assert records["in"] == stage["records_read"] and records["out"] > 0, records
    assert {worker["pid"] for worker in stage["each_worker"]} == {None}, "the hosts that run them alone know"
    assert all(worker["pid"] > 0 for worker in flows[-1]["stages"][0]["each_worker"])
    if kind != "spread":
        assert records["in_flight"] == stage["in_flight"] > 0, stage


def test_dead_letters_are_counted(pair):
    with running(pair, "@n1 sh -c 'seq 20; sleep 1000' | @x2 @each sh -c 'read n; test $n -gt 5'", "--dead-letter", "dead"):
        flow = wait_for_sample(pair, lambda flow: any(stage["dead"] == 5 for stage in flow["stages"]) and
                               link_between(flow, (1, 2))["records"]["out"] == 15)
    assert link_between(flow, (1, 2))["records"] == {"in": 20, "out": 15, "dropped": 0, "dead": 5, "in_flight": 0}


def test_tap_that_gives_little_is_the_bottleneck(pair):
    with running(pair, "@n1 sh -c 'while sleep 0.05; do echo a; done' | @n2 cat > /dev/null"):
        flow = wait_for_sample(pair, lambda flow: is_bottleneck(flow, 1))
    assert flow["stages"][1]["idle_percent"] > 80, flow


def test_input_and_output_of_the_client_are_named_too(pair):
    with running(pair, "@n1 cat | @n2 cat", stdin=subprocess.PIPE):
        wait_for_sample(pair, lambda flow: (flow["bottleneck"] or {}).get("kind") == "input")
    with running(pair, "@n1 cat /dev/zero | @n2 cat"):  # nobody reads what it prints
        wait_for_sample(pair, lambda flow: (flow["bottleneck"] or {}).get("kind") == "output")


def test_stages_of_the_client_are_seen_as_others(pair):
    with running(pair, f"seq 100000000 | sh -c '{SLOWLY}' | @n2 cat > /dev/null"):
        flow = wait_for_sample(pair, lambda flow: is_bottleneck(flow, 2))
    check(flow)
    assert link_between(flow, (1, 2))["estimated"]


def test_flow_in_the_background_is_seen_even_behind_a_restart_of_its_daemon(pair):
    text = f"@n1 seq 100000000 | @n1 sh -c '{SLOWLY}' | cat > /dev/null"
    assert pair.run(text, "--background", "--name", "still").returncode == 0
    wait_for_sample(pair, lambda flow: is_bottleneck(flow, 2), "still")
    pair["n1"].terminate()
    pair.start("n1", listen=pair["n1"].address)
    flow = wait_for_sample(pair, lambda flow: is_bottleneck(flow, 2), "still")
    check(flow)
    assert flow["background"] and flow["name"] == "still"
    assert pair.household.run_sluice("stop", "still", *pair.at("n1")).returncode == 0


def test_flow_of_another_node_is_seen(pair):
    with running(pair, "@n2 sleep 1001", at="n2"):
        assert wait_for_sample(pair, lambda flow: True)["node"] == "n2"


def test_host_that_is_silent_is_named_and_not_waited_for_long(pair):
    with running(pair, "@here sleep 1001 | @n2 cat") as client:
        pair.wait_for_programs("sleep", "cat")
        client.send_signal(signal.SIGSTOP)
        try:
            begin = time.monotonic()
            flow = sample_of(pair)
            assert time.monotonic() - begin < promised(5)
        finally:
            client.send_signal(signal.SIGCONT)
        assert len(flow["silent_hosts"]) == 1 and "n2" not in flow["silent_hosts"], flow
        assert flow["stages"][1]["busy_percent"] is not None, "the others are counted"
        wait_for_sample(pair, lambda flow: not flow["silent_hosts"])


# --- graphs -------------------------------------------------------------------------------------------------------

# Of each kind of link one at least. The source writes some MB a second, which the slow ones can't take.
GRAPH_STAGES = {"source": "while :; do seq 20000; echo careful >&2; sleep 0.05; done",
                "lossy": f"{SLOWLY} > /dev/null",
                "kept": f"{SLOWLY} > /dev/null",
                "pool": {"run": f"{SLOWLY} > /dev/null", "workers": 2},
                "sharer": {"run": "cat", "share": True},
                "left": "cat",
                "right": "cat",
                "merger": "cat > /dev/null",
                "counter": {"run": ["cat"], "map": True},
                "log": "cat > /dev/null"}
GRAPH_LINKS = [{"link": "source -> lossy", "slow": "drop"}, {"link": "source -> kept", "slow": {"spill": "1G"}},
               {"link": "source -> pool", "slow": "drop"}, "source -> sharer", "sharer -> left -> merger",
               "sharer -> right -> merger", "left -> counter", "right -> counter", "counter -> log"]
ALL_ON_A_NODE = dict.fromkeys(GRAPH_STAGES, "n1")
NEARLY_ALL_HERE = dict.fromkeys(GRAPH_STAGES, "here") | {"log": "n1"}
SPREAD_OUT = ALL_ON_A_NODE | {"lossy": "n3", "kept": "n2", "pool": "n2", "sharer": "n2", "left": "n3", "merger": "n3",
                              "log": "here"}


def number_of(name):
    return list(GRAPH_STAGES).index(name) + 1


def links_of_graph():
    texts = [link if isinstance(link, str) else link["link"] for link in GRAPH_LINKS]
    rows = [text.split(" -> ") for text in texts]
    links = {(number_of(a), number_of(b), False) for row in rows for a, b in zip(row, row[1:])}
    return links | {(number_of("source"), number_of("log"), True)}


def write_graph(nodes, stages, links, places):
    keys = {name: dict(stage if isinstance(stage, dict) else {"run": stage}, on=places[name])
            for name, stage in stages.items()}
    if "log" in stages:
        keys["source"]["stderr"] = "log"
    (nodes.household.folder / "graph.flow.yaml").write_text(json.dumps({"stages": keys, "links": links}))
    return "graph.flow.yaml"


def graph_link(flow, name, to, stderr=False):
    return link_between(flow, (number_of(name), number_of(to)), stderr)


def is_under_way(flow):
    """Each link has moved something, and the slow ones are as they are to be."""
    lossy, pool = graph_link(flow, "source", "lossy"), graph_link(flow, "source", "pool")
    return (all(link["bytes"]["out"] > 0 for link in flow["links"] if link["to"]) and
            lossy["bytes"]["dropped"] > 0 and pool["records"]["dropped"] > 0 and pool["records"]["out"] > 0 and
            graph_link(flow, "source", "kept")["bytes"]["in_flight"] > 1 << 20)


@pytest.mark.parametrize("places", [ALL_ON_A_NODE, NEARLY_ALL_HERE, SPREAD_OUT], ids=["node", "here", "three"])
def test_every_link_of_a_graph_is_counted_in_every_sample(trio, places):
    with running(trio, write_graph(trio, GRAPH_STAGES, GRAPH_LINKS, places), stdout=subprocess.DEVNULL):
        wait_for_sample(trio, is_under_way)
        with samples(trio, "--interval", "100ms") as looks:
            flows = [next(looks)["flows"][0] for _ in range(30)]
        values = metrics_of(metrics_page(trio))
        table = top(trio).stdout.decode()
    for flow in flows:
        check(flow)
        shown = [(link["from"], link["to"], link["stderr"]) for link in flow["links"]]
        assert len(set(shown)) == len(shown) and set(shown) >= links_of_graph(), shown
        for link in flow["links"]:
            assert not link["estimated"], link
    for ends in links_of_graph():
        went_in = [link_between(flow, ends[:2], ends[2])["bytes"]["in"] for flow in flows]
        assert went_in == sorted(went_in), ends
        gone = [link_between(flow, ends[:2], ends[2])["bytes"]["dropped"] for flow in flows]
        assert gone == sorted(gone), ends
    first, last = flows[0], flows[-1]
    for name in ("lossy", "pool"):
        link, before = graph_link(last, "source", name), graph_link(first, "source", name)
        assert link["bytes"]["dropped"] > before["bytes"]["dropped"] > 0, link
        assert link["records"]["dropped"] > before["records"]["dropped"] > 0, link
        assert link["bytes"]["in_flight"] > 0 and link["records"]["in_flight"] > 0, link
    pool = last["stages"][number_of("pool") - 1]
    assert graph_link(last, "source", "pool")["records"]["in_flight"] >= pool["in_flight"], "its own are of them"
    kept = [graph_link(flow, "source", "kept")["bytes"]["in_flight"] for flow in flows]
    assert kept[-1] > kept[0] > 1 << 20, kept
    assert graph_link(last, "source", "kept")["bytes"]["dropped"] == 0
    # Each record is of one of those who share.
    shared = [graph_link(last, "sharer", name)["records"]["in"] for name in ("left", "right")]
    assert min(shared) > 0 and sum(shared) * 2 < graph_link(last, "source", "sharer")["bytes"]["in"], shared
    for name in ("left", "right"):
        assert graph_link(last, name, "merger")["records"]["out"] > 0, last["links"]
    both = [graph_link(last, name, "counter")["records"]["in"] for name in ("left", "right")]
    assert last["stages"][number_of("counter") - 1]["records_read"] <= sum(both), "it is not counted for each of them"
    errors = graph_link(last, "source", "log", stderr=True)["bytes"]
    assert 0 < errors["in"] < graph_link(last, "source", "sharer")["bytes"]["in"] / 100, errors
    check_metrics(values, first["id"], links_of_graph())
    assert re.search(r"^ +stderr of 1 -> 10 +bytes ", table, re.M), table


def check_metrics(values, flow, links):
    for source, to, stderr in links:
        labels = {"flow": flow, "from": str(source), "to": str(to)} | ({"stderr": "true"} if stderr else {})
        counts = {}
        for (name, having), value in values.items():
            if having == frozenset(labels.items()) and name.startswith("sluice_link_"):
                counts[name.removeprefix("sluice_link_")] = value
        for of in ("bytes", "records"):
            if of == "records" and "records_in_total" not in counts:
                continue
            parts = ("out_total", "dropped_total", "dead_total", "in_flight")
            assert counts[f"{of}_in_total"] == sum(counts[f"{of}_{part}"] for part in parts), (labels, counts)


def test_reader_that_holds_nobody_back_is_not_the_bottleneck(pair):
    takes = "while dd bs=64k count=1 of=/dev/null 2>/dev/null; do sleep {}; done"
    stages = {"source": "yes", "slow": takes.format(0.1), "lossy": takes.format(1)}
    links = ["source -> slow", {"link": "source -> lossy", "slow": "drop"}]
    with running(pair, write_graph(pair, stages, links, dict.fromkeys(stages, "n1")), stdout=subprocess.DEVNULL):
        wait_for_sample(pair, lambda flow: is_bottleneck(flow, 2) and link_between(flow, (1, 3))["bytes"]["dropped"] > 0 and
                        flow["stages"][1]["busy_percent"] == flow["stages"][2]["busy_percent"])


def test_what_waited_for_a_reader_that_left_is_dropped(pair):
    go = pair.household.folder / "go"
    stages = {"source": "seq 400000; sleep 1000",
              "brief": f"until [ -e {go} ]; do sleep 0.05; done; exec sleep 1000 < /dev/null", "all": "cat"}
    text = write_graph(pair, stages, ["source -> brief", "source -> all"], dict.fromkeys(stages, "n1"))
    with running(pair, text, stdout=subprocess.DEVNULL):
        flow = wait_for_sample(pair, lambda flow: link_between(flow, (1, 2))["bytes"]["in_flight"] > 1 << 18)
        assert link_between(flow, (1, 2))["bytes"]["dropped"] == 0, flow
        go.touch()
        flow = wait_for_sample(pair, lambda flow: link_between(flow, (1, 3))["bytes"]["out"] == len_of_numbers(400000))
    check(flow)
    brief = link_between(flow, (1, 2))["bytes"]
    assert brief["in_flight"] == 0 and brief["dropped"] > 0 and brief["in"] == brief["out"] + brief["dropped"], flow
    assert link_between(flow, (1, 3))["bytes"]["dropped"] == 0


def len_of_numbers(count):
    return sum(len(f"{number}\n") for number in range(1, count + 1))


MERGER = """
worker = Worker(concurrency=4)

@worker.on_data
def take(record, item):
    item.fail("no") if record.endswith(b"7") else item.done()

sys.exit(worker.run())
"""


@pytest.mark.parametrize("places", [("n1", "n1", "n1"), ("n2", "n3", "n1"), ("n1", "here", "n2")])
def test_stage_of_workers_counts_each_of_its_links(trio, places):
    write_worker(trio.household.folder / "merger.py", MERGER)
    feed = "seq {}; sleep 1000"
    stages = {"a": {"run": feed.format(30), "on": places[0]}, "b": {"run": feed.format(50), "on": places[1]},
              "c": {"run": "seq 10; seq 10 >&2; sleep 1000", "on": places[0], "stderr": "merger"},
              "sink": {"run": "cat > /dev/null", "on": places[1]},
              "merger": {"worker": "./merger.py", "on": places[2], "retries": 0}}
    links = ["a -> merger", "b -> merger", "c -> sink"]
    (trio.household.folder / "graph.flow.yaml").write_text(json.dumps({"stages": stages, "links": links}))
    with running(trio, "graph.flow.yaml", "--dead-letter", "dead"):
        flow = wait_for_sample(trio, lambda flow: sum(stage["dead"] or 0 for stage in flow["stages"]) == 9 and
                               flow["stages"][4]["in_flight"] == 0 and flow["stages"][4]["records_read"] == 90)
    check(flow)
    for ends, count, dead in (((1, 5), 30, 3), ((2, 5), 50, 5)):
        link = link_between(flow, ends)
        assert link["records"] == {"in": count, "out": count - dead, "dropped": 0, "dead": dead, "in_flight": 0}, link
        assert link["bytes"]["in"] == link["bytes"]["out"] == len_of_numbers(count), link
    errors = link_between(flow, (3, 5), stderr=True)
    assert (errors["records"]["in"], errors["records"]["dead"], errors["bytes"]["in"]) == (10, 1, len_of_numbers(10)), errors
    beside = link_between(flow, (3, 4))
    assert beside["estimated"] or beside["bytes"]["out"] == len_of_numbers(10), beside


def test_what_a_part_that_has_ended_has_counted_is_still_shown(trio):
    stages = {"source": "seq 1000", "map": {"run": ["cat"], "map": True}, "left": "cat", "right": "cat > /dev/null; sleep 1000"}
    places = {"source": "n1", "map": "n1", "left": "n1", "right": "n2"}
    text = write_graph(trio, stages, ["source -> map", "map -> left", "map -> right"], places)
    with running(trio, text, stdout=subprocess.DEVNULL):
        flow = wait_for_sample(trio, lambda flow: [stage["running"] for stage in flow["stages"]] == 3 * [False] + [True])
    check(flow)
    size = len_of_numbers(1000)
    for ends in ((1, 2), (2, 3), (2, 4)):
        counts = link_between(flow, ends)["bytes"]
        assert (counts["in"], counts["out"], counts["in_flight"]) == (size, size, 0), (ends, flow["links"])
    assert link_between(flow, (1, 2))["records"]["out"] == 1000


# --- the command --------------------------------------------------------------------------------------------------


def test_plain_table_names_stages_links_and_the_bottleneck(pair):
    with running(pair, f"@n1 seq 100000000 | @n2 sh -c '{SLOWLY}' | cat > /dev/null", "--name", "crawl"):
        wait_for_sample(pair, lambda flow: is_bottleneck(flow, 2))
        text = top(pair, "crawl").stdout.decode()
    assert re.search(r"^sluice top: 1 flow on \d hosts$", text, re.M), text
    assert re.search(r"^[0-9a-f]{32}  crawl  running .* on n1", text, re.M), text
    assert re.search(r"^ +# +STAGE +NODES .* BUSY +IDLE +HELD$", text, re.M), text
    assert re.search(r"^ +1 -> 2 +bytes +\d", text, re.M), text
    assert re.search(r"^  bottleneck: stage 2 `sh -c .*, busy \d+ % of the time$", text, re.M), text
    assert "\x1b" not in text


def test_without_a_flow_there_is_nothing_to_show(cluster):
    cluster.start("n1")
    assert top(cluster).stdout == b"sluice top: no flow runs\n"
    assert json.loads(top(cluster, "--json").stdout)["flows"] == []


def test_mistakes_are_told_by_their_status(cluster):
    cluster.start("n1")
    assert b"no flow 'nobody' runs" in top(cluster, "nobody", status=3).stderr
    assert b"--interval" in top(cluster, "--interval", "1ms", status=2).stderr
    assert b"exclude each other" in top(cluster, "--plain", "--json", status=2).stderr
    gone = cluster.household.run_sluice("top", "--once", "--node", str(cluster.folder / "no.sock"))
    assert gone.returncode == 5, gone


def test_reader_that_goes_away_ends_it(cluster):
    cluster.start("n1")
    process = cluster.household.start_sluice("top", "--json", "--interval", "100ms", *cluster.at("n1"))
    assert process.stdout.readline().startswith(b"{")
    process.stdout.close()
    assert process.wait(DEADLINE_SECONDS) == 0


# --- full screen --------------------------------------------------------------------------------------------------


@pytest.fixture
def screen(cluster, shell):
    """A shell in which `top` shows a node without a flow."""
    cluster.start("n1")
    modes = shell.modes()
    command = f"{SLUICE} top --interval 100ms --node {cluster['n1'].socket}"

    def start(first="true", shows="no flow runs"):
        shell.start(f"{first}; {command}")
        shell.expect(ALTERNATE_SCREEN)
        shell.expect(shows)
        assert not shell.echoes()

    shell.start_top = start
    yield shell
    assert shell.modes() == modes


def test_full_screen_ends_with_q(screen):
    screen.start_top()
    screen.send("q")
    screen.expect(ORDINARY_SCREEN)
    screen.prompt()
    assert screen.status() == 0


def test_full_screen_of_eighty_columns_shows_what_stages_do(screen, cluster):
    with running(cluster, f"@n1 seq 100000000 | @n1 @map sh -c '{SLOWLY}' | @n1 cat > /dev/null"):
        screen.start_top("stty cols 80 rows 40", r"#  STAGE +NODES .* IN FLIGHT  BUSY  IDLE  HELD\b")
        screen.expect(r" 2  sh -c 'w.* [\d.]+[kM]?  +\d+%  +\d+%  +\d+%")
        screen.expect(r"bottleneck: stage 2 `sh -c.*, busy \d+ % of the time")
        screen.send("q")
        screen.prompt()


def test_full_screen_gives_the_terminal_back_when_it_is_interrupted(screen):
    screen.start_top()
    screen.send(INTERRUPT_KEY)
    screen.expect(ORDINARY_SCREEN)
    screen.prompt()
    assert screen.status() == 130


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_full_screen_gives_the_terminal_back_when_it_is_ended(screen, number, status):
    screen.start_top()
    os.kill(next(pid for pid in children_of(screen.process.pid) if process_name(pid) == "sluice"), number)
    screen.expect(ORDINARY_SCREEN)
    screen.prompt()
    assert screen.status() == status


def test_line_by_line_it_ends_with_an_interrupt(cluster):
    cluster.start("n1")
    process = cluster.household.start_sluice("top", "--plain", "--interval", "100ms", *cluster.at("n1"))
    assert process.stdout.readline() == b"sluice top: no flow runs\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == -signal.SIGINT


def test_full_screen_stops_and_goes_on(screen):
    screen.start_top()
    screen.send(SUSPEND_KEY)
    screen.expect(ORDINARY_SCREEN)
    assert "Stopped" in screen.prompt()
    screen.start("fg")
    screen.expect(ALTERNATE_SCREEN)
    screen.expect("no flow runs")
    screen.send("q")
    screen.expect(ORDINARY_SCREEN)
    screen.prompt()


def test_full_screen_says_why_when_its_node_is_gone(screen, cluster):
    screen.start_top()
    cluster["n1"].kill()
    screen.expect(ORDINARY_SCREEN)
    assert "sluice: " in screen.prompt()
    assert screen.status() == 5


# --- /metrics -----------------------------------------------------------------------------------------------------

_SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\\\|\\"|\\n)*",?)*)\})? (\d+(?:\.\d+)?(?:e[+-]?\d+)?)')
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"')


def metrics_page(nodes, by="n1"):
    result = subprocess.run(["curl", "-s", "-D", "-", "--unix-socket", str(nodes[by].socket), "http://localhost/metrics"],
                            capture_output=True, check=True, timeout=DEADLINE_SECONDS)
    head, _, page = result.stdout.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 ") and "Content-Type: text/plain; version=0.0.4" in head, head
    return page


def metrics_of(page):
    """Values by name and labels; every line must be of the format, and every name have its help and type, once."""
    values, types = {}, {}
    for line in page.splitlines():
        if line.startswith("# "):
            _, kind, name, text = line.split(" ", 3)
            assert kind in ("HELP", "TYPE"), line
            if kind == "TYPE":
                assert name not in types and text in ("counter", "gauge"), line
                types[name] = text
            continue
        match = _SAMPLE.fullmatch(line)
        assert match, line
        name, labels, value = match[1], match[2], float(match[3])
        assert name == list(types)[-1], f"{line} does not stand behind its type"
        assert name.endswith("_total") == (types[name] == "counter"), line
        key = (name, frozenset(_LABEL.findall(labels or "")))
        assert key not in values, f"{line} is there twice"
        values[key] = value
    return values


def metric(values, name, **labels):
    wanted = set(labels.items())
    found = [value for (each, having), value in values.items() if each == name and wanted <= having]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def test_metrics_agree_with_top(pair):
    text = f"@n1 seq 100000000 | @n2 @map sh -c '{SLOWLY}' | cat > /dev/null"
    with running(pair, text):
        before = wait_for_sample(pair, lambda flow: (flow["stages"][1]["records_read"] or 0) > 0)
        values = metrics_of(metrics_page(pair))
        after = sample_of(pair)
        elsewhere = metrics_of(metrics_page(pair, "n2"))
    assert metric(values, "sluice_flows_running") == 1 and metric(elsewhere, "sluice_flows_running") == 0
    assert metric(values, "sluice_members", state="alive") == 2
    assert metric(values, "sluice_flow_info", flow=before["id"]) == 1
    stage = {"flow": before["id"], "stage": "2"}
    for name, field in (("sluice_stage_records_read_total", "records_read"),
                        ("sluice_stage_records_written_total", "records_written"),
                        ("sluice_stage_read_bytes_total", "read_bytes")):
        assert before["stages"][1][field] <= metric(values, name, **stage) <= after["stages"][1][field], name
    busy = metric(values, "sluice_stage_busy_seconds_total", **stage)
    assert before["stages"][1]["busy_ms"] <= busy * 1000 <= after["stages"][1]["busy_ms"]
    link = {"flow": before["id"], "from": "1", "to": "2"}
    for of in ("bytes", "records"):
        counts = {field: metric(values, f"sluice_link_{of}_{field}", **link)
                  for field in ("in_total", "out_total", "dropped_total", "dead_total", "in_flight")}
        assert counts["in_total"] == sum(counts.values()) - counts["in_total"], counts


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")
def test_promtool_has_nothing_to_say(pair):
    with running(pair, "@n1 seq 100000000 | @x2 @map sed -u 's/\"/\\\\/' | cat > /dev/null", "--name", 'a"b\\c'):
        wait_for_sample(pair, lambda flow: flow["links"])
        page = metrics_page(pair)
    checked = subprocess.run(["promtool", "check", "metrics"], input=page.encode(), capture_output=True,
                             timeout=DEADLINE_SECONDS)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_metrics_are_for_those_who_may_read(cluster):
    tokens = cluster.folder / "tokens"
    tokens.write_text("read " + 32 * "r" + "\nsubmit " + 32 * "s" + "\n")
    tokens.chmod(0o600)
    port_file = cluster.folder / "n1.log"
    cluster.start("n1", "--http", "127.0.0.1:0", "--http-tokens", str(tokens))
    port = wait_until(lambda: re.search(r"http ready at=127\.0\.0\.1:(\d+)", port_file.read_text()), "the port")[1]

    def status(*headers):
        words = [word for header in headers for word in ("-H", header)]
        done = subprocess.run(["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", *words,
                               f"http://127.0.0.1:{port}/metrics"], capture_output=True, timeout=DEADLINE_SECONDS)
        return done.stdout.decode()

    assert status() == "401"
    assert status("Authorization: Bearer " + 32 * "s") == "403"
    assert status("Authorization: Bearer " + 32 * "r") == "200"
    assert status("Authorization: Bearer " + 32 * "r", "Origin: http://elsewhere.example") == "403"
