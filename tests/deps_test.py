"""scripts/deps.sh: it installs only what is missing, and where it can't it prints the one line to type."""

import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts/deps.sh"


@pytest.fixture
def machine(tmp_path):
    """A folder of programs that stand in for the machine's: nothing is installed, we are no root, apt leaves a trace."""
    programs = tmp_path / "bin"
    programs.mkdir()

    def program(name, text):
        (programs / name).write_text("#!/bin/sh\n" + text)
        (programs / name).chmod(0o755)

    program("dpkg-query", "exit 1\n")
    program("id", "echo 1000\n")
    program("sudo", "exit 1\n")
    program("apt-get", f'echo "$@" >> {tmp_path}/apt\n')
    machine.program = program
    machine.path = f"{programs}:{os.environ['PATH']}"
    machine.apt = tmp_path / "apt"
    return machine


def run_deps(machine, *purposes):
    return subprocess.run(
        [SCRIPT, *purposes],
        env=dict(os.environ, PATH=machine.path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_without_rights_it_prints_the_line_and_stops(machine):
    result = run_deps(machine, "build")
    assert result.returncode == 1
    assert "sudo apt-get install --yes --no-install-recommends g++ cmake" in result.stderr
    assert not machine.apt.exists()


def test_as_root_it_installs_what_is_missing(machine):
    machine.program("id", "echo 0\n")
    machine.program("dpkg-query", 'case "$*" in *cmake*) exit 1;; esac; echo installed\n')
    assert run_deps(machine, "build").returncode == 0
    assert machine.apt.read_text() == "install --yes --no-install-recommends cmake\n"


def test_with_everything_installed_it_asks_nobody(machine):
    machine.program("dpkg-query", "echo installed\n")
    result = run_deps(machine, "build", "test", "fuzz", "bench", "lint")
    assert (result.returncode, result.stderr) == (0, "")
    assert not machine.apt.exists()


def test_an_unknown_purpose_is_refused(machine):
    result = run_deps(machine, "nonsense")
    assert result.returncode == 2
    assert "one of:" in result.stderr
