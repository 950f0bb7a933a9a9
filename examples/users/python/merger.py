#!/usr/bin/env python3
"""Merges what several look-ups found of a user: merger.py NETWORK..."""

import sys

import record
from sluice_worker import Worker

networks = sys.argv[1:]
worker = Worker(concurrency=1000)
waiting = {}  # by user: what is known, and the records that said so


@worker.on_data
def merge(data, item):
    found = record.read(data)
    user, items = waiting.setdefault(found["id"], ({}, []))
    user.update(found)
    items.append(item)
    if not all(network in user for network in networks):
        return
    # It belongs to the last of them; none is done before all are there, so none is lost with this process.
    item.write(record.write(user))
    for each in items:
        each.done()
    del waiting[found["id"]]


sys.exit(worker.run())
