"""Flow files that are more than a row of stages: links that copy, share, merge, drop and spill, with real programs."""

import json
import os
import pathlib
import re
import resource
import shutil
import signal
import sqlite3
from collections import Counter

import pytest

from flows import SHORT_GRACE, for_every_user, with_every_kind_of_report
from machine import UNSHARE, can_unshare
from processes import let_pass, wait_until
from settings import SLUICE

MIB = 1 << 20

DIAMOND = """\
stages:
  source: { run: seq 100000 }
  left:   { run: "sed s/^/l/" }
  right:  { run: "sed s/^/r/" }
  join:   { run: cat }
links: [ source -> left -> join, source -> right -> join ]
"""


def numbers(count, mark=""):
    return "".join(f"{mark}{number}\n" for number in range(1, count + 1)).encode()


def write(household, text, name="a.flow.yaml"):
    (household.folder / name).write_text(text)
    return name


def flow(stages, links):
    """A flow file, as JSON: commands need no second quotes there."""
    stages = {name: {"run": stage} if isinstance(stage, str) else stage for name, stage in stages.items()}
    return json.dumps({"stages": stages, "links": links})


def run(household, text, *options, **how):
    return household.run_sluice("run", *options, write(household, text), **how)


def start(household, text, *options, **how):
    return household.start_sluice("run", *options, write(household, text), **how)


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def lines_written(household, name):
    path = household.folder / name
    return path.read_bytes().count(b"\n") if path.exists() else 0


def number_in(household, name):
    """The process number that a stage has written to a file."""
    path = household.folder / name
    return int(wait_until(lambda: path.exists() and path.read_text().strip(), f"a number in {name}"))


# --- copy and merge -----------------------------------------------------------------------------------------------


@with_every_kind_of_report
def test_every_record_goes_down_both_branches_and_joins_whole(household, options):
    result = run(household, DIAMOND, *options)
    assert result.returncode == 0, result
    assert Counter(result.stdout.splitlines()) == Counter((numbers(100_000, "l") + numbers(100_000, "r")).splitlines())
    for mark in (b"l", b"r"):
        own = [int(line[1:]) for line in result.stdout.splitlines() if line.startswith(mark)]
        assert own == list(range(1, 100_001)), "a branch keeps its order"
    household.assert_clean()


@for_every_user
def test_copy_is_exact_whatever_the_bytes_are(household, user):
    data = os.urandom(3 * MIB) + b"\0no line end"
    text = flow({"a": "cat", "b": "cat > b", "c": "cat > c"}, ["a -> b", "a -> c"])
    assert run(household, text, input=data, user=user).outcome == (0, b"")
    assert (household.folder / "b").read_bytes() == data == (household.folder / "c").read_bytes()


def test_binary_output_beside_a_silent_stage_is_exact(household):
    data = os.urandom(MIB) + b"end"
    text = flow({"a": {"run": "cat", "stderr": "log"}, "log": "cat > log"}, [])
    assert run(household, text, input=data).outcome == (0, data)


def test_long_records_are_never_mixed(household):
    long = flow({name: f"for i in 1 2 3 4 5; do head -c 1000000 /dev/zero | tr '\\0' {name}; echo; done" for name in "abc"}
                | {"join": "cat"}, [f"{name} -> join" for name in "abc"])
    result = run(household, long)
    assert result.returncode == 0
    assert Counter(result.stdout.splitlines()) == {name.encode() * 1_000_000: 5 for name in "abc"}


def test_records_are_told_apart_as_the_stage_says(household):
    names = b"".join(b"a\nb %d\0" % number for number in range(1000))
    text = flow({"a": {"run": "cat", "framing": "null", "stdin": True}, "b": {"run": "printf 'x\\ny\\0z'", "framing": "null"},
                 "c": "cat"}, ["a -> c", "b -> c"])
    result = run(household, text, input=names)
    assert result.returncode == 0
    assert Counter(result.stdout.split(b"\0")) == Counter(names[:-1].split(b"\0") + [b"x\ny", b"z"] +
                                                          ([b""] if result.stdout.endswith(b"\0") else []))
    json = {"run": "cat", "framing": "json"}
    result = run(household, flow({"a": json, "b": json, "c": json}, ["a -> b", "a -> c"]), input=b'{"a":\n1}[2]')
    assert result.returncode == 0
    assert Counter(result.stdout.split(b"\n")) == {b'{"a":': 2, b"1}": 2, b"[2]": 2, b"": 1}


