# SPDX-License-Identifier: MIT
"""The walk over all users, with many users."""
import pathlib
import socket
import time

import pytest

from conftest import DOMAIN, wait_for

USERS = 2500
SHARE = .4      # of a processor: a quarter, and something for the machine


@pytest.fixture(scope="module")
def crowd(make_sandbox):
    """A sandbox with many users, none of whom has mail."""
    sandbox = make_sandbox()
    path = sandbox.dir / "dovecot" / "users"
    line = path.read_text().splitlines()[0]
    sandbox.stop("policyd")
    sandbox.stop("dovecot")
    with open(path, "a") as out:
        for n in range(USERS):
            out.write(line.replace("traveller0@", f"u{n}@") + "\n")
    # policyd has walked over them already
    (pathlib.Path(sandbox.env["HOLDERS_DIR"]) / ".audited").unlink(
        missing_ok=True)
    sandbox.start("dovecot")
    yield sandbox
    sandbox.down()


def hold_processes(sandbox):
    master = int((sandbox.dir / "run/dovecot/master.pid").read_text())
    pids = pathlib.Path(
        f"/proc/{master}/task/{master}/children").read_text().split()
    return [pid for pid in pids if pathlib.Path(
        f"/proc/{pid}/comm").read_text().strip() == "restante-hold"]


def busy(pids):
    """The seconds for which the processes ran, or were ready to run while
    others did."""
    stats = [pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()
             for pid in pids]
    return sum(int(ran) + int(waited) for ran, waited, _ in stats) / 1e9


def walk(sandbox):
    """@return the lines, and when each line came"""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(str(sandbox.dir / "run" / "hold.sock"))
        sock.sendall(b"VERSION\trestante-hold\t1\t0\nSCAN\n")
        with sock.makefile("r") as file:
            return [(line.rstrip("\n").split("\t"), time.monotonic())
                    for line in file]


def test_leaves_the_machine_to_others(crowd):
    walk(crowd)     # once, so that the process is there
    pids = hold_processes(crowd)
    assert len(pids) == 1
    start, before = time.monotonic(), busy(pids)
    lines = walk(crowd)
    seconds, spent = time.monotonic() - start, busy(pids) - before
    assert lines[-1][0] == ["END", str(USERS + 11), "0"]
    assert spent > .1, "too little to tell anything"
    assert spent / seconds < SHARE, (spent, seconds)


def test_says_that_it_goes_on(crowd):
    lines = walk(crowd)
    alive = [(line, at) for line, at in lines if line[0] == "HOLDS"]
    assert len(alive) == (USERS + 11) // 1000
    assert all(line[2:] == ["0", "0", "0"] for line, _ in alive)
    assert alive[0][1] < lines[-1][1] - .1


def test_finds_what_is_held(crowd):
    """policyd, which was not running when the mail came, finds it as well."""
    name = f"u{USERS - 1}"
    crowd.send_simple(name, "walk")
    crowd.wait_held(name, 1)
    lines = [line for line, _ in walk(crowd) if line[0] == "HOLDS"]
    assert [line[2] for line in lines
            if line[1] == f"{name}@{DOMAIN}"] == ["1"]
    crowd.start("policyd")
    wait_for("the end of the walk", lambda: f"users={USERS + 11} timetable=1"
             in crowd.log("policyd"), 60)
