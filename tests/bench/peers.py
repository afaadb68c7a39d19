# SPDX-License-Identifier: MIT
"""The programs that drain: Restante, and those that users would take instead.

Each class here has a name, a way to prepare the mail at the server (load), and
a drain, which is timed: from the start of the program at the client's end until
all of the mail is durable there.
"""
import contextlib
import itertools
import mailbox
import os
import pathlib
import re
import shutil
import signal
import smtplib
import subprocess
import threading
import time

import link as links
from server import DOMAIN, ETRN_DOMAIN, free_port, wait_exactly, wait_for

LIMIT_SECONDS = 1800
NUMBERS = itertools.count()
QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold",
          "incoming", "private", "saved", "trace", "maildrop", "public", "pid")
SERVICES = """\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class Place:
    """Where a drain happens: a link, a server, an end, and its address."""

    def __init__(self, link, server, scratch, loopback):
        self.link, self.server = link, server
        self.end = "server" if loopback else "client"
        self.address = "127.0.0.1" if loopback else links.SERVER
        self.own_address = "127.0.0.1" if loopback else links.CLIENT
        self.loopback = loopback
        self.scratch, self.used = pathlib.Path(scratch), []

    def fresh(self, name):
        """What was there before stays until clean(): ext4 looks long for an
        inode where many were given back a moment ago."""
        self.used.append(self.scratch / f"{name}.{next(NUMBERS)}")
        return self.used[-1]

    def clean(self):
        for path in self.used:
            shutil.rmtree(path, ignore_errors=True)
        self.used.clear()

    def start(self, command, log):
        with self.link.at(self.end), open(log, "wb") as out:
            return subprocess.Popen([str(word) for word in command],
                                    stdin=subprocess.DEVNULL, stdout=out,
                                    stderr=out, cwd=self.scratch)

    def run(self, command, log, good=(0,)):
        """@return seconds"""
        start = time.monotonic()
        process = self.start(command, log)
        try:
            status = wait_exactly(process, LIMIT_SECONDS)
            seconds = time.monotonic() - start
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        assert status in good, (status, log.read_text()[-3000:])
        return seconds


def count_maildir(path):
    return sum(not key.startswith(".") for key in
               mailbox.Maildir(path, create=False).iterkeys())


class Peer:
    tls = True
    only_loopback = False
    is_measure = False      # the others are compared with it
    slow = False            # not to be repeated
    program = None  # must be installed

    def prepare(self, place, messages):
        pass

    def drain(self, place, messages):
        """@return seconds, exact command, more about it"""
        raise NotImplementedError


class RawTcp(Peer):
    name, tls, is_measure = "raw TCP", False, True

    def drain(self, place, messages):
        octets = b"".join(messages)
        seconds = links.raw_tcp(place.link, octets, place.end, place.address)
        return seconds, "connect, read to the end; no disk", {}


class Restante(Peer):
    name = "restante"

    def prepare(self, place, messages):
        place.server.load_traveller("traveller0", messages)

    def drain(self, place, messages):
        env = place.server.env
        box, log = place.fresh("laptop"), place.scratch / "restante.log"
        command = [place.server.bin("restante"), "register",
                   f"traveller0@{DOMAIN}",
                   "--server", f"{place.address}:{env['TLS_PORT']}",
                   "--ca-file", env["CA_FILE"],
                   "--password-file", env["PASSWORD_FILE"],
                   "--maildir", box, "--once"]
        log.write_bytes(b"")
        watch = Watch(log, place, env["TLS_PORT"])
        try:
            seconds = place.run(command, log)
        finally:
            more = watch.end()
        assert count_maildir(box) == len(messages), "not all of it came"
        return seconds, command, more


class Watch(threading.Thread):
    """When the client signed in and had its first message."""

    def __init__(self, log, place, port):
        super().__init__()
        self.log, self.place, self.port = log, place, port
        self.begin, self.done, self.more = time.monotonic(), False, {}
        self.start()

    def run(self):
        self.place.link.enter("server")
        marks = {"signed in": "signed_in_s", "stored": "first_stored_s"}
        while not self.done and marks:
            text = self.log.read_text(errors="replace")
            for mark in [mark for mark in marks if mark in text]:
                self.more[marks.pop(mark)] = round(
                    time.monotonic() - self.begin, 3)
            time.sleep(.01)
        if not self.place.loopback:
            self.more.update(self.congestion())

    def congestion(self):
        """What the server's socket says while it sends."""
        out = subprocess.run(["ss", "-tinH", "state", "established",
                              "sport", "=", f":{self.port}"],
                             capture_output=True, text=True).stdout
        found = re.search(r"\b(bbr|cubic|reno)\b", out)
        return {"congestion": found.group(1)} if found else {}

    def end(self):
        self.done = True
        self.join()
        return self.more


