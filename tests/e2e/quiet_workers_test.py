"""Workers that do not keep to the protocol, do not read, or stand still, beside others that work: what becomes of their
records, and what the user is told."""

import os
import signal

import pytest

from processes import DEADLINE_SECONDS, wait_until
from workers import write_flow, write_worker

# One of the workers is bad: the first that gets here. Then the others wait until it has what it needs.
ONE_IS_BAD = """
import os, select, socket, time
from sluice_worker import _wire
worker = Worker()
bad = None
try:
    os.mkdir("taken")
    bad = BAD
except FileExistsError:
    pass

def stage():
    return socket.socket(fileno=int(os.environ["SLUICE_WORKER_FD"]))

def never_reads():
    ours = stage()
    ours.sendall(_wire.hello(source=False, concurrency=1, library="raw") + _wire.credit(1, 100, 1 << 20))
    while True:
        signal.pause()

def takes_what_it_was_not_given(record, item):
    worker._done.append(12345)
    item.write(record)

def stands_still(record, item):
    with open("pid", "w") as file:
        file.write(str(os.getpid()))
    os.rename("pid", "stopped")
    os.kill(os.getpid(), signal.SIGSTOP)
    item.write(record)
    item.done()

def works(record, item):
    item.write(record)
    item.done()

if bad == "never_reads":
    never_reads()
worker.on_data(globals()[bad] if bad else works)
sys.exit(worker.run())
"""
NUMBERS = b"".join(b"%d\n" % number for number in range(1, 1001))


def write_workers(household, bad):
    write_worker(household.folder / "worker", "import signal" + ONE_IS_BAD.replace("BAD", repr(bad)))
    return write_flow(household, "worker: ./worker, workers: 3, ordered: true")


def test_a_worker_that_is_cut_off_is_named_with_the_reason_and_harms_nobody(household):
    flow = write_workers(household, "takes_what_it_was_not_given")
    result = household.run_sluice("run", flow, input=NUMBERS)
    assert result.outcome == (0, NUMBERS), result
    told, = [line for line in result.stderr.decode().splitlines() if "was cut off" in line]
    assert "`./worker` was cut off: it said that record 12345 is done, which it does not have" in told
    assert told.endswith("; what it had in hand runs again"), told


# A minute each: that is how long a worker may be silent.
@pytest.mark.parametrize("bad", ["never_reads", "stands_still"])
def test_a_worker_that_is_silent_for_a_minute_is_named(household, bad):
    flow = write_workers(household, bad)
    out, errors = household.folder / "out", household.folder / "errors"
    (household.folder / "in").write_bytes(NUMBERS)
    with open(household.folder / "in", "rb") as records, open(out, "wb") as to, open(errors, "wb") as said:
        process = household.start_sluice("run", flow, stdin=records, stdout=to, stderr=said)
    named = "was cut off: it has read nothing of what it was given for 60 s; what it had in hand runs again"
    if bad == "stands_still":
        named = "in hand for 60 s, and has settled none"
    wait_until(lambda: named in errors.read_text(), lambda: f"its name in {errors.read_text()!r}", deadline=90)
    if bad == "stands_still":
        os.kill(int((household.folder / "stopped").read_text()), signal.SIGCONT)
    assert process.wait(DEADLINE_SECONDS) == 0
    assert out.read_bytes() == NUMBERS
    assert len(errors.read_text().splitlines()) == 1, errors.read_text()
