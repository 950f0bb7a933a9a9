"""What the Python library says last stays last, whoever of its threads sends it, and what it answers to a program that
misuses it: moments that a stage can't choose are made here from within."""

import pathlib
import socket
import struct
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients/python"))
from sluice_worker import Worker, _wire
from stage import (CREDIT, DEADLINE_SECONDS, DONE, END, FAIL, FINISHED, HELLO, LEAVE, OUTPUTS, frame, records_frame,
                   welcome_frame)


@pytest.fixture
def stage(monkeypatch):
    """The other end of a worker of this process, which has been welcomed."""
    ours, theirs = socket.socketpair()
    ours.settimeout(DEADLINE_SECONDS)
    monkeypatch.setenv("SLUICE_WORKER_FD", str(theirs.detach()))
    ours.sendall(welcome_frame())
    yield ours
    ours.close()


def frames_said(stage):
    """All frames up to the end of the stream, as (kind, body)."""
    said = b""
    while data := stage.recv(1 << 16):
        said += data
    frames = []
    while said:
        size, kind = struct.unpack_from(">IB", said)
        frames.append((kind, said[8:8 + size]))
        said = said[8 + size:]
    return frames


def kinds_said(stage):
    return [kind for kind, _ in frames_said(stage)]


def run_with(stage, handler):
    """Has a worker give one record to the handler. Returns all that it said."""
    worker = Worker()
    worker.on_data(handler)
    stage.sendall(records_frame([b"1"], 1) + frame(END))
    assert worker.run() == 0
    return frames_said(stage)


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


def test_a_worker_that_leaves_before_it_runs_says_so_when_it_is_welcome(stage):
    worker = Worker()
    worker.on_data(print)
    worker.end()
    stage.sendall(frame(END))
    assert worker.run() == 0
    said = frames_said(stage)
    assert [kind for kind, _ in said] in ([HELLO, LEAVE, CREDIT, FINISHED], [HELLO, CREDIT, LEAVE, FINISHED])
    assert [struct.unpack(">IIQ", body)[1] for kind, body in said if kind == CREDIT] == [0]


@pytest.mark.parametrize("record,name", [(5, "int"), (True, "bool"), (None, "NoneType"), ([1, 2], "list"), ({}, "dict")])
def test_what_is_neither_bytes_nor_text_is_not_written(stage, record, name):
    def handler(_, item):
        with pytest.raises(TypeError, match=f"^write\\(\\) takes bytes, bytearray, memoryview or str, not {name}$"):
            item.write(record)
        item.done()

    assert OUTPUTS not in [kind for kind, _ in run_with(stage, handler)]


@pytest.mark.parametrize("record", [b"ab", bytearray(b"ab"), memoryview(b"xaxb")[1::2], "ab"])
def test_bytes_and_text_are_written(stage, record):
    def handler(_, item):
        item.write(record)
        item.done()

    assert [body[-2:] for kind, body in run_with(stage, handler) if kind == OUTPUTS] == [b"ab"]


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, float("nan"), "x", None, 1 << 40])
def test_a_concurrency_that_is_no_number_of_records_is_refused(concurrency):
    with pytest.raises(ValueError, match="^concurrency is a whole number from 1 to 2,147,483,647, not "):
        Worker(concurrency=concurrency)
    worker = Worker(concurrency=3)
    with pytest.raises(ValueError, match="^concurrency is a whole number"):
        worker.concurrency = concurrency
    assert worker.concurrency == 3


def test_a_reason_that_is_no_text_fails_the_record(stage):
    class Broken:
        def __str__(self):
            raise RuntimeError("it has no text")

    def handler(_, item):
        item.fail(Broken())

    assert [body[8:] for kind, body in run_with(stage, handler) if kind == FAIL] == [b"RuntimeError: it has no text"]


def test_a_record_is_settled_once(stage):
    def handler(_, item):
        item.done()
        for call in (item.done, item.fail, lambda: item.write(b"late")):
            with pytest.raises(RuntimeError, match="record 1 is settled"):
                call()

    assert [kind for kind, _ in run_with(stage, handler)] == [HELLO, DONE, CREDIT, FINISHED]


def test_what_another_thread_writes_for_no_record_goes_on_while_nothing_comes(stage):
    worker = Worker()

    @worker.on_data
    def got(record, item):
        item.done()
        threading.Thread(target=write_when_it_waits, daemon=True).start()

    def write_when_it_waits():
        while not worker._waiting:
            threading.Event().wait(0.001)
        worker.write(b"of no record")

    def end_when_it_is_written():
        said = b""
        while b"of no record" not in said:
            said += stage.recv(1 << 16)
        stage.sendall(frame(END))

    stage.sendall(records_frame([b"1"], 1))
    ender = threading.Thread(target=end_when_it_is_written, daemon=True)
    ender.start()
    runner = threading.Thread(target=worker.run, daemon=True)
    runner.start()
    runner.join(DEADLINE_SECONDS)
    assert not runner.is_alive()
