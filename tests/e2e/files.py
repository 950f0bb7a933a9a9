"""Files that tests make: scripts to run as stages, and fifos that hold a stage until the test goes on."""

import os

from processes import wait_until


def write_script(path, text):
    """An executable script for /bin/bash, so that a stage needs no nested quotes."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/bash\n" + text)
    path.chmod(0o755)
    return path


def open_for_writing(fifo):
    """Waits until somebody reads the fifo, and opens it: the reader then sees its end when this is closed."""
    descriptors = []

    def try_to_open():
        # Without a reader this fails, where a blocking open would wait for ever.
        try:
            descriptors.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:
            return False
        return True

    wait_until(try_to_open, f"a reader of {fifo}")
    return os.fdopen(descriptors[0], "w")