def test_stages_of_many_workers_and_of_jobs_are_branches_like_others(household):
    text = flow({
        "source": "seq 300",
        "each": {"run": ["printf", "e%s\n", "{}"], "each": True, "workers": 2},
        "map": {"run": "sed -u s/^/m/", "map": True, "workers": 2},
        "many": {"run": "sed s/^/x/", "workers": 3},
        "join": {"run": "cat", "workers": 2},
    }, ["source -> each -> join", "source -> map -> join", "source -> many -> join"])
    result = run(household, text)
    assert result.returncode == 0
    expected = numbers(300, "e") + numbers(300, "m") + numbers(300, "x")
    assert Counter(result.stdout.splitlines()) == Counter(expected.splitlines())
    household.assert_clean()


def test_two_hundred_stages_in_one_file(household):
    stages = {"source": "seq 1000"}
    links = []
    for row in range(66):
        last = f"j{row - 1}" if row else "source"
        stages |= {f"a{row}": "cat", f"b{row}": "cat > /dev/null", f"j{row}": "cat"}
        links += [f"{last} -> a{row} -> j{row}", f"{last} -> b{row}", {"link": f"b{row} -> j{row}"}]
    stages["sink"] = "wc -l"
    links.append("j65 -> sink")
    assert len(stages) == 200
    assert run(household, flow(stages, links)).outcome == (0, b"1000\n")
    household.assert_clean()


def test_wide_fan_of_branches(household):
    stages = {"source": "seq 5000"} | {f"b{number}": "cat" for number in range(100)} | {"join": "wc -l"}
    links = [f"source -> b{number} -> join" for number in range(100)]
    assert run(household, flow(stages, links)).outcome == (0, b"500000\n")


# --- share --------------------------------------------------------------------------------------------------------


def test_shared_records_go_to_one_branch_each_and_a_slow_one_gets_fewer(household):
    text = flow({"source": {"run": "seq 100000", "share": True}, "fast": "sed s/^/f/",
                 "slow": "while read -r n; do echo s$n; sleep 0.002; done", "join": "cat"},
                ["source -> fast -> join", "source -> slow -> join"])
    result = run(household, text)
    assert result.returncode == 0
    assert Counter(line[1:] for line in result.stdout.splitlines()) == Counter(numbers(100_000).splitlines())
    slow = sum(line.startswith(b"s") for line in result.stdout.splitlines())
    assert 0 < slow < 50_000


def test_what_a_branch_that_leaves_was_not_given_goes_to_the_other(household):
    text = flow({"source": {"run": "seq 300000", "share": True}, "leaves": "head -n 1", "stays": "cat"},
                ["source -> leaves", "source -> stays"])
    result = run(household, text)
    assert result.returncode == 0
    got = Counter(result.stdout.splitlines())
    assert max(got.values()) == 1, "nothing twice"
    # What `head` had in its pipe is gone with it, as in a shell.
    assert len(got) > 300_000 - 30_000 and b"300000" in got


# --- a slow link --------------------------------------------------------------------------------------------------


HELD = "while [ ! -e go ]; do sleep 0.01; done; cat > slow"


def test_slow_branch_closes_the_tap_by_default(household):
    process = start(household, flow({"tap": "yes", "quick": "cat > quick", "slow": f"exec 3> held; {HELD}"},
                                    ["tap -> quick", "tap -> slow"]))
    size = -1

    def stands():
        nonlocal size
        path = household.folder / "quick"
        before, size = size, path.stat().st_size if path.exists() else -1
        let_pass(0.2)
        return size == before > 0

    wait_until(stands, "that the tap is closed")
    held = resident_bytes(process.pid)
    assert size < 4 * MIB
    let_pass(0.5)
    assert resident_bytes(process.pid) <= held + MIB // 4 and held < 40 * MIB
    (household.folder / "go").touch()
    wait_until(lambda: (household.folder / "quick").stat().st_size > size + MIB, "that it flows again")
    process.send_signal(signal.SIGINT)
    household.finish(process)
    household.assert_clean()


