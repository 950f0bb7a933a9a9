"""What stages leave running: it is ended and named, or kept if asked for, and process substitutions complete."""

import os
import re
import signal
import subprocess

import pytest

from clusters import cluster, home, pair
from processes import children_of, is_alive, let_pass, process_name, processes_below, wait_until


@pytest.mark.parametrize("text", ["{ sleep 1000 > /dev/null & echo started; } | cat",
                                  "true | { sleep 1000 & echo started; }"])
def test_what_a_stage_left_running_is_ended_and_named(household, text):
    result = household.run_sluice("run", text)
    assert result.outcome == (0, b"started\n")
    assert re.search(rb"^sluice: .*left running: sleep \(pid \d+\).*--keep", result.stderr, re.M), result.stderr
    household.assert_nothing_came_to_us()


def test_keep_spares_what_a_stage_left_running(household):
    result = household.run_sluice("run", "--keep", "{ sleep 1000 > /dev/null 2>&1 & echo $!; } | cat")
    assert (result.returncode, result.stderr) == (0, b"")
    kept = int(result.stdout)
    let_pass(0.3)  # longer than sluice would wait before it ends what was left
    assert is_alive(kept) and process_name(kept) == "sleep"
    assert household.left() == [kept]


def end_of(pid):
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), f"the end of {pid}")


@pytest.mark.parametrize("where, streams", [("@n2", ">/dev/null 2>&1"), ("@n2", ">/dev/null"),
                                            ("echo | @n1 cat | @n2", ">/dev/null 2>&1")])
def test_keep_spares_what_a_stage_left_running_on_a_node(pair, where, streams):
    result = pair.run(f"{where} {{ sleep 1000 {streams} & echo $!; echo said >&2; }}", "--keep")
    assert (result.returncode, result.stderr) == (0, b"said\n"), result
    kept = int(result.stdout)
    let_pass(0.3)
    assert is_alive(kept) and process_name(kept) == "sleep"
    assert pair.run("@n2 echo still").outcome == (0, b"still\n")
    assert is_alive(kept)
    guardian, = [pid for pid in processes_below(pair["n2"].pid) + processes_below(pair["n1"].pid)
                 if kept in children_of(pid)]
    end_of(kept)
    wait_until(lambda: not is_alive(guardian), "the end of the spawner that stayed for it")


def test_keep_spares_what_a_stage_left_running_when_its_node_ends(pair):
    result = pair.run("@n2 { sleep 1000 >/dev/null 2>&1 & echo $!; }", "--keep")
    kept = int(result.stdout)
    assert pair["n2"].terminate() == 0
    let_pass(0.3)
    assert is_alive(kept)
    end_of(kept)


def test_keep_spares_what_a_flow_in_the_background_left_running(pair):
    handed_over = pair.run("@n2 { sleep 1000 >/dev/null 2>&1 & echo $!; exit 3; }", "--keep", "--background")
    assert handed_over.returncode == 0, handed_over
    flow = handed_over.stdout.decode().strip()
    waited = pair.household.run_sluice("wait", flow, *pair.at("n1"))
    assert waited.returncode == 3 and b"exited with status 3 (sluice logs" in waited.stderr, waited
    kept = int(pair.household.run_sluice("logs", flow, *pair.at("n1")).stdout)
    let_pass(0.3)
    assert is_alive(kept) and process_name(kept) == "sleep"
    assert pair.household.run_sluice("rm", flow, *pair.at("n1")).returncode == 0
    assert is_alive(kept)
    end_of(kept)


@pytest.mark.parametrize("name, consumer", [("gzip", "gzip > out.gz"), ("sorted", "sort > out.sorted")])
def test_process_substitution_always_completes(household, name, consumer):
    lines = "".join(f"{number * 7919 % 1000003}\n" for number in range(2_900_000))
    (household.folder / "in").write_text(lines)
    assert len(lines) > 19_000_000
    with open(household.folder / "in", "rb") as source:
        # Beyond the grace it is awaited too, but that is told; how long sorting takes is the machine's affair.
        result = household.run_sluice("run", "--grace", "1m", f"cat | tee >({consumer}) > /dev/null", stdin=source)
    assert (result.returncode, result.stderr) == (0, b"")
    household.assert_clean()
    if name == "gzip":
        unpacked = subprocess.run(["gzip", "-dc", household.folder / "out.gz"], capture_output=True, check=True).stdout
        assert unpacked.decode() == lines
    else:
        expected = subprocess.run(["sort", household.folder / "in"], capture_output=True, check=True,
                                  env=os.environ | {"LC_ALL": "C"}).stdout
        assert (household.folder / "out.sorted").read_bytes() == expected


def test_slow_process_substitution_always_completes(household):
    # bash reads a line in a pipe byte by byte: far slower than tee, which is long gone when it is done.
    # It takes longer than the grace, which is for processes that make no progress.
    lines = "".join(f"line {number}\n" for number in range(400_000))
    consumer = 'while read -r line; do echo "$line"; done > out'
    result = household.run_sluice("run", f"tee >({consumer}) > /dev/null", input=lines.encode(), deadline=120)
    assert (result.returncode, result.stderr) == (0, b"")
    assert (household.folder / "out").read_text() == lines
    household.assert_clean()
