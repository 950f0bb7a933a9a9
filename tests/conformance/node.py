"""A node with one stage, for a conformance worker that joins: node.py COMMAND...

It becomes the command, and leaves a process behind that is the node. That listens on a Unix socket, which it names in
SLUICE_CONFORMANCE_NODE, takes the offer of a role (docs/protocol.md, docs/protocol-seats.md), starts one job in the seat, and
passes on what comes from the stage on its stdin. A stage that is gone is a node that is gone.
"""

import contextlib
import os
import shutil
import socket
import struct
import sys
import tempfile
import threading

REQUEST, MESSAGE, DONE, END, CANCEL, CREDIT = range(1, 7)
MORE, LAST = 1, 2
CREDIT_FIRST = 262_144
MESSAGE_COST = 32
START, INPUT = 1, 2
TAKEN, OUTPUT, ENDED, FAILED, OUTPUT_END, LEAVING = 16, 17, 19, 20, 21, 22
DUPLEX = 4
JOB = 1
PIECE = 32 << 10
WINDOW = 256 << 10  # of the input of a job


def varint(number):
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7f | 0x80)
        number >>= 7
    return bytes(encoded + bytes([number]))


def field(number, content):
    """A field of a protobuf message: a number, or bytes."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def fields(message):
    """The fields of a message whose fields are numbers or bytes."""
    def take_varint(at):
        number = shift = 0
        while True:
            number |= (message[at] & 0x7f) << shift
            at, shift = at + 1, shift + 7
            if message[at - 1] < 0x80:
                return number, at

    at = 0
    while at < len(message):
        tag, at = take_varint(at)
        assert tag & 7 in (0, 2), f"a field of type {tag & 7}"
        number, at = take_varint(at)
        if tag & 7 == 0:
            yield tag >> 3, number
        else:
            yield tag >> 3, message[at:at + number]
            at += number


def seat_message(kind, rest=b""):
    return struct.pack(">BIQ", kind, 8 + len(rest), JOB) + rest


class Allowance:
    """How much may be sent; whoever wants to send waits for it."""

    def __init__(self, size):
        self._left = size
        self._changed = threading.Condition()

    def spend(self, size):
        with self._changed:
            self._changed.wait_for(lambda: self._left >= size)
            self._left -= size

    def grant(self, size):
        with self._changed:
            self._left += size
            self._changed.notify()


class Node:
    def __init__(self, connection, stage):
        self._connection = connection
        self._stage = stage
        self._call = None
        self._writing = threading.Lock()
        self._credit = Allowance(CREDIT_FIRST)
        self._window = Allowance(WINDOW)
        self._message = b""
        self._replies = b""

    def run(self):
        magic, major, _, use, size = struct.unpack(">4sHHBH", self._read(11))
        assert (magic, major, use, size) == (b"SLUI", 1, 1, 0)
        self._connection.sendall(struct.pack(">4sHHBH", b"SLUI", 1, 0, 0, 0))
        while True:
            size, kind, flags, call = struct.unpack(">IBBI", self._read(10))
            self._take_frame(kind, flags, call, self._read(size))

    def _read(self, size):
        data = bytearray()
        while len(data) < size:
            piece = self._connection.recv(size - len(data))
            if not piece:
                raise ConnectionError("the worker is gone")
            data += piece
        return bytes(data)

    # --- calls ----------------------------------------------------------------------------------------------------

    def _send_frame(self, kind, payload=b"", flags=0):
        with self._writing:
            self._connection.sendall(struct.pack(">IBBI", len(payload), kind, flags, self._call) + payload)

    def _send(self, output):
        self._credit.spend(len(output) + MESSAGE_COST)
        self._send_frame(MESSAGE, output)

    def _take_frame(self, kind, flags, call, payload):
        if kind == REQUEST:
            (size,) = struct.unpack_from(">H", payload)
            assert payload[2:2 + size] == b"sluice.v1.Roles/Serve" and self._call is None
            self._call = call
            return
        assert call == self._call
        if kind == MESSAGE:
            first = not self._message
            self._message += payload
            if not flags & MORE:
                message, self._message = self._message, b""
                for number, content in fields(message):
                    {1: self._take_offer, 2: self._take_replies, 3: self._take_leave}[number](content)
            self._send_frame(CREDIT, struct.pack(">I", len(payload) + (MESSAGE_COST if first else 0)))
        elif kind == CREDIT:
            self._credit.grant(struct.unpack(">I", payload)[0])
        if kind == DONE or flags & LAST:
            self._send_frame(END, struct.pack(">BH", 0, 0))

    # --- the seat -------------------------------------------------------------------------------------------------

    def _take_offer(self, offer):
        assert dict(fields(offer))[1] == b"conformance"
        task = field(1, b"1") + field(2, b"flow") + field(4, 1)
        self._send(field(1, task))
        self._send(field(2, seat_message(START, struct.pack(">IBI", 0, DUPLEX, 0))))
        threading.Thread(target=self._pass_on, daemon=True).start()

    def _pass_on(self):
        """What the stage says goes to the job."""
        with contextlib.suppress(OSError):
            while data := self._stage.recv(PIECE):
                self._window.spend(len(data))
                self._send(field(2, seat_message(INPUT, data)))
        self._connection.close()
        os._exit(0)

    def _take_leave(self, leaving):
        """It serves nobody any more once it has finished what it has; the stage hears that from the worker itself."""
        assert leaving == 1

    def _take_replies(self, data):
        self._replies += data
        while len(self._replies) >= 5:
            kind, size = struct.unpack_from(">BI", self._replies)
            if len(self._replies) < 5 + size:
                return
            rest, self._replies = self._replies[13:5 + size], self._replies[5 + size:]
            self._take_reply(kind, rest)

    def _take_reply(self, kind, rest):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if kind == TAKEN:
                self._window.grant(struct.unpack(">I", rest)[0])
            elif kind == OUTPUT:
                self._stage.sendall(rest)
            elif kind == OUTPUT_END:
                self._stage.shutdown(socket.SHUT_WR)
            elif kind == ENDED:
                self._send(field(3, b""))  # nothing more is asked
            else:
                assert kind == LEAVING, f"a reply of kind {kind}: {rest!r}"


def main(command):
    stage = socket.socket(fileno=int(os.environ.pop("SLUICE_WORKER_FD")))
    folder = tempfile.mkdtemp()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/node")
    listener.listen()
    if os.fork() != 0:
        os.environ["SLUICE_CONFORMANCE_NODE"] = f"{folder}/node"
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.execv(command[0], command)
    connection, _ = listener.accept()
    shutil.rmtree(folder)
    with contextlib.suppress(ConnectionError):
        Node(connection, stage).run()


if __name__ == "__main__":
    main(sys.argv[1:])
