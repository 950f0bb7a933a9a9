"""What the Python library says last stays last, whoever of its threads sends it: moments that a stage can't choose are made
here from within."""

import pathlib
import socket
import struct
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients/python"))
from sluice_worker import Worker, _wire
from stage import DEADLINE_SECONDS, DONE, FAIL, FINISHED, OUTPUTS, records_frame, frame, welcome_frame, END


@pytest.fixture
def stage(monkeypatch):
    """The other end of a worker of this process, which has been welcomed."""
    ours, theirs = socket.socketpair()
    ours.settimeout(DEADLINE_SECONDS)
    monkeypatch.setenv("SLUICE_WORKER_FD", str(theirs.detach()))
    ours.sendall(welcome_frame())
    yield ours
    ours.close()


def kinds_said(stage):
    """The kinds of all frames up to the end of the stream."""
    said = b""
    while data := stage.recv(1 << 16):
        said += data
    kinds = []
    while said:
        size, kind = struct.unpack_from(">IB", said)
        kinds.append(kind)
        said = said[8 + size:]
    return kinds


def while_another_thread_sends(monkeypatch, worker):
    """Two events: the first time that another thread sends outputs it sets one, and goes on when something stands behind them."""
    main, begun = threading.get_ident(), threading.Event()
    encode = _wire.outputs

    def outputs(ids, records):
        if threading.get_ident() != main and not begun.is_set():
            before = len(worker._control)
            begun.set()
            pause = threading.Event()
            for _ in range(int(DEADLINE_SECONDS * 100)):
                if len(worker._control) > before or pause.wait(0.01):
                    break
        return encode(ids, records)

    monkeypatch.setattr(_wire, "outputs", outputs)
    return begun


def test_a_source_that_finishes_while_its_timer_sends_writes_nothing_behind_its_end(stage, monkeypatch):
    worker = Worker()
    begun = while_another_thread_sends(monkeypatch, worker)

    def records():
        yield b"first"
        assert begun.wait(DEADLINE_SECONDS)
        yield b"last"

    assert worker.source(records()) == 0
    assert [kind for kind in kinds_said(stage) if kind in (OUTPUTS, FINISHED)] == [OUTPUTS, OUTPUTS, FINISHED]


def test_a_record_that_fails_while_another_thread_sends_has_no_output_behind_its_failure(stage, monkeypatch):
    worker = Worker(concurrency=2)
    begun = while_another_thread_sends(monkeypatch, worker)
    held = []

    @worker.on_data
    def got(record, item):
        held.append(item)
        if len(held) < 2:
            return
        held[0].write(b"of the first")
        sender = threading.Thread(target=held[0].done)
        sender.start()
        assert begun.wait(DEADLINE_SECONDS)
        item.write(b"of the second")
        item.fail("it is bad")
        sender.join()

    stage.sendall(records_frame([b"1", b"2"], 1) + frame(END))
    assert worker.run() == 0
    assert [kind for kind in kinds_said(stage) if kind in (OUTPUTS, DONE, FAIL)] == [OUTPUTS, DONE, OUTPUTS, FAIL]
