"""Holds every #include line of src/ against the folder table of docs/ARCHITECTURE.md."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = sorted(path for path in (ROOT / "src").rglob("*") if path.suffix in (".h", ".cc"))
INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)


def folders_from_the_top():
    """The folders of the table in their order: a folder may use only those below it."""
    text = (ROOT / "docs/ARCHITECTURE.md").read_text()
    return re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)


def uses_in_cmake(folder):
    """What CMake links the folder to."""
    text = (ROOT / "src" / folder / "CMakeLists.txt").read_text()
    return set(re.search(r"sluice_folder\(\w+(?: USES ([\w ]+))?", text).group(1).split()) if "USES" in text else set()


def included_folders(path):
    """The folders of src/ that one file includes headers of, besides its own."""
    own = path.relative_to(ROOT / "src").parts[0]
    generated = {"sluice"}  # proto/sluice/v1 becomes sluice/v1/NAME.pb.h; CMake links it by name
    return {name.split("/")[0] for name in INCLUDE.findall(path.read_text())} - {own} - generated


def test_the_table_names_every_folder():
    existing = {path.name for path in (ROOT / "src").iterdir() if path.is_dir()}
    assert existing <= set(folders_from_the_top())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_includes_only_folders_below_its_own(path):
    order = folders_from_the_top()
    own = path.relative_to(ROOT / "src").parts[0]
    above = {folder for folder in included_folders(path) if order.index(folder) <= order.index(own)}
    assert not above, f"{path.name} in {own}/ must not use {above}"


@pytest.mark.parametrize("folder", [name for name in folders_from_the_top() if (ROOT / "src" / name).is_dir()])
def test_a_folder_is_linked_to_what_it_includes(folder):
    included = set().union(*(included_folders(path) for path in SOURCES if path.relative_to(ROOT / "src").parts[0] == folder))
    assert included <= uses_in_cmake(folder) | {"base"}


@pytest.mark.parametrize("path", [p for p in SOURCES if p.suffix == ".h"], ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_headers_stay_out_of_our_headers(path):
    heavy = re.findall(r"#include <(boost/[^>]*|CLI/[^>]*|spdlog/[^>]*|fmt/[^>]*|nlohmann/[^>]*|google/[^>]*|openssl/[^>]*|yaml[.]h)>", path.read_text())
    if path.relative_to(ROOT).as_posix() == "src/net/async.h":
        heavy = [name for name in heavy if name != "boost/asio/awaitable.hpp"]
    if path.name.endswith("_for_test.h"):
        heavy = []  # a few tests include it, and nothing else
    assert not heavy, f"{path.name} makes everyone who includes it compile {heavy}"
