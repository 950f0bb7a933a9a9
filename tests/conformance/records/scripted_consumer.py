"""Consumers of a record link, said frame by frame; they note what the producer under test says, and judge it.

Every rule that holds at any time is checked with each frame: credit, the order of deliveries, ids, attempts, the end. What
a test is about it checks itself.
"""

import struct

from record_wire import (ATTACH, CANCEL, CREDIT, DONE, DRAIN, END, NOTED, PAUSE, REFUSED, RESUME, FrameReader, RecordReader,
                         Refused, ack_frame, claim, first_frame, frame, nack_frame, number_frame)
from record_world import LINKS, TOKEN, Talk, World, connect


class Producer:
    """The program under test, its records, and the consumers that it has."""

    def __init__(self, command, folder, consumers=1, lines=False, **options):
        self.world = World(command, folder, **options)
        self.records = []  # in the order of their ids, from 1
        self.lines = lines
        self.given = {}    # by id: how often it was given to a consumer for certain
        self.settled = set()  # ids, by whichever consumer
        self.input_ended = False
        self.world.start("produce", LINKS[:consumers], *(["--lines"] if lines else []))
        self.knock().close()  # it listens, however long it takes to start

    def give(self, *records, end=False):
        self.records += records
        if self.lines:
            assert all(record.endswith(b"\n") and record.count(b"\n") == 1 for record in records)
            self.world.type(b"".join(records))
        else:
            self.world.type(b"".join(struct.pack(">I", len(record)) + record for record in records))
        if end:
            self.end_input()
        return self

    def end_input(self):
        self.world.close_input()
        self.input_ended = True

    def knock(self):
        """A socket on which nothing was said."""
        return connect(self.world.socket_path)

    def consumer(self, number=0, generation=1, **options):
        return Consumer(self, number, generation, **options)

    def close(self):
        self.world.close()


class Connection(Talk):
    def __init__(self, consumer, sock):
        super().__init__(consumer.world, sock, f"consumer {consumer.number}")
        self._consumer = consumer
        self.reader = FrameReader("producer")
        self.records = RecordReader()
        self.answer = None
        self.attached = False
        self.cancelled = None  # why, by the producer
        self.ended = None      # how many deliveries, by the producer

    def on_readable(self):
        data = self.receive()
        self.reader.buffer += data or b""
        if self.answer is None and not self._take_answer():
            return
        while (came := self.reader.next()) is not None:
            self._consumer.take(self, *came)

    def read_by_hand(self, size):
        """So many bytes, or fewer if no more come in time; nobody else reads them then."""
        self._consumer.world.talks.remove(self)
        self.socket.settimeout(self._consumer.world.deadline)
        data = b""
        try:
            while len(data) < size and (part := self.socket.recv(size - len(data))):
                data += part
        except TimeoutError:
            pass
        return data

    def _take_answer(self):
        buffer = self.reader.buffer
        if len(buffer) < 11 or len(buffer) < 11 + int.from_bytes(buffer[9:11], "big"):
            return False
        magic, major, minor, status, size = struct.unpack_from(">4sHHBH", buffer)
        assert magic == b"SLUI", "an answer that is none"
        self.answer = status, (major, minor), bytes(buffer[11:11 + size]).decode()
        del buffer[:11 + size]
        return True

    def __str__(self):
        return f"{self.name}: end {self.ended}, cancelled {self.cancelled!r}, {self._consumer}"


