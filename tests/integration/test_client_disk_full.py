# SPDX-License-Identifier: MIT
"""The client's disk is full: nothing lost, nothing twice, and the client goes on
by itself."""
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from conftest import DOMAIN, maildir_messages, wait_for
from rights import needs_mounts

pytestmark = needs_mounts
MIB = 1024 * 1024
FULL_SECS = float(os.environ.get("RESTANTE_FULL_SECS", 4))


def run(*command):
    subprocess.run(command, check=True, capture_output=True, timeout=60)


class Disk:
    """A small file system that is a Maildir; the log is beside it."""

    def __init__(self, directory, kind, mib, options):
        self.kind = kind
        self.dir = pathlib.Path(directory)
        self.image = self.dir.with_suffix(".img")
        self.mib = mib
        self.options = options
        self.dir.mkdir()
        if kind == "ext4":
            with open(self.image, "wb") as image:
                image.truncate(mib * MIB)
            run("mkfs.ext4", "-q", "-m", "0", self.image)
        self.mount()

    def mount(self):
        if self.kind == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", f"size={self.mib}m", "restante",
                self.dir)
        else:
            run("mount", "-o", self.options, self.image, self.dir)

    def umount(self, check=True):
        subprocess.run(["umount", self.dir], check=check, capture_output=True)

    def fill(self, leave):
        """Fill the disk but for `leave` octets."""
        with open(self.dir / "filler", "wb") as filler:
            free = os.statvfs(self.dir)
            n = free.f_bavail * free.f_frsize - leave
            os.posix_fallocate(filler.fileno(), 0, n)

    def empty(self):
        (self.dir / "filler").unlink()


@pytest.fixture
def make_disk(sandbox):
    disks = []

    def make(kind, mib=24, options="loop"):
        disk = Disk(sandbox.dir / f"disk-{kind}{len(disks)}-{time.time_ns()}",
                    kind, mib, options)
        disks.append(disk)
        return disk

    yield make
    for client in sandbox.clients:
        client.kill()
    for disk in disks:
        disk.umount(check=False)


