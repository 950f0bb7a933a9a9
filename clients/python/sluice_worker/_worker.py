"""The worker: what is in its hands, which handler gets it, and what is sent when.

One thread, that of run(), reads and hands over. What is written and settled is appended to lists, from any thread, and
sent when the records that came together were handed over, and before that when a handler returns and the last sending
is 20 ms ago: nothing that is settled waits for longer than that, or until the handler that is under way returns. What
another thread settles is sent at once. Failures, leave and end are taken from their list before what is done, and that
before what was written: so an output is never behind the word that its record is settled, or that it was the last.
"""

import asyncio
import inspect
import operator
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident
from time import monotonic

from . import _wire

_LIBRARY = "sluice-python 0.1"
_READ_AT_ONCE = 256 << 10
_FLUSH_AT = 128 << 10
# Records that may wait here for the handler. The stage gives far fewer to a worker that is slow.
_AHEAD = 8192
_AHEAD_BYTES = 4 << 20
# Nothing that was written or settled waits for longer, unless for a handler that has not returned.
_SEND_WITHIN_SECONDS = 0.02
_CONCURRENCY_MAX = (1 << 31) - 1


def _say(message):
    print(f"sluice: worker: {message}", file=sys.stderr, flush=True)


def _concurrency(records):
    try:
        count = operator.index(records)
    except TypeError:
        count = 0
    if not 1 <= count <= _CONCURRENCY_MAX:
        raise ValueError(f"concurrency is a whole number from 1 to {_CONCURRENCY_MAX:,}, not {records!r}")
    return count


class _Over(Exception):
    """run() returns this status."""

    def __init__(self, status):
        self.status = status


class Input:
    """A record that is in the worker's hands, until done() or fail(). They may be called on any thread, one of them, once.

    Settling it again, or writing for it when it is settled, raises a RuntimeError, and changes nothing.
    """

    __slots__ = ("_worker", "id", "attempt", "_settled")

    def __init__(self, worker, record_id, attempt):
        self._worker = worker
        self.id = record_id  # its place in the input of the stage, from 1; the same when it runs again
        self.attempt = attempt  # how often it was given to a worker, this time included
        self._settled = False

    def write(self, record):
        """Writes a record that belongs to this one: bytes, a bytearray or memoryview, or a str, encoded as UTF-8.

        A ValueError says that it is longer than a record may be, `--max-record`.
        """
        if self._settled:
            raise RuntimeError(f"record {self.id} is settled; write() comes before done()")
        self._worker._put(self.id, record)

    def done(self):
        """It is done, and all that was written for it may go on."""
        if self._settled:
            raise RuntimeError(f"record {self.id} is settled already")
        self._settled = True
        worker = self._worker
        worker._done.append(self.id)
        if get_ident() != worker._thread:
            worker._settled_elsewhere()
            return
        worker._settled += 1
        if worker._soon:
            worker._soon()

    def fail(self, reason=""):
        """It could not be done. What was written for it is dropped; str(reason) is for people."""
        if self._settled:
            raise RuntimeError(f"record {self.id} is settled already")
        frame = _wire.fail(self.id, str(reason))  # while it is not settled: a str() that raises has failed the handler
        self._settled = True
        worker = self._worker
        worker._control.append(frame)
        if get_ident() != worker._thread:
            worker._settled_elsewhere()
            return
        worker._settled += 1
        if worker._soon:
            worker._soon()


