# SPDX-License-Identifier: MIT
"""A peer that vanished without a word, as after a change of its address.

The peer's socket stays open and lets no segment in any more: the peer confirms
nothing and refuses nothing.
"""
import ctypes
import os
import pathlib
import re
import selectors
import socket
import struct
import threading
import time

import pytest

from conftest import DOMAIN, wait_for
from rights import needs
from test_worker import workers_of

SO_ATTACH_FILTER = 26
SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT = 9, 4, 5, 6
TCP_USER_TIMEOUT = 18
SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 434, 438
TIMEOUT = 3
LIBC = ctypes.CDLL(None, use_errno=True)


def vanish(sock):
    """Attach a BPF program that takes nothing of each segment."""
    code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                    struct.pack("HL", 1, ctypes.addressof(code)))


def options_of(pid, port):
    """The options of the process' TCP socket to or at that port."""
    pidfd = LIBC.syscall(SYS_PIDFD_OPEN, pid, 0)
    if pidfd < 0:
        pytest.skip("the kernel shows no descriptors of others")
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        fd = LIBC.syscall(SYS_PIDFD_GETFD, pidfd, int(name), 0)
        if fd < 0:
            continue
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            continue
        with sock:
            try:
                ports = sock.getpeername()[1], sock.getsockname()[1]
            except (OSError, IndexError):
                continue
            if port in ports and sock.family == socket.AF_INET:
                found.append({
                    option: sock.getsockopt(level, option)
                    for level, option in (
                        (socket.SOL_SOCKET, SO_KEEPALIVE),
                        (socket.IPPROTO_TCP, TCP_KEEPIDLE),
                        (socket.IPPROTO_TCP, TCP_KEEPINTVL),
                        (socket.IPPROTO_TCP, TCP_KEEPCNT),
                        (socket.IPPROTO_TCP, TCP_USER_TIMEOUT))})
    os.close(pidfd)
    return found


class Relay(threading.Thread):
    """Between a client and policyd; its two ends may vanish."""

    def __init__(self, port, receive=None):
        super().__init__(daemon=True)
        self.port, self.receive = port, receive
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.client = self.server = None
        self.passed, self.still, self.ending = 0, False, False
        self.start()

    def run(self):
        self.client, _ = self.listener.accept()
        self.server = socket.socket()
        if self.receive:
            self.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                                   self.receive)
        self.server.connect(("127.0.0.1", self.port))
        other = {self.client: self.server, self.server: self.client}
        with selectors.DefaultSelector() as selector:
            for end in other:
                selector.register(end, selectors.EVENT_READ)
            while not self.ending:
                for key, _ in selector.select(.05):
                    if not self.still:
                        octets = key.fileobj.recv(4096)
                        self.passed += len(octets)
                        other[key.fileobj].sendall(octets)
                if self.still:
                    time.sleep(.05)

    def stop(self):
        self.still = self.ending = True
        self.join(20)
        for end in (self.client, self.server, self.listener):
            end.close()


def end_of_session(sandbox, user):
    found = re.findall(rf" session closed: .*user={user}@\S* reason=(.*?) "
                       r"pushed=(\d+).*", sandbox.log("policyd"))
    return found[-1] if found else None


@pytest.fixture(scope="module")
def hasty(make_sandbox):
    sandbox = make_sandbox()
    path = pathlib.Path(sandbox.env["POLICYD_CONF"])
    sandbox.stop("policyd")
    path.write_text(path.read_text() + f"reply_timeout = {TIMEOUT}s\n")
    sandbox.start("policyd")
    yield sandbox
    sandbox.down()


@needs("NET_ADMIN", "filters what comes to a socket")
def test_client_vanishes_amid_a_push(hasty):
    """policyd notices also while much is on its way and cannot be sent."""
    for n in range(20):
        hasty.send(f"traveller1@{DOMAIN}",
                   f"Subject: {n}\r\nMessage-ID: <{n}@remote.test>\r\n\r\n" +
                   ("x" * 70 + "\r\n") * 3000)
    hasty.wait_held("traveller1", 20)
    relay = Relay(int(hasty.env["TLS_PORT"]), 16384)
    client = hasty.client("traveller1", None, "--server", relay.address)
    wait_for("a push", lambda: relay.passed > 300000)
    relay.still = True
    vanish(relay.server)
    began = time.monotonic()
    wait_for("the end of the session",
             lambda: end_of_session(hasty, "traveller1"), 4 * TIMEOUT)
    assert time.monotonic() - began < 3 * TIMEOUT
    client.kill()
    relay.stop()
    # and nothing is lost
    box = hasty.collect("traveller1", client.maildir)
    assert len(list((box / "new").iterdir())) == 20


@needs("SYS_PTRACE", "looks into a process that is not dumpable")
def test_settings_at_the_server(hasty):
    """The kernel itself gives up when policyd has no reason to look."""
    client = hasty.client("traveller2")
    wait_for("a sign-in", lambda: client.said("signed in"))
    port = int(hasty.env["TLS_PORT"])
    found = [options for pid in workers_of(hasty)
             for options in options_of(pid, port)]
    assert len(found) == 1
    assert found[0][TCP_USER_TIMEOUT] == TIMEOUT * 1000
    assert found[0][SO_KEEPALIVE] == 1


def test_settings_at_the_client(hasty):
    """Two minutes: of silence when idle, and while replies are under way."""
    client = hasty.client("traveller3")
    wait_for("a sign-in", lambda: client.said("signed in"))
    found = options_of(client.process.pid, int(hasty.env["TLS_PORT"]))
    assert len(found) == 1
    assert found[0][SO_KEEPALIVE] == 1
    assert (found[0][TCP_KEEPIDLE] +
            found[0][TCP_KEEPINTVL] * found[0][TCP_KEEPCNT]) == 120
    assert found[0][TCP_USER_TIMEOUT] == 120000
