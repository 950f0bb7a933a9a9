"""Flows that stand still because their stages wait for each other, on one machine and over the hosts of a cluster: they end and
say how. Those that are only slow or idle go on."""

import json
import signal

import pytest

from clusters import cluster, home, trio
from workers import JOIN_BRANCHES, QUICK_BRANCH, SLOW_BRANCH, write_worker

# --- one machine ---------------------------------------------------------------------------------------------------

FILTER_BRANCH = """
worker = Worker(concurrency=100)

@worker.on_data
def pass_some(record, item):
    if int(record) <= 100:
        item.write(record)
    item.done()

sys.exit(worker.run())
"""
# More than fits into the pipes and windows of a branch.
MUCH = "seq -f '%0200.0f' 60000"


def write_filtered_join(household, link, tap=MUCH, on=None):
    """The slow branch lets only a hundred records through, and the merger waits for the others. `on`: the node of each stage."""
    at = {stage: f", on: {node}" for stage, node in (on or {}).items()}
    for name, text in (("join", JOIN_BRANCHES), ("quick", QUICK_BRANCH), ("filter", FILTER_BRANCH)):
        write_worker(household.folder / name, text)
    (household.folder / "a.flow.yaml").write_text(
        f'stages:\n  tap: {{ run: "{tap}"{at.get("tap", "")} }}\n'
        f"  quick: {{ worker: ./quick, concurrency: 100{at.get('quick', '')} }}\n"
        f"  slow: {{ worker: ./filter{at.get('slow', '')} }}\n"
        f"  merger: {{ worker: ./join, concurrency: 10{at.get('merger', '')} }}\n"
        f"links: [ {link}, quick -> merger, tap -> slow -> merger ]\n")
    return "a.flow.yaml"


STALLED = (
    b"sluice: every stage waits for another since 2.0 s: tap waits for room in the link to quick (256 KiB), quick waits for "
    b"merger, merger holds 5 records of quick, as many as it may, and waits for slow, slow waits for tap; raise the "
    b"concurrency of merger, or put 'slow: { spill: 100M }' on the link tap -> quick\n")


def test_a_flow_whose_stages_all_wait_for_each_other_ends_and_says_how(household):
    flow = write_filtered_join(household, "tap -> quick")
    result = household.run_sluice("run", "--stall-timeout", "2s", "--grace", "100ms", flow, deadline=90)
    assert result.returncode == 125
    assert len(result.stdout.splitlines()) == 100
    assert result.stderr.startswith(STALLED)
    household.assert_clean()


def test_a_link_that_spills_breaks_the_cycle_and_what_never_comes_is_still_told(household):
    flow = write_filtered_join(household, "{ link: tap -> quick, slow: { spill: 100M } }")
    result = household.run_sluice("run", "--stall-timeout", "2s", "--grace", "100ms", flow, deadline=90)
    assert result.returncode == 125
    assert result.stderr.startswith(
        b"sluice: every stage waits for another since 2.0 s: merger holds 10 records of quick, as many as it may, and nothing "
        b"more comes from slow; raise the concurrency of merger\n")
    household.assert_clean()


# Drops some of the records: those of the other branch wait in the merger for them, and those behind for room.
SOME_BRANCH = FILTER_BRANCH.replace("int(record) <= 100", "int(record) % 10 != 5")
SUSPICION = (b"sluice: nothing has moved for 2.0 s: merger holds 5 records of quick and 5 records of slow, as many as it may; if it "
             b"waits for their counterparts, raise the concurrency of merger\n")


def write_partial_join(household, on=None):
    flow = write_filtered_join(household, "tap -> quick", "seq 1000", on)
    write_worker(household.folder / "filter", SOME_BRANCH)
    return flow


def test_a_merger_that_holds_records_of_both_may_be_at_work_and_is_told_of(household):
    process = household.start_sluice("run", "--stall-timeout", "2s", write_partial_join(household))
    assert process.stderr.readline() == SUSPICION
    process.terminate()
    assert household.finish(process).returncode == -signal.SIGTERM


def test_a_flow_that_is_only_slow_or_idle_is_left_alone(household):
    """All that is slow here takes many times the patience."""
    for name, text in (("join", JOIN_BRANCHES), ("quick", QUICK_BRANCH), ("slow", "import time\n" + SLOW_BRANCH.replace(
            'while not os.path.exists("far"):\n        time.sleep(0.01)', "time.sleep(0.6)"))):
        write_worker(household.folder / name, text)
    (household.folder / "a.flow.yaml").write_text("""
stages:
  tap: { run: "seq 3; sleep 1; seq 4 5" }
  quick: { worker: ./quick }
  slow: { worker: ./slow, workers: 2 }
  merger: { worker: ./join, concurrency: 4 }
  reader: { run: "sleep 1; sort -n" }
links: [ tap -> quick -> merger, tap -> slow -> merger, merger -> reader ]
""")
    result = household.run_sluice("run", "--stall-timeout", "100ms", "a.flow.yaml")
    assert result.outcome == (0, b"1\n2\n3\n4\n5\n"), result.stderr
    household.assert_clean()


