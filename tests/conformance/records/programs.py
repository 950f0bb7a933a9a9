"""Starting programs under test, each with the other end of its link."""

import pathlib

from scripted_consumer import Producer as ProducerUnderTest
from scripted_producer import Producer as ScriptedProducer

CLIENTS = pathlib.Path(__file__).resolve().parent / "clients"
PYTHON = "/usr/bin/python3"

__all__ = ["CLIENTS", "PYTHON", "ProducerUnderTest", "ScriptedProducer", "starter"]


def starter(kind, command, folder, **fixed):
    """A function that starts the program under test, and the list of those that it started."""
    started = []

    def start(**options):
        part = folder / str(len(started))
        part.mkdir(mode=0o700)
        started.append(kind(command, part, **{**fixed, **options}))
        return started[-1]
    return start, started
