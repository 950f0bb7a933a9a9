"""Workers for tests of flows: the conformance workers of the libraries, those of the example, and short ones in Python."""

import pathlib
import subprocess

from processes import children_of, process_command, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
USERS = ROOT / "examples/users"
PYTHON = f"/usr/bin/python3 {ROOT}/tests/conformance/workers/conformance.py"
NODE = f"node {ROOT}/tests/conformance/workers/conformance.js"

_HEAD = f"""#!/usr/bin/python3
import sys
sys.path.insert(0, "{ROOT}/clients/python")
from sluice_worker import Worker
"""

# Of a flow that copies to two branches and joins them.
JOIN_BRANCHES = """
waiting = {}
worker = Worker(concurrency=1)

@worker.on_data
def join(record, item):
    other = waiting.pop(record, None)
    if other is None:
        waiting[record] = item
        return
    item.write(record)
    item.done()
    other.done()

sys.exit(worker.run())
"""
QUICK_BRANCH = """
worker = Worker()
seen = 0

@worker.on_data
def pass_on(record, item):
    global seen
    seen += 1
    if seen == 1000:
        open("far", "w").close()
    item.write(record)
    item.done()

sys.exit(worker.run())
"""
SLOW_BRANCH = """
import os, time
worker = Worker()

@worker.on_data
def pass_on(record, item):
    while not os.path.exists("far"):
        time.sleep(0.01)
    item.write(record)
    item.done()

sys.exit(worker.run())
"""


def compile_worker(program, *sources):
    """Compiles a C++ worker with the library, as a user would."""
    subprocess.run(["g++", "-std=c++17", "-O1", "-pthread", f"-I{ROOT}/include", *sources,
                    ROOT / "clients/cpp/worker.cc", "-o", program], check=True)
    return str(program)


def write_worker(path, text):
    """A worker in Python. `Worker` and `sys` are there."""
    path.write_text(_HEAD + text)
    path.chmod(0o755)
    return path


def write_flow(household, *stages, name="a.flow.yaml"):
    """A flow of stages in a row, each as the inside of its braces; returns the name of its file."""
    names = [f"s{number}" for number in range(1, len(stages) + 1)]
    lines = ["stages:"] + [f"  {stage}: {{ {keys} }}" for stage, keys in zip(names, stages)]
    if len(names) > 1:
        lines.append(f"links: [ {' -> '.join(names)} ]")
    (household.folder / name).write_text("\n".join(lines) + "\n")
    return name


def workers_of(process, words):
    """The numbers of the workers of a running `sluice` whose command has these words in it."""
    return [pid for spawner in children_of(process.pid) for pid in children_of(spawner) if words in process_command(pid)]


class ByHand:
    """A worker that was started by hand: its `process`, and the `log` of what it says."""

    def said(self):
        return self.log.read_text()

    def wait_until_it_says(self, text, count=1):
        wait_until(lambda: self.said().count(text) >= count or self.process.poll() is not None,
                   lambda: f"'{text}'; it says: {self.said()}")
        assert self.said().count(text) >= count, self.said()
        return self

    def waits(self, count=1):
        return self.wait_until_it_says("waiting for a flow", count)

    def serves(self, count=1):
        return self.wait_until_it_says("serving stage", count)
