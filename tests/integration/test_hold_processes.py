# SPDX-License-Identifier: MIT
"""The processes of the service restante-hold: as many stay as are needed."""
import contextlib
import pathlib
import socket
import time

from conftest import DOMAIN, wait_for

MANY = 80
# who has served somebody within the last 32 connections, or second, stays
STAY = 40


def children(pid):
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()]


def processes(sandbox):
    """Process ids of restante-hold."""
    master = (sandbox.dir / "run" / "dovecot" / "master.pid").read_text()
    found = []
    for pid in children(int(master)):
        with contextlib.suppress(OSError):
            comm = pathlib.Path(f"/proc/{pid}/comm").read_text()
            if comm.strip() == "restante-hold":
                found.append(pid)
    return found


def connection(sandbox, user):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(str(sandbox.dir / "run" / "hold.sock"))
    sock.sendall(f"VERSION\trestante-hold\t1\t0\nUSER\t{user}@{DOMAIN}\n"
                 .encode())
    answer = sock.makefile("rb")
    assert answer.readline().startswith(b"VERSION\t")
    assert answer.readline().startswith(b"OK\t")
    return sock


def test_who_is_not_needed_leaves(make_sandbox):
    """Each connection wakes all idle processes: after many at once, as when
    all clients come back, most of the processes have to leave."""
    sandbox = make_sandbox()
    for sock in [connection(sandbox, "traveller0") for _ in range(MANY)]:
        sock.close()
    many = len(processes(sandbox))
    assert many >= MANY
    slowest = 0

    def some_connections():
        nonlocal slowest
        for _ in range(20):
            start = time.monotonic()
            connection(sandbox, "traveller0").close()
            slowest = max(slowest, time.monotonic() - start)
            time.sleep(.04)
        return len(processes(sandbox)) <= STAY

    # Dovecot itself ends who is idle for a minute
    wait_for("fewer processes", some_connections, 30)
    print(f"{many} processes, then {len(processes(sandbox))}; slowest answer "
          f"{slowest * 1000:.0f} ms")
    # nobody was lost to it: as many as before are served
    for sock in [connection(sandbox, "traveller1") for _ in range(MANY)]:
        sock.close()
    assert "Error" not in sandbox.log("dovecot")
