"""A stage, as a worker sees one: its side of docs/protocol-workers.md, which notes what the worker says and judges it.

Every rule that holds at any time is checked with each frame: what a worker may settle and write for, and how long frames
may be. What a test is about it checks itself.
"""

import os
import re
import select
import signal
import socket
import struct
import subprocess
import time
from collections import defaultdict

DEADLINE_SECONDS = float(os.environ.get("SLUICE_CONFORMANCE_DEADLINE", "20"))

HELLO, CREDIT, OUTPUTS, DONE, FAIL, LEAVE, FINISHED, REFUSE = range(1, 9)
WELCOME, RECORDS, END, CANCEL = range(16, 20)
BATCH_MAX = 1 << 20
BODY_MAX = 64 << 10
# What a worker that joins says of its life, as `sluice worker` does.
STORY = re.compile(r"^sluice: worker of role conformance: (waiting for a flow|serving stage 1 of the flow flow|"
                   r"finishing what it has, .*|done with that flow)\n", re.MULTILINE)


def frame(kind, body=b""):
    return struct.pack(">IB3x", len(body), kind) + body


def records_frame(records, first, attempt=1):
    sizes = struct.pack(f">{len(records)}I", *map(len, records))
    return frame(RECORDS, struct.pack(">QII", first, attempt, len(records)) + sizes + b"".join(records))


def welcome_frame(concurrency=0, major=1, minor=0, record_max=64 << 20, more=b""):
    names = struct.pack(">H", 4) + b"flow" + struct.pack(">H", 8) + b"./worker"
    return frame(WELCOME, struct.pack(">4sHHIIQ", b"SLWK", major, minor, concurrency, 1, record_max) + names + more)


class Hello:
    def __init__(self, body):
        magic, self.major, self.minor, flags, self.concurrency, role = struct.unpack_from(">4sHHHIH", body)
        assert magic == b"SLWK"
        assert flags in (0, 1), "a flag that is not known"
        self.source = flags == 1
        (library,) = struct.unpack_from(">H", body, 16 + role)
        assert len(body) == 18 + role + library
        self.library = body[18 + role:].decode()


