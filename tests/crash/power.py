#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Power cuts: a message that was answered 250 is there afterwards, once.

The hold, and all mail storage with it, is on a small disk of its own. Under
load the disk is copied at random instants. For a copy all programs that write to
the disk are stopped, and nothing is synced: data that was not fsynced is missing
in the copy. Then each copy is booted: its journal is replayed, a fresh Dovecot
and policyd are started on it, senders send again the letters without a 250,
clients drain, the rest is released, and all copies are judged. The clients had
no power cut: they go on with their disks as they were.

With --format client the disk is the client's, and this script plays the server.

usage: tests/crash/power.py [--format maildir|sdbox|mdbox|client|all]
           [--images N] [--seed N] [--control] [--quick] [--keep]
--control: mail_fsync=never, which must lose mail
"""
import argparse
import base64
import collections
import contextlib
import email.utils
import imaplib
import random
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time

import judge
import rig
import rights

FORMATS = ("maildir", "sdbox", "mdbox", "client")
MEGABYTES = 96
ENTRIES_MEGABYTES = 8
ROUND = 20                 # images of one load; then a new disk
CLIENTS = ("traveller0", "traveller1", "traveller2")
FALLBACK = ("traveller3", "traveller4")
PLAIN = ("resident",)      # is not enrolled: what Dovecot does by itself
HOLDERS = "restante/holders"    # on its disk
HOLD_SECS = 1              # of those who never come
# Postfix may not have forgotten, durably, what it delivered last
UNSURE_SECS = 0.5
SIZES = (400, 700, 1500, 4000, 9000, 30000, 120000)


def random_size(rng):
    return rng.choices(SIZES, weights=(9, 9, 9, 5, 3, 2, 1))[0]


class Cut:
    """One image, and what was known when it was made."""

    def __init__(self, number, kind, image):
        self.number = number
        self.kind = kind
        self.image = image
        self.entries = image.with_suffix(".entries")
        self.stuck = []


def schedule(rng, count):
    """(kind, pause before it): at an answer, just before one, at any time."""
    for number in range(count):
        yield (number, rng.choice(("answer", "before", "before", "any")),
               rng.uniform(0.15, 0.5))


class Trigger:
    """Lets the thread that sees the right instant make the cut itself."""

    def __init__(self):
        self.lock = threading.Lock()
        self.kind = None
        self.done = threading.Event()

    def arm(self, kind):
        self.done.clear()
        self.kind = kind

    def reached(self, kind, cut):
        """Called at each instant of that kind."""
        if self.kind != kind or not self.lock.acquire(blocking=False):
            return
        try:
            if self.kind == kind:
                self.kind = None
                cut()
                self.done.set()
        finally:
            self.lock.release()

    def wait(self, cut, seconds=5):
        """If the instant does not come: now is as good."""
        if not self.done.wait(seconds):
            self.reached(self.kind, cut)
            self.done.wait(seconds)


def wait_stopped(processes, seconds=5):
    """A SIGSTOP waits for the end of an fsync."""
    end = time.monotonic() + seconds
    for process in processes:
        while time.monotonic() < end:
            try:
                with open(f"/proc/{process.pid}/stat", encoding="utf8") as f:
                    state = f.read().rpartition(")")[2].split()[0]
            except OSError:
                break
            if state in "TtZX":
                break
            time.sleep(0.0005)
        else:
            raise OSError(f"{process.name} {process.pid} does not stop")


# -- the load on the hold

class Sender(threading.Thread):
    """Delivers by LMTP, as Postfix does; notes each 250."""

    def __init__(self, load, seed):
        super().__init__(daemon=True)
        self.load = load
        self.rng = random.Random(seed)

    def run(self):
        lmtp = None
        while not self.load.ending:
            try:
                if lmtp is None:
                    lmtp = smtplib.LMTP(self.load.socket, timeout=30)
                    lmtp.ehlo("mx.example.test")
                self.load.deliver(lmtp, self.load.new_letter(self.rng),
                                  self.rng)
            except (OSError, smtplib.SMTPException):
                lmtp = None
                time.sleep(0.05)
            if self.rng.random() < 0.2:
                time.sleep(self.rng.uniform(0, 0.3))
        if lmtp is not None:
            lmtp.close()


def trace_of(rng, recipients):
    """What Postfix puts on top; K counts where it has a queue id, and a date
    of late."""
    return (f"Received: from remote.test (localhost [127.0.0.1])\r\n"
            f"\tby mx.example.test (Postfix) with ESMTP id "
            f"{rng.getrandbits(40):010X}\r\n"
            f"\tfor <{recipients[0]}>; {email.utils.formatdate()} (UTC)\r\n"
            ).encode()


class Load:
    """Letters come, are pushed, acknowledged, and fall back."""

    def __init__(self, bed, disk, entries, place, rng):
        self.bed = bed
        self.disk = disk
        self.entries = entries
        self.place = place
        self.rng = rng
        self.ledger = judge.Ledger(rng.getrandbits(32))
        self.ledger_lock = threading.Lock()
        self.socket = str(bed.dir / "run" / "lmtp.sock")
        self.trigger = Trigger()
        self.answered = {}      # (token, recipient): when
        self.tried = {}         # the same, not answered yet
        self.ending = False
        self.known = []
        self.maildirs = {user: place / user for user in CLIENTS}
        self.cuts = []
        self.next_cut = None

    # the senders' threads

    def new_letter(self, rng):
        users = CLIENTS * 2 + FALLBACK + PLAIN
        recipients = [rig.address(user) for user in rng.sample(
            sorted(set(users)), 2)] if rng.random() < 0.1 else [
                rig.address(rng.choice(users))]
        with self.ledger_lock:
            return self.ledger.letter(recipients, random_size(rng),
                                      top=trace_of(rng, recipients))

    def deliver(self, lmtp, letter, rng):
        for recipient in letter.recipients:
            self.tried[letter.token, recipient] = letter
        send_data(lmtp, letter.sender, letter.recipients, letter.octets)
        if self.trigger.kind == "before":
            time.sleep(rng.uniform(0, 0.006))
            self.trigger.reached("before", self.cut_now)
        for recipient in letter.recipients:
            if lmtp.getreply()[0] == 250:
                self.answered[letter.token, recipient] = time.monotonic()
                self.tried.pop((letter.token, recipient), None)
            self.trigger.reached("answer", self.cut_now)

    # the clients come and go

    def start_client(self, user, *extra):
        client = self.bed.client(user, self.maildirs[user], *extra)
        self.bed.clients = [c for c in self.bed.clients
                            if c.process.poll() is None]
        return client

    def come_and_go(self):
        """traveller0 stays, traveller1 is cut off often, traveller2 calls."""
        rng = random.Random(self.rng.getrandbits(32))
        clients = {}
        while not self.ending:
            time.sleep(rng.uniform(0.1, 0.5))
            with self.trigger.lock:
                for user, extra in (("traveller0", ()), ("traveller1", ()),
                                    ("traveller2", ("--once",))):
                    client = clients.get(user)
                    if client is not None and client.process.poll() is None:
                        if user == "traveller1":
                            client.kill()
                    elif user != "traveller2" or rng.random() < 0.3:
                        if client is not None:
                            client.log.close()
                        clients[user] = self.start_client(user, *extra)

    # the main thread

    def run(self, count, begin):
        threads = [Sender(self, self.rng.getrandbits(32)) for _ in range(3)]
        threads.append(threading.Thread(target=self.come_and_go, daemon=True))
        for thread in threads:
            thread.start()
        time.sleep(1)
        try:
            for number, kind, pause in schedule(self.rng, count):
                self.known = self.bed.processes()
                time.sleep(pause)
                self.known = self.bed.processes()
                self.next_cut = Cut(begin + number, kind,
                                    self.place / f"{begin + number}.img")
                self.trigger.arm(kind)
                if kind == "any":
                    self.trigger.reached("any", self.cut_now)
                self.trigger.wait(self.cut_now)
                self.cuts.append(self.next_cut)
        finally:
            self.ending = True
            for thread in threads:
                thread.join(40)
        return self.cuts

    def stop_all(self):
        rig.signal_all(self.known, rig.signal.SIGSTOP)
        stopped = {p.pid for p in self.known}
        for _ in range(20):
            new = [p for p in self.bed.processes() if p.pid not in stopped]
            if not new:
                break
            rig.signal_all(new, rig.signal.SIGSTOP)
            stopped |= {p.pid for p in new}
            self.known += new
        wait_stopped(self.known)

    def cut_now(self):
        cut = self.next_cut
        try:
            self.stop_all()
            cut.answered = dict(self.answered)
            cut.tried = dict(self.tried)
            cut.at = time.monotonic()
            self.disk.copy(cut.image)
            self.entries.copy(cut.entries)
            cut.maildirs = {}
            for user, maildir in self.maildirs.items():
                if maildir.exists():
                    cut.maildirs[user] = self.place / f"{cut.number}-{user}"
                    rig.link_tree(maildir, cut.maildirs[user])
            cut.ledger = self.ledger
        finally:
            rig.signal_all(self.known, rig.signal.SIGCONT)


def send_data(lmtp, sender, recipients, octets):
    """Up to the dot; the replies are the caller's."""
    if lmtp.mail(sender)[0] != 250:
        raise smtplib.SMTPException("MAIL refused")
    for recipient in recipients:
        if lmtp.rcpt(recipient)[0] != 250:
            raise smtplib.SMTPException("RCPT refused")
    lmtp.putcmd("DATA")
    if lmtp.getreply()[0] != 354:
        raise smtplib.SMTPException("DATA refused")
    lmtp.send(octets.replace(b"\r\n.", b"\r\n..") + b".\r\n")