class Consumer:
    """One generation of a consumer."""

    def __init__(self, producer, number, generation, attach=True, credit=(1 << 20, 1 << 30)):
        self.producer = producer
        self.world = producer.world
        self.number = number
        self.generation = generation
        self.attempt = 0
        self.connection = None
        self.came = {}   # by delivery: (id, attempt, record)
        self.last = 0    # delivery that came whole
        self.last_bytes = 0
        self.flights = []  # (first, last, attempt, flags) of each
        self.granted = (0, 0)
        self.settled = set()
        self.nacked = set()
        self.noted = []
        self.paused = self.draining = False
        self.dial()
        if attach:
            self.attach()
        if attach and credit:
            self.credit(*credit)

    def __str__(self):
        return f"{self.last} deliveries came, {len(self.settled)} are settled"

    # --- connections ----------------------------------------------------------------------------------------------

    def claim(self, **different):
        return claim(**{"link": LINKS[self.number], "generation": self.generation, "attempt": self.attempt,
                        "token": TOKEN, "side": 2, **different})

    def dial(self):
        self.attempt += 1
        self.connection = Connection(self, self.producer.knock())
        self.connection.send(first_frame(self.claim()))
        self.world.until(lambda: self.connection.answer or self.connection.silent, "an answer to the first frame")
        assert self.connection.answer, "closed without an answer to the first frame"
        status, version, why = self.connection.answer
        assert version == (1, 0), f"version {version} was answered"
        if status != 0:
            raise Refused(why)
        return self

    def cut(self):
        self.connection.flush()
        self.connection.close()

    def reconnect(self, expected=None):
        """Breaks the connection, and goes on with another. `expected`: what attach says."""
        self.cut()
        self.dial()
        return self.attach(expected)

    def attach(self, expected=None):
        self.connection.attached = True
        expected = expected or self.last + 1
        for flight in [flight for flight in self.flights if flight[0] >= expected]:
            self._forget(flight)
        self.send(number_frame(ATTACH, expected))
        return self

    def _forget(self, flight):
        """As if it had not come whole."""
        self.flights.remove(flight)
        self.last = min(self.last, flight[0] - 1)
        for delivery in range(flight[0], flight[1] + 1):
            self.last_bytes -= len(self.came[delivery][2])

    # --- what the producer says -----------------------------------------------------------------------------------

    def take(self, connection, kind, body):
        if connection is not self.connection:
            return
        assert connection.attached or kind == CANCEL, f"kind {kind} comes before attach"
        assert connection.cancelled is None, f"kind {kind} stands behind cancel"
        assert connection.ended is None or kind in (NOTED, CANCEL), f"kind {kind} stands behind the end"
        delivered = connection.records.take(kind, body)
        if delivered:
            self._on_delivery(*delivered)
        elif kind == NOTED:
            (delivery,) = struct.unpack(">Q", body)
            assert delivery in self.nacked, f"{delivery} was noted, which was not sent back"
            self.noted.append(delivery)
        elif kind == CANCEL:
            connection.cancelled = body.decode()
        elif kind == END:
            (connection.ended,) = struct.unpack(">Q", body)
            self._on_end(connection.ended)

    def _on_delivery(self, first, record_id, attempt, flags, records):
        assert first == self.last + 1, f"delivery {first} comes where {self.last + 1} is due"
        size = sum(map(len, records))
        assert self.last + len(records) <= self.granted[0], f"{self.last + len(records)} deliveries, granted {self.granted}"
        # What was nacked and not noted may count as settled for the producer, or not yet.
        unsettled = self.last - len(self.settled | self.nacked)
        alone = len(records) == 1 and unsettled == 0
        assert self.last_bytes + size <= self.granted[1] or alone, f"{self.last_bytes + size} bytes, granted {self.granted}"
        for i, record in enumerate(records):
            self._on_record(first + i, record_id + i, attempt, record, is_first=i == 0)
        self.flights.append((first, first + len(records) - 1, attempt, flags))
        self.last += len(records)
        self.last_bytes += size

    def _on_record(self, delivery, record_id, attempt, record, is_first):
        given, records = self.producer.given, self.producer.records
        assert 1 <= record_id <= len(records), f"record {record_id}, and there are {len(records)}"
        assert record == records[record_id - 1], f"record {record_id} is not what was given"
        assert record_id not in self.producer.settled, f"record {record_id} comes again, and is settled"
        again = self.came.get(delivery)
        assert not again or again[0] == record_id, f"delivery {delivery} was record {again[0]} and is {record_id}"
        if not again:
            given[record_id] = given.get(record_id, 0) + 1
        assert not is_first or attempt >= given[record_id], f"attempt {attempt}, and it was given {given[record_id]} times"
        self.came[delivery] = record_id, attempt, record

    def _on_end(self, deliveries):
        assert deliveries == self.last, f"the end says {deliveries} deliveries of {self.last}"
        assert len(self.settled | self.nacked) == self.last, "the end comes before everything is settled"
        everything = self.producer.input_ended and len(self.producer.settled) == len(self.producer.records)
        assert self.draining or everything, "the end comes before every record of the link is settled"

    # --- speaking -------------------------------------------------------------------------------------------------

    def send(self, data):
        self.connection.send(data)
        return self

    def credit(self, records, size=1 << 30):
        self.granted = max(records, self.granted[0]), max(size, self.granted[1])
        return self.send(number_frame(CREDIT, records, size))

    def settles(self, first, last):
        for delivery in range(first, last + 1):
            if delivery not in self.nacked:
                self.settled.add(delivery)
                self.producer.settled.add(self.came[delivery][0])

    def ack(self, up_to, *ranges):
        for first, last in [(1, up_to), *ranges]:
            self.settles(first, last)
        return self.send(ack_frame(up_to, *ranges))

    def nack(self, delivery, cause, why=b"why"):
        self.nacked.add(delivery)
        if cause == REFUSED:
            self.producer.settled.add(self.came[delivery][0])
        return self.send(nack_frame(delivery, cause, why))

    def pause(self):
        return self.send(frame(PAUSE))

    def resume(self):
        return self.send(frame(RESUME))

    def drain(self):
        self.draining = True
        return self.send(frame(DRAIN))

    def cancel(self, why=b"enough"):
        return self.send(frame(CANCEL, why))

    def done(self, deliveries=None):
        return self.send(number_frame(DONE, self.last if deliveries is None else deliveries))

    # --- waiting --------------------------------------------------------------------------------------------------

    def until_came(self, count):
        self.world.until(lambda: self.last >= count, f"{count} deliveries to consumer {self.number}")
        return self

    def until_ended(self):
        self.world.until(lambda: self.connection.ended is not None, f"the end for consumer {self.number}")
        return self

    def until_noted(self, *deliveries):
        self.world.until(lambda: set(self.noted).issuperset(deliveries), f"{deliveries} to be noted")
        return self

    def until_closed(self):
        self.world.until(lambda: self.connection.silent, f"the connection of consumer {self.number} to be closed")
        self.connection.close()
        return self

    def is_told(self, why=""):
        """The producer cancels it, and closes."""
        self.world.until(lambda: self.connection.cancelled is not None or self.connection.silent, "cancel")
        assert self.connection.cancelled is not None, "it was closed without a cancel"
        assert why in self.connection.cancelled
        self.until_closed()

    def leave(self):
        """Confirms the end."""
        self.until_ended().done().until_closed()

    def works_off(self):
        """Acknowledges everything that comes, up to the end."""
        while self.connection.ended is None:
            before = self.last
            if len(self.settled) < self.last:
                self.ack(self.last)
            self.world.until(lambda: self.last > before or self.connection.ended is not None, "more, or the end")
        self.leave()

    def ids(self):
        return [self.came[delivery][0] for delivery in sorted(self.came) if delivery <= self.last]

    def attempts(self):
        return [attempt for *_, attempt, _ in self.flights]
