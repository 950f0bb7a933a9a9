"""What remains of a flow after kills, signals, lacking resources and a hostile start: nothing but a clear message."""
import json
import os
import pathlib
import re
import resource
import select
import signal
import subprocess
import time

import pytest
from processes import (
    FLOWS,
    KILLS,
    NOBODY,
    SLUICE,
    USERS,
    as_user,
    describe,
    household,  # noqa: F401, a fixture
    is_alive,
    is_root,
    let_pass,
    name_of,
    random_generator,
    state_of,
    wait_until,
)

# Stages that do what makes cleaning up hard. Whatever escapes from a stage lets go of the pipes, as a daemon does:
# otherwise the flow would rightly go on when the stage is killed, as under a shell. Each says its number first, because
# what escaped becomes a child of the spawner beside the stages.
FLEE = "(setsid sleep 1000 < /dev/null > /dev/null &); setsid -f sleep 1000 < /dev/null > /dev/null"
DEAF = "trap '' TERM HUP INT QUIT"
KEEP_FLEEING = "while :; do setsid -f sleep 1000 < /dev/null > /dev/null; sleep 0.01; done"


def stages(*bodies):
    return " | ".join(f"{{ echo $$ > stage{number}; {body}; }}" for number, body in enumerate(bodies, 1))


# Three stages each; the flow ends when any of them is killed.
KILLABLE_STAGE_FLOWS = {
    "plain": "yes | cat | wc -c",
    "fleeing": stages(f"{FLEE}; exec yes", f"{FLEE}; exec cat", f"{FLEE}; exec wc -c"),
    "deaf": stages(f"{DEAF}; {FLEE}; exec yes", f"{DEAF}; exec cat", f"{DEAF}; {FLEE}; exec wc -c"),
}
FLOWS_TO_KILL = KILLABLE_STAGE_FLOWS | {
    "always fleeing": stages(KEEP_FLEEING, f"{DEAF}; {KEEP_FLEEING}", "exec cat"),
    "closed pipes": stages(
        "trap '' PIPE; while echo x; do :; done 2> /dev/null; exec sleep 1000",
        f"exec <&-; {DEAF}; {FLEE}; exec sleep 1000",
        "exec 0<&- 1>&-; sleep 1000 & sleep 1000",
    ),
}
# Long to start, so that a kill meets it half started.
KILLED_FROM_OUTSIDE = FLOWS_TO_KILL | {"many": "yes | " + "cat | " * 80 + "wc -c"}
PATIENT = ["--grace", "200ms"]


def rounds(flows, count=KILLS):
    """Names of flows, every one of them at least once."""
    names = list(flows)
    return [names[number % len(names)] for number in range(max(count, len(names)))]


def start_flow(household, text, **options):
    for said in household.folder.glob("stage*"):
        said.unlink()
    return household.sluice("run", *PATIENT, text, **options)


def stage_numbers(household, process, text):
    """The process numbers of the three stages, when all of them run."""
    if "$$" not in text:
        return household.stages_of(process, 3)
    files = [household.folder / f"stage{number}" for number in (1, 2, 3)]
    said = wait_until(lambda: all(file.exists() and file.read_text().endswith("\n") for file in files))
    assert said, "not all stages have started"
    return [int(file.read_text()) for file in files]


def assert_nothing_came_to_us(household):
    # This process is the next subreaper above sluice: what sluice had not waited for would have become our child.
    assert household.adopted == [], "sluice left orphans to its parent"


# --- kill -9 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terminal", [False, True], ids=["no-terminal", "terminal"])
@pytest.mark.parametrize("user", USERS)
def test_killed_sluice_leaves_nothing(household, request, user, terminal):
    chance = random_generator(request)
    for name in rounds(KILLED_FROM_OUTSIDE):
        household.adopted.clear()
        process = start_flow(household, KILLED_FROM_OUTSIDE[name], user=user, terminal=terminal)
        let_pass(chance.uniform(0, 0.06))
        process.kill()
        household.finish(process)
        household.assert_clean()
        # The spawner is the only one that can come to us; it has waited for all the others.
        assert len(household.adopted) <= 1, f"{name}: {household.adopted}"


