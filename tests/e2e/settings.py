"""What the environment of a test run decides: which program is tested, and how much."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]



def _reachable_by_everybody(binary):
    """The binary, or a copy of it if root's tests could not start it as another user: a clone below /root, say."""
    if os.geteuid() != 0 or not binary.exists() or all(folder.stat().st_mode & 0o001 for folder in binary.parents):
        return binary
    folder = Path(tempfile.mkdtemp(prefix="sluice-binary-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)
    return Path(shutil.copy(binary, folder))


# Absolute, because tests start it in folders of their own.
SLUICE = str(
    _reachable_by_everybody(Path(os.environ.get("SLUICE_BINARY") or _REPOSITORY / "build/release/sluice").resolve())
)

# A soak repeats what depends on chance far more often, and takes far more time.
SOAK = os.environ.get("SLUICE_SOAK") == "1"

# Two commands that run a text by the same rule of statuses, for comparing what they do.
BASH = ["bash", "-o", "pipefail", "-c"]
STRICT = [SLUICE, "run", "--pipefail=strict"]
