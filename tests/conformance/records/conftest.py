"""The clients under test: those that come with Sluice, or what --client names."""

import os
import pathlib
import shlex

import pytest

from programs import CLIENTS, PYTHON, ProducerUnderTest, ScriptedProducer, starter

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("SLUICE_BINARY", ROOT / "build/release/sluice")).parent


def pytest_addoption(parser):
    parser.addoption("--client", action="append", default=[], metavar="COMMAND",
                     help="a client of record links to test, in place of those of Sluice; may be repeated")


def pytest_generate_tests(metafunc):
    if "client" in metafunc.fixturenames:
        metafunc.parametrize("client", metafunc.config.getoption("--client", []) or ["cpp", "python"], indirect=True)


@pytest.fixture
def client(request):
    """The command of a client under test."""
    if request.param == "cpp":
        program = BUILD / "tests/record_client"
        if not program.exists():
            pytest.fail("tests/record_client is not built: SLUICE_TESTS=ON scripts/build.sh release record_client")
        return [str(program)]
    if request.param == "python":
        return [PYTHON, str(CLIENTS / "record_client.py")]
    return shlex.split(request.param)


@pytest.fixture
def consume(client, tmp_path):
    """Starts the client as a consumer, and plays its producer."""
    start, started = starter(ScriptedProducer, client, tmp_path)
    yield start
    for one in started:
        one.close()


@pytest.fixture
def produce(client, tmp_path):
    """Starts the client as a producer, and plays its consumers."""
    start, started = starter(ProducerUnderTest, client, tmp_path)
    yield start
    for one in started:
        one.close()
