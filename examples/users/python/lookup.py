#!/usr/bin/env python3
"""Looks up the account of each user: lookup.py NETWORK. In place of a network that answers, it waits a moment."""

import asyncio
import os
import sys

import record
from sluice_worker import Worker

network = sys.argv[1]
seconds = float(os.environ.get("LOOKUP_SECONDS", "0.001"))
worker = Worker(concurrency=10)


@worker.on_data
async def look_up(data, item):
    user = record.read(data)
    await asyncio.sleep(seconds)
    user[network] = f"{user['name'].split()[0].lower()}.{user['id']}@{network}"
    item.write(record.write(user))
    item.done()


sys.exit(worker.run())