def test_a_stage_that_takes_long_for_the_records_of_one_link_is_no_stall(household):
    """It looks them up one by one, and joins none; the other branch has nothing for it meanwhile."""
    write_filtered_join(household, "tap -> quick", tap="seq 120")
    write_worker(household.folder / "join", """
import threading
worker = Worker(concurrency=10)

@worker.on_data
def look_up(record, item):
    def found():
        item.write(record)
        item.done()
    threading.Timer(0.3 if int(record) > 100 else 0.001, found).start()

sys.exit(worker.run())
""")
    result = household.run_sluice("run", "--stall-timeout", "50ms", "a.flow.yaml")
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 220
    household.assert_clean()


# --- over hosts ---------------------------------------------------------------------------------------------------

PLACES = {
    "one-node": dict.fromkeys(("tap", "quick", "slow", "merger"), "n2"),
    "branches-apart": {"tap": "n1", "quick": "n2", "slow": "n3", "merger": "n1"},
    "joined-elsewhere": {"tap": "n1", "quick": "n2", "slow": "n2", "merger": "n3"},
    "each-link-crosses": {"tap": "n1", "quick": "n2", "slow": "n3", "merger": "n2"},
    "wherever": {"tap": "n1"},
}
# More than the connections between hosts hold as well.
FAR_MORE = MUCH.replace("60000", "600000")
places = pytest.mark.parametrize("place", PLACES)


@places
def test_a_flow_over_hosts_that_stands_still_ends_and_says_the_same(trio, place):
    flow = write_filtered_join(trio.household, "tap -> quick", FAR_MORE, on=PLACES[place])
    result = trio.run(flow, "--stall-timeout", "2s", "--grace", "100ms", deadline=120)
    assert result.returncode == 125
    assert STALLED in result.stderr, result.stderr
    trio.wait_for_no_program()


def test_a_link_that_spills_on_another_host_is_told_too(trio):
    link = "{ link: tap -> quick, slow: { spill: 100M } }"
    flow = write_filtered_join(trio.household, link, on=PLACES["branches-apart"])
    result = trio.run(flow, "--stall-timeout", "2s", "--grace", "100ms", deadline=120)
    assert result.returncode == 125
    assert (b"sluice: every stage waits for another since 2.0 s: merger holds 10 records of quick, as many as it may, and nothing "
            b"more comes from slow; raise the concurrency of merger\n") in result.stderr, result.stderr


def test_a_merger_on_another_host_that_holds_records_of_both_is_told_of(trio):
    flow = write_partial_join(trio.household, on=PLACES["branches-apart"])
    process = trio.start_flow(flow, "--stall-timeout", "2s")
    assert process.stderr.readline() == SUSPICION
    process.terminate()
    assert trio.household.finish(process).returncode == -signal.SIGTERM


def test_a_flow_in_the_background_says_why_it_ended(trio):
    flow = write_filtered_join(trio.household, "tap -> quick", FAR_MORE, on=PLACES["branches-apart"])
    started = trio.run(flow, "--background", "--stall-timeout", "2s")
    assert started.returncode == 0, started
    waited = trio.household.run_sluice("wait", *trio.at("n1"), started.stdout.decode().strip(), deadline=120)
    assert waited.returncode == 125
    listed = trio.household.run_sluice("ps", "-a", "--json", *trio.at("n1"))
    assert json.loads(listed.stdout)["message"].startswith(STALLED.decode()[len("sluice: "):-1]), listed.stdout


def test_a_flow_over_hosts_that_is_only_slow_or_idle_is_left_alone(trio):
    for name, text in (("join", JOIN_BRANCHES), ("quick", QUICK_BRANCH), ("slow", "import time\n" + SLOW_BRANCH.replace(
            'while not os.path.exists("far"):\n        time.sleep(0.01)', "time.sleep(0.6)"))):
        write_worker(trio.household.folder / name, text)
    (trio.household.folder / "a.flow.yaml").write_text("""
stages:
  tap: { run: "seq 3; sleep 1; seq 4 5", on: n1 }
  quick: { worker: ./quick, on: n2 }
  slow: { worker: ./slow, workers: 2, on: n3 }
  merger: { worker: ./join, concurrency: 4, on: n1 }
  reader: { run: "sleep 1; sort -n", on: n2 }
links: [ tap -> quick -> merger, tap -> slow -> merger, merger -> reader ]
""")
    result = trio.run("a.flow.yaml", "--stall-timeout", "100ms")
    assert result.outcome == (0, b"1\n2\n3\n4\n5\n"), result.stderr


def test_off_looks_for_no_stall_on_hosts_either(trio):
    """Without a stall the timeout ends it."""
    flow = write_filtered_join(trio.household, "tap -> quick", FAR_MORE, on=PLACES["branches-apart"])
    result = trio.run(flow, "--stall-timeout", "off", "--timeout", "6s", "--grace", "100ms", deadline=120)
    assert result.returncode == 124, result
    assert b"every stage waits" not in result.stderr
