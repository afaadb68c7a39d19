# SPDX-License-Identifier: MIT
"""A policy question never waits: not for Dovecot, not for other questions."""
import concurrent.futures
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
    """In milliseconds, of questions that are asked one after the other."""
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


def flood_with_entries(sandbox, until):
    """Make entries as any local process may: for users that do not exist, and
    due long ago."""
    n = 0
    while not until.is_set():
        n += 1
        path = f"{sandbox.env['HOLDERS_DIR']}/nobody{n % 5000}@{DOMAIN}"
        with open(path, "w", encoding="ascii") as file:
            file.write("1\n")
        os.utime(path)


def sign_in_again_and_again(sandbox, until):
    while not until.is_set():
        try:
            Peer(sandbox, "traveller1").close()
        except (AssertionError, OSError):
            pass  # the other thread's was newer


@pytest.mark.parametrize("trouble", [flood_with_entries,
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


def dovecot(sandbox, name=None):
    """Dovecot's processes, or those of one service."""
    master = (sandbox.dir / "run/dovecot/master.pid").read_text().strip()
    named = ["-x", name] if name else []
    pids = subprocess.run(["pgrep", "-P", master, *named],
                          capture_output=True, text=True).stdout.split()
    return [int(pid) for pid in ([] if name else [master]) + pids]


def test_dovecot_hangs(sandbox):
    """All of Dovecot's processes are stopped, and sweeps and sign-ins wait."""
    pids = dovecot(sandbox)
    until = threading.Event()
    thread = threading.Thread(target=flood_with_entries, args=(sandbox, until))
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


def reload(sandbox, until):
    """Send SIGHUP to policyd while questions are asked."""
    pid = int((sandbox.dir / "run/policyd.pid").read_text())
    while not until.wait(.02):
        os.kill(pid, signal.SIGHUP)


def stop_service(sandbox, until, name):
    """Stop the service's processes, also those that Dovecot starts in their
    place, while clients sign in and fallback is due."""
    threads = [threading.Thread(target=function, args=(sandbox, until))
               for function in (flood_with_entries, sign_in_again_and_again)]
    stopped = set()
    try:
        for thread in threads:
            thread.start()
        while not until.wait(.02):
            for pid in set(dovecot(sandbox, name)) - stopped:
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        for thread in threads:
            thread.join()
    assert stopped, f"no {name} has run"


def stop_auth(sandbox, until):
    stop_service(sandbox, until, "auth")


def stop_hold(sandbox, until):
    stop_service(sandbox, until, "restante-hold")


@pytest.mark.parametrize("trouble", [reload, stop_auth, stop_hold])
def test_rcpt(sandbox, trouble):
    """Ask through the whole of Postfix, which logs when it got no answer."""
    until = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(trouble, sandbox, until)
        worst = 0
        try:
            for _ in range(4):
                with sandbox.smtp() as smtp:
                    smtp.ehlo("remote.test")
                    smtp.mail("a@remote.test")
                    for n in range(100):
                        start = time.monotonic()
                        code, text = smtp.rcpt(f"traveller{n % 10}@{DOMAIN}")
                        worst = max(worst, time.monotonic() - start)
                        assert code == 250, text
                        time.sleep(.002)
        finally:
            until.set()
            running.result()
    print(f"slowest RCPT {worst * 1000:.1f} ms")
    assert "problem talking to server" not in sandbox.log("postfix")
    # a connection lost costs Postfix a second
    assert worst < .9
