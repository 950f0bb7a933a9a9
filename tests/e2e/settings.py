"""What the environment of a test run decides: which program is tested, and how much."""

import os
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]

# Absolute, because tests start it in folders of their own.
SLUICE = str(Path(os.environ.get("SLUICE_BINARY") or _REPOSITORY / "build/release/sluice").resolve())

# A soak repeats what depends on chance far more often, and takes far more time.
SOAK = os.environ.get("SLUICE_SOAK") == "1"

# Two commands that run a text by the same rule of statuses, for comparing what they do.
BASH = ["bash", "-o", "pipefail", "-c"]
STRICT = [SLUICE, "run", "--pipefail=strict"]
