#!/usr/bin/env python3
"""A client of record links, either end, written from docs/protocol-records.md and the pages that it names alone.

It is here to show that those pages are enough, and does what ../README.md asks of a program under test. Python's standard
library is all that it needs.
"""

import argparse
import os
import selectors
import signal
import socket
import struct
import sys
import time
import zlib
from collections import deque

BATCH, LONG, MORE, END, CANCEL, ATTACH, CREDIT, ACK, NACK, PAUSE, RESUME, DRAIN, DONE, NOTED = range(1, 15)
FRAME_MAX = 1 << 20
RECORD_MAX = 64 << 20
REASON_MAX = 1024
CREDIT_RECORDS_MAX, CREDIT_BYTES_MAX = 1 << 24, 1 << 32
DELIMITED, NO_RECORDS_LEFT, FEW_BYTES_LEFT = 1, 2, 4
HEAD = struct.Struct(">QQIHBB")
CAUSES = {"failed": 1, "lost": 2, "refused": 3}
REATTACH_SECONDS = 10
FAREWELL_SECONDS = 5
ATTACH_SECONDS = 5

# The least and the most that a body may be long, by kind.
PRODUCERS = {BATCH: (25, FRAME_MAX), LONG: (33, FRAME_MAX), MORE: (1, FRAME_MAX), END: (8, 8), CANCEL: (0, REASON_MAX),
             NOTED: (8, 8)}
CONSUMERS = {CANCEL: (0, REASON_MAX), ATTACH: (8, 8), CREDIT: (16, 16), ACK: (8, 8 + 16 * 1024),
             NACK: (9, 9 + REASON_MAX), PAUSE: (0, 0), RESUME: (0, 0), DRAIN: (0, 0), DONE: (8, 8)}


class Broken(Exception):
    """The other side broke a rule."""


class Refused(Exception):
    """The first frame was not accepted."""


def frame(kind, body=b""):
    return struct.pack(">I", kind << 24 | len(body)) + body


def number(value):
    return struct.pack(">Q", value)


def reason_bytes(why):
    return why.encode()[:REASON_MAX]


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class FrameReader:
    """Cuts what comes into frames."""

    def __init__(self, kinds):
        self._kinds = kinds
        self._buffer = bytearray()

    def feed(self, data):
        self._buffer += data

    def next(self):
        if len(self._buffer) < 4:
            return None
        (word,) = struct.unpack_from(">I", self._buffer)
        kind, size = word >> 24, word & 0xffffff
        self.check_header(kind, size)
        if len(self._buffer) < 4 + size:
            return None
        body = bytes(memoryview(self._buffer)[4:4 + size])
        del self._buffer[:4 + size]
        return kind, body

    def check_header(self, kind, size):
        if kind not in self._kinds:
            raise Broken(f"a frame of kind {kind} is none of the other side's")
        least, most = self._kinds[kind]
        if not least <= size <= most:
            raise Broken(f"a frame of kind {kind} is {size} bytes long")


class Settled:
    """A set of delivery numbers: all up to one of them, and some above."""

    def __init__(self):
        self.up_to = 0
        self._above = set()

    def __contains__(self, delivery):
        return 0 < delivery <= self.up_to or delivery in self._above

    def __len__(self):
        return self.up_to + len(self._above)

    def last(self):
        return max(self._above, default=self.up_to)

    def add(self, delivery):
        if delivery in self:
            return
        self._above.add(delivery)
        while self.up_to + 1 in self._above:
            self.up_to += 1
            self._above.remove(self.up_to)

    def ranges(self):
        found = []
        for delivery in sorted(self._above):
            if found and found[-1][1] + 1 == delivery:
                found[-1][1] = delivery
            else:
                found.append([delivery, delivery])
        return found[:1024]


