# SPDX-License-Identifier: MIT
"""policyd is restarted while Postfix has questions.

Postfix's connections wait at the service manager, here a small one that does as
systemd does.
"""
import array
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import DOMAIN, wait_for

FIRST_FD = 3


class Manager:
    """A service manager with a store for descriptors, as systemd is."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.path = str(sandbox.dir / "run" / "manager")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        os.chmod(self.path, 0o666)
        self.sock.settimeout(.2)
        self.stored = []
        self.log = open(sandbox.dir / "log" / "policyd.log", "ab")
        self.started = sandbox.log("policyd").count("notice: started")
        self.process = None

    def start(self):
        """The descriptors begin at 3, and one of them is not policyd's."""
        stranger = socket.socket()
        fds = self.stored + [stranger.detach()]

        def in_child():
            high = [os.dup2(fd, 200 + n) for n, fd in enumerate(fds)]
            for n, fd in enumerate(high):
                os.dup2(fd, FIRST_FD + n)
            os.environ.update(LISTEN_PID=str(os.getpid()),
                              LISTEN_FDS=str(len(fds)),
                              NOTIFY_SOCKET=self.path)
            os.execv(self.sandbox.bin("restante-policyd"),
                     ["restante-policyd", "-f", "-c",
                      self.sandbox.env["POLICYD_CONF"]])

        self.process = subprocess.Popen(
            ["/bin/true"], preexec_fn=in_child, close_fds=False,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        # it keeps them until it is told not to
        os.close(fds[-1])
        wait_for("policyd's word", self.receive)
        assert not self.stored
        self.started += 1
        wait_for("policyd's start", lambda: self.sandbox.log("policyd").count(
            "notice: started") == self.started)

    def receive(self):
        """Take descriptors until none comes for a while. @return whether any
        came"""
        came = False
        while True:
            try:
                text, ancillary, _, _ = self.sock.recvmsg(
                    4096, socket.CMSG_SPACE(253 * 4))
            except TimeoutError:
                return came
            came = True
            lines = text.decode().split("\n")
            assert "FDNAME=policy" in lines
            if "FDSTOREREMOVE=1" in lines:
                self.forget()
                return came
            assert "FDSTORE=1" in lines
            for _, _, octets in ancillary:
                fds = array.array("i")
                fds.frombytes(octets)
                self.stored += fds

    def forget(self):
        for fd in self.stored:
            os.close(fd)
        self.stored = []

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0
        self.receive()

    def end(self):
        # in order: what is left of a killed one keeps the sockets for a moment
        self.process.terminate()
        self.process.wait(20)
        self.forget()
        self.sock.close()
        os.unlink(self.path)
        self.log.close()


@pytest.fixture
def manager(sandbox):
    sandbox.stop("policyd")
    manager = Manager(sandbox)
    manager.start()
    yield manager
    manager.end()
    sandbox.start("policyd")


def rcpts(sandbox, worst, until):
    """Say RCPTs in one session each: an smtpd that has a connection keeps
    it."""
    with sandbox.smtp() as smtp:
        smtp.ehlo("remote.test")
        smtp.mail("a@remote.test")
        n = 0
        while n < 5 or not until.is_set() and n < 900:
            start = time.monotonic()
            code, text = smtp.rcpt(f"traveller{n % 10}@{DOMAIN}")
            worst.append(time.monotonic() - start)
            assert code == 250, text
            n += 1
            time.sleep(.005)


def problems(sandbox):
    return sandbox.log("postfix").count("problem talking to server")


def test_connections_are_handed_over(sandbox, manager):
    until, worst = threading.Event(), []
    threads = [threading.Thread(target=rcpts, args=(sandbox, worst, until))
               for _ in range(3)]
    before, seen = problems(sandbox), set()
    for thread in threads:
        thread.start()
    try:
        wait_for("RCPTs", lambda: len(worst) > 20)
        for _ in range(2):
            asked = len(worst)
            manager.stop()
            seen |= {os.fstat(fd).st_ino for fd in manager.stored}
            # the same all the time: three, and the one that listens
            assert len(manager.stored) == len(seen) == 4
            manager.start()
            wait_for("RCPTs", lambda: len(worst) > asked + 20)
    finally:
        until.set()
        for thread in threads:
            thread.join()
    print(f"slowest RCPT {max(worst) * 1000:.1f} ms")
    assert problems(sandbox) == before


def test_without_what_was_left(sandbox, manager):
    """policyd does not take a listening socket whose name is gone."""
    manager.stop()
    os.unlink(sandbox.env["POLICY_SOCKET"])
    manager.start()
    before = problems(sandbox)
    until, worst = threading.Event(), []
    until.set()
    rcpts(sandbox, worst, until)
    assert len(worst) == 5
    assert problems(sandbox) == before
