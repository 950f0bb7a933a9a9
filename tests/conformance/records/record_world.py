"""A program under test, the connections to it, and waiting for either with a deadline."""

import os
import select
import signal
import socket
import subprocess
import time

DEADLINE_SECONDS = float(os.environ.get("SLUICE_CONFORMANCE_DEADLINE", "20"))
LINKS = [bytes(15) + bytes([1 + i]) for i in range(3)]
TOKEN = bytes(range(32))


class Program:
    """What runs under test: its lines on stdout, and its end."""

    def __init__(self, command, folder):
        self._stderr = open(folder / "stderr", "w+b")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr,
                                        start_new_session=True)
        os.set_blocking(self.process.stdin.fileno(), False)
        self._rest = b""
        self.lines = []
        self.silent = False  # its stdout has ended

    def fileno(self):
        return self.process.stdout.fileno()

    def on_readable(self):
        data = os.read(self.fileno(), 1 << 16)
        self.silent = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.lines += [line.decode() for line in lines]

    def result(self):
        """How it says that the link ended; None: not yet."""
        return next((line for line in self.lines if line == "ended" or line.startswith("failed")), None)

    def printed(self):
        self._stderr.seek(0)
        return self._stderr.read().decode("utf-8", "replace")

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # what was not written is of no interest
        self._stderr.close()


class World:
    """One program under test and what the suite has connected to it."""

    def __init__(self, command, folder, deadline=DEADLINE_SECONDS):
        self.folder = folder
        self.deadline = deadline
        self.socket_path = str(folder / "link")
        self._command = command
        self.program = None
        self.talks = []  # with fileno() and on_readable()
        self._output = bytearray()  # for its stdin

    def start(self, role, links, *arguments):
        links = [word for link in links for word in ("--link", link.hex())]
        self.program = Program([*self._command, role, self.socket_path, *links, "--token", TOKEN.hex(), *arguments],
                               self.folder)

    # --- its stdin ---

    def type(self, data):
        self._output += data

    def close_input(self):
        self.until(lambda: not self._output, "its stdin to be read")
        self.program.process.stdin.close()

    def _write_input(self):
        try:
            sent = os.write(self.program.process.stdin.fileno(), memoryview(self._output)[:1 << 16])
        except BrokenPipeError:
            sent = len(self._output)
        del self._output[:sent]
        return sent

    def untyped(self):
        return len(self._output)

    # --- waiting ---

    def pump(self, seconds):
        """Does what can be done, for so long at most. False: nothing happened."""
        reads = [talk for talk in [self.program, *self.talks] if not talk.silent]
        writes = [self.program.process.stdin] if self._output else []
        writes += [talk for talk in self.talks if talk.unsent and not talk.silent]
        readable, writable, _ = select.select(reads, writes, [], seconds)
        for talk in readable:
            talk.on_readable()
        for talk in writable:
            if talk is self.program.process.stdin:
                self._write_input()
            elif not talk.silent:
                talk.on_writable()
        return bool(readable or writable)

    def until(self, condition, what, seconds=None):
        deadline = time.monotonic() + (seconds or self.deadline)
        while not (found := condition()):
            left = deadline - time.monotonic()
            assert left > 0, f"waited for {what}; {self.described()}"
            self.pump(min(left, 0.5))
        return found

    def stands_still(self, seconds=0.1):
        """Takes what comes, until nothing has come for so long."""
        deadline = time.monotonic() + self.deadline
        while self.pump(seconds):
            assert time.monotonic() < deadline, f"it never stands still; {self.described()}"

    def result(self):
        self.until(self.program.result, "its end")
        return self.program.result()

    def exit_status(self):
        process = os.pidfd_open(self.program.process.pid)
        deadline = time.monotonic() + self.deadline
        try:
            while not select.select([process], [], [], 0)[0]:
                assert time.monotonic() < deadline, f"it does not exit; {self.described()}"
                if not self.pump(0.02) and self.program.silent:
                    select.select([process], [], [], 0.05)
        finally:
            os.close(process)
        return self.program.process.wait()

    def ends_well(self):
        assert self.result() == "ended", self.described()
        assert self.exit_status() == 0, self.described()

    def fails(self, why=""):
        result = self.result()
        assert result.startswith("failed") and why in result, f"it ended with '{result}'; {self.described()}"
        assert self.exit_status() != 0, "its exit status does not say that it failed"

    def described(self):
        lines = self.program.lines[-5:] if self.program else []
        printed = self.program.printed()[-1500:] if self.program else ""
        return f"its last lines {lines}, stderr {printed!r}, " + "; ".join(map(str, self.talks))

    def close(self):
        for talk in self.talks:
            talk.close()
        if self.program:
            self.program.close()


class Talk:
    """One connection. What comes is given to `on_bytes(data)`."""

    def __init__(self, world, sock, name):
        sock.setblocking(False)
        self.socket = sock
        self.name = name
        self.silent = False  # nothing more comes
        self.unsent = bytearray()
        self._world = world
        world.talks.append(self)

    def fileno(self):
        return self.socket.fileno()

    def send(self, data):
        self.unsent += data
        self.on_writable()

    def flush(self):
        self._world.until(lambda: not self.unsent or self.silent, f"{self.name} to be read")

    def on_writable(self):
        try:
            del self.unsent[:self.socket.send(memoryview(self.unsent)[:1 << 18])]
        except BlockingIOError:
            pass
        except OSError:
            self.unsent.clear()  # it was closed; what was said before is still read

    def receive(self):
        """b"": it was closed. None: nothing yet."""
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        self.silent = not data
        return data

    def close(self):
        self.socket.close()
        self.silent = True
        if self in self._world.talks:
            self._world.talks.remove(self)


def connect(path):
    """To a socket that will be there soon."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(path)
            return sock
        except OSError:
            sock.close()
            assert time.monotonic() < deadline, f"nobody listens at {path}"
            select.select([], [], [], 0.005)