def test_drop_holds_nobody_up_and_says_what_was_lost(household):
    process = start(household, flow({"source": "seq 1000000", "quick": "cat > quick", "slow": HELD},
                                    ["source -> quick", {"link": "source -> slow", "slow": "drop"}]), "--json", "--quiet")
    wait_until(lambda: lines_written(household, "quick") == 1_000_000, "that the quick one has everything")
    (household.folder / "go").touch()
    result = household.finish(process)
    assert result.outcome == (0, b"")
    kept = [int(line) for line in (household.folder / "slow").read_bytes().splitlines()]
    assert kept == sorted(set(kept)), "in order, and each once"
    link = next(link for link in result.summary["links"] if link["to"] == "slow")
    assert link["records"] == len(kept)
    assert link["records_dropped"] == 1_000_000 - len(kept) > 0
    said = result.stderr.decode().splitlines()
    assert said[0] == f"sluice: the link 'source -> slow' dropped {link['records_dropped']} records, which 'slow' was too " \
                      f"slow for; {len(kept)} went on"


def test_drop_loses_nothing_of_a_reader_that_keeps_up(household):
    text = flow({"source": "for i in $(seq 20); do seq 1000; sleep 0.01; done", "a": "cat", "b": "cat > b"},
                [{"link": "source -> a -> b", "slow": "drop"}])
    result = run(household, text)
    assert (result.returncode, result.stderr) == (0, b"")
    assert lines_written(household, "b") == 20_000


def test_spill_holds_nobody_up_and_loses_nothing(household):
    process = start(household, flow({"source": "seq 1000000", "quick": "cat > quick", "slow": HELD},
                                    ["source -> quick", {"link": "source -> slow", "slow": {"spill": "100M"}}]), "--json")
    wait_until(lambda: lines_written(household, "quick") == 1_000_000, "that the quick one has everything")
    assert resident_bytes(process.pid) < 40 * MIB
    (household.folder / "go").touch()
    result = household.finish(process)
    assert result.returncode == 0
    assert (household.folder / "slow").read_bytes() == numbers(1_000_000)
    link = next(link for link in result.summary["links"] if link["to"] == "slow")
    assert 4 * MIB < link["spilled_bytes_max"] < 100 * MIB


def test_spill_that_is_full_holds_the_others_up(household):
    process = start(household, flow({"source": "seq 1000000", "quick": "cat > quick", "slow": HELD},
                                    ["source -> quick", {"link": "source -> slow", "slow": {"spill": "2M"}}]), "--json")
    sizes = []

    def stands():
        path = household.folder / "quick"
        sizes.append(path.stat().st_size if path.exists() else 0)
        let_pass(0.2)
        return len(sizes) > 1 and sizes[-1] == sizes[-2] > 0

    wait_until(stands, "that the tap is closed")
    assert 2 * MIB < sizes[-1] < 6 * MIB
    (household.folder / "go").touch()
    result = household.finish(process)
    assert result.returncode == 0
    assert (household.folder / "slow").read_bytes() == numbers(1_000_000) == (household.folder / "quick").read_bytes()
    assert max(link.get("spilled_bytes_max", 0) for link in result.summary["links"]) <= 2 * MIB


# It hears no SIGTERM, and reads on once the spill has failed: an end of its input would be a part for the whole.
COMMIT = "trap '' TERM; while [ ! -e go ]; do sleep 0.01; done; cat > /dev/null; touch committed"
SPILLING = flow({"source": "seq 3000000", "quick": "cat > /dev/null", "commit": COMMIT},
                ["source -> quick", {"link": "source -> commit", "slow": {"spill": "1G"}}])