@pytest.mark.parametrize("terminal", [False, True], ids=["no-terminal", "terminal"])
@pytest.mark.parametrize("user", USERS)
def test_killed_process_group_leaves_nothing(household, request, user, terminal):
    # On a terminal the stages are members of the group, elsewhere they have their own.
    chance = random_generator(request)
    for name in rounds(KILLED_FROM_OUTSIDE):
        process = start_flow(household, KILLED_FROM_OUTSIDE[name], user=user, terminal=terminal)
        household.spawner_of(process)
        let_pass(chance.uniform(0, 0.05))
        os.killpg(process.pid, signal.SIGKILL)
        household.finish(process)
        household.assert_clean()


@pytest.mark.parametrize("terminal", [False, True], ids=["no-terminal", "terminal"])
@pytest.mark.parametrize("user", USERS)
def test_killed_spawner_fails_the_flow_and_leaves_nothing(household, request, user, terminal):
    chance = random_generator(request)
    for name in rounds(KILLED_FROM_OUTSIDE):
        process = start_flow(household, KILLED_FROM_OUTSIDE[name], user=user, terminal=terminal)
        spawner = household.spawner_of(process)
        let_pass(chance.uniform(0, 0.05))
        os.kill(spawner, signal.SIGKILL)
        result = household.finish(process)
        assert result.returncode == 125, f"{name}: {result}"
        assert f"the spawner (pid {spawner}) was killed".encode() in result.stderr, name
        household.assert_clean()
        assert_nothing_came_to_us(household)


@pytest.mark.parametrize("terminal", [False, True], ids=["no-terminal", "terminal"])
@pytest.mark.parametrize("user", USERS)
def test_killed_stage_fails_the_flow_and_is_named(household, request, user, terminal):
    chance = random_generator(request)
    for name in rounds(KILLABLE_STAGE_FLOWS):
        process = start_flow(household, KILLABLE_STAGE_FLOWS[name], user=user, terminal=terminal)
        pids = stage_numbers(household, process, KILLABLE_STAGE_FLOWS[name])
        victim = chance.randrange(3)
        let_pass(chance.uniform(0, 0.05))
        os.kill(pids[victim], signal.SIGKILL)
        result = household.finish(process)
        assert result.returncode == 137, f"{name}, stage {victim + 1}: {result}"
        named = re.findall(rb"^sluice: stage (\d+) `.*` was ended by signal 9 \(SIGKILL\)$", result.stderr, re.M)
        assert named == [b"%d" % (victim + 1)], f"{name}, stage {victim + 1}: {result.stderr}"
        household.assert_clean()
        assert_nothing_came_to_us(household)


def test_status_is_that_of_the_rightmost_failure_when_a_stage_is_killed(household):
    process = household.sluice("run", "yes | cat | { cat > /dev/null; exit 3; }")
    pids = household.stages_of(process, 3)
    os.kill(pids[1], signal.SIGKILL)
    result = household.finish(process)
    assert result.returncode == 3
    assert b"stage 2 `cat` was ended by signal 9" in result.stderr
    assert b"exited with status 3" in result.stderr


@pytest.mark.parametrize("terminal", [False, True], ids=["no-terminal", "terminal"])
@pytest.mark.parametrize("user", USERS)
def test_direct_children_end_when_sluice_and_spawner_are_killed_together(household, request, user, terminal):
    # Nobody is left who could look for what escaped, so that may remain: the household ends it. The stages themselves
    # have a parent-death signal.
    chance = random_generator(request)
    for name in rounds(FLOWS_TO_KILL):
        process = start_flow(household, FLOWS_TO_KILL[name], user=user, terminal=terminal)
        spawner = household.spawner_of(process)
        pids = stage_numbers(household, process, FLOWS_TO_KILL[name])
        let_pass(chance.uniform(0, 0.03))
        # Stopped, neither can do anything about the other's death: it is the same moment for both.
        for pid in (process.pid, spawner):
            os.kill(pid, signal.SIGSTOP)
        for pid in (process.pid, spawner):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        assert wait_until(lambda: not any(map(is_alive, pids)), 5), f"{name}: {describe(pids)}"
        household.end()


