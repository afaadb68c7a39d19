# SPDX-License-Identifier: MIT
"""The hold's file system becomes read-only: nothing lost, nothing twice."""
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from conftest import DOMAIN, maildir_messages, wait_for
from dovecot import IS_24, conf
from rights import needs_mounts

pytestmark = needs_mounts
MIB = 1024 * 1024
USER = "traveller0"


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True,
                          timeout=60)


class Disk:
    """A file system of its own that belongs to Dovecot's mail user."""

    def __init__(self, where, image):
        self.where = pathlib.Path(where)
        self.image = pathlib.Path(image)
        with open(self.image, "wb") as file:
            file.truncate(64 * MIB)
        run("mkfs.ext4", "-q", "-m", "0", self.image)
        owner = self.where.stat()
        self.mount()
        os.chown(self.where, owner.st_uid, owner.st_gid)

    def mount(self):
        run("mount", "-o", "loop,errors=remount-ro", self.image, self.where)

    def umount(self):
        wait_for("umount", lambda: subprocess.run(
            ["umount", self.where], capture_output=True).returncode == 0)

    def remount(self, how):
        """Remount the disk read-only, as soon as no process has a file open
        for writing."""
        wait_for(f"remount {how}", lambda: subprocess.run(
            ["mount", "-o", f"remount,{how}", self.where],
            capture_output=True).returncode == 0)

    def fail(self):
        """Make the disk read-only at once, as ext4 becomes by itself after an
        error."""
        device = run("findmnt", "-no", "SOURCE", self.where).stdout.strip()
        error = pathlib.Path("/sys/fs/ext4", os.path.basename(device),
                             "trigger_fs_error")
        if not os.access(error, os.W_OK):
            pytest.skip(f"no {error}")
        error.write_text("a test's\n")

    def mend(self, sandbox):
        """Mend the disk as an administrator does after an error."""
        with own_mounts_renewed(sandbox):
            self.umount()
            subprocess.run(["e2fsck", "-fy", self.image], capture_output=True)
            self.mount()


@contextlib.contextmanager
def own_mounts_renewed(sandbox):
    """Dovecot 2.4 has in a sandbox mounts of its own, and sees later ones only
    where those of the root are shared, as under systemd."""
    parts = ("policyd", "dovecot") if IS_24 else ()
    for part in parts:
        sandbox.stop(part)
    yield
    for part in reversed(parts):
        sandbox.start(part)


@pytest.fixture
def make_bed(make_sandbox):
    """A sandbox, and one part of its mail on a disk."""
    beds = []

    def make(part, *arguments):
        sandbox = make_sandbox(*arguments)
        where = sandbox.dir / part
        owner = (sandbox.dir / "mail").stat()
        missing = [path for path in [where, *where.parents]
                   if not path.exists()]
        for path in reversed(missing):
            path.mkdir(mode=0o700)
            os.chown(path, owner.st_uid, owner.st_gid)
        with own_mounts_renewed(sandbox):
            disk = Disk(where, sandbox.dir / "disk.img")
        beds.append((sandbox, disk))
        return sandbox, disk

    yield make
    for sandbox, disk in beds:
        sandbox.down()
        disk.umount()


