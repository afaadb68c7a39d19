# SPDX-License-Identifier: MIT
"""The control of congestion that policyd asks for, towards its clients."""
import pathlib
import re
import subprocess

import pytest

from conftest import wait_for

SYSCTL = pathlib.Path("/proc/sys/net/ipv4")
SYSTEM = (SYSCTL / "tcp_congestion_control").read_text().strip()
AVAILABLE = (SYSCTL / "tcp_available_congestion_control").read_text().split()


def restart(sandbox, setting):
    """@return what policyd logged about it"""
    path = pathlib.Path(sandbox.env["POLICYD_CONF"])
    text = re.sub(r"^congestion = .*\n", "", path.read_text(), flags=re.M)
    sandbox.stop("policyd")
    path.write_text(text + (setting + "\n" if setting else ""))
    before = len(sandbox.log("policyd"))
    sandbox.start("policyd")
    return [line for line in sandbox.log("policyd")[before:].splitlines()
            if "congestion" in line]


def of_accepted(sandbox):
    """What the server's socket of a connection has."""
    with sandbox.tls() as tls:
        assert tls.recv(4096).startswith(b"220 ")
        port = tls.getsockname()[1]
        out = subprocess.run(
            ["ss", "-tinH", "sport", "=", f":{sandbox.env['TLS_PORT']}",
             "and", "dport", "=", f":{port}"],
            capture_output=True, text=True, check=True).stdout
    words = [name for name in AVAILABLE if re.search(rf"\b{name}\b", out)]
    assert len(words) == 1, out
    return words[0]


def other():
    """One that is not the system's default."""
    for name in AVAILABLE:
        if name != SYSTEM:
            return name
    pytest.skip("the kernel has one only")


def test_chosen(sandbox):
    """Before it drops root: also one that users may not choose."""
    name = other()
    assert restart(sandbox, f"congestion = {name}") == []
    # each worker has it: they share the listener
    assert {of_accepted(sandbox) for _ in range(4)} == {name}


def test_default(sandbox):
    said = restart(sandbox, "")
    if "bbr" in AVAILABLE:
        assert (said, of_accepted(sandbox)) == ([], "bbr")
    else:
        assert len(said) == 1 and "wanted=bbr" in said[0]


def test_system(sandbox):
    assert restart(sandbox, 'congestion = ""') == []
    assert of_accepted(sandbox) == SYSTEM


def test_not_to_be_had(sandbox):
    said = restart(sandbox, "congestion = nonesuch")
    assert {of_accepted(sandbox) for _ in range(4)} == {SYSTEM}
    assert len(said) == 1, said
    assert "wanted=nonesuch" in said[0]
    assert "kernel does not have it" in said[0]
    # nothing is said for each connection
    assert sandbox.log("policyd").count("nonesuch") == 1
    check = subprocess.run(
        [sandbox.bin("restante-policyd"), "-t", "-c",
         sandbox.env["POLICYD_CONF"]], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout
    assert "ok congestion nonesuch: the kernel does not have it" in \
        check.stdout


def test_mail_comes(sandbox):
    restart(sandbox, "")
    sandbox.send_simple("traveller0", "congestion")
    sandbox.wait_held("traveller0", 1)
    sandbox.collect("traveller0")
    wait_for("an empty hold", lambda: not sandbox.held("traveller0"))