@pytest.mark.parametrize("terminal", [False, True], ids=["no-terminal", "terminal"])
@pytest.mark.parametrize("victim", ["the spawner", "sluice", "its own group"])
def test_stage_that_kills_its_betters_leaves_nothing(household, victim, terminal):
    kill = {
        "the spawner": "kill -9 $PPID",
        "sluice": "kill -9 $(cut -d ' ' -f 4 /proc/$PPID/stat)",
        "its own group": "kill -9 0",
    }[victim]
    text = f"{{ {FLEE}; exec sleep 1000; }} | {{ {FLEE}; {kill}; exec sleep 1000; }} | {{ {FLEE}; exec sleep 1000; }}"
    process = household.sluice("run", *PATIENT, "--timeout", "5s", text, terminal=terminal)
    result = household.finish(process)
    if victim == "the spawner":
        assert result.returncode == 125 and b"was killed" in result.stderr
    elif victim == "sluice" or terminal:
        # On a terminal the stages are in the group of sluice, as in a shell.
        assert result.returncode == -signal.SIGKILL
    else:
        # The neighbours have groups of their own, and sleep on.
        assert result.returncode == 124
    household.assert_clean()


# --- other signals --------------------------------------------------------------------------------------------------

ENDING_SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT]


def wait_for_files(folder, *names):
    assert wait_until(lambda: all((folder / name).exists() for name in names)), f"no {names} in {os.listdir(folder)}"


@pytest.mark.parametrize("number", ENDING_SIGNALS, ids=lambda number: number.name)
def test_signal_reaches_the_stages_and_sluice_dies_by_it(household, number):
    name = number.name.removeprefix("SIG")
    text = (
        f"{{ trap 'touch got1; exit 0' {name}; touch ready1; while :; do sleep 0.05; done; }}"
        f" | {{ trap 'touch got2; exit 0' {name}; touch ready2; while :; do sleep 0.05; done; }}"
    )
    process = household.sluice("run", "--grace", "20s", text)
    wait_for_files(household.folder, "ready1", "ready2")
    process.send_signal(number)
    result = household.finish(process, deadline=15)
    assert result.returncode == -number
    assert (household.folder / "got1").exists() and (household.folder / "got2").exists()
    household.assert_clean()
    assert_nothing_came_to_us(household)


@pytest.mark.parametrize("number", ENDING_SIGNALS, ids=lambda number: number.name)
def test_stages_that_ignore_a_signal_are_ended_after_the_grace(household, number):
    text = (
        f"{{ {DEAF}; touch ready1; sleep 1000; }} | {{ {DEAF}; {FLEE}; touch ready2; exec sleep 1000; }}"
        " | { touch ready3; exec sleep 1000; }"
    )
    process = household.sluice("run", *PATIENT, text)
    wait_for_files(household.folder, "ready1", "ready2", "ready3")
    start = time.monotonic()
    process.send_signal(number)
    result = household.finish(process, deadline=15)
    assert result.returncode == -number
    assert time.monotonic() - start >= 0.2
    assert b"within the grace of 200 ms" in result.stderr
    household.assert_clean()
    assert_nothing_came_to_us(household)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name)
def test_signal_that_was_ignored_at_entry_stays_ignored(household, number):
    process = household.sluice(
        "run",
        "{ touch ready; read -r line; grep SigIgn /proc/self/status; } | cat",
        before_exec=lambda: signal.signal(number, signal.SIG_IGN),
        stdin=subprocess.PIPE,
    )
    wait_for_files(household.folder, "ready")
    for target in [process.pid, *household.stages_of(process, 2)]:
        os.kill(target, number)
    result = household.finish(process, b"go on\n")
    assert result.returncode == 0, result
    assert int(result.stdout.split()[1], 16) & (1 << (number - 1))


