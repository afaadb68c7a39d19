# SPDX-License-Identifier: MIT
"""The client's Maildir is removed, moved away, replaced or mounted over while
the client is online: mail goes to the Maildir at the path, and to no other."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

from conftest import DOMAIN, maildir_messages, wait_for
from rights import needs_mounts
from test_client_disk_full import make_disk, numbers, run, send_numbered  # noqa: F401

# From the sending of a message on: a second, the dialling, and a slow machine.
SECONDS = 8


def online(sandbox, user, maildir=None, *extra):
    client = sandbox.client(user, maildir, *extra)
    wait_for("sign-in", lambda: client.said("signed in"))
    return client


def arrives(sandbox, user, maildir, number, count=1):
    """Send one message; it is the `count`th in the Maildir."""
    start = time.monotonic()
    send_numbered(sandbox, user, [1000], number)
    wait_for("the message", lambda: len(maildir_messages(maildir)) == count,
             SECONDS)
    print(f"{time.monotonic() - start:.2f} s")
    sandbox.wait_held(user, 0)


def make_maildir(path):
    for name in ("tmp", "new", "cur"):
        (path / name).mkdir(parents=True)


@pytest.mark.parametrize("user,what", [
    ("traveller0", "nothing"), ("traveller1", "a directory"),
    ("traveller2", "a Maildir")])
def test_removed(sandbox, user, what):
    client = online(sandbox, user)
    arrives(sandbox, user, client.maildir, 0)
    shutil.rmtree(client.maildir)
    if what == "a directory":
        client.maildir.mkdir()
    elif what == "a Maildir":
        make_maildir(client.maildir)
    arrives(sandbox, user, client.maildir, 1)
    arrives(sandbox, user, client.maildir, 2, 2)
    assert numbers(client.maildir) == [1, 2]
    assert client.said("was removed, moved or replaced")
    client.kill()


def test_quiet_says_that_it_waits(sandbox):
    """A Maildir that cannot be used needs a person, also while online: one line,
    which says for what."""
    user = "traveller0"
    client = sandbox.client(user, None, "--quiet")
    wait_for("sign-in", lambda: (
        client.maildir / "restante.seen").exists())
    arrives(sandbox, user, client.maildir, 0)
    assert client.log_path.read_text() == ""
    shutil.rmtree(client.maildir)
    client.maildir.write_text("a file")
    send_numbered(sandbox, user, [1000], 1)
    wait_for("the line", lambda: client.said(
        "error: waiting for the Maildir"), SECONDS)
    time.sleep(2.5)
    line, = client.log_path.read_text().splitlines()
    assert "Not a directory" in line
    client.maildir.unlink()
    wait_for("the message", lambda: len(maildir_messages(client.maildir)) == 1,
             SECONDS)
    client.kill()


@pytest.mark.parametrize("state_dir", [False, True])
@pytest.mark.parametrize("what", ["nothing", "a Maildir", "a link", "a copy"])
def test_moved_away(sandbox, what, state_dir):
    user = "traveller3"
    maildir = sandbox.new_maildir()
    away = maildir.with_suffix(".away")
    extra = ("--state-dir", f"{maildir}.state") if state_dir else ()
    client = online(sandbox, user, maildir, *extra)
    arrives(sandbox, user, maildir, 0)
    maildir.rename(away)
    if what == "a Maildir":
        make_maildir(maildir)
    elif what == "a link":
        make_maildir(maildir.with_suffix(".elsewhere"))
        maildir.symlink_to(maildir.with_suffix(".elsewhere"))
    elif what == "a copy":
        run("cp", "-a", away, maildir)
    copied = what == "a copy"
    arrives(sandbox, user, maildir, 1, 1 + copied)
    assert numbers(maildir) == [0, 1][not copied:]
    assert numbers(away) == [0]
    client.kill()


def test_moved_away_while_offline(sandbox):
    """Found before the server is dialled."""
    user = "traveller4"
    client = online(sandbox, user)
    sandbox.stop("policyd")
    try:
        wait_for("a lost connection", lambda: client.said("next try"))
        client.maildir.rename(client.maildir.with_suffix(".away"))
        client.process.send_signal(signal.SIGUSR1)  # which dials at once
        wait_for("a new one", lambda: (client.maildir / "new").is_dir(), 30)
    finally:
        sandbox.start("policyd")
    client.process.send_signal(signal.SIGUSR1)
    arrives(sandbox, user, client.maildir, 0)
    client.kill()


def test_replaced_again_and_again(sandbox):
    """Mail streams in while the Maildir is replaced: each message is under the
    path that the Maildir had when it was acknowledged, and nowhere twice but in
    one that was moved away before that."""
    user, count = "traveller5", 400
    client = online(sandbox, user)
    maildirs = [client.maildir]
    for n in range(5):
        send_numbered(sandbox, user, [2000] * (count // 5), n * count // 5)
        away = client.maildir.with_suffix(f".away{n}")
        seconds = (3, 0.5, 0, 0.05, 0.3)[n]
        time.sleep(seconds)
        wait_for("a Maildir", client.maildir.is_dir, SECONDS)
        client.maildir.rename(away)
        maildirs.append(away)
    sandbox.wait_held(user, 0, 60)
    found = [set(numbers(maildir)) for maildir in maildirs]
    assert set().union(*found) == set(range(count))
    twice = sum(map(len, found)) - count
    print(f"{[len(f) for f in found]}, twice: {twice}")
    # 64 messages make a commit: those of one may be in the log already
    assert twice <= 5 * 64
    for maildir in maildirs:
        assert len(numbers(maildir)) == len(set(numbers(maildir)))
    client.kill()


@needs_mounts
def test_disk_is_unmounted_lazily(sandbox, make_disk):
    """What is at the path then is the empty place of the disk: it is left
    alone."""
    user = "traveller6"
    disk = make_disk("ext4")
    client = online(sandbox, user, disk.dir)
    arrives(sandbox, user, disk.dir, 0)
    run("umount", "-l", disk.dir)
    send_numbered(sandbox, user, [1000], 1)
    wait_for("notice", lambda: client.said("waiting for the Maildir"))
    assert client.said("on another disk than before")
    time.sleep(2)
    assert client.log_path.read_text().count("waiting for the Maildir") == 1
    assert not list(disk.dir.iterdir())
    disk.mount()
    sandbox.wait_held(user, 0, SECONDS)
    assert numbers(disk.dir) == [0, 1]
    client.kill()


# ---- a part of the Maildir on another file system

class Apart:
    """A client in a mount namespace of its own."""

    def __init__(self, sandbox, user, mount, *extra):
        self.maildir = sandbox.new_maildir()
        make_maildir(self.maildir)
        self.log_path = self.maildir.with_suffix(".log")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-ec",
                 f"cd {self.maildir}; {mount}; cd /; exec \"$@\"", "sh",
                 sandbox.bin("restante"), "register", f"{user}@{DOMAIN}",
                 "--server", f"127.0.0.1:{sandbox.env['TLS_PORT']}",
                 "--ca-file", sandbox.env["CA_FILE"],
                 "--password-file", sandbox.env["PASSWORD_FILE"],
                 "--maildir", str(self.maildir), *extra],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.seen = pathlib.Path(
            f"/proc/{self.process.pid}/root{self.maildir}")

    def said(self, text):
        return text in self.log_path.read_text()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)


@pytest.fixture
def apart(sandbox):
    clients = []

    def make(user, mount, *extra):
        client = Apart(sandbox, user, mount, *extra)
        clients.append(client)
        wait_for("sign-in", lambda: client.said("signed in"))
        return client

    yield make
    for client in clients:
        client.kill()


OTHER = "mount -t tmpfs -o size=8m restante"


@needs_mounts
@pytest.mark.parametrize("mount,words", [
    (f"{OTHER} new", "tmp and new are on different file systems"),
    ("mkdir other; mount --bind other new",
     "tmp and new are on different file systems"),
    (f"{OTHER} tmp", "tmp and new are on different file systems"),
    (f"{OTHER} cur", "new and cur are on different file systems"),
])
def test_apart(sandbox, apart, mount, words):
    user = "traveller7"
    client = apart(user, mount)
    assert client.said(words)
    for n in range(3):
        arrives(sandbox, user, client.seen, n, n + 1)
    assert numbers(client.seen) == [0, 1, 2]
    for name in ("tmp", "new", "cur"):
        assert not list((client.seen / name).glob(".*"))
    assert not list((client.seen / "tmp").iterdir())


@needs_mounts
def test_apart_and_full(sandbox, apart):
    """The room that counts is that of new."""
    user = "traveller7"
    client = apart(user, f"mkdir disk; {OTHER} disk; mkdir disk/new; "
                         "mount --bind disk/new new")
    arrives(sandbox, user, client.seen, 0)
    filler = client.seen / "disk" / "filler"
    with open(filler, "wb") as out:
        free = os.statvfs(filler)
        os.posix_fallocate(out.fileno(), 0, free.f_bavail * free.f_frsize)
    send_numbered(sandbox, user, [1000], 1)
    wait_for("full", lambda: client.said("waiting for a disk"))
    time.sleep(2.5)
    assert client.log_path.read_text().count("waiting for a disk") == 1
    assert numbers(client.seen) == [0]
    filler.unlink()
    sandbox.wait_held(user, 0, SECONDS)
    assert numbers(client.seen) == [0, 1]


@needs_mounts
def test_mounted_over_while_online(sandbox, apart):
    """new is mounted over, and becomes another file system than tmp."""
    user = "traveller8"
    client = apart(user, "mkdir under; mount --bind . under")
    arrives(sandbox, user, client.seen, 0)
    run("nsenter", "-t", str(client.process.pid), "-m", "mount", "-t", "tmpfs",
        "restante", str(client.maildir / "new"))
    arrives(sandbox, user, client.seen, 1)
    assert numbers(client.seen) == [1]
    assert numbers(client.seen / "under") == [0]
    assert client.said("tmp and new are on different file systems")


# ---- the machine's name

@pytest.mark.parametrize("name,encoded", [
    ("lap/top", r"lap\057top"), ("lap:top", r"lap\072top"),
    ("läptop", r"l\303\244ptop"), ("my lap_top", r"my\040lap_top")])
def test_host_name(sandbox, name, encoded):
    user = "traveller9"
    maildir = sandbox.new_maildir()
    sandbox.send_simple(user, "named")
    sandbox.wait_held(user, 1)
    client = sandbox.client(user, maildir, "--once", "--hostname", name)
    assert client.wait(60) == 0
    client.kill()
    files = list((maildir / "new").iterdir())
    assert [f".{encoded},restante=" in file.name for file in files] == [True]
    by = re.search(rb"^\tby (\S+) \(Restante\)", files[0].read_bytes(), re.M)
    assert re.fullmatch(rb"(my-)?l(ap)?-?p?top", by[1])
