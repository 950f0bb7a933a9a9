"""The records of this example: fields NAME=VALUE with tabs between them, as `id=1<TAB>name=Ada Lovelace`."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "clients/python"))


def read(record):
    return dict(field.split("=", 1) for field in record.decode().split("\t"))


def write(fields):
    return "\t".join(f"{name}={value}" for name, value in fields.items())
