"""Progress of flows over hosts: every stage is reported, wherever it runs, as it is of a flow on one host."""

import json

import pytest

from clusters import cluster, home, pair, trio

SLOWLY = "{ for i in 1 2 3 4 5 6; do head -c 100000 /dev/zero; sleep 0.5; done; }"


def reports_of(result):
    return [json.loads(line) for line in result.stderr.splitlines() if line.startswith(b"{")]


def test_stages_on_nodes_report_what_they_moved(pair):
    result = pair.run(f"@n1 {SLOWLY} | @n2 cat | cat | @here wc -c", "--progress=json")
    assert result.outcome == (0, b"600000\n")
    reports = reports_of(result)
    assert len(reports) >= 2, result
    assert all([stage["stage"] for stage in report["stages"]] == [1, 2, 3, 4] for report in reports)
    last = reports[-1]["stages"]
    assert [stage["running"] for stage in last] == [False] * 4
    assert [stage["host"] for stage in last][:3] == ["n1", "n2", "n2"]
    assert all(stage["io_read_bytes"] >= 600_000 for stage in last[1:]), last
    assert all(stage["io_write_bytes"] >= 600_000 for stage in last[:3]), last
    # What left a host has gone over a link; between the two on n2 is a pipe.
    assert [stage["link_bytes"] for stage in last][:3] == [600_000, None, 600_000]


def test_stage_that_holds_a_link_back_is_named(pair):
    result = pair.run("@n1 cat /dev/zero | @n2 sleep 1000", "--progress=json", "--timeout", "6s")
    assert result.returncode == 124, result
    assert any(report["holds_back"] == 2 for report in reports_of(result)), result


def test_workers_of_a_stage_on_every_node_are_added(trio):
    result = trio.run("@all { head -c 100000 /dev/zero | tr '\\0' '\\n'; sleep 1.5; } | wc -c", "--progress=json")
    assert result.outcome == (0, b"300000\n"), result
    assert reports_of(result)[-1]["stages"][0]["io_write_bytes"] >= 300_000


def test_plain_progress_names_every_stage(pair):
    result = pair.run(f"@n2 {SLOWLY} | @n1 cat", "--progress=plain")
    lines = [line for line in result.stderr.decode().splitlines() if " | 2 cat " in line]
    assert len(lines) >= 2, result


@pytest.mark.parametrize("options", [["--progress=none"], []])
def test_progress_that_nobody_asked_for_is_not_shown(pair, options):
    result = pair.run("@n2 sleep 1.5 | @n1 cat", *options)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_progress_of_a_flow_that_is_ended_does_not_hold_it_up(pair):
    flow = pair.start_flow("@n1 sleep 1001 | @n2 cat", "--progress=json")
    pair.wait_for_programs("sleep", "cat")
    flow.terminate()
    result = pair.household.finish(flow)
    assert result.returncode not in (0, 125), result
    pair.wait_for_no_program()
