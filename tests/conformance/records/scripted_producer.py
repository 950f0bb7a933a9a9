"""The producer's end of a record link, said frame by frame; it notes what the consumer under test says, and judges it.

Every rule that holds at any time is checked with each frame: what may be acknowledged, how credit may grow, what stands
where. What a test is about it checks itself.
"""

import socket
import struct
import zlib

from record_wire import (ACK, ATTACH, CANCEL, CREDIT, CREDIT_BYTES_MAX, CREDIT_RECORDS_MAX, DONE, DRAIN, END, NACK, NOTED,
                         PAUSE, RESUME, FrameReader, claim, first_answer, frame, number_frame, sized_batch)
from record_world import DEADLINE_SECONDS, LINKS, TOKEN, Talk, World

CLAIM_FRAME_SIZE = 11 + 57


class Connection(Talk):
    """A connection of the consumer. `said`: its frames since it attached, as (kind, what is in it)."""

    def __init__(self, producer, sock):
        super().__init__(producer.world, sock, "the consumer")
        self._producer = producer
        self._reader = FrameReader("consumer")
        self.first_frame = None
        self.answered = False
        self.expected = None  # by its attach
        self.sent = 0         # up to which delivery on this connection, or said to have come
        self.said = []

    def on_readable(self):
        data = self.receive()
        self._reader.buffer += data or b""
        if self.first_frame is None:
            if len(self._reader.buffer) < CLAIM_FRAME_SIZE:
                return
            self.first_frame = bytes(self._reader.buffer[:CLAIM_FRAME_SIZE])
            del self._reader.buffer[:CLAIM_FRAME_SIZE]
        while (came := self._reader.next()) is not None:
            self._producer.take(self, *came)

    def kinds(self):
        return [kind for kind, _ in self.said]

    def __str__(self):
        return f"the consumer said {self.said[-10:]}"


class Door:
    """Where the consumer dials; `came` are the sockets of those that did."""

    silent = False
    unsent = b""

    def __init__(self, world):
        self.came = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(world.socket_path)
        self._socket.listen(8)
        world.talks.append(self)

    def fileno(self):
        return self._socket.fileno()

    def on_readable(self):
        self.came.append(self._socket.accept()[0])

    def close(self):
        self._socket.close()

    def __str__(self):
        return f"{len(self.came)} connections wait"


