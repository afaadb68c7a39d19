# SPDX-License-Identifier: MIT
"""One site: a sandbox with the settings of a row, its peers, and ways to look
at what became of a message."""
import imaplib
import os
import pathlib
import re
import signal
import smtplib
import socket
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(TOP / "tests" / "integration"))

import dovecot  # noqa: E402
from conftest import SANDBOX, Sandbox, maildir_messages, wait_for  # noqa: E402
import userdbs  # noqa: E402

__all__ = ["Site", "maildir_messages", "wait_for"]

patience = 10  # seconds until what should happen must have happened

# Held mail of these users falls due soon, of others never in a test.
SHORT = ("traveller2", "traveller3")
SHORT_SECONDS = 2
HOLD_TIME = (f"plugin {{\n  restante_hold_time = "
             f"%{{if;%n;~;^({'|'.join(SHORT)})$;{SHORT_SECONDS}s;14d}}\n}}\n")

# Postfix does not wait a second for a policyd that a test has stopped.
POSTFIX = "smtpd_policy_service_try_limit = 1\n"

# octets that careless hands change: dots, 8 bits, blanks at the end of a line,
# a line that looks like an mbox's, a long one
BODY = (b"one\r\n.\r\n..two\r\nFrom three\r\nbl\xe4nk  \r\n\t\r\n\r\n"
        + b"x" * 900 + b"\r\n" + b"line of filler text\r\n" * 150 + b"end\r\n")

LOG_FAULTS = {
    "dovecot": re.compile(r"(Error|Panic|Fatal|Warning): "),
    "postfix": re.compile(r"status=(bounced|deferred|undeliverable)|"
                          r"(warning|error|fatal|panic): "),
    "policyd": re.compile(r" (warning|error|fatal): "),
}


