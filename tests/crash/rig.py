# SPDX-License-Identifier: MIT
"""The base of the crash tests that run for long.

It has sandboxes that are always removed afterwards, the processes of a sandbox,
and a small disk whose power can be cut.
"""
import collections
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "integration"))

import dovecot as dovecot_conf  # noqa: E402
from conftest import BUILD, Client, Sandbox  # noqa: E402,F401

DOMAIN = "example.test"
FORMATS = ("sdbox", "maildir", "mdbox")    # of INBOX and of the hold
SKIPPED = 77                # exit status: nothing was tested


def address(user):
    return f"{user}@{DOMAIN}"


def say(*words):
    print(*words, flush=True)


def end_on_signals():
    """Make an exception of a signal, so that all that runs is taken down.

    Only of the first: timeout(1) and a terminal send a signal several times.
    """
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

    def end(number, _frame):
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)
    for number in numbers:
        signal.signal(number, end)


# -- directories and sandboxes

@contextlib.contextmanager
def directory(keep=False, dir=None):
    """A temporary directory that other users may search, with a short path, as
    Dovecot's socket paths end at 108 octets."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="rst", dir=dir or "/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        if keep:
            say("kept:", path)
        else:
            shutil.rmtree(path, ignore_errors=True)


class TestBed(Sandbox):
    """A sandbox with settings of its own; use it with `with`."""

    __test__ = False

    def __init__(self, path, *arguments, dovecot="", postfix="", users=None):
        """dovecot, postfix: more settings; users: {user: userdb fields},
        None as a value: not enrolled"""
        try:
            super().__init__(path, *arguments)
        except BaseException:
            subprocess.run([TOP / "packaging" / "sandbox", "down", path],
                           timeout=60, check=False)
            raise
        try:
            if users:       # Dovecot need not see that they were changed
                self.stop("dovecot")
                self._edit_users(users)
                self.start("dovecot")
            self._append("dovecot", self.dir / "dovecot" / "dovecot.conf",
                         dovecot_conf.conf(dovecot))
            self._append("postfix", self.dir / "postfix" / "etc" / "main.cf",
                         postfix)
        except BaseException:
            self.down()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Also what hangs has ended then."""
        processes = self.processes()
        signal_all(processes, signal.SIGCONT)
        self.down()
        end_processes(processes)

    def _append(self, part, path, text):
        if not text:
            return
        self.stop(part)
        ours = {line.split("=")[0] for line in text.splitlines()
                if "=" in line}
        lines = [line for line in path.read_text().splitlines()
                 if line.split("=")[0] not in ours]
        path.write_text("\n".join(lines) + "\n" + text)
        # Postfix waits until its files are two seconds old
        os.utime(path, (time.time() - 60,) * 2)
        self.start(part)

    def _edit_users(self, users):
        path = self.dir / "dovecot" / "users"
        lines = []
        for line in path.read_text().splitlines():
            user = line.split("@", 1)[0]
            if user in users:
                line = line.removesuffix("userdb_restante=yes")
                if users[user] is not None:
                    line += "userdb_restante=yes " + users[user]
            lines.append(line + "\n")
        path.write_text("".join(lines))

    def masters(self):
        """Process ids of what was started, by part."""
        found = {}
        for part, name in (("dovecot", "run/dovecot/master.pid"),
                           ("policyd", "run/policyd.pid"),
                           ("postfix", "postfix/spool/pid/master.pid")):
            with contextlib.suppress(OSError, ValueError):
                found[part] = int((self.dir / name).read_text())
        return found

    def processes(self):
        """All that runs of it, with its clients."""
        clients = [c.process.pid for c in self.clients
                   if c.process.poll() is None]
        return tree([*self.masters().values(), *clients], str(self.dir))


# -- processes

Process = collections.namedtuple("Process", "pid parent argv name")


