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


def link_between(flow, ends):
    return next(link for link in flow["links"] if (link["from"], link["to"]) == ends)


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

    def start():
        shell.start(command)
        shell.expect(ALTERNATE_SCREEN)
        shell.expect("no flow runs")
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