def free_ports(count, address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    held = [socket.socket(family) for _ in range(count)]
    for each in held:
        each.bind((address, 0))
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


class Site(Sandbox):
    def __init__(self, row, directory):
        self.row = row
        self.domain = row.domains[0]
        self.peers = []
        self.sent = 0
        self.log_ends = {}
        base = pathlib.Path(directory)
        address = row.options.get("--address", "127.0.0.1")
        self.words = {"BASE": base, "DIR": base / "s"}
        self.words.update((f"PORT{n}", port) for n, port in enumerate(
            free_ports(4, address), 1))
        if row.prepare:
            row.prepare(base)
        options = []
        for option, value in row.options.items():
            options += [option, self.fill(dovecot.variables(value))]
        for domain in row.domains:
            options += ["--domain", domain]
        if row.userdb != "passwd-file":
            options += ["--users",
                        f"/usr/bin/python3 {HERE}/userdbs.py {row.userdb}"]
        for what, text in (("dovecot", dovecot.conf(HOLD_TIME + row.dovecot)),
                           ("postfix", POSTFIX + row.postfix),
                           ("master", row.master)):
            path = base / what
            path.write_text(self.fill(text), "utf-8")
            options += [f"--extra-{what}", path]
        try:
            super().__init__(base / "s", *options)
        except BaseException:
            self.stop_all(base / "s")
            raise
        self.users = userdbs.KINDS[row.userdb](self.dir)
        try:
            for peer in row.peers:
                peer(self)
        except BaseException:
            self.down()
            raise

    def fill(self, text):
        """@DIR@, @PORT1@ and the like in a row's settings."""
        return re.sub(r"@([A-Z]+[0-9]?)@",
                      lambda found: str(self.words[found[1]]), text)

    # -- peers

    def start_peer(self, *command):
        log = open(self.dir / "log" / "peers.out", "ab")
        self.peers.append(subprocess.Popen(
            [self.fill(str(word)) for word in command],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True))

    def wait_for_port(self, name):
        def is_open():
            with socket.socket(socket.AF_INET6 if ":" in self.address
                               else socket.AF_INET) as probe:
                return probe.connect_ex((self.address, self.words[name])) == 0
        wait_for(f"a peer on {name}", is_open)

    def down(self):
        for client in self.clients:
            client.kill()
        self.stop_all(self.dir)

    def stop_all(self, directory):
        for peer in self.peers:
            peer.terminate()
            try:
                peer.wait(20)
            except subprocess.TimeoutExpired:
                peer.kill()
        try:
            os.kill(int((directory / "run" / "slapd.pid").read_text()),
                    signal.SIGTERM)
        except (FileNotFoundError, ProcessLookupError):
            pass
        subprocess.run([SANDBOX, "down", directory], check=True, timeout=60)

    # -- names

    def address_of(self, user):
        return user if "@" in user else f"{user}@{self.domain}"

    def login(self, user):
        if not self.users.full_names:
            return user.split("@")[0]
        return self.address_of(user)

    # -- mail

    def tag(self, what):
        self.sent += 1
        return f"{what}-{self.sent}"

    def smtp(self):
        port = self.words[self.row.port] if self.row.port else int(
            self.env["SMTP_PORT"])
        return smtplib.SMTP(self.address, port, timeout=20)

    def mail(self, what, *users, sender="sender@remote.test"):
        """Send one message to all these users at once; its subject."""
        subject = self.tag(what)
        self.send([self.row.recipient(self.address_of(user)) for user in users],
                  f"From: sender@remote.test\r\nSubject: {subject}\r\n"
                  f"Message-ID: <{subject}@remote.test>\r\n\r\n".encode()
                  + BODY, sender=sender)
        return subject

    def held_subjects(self, user):
        """How many messages the operator sees held, of the whole hold."""
        result = self.doveadm("-f", "tab", "restante", "list", "-u",
                              self.login(user), check=False)
        if "not enrolled, no mail is held" in result.stderr:
            return 0
        assert result.returncode == 0, result.stderr.strip()[-300:]
        lines = result.stdout.splitlines()[1:]
        assert not any("\tincomplete\t" in line for line in lines), lines
        return len(lines)

    def wait_held(self, user, count):
        last = []

        def holds():
            last[:] = [self.held_subjects(user)]
            return last[0] == count
        try:
            wait_for("", holds, patience)
        except AssertionError as error:
            raise AssertionError(
                f"{user} holds {last or error}, not {count}") from None

    def subjects_in_hold(self, user):
        """What Dovecot alone, without our plugin, finds in a user's hold."""
        name, _, domain = self.login(user).partition("@")
        location = self.fill(self.row.options.get(
            "--hold-location",
            self.row.options.get("--format", "sdbox") + ":~/restante"))
        # -o expands no %variables
        location = location.replace("%n", name).replace("%d", domain)
        return self.doveadm(*dovecot.hold_place(location), "fetch", "-u",
                            self.login(user), "hdr.subject", "mailbox", "Held",
                            "all").stdout

    def imap(self, user):
        imap = imaplib.IMAP4(self.address, int(self.env["IMAP_PORT"]))
        imap.login(self.login(user), self.password)
        return imap

    def copies(self, user, subject, mailbox="INBOX"):
        """The copies of a message in a mailbox, as IMAP shows them."""
        wanted = f"\nSubject: {subject}\n".encode()
        return [text for text in (
            message.replace(b"\r\n", b"\n")
            for message in self.mailbox(user, mailbox)) if wanted in text]

    def one_copy(self, user, subject, mailbox="INBOX"):
        """Wait for the message; it must be there once."""
        try:
            wait_for("", lambda: self.copies(user, subject, mailbox), patience)
        except AssertionError:
            raise AssertionError(
                f"{subject} is not in {user}'s {mailbox}") from None
        copies = self.copies(user, subject, mailbox)
        assert len(copies) == 1, f"{len(copies)} copies of {subject}"
        return copies[0]

    def no_copy(self, user, subject):
        assert not self.copies(user, subject), (
            f"{subject} is in {user}'s INBOX")

    # -- logs

    def log_faults(self):
        """New lines that complain, and are not this row's own."""
        faults = []
        for name, pattern in LOG_FAULTS.items():
            text = self.log(name)
            new = text[self.log_ends.get(name, 0):]
            self.log_ends[name] = len(text)
            faults += [f"{name}: {line}" for line in new.splitlines()
                       if pattern.search(line)
                       and not re.search(self.row.quiet, line)
                       and not any(re.search(noise, line)
                                   for noise in self.row.peer_noise)]
        return faults

    def worst_faults(self):
        """Of the whole of Dovecot's log: what no process may say, not even one
        that Dovecot ends."""
        return [line for line in self.log("dovecot").splitlines()
                if re.search(r"Panic: |killed with signal|leaked ", line)]

    def since_unloaded(self):
        """What Dovecot has logged since its last start."""
        return self.log("dovecot").rpartition("starting up for")[2]


ON_TOP = re.compile(rb"(return-path|delivered-to|received|x-original-to):",
                    re.I)


def below_trace(message):
    """A copy without the trace fields that Dovecot and the parts after it have
    put on top: from Postfix's own topmost Received field on."""
    lines = message.replace(b"\r\n", b"\n").split(b"\n")
    at = 0
    while at < len(lines) and ON_TOP.match(lines[at]):
        end = at + 1
        while lines[end][:1] in (b" ", b"\t"):
            end += 1
        if b"(Postfix)" in b"\n".join(lines[at:end]):
            break
        at = end
    return b"\n".join(lines[at:])


def same(one, other):
    """Two copies of a message have the same octets. Of a Received field only
    the beginning counts: where Postfix has made one queue file for each
    recipient, queue id, recipient and second are each copy's own."""
    def plain(message):
        head, _, rest = below_trace(message).partition(b"\n\n")
        fields = re.split(rb"\n(?![ \t])", head)
        return b"\n".join(
            re.sub(rb"\s+id \w+.*", b"", field, flags=re.S)
            if field.lower().startswith(b"received:") else field
            for field in fields) + b"\n\n" + rest
    one, other = plain(one), plain(other)
    if one != other:
        at = next((n for n, (a, b) in enumerate(zip(one, other)) if a != b),
                  min(len(one), len(other)))
        raise AssertionError(
            f"other octets at {at} of {len(one)} and {len(other)}: "
            f"{one[max(0, at - 40):at + 40]!r}, "
            f"{other[max(0, at - 40):at + 40]!r}")
