"""Whatever signals are ignored or blocked when `sluice` starts: stages find them so, and flows end as usual."""

import os
import re
import signal

import pytest

from flows import FLOWS_TO_KILL, SHORT_GRACE, on_and_off_a_terminal, stage_numbers, start_flow

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
@on_and_off_a_terminal
@pytest.mark.parametrize("state", ENTRY_STATES)
def test_stages_find_the_signal_state_of_entry(household, state, on_terminal, pipe_ignored):
    options = {"before_exec": ENTRY_STATES[state], "restore_signals": not pipe_ignored, "on_terminal": on_terminal}
    grep = ["grep", "^Sig", "/proc/self/status"]
    at_entry = signal_state(household.run(grep, **options).stdout)
    under_bash = signal_state(household.run(["bash", "-c", f"exec {' '.join(grep)}"], **options).stdout)
    for flow_options in ([], ["--exact", "--mark-stderr", "--progress=json"]):
        # Straight by exec: what was found at entry. In a shell: what that shell makes of it, as everywhere.
        straight = household.run_sluice("run", *flow_options, "true | grep ^Sig /proc/self/status | cat", **options)
        in_shell = household.run_sluice("run", *flow_options, "true | exec grep ^Sig /proc/self/status | cat",
                                        **options)
        assert (straight.returncode, in_shell.returncode) == (0, 0)
        assert signal_state(straight.stdout) == at_entry
        assert signal_state(in_shell.stdout) == under_bash
    household.assert_clean()


@pytest.mark.parametrize("state", ENTRY_STATES)
def test_flows_end_as_usual_whatever_the_signal_state_of_entry(household, state):
    options = {"before_exec": ENTRY_STATES[state], "restore_signals": False}
    assert household.run_sluice("run", "seq 5 | { cat; exit 3; } | wc -l", **options).returncode == 3
    result = household.run_sluice("run", "--timeout", "200ms", *SHORT_GRACE, "sleep 1000 | { sleep 1000; }", **options)
    assert result.returncode == 124
    household.assert_nothing_came_to_us()


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