def finish_after_failure(household, process):
    """Lets the reader go on as soon as the failure is told."""
    first = process.stderr.readline()
    (household.folder / "go").touch()
    result = household.finish(process)
    assert not (household.folder / "committed").exists()
    household.assert_clean()
    return result, first


@pytest.mark.skipif(not can_unshare(), reason="no user namespaces: cannot mount a small file system")
def test_spill_on_a_full_disk_fails_the_flow(household):
    (household.folder / "tmp").mkdir()
    script = 'mount -t tmpfs -o size=1m none tmp && export TMPDIR=$PWD/tmp && exec "$0" run --grace 500ms "$@"'
    process = household.start([*UNSHARE, "sh", "-c", script, SLUICE, write(household, SPILLING)])
    result, said = finish_after_failure(household, process)
    assert result.outcome == (125, b""), result
    assert said.startswith(b"sluice: link 'source -> commit': what waits for a slow reader can't be kept in ")
    assert said.endswith(b"No space left on device; set TMPDIR to a folder with room\n")


def test_spill_beyond_the_limit_of_files_fails_the_flow(household):
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8 * MIB, 8 * MIB))  # noqa: E731
    result, said = finish_after_failure(household, start(household, SPILLING, "--grace", "500ms", before_exec=limit))
    assert result.outcome == (125, b""), result
    assert b"can't be kept in /tmp: File too large" in said


def test_spill_without_a_folder_starts_nothing(household):
    text = flow({"a": "touch started; cat", "b": "cat"}, [{"link": "a -> b", "slow": {"spill": "1M"}}])
    result = run(household, text, environment={"TMPDIR": "/nosuch"})
    assert result.outcome == (125, b"")
    assert b"link 'a -> b': what waits for a slow reader can't be kept in /nosuch: No such file" in result.stderr
    assert not (household.folder / "started").exists()


# --- stderr -------------------------------------------------------------------------------------------------------


def test_stderr_is_a_link_of_its_own(household):
    noisy = "for i in $(seq 500); do echo $i; echo e$i >&2; done"
    text = flow({"a": {"run": noisy, "stderr": "log"}, "b": {"run": noisy.replace("e$i", "f$i"), "stderr": "log"},
                 "out": "sort -n | uniq -c | wc -l", "log": "sort > log"}, ["a -> out", "b -> out"])
    result = run(household, text)
    assert (result.outcome, result.stderr) == ((0, b"500\n"), b"")
    assert Counter((household.folder / "log").read_bytes().splitlines()) == \
        Counter((numbers(500, "e") + numbers(500, "f")).splitlines())
    household.assert_clean()


def test_stderr_of_many_workers_and_of_jobs_is_whole_lines(household):
    worker = "while read -r n; do printf 'error %0500d\\n' $n >&2; done"
    text = flow({"source": "seq 900", "many": {"run": worker, "workers": 3, "stderr": "log"},
                 "each": {"run": worker, "each": 10, "workers": 3, "stderr": "log"}, "log": "sort | uniq -c | awk '{ print $1, length($3) }' | sort | uniq -c"},
                ["source -> many", "source -> each"])
    result = run(household, text)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.split() == [b"900", b"2", b"500"]


def test_stderr_that_nobody_can_take_may_be_dropped(household):
    text = flow({"a": {"run": "seq 1000000 >&2; touch done", "stderr": {"to": "log", "slow": "drop"}},
                 "log": "until [ -e done ]; do sleep 0.01; done; wc -l"}, [])
    result = run(household, text)
    assert result.returncode == 0
    said = re.fullmatch(rb"sluice: the link 'stderr of a -> log' dropped (\d+) records, which 'log' was too slow for; "
                        rb"(\d+) went on\n", result.stderr)
    assert said and result.stdout == said[2] + b"\n" and int(said[1]) + int(said[2]) == 1_000_000, result


def test_stderr_may_join_stdout(household):
    text = flow({"a": {"run": "echo out; echo err >&2", "stderr": "b"}, "b": "sort"}, ["a -> b"])
    assert run(household, text).outcome == (0, b"err\nout\n")