# -- booting an image

def take_plain(verdict):
    """Take what Dovecot has done without us out of it. @return counts"""
    users = [rig.address(user) for user in PLAIN]
    counts = {}
    for kind in ("lost", "twice", "altered"):
        items = getattr(verdict, kind)
        ours = [item for item in items if item[1] not in users]
        setattr(verdict, kind, ours)
        counts[f"plain {kind}"] = len(items) - len(ours)
    return counts


def start_again(note):
    """The system has started anew: another id, which cannot be set here."""
    words = note.read_bytes().split(b" ")
    if len(words) == 2:
        note.write_bytes(words[0] + b" " + b"0" * (len(words[1]) - 1) + b"\n")


def clear_leftovers(where):
    """What Dovecot gets over by itself, but not in the time of a test.

    It waits two minutes before it takes away the lock of a Maildir that the
    cut has left; and of an mdbox whose indexes were rebuilt it believes the
    old cache file, and mends one message with each try to read it. The hold
    has to do with its own cache file as it is. @return number of locks
    """
    count = 0
    for note in where.rglob("restante.index"):
        start_again(note)
    for cache in where.glob("*/mail/**/dovecot.index.cache"):
        cache.unlink()
    for lock in where.rglob("dovecot-uidlist.lock"):
        lock.unlink()
        count += 1
    return count


