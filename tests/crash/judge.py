# SPDX-License-Identifier: MIT
"""The letters that were sent, and their copies: the judge of all crash tests.

A letter has a unique token in its first header field. A copy that is found
anywhere is recognised by this token, and its octets from that field on are
compared by SHA-256 with those that were sent (with LF for CRLF). The trace fields
above it differ from place to place by design.

    ledger = Ledger(seed)
    letter = ledger.letter("traveller0@example.test", size=2048)
    ... send letter.octets; when the sender has its 250:
    ledger.accept(letter)
    ... drain
    copies = everywhere(sandbox, {user: [maildir, ...]})
    verdict = judge(ledger, copies)
    print(verdict); verdict.bad is the number of violations
"""
import collections
import hashlib
import imaplib
import json
import os
import pathlib
import random
import re
import subprocess

TOKEN_FIELD = b"X-Crash-Token: "
TOKEN = re.compile(rb"^X-Crash-Token: ([0-9a-f]{8}-[0-9]+)\r?$", re.M)
HOLD = "Held"
# a copy here is seen by the recipient; in "hold" and "queue" it waits
VISIBLE = ("client", "mailbox")


def digest(octets):
    return hashlib.sha256(octets.replace(b"\r\n", b"\n")).hexdigest()


class Letter:
    """One message; octets are those that the sender sends, with CRLF."""

    def __init__(self, token, recipients, octets, expected=None):
        self.token = token
        self.recipients = list(recipients)
        self.octets = octets
        self.digest = expected or digest(octets)
        self.accepted = set()     # recipients for whom a 250 was given
        self.sender = "sender@remote.test"


class Ledger:
    """All letters of a run."""

    def __init__(self, seed=0):
        self.random = random.Random(seed)
        self.prefix = f"{self.random.getrandbits(32):08x}"
        self.letters = {}

    def _body(self, size):
        """Lines that a delivery might spoil: dots, 8 bit, blanks, long ones."""
        heads = (b"", b".", b"..", b"From ", b"\t", b">", b"\xc3\xa4 ")
        body = b""
        while len(body) < size:
            n = self.random.choice((0, 7, 60, 76, 500))
            line = self.random.choice(heads) + bytes(
                self.random.choices(b"abcdefghij klmnop=.", k=n))
            body += line + b"\r\n"
        return body[:max(0, size - 3)].rstrip(b"\r\n") + b"\r\n"

    def letter(self, recipients, size=600, top=b""):
        """A new letter, not sent yet.

        top: trace fields for a delivery that passes no Postfix; they are
        sent, and not compared.
        """
        if isinstance(recipients, str):
            recipients = [recipients]
        token = f"{self.prefix}-{len(self.letters)}"
        head = (TOKEN_FIELD + token.encode() + b"\r\n"
                b"From: sender@remote.test\r\n"
                b"To: " + b", ".join(r.encode() for r in recipients) + b"\r\n"
                b"Subject: crash " + token.encode() + b"\r\n"
                b"Message-ID: <" + token.encode() + b"@remote.test>\r\n\r\n")
        octets = head + self._body(size - len(head))
        letter = Letter(token, recipients, top + octets, digest(octets))
        self.letters[token] = letter
        return letter

    def accept(self, letter, recipient=None):
        """The sender has its 250 (for all recipients, or for one)."""
        letter.accepted.update([recipient] if recipient else letter.recipients)

    def save(self, path):
        """Durably, for a judge in another process or after a power cut."""
        data = [[x.token, x.recipients, x.digest, sorted(x.accepted)]
                for x in self.letters.values()]
        part = f"{path}.part"
        with open(part, "w", encoding="ascii") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(part, path)

    @classmethod
    def load(cls, path):
        ledger = cls()
        with open(path, encoding="ascii") as file:
            for token, recipients, expected, accepted in json.load(file):
                letter = Letter(token, recipients, b"", expected)
                letter.accepted.update(accepted)
                ledger.letters[token] = letter
        return ledger


# place: "client", "mailbox", "hold" or "queue"; where: a name for people
Copy = collections.namedtuple("Copy", "place user where token digest trace")


def copy_of(place, user, where, message):
    found = TOKEN.search(message)
    if found is None:
        return Copy(place, user, where, None, digest(message), message[:400])
    return Copy(place, user, where, found.group(1).decode(),
                digest(message[found.start():]),
                message[:found.start()].replace(b"\r\n", b"\n"))


# -- looking into places

def maildir_copies(path, user, place="client"):
    """A client's Maildir; what is in tmp is not there yet."""
    copies = []
    for part in ("new", "cur"):
        folder = pathlib.Path(path) / part
        if folder.is_dir():
            copies += [copy_of(place, user, str(file), file.read_bytes())
                       for file in sorted(folder.iterdir())]
    return copies


def imap_mailboxes(imap):
    names = []
    for line in imap.list()[1]:
        if line is not None and b"\\noselect" not in line.lower():
            names.append(re.search(rb'"?([^"]*)"?$', line.split(b'" ', 1)[-1])
                         .group(1).decode())
    return names


def imap_copies(port, user, password):
    """All mailboxes that the user sees."""
    copies = []
    imap = imaplib.IMAP4("127.0.0.1", int(port), timeout=60)
    try:
        imap.login(user, password)
        for name in imap_mailboxes(imap):
            # Dovecot tells the first who opens a torn index that it is torn,
            # and makes it anew for the next
            if not any(imap.select(f'"{name}"', readonly=True)[0] == "OK"
                       for _ in range(2)):
                raise OSError(f"{user}: cannot open {name}")
            status, data = imap.uid("FETCH", "1:*", "(BODY.PEEK[])")
            if status != "OK":
                raise OSError(f"{user}: cannot read {name}: {data}")
            copies += [copy_of("mailbox", user, name, part[1])
                       for part in data if isinstance(part, tuple)]
    finally:
        imap.logout()
    return copies