def test_marks_name_the_stages_that_have_no_link_for_it(household):
    text = flow({"a": {"run": "echo A >&2; seq 2", "stderr": "log"}, "b": {"run": "cat; echo B >&2", "workers": 2},
                 "log": "cat > log"}, ["a -> b"])
    result = run(household, text, "--mark-stderr")
    assert result.returncode == 0
    assert sorted(result.stderr.splitlines()) == [b"[b.1] B", b"[b.2] B"]
    assert (household.folder / "log").read_bytes() == b"A\n"


# --- stdin and stdout ---------------------------------------------------------------------------------------------


def test_the_only_source_reads_stdin_and_else_who_says_so(household):
    assert run(household, flow({"a": "cat", "b": "cat", "c": "cat"}, ["a -> b", "a -> c"]), input=b"x\n").outcome == (0, b"x\nx\n")
    two = flow({"a": "cat", "b": "cat; echo b", "c": "sort"}, ["a -> c", "b -> c"])
    assert run(household, two, input=b"x\n").outcome == (0, b"b\n")
    said = flow({"a": {"run": "cat", "stdin": True}, "b": "cat; echo b", "c": "sort"}, ["a -> c", "b -> c"])
    assert run(household, said, input=b"x\n").outcome == (0, b"b\nx\n")
    many = flow({"a": {"run": "cat", "workers": 2, "stdin": True}, "b": {"run": "wc -l", "workers": 2}, "c": "sort"},
                ["a -> c", "b -> c"])
    assert run(household, many, input=b"x\n").outcome == (0, b"0\n0\nx\n")


def test_outputs_of_several_rows_are_whole_lines_on_stdout(household):
    text = flow({name: f"for i in $(seq 300); do echo {name * 3000}; done" for name in "abcd"} | {f"{name}2": "cat" for name in "abcd"},
                [f"{name} -> {name}2" for name in "abcd"])
    result = run(household, text)
    assert result.returncode == 0
    assert Counter(result.stdout.splitlines()) == {name.encode() * 3000: 300 for name in "abcd"}


def test_reader_of_stdout_that_leaves_ends_the_flow(household):
    name = write(household, flow({"a": "yes", "b": "cat", "c": "cat"}, ["a -> b", "a -> c"]))
    result = household.run(["bash", "-c", '"$0" run "$1" | head -n 2; echo ${PIPESTATUS[0]}', SLUICE, name])
    assert result.outcome == (0, b"y\ny\n0\n")
    household.assert_clean()


# --- ends and failures --------------------------------------------------------------------------------------------


def test_branch_that_has_enough_leaves_the_others_in_peace(household):
    text = flow({"source": "seq 1000000", "few": "head -n 1", "all": "wc -l"}, ["source -> few", "source -> all"])
    result = run(household, text)
    assert (result.returncode, result.stderr) == (0, b"")
    assert sorted(result.stdout.split()) == [b"1", b"1000000"]
    endless = text.replace("seq 1000000", "yes").replace("wc -l", "head -n 2")
    assert run(household, endless).outcome == (0, b"y\ny\ny\n")
    result = run(household, endless, "--pipefail=strict")
    assert result.returncode == 141 and b"stage 'source' `yes` was ended by signal 13 (SIGPIPE)" in result.stderr
    household.assert_clean()


def test_failed_branch_fails_the_flow_and_the_furthest_counts(household):
    text = flow({"source": "seq 10", "a": "cat > /dev/null; exit 3", "b": "wc -l", "c": "cat; exit 4"},
                ["source -> a", "source -> b -> c"])
    result = run(household, text)
    assert result.outcome == (4, b"10\n")
    assert result.stderr.decode().splitlines() == [
        "sluice: stage 'a' `cat > /dev/null; exit 3` exited with status 3",
        "sluice: stage 'c' `cat; exit 4` exited with status 4"]


