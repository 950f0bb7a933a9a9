#!/usr/bin/env python3
"""The conformance worker of the Python library (tests/conformance/README.md)."""

import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "clients/python"))

from sluice_worker import Worker  # noqa: E402


def option(name, otherwise=None):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else otherwise


def later(milliseconds, action):
    timer = threading.Timer(int(milliseconds) / 1000, action)
    timer.daemon = True
    timer.start()


def answer(item, *outputs):
    for output in outputs:
        item.write(output)
    item.done()


def numbers(count):
    if count == "slow":
        yield b"0"
        time.sleep(3600)
    number = 0
    while count == "endless" or number < int(count):
        yield b"%d" % number
        number += 1


worker = Worker(concurrency=int(option("--concurrency", 1)))
held = []
batch = []


@worker.on_data
def data(record, item):
    verb, colon, argument = record.partition(b":")
    if not colon:
        verb = b""
    if verb == b"echo":
        answer(item, argument)
    elif verb == b"many":
        count, _, output = argument.partition(b":")
        for _ in range(int(count)):
            item.write(output)
        item.done()
    elif verb == b"none":
        item.done()
    elif verb == b"size":
        answer(item, str(len(record)))
    elif verb == b"attempt":
        answer(item, f"{item.id} {item.attempt}")
    elif verb == b"fail":
        item.write(b"dropped")
        item.fail(argument.decode())
    elif verb == b"throw":
        raise RuntimeError(argument.decode())
    elif verb == b"hold":
        held.append(item)
        worker.write(b"held")
    elif verb == b"release":
        while held:
            answer(held.pop(), b"released")
        item.done()
    elif verb == b"batch":
        batch.append((item, argument))
    elif verb == b"later":
        milliseconds, _, output = argument.partition(b":")
        later(milliseconds, lambda: answer(item, output))
    elif verb == b"block":
        milliseconds, _, output = argument.partition(b":")
        time.sleep(int(milliseconds) / 1000)
        answer(item, output)
    elif verb == b"long":
        answer(item, b"x" * int(argument))
    elif verb == b"pause":
        worker.pause()
        item.done()
        later(argument, worker.resume)
    elif verb == b"concurrency":
        worker.concurrency = int(argument)
        item.done()
    elif verb == b"leave":
        worker.end()
        item.done()
    elif verb == b"print":
        print(argument.decode(), flush=True)
        item.done()
    else:
        answer(item, record)


if "--coroutine" in sys.argv:

    @worker.on_data
    async def in_loop(record, item):
        data(record, item)


@worker.on_idle
def commit():
    for item, output in batch:
        answer(item, output)
    batch.clear()


if "--last-words" in sys.argv:
    worker.on_end(lambda: worker.write(b"last words"))
sys.exit(worker.source(numbers(option("--source"))) if "--source" in sys.argv else worker.run())