def _read_process(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        argv = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    parent = int(stat.rpartition(")")[2].split()[1])
    argv = argv.rstrip(b"\0").decode(errors="replace").replace("\0", " ")
    return Process(pid, parent, argv, _name(argv))


def _name(argv):
    words = argv.split()
    if not words:
        return ""
    name = words[0].rpartition("/")[2]
    if name == "lmtp" and words[0].startswith("dovecot"):
        return "lmtp-release" if "restante_bypass" in argv else "lmtp"
    if name == "lmtp":
        return "postfix-lmtp"
    if name == "restante-policyd":
        return "policyd-worker" if "--worker" in words else "policyd-core"
    return name


def tree(roots, marker):
    """The roots whose command line has the marker, and all below them."""
    every = [_read_process(int(entry)) for entry in os.listdir("/proc")
             if entry.isdigit()]
    below = collections.defaultdict(list)
    found = []
    for process in filter(None, every):
        below[process.parent].append(process)
        if process.pid in roots and marker in process.argv:
            found.append(process)
    for process in found:           # grows meanwhile
        found += [p for p in below[process.pid] if p not in found]
    return found


def signal_all(processes, number):
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def end_processes(processes, seconds=3):
    """Those that have not ended by themselves within that time."""
    end = time.monotonic() + seconds
    while True:
        left = [p for p in processes if _read_process(p.pid) is not None and
                _read_process(p.pid).argv == p.argv]
        if not left or time.monotonic() > end:
            break
        time.sleep(0.05)
    signal_all(left, signal.SIGKILL)


# -- a disk whose power can be cut

MKFS = ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
# What was not fsynced shall be missing: no commit for long, and no help to
# programs that rename without fsync.
HARSH = "loop,noatime,commit=60,noauto_da_alloc"


def _run(*command):
    subprocess.run([str(word) for word in command], check=True, timeout=60,
                   stdin=subprocess.DEVNULL)


@contextlib.contextmanager
def mounted(image, where, options="loop"):
    where = pathlib.Path(where)
    where.mkdir(exist_ok=True)
    _run("mount", "-t", "ext4", "-o", options, image, where)
    try:
        yield where
    finally:
        for _ in range(100):
            done = subprocess.run(["umount", where], timeout=60, check=False,
                                  stderr=subprocess.DEVNULL).returncode == 0
            if done:
                break
            time.sleep(0.05)
        else:
            say("still in use, unmounted lazily:", where)
            subprocess.run(["umount", "-l", where], timeout=60, check=False)


def make_image(path, megabytes):
    with open(path, "wb") as file:
        file.truncate(megabytes << 20)
    _run(*MKFS, path)


class Disk:
    """An image that is mounted, and what the kernel has written to it."""

    def __init__(self, image, where):
        self.image = image
        device = subprocess.run(
            ["findmnt", "-n", "-o", "SOURCE", where], check=True, text=True,
            stdout=subprocess.PIPE, timeout=60).stdout.strip()
        self.stat = pathlib.Path("/sys/block", os.path.basename(device), "stat")

    def _writes(self):
        """Writes so far, or None while one is under way."""
        words = self.stat.read_text().split()
        return None if int(words[8]) else (words[4], words[6])

    def copy(self, target, tries=200):
        """The image as it is at one instant: no write falls into the copy.

        Nobody may write to it now but the kernel itself.
        """
        for _ in range(tries):
            before = self._writes()
            if before is not None:
                copy_sparse(self.image, target)
                if self._writes() == before:
                    return
            time.sleep(0.002)
        raise OSError(f"{self.image} is never at rest")


def copy_sparse(source, target):
    """Only what was ever written; the rest reads as zeros in both."""
    with open(source, "rb") as from_, open(target, "wb") as to:
        end = os.fstat(from_.fileno()).st_size
        to.truncate(end)
        at = 0
        while at < end:
            try:
                at = os.lseek(from_.fileno(), at, os.SEEK_DATA)
            except OSError:          # no more data
                break
            stop = os.lseek(from_.fileno(), at, os.SEEK_HOLE)
            while at < stop:
                at += os.copy_file_range(from_.fileno(), to.fileno(),
                                         stop - at, at, at)


def link_tree(source, target):
    """A Maildir as it is now: files that never change are linked."""
    target.mkdir()
    for entry in os.scandir(source):
        if entry.is_dir(follow_symlinks=False):
            link_tree(pathlib.Path(entry.path), target / entry.name)
        elif source.name in ("new", "cur"):
            os.link(entry.path, target / entry.name)
        else:
            shutil.copy2(entry.path, target / entry.name)