def test_killed_branch_fails_the_flow_and_the_others_have_all(household):
    text = flow({"source": "while [ ! -e killed ]; do sleep 0.01; done; seq 200000", "victim": "echo $$ > victim; exec cat",
                 "other": "cat > other"}, ["source -> victim", "source -> other"])
    process = start(household, text)
    os.kill(number_in(household, "victim"), signal.SIGKILL)
    (household.folder / "killed").touch()
    result = household.finish(process)
    assert result.outcome == (137, b""), result
    assert (household.folder / "other").read_bytes() == numbers(200_000)
    household.assert_clean()


@pytest.mark.parametrize("victim", ["source", "join"])
def test_death_of_the_first_or_the_last_ends_all_between(household, victim):
    stages = {"source": "yes", "left": "cat", "right": {"run": "cat", "workers": 2}, "join": "cat > /dev/null"}
    stages[victim] = f"echo $$ > victim; exec {stages[victim]}"
    process = start(household, flow(stages, ["source -> left -> join", "source -> right -> join"]))
    os.kill(number_in(household, "victim"), signal.SIGKILL)
    result = household.finish(process)
    assert result.outcome == (137, b""), result
    assert result.stderr.decode().startswith(f"sluice: stage '{victim}' ") and result.stderr.count(b"\n") == 1
    household.assert_clean()


COMMITTING = flow({"a": "yes", "b": "cat", "c": "cat", "commit": "echo $$ > commit; cat > /dev/null; touch committed",
                   "also": "cat > /dev/null; touch committed"},
                  ["a -> b -> commit", "a -> c -> commit", "a -> also"])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_reader_takes_the_death_of_the_flow_for_the_end_of_its_input(household, how):
    for _ in range(5):
        process = start(household, COMMITTING, *SHORT_GRACE)
        number_in(household, "commit")
        process.send_signal(how)
        assert household.finish(process).returncode == -how
        assert not (household.folder / "committed").exists()
        (household.folder / "commit").unlink()
        household.assert_clean()


def test_nothing_outlives_the_spawner(household):
    for _ in range(3):
        process = start(household, COMMITTING, *SHORT_GRACE)
        number_in(household, "commit")
        os.kill(household.spawner_of(process), signal.SIGKILL)
        assert household.finish(process).returncode == 125
        (household.folder / "commit").unlink()
        household.assert_clean()


def test_timeout_ends_every_branch(household):
    result = run(household, COMMITTING, "--timeout", "300ms", *SHORT_GRACE)
    assert result.outcome == (124, b"")
    assert not (household.folder / "committed").exists()
    household.assert_clean()


def test_record_that_is_too_long_names_its_stage(household):
    text = flow({"a": "seq 3; head -c 2000 /dev/zero", "b": "seq 3", "c": "trap '' TERM; cat; touch committed"},
                ["a -> c", "b -> c"])
    result = run(household, text, "--max-record", "1K", *SHORT_GRACE)
    assert result.returncode == 125
    # How much of it is read at once is a matter of chance.
    assert re.search(rb"sluice: what stage 'a' writes: record [14] or one soon after it is longer than 1024 bytes\n",
                     result.stderr), result
    assert not (household.folder / "committed").exists()


def test_command_that_is_not_there_starts_nothing_and_is_named(household):
    text = flow({"a": "touch started", "b": "nosuchcommand", "c": "cat"}, ["a -> b", "a -> c"])
    result = run(household, text)
    assert result.outcome == (127, b"")
    assert result.stderr == b"sluice: stage 'b': nosuchcommand: command not found in PATH; nothing was started\n"
    assert not (household.folder / "started").exists()


def test_cycle_is_refused_with_its_line(household):
    text = "stages: { a: { run: cat }, b: { run: cat } }\nlinks: [ a -> b, { link: b -> a, slow: { spill: 1M } } ]\n"
    result = run(household, text)
    said = result.stderr.decode()
    assert result.outcome == (125, b"") and said.startswith("a.flow.yaml:2:31: the link 'b -> a' closes a cycle, which this version can't run"), said


