# SPDX-License-Identifier: MIT
"""A policy question waits for nothing: not for Dovecot, not for others."""
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import DOMAIN
from peer import Peer

QUESTION = (b"request=smtpd_access_policy\nprotocol_state=RCPT\n"
            b"protocol_name=ESMTP\nsender=a@remote.test\n"
            b"recipient=traveller0@example.test\nsize=1000\n\n")


def slowest_answer(sandbox, count=300):
    """In milliseconds, of questions that come one after the other."""
    worst = 0
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(sandbox.env["POLICY_SOCKET"])
        for _ in range(count):
            start = time.monotonic()
            sock.sendall(QUESTION)
            assert sock.recv(4096) == b"action=DUNNO\n\n"
            worst = max(worst, time.monotonic() - start)
            time.sleep(0.002)
    return worst * 1000


def flood_with_notes(sandbox, until):
    """What any local process may do: for nobody, and due long ago."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(str(sandbox.dir / "run" / "notify"))
        n = 0
        while not until.is_set():
            n += 1
            sock.send(f"HELD\tnobody{n}@{DOMAIN}\tx{n}\t1\n".encode())


def sign_in_again_and_again(sandbox, until):
    while not until.is_set():
        try:
            Peer(sandbox, "traveller1").close()
        except (AssertionError, OSError):
            pass  # the other thread's was newer


@pytest.mark.parametrize("trouble", [flood_with_notes,
                                     sign_in_again_and_again])
def test_others_are_busy(sandbox, trouble):
    until = threading.Event()
    threads = [threading.Thread(target=trouble, args=(sandbox, until))
               for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        worst = slowest_answer(sandbox)
    finally:
        until.set()
        for thread in threads:
            thread.join()
    print(f"slowest answer {worst:.1f} ms")
    # Python's own threads, and a busy machine, have their share in this
    assert worst < 500


def test_dovecot_hangs(sandbox):
    """Everything of Dovecot's is stopped, and sweeps and sign-ins wait."""
    master = (sandbox.dir / "run/dovecot/master.pid").read_text().strip()
    pids = [int(pid) for pid in [master] + subprocess.run(
        ["pgrep", "-P", master], capture_output=True,
        text=True).stdout.split()]
    until = threading.Event()
    thread = threading.Thread(target=flood_with_notes, args=(sandbox, until))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        thread.start()
        worst = slowest_answer(sandbox)
    finally:
        until.set()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        thread.join()
    print(f"slowest answer {worst:.1f} ms")
    assert worst < 500