class Boot:
    """The server that the images are started on, one after the other."""

    def __init__(self, bed, rng):
        self.bed = bed
        self.rng = rng
        self.hidden = 0
        for part in ("postfix", "policyd", "dovecot"):
            bed.stop(part)

    def run(self, cut):
        """@return (verdict, figures)"""
        self.hidden = 0
        with rig.mounted(cut.image, self.bed.dir / "mail") as where, \
                rig.mounted(cut.entries, self.bed.dir / "entries") as beside:
            stale = clear_leftovers(where)
            entries = {path.name for path in (beside / HOLDERS).iterdir()}
            try:
                self.bed.start("dovecot")
                cut.stuck += [("", name, "held without an entry")
                              for name in self.held() if name not in entries]
                self.bed.start("policyd")
                ledger, retried = self.retry(cut)
                waiting = self.drain(cut)
                copies = self.look(cut)
            finally:
                processes = self.bed.processes()
                self.bed.stop("policyd")
                self.bed.stop("dovecot")
                rig.end_processes(processes)
        verdict = judge.judge(ledger, copies)
        verdict.waiting += cut.stuck
        return verdict, collections.Counter(
            take_plain(verdict), images=1, answered=len(cut.answered),
            retried=retried, waiting=waiting, dotlocks=stale,
            hidden=self.hidden)

    def retry(self, cut):
        """Senders that know of no 250, and some who forgot it."""
        ledger = judge.Ledger(self.rng.getrandbits(32))
        for token, recipient in [*cut.answered, *cut.tried]:
            letter = cut.ledger.letters[token]
            ledger.letters.setdefault(token, judge.Letter(
                token, letter.recipients, letter.octets, letter.digest))
        for (token, recipient), when in cut.answered.items():
            ledger.letters[token].accepted.add(recipient)
        again = [key for key, when in cut.answered.items()
                 if when > cut.at - UNSURE_SECS] + list(cut.tried)
        plain = [rig.address(user) for user in PLAIN]
        again = [key for key in again if key[1] not in plain]
        retried = len(again)
        for user in PLAIN * 5:      # it, too, is written to afterwards
            name = rig.address(user)
            letter = ledger.letter(name, 3000,
                                   top=trace_of(self.rng, [name]))
            again.append((letter.token, name))
        for _ in range(3):
            again, tries = [], again
            for token, recipient in tries:
                letter = ledger.letters[token]
                if self.deliver(letter, recipient):
                    letter.accepted.add(recipient)
                else:
                    again.append((token, recipient))
        cut.stuck += [(token, recipient, "refused after the boot")
                      for token, recipient in again]
        return ledger, retried

    def deliver(self, letter, recipient):
        try:
            with smtplib.LMTP(str(self.bed.dir / "run" / "lmtp.sock"),
                              timeout=30) as lmtp:
                lmtp.ehlo("mx.example.test")
                send_data(lmtp, letter.sender, [recipient], letter.octets)
                return lmtp.getreply()[0] == 250
        except (OSError, smtplib.SMTPException):
            return False

    def held(self):
        """{user: how many}"""
        for _ in range(10):     # the first may find an index to be mended
            result = self.bed.doveadm("-f", "tab", "restante", "list", "-u",
                                      "*", check=False)
            if result.returncode == 0:
                break
        else:           # then it is lost
            rig.say(f"list: {result.stderr[:300]}")
        lines = result.stdout.splitlines()
        if not lines:
            return {}
        column = lines[0].lower().split("\t").index("username")
        return collections.Counter(line.split("\t")[column]
                                   for line in lines[1:])

    def collect(self, cut):
        clients = []
        for user in CLIENTS:
            cut.maildirs.setdefault(user, cut.image.with_suffix("." + user))
            clients.append(self.bed.client(user, cut.maildirs[user], "--once"))
        for user, client in zip(CLIENTS, clients):
            try:
                client.wait(20)
            except AssertionError:
                cut.stuck.append(("", rig.address(user), "drain hangs"))
            client.log.close()
        self.bed.clients = []

    def release(self, users):
        for user in users:
            self.bed.doveadm("restante", "release", "-u", rig.address(user),
                             "--all", check=False)

    def drain(self, cut):
        waiting = sum(self.held().values())
        # Not of those who have a client: what it has, and whose
        # acknowledgement got lost, must come to it once more.
        first = self.rng.random() < 0.5
        if first:
            self.release(FALLBACK)
        self.collect(cut)
        for _ in range(5):
            # what is held a second time is expunged, not given out
            for name in self.held():
                self.list_hold(name)
            if not self.held():
                break
            self.release(CLIENTS + FALLBACK)
            time.sleep(0.1)
        return waiting

    def list_hold(self, name):
        """DRAIN, as policyd says it, and nothing acknowledged."""
        with socket.socket(socket.AF_UNIX) as hold:
            hold.settimeout(20)
            hold.connect(str(self.bed.dir / "run" / "hold.sock"))
            hold.sendall(f"VERSION\trestante-hold\t1\t0\nUSER\t{name}\n"
                         "DRAIN\n".encode())
            got = b""
            while b"\nEND\t" not in got:
                octets = hold.recv(65536)
                if not octets:
                    break
                got = got[-8:] + octets

    def resync(self, name):
        """As the operator is told to do after a power cut.

        Torn at the end of its log, an index of Dovecot's own mailboxes is
        given up, and another one begun that knows none of the messages.
        """
        before = self.mailbox(name)
        self.bed.doveadm("force-resync", "-u", name, "INBOX", check=False)
        after = self.mailbox(name)
        self.hidden += max(0, len(after) - len(before))
        return after

    def mailbox(self, name):
        """What cannot be read, also not at the third try, is not there."""
        for _ in range(3):
            try:
                return judge.imap_copies(self.bed.env["IMAP_PORT"], name,
                                         self.bed.password)
            except (OSError, imaplib.IMAP4.error) as error:
                said = error
        rig.say(f"{name} cannot be read: {said}")
        return []

    def look(self, cut):
        copies = []
        for user in CLIENTS + FALLBACK + PLAIN:
            name = rig.address(user)
            if user in cut.maildirs:
                copies += judge.maildir_copies(cut.maildirs[user], name)
            copies += self.resync(name)
        for name in self.held():
            copies += self.in_hold(name)
        return copies

    def in_hold(self, name):
        """The same: with mail_fsync=never there are files without octets."""
        try:
            return judge.doveadm_copies([self.bed.bin("doveadm-hold")], name)
        except OSError as error:
            rig.say(f"hold of {name} cannot be read: {str(error)[:200]}")
            return []


