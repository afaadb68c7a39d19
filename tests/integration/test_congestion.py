# SPDX-License-Identifier: MIT
"""The congestion control that policyd asks for, towards its clients."""
import pathlib
import re
import subprocess

import pytest

from conftest import DOMAIN, wait_for
from rights import needs

SYSCTL = pathlib.Path("/proc/sys/net/ipv4")
DEFAULT = "bbr"  # policyd's
SYSTEM = (SYSCTL / "tcp_congestion_control").read_text().strip()
ALLOWED = (SYSCTL / "tcp_allowed_congestion_control").read_text().split()
AVAILABLE = (SYSCTL / "tcp_available_congestion_control").read_text().split()


def restart(sandbox, setting):
    """@return the lines of policyd's log about congestion control"""
    path = pathlib.Path(sandbox.env["POLICYD_CONF"])
    text = re.sub(r"^congestion = .*\n", "", path.read_text(), flags=re.M)
    sandbox.stop("policyd")
    path.write_text(text + (setting + "\n" if setting else ""))
    before = len(sandbox.log("policyd"))
    sandbox.start("policyd")
    return [line for line in sandbox.log("policyd")[before:].splitlines()
            if "congestion" in line]


def of_port(sandbox, port):
    """The congestion control of the server's socket of a connection from that
    port."""
    out = subprocess.run(
        ["ss", "-tinH", "sport", "=", f":{sandbox.env['TLS_PORT']}",
         "and", "dport", "=", f":{port}"],
        capture_output=True, text=True, check=True).stdout
    words = [name for name in AVAILABLE if re.search(rf"\b{name}\b", out)]
    assert len(words) == 1, out
    return words[0]


def of_accepted(sandbox):
    with sandbox.tls() as tls:
        assert tls.recv(4096).startswith(b"220 ")
        return of_port(sandbox, tls.getsockname()[1])


def of_client(sandbox, client):
    """The congestion control of a client's connection once nothing is held."""
    sandbox.wait_held("traveller0", 0)
    out = subprocess.run(
        ["ss", "-tnpH", "dport", "=", f":{sandbox.env['TLS_PORT']}"],
        capture_output=True, text=True, check=True).stdout
    line = next(line for line in out.splitlines()
                if f"pid={client.process.pid}," in line)
    return of_port(sandbox, line.split()[3].rpartition(":")[2])


def others(allowed):
    """The congestion controls that are not the system's default."""
    return [name for name in AVAILABLE
            if name != SYSTEM and (name in ALLOWED) == allowed]


def test_backlog(sandbox):
    """Where users may choose the control, a client with little mail begins
    with the system's default."""
    if not others(True):
        pytest.skip("the kernel has one only")
    name = others(True)[0]
    assert restart(sandbox, f"congestion = {name}") == []
    # in each worker
    assert {of_accepted(sandbox) for _ in range(4)} == {SYSTEM}
    client = sandbox.client("traveller0")
    wait_for("sign-in", lambda: client.said("signed in"))
    sandbox.send_simple("traveller0", "small")
    wait_for("the small one", lambda: client.said("stored"))
    assert of_client(sandbox, client) == SYSTEM
    sandbox.send(f"traveller0@{DOMAIN}",
                 "Subject: large\r\n\r\n" + "x" * 70 + "\r\n" +
                 ("y" * 70 + "\r\n") * 2000)
    wait_for("the large one", lambda: client.log_path.read_text()
             .count(" stored: ") == 2)
    assert of_client(sandbox, client) == name
    client.kill()


@needs("NET_ADMIN", "policyd chooses a control that users may not")
def test_only_for_root(sandbox):
    """A process that is not root any more may not choose the control: then all
    connections have it. (Such a control exists where
    tcp_allowed_congestion_control was written to.)"""
    for name in others(False):
        assert restart(sandbox, f"congestion = {name}") == []
        assert {of_accepted(sandbox) for _ in range(4)} == {name}


def test_default(sandbox):
    said = restart(sandbox, "")
    if DEFAULT not in AVAILABLE:
        assert len(said) == 1 and f"wanted={DEFAULT}" in said[0]
        return
    assert said == []
    # it is not there from the start, but where users may not choose it
    first = DEFAULT if DEFAULT not in ALLOWED else \
        "reno" if SYSTEM == DEFAULT else SYSTEM
    assert {of_accepted(sandbox) for _ in range(4)} == {first}


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