class Mbsync(Peer):
    name, program = "mbsync", "mbsync"

    def prepare(self, place, messages):
        person = f"mbsync{len(messages)}"
        if person not in place.server.loaded:
            place.server.load_person(person, messages)
            place.server.loaded.add(person)

    def drain(self, place, messages):
        box = place.fresh("mbsync")
        box.mkdir()
        conf = place.scratch / "mbsyncrc"
        conf.write_text(
            "FSync yes\n"
            "IMAPAccount server\n"
            f"Host {place.address}\nPort {place.server.imaps_port}\n"
            f"User mbsync{len(messages)}@{DOMAIN}\n"
            f"Pass {place.server.password}\n"
            "SSLType IMAPS\n"
            f"CertificateFile {place.server.env['CA_FILE']}\n"
            "Timeout 300\n\n"
            "IMAPStore far\nAccount server\n\n"
            f"MaildirStore near\nPath {box}/\nInbox {box}/INBOX\n\n"
            "Channel mail\nFar :far:\nNear :near:\nPatterns INBOX\n"
            "Sync Pull\nCreate Near\nSyncState *\n")
        command = ["mbsync", "-c", conf, "mail"]
        seconds = place.run(command, place.scratch / "mbsync.log")
        assert count_maildir(box / "INBOX") == len(messages)
        return seconds, command, {}


class Fetchmail(Peer):
    name, program, slow = "fetchmail IMAP", "fetchmail", True

    def __init__(self, postfix):
        self.postfix = postfix

    def prepare(self, place, messages):
        person = f"fetchmail{len(messages)}"
        if person not in place.server.loaded:
            place.server.load_person(person, messages)
            place.server.loaded.add(person)

    def drain(self, place, messages):
        home = place.fresh("fetchmail")
        home.mkdir(mode=0o700)
        conf = home / "rc"
        conf.write_text(
            f"poll {place.address} protocol imap service "
            f"{place.server.imaps_port} timeout 300\n"
            f"user 'fetchmail{len(messages)}@{DOMAIN}' "
            f"password '{place.server.password}' is bench here\n"
            f"ssl sslcertck sslcertfile {place.server.env['CA_FILE']}\n"
            f"smtphost 127.0.0.1/{self.postfix.port} "
            f"smtpaddress {ETRN_DOMAIN} fetchall keep\n")
        conf.chmod(0o600)
        command = ["env", f"FETCHMAILHOME={home}", "fetchmail", "-f", conf,
                   "--nosyslog", "--silent"]
        with self.postfix.running(place):
            seconds = place.run(command, place.scratch / "fetchmail.log")
            self.postfix.wait_accepted(len(messages))
        return seconds, command, {}


class Etrn(Peer):
    name, tls = "Postfix ETRN", False

    def __init__(self, postfix):
        self.postfix = postfix

    def prepare(self, place, messages):
        place.server.load_queue(messages)
        place.server.etrn_target(place.own_address, self.postfix.port)

    def drain(self, place, messages):
        port = place.server.env["SMTP_PORT"]
        command = f"EHLO {ETRN_DOMAIN}, ETRN {ETRN_DOMAIN} to Postfix"
        with self.postfix.running(place):
            with place.link.at(place.end):
                start = time.monotonic()
                with smtplib.SMTP(place.address, int(port), timeout=60) as s:
                    s.ehlo(ETRN_DOMAIN)
                    code, text = s.docmd("ETRN", ETRN_DOMAIN)
                    assert code == 250, (code, text)
            seconds = self.postfix.wait_accepted(len(messages)) - start
        return seconds, command, {}


