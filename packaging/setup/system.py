# SPDX-License-Identifier: MIT
"""Programs that are run, and files that are replaced durably."""
import difflib
import glob
import os
import re
import shutil
import subprocess
import sys
import time
from typing import NamedTuple

WAIT_SECS = 10
TEMPORARY = ".restante-setup"


class Failed(Exception):
    """The reason, for people."""


def run(*argv, timeout=120, env=None, **more):
    """A program that is not there has the status 127."""
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="surrogateescape", timeout=timeout,
            env={**os.environ, "LC_ALL": "C", **(env or {})}, **more)
    except (FileNotFoundError, PermissionError):
        return subprocess.CompletedProcess(argv, 127, "", f"no {argv[0]}\n")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(
            argv, 124, "", f"no end within {timeout} s\n")


def must(*argv, **more):
    """The output of a program that must succeed."""
    result = run(*argv, **more)
    if result.returncode != 0:
        text = (result.stderr.strip() or result.stdout.strip()
                or f"exit status {result.returncode}")
        raise Failed(f"{' '.join(argv[:4])}: {text[-1500:]}")
    return result.stdout


def read(path):
    """None: there is no such file. Each octet is kept."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape",
                  newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None


def rights(path):
    """(mode, owner) of a file; None of one that is not there."""
    if not os.path.exists(path):
        return None, None
    status = os.stat(path)
    return status.st_mode & 0o7777, (status.st_uid, status.st_gid)


def sync_directory(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write(path, text, mode=None, owner=None):
    """Replaces a file as a whole and durably; text None: removes it."""
    path = os.path.realpath(path)
    above = os.path.dirname(path)
    if text is None:
        if os.path.exists(path):
            os.unlink(path)
            sync_directory(above)
        return
    temporary = path + TEMPORARY
    try:
        write_new(temporary, path, text, mode, owner)
        os.rename(temporary, path)
    except BaseException:
        write(temporary, None)
        raise
    sync_directory(above)


def write_new(temporary, path, text, mode, owner):
    """With the rights of path, where that is there."""
    with open(temporary, "w", encoding="utf-8", errors="surrogateescape",
              newline="") as file:
        if os.path.exists(path):
            shutil.copystat(path, temporary)
            mode, owner = rights(path)
        if owner is not None:
            os.fchown(file.fileno(), *owner)
        os.fchmod(file.fileno(), 0o644 if mode is None else mode)
        file.write(text)
        file.flush()
        # Postfix waits for a main.cf that may not be written to its end
        os.utime(file.fileno(), (time.time() - 3,) * 2)
        os.fsync(file.fileno())


def diff(path, old, new):
    lines = difflib.unified_diff(
        (old or "").splitlines(True), (new or "").splitlines(True),
        "/dev/null" if old is None else path,
        "/dev/null" if new is None else path)
    return "".join(line if line.endswith("\n")
                   else line + "\n\\ No newline at end of file\n"
                   for line in lines)


class Process(NamedTuple):
    pid: int
    parent: int
    program: str    # of its file, 15 letters at most
    argv: list


def processes():
    """All that run, without zombies."""
    for path in glob.glob("/proc/[0-9]*"):
        try:
            argv = (read(path + "/cmdline") or "").split("\0")
            status = dict(re.findall(r"(?m)^(Name|PPid):\s*(.*)$",
                                     read(path + "/status") or ""))
        except OSError:  # it has just ended
            continue
        if argv[0] and status:
            yield Process(int(path.split("/")[2]), int(status["PPid"]),
                          status["Name"], argv)


def wait_for(problem, secs=WAIT_SECS):
    """problem() says what is still wrong, or nothing. Rights do not come by
    waiting."""
    end = time.monotonic() + secs
    while True:
        text = problem()
        if (not text or time.monotonic() > end
                or "ermission denied" in str(text)):
            return text
        time.sleep(0.1)


def is_root():
    return os.geteuid() == 0


def missing_directories(paths):
    """Those above the files, the topmost first."""
    found = set()
    for path in paths:
        path = os.path.dirname(path)
        while not os.path.isdir(path):
            found.add(path)
            path = os.path.dirname(path)
    return sorted(found)


def make_directories(paths):
    for path in paths:
        os.mkdir(path, 0o755)
        sync_directory(os.path.dirname(path))


def remove_directories(paths):
    for path in reversed(paths):
        try:
            os.rmdir(path)
        except OSError:
            pass


def say_error(text):
    print(text, file=sys.stderr)
