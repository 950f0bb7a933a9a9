"""Workers of Sluice flows: programs that are given records, write records for them, and say which are done.

    from sluice_worker import Worker

    worker = Worker()

    @worker.on_data
    def got(record, item):
        item.write(b"got " + record)
        item.done()

    raise SystemExit(worker.run())

A flow file starts it: ``got: { worker: ./got.py, workers: 4 }``. What was written for a record goes on when the record is
done; if the worker dies before, the record runs again elsewhere, and nothing is repeated.
"""

from ._wire import ProtocolError
from ._worker import Input, Worker

__all__ = ["Input", "ProtocolError", "Worker"]
__version__ = "0.1.0"
