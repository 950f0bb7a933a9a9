"""What a test asks of the machine: programs, users and user namespaces. What is missing skips the test by name."""

import os
import shutil
import subprocess

import pytest

NOBODY = 65534

IS_ROOT = os.geteuid() == 0

# "root" means whoever runs the tests; only root can become the other.
USERS = ["root", "ordinary"] if IS_ROOT else ["ordinary"]


def requires_program(name):
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


def as_user(uid):
    """What root puts before a command so that it runs as that ordinary user. Everybody else is one already."""
    if not IS_ROOT:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is missing: cannot become an ordinary user")
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all"]


# What makes the caller root of a mount namespace of its own, where it may mount without being root outside.
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]


def can_unshare():
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0
    except OSError:
        return False
