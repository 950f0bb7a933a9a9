"""The frames of docs/protocol-workers.md, as a worker writes and reads them."""

from struct import Struct

MAGIC = b"SLWK"
MAJOR, MINOR = 1, 0
BATCH_MAX = 1 << 20  # of a body with several records
BODY_MAX = 64 << 10  # of one with none
TEXT_MAX = 4096

HELLO, CREDIT, OUTPUTS, DONE, FAIL, LEAVE, FINISHED, REFUSE = range(1, 9)
WELCOME, RECORDS, END, CANCEL = range(16, 20)

HEADER = Struct(">IB3x")
_HEADER_READ = Struct(">IBBBB")
_COUNT = Struct(">I")
_ENTRY = Struct(">QI")
_RECORDS = Struct(">QII")
_WELCOME = Struct(">4sHHIIQ")


class ProtocolError(Exception):
    """The other end does not keep to the protocol."""


def frame(kind, body=b""):
    return HEADER.pack(len(body), kind) + body


def hello(*, source, concurrency, library):
    text = library.encode()
    return frame(HELLO, MAGIC + Struct(">HHHIHH").pack(MAJOR, MINOR, int(source), concurrency, 0, len(text)) + text)


def credit(concurrency, records, size):
    return frame(CREDIT, Struct(">IIQ").pack(concurrency, records, size))


def fail(record, reason):
    return frame(FAIL, Struct(">Q").pack(record) + reason.encode("utf-8", "replace")[:TEXT_MAX])


def refuse(why):
    return frame(REFUSE, why.encode("utf-8", "replace")[:TEXT_MAX])


def outputs(ids, records):
    """Frames with these records, each for the input of that id."""
    parts = []
    begin = 0
    while begin < len(ids):
        # A body with several records is at most 1 MiB.
        size, end = 4, begin
        while end < len(ids):
            more = size + 12 + len(records[end])
            if more > BATCH_MAX and end > begin:
                break
            size, end = more, end + 1
        some = records[begin:end]
        parts.append(HEADER.pack(size, OUTPUTS) + _COUNT.pack(end - begin))
        parts.extend(map(_ENTRY.pack, ids[begin:end], map(len, some)))
        parts.extend(some)
        begin = end
    return parts


def done(ids):
    """Frames that say that these are done."""
    count = len(ids)
    first = ids[0]
    if ids[-1] - first + 1 == count and ids == list(range(first, first + count)):
        return [HEADER.pack(12, DONE) + _ENTRY.pack(first, count)]
    ranges = []
    length = 0
    for record in ids:
        if length and record == first + length:
            length += 1
            continue
        if length:
            ranges.append(_ENTRY.pack(first, length))
        first, length = record, 1
    ranges.append(_ENTRY.pack(first, length))
    most = BODY_MAX // _ENTRY.size
    return [frame(DONE, b"".join(ranges[at:at + most])) for at in range(0, len(ranges), most)]


class Reader:
    """Cuts what a stage sends into frames."""

    def __init__(self):
        self.record_max = 64 << 20
        self._pieces = []  # of a frame that is not whole
        self._missing = 0  # so many bytes at least

    def frames(self, data):
        """The frames that are whole now, as (kind, body)."""
        self._pieces.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        buffer = data if len(self._pieces) == 1 else b"".join(self._pieces)
        at = 0
        wanted = HEADER.size
        try:
            while len(buffer) - at >= HEADER.size:
                size, kind, *zeros = _HEADER_READ.unpack_from(buffer, at)
                if any(zeros) or kind not in (REFUSE, WELCOME, RECORDS, END, CANCEL):
                    raise ProtocolError(f"what it sent is no header of a frame: {bytes(buffer[at:at + 8])!r}")
                if size > (max(self.record_max + 64, BATCH_MAX) if kind == RECORDS else BODY_MAX):
                    raise ProtocolError(f"it sent a frame that is too long: {size} bytes")
                wanted = HEADER.size + size
                if len(buffer) - at < wanted:
                    break
                at += wanted
                wanted = HEADER.size
                yield kind, buffer[at - size:at]
        finally:
            rest = buffer[at:]
            self._pieces = [rest] if rest else []
            self._missing = wanted - len(rest)


def welcome(body):
    """(concurrency, number of the worker, longest record)."""
    if len(body) < _WELCOME.size:
        raise ProtocolError("its welcome ends within a field")
    magic, major, _, concurrency, number, record_max = _WELCOME.unpack_from(body)
    if magic != MAGIC:
        raise ProtocolError("its welcome does not begin with SLWK")
    if major != MAJOR:
        raise ProtocolError(f"it speaks version {major} of the protocol of workers, and this library {MAJOR}")
    return concurrency, number, record_max


def records(body):
    """(id of the first, attempt, records)."""
    if len(body) < _RECORDS.size:
        raise ProtocolError("its records end within a field")
    first, attempt, count = _RECORDS.unpack_from(body)
    at = _RECORDS.size + 4 * count
    if count == 0 or at > len(body):
        raise ProtocolError("its records are shorter than the table of their sizes")
    sizes = Struct(f">{count}I").unpack_from(body, _RECORDS.size)
    if at + sum(sizes) != len(body):
        raise ProtocolError("its records are not as long as their sizes say")
    found = []
    for size in sizes:
        found.append(body[at:at + size])
        at += size
    return first, attempt, found