def test_nohup_spares_the_flow(household):
    process = household.start(
        ["nohup", SLUICE, "run", "{ touch ready; cat; } | cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    wait_for_files(household.folder, "ready")
    process.send_signal(signal.SIGHUP)
    result = household.finish(process, b"on it goes\n")
    assert (result.returncode, result.stdout) == (0, b"on it goes\n")


def test_stopped_stage_is_ended_by_a_signal(household):
    process = household.sluice("run", "--grace", "20s", "sleep 1000 | sleep 1000")
    pids = household.stages_of(process, 2)
    os.kill(pids[1], signal.SIGSTOP)
    assert wait_until(lambda: state_of(pids[1]) == "T")
    process.terminate()
    # A stopped process gets the signal only when it is continued; without that the grace would have to pass.
    assert household.finish(process, deadline=15).returncode == -signal.SIGTERM
    household.assert_clean()


def test_stopped_stage_is_ended_when_sluice_is_killed(household):
    process = household.sluice("run", "sleep 1000 | sleep 1000")
    pids = household.stages_of(process, 2)
    os.kill(pids[0], signal.SIGSTOP)
    process.kill()
    household.finish(process)
    household.assert_clean()


def test_user_signal_is_passed_on_and_ends_nothing(household):
    text = (
        "{ trap 'echo got it; touch got' USR1; touch ready; while [ ! -e stop ]; do sleep 0.02; done; true; }"
        " | { trap '' USR1; touch ready2; exec cat; }"
    )
    process = household.sluice("run", text)
    wait_for_files(household.folder, "ready", "ready2")
    process.send_signal(signal.SIGUSR1)
    wait_for_files(household.folder, "got")
    assert process.poll() is None
    (household.folder / "stop").touch()
    result = household.finish(process)
    assert (result.returncode, result.stdout) == (0, b"got it\n")
    household.assert_clean()


def test_signal_ends_a_flow_whose_messages_nobody_reads(household):
    # A pager that was left alone, or a log that is held up: messages of ours must not keep the flow alive.
    text = f"{{ {DEAF}; touch ready; while :; do echo a line that fills the pipe >&2; done; }} | cat"
    for options in ([], ["--mark-stderr"], ["--progress", "json"]):
        process = household.sluice("run", *PATIENT, *options, text)
        wait_for_files(household.folder, "ready")
        # Full when nothing more fits for a while: the stage, and we, wait for a reader.
        probe = os.open(f"/proc/{os.getpid()}/fd/{process.stderr.fileno()}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            full = select.poll()
            full.register(probe, select.POLLOUT)
            assert wait_until(lambda: not full.poll(0)), "the pipe does not fill"
            process.send_signal(signal.SIGTERM)
            assert wait_until(lambda: process.poll() is not None, 10), f"{options}: {describe([process.pid])} hangs"
        finally:
            os.close(probe)
        assert process.returncode == -signal.SIGTERM, options
        household.assert_clean()
        (household.folder / "ready").unlink()


# --- what stages leave behind ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["{ sleep 1000 > /dev/null & echo started; } | cat",
                                  "true | { sleep 1000 & echo started; }"])
def test_what_a_stage_left_running_is_ended_and_named(household, text):
    result = household.run([SLUICE, "run", text])
    assert (result.returncode, result.stdout) == (0, b"started\n")
    assert re.search(rb"^sluice: .*left running: sleep \(pid \d+\).*--keep", result.stderr, re.M), result.stderr
    household.assert_clean()
    assert_nothing_came_to_us(household)


def test_keep_spares_what_a_stage_left_running(household):
    result = household.run([SLUICE, "run", "--keep", "{ sleep 1000 > /dev/null 2>&1 & echo $!; } | cat"])
    assert (result.returncode, result.stderr) == (0, b"")
    kept = int(result.stdout)
    let_pass(0.3)  # longer than sluice would wait before it ends what was left
    assert is_alive(kept) and name_of(kept) == "sleep"
    assert household.left() == [kept]


@pytest.mark.parametrize("name, consumer", [("gzip", "gzip > out.gz"), ("sorted", "sort > out.sorted")])
def test_process_substitution_always_completes(household, name, consumer):
    lines = "".join(f"{number * 7919 % 1000003}\n" for number in range(2_900_000))
    (household.folder / "in").write_text(lines)
    assert len(lines) > 19_000_000
    result = household.run(
        [SLUICE, "run", f"cat | tee >({consumer}) > /dev/null"], stdin=open(household.folder / "in", "rb")
    )
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
    result = household.run([SLUICE, "run", f"tee >({consumer}) > /dev/null"], input=lines.encode(), deadline=120)
    assert (result.returncode, result.stderr) == (0, b"")
    assert (household.folder / "out").read_text() == lines
    household.assert_clean()


# --- timeouts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["sleep 1000 | cat", "yes | cat > /dev/null", "sleep 1000"])
def test_timeout_ends_everything(household, text):
    result = household.run([SLUICE, "run", "--timeout", "200ms", text])
    assert result.returncode == 124
    assert result.stderr == b"sluice: timed out after 200 ms; every stage was ended\n"
    household.assert_clean()
    assert_nothing_came_to_us(household)


def test_timeout_ends_stages_that_ignore_it(household):
    text = f"{{ {DEAF}; {FLEE}; exec sleep 1000; }} | {{ {DEAF}; sleep 1000; }} | cat"
    start = time.monotonic()
    result = household.run([SLUICE, "run", "--timeout", "200ms", *PATIENT, text])
    assert time.monotonic() - start >= 0.4
    assert result.returncode == 124
    assert b"within the grace of 200 ms" in result.stderr and b"timed out after 200 ms" in result.stderr
    household.assert_clean()
    assert_nothing_came_to_us(household)


def test_timeout_that_is_not_reached_changes_nothing(household):
    result = household.run([SLUICE, "run", "--timeout", "1h", "echo quick | cat"])
    assert (result.returncode, result.stdout, result.stderr) == (0, b"quick\n", b"")


# --- many -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["cat", "{ cat; }"], ids=["programs", "shells"])
def test_two_hundred_stages_pass_every_byte(household, stage):
    data = os.urandom(4_000_000)
    result = household.run([SLUICE, "run", " | ".join([stage] * 200)], input=data, deadline=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout == data
    household.assert_clean()
    assert_nothing_came_to_us(household)


def test_many_flows_at_once(household):
    # Each waits for the gate, a pipe that is closed when all of them are there.
    read_end, write_end = os.pipe()
    gated = ["sh", "-c", 'read line; exec "$@"', "sh"]
    command = (as_user(NOBODY) if is_root() else []) + gated + [SLUICE, "run", "seq 100 | sort -n | tail -1"]
    flows = [household.start(command, stdin=read_end) for _ in range(FLOWS)]
    os.close(read_end)
    os.close(write_end)
    results = [household.finish(flow, deadline=300) for flow in flows]
    wrong = [result for result in results if (result.returncode, result.stdout, result.stderr) != (0, b"100\n", b"")]
    assert wrong == [], f"{len(wrong)} of {FLOWS}; the first: {wrong[:1]}"
    household.assert_clean()
    assert_nothing_came_to_us(household)


# --- limits ---------------------------------------------------------------------------------------------------------


def limit(what, most):
    return lambda: resource.setrlimit(what, (most, most))


OPTION_SETS = [[], ["--progress=plain"], ["--exact"], ["--mark-stderr"], ["--json"],
               ["--progress=json", "--exact", "--mark-stderr", "--json"]]


@pytest.mark.parametrize("options", OPTION_SETS, ids=lambda options: " ".join(options) or "plain")
def test_three_stages_work_with_64_descriptors(household, options):
    result = household.run(
        [SLUICE, "run", *options, "seq 1000 | { cat; } | wc -l"], before_exec=limit(resource.RLIMIT_NOFILE, 64)
    )
    assert (result.returncode, result.stdout) == (0, b"1000\n"), result.stderr
    household.assert_clean()


@pytest.mark.parametrize("options", OPTION_SETS, ids=lambda options: " ".join(options) or "plain")
@pytest.mark.parametrize("stages", [40, 70, 200])
def test_many_stages_with_64_descriptors_work_or_say_why_not(household, options, stages):
    text = " | ".join(["cat"] * stages)
    result = household.run(
        [SLUICE, "run", *options, text], input=b"data\n", before_exec=limit(resource.RLIMIT_NOFILE, 64)
    )
    if result.returncode == 0:
        assert result.stdout == b"data\n"
    else:
        assert result.returncode == 125, result
        assert b"Too many open files" in result.stderr and b"ulimit -n" in result.stderr, result.stderr
    household.assert_clean()
    assert_nothing_came_to_us(household)


@pytest.mark.parametrize("most", [3, 4, 5, 6, 8, 10, 12, 14, 16])
def test_hardly_any_descriptors_give_a_message_or_work(household, most):
    # Down to none beyond the three standard streams. Programs need a few themselves, for their libraries; where they
    # fail for lack of them, the flow fails with their status.
    result = household.run([SLUICE, "run", "cat | cat"], input=b"x\n", before_exec=limit(resource.RLIMIT_NOFILE, most))
    assert result.returncode in (0, 125, 127), result
    assert result.stdout == (b"x\n" if result.returncode == 0 else b"")
    if result.returncode == 125:
        assert re.search(rb"Too many open files; .*ulimit -n", result.stderr), result
    assert result.returncode == 0 or result.stderr != b""
    household.assert_clean()
    assert_nothing_came_to_us(household)


def processes_of_user(uid):
    """Threads, as the kernel counts them for RLIMIT_NPROC."""
    count = 0
    for entry in pathlib.Path("/proc").iterdir():
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
    uid = COUNTED_USER if is_root() else os.geteuid()
    most = processes_of_user(uid) + room
    command = (as_user(uid) if is_root() else []) + [SLUICE, "run", " | ".join(["cat"] * 40)]
    result = household.run(command, input=b"data\n", before_exec=limit(resource.RLIMIT_NPROC, most))
    if is_root() or result.returncode != 0:
        assert result.returncode == 125, result
        assert b"Resource temporarily unavailable" in result.stderr and b"ulimit -u" in result.stderr, result.stderr
    household.assert_clean()
    assert_nothing_came_to_us(household)


# --- full disks, missing streams, missing folders -------------------------------------------------------------------


def can_unshare():
    command = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


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
    result = household.run(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, SLUICE, text])
    assert (result.returncode, result.stdout) == (0, b"100000\n"), result
    assert b"100000\n" in result.stderr


def test_full_stdout_is_reported_with_the_stage_that_met_it(household):
    with open("/dev/full", "wb") as full:
        result = household.run([SLUICE, "run", "seq 3 | cat"], stdout=full)
    assert result.returncode == 1
    assert b"No space left on device" in result.stderr
    assert b"sluice: stage 2 `cat` exited with status 1\n" in result.stderr


@pytest.mark.parametrize("arguments", [["version"], ["--help"], ["run", "--help"], ["completion", "zsh"],
                                       ["run", "--dry-run", "cat"]], ids=" ".join)
def test_own_answer_to_a_full_stdout_fails(household, arguments):
    with open("/dev/full", "wb") as full:
        result = household.run([SLUICE, *arguments], stdout=full)
    assert result.returncode == 1
    assert b"No space left on device" in result.stderr


def test_full_stderr_does_not_matter(household):
    with open("/dev/full", "wb") as full:
        result = household.run([SLUICE, "run", "--json", "--mark-stderr", "{ echo lost >&2; echo kept; } | cat"],
                               stderr=full)
        # Its shell notices the lost line, or does not; what counts is that we go on without messages.
        assert result.returncode in (0, 1) and result.stdout == b"kept\n"


def test_removed_working_directory_does_not_matter(household):
    gone = household.folder / "gone"
    outcomes = []
    for command in ([SLUICE, "run"], ["bash", "-o", "pipefail", "-c"]):
        gone.mkdir()
        result = household.run(["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *command, "seq 5 | { cat; } | tail -2"],
                               cwd=gone)
        outcomes.append((result.returncode, result.stdout))
    assert outcomes == [(0, b"4\n5\n")] * 2


# How a caller may have closed standard streams: as redirections of a shell.
CLOSINGS = ["0<&-", "1>&-", "2>&-", "0<&- 1>&-", "0<&- 2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-"]
# What is written goes to files, because stdout may be the stream that is closed. Its descriptors are listed by each
# kind of stage: straight by exec, and a shell.
DESCRIPTOR_TEXTS = [
    "ls -l /proc/self/fd",
    "ls -l /proc/self/fd > listed",
    "true | ls -l /proc/self/fd | cat > listed",
    "{ true; } | { ls -l /proc/self/fd; } | tee listed",
    "cat | cat > listed",
    "echo x | cat",
    "echo x | { cat; } | cat >&2",
    "seq 3 | wc -l > listed; echo $? >> listed",
]


def listing(text):
    """Numbers and targets of `ls -l /proc/self/fd`; pipes differ in their inode, and ls has its own folder open."""
    found = re.findall(r" (\d+) -> (\S+)", text)
    return sorted((int(number), re.sub(r"\d+", "N", target)) for number, target in found)


def outcome_with_closed_streams(household, command, text, closing):
    listed = household.folder / "listed"
    listed.unlink(missing_ok=True)
    script = f'exec "$@" {closing}'
    result = household.run(["bash", "-c", script, "bash", *command, text])
    content = listed.read_text() if listed.exists() else None
    if content is not None and "->" in content:
        content = listing(content)
    stdout = listing(result.stdout.decode()) if b"->" in result.stdout else result.stdout
    return result.returncode, stdout, content


@pytest.mark.parametrize("text", DESCRIPTOR_TEXTS)
@pytest.mark.parametrize("closing", CLOSINGS)
def test_closed_standard_streams_are_as_under_bash(household, closing, text):
    expected = outcome_with_closed_streams(household, ["bash", "-o", "pipefail", "-c"], text, closing)
    assert outcome_with_closed_streams(household, [SLUICE, "run", "--pipefail=strict"], text, closing) == expected


@pytest.mark.parametrize("options", OPTION_SETS, ids=lambda options: " ".join(options) or "plain")
@pytest.mark.parametrize("terminal", [False, True], ids=["no-terminal", "terminal"])
@pytest.mark.parametrize("text", ["ls -l /proc/self/fd", "true | ls -l /proc/self/fd | cat",
                                  "true | { ls -l /proc/self/fd; } | cat", "true | ls -l /proc/self/fd"])
def test_stages_get_the_inherited_descriptors_and_none_of_ours(household, text, terminal, options):
    listings = []
    for command in ([SLUICE, "run", *options], ["bash", "-o", "pipefail", "-c"]):
        script = 'exec "$@" 7< /etc/passwd 12> /dev/null'
        result = household.run(["bash", "-c", script, "bash", *command, text], terminal=terminal)
        assert result.returncode == 0, result
        listings.append(listing(result.stdout.decode()))
    assert listings[0] == listings[1]
    assert {0, 1, 2, 7, 12} <= {number for number, _ in listings[0]}


# --- floods of messages ---------------------------------------------------------------------------------------------

FLOOD = 10 * 1024 * 1024


@pytest.mark.parametrize("options", [[], ["--mark-stderr"], ["--mark-stderr", "--exact", "--progress=json"]],
                         ids=lambda options: " ".join(options) or "plain")
def test_flood_on_stderr_never_deadlocks(household, options):
    flood = f"head -c {FLOOD} /dev/zero | tr '\\0' x | fold -w 99 >&2"
    text = f"seq 100000 | {{ {flood}; echo done; }} | cat"
    result = household.run([SLUICE, "run", *options, text], deadline=60)
    assert (result.returncode, result.stdout) == (0, b"done\n"), result.stderr[-200:]
    assert result.stderr.count(b"x") >= FLOOD
    if "--mark-stderr" in options:
        marked = [line for line in result.stderr.splitlines() if b"xxxx" in line]
        assert all(re.fullmatch(rb"\[2 bash\] x+", line) for line in marked)


def test_marks_name_the_stage(household):
    text = "{ echo one >&2; echo from one; } | sh -c 'cat; echo two >&2; printf end >&2' | cat"
    result = household.run([SLUICE, "run", "--mark-stderr", text])
    assert (result.returncode, result.stdout) == (0, b"from one\n")
    assert sorted(result.stderr.splitlines()) == [b"[1 bash] one", b"[2 sh] end", b"[2 sh] two"]


# --- signal state at entry ------------------------------------------------------------------------------------------

EVERY_SIGNAL = set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}
ENTRY_STATES = {
    "usual": lambda: None,
    "child ignored": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    "all blocked": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, EVERY_SIGNAL),
    "child blocked and ignored": lambda: (
        signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD}),
    ),
    "all ignored": lambda: [
        signal.signal(number, signal.SIG_IGN) for number in EVERY_SIGNAL if number < signal.SIGRTMIN
    ],
}


