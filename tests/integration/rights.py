# SPDX-License-Identifier: MIT
"""What a test may do on this machine. A plain container may not do all."""
import pathlib
import re

import pytest

CAPABILITIES = {"DAC_READ_SEARCH": 2, "NET_ADMIN": 12, "SYS_PTRACE": 19,
                "SYS_ADMIN": 21}


def capabilities():
    """Those that this process has, as a number."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"^CapEff:\s*(\w+)", status, re.MULTILINE)[1], 16)


def missing(name, why):
    """The reason to leave a test out, or nothing."""
    there = capabilities() >> CAPABILITIES[name] & 1
    return "" if there else f"{why}, which takes CAP_{name}"


def needs(name, why):
    """A mark: the test is left out where the capability is missing."""
    reason = missing(name, why)
    return pytest.mark.skipif(bool(reason), reason=reason)


NO_MOUNTS = missing("SYS_ADMIN", "mounts or makes a namespace")
needs_mounts = needs("SYS_ADMIN", "mounts or makes a namespace")
