#!/usr/bin/env python3
"""Reads a user file, and writes a record for each of its lines: parser.py FILE"""

import csv
import sys

import record
from sluice_worker import Worker

with open(sys.argv[1], newline="") as file:
    sys.exit(Worker().source(record.write(user) for user in csv.DictReader(file)))
