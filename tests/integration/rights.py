# SPDX-License-Identifier: MIT
"""What a test may do on this machine. A plain container may not do all."""
import pathlib
import re

import pytest

CAP_SYS_ADMIN = 21


def _capabilities():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"^CapEff:\s*(\w+)", status, re.MULTILINE)[1], 16)


# The reason why a test is left out, or nothing.
NO_MOUNTS = ("" if _capabilities() >> CAP_SYS_ADMIN & 1 else
             "mounts or makes a namespace, which takes CAP_SYS_ADMIN")

needs_mounts = pytest.mark.skipif(bool(NO_MOUNTS), reason=NO_MOUNTS)