class Stage:
    def __init__(self, command, folder, arguments=(), descriptor=0):
        self._socket, theirs = socket.socketpair()
        self._stderr = open(folder / "stderr", "w+b")
        self._stdout = open(folder / "stdout", "w+b")
        environment = dict(os.environ, SLUICE_WORKER_FD=str(descriptor or 0))
        options = {"stdin": theirs}
        if descriptor:
            os.dup2(theirs.fileno(), descriptor, inheritable=True)
            options = {"stdin": subprocess.DEVNULL, "pass_fds": (descriptor,)}
        self.process = subprocess.Popen([*command, *arguments], env=environment, stdout=self._stdout,
                                        stderr=self._stderr, start_new_session=True, **options)
        theirs.close()
        if descriptor:
            os.close(descriptor)
        self._buffer = bytearray()
        self.closed = False  # by the worker
        self.hello = None
        self.credits = []  # (concurrency, records, bytes)
        self.in_hand = set()
        self.outputs = defaultdict(list)  # by id
        self.done = []
        self.done_frames = 0
        self.failed = {}
        self.order = []  # what was said of which record: ("output" or "done" or "failed", id)
        self.left = self.finished = False
        self.refused = None
        self._next = 1

    # --- speaking -------------------------------------------------------------------------------------------------

    def begin(self, concurrency=0, **options):
        """Hello, welcome, and the first credit."""
        self.until(lambda: self.hello, "a hello")
        self.send(welcome_frame(concurrency, **options))
        if not self.hello.source:
            self.until(lambda: self.credits, "credit")
        return self

    def send(self, data):
        # A worker that waits for us to read must not make us wait for it.
        view = memoryview(data)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while view:
            _, writable, _ = select.select([], [self._socket], [], 0.02)
            if writable:
                try:
                    view = view[self._socket.send(view, socket.MSG_DONTWAIT):]
                    deadline = time.monotonic() + DEADLINE_SECONDS
                    continue
                except BlockingIOError:
                    pass
                except OSError:
                    return
            self.pump(0)
            assert time.monotonic() < deadline, "the worker does not read"

    def give(self, *records, first=None, attempt=1):
        """Gives records in one batch. Returns their ids."""
        first = first or self._next
        ids = range(first, first + len(records))
        self._next = max(self._next, ids.stop)
        self.in_hand.update(ids)
        self.send(records_frame([record.encode() if isinstance(record, str) else record for record in records],
                                first, attempt))
        return list(ids)

    def end(self):
        self.send(frame(END))

    # --- listening ------------------------------------------------------------------------------------------------

    def pump(self, seconds):
        """Takes what comes, for so long at most. False: nothing came."""
        readable, _, _ = select.select([] if self.closed else [self._socket], [], [], seconds)
        if not readable:
            return False
        try:
            data = self._socket.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self.closed = True
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= 8:
            size, kind, a, b, c = struct.unpack_from(">IBBBB", self._buffer, at)
            assert (a, b, c) == (0, 0, 0), f"a header without its zeros: {self._buffer[at:at + 8]!r}"
            if len(self._buffer) - at - 8 < size:
                break
            self._take(kind, bytes(self._buffer[at + 8:at + 8 + size]))
            at += 8 + size
        del self._buffer[:at]
        return True

    def until(self, condition, what):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (found := condition()):
            left = deadline - time.monotonic()
            assert left > 0, f"waited for {what}; {self.described()}"
            assert not self.closed, f"closed while waiting for {what}; {self.described()}"
            self.pump(min(left, 0.5))
        return found

    def until_settled(self, ids):
        self.until(lambda: not self.in_hand.intersection(ids), f"{len(ids)} records to be settled")

    def stands_still(self, seconds=0.3):
        """Takes what comes, until nothing has come for so long."""
        while self.pump(seconds):
            assert not self.closed

    def until_it_waits(self):
        """Reads nothing until the worker has not run for a while."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        looks = []
        while len(looks) < 10 or len(set(looks[-10:])) > 1:
            assert time.monotonic() < deadline, f"the worker never waits; {self.described()}"
            select.select([], [], [], 0.02)
            looks.append(self._processor_time())

    def _processor_time(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            user, system = stat.read().rpartition(")")[2].split()[11:13]
        return user, system

    def _take(self, kind, body):
        assert self.hello or kind == HELLO, "hello comes first"
        assert not self.finished, "something comes behind 'finished'"
        assert len(body) <= BODY_MAX or kind == OUTPUTS
        if kind == HELLO:
            assert self.hello is None, "hello comes once"
            self.hello = Hello(body)
        elif kind == CREDIT:
            assert len(body) == 16
            self.credits.append(struct.unpack(">IIQ", body))
        elif kind == OUTPUTS:
            self._take_outputs(body)
        elif kind == DONE:
            assert body and len(body) % 12 == 0
            self.done_frames += 1
            for first, count in struct.iter_unpack(">QI", body):
                assert count > 0
                for record in range(first, first + count):
                    self._settle("done", record)
                    self.done.append(record)
        elif kind == FAIL:
            (record,) = struct.unpack_from(">Q", body)
            assert len(body) - 8 <= 4096
            self._settle("failed", record)
            self.failed[record] = body[8:].decode()
        elif kind == LEAVE:
            assert body == b""
            self.left = True
        elif kind == FINISHED:
            assert body == b"" and not self.in_hand, f"finished with {self.in_hand} in hand"
            self.finished = True
        elif kind == REFUSE:
            self.refused = body.decode()
        else:
            raise AssertionError(f"a frame of kind {kind}, which no worker sends")

    def _take_outputs(self, body):
        (count,) = struct.unpack_from(">I", body)
        assert count > 0
        assert count == 1 or len(body) <= BATCH_MAX, "several records in a body of more than 1 MiB"
        at = 4 + 12 * count
        for record, size in struct.iter_unpack(">QI", body[4:at]):
            assert record == 0 or record in self.in_hand, f"an output for record {record}, which is not in hand"
            self.outputs[record].append(body[at:at + size])
            self.order.append(("output", record))
            at += size
        assert at == len(body)

    def _settle(self, how, record):
        assert record in self.in_hand, f"record {record} is {how}, and it is not in hand"
        self.in_hand.remove(record)
        self.order.append((how, record))

    # --- the end --------------------------------------------------------------------------------------------------

    def exit_status(self):
        """Of the process, which is to end by itself."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        process = os.pidfd_open(self.process.pid)
        while self.process.poll() is None and time.monotonic() < deadline:
            select.select([process] if self.closed else [process, self._socket], [], [], DEADLINE_SECONDS)
            self.pump(0)
        os.close(process)
        assert self.process.returncode is not None, f"the worker does not end; {self.described()}"
        while self.pump(0) and not self.closed:
            pass
        return self.process.returncode

    def finish(self):
        """The end of the input, and that of a worker in good order."""
        self.end()
        status = self.exit_status()
        assert self.finished and status == 0, self.described()

    def hang_up(self):
        self._socket.close()
        self.closed = True

    def printed(self, name="stderr"):
        file = self._stderr if name == "stderr" else self._stdout
        file.seek(0)
        return STORY.sub("", file.read().decode("utf-8", "replace"))

    def described(self):
        return (f"in hand {sorted(self.in_hand)[:10]}, done {self.done[-10:]}, failed {self.failed}, credits "
                f"{self.credits[-3:]}, refused {self.refused}, stderr {self.printed()[-2000:]}")

    def memory_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            (line,) = [line for line in status if line.startswith("VmRSS:")]
        return int(line.split()[1]) << 10

    def close(self):
        self._socket.close()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._stderr.close()
        self._stdout.close()