def location(kind):
    """Where the normal mailboxes are.

    An mdbox INBOX of Dovecot 2.3.19 alone does not outlive a power cut when
    it is written to afterwards: its indexes are rebuilt, and mail that was
    there cannot be read any more. With mdbox only the hold is one.
    """
    return "mail_location = sdbox:~/mail\n" if kind == "mdbox" else ""


def on_disk(path):
    """The holders directory has a disk of its own, so that nothing else's
    fsync makes an entry durable, too."""
    return "--holders", path / "entries" / HOLDERS


def cut_hold(args, kind, tmp, shm, rng, begin, count):
    """One load, on one disk. @return its cuts"""
    image = shm / f"{kind}.img"
    rig.make_image(image, MEGABYTES)
    where = tmp / "a" / "mail"
    where.mkdir(parents=True)
    place = shm / f"from{begin}"
    place.mkdir()
    extra = location(kind) + (
        "mail_fsync = never\n" if args.control else "")
    users = {user: f"userdb_restante_hold_time={HOLD_SECS}s"
             for user in FALLBACK}
    entries_image = shm / f"{kind}.entries.img"
    rig.make_image(entries_image, ENTRIES_MEGABYTES)
    with rig.mounted(image, where, rig.HARSH), \
            rig.mounted(entries_image, tmp / "a" / "entries",
                        rig.HARSH) as entries:
        with rig.TestBed(tmp / "a", "--format", kind, *on_disk(tmp / "a"),
                         dovecot=extra, users=users) as bed:
            bed.stop("postfix")
            return Load(bed, rig.Disk(image, where),
                        rig.Disk(entries_image, entries), place,
                        rng).run(count, begin)