class Connection:
    """A socket that is written to as it takes it."""

    def __init__(self, sock, kinds):
        sock.setblocking(False)
        self.socket = sock
        self.frames = FrameReader(kinds)
        self.output = deque()
        self.waiting = 0

    def put(self, data):
        self.output.append(memoryview(data))
        self.waiting += len(data)

    def flush(self):
        """False: the connection broke."""
        while self.output:
            try:
                sent = self.socket.send(self.output[0])
            except BlockingIOError:
                return True
            except OSError:
                return False
            self.waiting -= sent
            if sent == len(self.output[0]):
                self.output.popleft()
            else:
                self.output[0] = self.output[0][sent:]
        return True

    def receive(self):
        """None: the connection broke."""
        try:
            return self.socket.recv(1 << 20) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    def part(self):
        """Says what is left to say, and reads on for as long, so that the close does not destroy it."""
        deadline = time.monotonic() + FAREWELL_SECONDS
        self.socket.setblocking(True)
        try:
            while self.output:
                self.socket.settimeout(max(0.01, deadline - time.monotonic()))
                self.socket.sendall(self.output.popleft())
            self.socket.shutdown(socket.SHUT_WR)
            while time.monotonic() < deadline:
                self.socket.settimeout(max(0.01, deadline - time.monotonic()))
                if not self.socket.recv(1 << 16):
                    break
        except OSError:
            pass
        self.socket.close()


class CommandReader:
    """Lines of stdin, as they come."""

    def __init__(self):
        self._buffer = b""
        self.ended = False

    def take(self):
        data = os.read(0, 1 << 16)
        self.ended = not data
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [line.decode() for line in lines]


# --- a consumer ---------------------------------------------------------------------------------------------------


