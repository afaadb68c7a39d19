# SPDX-License-Identifier: MIT
"""What the client knows without its seen-log, and without any file of its
own."""
import shutil
import socket
import threading

import pytest

from conftest import maildir_messages, wait_for


class Relay:
    """Stands between client and server; mute() swallows the client's
    octets."""

    def __init__(self, port):
        self.port = port
        self.muted = False
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.port))
        except OSError:
            return
        self.sockets = [client, server]
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=self.copy, args=(source, target),
                             daemon=True).start()

    def copy(self, source, target):
        try:
            while octets := source.recv(65536):
                if not (self.muted and source is self.sockets[0]):
                    target.sendall(octets)
        except OSError:
            pass

    def mute(self):
        self.muted = True

    def close(self):
        for s in [self.listener, *self.sockets]:
            s.close()


def subjects(maildir):
    return sorted(m.rsplit(b"Subject: ", 1)[1].split(b"\n")[0].decode()
                  for m in maildir_messages(maildir))


def acknowledged_and_not(sandbox, user):
    """a0..a2 are acknowledged, n0..n2 stored while the replies get lost."""
    relay = Relay(int(sandbox.env["TLS_PORT"]))
    client = sandbox.client(user, None, "--server", relay.address)
    try:
        wait_for("sign-in", lambda: client.said("held: "))
        for n in range(3):
            sandbox.send_simple(user, f"a{n}")
        wait_for("push", lambda: len(maildir_messages(client.maildir)) == 3)
        sandbox.wait_held(user, 0)
        relay.mute()
        for n in range(3):
            sandbox.send_simple(user, f"n{n}")
        wait_for("push", lambda: len(maildir_messages(client.maildir)) == 6)
        assert len(sandbox.held(user)) == 3
    finally:
        client.kill()
        relay.close()
    return client.maildir


ALL = ["a0", "a1", "a2", "n0", "n1", "n2"]


@pytest.mark.parametrize("user,change", [
    ("traveller0", "nothing"), ("traveller1", "deleted"),
    ("traveller2", "damaged"), ("traveller3", "emptied")])
def test_seen_log(sandbox, user, change):
    """The names of the files tell which messages are stored."""
    maildir = acknowledged_and_not(sandbox, user)
    log = maildir / "restante.seen"
    if change == "deleted":
        log.unlink()
    elif change == "damaged":
        lines = log.read_bytes().split(b"\n")
        lines[-2] = b"\0" * len(lines[-2])
        log.write_bytes(b"\n".join(lines))
    elif change == "emptied":
        log.write_bytes(b"")
    # a reader has seen some
    for path in list((maildir / "new").iterdir())[::2]:
        path.rename(maildir / "cur" / f"{path.name}:2,S")
    sandbox.collect(user, maildir)
    assert subjects(maildir) == ALL
    assert sandbox.held(user) == []
    sandbox.collect(user, maildir)
    assert subjects(maildir) == ALL


def test_everything_deleted(sandbox):
    """Messages that were not acknowledged come again, and no others."""
    user = "traveller4"
    maildir = acknowledged_and_not(sandbox, user)
    shutil.rmtree(maildir)
    sandbox.collect(user, maildir)
    assert subjects(maildir) == ["n0", "n1", "n2"]
    assert sandbox.held(user) == []


def test_read_and_deleted_before_it_comes_again(sandbox):
    """The seen-log alone is enough."""
    user = "traveller5"
    maildir = acknowledged_and_not(sandbox, user)
    for path in (maildir / "new").iterdir():
        path.unlink()
    sandbox.collect(user, maildir)
    assert subjects(maildir) == []
    assert sandbox.held(user) == []