def doveadm_copies(doveadm, user, mailbox=HOLD, place="hold"):
    """One mailbox, with the octets of its messages as they are stored.

    doveadm: the command as a list, for example [sandbox.bin("doveadm-hold")]
    """
    # its pager separates messages only where a second field is asked for
    result = subprocess.run(
        [*doveadm, "-f", "pager", "fetch", "-u", user, "uid text", "mailbox",
         mailbox, "all"],
        capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
    if result.returncode == 68 or b"doesn't exist" in result.stderr:
        return []            # no such mailbox yet
    if result.returncode != 0:
        raise OSError(f"doveadm fetch {user}: {result.stderr.decode()}")
    return [copy_of(place, user, mailbox, part.split(b"\ntext:\n", 1)[1])
            for part in result.stdout.split(b"\f\n") if part]


def queue_copies(spool):
    """Postfix's queue; of its files only the token is read, not the octets."""
    copies = []
    for part in ("maildrop", "incoming", "active", "deferred", "hold",
                 "corrupt"):
        for folder, _, names in os.walk(pathlib.Path(spool) / part):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    octets = pathlib.Path(path).read_bytes()
                except FileNotFoundError:
                    continue
                found = re.search(TOKEN_FIELD + rb"([0-9a-f]{8}-[0-9]+)",
                                  octets)
                token = found.group(1).decode() if found else None
                copies.append(Copy("queue", None, path, token, None, b""))
    return copies


def everywhere(sandbox, maildirs, users=None):
    """All places of a sandbox (tests/integration/conftest.py).

    maildirs: {user: [Maildir of a client, ...]}; users: those whose mailboxes
    are looked into beside these
    """
    copies = queue_copies(sandbox.dir / "postfix" / "spool")
    for user in sorted({*maildirs, *(users or ())}):
        for path in maildirs.get(user, ()):
            copies += maildir_copies(path, user)
        copies += imap_copies(sandbox.env["IMAP_PORT"], user,
                              sandbox.password)
        copies += doveadm_copies([sandbox.bin("doveadm-hold")], user)
    return copies


# -- judging

class Verdict:
    """Lists of (token, recipient, text); everything but seen is a violation."""

    KINDS = ("lost", "waiting", "twice", "altered", "wrong", "stranger")

    def __init__(self):
        self.seen = 0        # accepted, and visible as it should be
        self.lost = []       # accepted, and nowhere
        self.waiting = []    # still in the hold or queue, though all drained
        self.twice = []      # visible more than once to one recipient
        self.altered = []    # other octets, or our own fields left in
        self.wrong = []      # at somebody who is no recipient
        self.stranger = []   # nothing that was sent (a bounce, say)

    @property
    def bad(self):
        return sum(len(getattr(self, kind)) for kind in self.KINDS)

    def __iadd__(self, other):
        self.seen += other.seen
        for kind in self.KINDS:
            getattr(self, kind).extend(getattr(other, kind))
        return self

    def __str__(self):
        return f"seen once {self.seen}, " + ", ".join(
            f"{kind} {len(getattr(self, kind))}" for kind in self.KINDS)

    def details(self, limit=20):
        lines = [f"{kind}: {' '.join(map(str, item))}"
                 for kind in self.KINDS for item in getattr(self, kind)]
        return "\n".join(lines[:limit])


def plain_user(address):
    """traveller0+list@example.test is traveller0@example.test's."""
    local, _, domain = address.partition("@")
    return f"{local.partition('+')[0]}@{domain}".lower()


def judge_copy(verdict, ledger, copy):
    """What can be said of one copy alone. True: it is one of ours."""
    letter = ledger.letters.get(copy.token)
    if letter is None:
        verdict.stranger.append((copy.token, copy.user, copy.where))
        return False
    if copy.place == "queue":
        return True
    if copy.user not in map(plain_user, letter.recipients):
        verdict.wrong.append((copy.token, copy.user, copy.where))
        return False
    if copy.digest != letter.digest:
        verdict.altered.append((copy.token, copy.user, copy.where))
    elif copy.place in VISIBLE and (
            b"x-restante-envelope" in copy.trace.lower() or
            copy.trace.lower().count(b"return-path:") > 1):
        verdict.altered.append((copy.token, copy.user,
                                f"{copy.where}: trace fields"))
    return True


def judge(ledger, copies, drained=True, tokens=None):
    """Compare all copies with what was sent.

    drained: nothing may wait in the hold or in the queue any more
    tokens: judge these letters only; others are taken as they are
    """
    verdict = Verdict()
    visible = collections.Counter()
    places = collections.defaultdict(list)
    waiting = collections.Counter()
    for copy in copies:
        if tokens is not None and copy.token not in tokens:
            continue
        if not judge_copy(verdict, ledger, copy):
            continue
        key = copy.token, copy.user
        if copy.place in VISIBLE:
            visible[key] += 1
            places[key].append(copy.where)
        else:
            waiting[key] += 1
    for letter in ledger.letters.values():
        if tokens is not None and letter.token not in tokens:
            continue
        for recipient in letter.recipients:
            key = letter.token, plain_user(recipient)
            count = visible[key]
            waits = waiting[key] + waiting[letter.token, None]
            if count > 1:
                verdict.twice.append((*key, "; ".join(places[key])))
            elif recipient not in letter.accepted:
                pass         # whoever got no 250 still has it
            elif count == 1:
                verdict.seen += 1
            elif waits == 0:
                verdict.lost.append((*key, ""))
            if drained and waits > 0:
                # also where it is visible already: it would come again
                verdict.waiting.append((*key, "in the hold or queue"))
    return verdict