class Consumer:
    WINDOW_RECORDS = 64
    WINDOW_BYTES = 1 << 20

    def __init__(self, options):
        self.options = options
        self.attempt = 0
        self.connection = None
        self.commands = CommandReader()
        self.came = 0
        self.came_bytes = 0
        self.sizes = {}  # of the unsettled
        self.settled = Settled()
        self.settled_bytes = 0
        self.rejected = {}  # not noted: delivery to (cause, why)
        self.granted = (0, 0)
        self.automatic = self.paused = self.draining = self.ended = False
        self.failure = None
        self.begin_connection()

    def begin_connection(self):
        self.long = None
        self.said_settled = 0
        self.said_nacks = set()
        self.said_credit = (0, 0)
        self.said_paused = self.said_drain = self.said_done = False

    # --- what it says ---

    def first_frame(self):
        options = self.options
        claim = options.link[0] + struct.pack(">II", options.generation, self.attempt) + options.token + b"\x02"
        return b"SLUI" + struct.pack(">HHBH", 1, 0, 3, len(claim)) + claim

    def attach(self):
        self.connection.put(frame(ATTACH, number(self.came + 1)))

    def ack(self):
        ranges = b"".join(struct.pack(">QQ", *part) for part in self.settled.ranges())
        return frame(ACK, number(self.settled.up_to) + ranges)

    def nack(self, delivery, cause, why):
        return frame(NACK, number(delivery) + bytes([cause]) + reason_bytes(why))

    def room(self):
        return len(self.settled) + self.WINDOW_RECORDS, self.settled_bytes + self.WINDOW_BYTES

    def credit(self):
        return frame(CREDIT, struct.pack(">QQ", *self.granted))

    def done(self):
        return frame(DONE, number(self.came))

    def speak(self):
        put = self.connection.put
        for delivery, (cause, why) in sorted(self.rejected.items()):
            if delivery not in self.said_nacks:
                self.said_nacks.add(delivery)
                put(self.nack(delivery, cause, why))
        self.speak_of_settled()
        self.granted = tuple(map(max, self.granted, self.room()))
        if self.granted != self.said_credit:
            self.said_credit = self.granted
            put(self.credit())
        if self.paused != self.said_paused:
            self.said_paused = self.paused
            put(frame(PAUSE if self.paused else RESUME))
        if self.draining and not self.said_drain:
            self.said_drain = True
            put(frame(DRAIN))
        if self.ended and not self.said_done:
            self.said_done = True
            put(self.done())

    def speak_of_settled(self):
        if len(self.settled) > self.said_settled:
            self.said_settled = len(self.settled)
            self.connection.put(self.ack())

    def cancel(self, why):
        self.speak_of_settled()
        self.connection.put(frame(CANCEL, reason_bytes(why)))

    # --- what comes ---

    def require(self, kept, why):
        if not kept:
            raise Broken(why)

    def on_frame(self, kind, body):
        if kind == CANCEL:
            raise Refused(body.decode("utf-8", "replace"))
        if kind == MORE:
            return self.on_more(body)
        self.require(self.long is None, "a frame stands within a long record")
        self.require(not self.ended or kind == NOTED, "something stands behind the end")
        if kind == BATCH:
            self.on_batch(body)
        elif kind == LONG:
            self.on_long(body)
        elif kind == END:
            self.on_end(*struct.unpack(">Q", body))
        elif kind == NOTED:
            self.on_noted(*struct.unpack(">Q", body))

    def head(self, body):
        delivery, first, count, attempt, flags, delimiter = HEAD.unpack_from(body)
        self.require(flags < 8, "an unknown flag")
        self.require(flags & DELIMITED or delimiter == 0, "sized records have a delimiter")
        self.require(count > 0 and delivery > 0 and first > 0, "a number is 0")
        self.require(delivery == self.came + 1, f"delivery {delivery} comes where {self.came + 1} is due")
        self.require(first + count < 1 << 64, "an id is beyond what can be counted")
        return first, count, attempt, bytes([delimiter]) if flags & DELIMITED else None

    def on_batch(self, body):
        first, count, attempt, delimiter = self.head(body)
        if delimiter:
            records = self.cut_delimited(body[HEAD.size:], delimiter)
        else:
            records = self.cut_sized(body[HEAD.size:], count)
        self.require(len(records) == count, "the records are not as many as the head says")
        self.deliver(first, attempt, records)

    def cut_delimited(self, content, delimiter):
        self.require(content.endswith(delimiter), "the last record has no delimiter")
        return [record + delimiter for record in content.split(delimiter)[:-1]]

    def cut_sized(self, content, count):
        self.require(4 * count <= len(content), "the table of lengths is cut off")
        at, records = 4 * count, []
        for (size,) in struct.iter_unpack(">I", content[:at]):
            records.append(content[at:at + size])
            at += size
        self.require(at == len(content), "the lengths do not add up")
        return records

    def on_long(self, body):
        first, count, attempt, delimiter = self.head(body)
        (size,) = struct.unpack_from(">Q", body, HEAD.size)
        self.require(count == 1, "a long record is not one")
        self.require(size <= RECORD_MAX, "a record is too long")
        self.long = first, attempt, delimiter, size, bytearray()
        self.on_more(body[HEAD.size + 8:])

    def on_more(self, body):
        self.require(self.long is not None, "the rest of a record comes without its beginning")
        first, attempt, delimiter, size, content = self.long
        content += body
        self.require(len(content) <= size, "a long record is longer than it says")
        if len(content) < size:
            return
        self.long = None
        if delimiter:
            self.require(content.find(delimiter) == size - 1, "a delimiter is not where it belongs")
        self.deliver(first, attempt, [bytes(content)])

    def deliver(self, first, attempt, records):
        size = sum(map(len, records))
        self.check_credit(len(records), size)
        for record in records:
            self.came += 1
            self.sizes[self.came] = len(record)
            self.print_record(self.came, first, attempt, record)
            first += 1
        self.came_bytes += size
        if self.automatic:
            self.settle_all()

    def check_credit(self, count, size):
        self.require(self.came + count <= self.granted[0], "more records came than were granted")
        unsettled = self.came - len(self.settled) - len(self.rejected)
        self.require(self.came_bytes + size <= self.granted[1] or (count == 1 and not unsettled),
                     "more bytes came than were granted")

    def print_record(self, delivery, record_id, attempt, record):
        say(f"record {delivery} {record_id} {attempt} {len(record)} {zlib.crc32(record):08x}")

    def on_end(self, deliveries):
        self.require(deliveries == self.came, f"the end says {deliveries} deliveries, and {self.came} came")
        self.require(self.came == len(self.settled) + len(self.rejected), "the end comes before everything is settled")
        self.ended = True

    def on_noted(self, delivery):
        self.require(delivery in self.rejected or delivery in self.settled, "what was not sent back was noted")
        if self.rejected.pop(delivery, None):
            self.settle(delivery)

    # --- the program ---

    def settle(self, delivery):
        if delivery not in self.settled:
            self.settled.add(delivery)
            self.settled_bytes += self.sizes.pop(delivery)

    def settle_all(self):
        for delivery in list(self.sizes):
            if delivery not in self.rejected:
                self.settle(delivery)

    def on_command(self, line):
        """False: it is over."""
        verb, _, rest = line.partition(" ")
        if verb == "auto":
            self.automatic = True
            self.settle_all()
        elif verb == "settle":
            first, last = map(int, rest.split())
            for delivery in range(first, last + 1):
                self.settle(delivery)
        elif verb == "reject":
            delivery, cause, why = rest.split(" ", 2)
            self.rejected[int(delivery)] = CAUSES[cause], why
        elif verb in ("pause", "resume"):
            self.paused = verb == "pause"
        elif verb == "drain":
            self.draining = True
        elif verb == "cancel":
            self.cancel(rest)
            self.failure = rest
            return False
        return True

    # --- connections ---

    def dial(self):
        """False: try again."""
        self.connection = None
        self.attempt += 1
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(REATTACH_SECONDS)
        answer = b""
        try:
            sock.connect(self.options.socket)
            sock.sendall(self.first_frame())
            # No byte more than the answer is read: frames may be behind it.
            while (missing := self.missing_of_answer(answer)) > 0:
                data = sock.recv(missing)
                if not data:
                    return False
                answer += data
        except OSError:
            return False
        if answer[8] != 0:
            raise Refused(answer[11:].decode("utf-8", "replace"))
        self.connection = Connection(sock, PRODUCERS)
        return True

    def missing_of_answer(self, answer):
        if not b"SLUI".startswith(answer[:4]):
            raise Broken("the answer is none of this protocol")
        if len(answer) < 11:
            return 11 - len(answer)
        return 11 + struct.unpack_from(">H", answer, 9)[0] - len(answer)

    def converse(self):
        """True: it is over. False: the connection broke."""
        self.begin_connection()
        self.attach()
        looks = selectors.DefaultSelector()
        looks.register(self.connection.socket, selectors.EVENT_READ)
        if not self.commands.ended:
            looks.register(0, selectors.EVENT_READ)
        while True:
            self.speak()
            if not self.connection.flush():
                return self.ended
            if self.said_done and not self.connection.output:
                return True
            writes = selectors.EVENT_WRITE if self.connection.output else 0
            looks.modify(self.connection.socket, selectors.EVENT_READ | writes)
            for key, _ in looks.select():
                if key.fileobj == 0:
                    if not all(self.on_command(line) for line in self.commands.take()):
                        return True
                    if self.commands.ended:
                        looks.unregister(0)
                    continue
                data = self.connection.receive()
                if data is None:
                    return self.on_cut()
                self.connection.frames.feed(data)
                while (came := self.connection.frames.next()) is not None:
                    self.on_frame(*came)

    def on_cut(self):
        return self.ended

    def run(self):
        missing_until = time.monotonic() + REATTACH_SECONDS
        try:
            while True:
                if self.dial():
                    if self.converse():
                        break
                    self.connection.socket.close()
                    missing_until = time.monotonic() + REATTACH_SECONDS
                elif time.monotonic() > missing_until:
                    raise Refused("the producer can't be reached")
                else:
                    time.sleep(0.02)  # between two attempts to dial
        except Refused as refusal:
            self.failure = str(refusal)
        except Broken as broken:
            self.failure = f"the producer broke the protocol: {broken}"
            if self.connection:
                self.cancel(str(broken))
        # The owner is told first: a producer may take its time to close.
        say("ended" if self.failure is None else f"failed {self.failure}")
        if self.connection:
            self.connection.part()
        return 0 if self.failure is None else 1