def signal_state(output):
    return re.findall(r"(Sig(?:Blk|Ign|Cgt)):\s*(\w+)", output.decode())


@pytest.mark.parametrize("pipe_ignored", [False, True], ids=["pipe-default", "pipe-ignored"])
@pytest.mark.parametrize("terminal", [False, True], ids=["no-terminal", "terminal"])
@pytest.mark.parametrize("state", ENTRY_STATES)
def test_stages_find_the_signal_state_of_entry(household, state, terminal, pipe_ignored):
    options = {"before_exec": ENTRY_STATES[state], "restore_signals": not pipe_ignored, "terminal": terminal}
    grep = ["grep", "^Sig", "/proc/self/status"]
    at_entry = signal_state(household.run(grep, **options).stdout)
    under_bash = signal_state(household.run(["bash", "-c", f"exec {' '.join(grep)}"], **options).stdout)
    for flow_options in ([], ["--exact", "--mark-stderr", "--progress=json"]):
        # Straight by exec: what was found at entry. In a shell: what that shell makes of it, as everywhere.
        straight = household.run([SLUICE, "run", *flow_options, "true | grep ^Sig /proc/self/status | cat"], **options)
        in_shell = household.run([SLUICE, "run", *flow_options, "true | exec grep ^Sig /proc/self/status | cat"],
                                 **options)
        assert (straight.returncode, in_shell.returncode) == (0, 0)
        assert signal_state(straight.stdout) == at_entry
        assert signal_state(in_shell.stdout) == under_bash
    household.assert_clean()


