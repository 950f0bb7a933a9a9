"""What a flow reports: the plan before, counts while it runs, and a summary at its end."""

import json
import os

import pytest

from flows import for_every_user


def test_dry_run_prints_the_plan_and_starts_nothing(household):
    result = household.run_sluice("run", "--dry-run", "touch started | sort | { cat; }")
    assert (result.returncode, result.stderr) == (0, b"")
    assert not (household.folder / "started").exists()
    lines = result.stdout.decode().splitlines()
    assert lines[0].split() == ["STAGE", "WHERE", "WHY", "HOW", "COMMAND"]
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert "exec " in lines[1] and "bash" in lines[3]


def test_dry_run_of_what_cannot_run_fails_and_starts_nothing(household):
    for text, reason in (("touch started | nosuchcommand", "nosuchcommand"), ("touch started | @sandbox cat", "@sandbox")):
        result = household.run_sluice("run", "--dry-run", text)
        assert result.returncode == 1 and reason in result.stderr.decode()
        assert b"touch started" in result.stdout, "the plan is shown beside the problem"
    for text in ("touch started | 'open", "@nosuch cat"):
        assert household.refusal("run", "--dry-run", text, status=1)
    assert not (household.folder / "started").exists()


def test_dry_run_as_json_is_one_object(household):
    result = household.run_sluice("run", "--dry-run", "--json", "touch started | cat")
    plan = json.loads(result.stdout)
    assert result.stdout.count(b"\n") == 1
    assert [stage["command"] for stage in plan["stages"]] == ["touch started", "cat"]


def test_summary_has_plausible_values(household):
    result = household.run_sluice("run", "--json", "--name", "numbers", "head -c 1000000 /dev/zero | cat | wc -c")
    assert result.outcome == (0, b"1000000\n")
    summary = result.summary
    assert (summary["flow"], summary["status"], summary["end"]) == ("numbers", 0, "completed")
    assert [stage["command"] for stage in summary["stages"]] == ["head -c 1000000 /dev/zero", "cat", "wc -c"]
    for stage in summary["stages"]:
        assert stage["host"] == os.uname().nodename
        assert stage["pid"] > 1 and (stage["status"], stage["signal"]) == (0, None)
        assert 0 <= stage["cpu_ms"] < 10_000
        assert 100_000 < stage["peak_memory_bytes"] < 100_000_000
        assert 0 < stage["duration_ms"] <= summary["duration_ms"] < 20_000
    head, cat, count = summary["stages"]
    assert 1_000_000 <= cat["io_read_bytes"] < 1_200_000 and 1_000_000 <= cat["io_write_bytes"] < 1_010_000
    assert head["io_write_bytes"] >= 1_000_000 and count["io_read_bytes"] >= 1_000_000
    assert count["io_write_bytes"] < 1000
    assert len({stage["pid"] for stage in summary["stages"]}) == 3


@for_every_user
def test_summary_counts_bytes_for_every_user(household, user):
    # The counters of a process that has ended are root's, whoever it belonged to.
    result = household.run_sluice("run", "--json", "head -c 1000000 /dev/zero | cat | sort | wc -c", user=user)
    stages = result.summary["stages"]
    assert all(stage["io_read_bytes"] >= 1_000_000 for stage in stages[1:3]), result


def test_summary_tells_how_stages_ended(household):
    text = "yes | head -n 1 | sh -c 'cat; kill -9 $$' | sh -c 'cat; exit 3'"
    result = household.run_sluice("run", "--json", text)
    summary = result.summary
    assert result.returncode == summary["status"] == 3
    ends = [(stage["status"], stage["signal"]) for stage in summary["stages"]]
    assert ends == [(141, "SIGPIPE"), (0, None), (137, "SIGKILL"), (3, None)]


def test_summary_stands_for_itself_behind_messages_of_stages(household):
    result = household.run_sluice("run", "--json", "{ echo first >&2; echo '{\"not\": \"it\"}' >&2; false; } | cat")
    assert result.summary["status"] == 1


def test_summary_survives_commands_that_are_no_text(household):
    result = household.run_sluice("run", "--json", b"printf '\xff\xfe\\n' | cat")
    assert result.stdout == b"\xff\xfe\n" and result.summary["status"] == 0


@pytest.mark.parametrize("size", [0, 1, 65_536, 1_234_567, 30_000_001])
def test_exact_counts_are_exact(household, size):
    # The third stage reads only a part: what went through its link is what the pipe took.
    text = f"head -c {size} /dev/zero | cat | {{ cat; }} | wc -c"
    result = household.run_sluice("run", "--exact", "--json", text)
    assert result.outcome == (0, b"%d\n" % size)
    stages = result.summary["stages"]
    assert [stage.get("output_bytes") for stage in stages] == [size, size, size, None]


def test_progress_lines_as_json_parse(household):
    text = "{ for i in 1 2 3 4 5 6; do head -c 100000 /dev/zero; sleep 0.25; done; } | cat | wc -c"
    result = household.run_sluice("run", "--progress=json", text)
    assert result.outcome == (0, b"600000\n")
    reports = [json.loads(line) for line in result.stderr.splitlines()]
    assert len(reports) >= 2
    assert all(len(report["stages"]) == 3 for report in reports)
    assert reports[-1]["stages"][1]["io_read_bytes"] >= 600_000


@pytest.mark.parametrize("text, status", [("nosuchcommand | cat", 127), ("@sandbox cat | cat", 125)])
def test_summary_is_printed_of_a_flow_that_did_not_start(household, text, status):
    result = household.run_sluice("run", "--json", text)
    summary = json.loads(result.stderr.splitlines()[-1])
    assert (summary["end"], summary["status"], result.returncode) == ("not_started", status, status)
    assert [stage["pid"] for stage in summary["stages"]] == [None, None]
