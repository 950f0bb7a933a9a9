"""Many stages and many flows, and few descriptors, processes or blocks on the disk."""

import os
import re
import resource
from pathlib import Path

import pytest

from flows import with_every_kind_of_report
from machine import IS_ROOT, NOBODY, UNSHARE, as_user, can_unshare
from settings import SLUICE, SOAK

# --- many ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["cat", "{ cat; }"], ids=["programs", "shells"])
def test_two_hundred_stages_pass_every_byte(household, stage):
    data = os.urandom(4_000_000)
    result = household.run_sluice("run", " | ".join([stage] * 200), input=data, deadline=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout == data
    household.assert_nothing_came_to_us()


# Every tenth has several workers, with threads of its own beside it, and answers that have to find their way.
def stages_of_every_kind(count):
    kinds = {3: "@x2 cat", 13: "@map cat", 23: "@x2 @map @ordered cat", 33: "@x2 @each=50 cat"}
    return [kinds.get(number % 40, "cat") for number in range(count)]


def test_two_hundred_stages_some_of_many_workers(household):
    lines = [b"%d\n" % number for number in range(2000)]
    result = household.run_sluice("run", " | ".join(stages_of_every_kind(200)), input=b"".join(lines), deadline=120)
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines(keepends=True)) == sorted(lines)
    household.assert_nothing_came_to_us()


@pytest.mark.parametrize("failing", [23, 123, 150], ids=["of @map", "of @x2", "one program"])
def test_failure_among_two_hundred_stages_is_the_status(household, failing):
    stages = stages_of_every_kind(200)
    words = stages[failing].rsplit("cat", 1)[0]
    stages[failing] = words + "sh -c 'cat; exit 7'"
    result = household.run_sluice("run", " | ".join(stages), input=b"1\n2\n3\n", deadline=120)
    assert result.returncode == 7, result.stderr
    household.assert_nothing_came_to_us()


FLOWS_AT_ONCE = 1000 if SOAK else 100
SPREAD = "seq 100 | @x2 cat | @map cat | sort -n | tail -1"
FLOW_KINDS = [("seq 100 | sort -n | tail -1", 0), (SPREAD, 0), (SPREAD + " | { cat; exit 3; }", 3)]


@pytest.mark.parametrize("kinds", [FLOW_KINDS[:1], FLOW_KINDS], ids=["of programs", "some of many workers"])
def test_many_flows_at_once(household, kinds):
    # Each waits for the gate, a pipe that is closed when all of them are there.
    read_end, write_end = os.pipe()
    gated = ["sh", "-c", 'read line; exec "$@"', "sh"]
    kinds = [kinds[number % len(kinds)] for number in range(FLOWS_AT_ONCE)]
    flows = [household.start(as_user(NOBODY) + gated + [SLUICE, "run", text], stdin=read_end) for text, _ in kinds]
    os.close(read_end)
    os.close(write_end)
    results = [household.finish(flow, deadline=300) for flow in flows]
    wrong = [result for result, (_, status) in zip(results, kinds, strict=True)
             if (result.returncode, result.stdout) != (status, b"100\n") or (status == 0 and result.stderr != b"")]
    assert wrong == [], f"{len(wrong)} of {FLOWS_AT_ONCE}; the first: {wrong[:1]}"
    household.assert_nothing_came_to_us()


# --- limits -------------------------------------------------------------------------------------------------------


def limit(what, most):
    return {"before_exec": lambda: resource.setrlimit(what, (most, most))}


@with_every_kind_of_report
def test_three_stages_work_with_64_descriptors(household, options):
    result = household.run_sluice("run", *options, "seq 1000 | { cat; } | wc -l", **limit(resource.RLIMIT_NOFILE, 64))
    assert result.outcome == (0, b"1000\n"), result.stderr
    household.assert_clean()


@with_every_kind_of_report
@pytest.mark.parametrize("stages", [40, 70, 200])
def test_many_stages_with_64_descriptors_work_or_say_why_not(household, options, stages):
    text = " | ".join(["cat"] * stages)
    result = household.run_sluice("run", *options, text, input=b"data\n", **limit(resource.RLIMIT_NOFILE, 64))
    if result.returncode == 0:
        assert result.stdout == b"data\n"
    else:
        assert result.returncode == 125, result
        assert b"Too many open files" in result.stderr and b"ulimit -n" in result.stderr, result.stderr
    household.assert_nothing_came_to_us()


@pytest.mark.parametrize("most", [3, 4, 5, 6, 8, 10, 12, 14, 16])
def test_hardly_any_descriptors_give_a_message_or_work(household, most):
    # Down to none beyond the three standard streams. Programs need a few themselves, for their libraries; where they
    # fail for lack of them, the flow fails with their status.
    result = household.run_sluice("run", "cat | cat", input=b"x\n", **limit(resource.RLIMIT_NOFILE, most))
    assert result.returncode in (0, 125, 127), result
    assert result.stdout == (b"x\n" if result.returncode == 0 else b"")
    if result.returncode == 125:
        assert re.search(rb"Too many open files; .*ulimit -n", result.stderr), result
    assert result.returncode == 0 or result.stderr != b""
    household.assert_nothing_came_to_us()


def processes_of_user(uid):
    """Threads, as the kernel counts them for RLIMIT_NPROC."""
    count = 0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                count += len(os.listdir(entry / "task"))
        except OSError:
            pass
    return count


# A user of its own, so that other tests that run at the same time do not count.
COUNTED_USER = 65530


@pytest.mark.parametrize("room", [1, 2, 3, 20])
def test_too_few_processes_give_a_message_and_leave_nothing(household, room):
    uid = COUNTED_USER if IS_ROOT else os.geteuid()
    most = processes_of_user(uid) + room
    command = as_user(uid) + [SLUICE, "run", " | ".join(["cat"] * 40)]
    result = household.run(command, input=b"data\n", **limit(resource.RLIMIT_NPROC, most))
    if IS_ROOT or result.returncode != 0:
        assert result.returncode == 125, result
        assert b"Resource temporarily unavailable" in result.stderr and b"ulimit -u" in result.stderr, result.stderr
    household.assert_nothing_came_to_us()


# --- a full disk --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not can_unshare(), reason="no user namespaces: cannot mount a small file system")
def test_full_temporary_folder_does_not_matter(household):
    (household.folder / "tmp").mkdir()
    script = """
        mount -t tmpfs -o size=16k none tmp || exit 99
        head -c 100000 /dev/zero > tmp/filler 2> /dev/null
        echo more > tmp/more && [ -s tmp/more ] && exit 98
        export TMPDIR=$PWD/tmp
        exec "$0" run --exact --progress=plain --mark-stderr "$@"
    """
    text = "seq 100000 | { sort -n; } | tee >(wc -l >&2) | tail -1"
    result = household.run([*UNSHARE, "sh", "-c", script, SLUICE, text])
    assert result.outcome == (0, b"100000\n"), result
    assert b"100000\n" in result.stderr
