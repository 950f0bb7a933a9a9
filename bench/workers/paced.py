#!/usr/bin/env python3
"""A program that rests for each record: paced.py FOLDER FAST_S SLOW_S filter | worker

The first one that is started in FOLDER is the slow one. `filter` reads and writes lines, `worker` is linked with the
library.
"""

import os
import pathlib
import sys
import time

folder, fast, slow, role = sys.argv[1:]
try:
    os.mkdir(f"{folder}/slow")
    rest = float(slow)
except FileExistsError:
    rest = float(fast)

if role == "filter":
    for line in sys.stdin.buffer:
        time.sleep(rest)
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
else:
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "clients/python"))
    from sluice_worker import Worker

    worker = Worker(concurrency=1)

    @worker.on_data
    def data(record, item):
        time.sleep(rest)
        item.write(record)
        item.done()

    sys.exit(worker.run())
