"""Runs every `sluice` example of the documentation in an empty folder and compares what it prints.

An example is a line of a ```console block that begins with `$ `; what follows up to the next one, or the end of the block,
is what the terminal then shows, stdout and stderr together. A block behind `<!-- not run: REASON -->` is left alone.
"""

import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = pathlib.Path(os.environ.get("SLUICE_BINARY", ROOT / "build/release/sluice"))
DOCUMENTS = ["README.md", "docs/pipelines.md", "docs/flow-files.md"]
BLOCK = re.compile(r"(?P<note><!--[^>]*-->\n)?^```console\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def examples_of(document):
    """Each example as (id, command, expected output)."""
    text = (ROOT / document).read_text()
    found = []
    for block in BLOCK.finditer(text):
        if "not run:" in (block["note"] or ""):
            continue
        line = text[: block.start("body")].count("\n") + 1
        for index, part in enumerate(re.split(r"^\$ ", block["body"], flags=re.MULTILINE)[1:]):
            command, output = split_command(part)
            if "sluice" in command:
                found.append(pytest.param(command, output, id=f"{document}:{line}.{index}"))
    return found


def split_command(part):
    """A command goes on over lines whose continuation the document shows with a leading `> `."""
    lines = part.split("\n")
    command = [lines.pop(0)]
    while lines and lines[0].startswith("> "):
        command.append(lines.pop(0)[2:])
    return "\n".join(command), "\n".join(lines)


EXAMPLES = [example for document in DOCUMENTS for example in examples_of(document)]


def test_the_documents_have_examples():
    assert len(EXAMPLES) >= 10


@pytest.mark.parametrize("command,expected", EXAMPLES)
def test_an_example_prints_what_the_document_says(command, expected, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sluice").symlink_to(BINARY)
    work = tmp_path / "empty"
    work.mkdir()
    environment = dict(os.environ, PATH=f"{programs}:{os.environ['PATH']}", LC_ALL="C.UTF-8")
    environment.pop("BASH_ENV", None)
    shown = subprocess.run(
        ["bash", "-c", command],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        text=True,
    )
    assert shown.stdout == expected