class Rsync(Peer):
    name, program, tls = "rsync", "rsync", False
    only_loopback = is_measure = True

    def prepare(self, place, messages):
        source = place.fresh("source")
        source.mkdir()
        for n, message in enumerate(messages):
            (source / f"{n}.eml").write_bytes(message)
        (place.scratch / "rsyncd.conf").write_text(
            f"use chroot = no\n[mail]\npath = {source}\nread only = yes\n")

    def drain(self, place, messages):
        target = place.fresh("rsync")
        port = place.server.rsync_port
        command = ["rsync", "-a", "--fsync",
                   f"rsync://{place.address}:{port}/mail/", f"{target}/"]
        daemon = subprocess.Popen(
            ["rsync", "--daemon", "--no-detach", f"--port={port}",
             "--address=127.0.0.1", f"--config={place.scratch}/rsyncd.conf"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        try:
            wait_for("rsync", lambda: listens(port))
            seconds = place.run(command, place.scratch / "rsync.log")
        finally:
            daemon.terminate()
            daemon.wait(10)
        assert len(list(target.iterdir())) == len(messages)
        return seconds, command, {}


def listens(port):
    return f"{port:04X} 00000000:0000 0A" in \
        pathlib.Path("/proc/thread-self/net/tcp").read_text()


class ClientPostfix:
    """A Postfix of the traveller's own, which delivers to a Maildir."""

    def __init__(self, path):
        self.dir, self.port = pathlib.Path(path), free_port()
        self.offset = 0
        etc, spool = self.dir / "etc", self.dir / "spool"
        for made in (etc, spool, self.dir / "data", self.dir / "box"):
            made.mkdir(parents=True)
        shutil.chown(self.dir / "data", "postfix")
        shutil.chown(self.dir / "box", "mail", "mail")
        uid = os.stat(self.dir / "box")
        (etc / "main.cf").write_text(
            "compatibility_level = 3.6\n"
            f"queue_directory = {spool}\n"
            f"data_directory = {self.dir}/data\n"
            "daemon_directory = /usr/lib/postfix/sbin\n"
            "command_directory = /usr/sbin\n"
            "mail_owner = postfix\nsetgid_group = postdrop\n"
            f"maillog_file = {self.dir}/log\n"
            f"maillog_file_prefixes = {self.dir}\n"
            "inet_interfaces = all\ninet_protocols = ipv4\n"
            f"myhostname = {ETRN_DOMAIN}\n"
            "smtpd_peername_lookup = no\ndisable_dns_lookups = yes\n"
            "mydestination =\nalias_maps =\nalias_database =\n"
            "mynetworks =\nlocal_header_rewrite_clients =\n"
            f"virtual_mailbox_domains = {ETRN_DOMAIN}\n"
            f"virtual_mailbox_base = {self.dir}/box\n"
            "virtual_mailbox_maps = static:bench/\n"
            f"virtual_uid_maps = static:{uid.st_uid}\n"
            f"virtual_gid_maps = static:{uid.st_gid}\n"
            "virtual_minimum_uid = 1\nvirtual_mailbox_limit = 0\n"
            "smtpd_relay_restrictions = reject_unauth_destination\n")
        (etc / "master.cf").write_text(
            f"0.0.0.0:{self.port} inet n - n - - smtpd\n" + SERVICES)
        for name in ("main.cf", "master.cf"):
            os.utime(etc / name, (time.time() - 60,) * 2)
        for name in QUEUES:
            (spool / name).mkdir(mode=0o700)
            shutil.chown(spool / name, "postfix")
        for name, mode in (("maildrop", 0o730), ("public", 0o710)):
            shutil.chown(spool / name, group="postdrop")
            (spool / name).chmod(mode)
        shutil.chown(spool / "pid", "root")
        (spool / "pid").chmod(0o755)

    @contextlib.contextmanager
    def running(self, place):
        with place.link.at(place.end):
            subprocess.run(
                ["/usr/lib/postfix/sbin/master", "-c", self.dir / "etc", "-w"],
                check=True, timeout=60, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        log = self.dir / "log"
        self.offset = log.stat().st_size if log.exists() else 0
        try:
            yield
        finally:
            pid = int((self.dir / "spool" / "pid" / "master.pid").read_text())
            os.kill(pid, signal.SIGTERM)
            wait_for("the end of Postfix", lambda: not alive(pid))

    def wait_accepted(self, count):
        """@return the time when as many were durable in its queue"""
        end = time.monotonic() + LIMIT_SECONDS
        with open(self.dir / "log", "rb") as log:
            log.seek(self.offset)
            while count > 0:
                assert time.monotonic() < end, f"{count} are missing"
                count -= log.read().count(b" (queue active)")
                time.sleep(.005)
        return time.monotonic()


def alive(pid):
    try:
        return b"master" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