@pytest.mark.parametrize("state", ENTRY_STATES)
def test_flows_end_as_usual_whatever_the_signal_state_of_entry(household, state):
    options = {"before_exec": ENTRY_STATES[state], "restore_signals": False}
    assert household.run([SLUICE, "run", "seq 5 | { cat; exit 3; } | wc -l"], **options).returncode == 3
    result = household.run([SLUICE, "run", "--timeout", "200ms", *PATIENT, "sleep 1000 | { sleep 1000; }"], **options)
    assert result.returncode == 124
    household.assert_clean()
    assert_nothing_came_to_us(household)


@pytest.mark.parametrize("state", ["child ignored", "all blocked"])
def test_kills_are_survived_whatever_the_signal_state_of_entry(household, state):
    for target in ("sluice", "spawner"):
        process = start_flow(household, FLOWS_TO_KILL["fleeing"], before_exec=ENTRY_STATES[state])
        spawner = household.spawner_of(process)
        stage_numbers(household, process, FLOWS_TO_KILL["fleeing"])
        os.kill(process.pid if target == "sluice" else spawner, signal.SIGKILL)
        result = household.finish(process)
        assert result.returncode == (-9 if target == "sluice" else 125)
        household.assert_clean()


def test_summary_is_said_of_a_flow_that_was_signalled(household):
    process = household.sluice("run", "--json", "sleep 1000 | cat")
    household.stages_of(process, 2)
    process.terminate()
    result = household.finish(process)
    summary = json.loads(result.stderr.splitlines()[-1])
    assert (summary["end"], summary["signal"], summary["status"]) == ("signalled", "SIGTERM", 143)
    assert result.returncode == -signal.SIGTERM
