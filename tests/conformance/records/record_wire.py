"""The bytes of docs/protocol-records.md, as the suite writes and reads them; none of it is code of Sluice."""

import struct

BATCH, LONG, MORE, END, CANCEL, ATTACH, CREDIT, ACK, NACK, PAUSE, RESUME, DRAIN, DONE, NOTED = range(1, 15)
FRAME_MAX = 1 << 20
RECORD_MAX = 64 << 20
HEAD_SIZE = 24
LONG_HEAD_SIZE = 32
DELIMITED, NO_RECORDS_LEFT, FEW_BYTES_LEFT = 1, 2, 4
FAILED, LOST, REFUSED = 1, 2, 3
CREDIT_RECORDS_MAX, CREDIT_BYTES_MAX = 1 << 24, 1 << 32

# How long a body may be, by kind and by who sends it.
LENGTHS = {
    "producer": {BATCH: (25, FRAME_MAX), LONG: (33, FRAME_MAX), MORE: (1, FRAME_MAX), END: (8, 8), CANCEL: (0, 1024),
                 NOTED: (8, 8)},
    "consumer": {CANCEL: (0, 1024), ATTACH: (8, 8), CREDIT: (16, 16), ACK: (8, 16392), NACK: (9, 1033), PAUSE: (0, 0),
                 RESUME: (0, 0), DRAIN: (0, 0), DONE: (8, 8)},
}


def frame(kind, body=b""):
    return struct.pack(">B", kind) + struct.pack(">I", len(body))[1:] + body


def number_frame(kind, *numbers):
    return frame(kind, struct.pack(f">{len(numbers)}Q", *numbers))


def head(delivery, first, count, attempt=1, flags=0, delimiter=b"\0"):
    return struct.pack(">QQIHB", delivery, first, count, attempt, flags) + delimiter


def table(records):
    return struct.pack(f">{len(records)}I", *map(len, records))


def sized_batch(delivery, first, records, attempt=1, flags=0):
    return frame(BATCH, head(delivery, first, len(records), attempt, flags) + table(records) + b"".join(records))


def delimited_batch(delivery, first, records, attempt=1, flags=0):
    return frame(BATCH, head(delivery, first, len(records), attempt, flags | DELIMITED, records[0][-1:]) +
                 b"".join(records))


def long_record(delivery, first, record, attempt=1, flags=0, delimiter=b"\0", piece=FRAME_MAX - LONG_HEAD_SIZE):
    """Its frames, one behind the other; the first holds `piece` bytes of it."""
    begin = head(delivery, first, 1, attempt, flags, delimiter) + struct.pack(">Q", len(record)) + record[:piece]
    rest = [frame(MORE, record[at:at + FRAME_MAX]) for at in range(piece, len(record), FRAME_MAX)]
    return [frame(LONG, begin), *rest]


def ack_frame(up_to, *ranges):
    return number_frame(ACK, up_to, *(end for part in ranges for end in part))


def nack_frame(delivery, cause, why=b""):
    return frame(NACK, struct.pack(">QB", delivery, cause) + why)


def claim(link, generation, attempt, token, side):
    return link + struct.pack(">II", generation, attempt) + token + bytes([side])


def first_frame(body, use=3, major=1, minor=0, magic=b"SLUI"):
    return magic + struct.pack(">HHBH", major, minor, use, len(body)) + body


def first_answer(status=0, why=b"", major=1, minor=0):
    return first_frame(why, status, major, minor)


class Refused(AssertionError):
    """The program under test answered a first frame with a status other than 0."""


class FrameReader:
    """Cuts what one side says into frames, and judges their headers."""

    def __init__(self, sender):
        self._sender = sender
        self.buffer = bytearray()

    def next(self):
        if len(self.buffer) < 4:
            return None
        kind, size = self.buffer[0], int.from_bytes(self.buffer[1:4], "big")
        lengths = LENGTHS[self._sender]
        assert kind in lengths, f"a frame of kind {kind}, which no {self._sender} sends"
        least, most = lengths[kind]
        assert least <= size <= most, f"a frame of kind {kind} with a body of {size} bytes"
        if len(self.buffer) < 4 + size:
            return None
        body = bytes(memoryview(self.buffer)[4:4 + size])
        del self.buffer[:4 + size]
        return kind, body


class RecordReader:
    """Puts batches and long records together, and judges what stands in them."""

    def __init__(self):
        self._long = None

    def take(self, kind, body):
        """None, or (delivery, first id, attempt, flags, records)."""
        if kind == MORE:
            assert self._long, "more of a long record without its beginning"
            self._long[-1].extend(body)
            return self._finish()
        assert self._long is None or kind == CANCEL, "a frame stands within a long record"
        if kind not in (BATCH, LONG):
            return None
        delivery, first, count, attempt, flags, delimiter = struct.unpack_from(">QQIHBB", body)
        assert count > 0 and delivery > 0 and first > 0 and attempt > 0, "a number in the head of a batch is 0"
        assert flags < 8, f"unknown flags {flags:#x}"
        assert flags & DELIMITED or delimiter == 0, "sized records with a delimiter"
        delimiter = bytes([delimiter]) if flags & DELIMITED else None
        if kind == LONG:
            assert count == 1, "a long record is one record"
            (size,) = struct.unpack_from(">Q", body, HEAD_SIZE)
            self._long = (delivery, first, attempt, flags, delimiter, size, bytearray(body[LONG_HEAD_SIZE:]))
            return self._finish()
        content = body[HEAD_SIZE:]
        if delimiter:
            assert content.endswith(delimiter), "delimited records do not end with their delimiter"
            records = [record + delimiter for record in content.split(delimiter)[:-1]]
            assert len(records) == count, f"{len(records)} delimited records, and the head says {count}"
        else:
            at, records = 4 * count, []
            for (size,) in struct.iter_unpack(">I", content[:at]):
                records.append(content[at:at + size])
                at += size
            assert at == len(content), "the lengths of sized records do not add up"
        return delivery, first, attempt, flags, records

    def _finish(self):
        delivery, first, attempt, flags, delimiter, size, content = self._long
        assert len(content) <= size <= RECORD_MAX, "a long record is longer than it says, or than any may be"
        if len(content) < size:
            return None
        self._long = None
        assert not delimiter or content.find(delimiter) == size - 1, "a long record's delimiter is not at its end"
        return delivery, first, attempt, flags, [bytes(content)]
