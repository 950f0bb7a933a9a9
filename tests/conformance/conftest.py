"""The workers under test: those of the libraries that come with Sluice, or what --worker names."""

import os
import pathlib
import shlex
import shutil
import subprocess

import pytest

from stage import Stage

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORKERS = ROOT / "tests/conformance/workers"
LIBRARIES = ["cpp", "node", "python", "python-coroutine"]


def pytest_addoption(parser):
    parser.addoption("--worker", action="append", default=[], metavar="COMMAND",
                     help="a conformance worker to test, in place of those of the libraries; may be repeated")


def pytest_generate_tests(metafunc):
    if "worker" in metafunc.fixturenames:
        metafunc.parametrize("worker", metafunc.config.getoption("--worker", []) or LIBRARIES, indirect=True)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """The C++ worker, compiled as a user would."""
    program = tmp_path_factory.mktemp("cpp") / "conformance"
    subprocess.run([os.environ.get("CXX", "g++"), "-std=c++17", "-O1", "-pthread", f"-I{ROOT}/include",
                    WORKERS / "conformance.cc", ROOT / "clients/cpp/worker.cc", "-o", program], check=True)
    return program


@pytest.fixture
def worker(request):
    """The command of a conformance worker."""
    if request.param == "cpp":
        return [str(request.getfixturevalue("compiled"))]
    if request.param == "node":
        node = shutil.which("node")
        if node is None:
            pytest.skip("node is not installed")
        return [node, str(WORKERS / "conformance.js")]
    if request.param.startswith("python"):
        return ["/usr/bin/python3", str(WORKERS / "conformance.py"), *(["--coroutine"] if "-" in request.param else [])]
    return shlex.split(request.param)


@pytest.fixture
def start(worker, tmp_path):
    """Starts the worker with a stage at its other end."""
    stages = []

    def start(*arguments, **options):
        stages.append(Stage(worker, tmp_path, arguments, **options))
        return stages[-1]

    yield start
    for stage in stages:
        stage.close()