def run_hold(args, kind, rng):
    verdict, figures = judge.Verdict(), collections.Counter()
    with rig.directory(args.keep) as tmp, \
            rig.directory(args.keep, "/dev/shm") as shm, \
            rig.TestBed(tmp / "b", "--format", kind, *on_disk(tmp / "b"),
                        dovecot=location(kind)) as bed:
        boot = Boot(bed, random.Random(rng.getrandbits(32)))
        for begin in range(0, args.images, ROUND):
            count = min(ROUND, args.images - begin)
            cuts = cut_hold(args, kind, tmp, shm, rng, begin, count)
            for cut in cuts:
                one, numbers = boot.run(cut)
                report(args, kind, cut, one)
                verdict += one
                figures += numbers
                if not (args.keep and one.bad):
                    cut.image.unlink()
                    cut.entries.unlink()
                    for maildir in cut.maildirs.values():
                        rig.shutil.rmtree(maildir, ignore_errors=True)
            rig.shutil.rmtree(tmp / "a")
    return verdict, figures


def report(args, kind, cut, verdict):
    if verdict.bad and not args.control:
        rig.say(f"{kind} image {cut.number} ({cut.kind}): {verdict}")
        rig.say(verdict.details(8))


# -- the client's disk; the server is played

class Played:
    """A policyd that knows exactly what was answered, and when.

    It speaks doc/protocol-xrestante.md: one session at a time, pipelined.
    """

    WINDOW = 24

    def __init__(self, place):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate = place / "cert.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
             "-subj", "/CN=played", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", place / "key.pem", "-out", self.certificate],
            check=True, capture_output=True, timeout=60)
        self.context.load_cert_chain(self.certificate, place / "key.pem")
        self.password = place / "password"
        self.password.write_text("secret\n")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)

    def client(self, maildir, *extra):
        with open(maildir.with_suffix(".log"), "ab") as log:
            return subprocess.Popen(
                [rig.BUILD / "stage/usr/bin/restante", "register",
                 rig.address("traveller0"), "--server",
                 f"127.0.0.1:{self.listener.getsockname()[1]}",
                 "--ca-file", self.certificate, "--password-file",
                 self.password, "--maildir", maildir, *extra],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def session(self):
        raw, _ = self.listener.accept()
        raw.settimeout(20)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return PlayedSession(self.context.wrap_socket(raw, server_side=True))


class PlayedSession:
    """From the sign-in on; pushes, and says which ids were answered 250."""

    def __init__(self, tls):
        self.tls = tls
        self.file = tls.makefile("rb")
        self.waiting = collections.deque()    # id, or None: one reply only
        self.say("220 played ESMTP")
        self.expect(b"EHLO")
        self.say("250-played\r\n250-AUTH PLAIN\r\n250 ATRN")
        base64.b64decode(self.expect(b"AUTH").split()[2])
        self.say("235 2.7.0 Ok")
        self.expect(b"ATRN")
        self.say("250 2.0.0 Ok")
        self.reply()
        self.say("EHLO played")
        self.reply()

    def say(self, text):
        self.tls.sendall(text.encode() + b"\r\n")

    def expect(self, word):
        line = self.file.readline()
        if not line.startswith(word):
            raise OSError(f"expected {word}, got {line}")
        return line

    def reply(self):
        while True:
            line = self.file.readline()
            if len(line) < 4:
                raise OSError("the client has gone")
            if line[3:4] == b" ":
                return int(line[:3])

    def summary(self, count):
        self.say(f"XRESTANTE SUMMARY {count} {count}")
        self.waiting.append(None)

    def forget(self, ids):
        self.say("XRESTANTE FORGET " + " ".join(ids))
        self.waiting.append(None)

    def push(self, letter):
        self.tls.sendall(
            f"MAIL FROM:<{letter.sender}> BODY=BINARYMIME "
            f"XRESTANTE={letter.token}\r\n"
            f"RCPT TO:<{letter.recipients[0]}>\r\n"
            f"BDAT {len(letter.octets)} LAST\r\n".encode() + letter.octets)
        self.waiting.append(letter.token)

    def result(self):
        """The next answer. @return (id or None, whether it was 250)"""
        token = self.waiting.popleft()
        if token is None:
            return None, self.reply() == 250
        codes = [self.reply() for _ in range(3)]
        return token, codes == [250, 250, 250]

    def finish(self):
        while self.waiting:
            yield self.result()

    def close(self):
        with contextlib.suppress(OSError):
            self.file.close()
            self.tls.close()


class ClientLoad:
    """Letters are pushed to one client whose disk is going to be cut."""

    def __init__(self, played, disk, maildir, place, rng):
        self.played = played
        self.disk = disk
        self.maildir = maildir
        self.place = place
        self.rng = rng
        self.ledger = judge.Ledger(rng.getrandbits(32))
        self.trigger = Trigger()
        self.answered, self.forgotten = [], set()
        self.open = collections.deque()       # pushed, and not answered
        self.process = self.next_cut = self.session = None
        self.ending = False

    def letter(self):
        letter = self.ledger.letter(rig.address("traveller0"),
                                    random_size(self.rng))
        self.open.append(letter.token)
        return letter

    def take(self):
        """One answer; sometimes a cut just before it or just after."""
        self.trigger.reached("before", self.cut_now)
        token, good = self.session.result()
        if token is not None and good:
            self.open.remove(token)
            self.answered.append(token)
            self.ledger.accept(self.ledger.letters[token])
            self.trigger.reached("answer", self.cut_now)

    def forget(self):
        ids = [t for t in self.answered[-200:] if t not in self.forgotten]
        ids = ids[:self.rng.randint(0, 16)]
        if ids:
            self.forgotten.update(ids)
            self.session.forget(ids)

    def sign_in(self):
        self.session = self.played.session()
        for token in self.open:
            self.session.push(self.ledger.letters[token])

    def push_on(self):
        try:
            self.sign_in()
            while not self.ending:
                for _ in range(self.rng.choice((1, 1, 2, 5, 20))):
                    if len(self.session.waiting) < Played.WINDOW:
                        self.session.push(self.letter())
                if self.rng.random() < 0.5:
                    time.sleep(self.rng.uniform(0, 0.01))
                for _ in range(self.rng.randint(0,
                                                len(self.session.waiting))):
                    self.take()
                if self.rng.random() < 0.1:
                    self.forget()
                    time.sleep(self.rng.uniform(0, 0.1))
        except OSError as error:
            if not self.ending:
                rig.say("client load:", error)
        finally:
            if self.session is not None:
                self.session.close()

    def run(self, count, begin):
        self.process = self.played.client(self.maildir)
        thread = threading.Thread(target=self.push_on, daemon=True)
        thread.start()
        cuts = []
        try:
            time.sleep(0.5)
            for number, kind, pause in schedule(self.rng, count):
                time.sleep(pause / 2)
                self.next_cut = Cut(begin + number, kind,
                                    self.place / f"{begin + number}.img")
                self.trigger.arm(kind)
                if kind == "any":
                    self.trigger.reached("any", self.cut_now)
                self.trigger.wait(self.cut_now)
                cuts.append(self.next_cut)
                if self.process.poll() is not None:
                    raise OSError("the client has ended")
        finally:
            self.ending = True
            self.process.kill()
            self.process.wait(20)
            thread.join(30)
        return cuts

    def cut_now(self):
        cut = self.next_cut
        client = [rig.Process(self.process.pid, 0, "", "restante")]
        rig.signal_all(client, rig.signal.SIGSTOP)
        try:
            wait_stopped(client)
            cut.answered = list(self.answered)
            cut.forgotten = set(self.forgotten)
            cut.open = list(self.open)
            cut.ledger = self.ledger
            self.disk.copy(cut.image)
        finally:
            rig.signal_all(client, rig.signal.SIGCONT)


def ledger_of(cut):
    ledger = judge.Ledger()
    for token in [*cut.answered, *cut.open]:
        letter = cut.ledger.letters[token]
        ledger.letters[token] = judge.Letter(token, letter.recipients,
                                             letter.octets, letter.digest)
    for token in cut.answered:
        ledger.accept(ledger.letters[token])
    return ledger


def boot_client(cut, played, where, rng):
    """@return (verdict, figures)"""
    name = rig.address("traveller0")
    with rig.mounted(cut.image, where):
        maildir = where / "Maildir"
        ledger = ledger_of(cut)
        verdict = judge.judge(ledger, judge.maildir_copies(maildir, name))
        # what the server has not heard of, and what it did not note durably
        again = cut.open + [t for t in cut.answered[-60:]
                            if t not in cut.forgotten and rng.random() < 0.5]
        client = played.client(maildir, "--once")
        try:
            session = played.session()
            session.summary(len(again))
            for token in again:
                session.push(ledger.letters[token])
            for token, good in session.finish():
                if token is not None and good:
                    ledger.accept(ledger.letters[token])
            session.close()
            client.wait(20)
        finally:
            if client.poll() is None:
                client.kill()
                client.wait(20)
        after = judge.judge(ledger, judge.maildir_copies(maildir, name))
        unanswered = sum(not x.accepted for x in ledger.letters.values())
        for _ in range(unanswered):
            after.waiting.append(("", name, "refused after the boot"))
    # what was seen only after the boot counts, and both kinds of wrong
    after.lost = sorted({*after.lost, *verdict.lost})
    after.altered = sorted({*after.altered, *verdict.altered})
    return after, collections.Counter(
        images=1, answered=len(cut.answered), retried=len(again),
        waiting=len(cut.open))


def run_client(args, kind, rng):
    verdict, figures = judge.Verdict(), collections.Counter()
    with rig.directory(args.keep, "/dev/shm") as shm:
        played = Played(shm)
        boot_rng = random.Random(rng.getrandbits(32))
        for begin in range(0, args.images, ROUND):
            image = shm / "client.img"
            rig.make_image(image, MEGABYTES)
            with rig.mounted(image, shm / "disk", rig.HARSH) as where:
                cuts = ClientLoad(
                    played, rig.Disk(image, where), where / "Maildir", shm,
                    rng).run(min(ROUND, args.images - begin), begin)
            for cut in cuts:
                one, numbers = boot_client(cut, played, shm / "booted",
                                           boot_rng)
                report(args, kind, cut, one)
                verdict += one
                figures += numbers
                if not (args.keep and one.bad):
                    cut.image.unlink()
    return verdict, figures


# --

def run_format(args, kind):
    began = time.monotonic()
    rng = random.Random(f"{args.seed} {kind}")
    run = run_client if kind == "client" else run_hold
    verdict, figures = run(args, kind, rng)
    rig.say(f"{kind}: {figures['images']} images, {figures['answered']} "
            f"answered 250 before, {figures['waiting']} waiting at the cut, "
            f"{figures['retried']} sent again, {figures['dotlocks']} stale "
            f"locks; {verdict} "
            f"({time.monotonic() - began:.0f} s)")
    if kind != "client":
        rig.say(f"{kind}: not enrolled, Dovecot alone: " + ", ".join(
            f"{name} {figures['plain ' + name]}"
            for name in ("lost", "twice", "altered")) +
            f"; in INBOX seen only after a resync {figures['hidden']}")
    if args.control:
        if not verdict.lost:
            rig.say(f"control: {kind}: lost nothing without fsync, so this "
                    "test proves nothing")
            return False
        rig.say(f"control: failed as it must ({kind}: {len(verdict.lost)} "
                "lost)")
        return True
    return verdict.bad == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--format", choices=FORMATS + ("all",), default="all")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int,
                        default=random.SystemRandom().getrandbits(31))
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--quick", action="store_true",
                        help="about a minute, with a control")
    parser.add_argument("--keep", action="store_true",
                        help="keep directories, and images that fail")
    args = parser.parse_args()
    if rights.NO_MOUNTS:
        rig.say("skipped: power.py:", rights.NO_MOUNTS)
        return rig.SKIPPED
    rig.end_on_signals()
    sys.setswitchinterval(0.001)
    rig.say(f"power cuts, seed {args.seed}")
    formats = FORMATS if args.format == "all" else (args.format,)
    if args.quick:
        args.images = 8
    good = True
    for kind in formats:
        if not (args.control and kind == "client"):
            good = run_format(args, kind) and good
    if args.quick:
        args.control, args.images = True, 5
        good = run_format(args, "sdbox") and good
    rig.say("power cuts:", "ok" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
