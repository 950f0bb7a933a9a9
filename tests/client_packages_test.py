"""What the packages of the worker libraries hold beside their code."""

import json
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("client", ["node", "python"])
def test_a_package_has_the_licence(client):
    # A copy: npm packs no link, and neither packs what lies outside of its folder.
    assert (ROOT / "clients" / client / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_the_node_package_is_packed_with_it(tmp_path):
    packed = subprocess.run(["npm", "pack", "--dry-run", "--json", "--offline", ROOT / "clients/node"], cwd=tmp_path, check=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120)
    names = {file["path"] for file in json.loads(packed.stdout)[0]["files"]}
    assert {"LICENSE", "README.md", "index.js", "index.d.ts", "lib/worker.js"} <= names