def test_many_descriptors_are_asked_for_in_words(household):
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))  # noqa: E731
    stages = {"source": "seq 5"} | {f"b{number}": "cat" for number in range(60)}
    result = run(household, flow(stages, [f"source -> b{number}" for number in range(60)]), before_exec=limit)
    assert result.outcome == (125, b"") and b"raise the limit (ulimit -n)" in result.stderr
    household.assert_clean()


# --- what is shown ------------------------------------------------------------------------------------------------


def test_plan_draws_the_links(household):
    text = flow({"parser": {"run": "seq 3", "stderr": "log"}, "left": "cat", "right": {"run": "cat", "workers": 2},
                 "merger": "cat", "log": "cat"},
                ["parser -> left -> merger", {"link": "parser -> right", "slow": "drop"}, "right -> merger"])
    result = run(household, text, "--dry-run")
    assert result.returncode == 0
    assert result.stdout.decode().split("links: ")[1] == """\
stdin -> parser
       parser =records=> left, copied
       parser =records=> right, copied, drop
       stderr of parser =records=> log
       left =records=> merger, merged
       right =records=> merger, merged
       merger =records=> stdout, merged
       log =records=> stdout, merged
ships: nothing; every stage runs on this machine
promise: every record to one worker, in any order; if a stage fails or dies, or one of its workers, the flow fails; \
where links merge, records come whole, in any order; what the reader of parser -> right is too slow for is dropped and counted
"""
    plan = json.loads(run(household, text, "--dry-run", "--json").stdout)
    assert [stage["name"] for stage in plan["stages"]] == ["parser", "left", "right", "merger", "log"]
    assert {"from": 1, "to": 3, "carrier": "junction", "slow": "drop"} in plan["links"]
    assert {"from": 1, "to": 5, "carrier": "junction", "stderr": True} in plan["links"]
    assert (plan["stdin"], plan["stdout"]) == (1, [4, 5])


def test_reports_name_stages_and_count_links(household):
    result = run(household, DIAMOND, "--json", "--exact")
    summary = result.summary
    assert [stage["name"] for stage in summary["stages"]] == ["source", "left", "right", "join"]
    assert summary["stages"][0]["output_bytes"] == len(numbers(100_000))
    by_ends = {(link["from"], link["to"]): link for link in summary["links"]}
    assert by_ends["source", "left"] == {"from": "source", "to": "left", "stderr": False, "bytes": len(numbers(100_000)),
                                         "records": None}
    assert by_ends["left", "join"]["records"] == 100_000
    result = run(household, DIAMOND, "--progress=plain")
    assert b" source " in result.stderr and b"1 seq" not in result.stderr


def test_progress_names_the_branch_that_holds_the_others_back(household):
    text = flow({"tap": "yes", "quick": "cat > /dev/null", "slow": "while read -r line; do sleep 0.01; done", "last": "cat"},
                ["tap -> quick", "tap -> slow -> last"])
    process = start(household, text, "--progress=json")
    seen = []
    for line in process.stderr:
        seen.append(json.loads(line)["holds_back"])
        if seen[-1] == 3 or len(seen) > 20:
            break
    assert seen[-1] == 3, seen
    process.send_signal(signal.SIGINT)
    household.finish(process)


# --- the example --------------------------------------------------------------------------------------------------

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "users-plain"


@pytest.mark.parametrize("name", ["users.flow.yaml", "users-in-series.flow.yaml"])
def test_users_of_the_example_are_each_in_the_database_once_with_both_look_ups(household, name):
    shutil.copytree(EXAMPLE, household.folder, dirs_exist_ok=True)
    (household.folder / "users.csv").write_text("id,name\n" + "".join(f"{number},u{number}\n" for number in range(10_000)))
    result = household.run_sluice("run", name)
    assert (result.outcome, result.stderr) == ((0, b""), b"")
    rows = sqlite3.connect(household.folder / "users.db").execute("select * from users order by id").fetchall()
    assert rows == [(number, f"u{number}", f"u{number}@facebook", f"u{number}@twitter") for number in range(10_000)]
    household.assert_clean()