class Worker:
    """A worker of a `worker:` stage.

    concurrency: how many records are worked on at a time; `concurrency` in the flow file goes first.
    threads: each of these gets a thread of its own, for handlers that wait. A handler that is a coroutine function is run
    by an event loop, and needs none; it and all that it calls are on one thread.
    """

    def __init__(self, concurrency=1, threads=False):
        self._concurrency = _concurrency(concurrency)
        self._threads = threads
        self._on_data = self._on_idle = self._on_end = None
        self._socket = None
        self._wake_read = self._wake_write = -1
        self._thread = 0
        self._reader = _wire.Reader()
        self._queue = deque()  # [records of one frame, from the last to the first; id of the next; attempt]
        self._started = 0  # handed to the handler
        self._settled = 0  # of these, by the thread of run()
        self._others_settled = 0
        self._settle_lock = threading.Lock()
        self._send_lock = threading.RLock()
        self._outputs, self._done, self._control = [], [], []
        self._size = 0
        self._send_at = 0.0  # when a handler that returns has what there is sent
        self._paused = self._leaving = self._ended = self._closed = self._waiting = self._source = False
        self._executor = None
        self._soon = None  # of an event loop: sends and hands over when its callbacks have returned
        self.number = 0  # of this worker in its stage, from 1; known once a record has come

    # --- what it is to do -----------------------------------------------------------------------------------------

    def on_data(self, handler):
        """The handler of a record: handler(record, item), with the record as bytes. Works as a decorator."""
        self._on_data = handler
        return handler

    def on_idle(self, handler):
        """Called when nothing more can be handed over now, and records are in hand: the moment to commit, and to settle,
        what was gathered from several. Works as a decorator."""
        self._on_idle = handler
        return handler

    def on_end(self, handler):
        """Called once, when the input has ended and every record is settled. It may write(). Works as a decorator."""
        self._on_end = handler
        return handler

    @property
    def concurrency(self):
        return self._concurrency

    @concurrency.setter
    def concurrency(self, records):
        self._concurrency = _concurrency(records)
        self._changed()

    def write(self, record):
        """Writes a record that belongs to none of the input. It goes on at once."""
        self._put(0, record)
        if self.number and not self._source and get_ident() != self._thread:
            self._send_now()

    def pause(self):
        """No record is handed over until resume(), and the stage gives none."""
        self._paused = True
        self._changed()

    def resume(self):
        self._paused = False
        self._changed()

    def end(self):
        """Takes no more records: run() returns when those that it has are settled."""
        if self._leaving:
            return
        self._leaving = True
        if self.number and not self._source:
            self._control.append(_wire.frame(_wire.LEAVE))
            self._changed()

    def flush(self):
        """Sends what was written. run() and source() do that by themselves."""
        with self._send_lock:
            self._send_at = monotonic() + _SEND_WITHIN_SECONDS
            # What is sent last is taken first.
            control = self._take(self._control)
            done = self._take(self._done)
            outputs = self._take(self._outputs)
            self._size = 0
            parts = _wire.outputs(*zip(*outputs)) if outputs else []
            if done:
                parts += _wire.done(done)
            parts += control
            if not parts or self._closed:
                return
            try:
                self._socket.sendall(b"".join(parts))
            except OSError:
                self._closed = True  # why, the next reading will say

    # --- running --------------------------------------------------------------------------------------------------

    def run(self):
        """Works until the input has ended. Returns the status to exit with."""
        if self._on_data is None:
            raise RuntimeError("the worker has no handler for its records; give it one by on_data()")
        return self._guarded(self._run)

    def source(self, records):
        """For a program that takes no input: writes what the iterable gives. Returns the status to exit with."""
        self._source = True
        return self._guarded(lambda: self._run_source(records))

    def _guarded(self, work):
        self._thread = get_ident()
        try:
            self._open()
            work()
        except _Over as over:
            return over.status
        except _wire.ProtocolError as error:
            self._control.append(_wire.refuse(str(error)))
            self.flush()
            _say(f"the stage does not keep to the protocol of workers: {error}")
            return 1
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            if self._executor:
                self._executor.shutdown(wait=False, cancel_futures=True)
        return 0

    def _open(self):
        name = os.environ.pop("SLUICE_WORKER_FD", None)
        if name is None:
            _say("this program is started by a flow, as in 'stages: { got: { worker: ./got.py } }'")
            raise _Over(1)
        try:
            given = int(name)
            self._socket = socket.socket(fileno=os.dup(given))
            if self._socket.type != socket.SOCK_STREAM:
                raise OSError("it is no stream")
        except (OSError, ValueError):
            _say("SLUICE_WORKER_FD does not name the socket of a stage; was it inherited?")
            raise _Over(1) from None
        if given == 0:  # so that no program that is started from here reads what is ours
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.close(null)
        else:
            os.close(given)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._control.append(_wire.hello(source=self._source, concurrency=self._concurrency, library=_LIBRARY))
        self.flush()

    def _run(self):
        if inspect.iscoroutinefunction(self._on_data):
            asyncio.run(self._run_in_loop())
            self._finish()
            return
        call = self._call
        if self._threads:
            self._executor = ThreadPoolExecutor(max_workers=1000)
            call = self._call_in_thread
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        poller.register(self._wake_read, select.POLLIN)
        while True:
            if self._turn(call):
                break
            self._wait(poller)
        self._finish()

    async def _run_in_loop(self):
        loop = asyncio.get_running_loop()
        finished = loop.create_future()
        tasks = set()
        awaited = False

        def call(record, item):
            task = loop.create_task(self._call_coroutine(record, item))
            tasks.add(task)
            task.add_done_callback(lambda _: (tasks.discard(task), soon()))

        def turn():
            nonlocal awaited
            awaited = False
            if self._turn(call) and not finished.done():
                finished.set_result(None)

        def soon():
            nonlocal awaited
            if not awaited:
                awaited = True
                loop.call_soon(turn)

        def receive():
            try:
                self._receive()
                soon()
            except Exception as error:
                loop.remove_reader(self._socket)
                if not finished.done():
                    finished.set_exception(error)

        self._soon = soon
        loop.add_reader(self._socket, receive)
        loop.add_reader(self._wake_read, lambda: (os.read(self._wake_read, 4096), soon()))
        self._waiting = True  # for other threads
        try:
            await finished
        finally:
            self._soon = None
            loop.remove_reader(self._socket)
            loop.remove_reader(self._wake_read)
            for task in tasks:
                task.cancel()

    def _turn(self, call):
        """Hands over what may be, and sends what there is. True: the input has ended, and everything is settled."""
        self._hand_over(call)
        while self._on_idle and self._working() > 0:
            self._on_idle()
            if not self._may_hand_over():
                break
            self._hand_over(call)
        self.flush()
        return self._at_end()

    def _run_source(self, records):
        while not self.number:
            self._receive()
        stop = threading.Event()

        def send_in_time():  # a record must not wait here because the next one is slow to come
            while not stop.wait(_SEND_WITHIN_SECONDS):
                self.flush()

        threading.Thread(target=send_in_time, daemon=True).start()
        try:
            for count, record in enumerate(records):
                self._put(0, record)
                if self._leaving or self._closed:
                    break
                if count % 256 == 0 and select.select([self._socket], [], [], 0)[0]:
                    self._receive()  # it is cancelled
        finally:
            stop.set()
        while self._closed:
            self._receive()  # which says why
        self._finish()

    def _finish(self):
        if self._on_end:
            self._on_end()
        self._control.append(_wire.frame(_wire.FINISHED))
        self.flush()
        while self._closed:
            self._receive()
        self._socket.shutdown(socket.SHUT_WR)

    def _wait(self, poller):
        self._waiting = True
        ready = self._may_hand_over() or self._at_end()
        events = [] if ready else poller.poll()
        self._waiting = False
        self._send_at = monotonic() + _SEND_WITHIN_SECONDS  # all that there was has been sent
        for descriptor, _ in events:
            if descriptor == self._wake_read:
                os.read(self._wake_read, 4096)
            else:
                self._receive()

    def _receive(self):
        try:
            data = self._socket.recv(_READ_AT_ONCE)
        except OSError:
            data = b""
        if not data:
            _say("the stage is gone; what this worker had in hand runs again")
            raise _Over(1)
        for kind, body in self._reader.frames(data):
            self._take_frame(kind, body)

    def _take_frame(self, kind, body):
        if kind == _wire.RECORDS and self.number and not self._ended:
            first, attempt, records = _wire.records(body)
            records.reverse()
            self._queue.append([records, first, attempt])
        elif kind == _wire.WELCOME and not self.number:
            concurrency, self.number, self._reader.record_max = _wire.welcome(body)
            if concurrency:
                self._concurrency = concurrency
            if self._leaving and not self._source:  # before it was welcomed
                self._control.append(_wire.frame(_wire.LEAVE))
            if not self._source:
                self._changed()
        elif kind == _wire.CANCEL:
            raise _Over(0)
        elif kind == _wire.REFUSE:
            _say("the stage refuses it: " + body.decode("utf-8", "replace"))
            raise _Over(1)
        elif kind == _wire.END and self.number:
            self._ended = True
        else:
            raise _wire.ProtocolError(f"it sent a frame of kind {kind} where none is")

    # --- the handler ----------------------------------------------------------------------------------------------

    def _working(self):
        return self._started - self._settled - self._others_settled

    def _at_end(self):
        return self._ended and not self._queue and self._working() == 0

    def _may_hand_over(self):
        return bool(self._queue) and not self._paused and self._working() < self._concurrency

    def _hand_over(self, call):
        queue = self._queue
        while queue:
            batch = queue[0]
            records, record_id, attempt = batch
            while records:
                if self._paused or self._started - self._settled - self._others_settled >= self._concurrency:
                    batch[1] = record_id
                    return
                self._started += 1
                call(records.pop(), Input(self, record_id, attempt))
                record_id += 1
                if monotonic() >= self._send_at:
                    self.flush()
            queue.popleft()

    def _call(self, record, item):
        try:
            self._on_data(record, item)
        except Exception as error:
            self._fail(item, error)

    def _call_in_thread(self, record, item):
        self._executor.submit(self._call, record, item)

    async def _call_coroutine(self, record, item):
        try:
            await self._on_data(record, item)
        except Exception as error:
            self._fail(item, error)
        if monotonic() >= self._send_at:  # the others that can go on now may block the loop for long
            self.flush()

    @staticmethod
    def _fail(item, error):
        traceback.print_exc()
        if not item._settled:
            item.fail(f"{type(error).__name__}: {error}")

    # --- sending --------------------------------------------------------------------------------------------------

    @staticmethod
    def _take(items):
        """Takes what is there: another thread may append meanwhile."""
        count = len(items)
        taken = items[:count]
        del items[:count]
        return taken

    def _put(self, record_id, record):
        if isinstance(record, str):
            record = record.encode()
        elif not isinstance(record, bytes):
            if not isinstance(record, (bytearray, memoryview)):
                raise TypeError(f"write() takes bytes, bytearray, memoryview or str, not {type(record).__name__}")
            record = bytes(record)
        size = len(record)
        if size > self._reader.record_max:
            raise ValueError(f"an output of {size} bytes is longer than a record may be "
                             f"({self._reader.record_max} bytes, --max-record)")
        self._outputs.append((record_id, record))
        self._size += size + 12
        if self._size >= _FLUSH_AT:
            self.flush()
        elif self._soon:
            self._soon()

    def _settled_elsewhere(self):
        with self._settle_lock:
            self._others_settled += 1
        self._send_now()

    def _changed(self):
        if not self.number or self._source:
            return
        records = 0 if self._paused or self._leaving else self._concurrency + _AHEAD
        self._control.append(_wire.credit(self._concurrency, records, _AHEAD_BYTES))
        if get_ident() != self._thread:
            self._send_now()
        elif self._soon:
            self._soon()

    def _send_now(self):
        self.flush()
        if self._waiting:
            try:
                os.write(self._wake_write, b"\0")
            except BlockingIOError:
                pass  # it is woken already