def send_numbered(sandbox, user, sizes, first=0):
    with sandbox.smtp() as smtp:
        for n, size in enumerate(sizes, first):
            lines = ("x" * 70 + "\r\n") * (size // 72 + 1)
            smtp.sendmail("a@remote.test", [f"{user}@{DOMAIN}"],
                          f"Subject: n-{n}\r\n\r\n{lines}")


def numbers(maildir):
    return sorted(int(re.search(rb"^Subject: n-(\d+)$", m, re.M)[1])
                  for m in maildir_messages(maildir))


def stored(client):
    return len(list((client.maildir / "new").glob("*")))


def times(client, words):
    return client.log_path.read_text().count(words)


@pytest.mark.parametrize("kind,user", [("tmpfs", "traveller0"),
                                       ("ext4", "traveller1")])
def test_full_during_a_drain(sandbox, make_disk, kind, user):
    """200 messages, room for a part of them, then for all."""
    send_numbered(sandbox, user, [20000] * 200)
    sandbox.wait_held(user, 200, 60)
    disk = make_disk(kind)
    disk.fill(3 * MIB // 2)
    client = sandbox.client(user, disk.dir)
    wait_for("full", lambda: client.said("waiting for a disk"))
    before = stored(client)
    assert 0 < before < 200
    time.sleep(FULL_SECS)
    assert stored(client) == before
    assert client.process.poll() is None
    assert times(client, "cannot store, the mail stays") == 1

    disk.empty()
    start = time.monotonic()
    wait_for("a message more", lambda: stored(client) > before)
    seconds = time.monotonic() - start
    print(f"{kind}: {before} stored, full for {FULL_SECS:g} s, "
          f"{seconds:.2f} s from room to the first message")
    assert seconds < 5
    sandbox.wait_held(user, 0, 60)
    assert numbers(client.maildir) == list(range(200))
    assert not list((client.maildir / "tmp").glob("*"))


def test_unmounted_while_full(sandbox, make_disk):
    """The disk can be unmounted; the client stores nothing where it was."""
    user = "traveller2"
    send_numbered(sandbox, user, [20000] * 100)
    sandbox.wait_held(user, 100, 60)
    disk = make_disk("ext4")
    disk.fill(3 * MIB // 2)
    client = sandbox.client(user, disk.dir)
    wait_for("full", lambda: client.said("waiting for a disk"))
    disk.umount()
    time.sleep(2.5)
    assert not list(disk.dir.iterdir())
    disk.mount()
    disk.empty()
    sandbox.wait_held(user, 0, 60)
    assert numbers(client.maildir) == list(range(100))


def test_read_only_after_an_error(sandbox, make_disk):
    """The disk becomes read-only, as ext4 does after an error. When it is
    mended by hand, the client goes on."""
    user = "traveller3"
    disk = make_disk("ext4", options="loop,errors=remount-ro")
    client = sandbox.client(user, disk.dir)
    wait_for("sign-in", lambda: client.said("signed in"))
    device = subprocess.run(["findmnt", "-no", "SOURCE", disk.dir], check=True,
                            capture_output=True, text=True).stdout.strip()
    error = pathlib.Path("/sys/fs/ext4", os.path.basename(device),
                         "trigger_fs_error")
    if not os.access(error, os.W_OK):
        pytest.skip(f"no {error}")
    error.write_text("a test's\n")
    send_numbered(sandbox, user, [1000] * 5)
    wait_for("trouble", lambda: client.said("waiting for a disk"))
    sandbox.wait_held(user, 5)
    disk.umount()
    subprocess.run(["e2fsck", "-fy", disk.image], capture_output=True)
    disk.mount()
    sandbox.wait_held(user, 0)
    assert numbers(client.maildir) == list(range(5))


def test_state_directory_full(sandbox, make_disk):
    """The disk of the Maildir has room, that of the seen-log has none: the
    client stores nothing."""
    user = "traveller6"
    send_numbered(sandbox, user, [1000] * 5)
    sandbox.wait_held(user, 5)
    disk = make_disk("tmpfs", 4)
    sandbox.collect("traveller9", disk.dir)  # makes the seen-log there
    disk.fill(0)
    maildir = sandbox.new_maildir()
    for number in (signal.SIGTERM, signal.SIGUSR1):
        client = sandbox.client(user, maildir, "--state-dir", str(disk.dir))
        wait_for("full", lambda: client.said("waiting for a disk"))
        assert stored(client) == 0
        client.process.send_signal(number)
        if number == signal.SIGTERM:
            assert client.wait(2) == 0
            client.log_path.write_text("")
    time.sleep(1.5)
    assert client.process.poll() is None
    disk.empty()
    sandbox.wait_held(user, 0)
    assert numbers(client.maildir) == list(range(5))


def test_one_is_too_large(sandbox, make_disk):
    """A message that is too large waits for room; the others do not wait for
    it."""
    user = "traveller4"
    send_numbered(sandbox, user, [4 * MIB, 1000, 1000])
    sandbox.wait_held(user, 3, 60)
    disk = make_disk("tmpfs")
    disk.fill(3 * MIB)
    client = sandbox.client(user, disk.dir)
    wait_for("the small ones", lambda: stored(client) == 2)
    send_numbered(sandbox, user, [1000], 3)
    wait_for("a new one", lambda: stored(client) == 3)
    assert not client.said("waiting for a disk")
    disk.empty()
    start = time.monotonic()
    wait_for("the large one", lambda: stored(client) == 4)
    seconds = time.monotonic() - start
    print(f"{seconds:.2f} s from room to the large message")
    assert seconds < 5
    sandbox.wait_held(user, 0)
    assert numbers(client.maildir) == list(range(4))


def test_full_from_the_start(sandbox, make_disk):
    """--once ends with 75, and says how many messages it left."""
    user = "traveller5"
    send_numbered(sandbox, user, [1000] * 3)
    sandbox.wait_held(user, 3)
    disk = make_disk("tmpfs", 4)
    sandbox.collect("traveller9", disk.dir)  # makes its files
    disk.fill(0)
    client = sandbox.client(user, disk.dir, "--once")
    assert client.wait() == 75
    assert client.said("left=3")
    disk.empty()
    sandbox.collect(user, disk.dir)
    assert numbers(disk.dir) == [0, 1, 2]
    assert sandbox.held(user) == []
