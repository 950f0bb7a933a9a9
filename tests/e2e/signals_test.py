"""What signals and the timeout do to a flow: they reach the stages, and nothing of it remains."""

import os
import select
import signal
import subprocess
import time

import pytest

from flows import DEAF, FLEE, SHORT_GRACE
from processes import describe_processes, process_state, wait_until
from settings import SLUICE
from terminals import PseudoTerminal


def with_signals(*numbers):
    return pytest.mark.parametrize("number", numbers, ids=lambda number: number.name)


with_every_ending_signal = with_signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


@with_every_ending_signal
def test_signal_reaches_the_stages_and_sluice_dies_by_it(household, number):
    name = number.name.removeprefix("SIG")
    text = (
        f"{{ trap 'touch got1; exit 0' {name}; touch ready1; while :; do sleep 0.05; done; }}"
        f" | {{ trap 'touch got2; exit 0' {name}; touch ready2; while :; do sleep 0.05; done; }}"
    )
    process = household.start_sluice("run", "--grace", "20s", text)
    household.wait_for_files("ready1", "ready2")
    process.send_signal(number)
    result = household.finish(process, deadline=15)
    assert result.returncode == -number
    assert (household.folder / "got1").exists() and (household.folder / "got2").exists()
    household.assert_nothing_came_to_us()


@with_every_ending_signal
def test_stages_that_ignore_a_signal_are_ended_after_the_grace(household, number):
    text = (
        f"{{ {DEAF}; touch ready1; sleep 1000; }} | {{ {DEAF}; {FLEE}; touch ready2; exec sleep 1000; }}"
        " | { touch ready3; exec sleep 1000; }"
    )
    process = household.start_sluice("run", *SHORT_GRACE, text)
    household.wait_for_files("ready1", "ready2", "ready3")
    start = time.monotonic()
    process.send_signal(number)
    result = household.finish(process, deadline=15)
    assert result.returncode == -number
    assert time.monotonic() - start >= 0.2
    assert b"within the grace of 200 ms" in result.stderr
    household.assert_nothing_came_to_us()


@with_signals(signal.SIGHUP, signal.SIGINT)
def test_signal_that_was_ignored_at_entry_stays_ignored(household, number):
    process = household.start_sluice(
        "run",
        "{ touch ready; read -r line; grep SigIgn /proc/self/status; } | cat",
        before_exec=lambda: signal.signal(number, signal.SIG_IGN),
        stdin=subprocess.PIPE,
    )
    household.wait_for_files("ready")
    for target in [process.pid, *household.stages_of(process, 2)]:
        os.kill(target, number)
    result = household.finish(process, b"go on\n")
    assert result.returncode == 0, result
    assert int(result.stdout.split()[1], 16) & (1 << (number - 1))


def test_nohup_spares_the_flow(household):
    process = household.start(["nohup", SLUICE, "run", "{ touch ready; cat; } | cat"], stdin=subprocess.PIPE)
    household.wait_for_files("ready")
    process.send_signal(signal.SIGHUP)
    result = household.finish(process, b"on it goes\n")
    assert result.outcome == (0, b"on it goes\n")


def test_stopped_stage_is_ended_by_a_signal(household):
    process = household.start_sluice("run", "--grace", "20s", "sleep 1000 | sleep 1000")
    pids = household.stages_of(process, 2)
    os.kill(pids[1], signal.SIGSTOP)
    wait_until(lambda: process_state(pids[1]) == "T", "the stop of the second stage")
    process.terminate()
    # A stopped process gets the signal only when it is continued; without that the grace would have to pass.
    assert household.finish(process, deadline=15).returncode == -signal.SIGTERM
    household.assert_clean()


def test_stopped_stage_is_ended_when_sluice_is_killed(household):
    process = household.start_sluice("run", "sleep 1000 | sleep 1000")
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
    process = household.start_sluice("run", text)
    household.wait_for_files("ready", "ready2")
    process.send_signal(signal.SIGUSR1)
    household.wait_for_files("got")
    assert process.poll() is None
    (household.folder / "stop").touch()
    result = household.finish(process)
    assert result.outcome == (0, b"got it\n")
    household.assert_clean()


