#!/usr/bin/env python3
"""One stage of the benchmark of workers, in Python: stage.py tap RECORDS | filter | map | sink"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients/python"))

from sluice_worker import Worker  # noqa: E402

role = sys.argv[1]
worker = Worker(concurrency=1000)
seen = 0


@worker.on_data
def data(record, item):
    global seen
    if role == "filter":
        if record[-1] == 0x78:
            item.write(record)
    elif role == "map":
        item.write(record[:-1] + b"y")
    else:
        seen += 1
    item.done()


if role == "tap":
    rest = b" " + b"x" * 79
    sys.exit(worker.source(b"%020d%s" % (number, rest) for number in range(int(sys.argv[2]))))
if role == "sink":
    worker.on_end(lambda: worker.write(str(seen)))
sys.exit(worker.run())
