"""Flows that are hard to end without leaving anything behind, and the cases that many tests go through."""

import pytest

from machine import USERS
from processes import wait_until
from settings import SOAK

# What escapes from a stage lets go of the pipes, as a daemon does: otherwise the flow would rightly go on when the
# stage is killed, as under a shell.
FLEE = "(setsid sleep 1000 < /dev/null > /dev/null &); setsid -f sleep 1000 < /dev/null > /dev/null"
DEAF = "trap '' TERM HUP INT QUIT"
_KEEP_FLEEING = "while :; do setsid -f sleep 1000 < /dev/null > /dev/null; sleep 0.01; done"


def _stages(*bodies):
    # Each says its number first, because what escaped becomes a child of the spawner beside the stages.
    return " | ".join(f"{{ echo $$ > stage{number}; {body}; }}" for number, body in enumerate(bodies, 1))


# Three stages each; the flow ends when any of them is killed.
KILLABLE_STAGE_FLOWS = {
    "plain": "yes | cat | wc -c",
    "fleeing": _stages(f"{FLEE}; exec yes", f"{FLEE}; exec cat", f"{FLEE}; exec wc -c"),
    "deaf": _stages(f"{DEAF}; {FLEE}; exec yes", f"{DEAF}; exec cat", f"{DEAF}; {FLEE}; exec wc -c"),
}
FLOWS_TO_KILL = KILLABLE_STAGE_FLOWS | {
    "always fleeing": _stages(_KEEP_FLEEING, f"{DEAF}; {_KEEP_FLEEING}", "exec cat"),
    "closed pipes": _stages(
        "trap '' PIPE; while echo x; do :; done 2> /dev/null; exec sleep 1000",
        f"exec <&-; {DEAF}; {FLEE}; exec sleep 1000",
        "exec 0<&- 1>&-; sleep 1000 & sleep 1000",
    ),
}
# Long to start, so that a kill meets it half started.
KILLED_FROM_OUTSIDE = FLOWS_TO_KILL | {"many": "yes | " + "cat | " * 80 + "wc -c"}

SHORT_GRACE = ["--grace", "200ms"]

_KILLS = 50 if SOAK else 5


def start_flow(household, text, **options):
    for said in household.folder.glob("stage*"):
        said.unlink()
    return household.start_sluice("run", *SHORT_GRACE, text, **options)


def start_flows(household, flows, **options):
    """Yields name and process of one started flow after another: as many as kills are wanted, and each at least once.

    The caller ends each before it asks for the next.
    """
    names = list(flows)
    for number in range(max(_KILLS, len(names))):
        name = names[number % len(names)]
        yield name, start_flow(household, flows[name], **options)


def stage_numbers(household, process, text):
    """The process numbers of the three stages, when all of them run."""
    if "$$" not in text:
        return household.stages_of(process, 3)
    files = [household.folder / f"stage{number}" for number in (1, 2, 3)]
    wait_until(lambda: all(file.exists() and file.read_text().endswith("\n") for file in files),
               "the start of all stages")
    return [int(file.read_text()) for file in files]


# --- cases --------------------------------------------------------------------------------------------------------

for_every_user = pytest.mark.parametrize("user", USERS)
on_and_off_a_terminal = pytest.mark.parametrize("on_terminal", [False, True], ids=["no-terminal", "terminal"])


def with_options(*sets):
    """The test is run with each of these lists of options of `sluice run`."""
    return pytest.mark.parametrize("options", sets, ids=lambda options: " ".join(options) or "plain")


# What gives `sluice` more to do, and more descriptors to hold, than a plain run.
with_every_kind_of_report = with_options(
    [], ["--progress=plain"], ["--exact"], ["--mark-stderr"], ["--json"],
    ["--progress=json", "--exact", "--mark-stderr", "--json"],
)