def test_signal_ends_a_flow_whose_messages_nobody_reads(household):
    # A pager that was left alone, or a log that is held up: messages of ours must not keep the flow alive.
    text = f"{{ {DEAF}; touch ready; while :; do echo a line that fills the pipe >&2; done; }} | cat"
    for options in ([], ["--mark-stderr"], ["--progress", "json"]):
        process = household.start_sluice("run", *SHORT_GRACE, *options, text)
        household.wait_for_files("ready")
        # Full when nothing more fits for a while: the stage, and we, wait for a reader.
        probe = os.open(f"/proc/{os.getpid()}/fd/{process.stderr.fileno()}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            full = select.poll()
            full.register(probe, select.POLLOUT)
            wait_until(lambda: not full.poll(0), "a full pipe")
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: process.poll() is not None,
                       lambda: f"{options}: the end of {describe_processes([process.pid])}", 10)
        finally:
            os.close(probe)
        assert process.returncode == -signal.SIGTERM, options
        household.assert_clean()
        (household.folder / "ready").unlink()


def test_summary_is_said_of_a_flow_that_was_signalled(household):
    process = household.start_sluice("run", "--json", "sleep 1000 | cat")
    household.stages_of(process, 2)
    process.terminate()
    result = household.finish(process)
    summary = result.summary
    assert (summary["end"], summary["signal"], summary["status"]) == ("signalled", "SIGTERM", 143)
    assert result.returncode == -signal.SIGTERM


# --- timeouts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["sleep 1000 | cat", "yes | cat > /dev/null", "sleep 1000"])
def test_timeout_ends_everything(household, text):
    result = household.run_sluice("run", "--timeout", "200ms", text)
    assert result.returncode == 124
    assert result.stderr == b"sluice: timed out after 200 ms; every stage was ended\n"
    household.assert_nothing_came_to_us()


def test_timeout_ends_stages_that_ignore_it(household):
    text = f"{{ {DEAF}; {FLEE}; exec sleep 1000; }} | {{ {DEAF}; sleep 1000; }} | cat"
    start = time.monotonic()
    result = household.run_sluice("run", "--timeout", "200ms", *SHORT_GRACE, text)
    assert time.monotonic() - start >= 0.4
    assert result.returncode == 124
    assert b"within the grace of 200 ms" in result.stderr and b"timed out after 200 ms" in result.stderr
    household.assert_nothing_came_to_us()


def test_timeout_that_is_not_reached_changes_nothing(household):
    result = household.run_sluice("run", "--timeout", "1h", "echo quick | cat")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"quick\n", b"")


@pytest.mark.parametrize("options", [["--mark-stderr"], ["--progress=json"]], ids=" ".join)
def test_signal_ends_a_flow_whose_terminal_nobody_reads(household, options):
    # A terminal says that it has room when it has room for one byte, and blocks in the middle of a longer write.
    terminal = PseudoTerminal()
    try:
        text = "touch ready; while :; do echo a line that fills the terminal >&2; done"
        process = household.start_sluice("run", *SHORT_GRACE, *options, text, stderr=terminal.slave)
        household.wait_for_files("ready")
        full = select.poll()
        full.register(terminal.slave, select.POLLOUT)
        wait_until(lambda: not full.poll(0), "a full terminal")
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.poll() is not None, "the end of sluice", 10)
        assert process.returncode == -signal.SIGTERM
        household.assert_clean()
    finally:
        terminal.close()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_flow_whose_stage_stops_the_spawner_is_ended(household, end):
    process = household.start_sluice("run", *SHORT_GRACE, "touch ready; kill -STOP $PPID; sleep 1000")
    household.wait_for_files("ready")
    spawner = household.spawner_of(process)
    wait_until(lambda: process_state(spawner) == "T", "a stopped spawner")
    process.send_signal(end)
    wait_until(lambda: process.poll() is not None, "the end of sluice", 10)
    household.assert_clean()


def test_timeout_also_ends_what_is_awaited_behind_the_stages(household):
    result = household.run_sluice("run", "--timeout", "300ms", "echo text | tee >(sleep 1000) > /dev/null")
    assert result.returncode == 124, result
    household.assert_clean()
