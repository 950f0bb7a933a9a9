"""What remains of a flow when parts of it are killed: nothing but a clear message."""

import os
import re
import signal

import pytest

from flows import (FLEE, FLOWS_TO_KILL, KILLABLE_STAGE_FLOWS, KILLED_FROM_OUTSIDE, SHORT_GRACE, for_every_user,
                   on_and_off_a_terminal, stage_numbers, start_flows)
from processes import describe_processes, is_alive, let_pass, wait_until
from settings import SLUICE


@on_and_off_a_terminal
@for_every_user
def test_killed_sluice_leaves_nothing(household, chance, user, on_terminal):
    for name, process in start_flows(household, KILLED_FROM_OUTSIDE, user=user, on_terminal=on_terminal):
        household.adopted.clear()
        let_pass(chance.uniform(0, 0.06))
        process.kill()
        household.finish(process)
        household.assert_clean()
        # The spawner is the only one that can come to us; it has waited for all the others.
        assert len(household.adopted) <= 1, f"{name}: {household.adopted}"


@on_and_off_a_terminal
@for_every_user
def test_killed_process_group_leaves_nothing(household, chance, user, on_terminal):
    # On a terminal the stages are members of the group, elsewhere they have their own.
    for name, process in start_flows(household, KILLED_FROM_OUTSIDE, user=user, on_terminal=on_terminal):
        household.spawner_of(process)
        let_pass(chance.uniform(0, 0.05))
        os.killpg(process.pid, signal.SIGKILL)
        household.finish(process)
        household.assert_clean()


@on_and_off_a_terminal
@for_every_user
def test_killed_spawner_fails_the_flow_and_leaves_nothing(household, chance, user, on_terminal):
    for name, process in start_flows(household, KILLED_FROM_OUTSIDE, user=user, on_terminal=on_terminal):
        spawner = household.spawner_of(process)
        let_pass(chance.uniform(0, 0.05))
        os.kill(spawner, signal.SIGKILL)
        result = household.finish(process)
        assert result.returncode == 125, f"{name}: {result}"
        assert f"the spawner (pid {spawner}) was killed".encode() in result.stderr, name
        household.assert_nothing_came_to_us()


@on_and_off_a_terminal
@for_every_user
def test_killed_stage_fails_the_flow_and_is_named(household, chance, user, on_terminal):
    for name, process in start_flows(household, KILLABLE_STAGE_FLOWS, user=user, on_terminal=on_terminal):
        pids = stage_numbers(household, process, KILLABLE_STAGE_FLOWS[name])
        victim = chance.randrange(3)
        let_pass(chance.uniform(0, 0.05))
        os.kill(pids[victim], signal.SIGKILL)
        result = household.finish(process)
        assert result.returncode == 137, f"{name}, stage {victim + 1}: {result}"
        named = re.findall(rb"^sluice: stage (\d+) `.*` was ended by signal 9 \(SIGKILL\)$", result.stderr, re.M)
        assert named == [b"%d" % (victim + 1)], f"{name}, stage {victim + 1}: {result.stderr}"
        household.assert_nothing_came_to_us()


def test_status_is_that_of_the_rightmost_failure_when_a_stage_is_killed(household):
    process = household.start_sluice("run", "yes | cat | { cat > /dev/null; exit 3; }")
    pids = household.stages_of(process, 3)
    os.kill(pids[1], signal.SIGKILL)
    result = household.finish(process)
    assert result.returncode == 3
    assert b"stage 2 `cat` was ended by signal 9" in result.stderr
    assert b"exited with status 3" in result.stderr


@on_and_off_a_terminal
@for_every_user
def test_direct_children_end_when_sluice_and_spawner_are_killed_together(household, chance, user, on_terminal):
    # Nobody is left who could look for what escaped, so that may remain: the household ends it. The stages themselves
    # have a parent-death signal.
    for name, process in start_flows(household, FLOWS_TO_KILL, user=user, on_terminal=on_terminal):
        spawner = household.spawner_of(process)
        pids = stage_numbers(household, process, FLOWS_TO_KILL[name])
        let_pass(chance.uniform(0, 0.03))
        # Stopped, neither can do anything about the other's death: it is the same moment for both.
        for pid in (process.pid, spawner):
            os.kill(pid, signal.SIGSTOP)
        for pid in (process.pid, spawner):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda: not any(map(is_alive, pids)), lambda: f"the end of {name}: {describe_processes(pids)}", 5)
        household.end()


@on_and_off_a_terminal
@pytest.mark.parametrize("victim", ["the spawner", "sluice", "its own group"])
def test_stage_that_kills_its_betters_leaves_nothing(household, victim, on_terminal):
    kill = {
        "the spawner": "kill -9 $PPID",
        "sluice": "kill -9 $(cut -d ' ' -f 4 /proc/$PPID/stat)",
        "its own group": "kill -9 0",
    }[victim]
    text = f"{{ {FLEE}; exec sleep 1000; }} | {{ {FLEE}; {kill}; exec sleep 1000; }} | {{ {FLEE}; exec sleep 1000; }}"
    process = household.start_sluice("run", *SHORT_GRACE, "--timeout", "5s", text, on_terminal=on_terminal)
    result = household.finish(process)
    if victim == "the spawner":
        assert result.returncode == 125 and b"was killed" in result.stderr
    elif victim == "sluice" or on_terminal:
        # On a terminal the stages are in the group of sluice, as in a shell.
        assert result.returncode == -signal.SIGKILL
    else:
        # The neighbours have groups of their own, and sleep on.
        assert result.returncode == 124
    household.assert_clean()


def test_killed_spawner_does_not_cost_others_their_processes(household):
    # The shell's own job becomes a child of sluice by exec, without being a process of the flow.
    script = 'sleep 1000 > /dev/null 2>&1 & echo $! > own; exec "$@"'
    process = household.start(["bash", "-c", script, "bash", SLUICE, "run", "sleep 1000 | cat"])
    spawner = household.spawner_of(process)
    stages = household.stages_of(process, 2)
    own = int((household.folder / "own").read_text())
    os.kill(spawner, signal.SIGKILL)
    assert household.finish(process).returncode == 125
    assert is_alive(own)
    assert not any(is_alive(stage) for stage in stages)


@pytest.mark.parametrize("arguments", [
    ["--dry-run", "true"], ["--help"], ["nosuchcommand"], ["@map cat"], ["--nosuchoption", "true"], ["'open"],
], ids=" ".join)
def test_run_that_runs_nothing_leaves_no_spawner(household, arguments):
    household.run_sluice("run", *arguments)
    household.assert_nothing_came_to_us()
