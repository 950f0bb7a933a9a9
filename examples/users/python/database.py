#!/usr/bin/env python3
"""Writes the users into an SQLite database: database.py FILE. What came together is committed together."""

import sqlite3
import sys

import record
from sluice_worker import Worker

database = sqlite3.connect(sys.argv[1])
database.execute("create table if not exists users (id integer primary key, name, facebook, twitter)")
worker = Worker(concurrency=500)
inserted = []


@worker.on_data
def insert(data, item):
    user = record.read(data)
    # One that runs again replaces itself.
    database.execute("insert or replace into users values (?, ?, ?, ?)",
                     (user["id"], user["name"], user.get("facebook"), user.get("twitter")))
    inserted.append(item)


@worker.on_idle
def commit():
    database.commit()
    for item in inserted:
        item.done()
    inserted.clear()


sys.exit(worker.run())
