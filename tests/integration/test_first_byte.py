# SPDX-License-Identifier: MIT
"""From dialling to the first message: round trips, counted."""
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import threading

import pytest

from conftest import wait_for
from rights import needs_mounts

# a peer that has said nothing for so long awaits an answer
QUIET = 1
CLONE_NEWNET = 0x40000000
FAST_OPEN = pathlib.Path("/proc/sys/net/ipv4/tcp_fastopen")
LIBC = ctypes.CDLL(None, use_errno=True)


def flight(sock):
    """All octets that a peer says until it waits."""
    sock.settimeout(20)
    octets = sock.recv(65536)
    sock.settimeout(QUIET)
    try:
        while part := sock.recv(65536):
            octets += part
    except TimeoutError:
        pass
    return octets


class Relay:
    """Lets a given number of the client's flights through, and no more."""

    def __init__(self, port, flights):
        self.to, self.flights = port, flights
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        client = self.listener.accept()[0]
        server = socket.create_connection(("127.0.0.1", self.to))
        with client, server:
            for left in reversed(range(self.flights)):
                server.sendall(flight(client))
                if left:
                    client.sendall(flight(server))
            server.settimeout(20)
            try:
                while part := server.recv(65536):
                    client.sendall(part)
            except OSError:
                pass

    def close(self):
        self.listener.close()
        self.thread.join(30)


def test_round_trips(sandbox):
    """After TCP's own round trip there are two: TLS, and the sign-in with the
    mail."""
    user = "traveller0"
    sandbox.send_simple(user, "first")
    sandbox.send_simple(user, "second")
    sandbox.wait_held(user, 2)
    relay = Relay(int(sandbox.env["TLS_PORT"]), 2)
    client = sandbox.client(user, None, "--server",
                            f"127.0.0.1:{relay.port}")
    try:
        wait_for("two stored messages", lambda: client.log_path.read_text()
                 .count(" stored: ") == 2)
        assert client.said("signed in")
        # none of the client's replies has come through
        assert "message pushed" not in sandbox.log("policyd")
    finally:
        client.kill()
        relay.close()


def connected(client):
    """@return for each connection, whether its TLS session was resumed"""
    return ["resumed" in line
            for line in client.log_path.read_text().splitlines()
            if " connected: " in line]


def dial_again(client, count):
    client.process.send_signal(signal.SIGUSR1)
    wait_for(f"sign-in {count}",
             lambda: client.log_path.read_text().count("signed in") >= count)


def test_resumed(sandbox):
    """The client resumes with a ticket, also of a connection that broke off.
    Without a ticket, or with one from before a restart of policyd, it does the
    whole handshake."""
    client = sandbox.client("traveller1", None, "--verbose")
    wait_for("sign-in", lambda: client.said("signed in"))
    assert connected(client) == [False]
    dial_again(client, 2)
    dial_again(client, 3)
    assert connected(client) == [False, True, True]
    sandbox.stop("policyd")
    wait_for("its end", lambda: client.said("next try"))
    sandbox.start("policyd")
    dial_again(client, 4)
    dial_again(client, 5)
    assert connected(client)[-2:] == [False, True]
    client.kill(signal.SIGTERM)


def counters():
    """The counters of TCP in this thread's network."""
    lines = pathlib.Path("/proc/thread-self/net/netstat").read_text() \
        .splitlines()
    return dict(zip(lines[0].split()[1:], map(int, lines[1].split()[1:])))


@pytest.fixture
def fast_network():
    """A loopback of its own, where servers may offer TCP Fast Open."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    if LIBC.unshare(CLONE_NEWNET) < 0:
        os.close(before)
        raise OSError(ctypes.get_errno(), "unshare")
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        FAST_OPEN.write_text("3")
        yield
    finally:
        LIBC.setns(before, CLONE_NEWNET)
        os.close(before)


@needs_mounts
def test_fast_open(fast_network, make_sandbox):
    """From the second connection on the handshake begins in the first
    packet."""
    sandbox = make_sandbox()
    client = sandbox.client("traveller0", None, "--verbose")
    wait_for("sign-in", lambda: client.said("signed in"))
    assert counters()["TCPFastOpenPassive"] == 0
    dial_again(client, 2)
    assert counters()["TCPFastOpenPassive"] == 1
    assert connected(client) == [False, True]
    # it is not there: that is found out with the first octets
    sandbox.stop("policyd")
    wait_for("its end", lambda: client.said("next try"))
    client.process.send_signal(signal.SIGUSR1)
    wait_for("failure", lambda: client.said('error="Connection refused"'))
    client.kill(signal.SIGTERM)
    sandbox.down()