# --- a producer ---------------------------------------------------------------------------------------------------


class Record:
    def __init__(self, record_id, data):
        self.id, self.data, self.attempts = record_id, data, 0


class Attachment:
    """A generation of a consumer, and its connection if there is one."""

    def __init__(self, link, generation):
        self.link, self.generation = link, generation
        self.credit = (0, 0)
        self.given = 0
        self.given_bytes = 0
        self.flights = []  # not wholly settled: (first delivery, records, flags)
        self.settled = Settled()
        self.draining = self.told_end = self.over = False
        self.lost_at = None
        self.connection = None
        self.attempt = 0
        self.begin_connection(None)

    def begin_connection(self, connection):
        self.connection = connection
        self.attached = self.paused = False
        self.sent = 0  # on this connection, or said to have come
        self.attach_until = time.monotonic() + ATTACH_SECONDS

    def unsettled(self):
        return self.given - len(self.settled)

    def record(self, delivery):
        for first, records, _ in self.flights:
            if first <= delivery < first + len(records):
                return records[delivery - first]
        return None


class Producer:
    BATCH_BYTES = 128 << 10
    PENDING_BYTES = 1 << 20
    OUTPUT_BYTES = 256 << 10

    def __init__(self, options):
        self.options = options
        self.input = bytearray()
        self.input_ended = False
        self.accepted = 0
        self.pending = []  # in the order of ids
        self.pending_bytes = 0
        self.attachments = {}  # by link
        self.newcomers = {}  # socket to what came of its first frame
        self.settled_at = None
        self.cancel = None  # why

    # --- its source ---

    def read_input(self):
        data = os.read(0, 1 << 20)
        self.input_ended = not data
        self.input += data
        if self.input_ended and self.input:
            self.cancel = "its source ended within a record"
        if self.options.lines:
            *lines, rest = bytes(self.input).split(b"\n")
            self.input = bytearray(rest)
            for line in lines:
                self.accept(line + b"\n")
            return
        at = 0
        while len(self.input) - at >= 4:
            (size,) = struct.unpack_from(">I", self.input, at)
            if len(self.input) - at - 4 < size:
                break
            self.accept(bytes(memoryview(self.input)[at + 4:at + 4 + size]))
            at += 4 + size
        del self.input[:at]

    def accept(self, data):
        self.accepted += 1
        self.pend([Record(self.accepted, data)])

    def pend(self, records):
        in_order = not self.pending or not records or self.pending[-1].id < records[0].id
        self.pending += records
        self.pending_bytes += sum(len(record.data) for record in records)
        if not in_order:
            self.pending.sort(key=lambda record: record.id)

    def wants_input(self):
        return not self.input_ended and self.pending_bytes < self.PENDING_BYTES

    # --- first frames ---

    def on_newcomer(self, sock):
        """What a newcomer says first: the answer, if it is complete."""
        received = self.newcomers[sock]
        try:
            data = sock.recv(4096)
        except OSError:
            data = b""
        received += data
        magic = b"SLUI"
        if not data or received[:4] != magic[:len(received[:4])]:
            return self.turn_away(sock)
        if len(received) < 11:
            return None
        major, _, use, size = struct.unpack_from(">HHBH", received, 4)
        if size > 1024:
            return self.turn_away(sock)
        if len(received) < 11 + size:
            return None
        claim, rest = bytes(received[11:11 + size]), bytes(received[11 + size:])
        refusal = self.judge_claim(claim) if use == 3 else "no record link"
        if major != 1:
            return self.turn_away(sock, 1, "version 1 is spoken here")
        if refusal:
            return self.turn_away(sock, 2, refusal)
        del self.newcomers[sock]
        sock.setblocking(True)
        sock.sendall(self.answer(0))
        connection = Connection(sock, CONSUMERS)
        connection.frames.feed(rest)
        self.on_connected(claim, connection)
        return None

    def answer(self, status, why=""):
        return b"SLUI" + struct.pack(">HHBH", 1, 0, status, len(why)) + why.encode()

    def turn_away(self, sock, status=None, why=""):
        if status is not None:
            sock.setblocking(True)
            sock.sendall(self.answer(status, why))
        sock.close()
        del self.newcomers[sock]

    def judge_claim(self, claim):
        if len(claim) != 57:
            return "a claim of another length"
        link, (generation, attempt), token, side = claim[:16], struct.unpack(">II", claim[16:24]), claim[24:56], claim[56]
        if link not in self.options.link or not self.same_token(token) or side != 2:
            return "no such link"
        return self.judge_generation(self.attachments.get(link), generation, attempt)

    def same_token(self, token):
        return token == self.options.token

    def judge_generation(self, known, generation, attempt):
        if known is None or generation > known.generation:
            return None
        if generation < known.generation:
            return f"generation {generation} was replaced by {known.generation}"
        if known.over:
            return f"generation {generation} is over"
        return "an earlier attempt" if attempt <= known.attempt else None

    def on_connected(self, claim, connection):
        link, (generation, attempt) = claim[:16], struct.unpack(">II", claim[16:24])
        known = self.attachments.get(link)
        if known and known.generation != generation:
            self.lose(known, f"generation {generation} took its place")
            del self.attachments[link]
            known = None
        if known and known.connection:
            known.connection.socket.close()
        attachment = known or self.attachments.setdefault(link, Attachment(link, generation))
        attachment.begin_connection(connection)
        attachment.attempt = attempt
        attachment.lost_at = None
        self.converse(attachment)

    # --- what consumers say ---

    def require(self, kept, why):
        if not kept:
            raise Broken(why)

    def converse(self, attachment):
        try:
            while attachment.connection and (came := attachment.connection.frames.next()) is not None:
                self.on_frame(attachment, *came)
        except Broken as broken:
            self.lose(attachment, str(broken))

    def on_frame(self, attachment, kind, body):
        if kind == CANCEL:
            return self.lose(attachment, None)
        if kind == ATTACH:
            return self.on_attach(attachment, *struct.unpack(">Q", body))
        self.require(attachment.attached, "it did not attach first")
        if kind == CREDIT:
            self.on_credit(attachment, struct.unpack(">QQ", body))
        elif kind == ACK:
            self.on_ack(attachment, body)
        elif kind == NACK:
            self.on_nack(attachment, *struct.unpack_from(">QB", body))
        elif kind in (PAUSE, RESUME):
            attachment.paused = kind == PAUSE
        elif kind == DRAIN:
            attachment.draining = True
        elif kind == DONE:
            self.on_done(attachment, *struct.unpack(">Q", body))

    def on_attach(self, attachment, expected):
        self.require(not attachment.attached, "it attached twice")
        borders = [first for first, _, _ in attachment.flights] + [attachment.given + 1]
        self.require(expected > attachment.settled.last() and expected in borders,
                     f"it expects delivery {expected}, which is no border")
        attachment.attached = True
        attachment.sent = expected - 1
        for flight in attachment.flights:
            if flight[0] >= expected:
                self.transmit(attachment, flight)

    def on_credit(self, attachment, credit):
        self.require(credit[0] >= attachment.credit[0] and credit[1] >= attachment.credit[1], "it took credit back")
        self.require(credit[0] <= len(attachment.settled) + CREDIT_RECORDS_MAX and
                     credit[1] <= attachment.given_bytes + CREDIT_BYTES_MAX, "it granted absurd credit")
        attachment.credit = credit

    def on_ack(self, attachment, body):
        self.require(len(body) % 16 == 8, "an acknowledgement ends within a range")
        (up_to,) = struct.unpack_from(">Q", body)
        parts, above = [(1, up_to)], up_to
        for first, last in struct.iter_unpack(">QQ", body[8:]):
            self.require(first > above + 1 and last >= first, "ranges are out of order, overlap or touch")
            parts.append((first, last))
            above = last
        self.require(above <= attachment.sent, f"it acknowledged delivery {above}, and was sent {attachment.sent}")
        for first, last in parts:
            for delivery in range(max(first, attachment.settled.up_to + 1), last + 1):
                attachment.settled.add(delivery)
        self.forget_settled(attachment)

    def forget_settled(self, attachment):
        attachment.flights = [flight for flight in attachment.flights
                              if any(flight[0] + i not in attachment.settled for i in range(len(flight[1])))]

    def on_nack(self, attachment, delivery, cause):
        self.require(1 <= cause <= 3, "a cause that there is not")
        self.require(1 <= delivery <= attachment.sent, f"it sent back delivery {delivery}, which it was not sent")
        record = attachment.record(delivery)
        if delivery not in attachment.settled:
            attachment.settled.add(delivery)
            self.forget_settled(attachment)
            self.judge(record, cause)
        self.note(attachment, delivery)

    def note(self, attachment, delivery):
        attachment.connection.put(frame(NOTED, number(delivery)))

    def judge(self, record, cause):
        if cause != CAUSES["refused"]:
            self.pend([record])

    def on_done(self, attachment, deliveries):
        self.require(attachment.told_end, "it confirmed an end that it was not told")
        self.require(deliveries == attachment.given, "it confirmed the end of another count")
        attachment.over = True
        attachment.connection.part()
        attachment.connection = None

    # --- consumers that go ---

    def lose(self, attachment, why):
        """`why`: what it is told, if it can be."""
        if attachment.connection:
            if why is not None:
                attachment.connection.put(frame(CANCEL, reason_bytes(why)))
            attachment.connection.part()
        attachment.connection = None
        if not attachment.over:
            attachment.over = True
            self.pend(self.given_back(attachment))

    def given_back(self, attachment):
        return [record for first, records, _ in attachment.flights for i, record in enumerate(records)
                if first + i not in attachment.settled]

    def on_cut(self, attachment):
        attachment.connection.socket.close()
        attachment.begin_connection(None)
        attachment.lost_at = time.monotonic() + REATTACH_SECONDS

    # --- handing out ---

    def ready(self, attachment):
        if not attachment.connection or not attachment.attached or attachment.paused or attachment.draining:
            return False
        if attachment.given >= attachment.credit[0] or attachment.connection.waiting >= self.OUTPUT_BYTES:
            return False
        room = attachment.credit[1] - attachment.given_bytes
        return len(self.pending[0].data) <= room or attachment.unsettled() == 0

    def dispatch(self):
        while self.pending:
            ready = [attachment for attachment in self.attachments.values() if self.ready(attachment)]
            if not ready:
                return
            attachment = min(ready, key=Attachment.unsettled)
            self.give(attachment, self.take(attachment, (len(self.pending) + len(ready) - 1) // len(ready)))

    def take(self, attachment, share):
        count_max = min(share, attachment.credit[0] - attachment.given, 1 << 16)
        room = min(attachment.credit[1] - attachment.given_bytes, self.BATCH_BYTES)
        first, size, count = self.pending[0], 0, 0
        for record in self.pending[:count_max]:
            follows = record.id == first.id + count and record.attempts == first.attempts
            if count > 0 and (not follows or size + len(record.data) > room):
                break
            count += 1
            size += len(record.data)
        records = self.pending[:count]
        del self.pending[:count]
        self.pending_bytes -= size
        return records

    def give(self, attachment, records):
        size = sum(len(record.data) for record in records)
        for record in records:
            record.attempts += 1
        flight = [attachment.given + 1, records, 0]
        attachment.given += len(records)
        attachment.given_bytes += size
        flight[2] = self.flags(attachment, size)
        attachment.flights.append(flight)
        self.transmit(attachment, flight)

    def flags(self, attachment, size):
        flags = DELIMITED if self.options.lines else 0
        if attachment.given == attachment.credit[0]:
            flags |= NO_RECORDS_LEFT
        if attachment.credit[1] - attachment.given_bytes < size:
            flags |= FEW_BYTES_LEFT
        return flags

    def head(self, first, records, flags):
        return HEAD.pack(first, records[0].id, len(records), min(records[0].attempts, 0xffff), flags,
                         10 if flags & DELIMITED else 0)

    def transmit(self, attachment, flight):
        first, records, flags = flight
        put = attachment.connection.put
        attachment.sent = first + len(records) - 1
        head = self.head(first, records, flags)
        table = b"" if flags & DELIMITED else struct.pack(f">{len(records)}I", *(len(record.data) for record in records))
        content = b"".join(record.data for record in records)
        if len(head) + len(table) + len(content) <= FRAME_MAX:
            return put(frame(BATCH, head + table + content))
        fits = FRAME_MAX - HEAD.size - 8
        put(frame(LONG, head + number(len(content)) + content[:fits]))
        for at in range(fits, len(content), FRAME_MAX):
            put(frame(MORE, content[at:at + FRAME_MAX]))

    # --- the end ---

    def all_settled(self):
        return self.input_ended and not self.pending and not any(
            attachment.unsettled() for attachment in self.attachments.values() if not attachment.over)

    def say_ends(self):
        for attachment in self.attachments.values():
            if attachment.connection and attachment.attached and not attachment.unsettled() and (
                    self.all_settled() or attachment.draining):
                if not self.said_end(attachment):
                    attachment.told_end = attachment.connection
                    attachment.connection.put(frame(END, number(attachment.given)))

    def said_end(self, attachment):
        return attachment.told_end is attachment.connection

    def finished(self):
        if not self.all_settled():
            self.settled_at = None
            return False
        self.settled_at = self.settled_at or time.monotonic()
        all_over = len(self.attachments) == len(self.options.link) and all(
            attachment.over for attachment in self.attachments.values())
        return all_over or time.monotonic() > self.settled_at + FAREWELL_SECONDS

    # --- the loop ---

    def on_terminated(self, *_):
        self.cancel = "terminated"

    def look_after(self):
        now = time.monotonic()
        for attachment in list(self.attachments.values()):
            if attachment.over:
                continue
            if attachment.lost_at and now > attachment.lost_at:
                self.lose(attachment, None)
            elif attachment.connection and not attachment.attached and now > attachment.attach_until:
                self.on_cut(attachment)

    def turn(self, listener):
        reads = [listener, *self.newcomers]
        reads += [0] if self.wants_input() else []
        talks = {attachment.connection.socket: attachment for attachment in self.attachments.values()
                 if attachment.connection}
        looks = selectors.DefaultSelector()
        for source in reads:
            looks.register(source, selectors.EVENT_READ)
        for sock, attachment in talks.items():
            writes = selectors.EVENT_WRITE if attachment.connection.output else 0
            looks.register(sock, selectors.EVENT_READ | writes)
        ready = looks.select(0.1)
        looks.close()
        for key, _ in ready:
            if key.fileobj == 0:
                self.read_input()
            elif key.fileobj is listener:
                self.newcomers[listener.accept()[0]] = bytearray()
            elif key.fileobj in self.newcomers:
                self.on_newcomer(key.fileobj)
            elif (attachment := talks[key.fileobj]).connection and attachment.connection.socket is key.fileobj:
                self.listen_to(attachment)

    def listen_to(self, attachment):
        data = attachment.connection.receive()
        if data is None:
            return self.on_cut(attachment)
        attachment.connection.frames.feed(data)
        self.converse(attachment)

    def write_all(self):
        for attachment in self.attachments.values():
            if attachment.connection and not attachment.connection.flush():
                self.on_cut(attachment)

    def run(self):
        signal.signal(signal.SIGTERM, self.on_terminated)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self.options.socket)
        listener.listen(16)
        while not self.finished() and not self.cancel:
            self.turn(listener)
            self.look_after()
            self.dispatch()
            self.say_ends()
            self.write_all()
        if self.cancel:
            for attachment in self.attachments.values():
                if attachment.connection:
                    attachment.connection.put(frame(CANCEL, reason_bytes(self.cancel)))
        say(f"failed {self.cancel}" if self.cancel else "ended")
        for attachment in self.attachments.values():
            if attachment.connection:
                attachment.connection.part()
        return 1 if self.cancel else 0


def parse(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["consume", "produce"])
    parser.add_argument("socket")
    parser.add_argument("--link", type=bytes.fromhex, action="append", required=True)
    parser.add_argument("--token", type=bytes.fromhex, required=True)
    parser.add_argument("--generation", type=int, default=1)
    parser.add_argument("--lines", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    given = parse(sys.argv[1:])
    sys.exit((Consumer if given.role == "consume" else Producer)(given).run())
