"""C++ programs with the library for workers."""

import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def compile_program(program, *arguments):
    """A C++ program, compiled as a user would."""
    subprocess.run([os.environ.get("CXX", "g++"), "-std=c++17", "-O1", "-pthread", f"-I{ROOT}/include", *arguments,
                    "-o", program], check=True)
    return program