def send_numbered(sandbox, count, first=0, size=1000):
    lines = ("x" * 70 + "\r\n") * (size // 72 + 1)
    with sandbox.smtp() as smtp:
        for n in range(first, first + count):
            smtp.sendmail("a@remote.test", [f"{USER}@{DOMAIN}"],
                          f"Subject: n-{n}\r\n\r\n{lines}")


def numbers(messages):
    return sorted(int(re.search(rb"^Subject: n-(\d+)\r?$", m, re.M)[1])
                  for m in messages)


def processes(sandbox):
    """{pid: CPU seconds} of policyd, Dovecot and their children."""
    parents = {int((sandbox.dir / path).read_text())
               for path in ("run/policyd.pid", "run/dovecot/master.pid")}
    seconds = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = int(stat.parent.name), stat.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = rest.rpartition(")")[2].split()
        if pid in parents or int(fields[1]) in parents:
            ticks = int(fields[11]) + int(fields[12])
            seconds[pid] = ticks / os.sysconf("SC_CLK_TCK")
    return seconds


def without_leaked_views(log):
    """Where the commit of an index fails, sdbox_sync_finish() of Dovecot 2.3
    keeps its view, and the process dies when it closes the mailbox at last."""
    for pid in re.findall(r"<(\d+)><\S*>: Panic: Leaked view for index \S+: "
                          r"Opened in mail-index-sync\.c", log):
        log = re.sub(rf"^.*(<{pid}>.*Panic|child {pid} killed with signal 6)"
                     ".*$", "", log, flags=re.M)
    return log


def judge_processes(sandbox, seconds=3):
    """The processes do not spin, and have not died."""
    before = processes(sandbox)
    time.sleep(seconds)
    after = processes(sandbox)
    used = sum(after.values()) - sum(before.get(pid, 0) for pid in after)
    print(f"{used:.2f} s of CPU in {seconds} s")
    assert used < 0.3 * seconds
    assert int((sandbox.dir / "run/policyd.pid").read_text()) in after
    log = without_leaked_views(sandbox.log("dovecot")) + sandbox.log("policyd")
    assert not re.findall(
        r"^.*(?:Panic|Fatal|killed with signal|returned error 8).*$", log, re.M)


def judge_list(sandbox):
    """Dovecot 2.3 opens no index that it cannot write, and the error says so.
    2.4 reads it."""
    result = sandbox.doveadm("restante", "list", "-u", f"{USER}@{DOMAIN}",
                             check=False)
    if IS_24:
        assert result.returncode == 0
        assert result.stdout.count(" held ") == 5
        return
    assert result.returncode == 75
    assert "Read-only file system" in result.stderr


def wait_deferred(sandbox, count):
    wait_for("4xx", lambda: sandbox.log("postfix").count("status=deferred") >=
             count)


def judge_drain(sandbox, disk, left):
    """A client waits by itself until the disk is mended, and then gets all
    mail."""
    client = sandbox.client(USER)
    judge_processes(sandbox)
    assert client.process.poll() is None
    assert maildir_messages(client.maildir) == []
    disk.remount("rw")
    wait_for("all of them",
             lambda: len(maildir_messages(client.maildir)) >= left, 90)
    sandbox.wait_held(USER, 0)
    assert numbers(maildir_messages(client.maildir)) == list(range(left))
    assert "bounced" not in sandbox.log("postfix")


@pytest.mark.parametrize("format", ["sdbox", "maildir"])
def test_all_mail_read_only(make_bed, format):
    """Dovecot can save no message, and Postfix keeps all."""
    sandbox, disk = make_bed("mail", "--format", format)
    send_numbered(sandbox, 5)
    sandbox.wait_held(USER, 5)
    disk.remount("ro")
    send_numbered(sandbox, 3, first=5)
    wait_deferred(sandbox, 3)
    judge_list(sandbox)
    judge_drain(sandbox, disk, 8)
    assert sandbox.mailbox(USER) == []


@pytest.mark.parametrize("on_error", ["tempfail", "deliver"])
def test_hold_read_only(make_bed, tmp_path, on_error):
    """Only the hold is on the read-only disk; the normal mailbox is
    elsewhere."""
    extra = tmp_path / "dovecot.conf"
    extra.write_text(conf(
        f"plugin {{\n  restante_on_error = {on_error}\n}}\n"))
    sandbox, disk = make_bed(f"mail/{USER}@{DOMAIN}/restante",
                             "--extra-dovecot", extra)
    send_numbered(sandbox, 5)
    sandbox.wait_held(USER, 5)
    disk.remount("ro")
    send_numbered(sandbox, 3, first=5)
    if on_error == "deliver":
        wait_for("delivery", lambda: len(sandbox.mailbox(USER)) == 3)
        delivered = [5, 6, 7]
    else:
        wait_deferred(sandbox, 3)
        delivered = []
    judge_list(sandbox)
    judge_drain(sandbox, disk, 8 - len(delivered))
    assert numbers(sandbox.mailbox(USER)) == delivered


def test_error_in_the_middle(make_bed):
    """The disk fails in the middle of a drain: the client does not get again
    the messages that it has stored by then."""
    sandbox, disk = make_bed("mail")
    send_numbered(sandbox, 100, size=20000)
    sandbox.wait_held(USER, 100, 60)
    client = sandbox.client(USER)
    wait_for("first arrivals", lambda: maildir_messages(client.maildir))
    disk.fail()
    send_numbered(sandbox, 2, first=100)
    wait_deferred(sandbox, 2)
    judge_processes(sandbox)
    assert client.process.poll() is None
    client.kill(signal.SIGTERM)
    disk.mend(sandbox)
    # one that was held before the error is only known again, and not held anew
    wait_for("Postfix's retry", lambda: sandbox.log("postfix").count(
        "status=sent") == 102, 60)
    sandbox.collect(USER, client.maildir)
    assert numbers(maildir_messages(client.maildir)) == list(range(102))
    assert sandbox.held(USER) == []
    assert sandbox.mailbox(USER) == []
    assert "bounced" not in sandbox.log("postfix")
