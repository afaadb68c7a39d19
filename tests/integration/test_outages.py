# SPDX-License-Identifier: MIT
"""One part is down: nothing is lost."""
import os
import signal
import subprocess
import time

import pytest

from conftest import DOMAIN, maildir_messages, wait_for


def numbers(messages):
    return sorted(int(m.rsplit(b"Subject: n-", 1)[1].split(b"\n")[0])
                  for m in messages)


def send_numbered(sandbox, user, count, first=0, size=100):
    for n in range(first, first + count):
        sandbox.send(f"{user}@{DOMAIN}",
                     f"From: a@remote.test\r\nSubject: n-{n}\r\n\r\n"
                     + ("x" * 70 + "\r\n") * (size // 72 + 1))


def test_policyd_stopped_and_back(sandbox):
    """Mail flows and is held without policyd; the client comes back by
    itself."""
    client = sandbox.client("traveller0")
    wait_for("sign-in", lambda: client.said("signed in"))
    send_numbered(sandbox, "traveller0", 1)
    wait_for("push", lambda: maildir_messages(client.maildir))

    sandbox.stop("policyd")
    delays = []
    with sandbox.smtp() as smtp:
        smtp.ehlo("remote.test")
        for n in range(1, 6):
            smtp.mail("a@remote.test")
            start = time.monotonic()
            assert smtp.rcpt(f"traveller0@{DOMAIN}")[0] == 250
            delays.append(time.monotonic() - start)
            assert smtp.data(f"Subject: n-{n}\r\n\r\nx\r\n".encode())[0] == 250
    print("policyd stopped, delay per RCPT in ms:",
          *(f"{delay * 1000:.0f}" for delay in delays))
    sandbox.wait_held("traveller0", 5)

    sandbox.start("policyd")
    wait_for("everything held arrives",
             lambda: len(maildir_messages(client.maildir)) == 6 or None, 60)
    assert numbers(maildir_messages(client.maildir)) == list(range(6))
    sandbox.wait_held("traveller0", 0)


def test_policyd_hangs(sandbox):
    """A policyd that does not answer delays mail by its time-out only."""
    pid = int((sandbox.dir / "run" / "policyd.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        send_numbered(sandbox, "traveller1", 2)
        sandbox.wait_held("traveller1", 2)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert numbers(maildir_messages(sandbox.collect("traveller1"))) == [0, 1]


def test_hold_service_missing(sandbox):
    """Mail is held without the service, and pushed when the service is there
    again."""
    binary = sandbox.dir / "bin" / "restante-hold"
    target = os.readlink(binary)
    binary.unlink()
    master = (sandbox.dir / "run/dovecot/master.pid").read_text().strip()
    subprocess.run(["pkill", "-KILL", "-P", master, "-x", "restante-hold"])
    try:
        send_numbered(sandbox, "traveller2", 3)
        client = sandbox.client("traveller2", None, "--once")
        assert client.wait(60) == 75
        sandbox.wait_held("traveller2", 3)
    finally:
        binary.symlink_to(target)
    # Dovecot's master waits before it starts a service that failed
    sandbox.stop("dovecot")
    sandbox.start("dovecot")
    maildir = client.maildir
    client.kill()
    wait_for("drained", lambda: sandbox.client(
        "traveller2", maildir, "--once").wait(60) == 0 or None, 60)
    assert numbers(maildir_messages(maildir)) == [0, 1, 2]


def test_dovecot_restarted(sandbox):
    client = sandbox.client("traveller3")
    wait_for("sign-in", lambda: client.said("signed in"))
    send_numbered(sandbox, "traveller3", 5)
    sandbox.stop("dovecot")
    send_numbered(sandbox, "traveller3", 5, first=5)
    sandbox.start("dovecot")
    send_numbered(sandbox, "traveller3", 5, first=10)
    wait_for("all of them",
             lambda: len(maildir_messages(client.maildir)) == 15 or None, 90)
    assert numbers(maildir_messages(client.maildir)) == list(range(15))
    sandbox.wait_held("traveller3", 0)


@pytest.mark.parametrize("seed", range(3))
def test_client_killed_in_the_middle(sandbox, seed):
    """Kills at odd moments of a drain: nothing lost, nothing twice."""
    user = f"traveller{4 + seed}"
    send_numbered(sandbox, user, 40, size=20000)
    sandbox.wait_held(user, 40)
    maildir = sandbox.new_maildir()
    for kill in range(6):
        client = sandbox.client(user, maildir)
        wait_for("sign-in", lambda: client.said("signed in"))
        time.sleep(0.003 * (seed + 1) * kill)
        client.kill()
    sandbox.collect(user, maildir)
    assert numbers(maildir_messages(maildir)) == list(range(40))
    sandbox.wait_held(user, 0)


def test_worker_killed_in_the_middle(sandbox):
    """A worker dies: it is started again, and nothing is lost."""
    user = "traveller7"
    send_numbered(sandbox, user, 40, size=20000)
    sandbox.wait_held(user, 40)
    client = sandbox.client(user)
    wait_for("first arrivals", lambda: maildir_messages(client.maildir))
    core = int((sandbox.dir / "run" / "policyd.pid").read_text())
    workers = subprocess.run(["pgrep", "-P", str(core)], capture_output=True,
                             text=True, check=True).stdout.split()
    for worker in workers:
        os.kill(int(worker), signal.SIGKILL)
    wait_for("all of them",
             lambda: len(maildir_messages(client.maildir)) == 40 or None, 60)
    assert numbers(maildir_messages(client.maildir)) == list(range(40))
    sandbox.wait_held(user, 0)


def test_policyd_killed_in_the_middle(sandbox):
    user = "traveller8"
    send_numbered(sandbox, user, 40, size=20000)
    sandbox.wait_held(user, 40)
    client = sandbox.client(user)
    wait_for("first arrivals", lambda: maildir_messages(client.maildir))
    os.kill(int((sandbox.dir / "run" / "policyd.pid").read_text()),
            signal.SIGKILL)
    sandbox.start("policyd")
    wait_for("all of them",
             lambda: len(maildir_messages(client.maildir)) == 40 or None, 60)
    assert numbers(maildir_messages(client.maildir)) == list(range(40))
    sandbox.wait_held(user, 0)


def test_hold_time_passes_while_policyd_is_down(make_sandbox):
    sandbox = make_sandbox("--hold-time", "3")
    sandbox.stop("policyd")
    send_numbered(sandbox, "traveller0", 2)
    sandbox.wait_held("traveller0", 2)
    time.sleep(3)
    sandbox.start("policyd")
    messages = wait_for(
        "fallback", lambda: len(m := sandbox.mailbox("traveller0")) == 2 and m,
        30)
    assert numbers(m.replace(b"\r\n", b"\n") for m in messages) == [0, 1]
    assert sandbox.held("traveller0") == []