class Producer:
    def __init__(self, command, folder, generation=1, attach=True, **options):
        self.world = World(command, folder, **options)
        self.generation = generation
        self._door = Door(self.world)
        self.connection = None
        self.attempt = 0
        self.flights = []      # (first, last) of each batch
        self.contents = {}     # by delivery: (id, attempt, record)
        self.given = 0         # deliveries
        self.given_bytes = 0
        self.credit = (0, 0)
        self.credits = []      # each that was new
        self.settleable = set()  # what the program was told to settle
        self.automatic = False
        self.acked = set()
        self.nacks = []        # (delivery, cause, why), each time
        self.noted = set()
        self.ended = self.over = False
        self.world.start("consume", LINKS[:1], "--generation", str(generation))
        if attach:
            self.accept()

    # --- connections ----------------------------------------------------------------------------------------------

    def await_first_frame(self):
        def came():
            assert self._door.came or self.world.program.process.poll() is None, f"it has ended; {self.world.described()}"
            return self._door.came
        # The first takes as long as a program takes to start.
        self.world.until(came, "a connection", None if self.attempt else DEADLINE_SECONDS)
        self.connection = Connection(self, self._door.came.pop(0))
        self.world.until(lambda: self.connection.first_frame or self.connection.silent, "its first frame")
        assert self.connection.first_frame, "it closed before its first frame"
        self._judge_first_frame(self.connection.first_frame)
        return self.connection

    def _judge_first_frame(self, data):
        magic, major, _, use, size = struct.unpack_from(">4sHHBH", data)
        assert (magic, major, use, size) == (b"SLUI", 1, 3, 57), f"a first frame that begins with {data[:11].hex()}"
        link, generation, attempt = data[11:27], *struct.unpack_from(">II", data, 27)
        assert (link, generation) == (LINKS[0], self.generation), "a claim of another link or generation"
        assert (data[35:67], data[67]) == (TOKEN, 2), "a claim with another token or for another end"
        assert attempt > self.attempt, f"attempt {attempt} to dial follows {self.attempt}"
        self.attempt = attempt

    def answer(self, data=first_answer()):
        self.connection.answered = True
        self.connection.send(data)

    def accept(self):
        """A connection, up to its attach."""
        self.await_first_frame()
        self.answer()
        self.await_attach()
        return self

    def await_attach(self):
        self.world.until(lambda: self.connection.expected is not None or self.connection.silent, "attach")
        assert self.connection.expected is not None, f"closed before it attached; {self.world.described()}"
        return self.connection.expected

    def cut(self):
        """Closes the connection once all was sent, and forgets it."""
        self.connection.flush()
        self.connection.close()

    def reconnect(self):
        self.cut()
        return self.accept()

    # --- what the consumer says -----------------------------------------------------------------------------------

    def take(self, connection, kind, body):
        if connection is not self.connection:
            return
        assert connection.answered, "it sends frames before its claim was answered"
        assert (kind == ATTACH) == (connection.expected is None), f"kind {kind} where attach is first, and once"
        assert CANCEL not in connection.kinds(), f"kind {kind} stands behind cancel"
        assert DONE not in connection.kinds(), f"kind {kind} stands behind done"
        numbers = struct.unpack(f">{len(body) // 8}Q", body[:len(body) & ~7])
        meaning = {NACK: lambda: self._on_nack(body), ACK: lambda: self._on_ack(body, *numbers),
                   CREDIT: lambda: self._on_credit(*numbers), ATTACH: lambda: self._on_attach(*numbers),
                   DONE: lambda: self._on_done(*numbers), CANCEL: lambda: body.decode(),
                   PAUSE: str, RESUME: str, DRAIN: str}[kind]()
        connection.said.append((kind, meaning))

    def _on_attach(self, expected):
        borders = {first for first, _ in self.flights} | {self.given + 1}
        assert expected in borders, f"it expects delivery {expected}, and the borders are {sorted(borders)}"
        assert expected > max(self.acked | self.noted, default=0), f"it expects {expected}, which it had settled"
        self.connection.expected = expected
        self.connection.sent = expected - 1
        return expected

    def _on_credit(self, records, size):
        assert records >= self.credit[0] and size >= self.credit[1], f"credit went from {self.credit} to {records, size}"
        settled = self.acked | self.noted
        assert records <= len(settled) + CREDIT_RECORDS_MAX, "absurd credit for records"
        assert size <= self.given_bytes + CREDIT_BYTES_MAX, "absurd credit for bytes"
        if (records, size) != self.credit:
            self.credits.append((records, size))
        self.credit = records, size
        return records, size

    def _on_ack(self, body, up_to, *ends):
        assert len(body) % 16 == 8, "an acknowledgement ends within a range"
        ranges, above = list(zip(ends[::2], ends[1::2])), up_to
        for first, last in ranges:
            assert first >= above + 2 and last >= first, f"ranges {ranges} above {up_to} touch or are out of order"
            above = last
        assert above <= self.connection.sent, f"it acknowledged {above}, and was sent {self.connection.sent}"
        for first, last in [(1, up_to), *ranges]:
            for delivery in range(first, last + 1):
                may = self.automatic or delivery in self.settleable or delivery in self.noted
                may = may and (delivery in self.noted or all(delivery != nacked for nacked, *_ in self.nacks))
                assert may, f"it acknowledged delivery {delivery}, which its program has not settled"
                self.acked.add(delivery)
        return up_to, ranges

    def _on_nack(self, body):
        delivery, cause = struct.unpack_from(">QB", body)
        assert 1 <= delivery <= self.connection.sent, f"it sent back {delivery}, which it was not sent"
        self.nacks.append((delivery, cause, body[9:].decode()))
        return self.nacks[-1]

    def _on_done(self, deliveries):
        assert self.ended, "it confirms an end that it was not told"
        assert deliveries == self.given, f"it confirms {deliveries} deliveries of {self.given}"
        return deliveries

    # --- speaking -------------------------------------------------------------------------------------------------

    def send(self, data):
        self.connection.send(data)

    def note_given(self, first_id, records, attempt=1):
        """These were put on the wire as one batch or long record."""
        first = self.given + 1
        for i, record in enumerate(records):
            self.contents[first + i] = first_id + i, attempt, record
        self.given += len(records)
        self.given_bytes += sum(map(len, records))
        self.flights.append((first, self.given))
        self.connection.sent = self.given
        return first

    def await_credit(self, records, size):
        self.world.until(lambda: self.credit[0] >= self.given + records and
                         (self.credit[1] >= self.given_bytes + size or
                          (records == 1 and len(self.acked | self.noted) == self.given)),
                         f"credit for {records} records of {size} bytes")

    def give(self, records, first_id=None, attempt=1, batch=sized_batch):
        """Gives records in one batch, when there is credit for it. Returns their deliveries."""
        self.await_credit(len(records), sum(map(len, records)))
        first_id = first_id or self.given + 1
        data = batch(self.given + 1, first_id, records, attempt)
        first = self.note_given(first_id, records, attempt)
        self.send(data if isinstance(data, bytes) else b"".join(data))
        return range(first, self.given + 1)

    def note(self, delivery):
        self.noted.add(delivery)
        self.send(number_frame(NOTED, delivery))

    def end(self):
        self.ended = True
        self.send(number_frame(END, self.given))

    def cancel(self, why):
        self.send(frame(CANCEL, why))

    # --- its program ----------------------------------------------------------------------------------------------

    def automatically(self):
        self.automatic = True
        self.world.type(b"auto\n")
        return self

    def settle(self, first, last=None):
        last = last or first
        self.settleable.update(range(first, last + 1))
        self.world.type(b"settle %d %d\n" % (first, last))

    def reject(self, delivery, cause, why):
        self.world.type(f"reject {delivery} {cause} {why}\n".encode())

    def came(self):
        """What the program says that came, in its order: [delivery, id, attempt, size, checksum]."""
        return [line.split(" ")[1:] for line in self.world.program.lines if line.startswith("record ")]

    def until_came(self, count=None):
        """All that was given, each once and in order, with what is in it."""
        count = self.given if count is None else count
        self.world.until(lambda: len(self.came()) >= count, f"{count} records")
        expected = [[str(delivery), str(record_id), str(attempt), str(len(record)), f"{zlib.crc32(record):08x}"]
                    for delivery, (record_id, attempt, record) in sorted(self.contents.items())]
        assert self.came() == expected[:count], "other records came than were given"

    def until_acked(self, *deliveries):
        self.world.until(lambda: self.acked.issuperset(deliveries), f"acknowledgements of {deliveries[:10]}")

    def until_said(self, kind):
        """What the consumer said in a frame of this kind on this connection, when it has."""
        self.world.until(lambda: kind in self.connection.kinds(), f"a frame of kind {kind}")
        return next(meaning for said, meaning in self.connection.said if said == kind)

    def finish(self):
        """The end, and that of the consumer in good order."""
        self.world.until(lambda: len(self.acked | self.noted) == self.given, "all to be acknowledged")
        self.end()
        self.until_said(DONE)
        self.until_closed()
        self.world.ends_well()

    def until_closed(self):
        """The consumer has closed, or waits for us to."""
        self.world.until(lambda: self.connection.silent, "the connection to be closed")
        self.connection.close()

    def is_left(self, why=""):
        """It takes us for broken: it closes, and says so."""
        self.until_closed()
        self.world.fails(why)

    def close(self):
        self.world.close()
