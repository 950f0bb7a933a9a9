"""The workers under test: those of the libraries that come with Sluice, or what --worker names."""

import os
import pathlib
import shlex
import shutil

import pytest

from cpp_programs import ROOT, compile_program
from stage import Stage

WORKERS = ROOT / "tests/conformance/workers"
LIBRARIES = ["cpp", "cpp-joined", "node", "python", "python-coroutine"]


def pytest_configure(config):
    config.addinivalue_line("markers", "started_by_stage: about how a stage starts its workers, so not for one that joins")


def pytest_addoption(parser):
    parser.addoption("--worker", action="append", default=[], metavar="COMMAND",
                     help="a conformance worker to test, in place of those of the libraries; may be repeated")


def pytest_generate_tests(metafunc):
    if "worker" in metafunc.fixturenames:
        metafunc.parametrize("worker", metafunc.config.getoption("--worker", []) or LIBRARIES, indirect=True)


def compile_worker(folder, *arguments):
    return compile_program(folder / "conformance", WORKERS / "conformance.cc", *arguments)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    return compile_worker(tmp_path_factory.mktemp("cpp"), ROOT / "clients/cpp/worker.cc")


@pytest.fixture(scope="session")
def compiled_to_join(tmp_path_factory):
    archive = pathlib.Path(os.environ.get("SLUICE_WORKER_LIBRARY", ROOT / "build/release/libsluice_worker.a"))
    if not archive.exists():
        pytest.skip(f"{archive} is not built")
    return compile_worker(tmp_path_factory.mktemp("joined"), "-DSLUICE_JOINS", archive, "-lprotobuf-lite", "-lssl",
                          "-lcrypto")


@pytest.fixture
def worker(request):
    """The command of a conformance worker."""
    if request.param == "cpp":
        return [str(request.getfixturevalue("compiled"))]
    if request.param == "cpp-joined":
        if request.node.get_closest_marker("started_by_stage"):
            pytest.skip("nobody starts it")
        node = pathlib.Path(__file__).with_name("node.py")
        return ["/usr/bin/python3", str(node), str(request.getfixturevalue("compiled_to_join"))]
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
