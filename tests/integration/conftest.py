# SPDX-License-Identifier: MIT
"""The sandbox of the tests: a real Postfix, Dovecot, policyd and client.

The tests drive all of them from outside, with Python's own smtplib, imaplib
and mailbox as independent peers.
"""
import hashlib
import imaplib
import mailbox
import os
import pathlib
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RESTANTE_BUILD", TOP / "build"))
SANDBOX = TOP / "packaging" / "sandbox"
DOMAIN = "example.test"
MISSING = [
    name for name in ("/usr/lib/postfix/sbin/master", "/usr/sbin/dovecot")
    if not os.path.exists(name)
]


def pytest_configure():
    """On TERM from packaging/check, take down the sandboxes that are up."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    if not MISSING:
        return
    for item in items:
        item.add_marker(pytest.mark.skip(reason=f"no {MISSING[0]}"))


def wait_for(what, condition, seconds=20):
    """Return what condition() gives once it is true; fail loudly if never."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.02)


class Client:
    """One run of the traveller's program."""

    def __init__(self, sandbox, user, maildir, *extra):
        self.maildir = pathlib.Path(maildir)
        self.log_path = self.maildir.with_name(self.maildir.name + ".log")
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            [sandbox.bin("restante"), "register", user,
             "--server", sandbox.server,
             "--ca-file", sandbox.env["CA_FILE"],
             "--password-file", sandbox.env["PASSWORD_FILE"],
             "--maildir", str(self.maildir), *extra],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def wait(self, seconds=30):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"client did not end: {self.log_path.read_text()[-2000:]}")

    def said(self, text):
        return text in self.log_path.read_text(errors="replace")

    def kill(self, number=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(20)
        self.log.close()


class Sandbox:
    """packaging/sandbox, and ways to look into it."""

    def __init__(self, directory, *arguments):
        self.dir = pathlib.Path(directory)
        subprocess.run([SANDBOX, "up", self.dir, "--build", BUILD, *arguments],
                       check=True, stdin=subprocess.DEVNULL, timeout=60)
        self.env = dict(
            line.split("=", 1)
            for line in (self.dir / "env").read_text().splitlines())
        self.password = pathlib.Path(self.env["PASSWORD_FILE"]).read_text()[:-1]
        self.address = self.env["ADDRESS"]
        host = f"[{self.address}]" if ":" in self.address else self.address
        self.server = f"{host}:{self.env['TLS_PORT']}"
        self.clients = []
        self.maildirs = 0

    def bin(self, name):
        return str(pathlib.Path(self.env["BIN_DIR"]) / name)

    def down(self):
        for client in self.clients:
            client.kill()
        subprocess.run([SANDBOX, "down", self.dir], check=True, timeout=60)

    def start(self, part):
        subprocess.run([SANDBOX, "start", self.dir, part], check=True,
                       stdin=subprocess.DEVNULL, timeout=60)

    def stop(self, part):
        subprocess.run([SANDBOX, "stop", self.dir, part], check=True,
                       stdin=subprocess.DEVNULL, timeout=60)

    # -- sending

    def smtp(self):
        return smtplib.SMTP(self.address, int(self.env["SMTP_PORT"]), timeout=60)

    def send(self, recipients, message, sender=f"sender@remote.test",
             mail_options=()):
        """Send one message to Postfix, octets as they are."""
        if isinstance(recipients, str):
            recipients = [recipients]
        if isinstance(message, str):
            message = message.encode()
        with self.smtp() as smtp:
            smtp.ehlo("remote.test")
            code, text = smtp.mail(sender, mail_options)
            assert code == 250, (code, text)
            for recipient in recipients:
                code, text = smtp.rcpt(recipient)
                assert code == 250, (recipient, code, text)
            code, text = smtp.data(message)
            assert code == 250, (code, text)
        return text

    def send_simple(self, user, subject):
        self.send(f"{user}@{DOMAIN}" if "@" not in user else user,
                  f"From: sender@remote.test\r\nSubject: {subject}\r\n"
                  f"Message-ID: <{subject}@remote.test>\r\n\r\n{subject}\r\n")

    # -- receiving

    def new_maildir(self):
        self.maildirs += 1
        return self.dir / f"client{self.maildirs}"

    def client(self, user, maildir=None, *extra):
        if "@" not in user:
            user = f"{user}@{DOMAIN}"
        client = Client(self, user, maildir or self.new_maildir(), *extra)
        self.clients.append(client)
        return client

    def collect(self, user, maildir=None):
        """Run register --once, which must drain the hold."""
        client = self.client(user, maildir, "--once")
        status = client.wait(60)
        assert status == 0, (status, client.log_path.read_text()[-3000:])
        client.kill()
        return client.maildir

    def doveadm(self, *arguments, check=True, command="doveadm"):
        result = subprocess.run(
            [self.bin(command), *arguments],
            capture_output=True, text=True, timeout=60)
        if check:
            assert result.returncode == 0, result.stderr
        return result

    def doveadm_hold(self, *arguments, check=True):
        """doveadm on the mailboxes of the user's hold"""
        return self.doveadm(*arguments, check=check, command="doveadm-hold")

    def held(self, user):
        """Ids of the messages held for user, oldest first."""
        output = self.doveadm("-f", "tab", "restante", "list", "-u",
                              f"{user}@{DOMAIN}").stdout.splitlines()
        if not output:
            return []
        column = output[0].split("\t").index("id")
        return [line.split("\t")[column] for line in output[1:]]

    def wait_held(self, user, count, seconds=20):
        return wait_for(f"{count} held for {user}",
                        lambda: len(self.held(user)) == count or None, seconds)

    def imap(self, user):
        imap = imaplib.IMAP4(self.address, int(self.env["IMAP_PORT"]))
        imap.login(f"{user}@{DOMAIN}", self.password)
        return imap

    def mailbox(self, user, name="INBOX"):
        """The messages of a mailbox, as IMAP shows them (CRLF)."""
        imap = self.imap(user)
        try:
            status, _ = imap.select(name, readonly=True)
            if status != "OK":
                return []
            _, data = imap.uid("FETCH", "1:*", "(BODY.PEEK[])")
            return [part[1] for part in data if isinstance(part, tuple)]
        finally:
            imap.logout()

    def tls(self, user=None):
        """A raw connection to policyd, for peers that misbehave."""
        context = ssl.create_default_context(cafile=self.env["CA_FILE"])
        raw = socket.create_connection(
            (self.address, int(self.env["TLS_PORT"])), timeout=20)
        return context.wrap_socket(raw, server_hostname="mx.example.test")

    def log(self, name):
        path = pathlib.Path(self.env["LOG_DIR"]) / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""


def maildir_messages(path):
    """The messages that a client has stored: octets of each, in any order."""
    path = pathlib.Path(path)
    # made one by one: before the last there can be no message
    if not all((path / part).is_dir() for part in ("tmp", "new", "cur")):
        return []
    box = mailbox.Maildir(path, create=False)
    # a name with a dot is no message: the client tries whether it may write
    return [box.get_bytes(key) for key in box.keys() if not key.startswith(".")]


TRACE = (b"return-path:", b"delivered-to:", b"received:")


def without_trace(message, marker=b"with ESMTP"):
    """Cut the trace fields on top, through Postfix's own Received field.

    The fields above it differ by design from place to place. The octets after it
    are those that Dovecot got, and must be the same everywhere.
    """
    lines = message.split(b"\n")
    end = 0
    while end < len(lines) and lines[end].lower().startswith(TRACE):
        field = end
        end += 1
        while end < len(lines) and lines[end][:1] in (b" ", b"\t"):
            end += 1
        if b"Postfix" in b"\n".join(lines[field:end]):
            return b"\n".join(lines[end:])
    raise AssertionError(f"no Postfix trace field: {message[:400]!r}")


def digest(message):
    return hashlib.sha256(message).hexdigest()


@pytest.fixture(scope="session")
def make_sandbox():
    made = []

    def make(*arguments):
        # short: Dovecot's socket paths end at 108 octets
        directory = tempfile.mkdtemp(prefix="rst", dir="/tmp")
        os.chmod(directory, 0o755)
        sandbox = None
        try:
            sandbox = Sandbox(directory + "/s", *arguments)
        finally:
            made.append((directory, sandbox))
        return sandbox

    yield make
    for directory, sandbox in made:
        if sandbox is not None:
            sandbox.down()
        else:
            subprocess.run([SANDBOX, "down", directory + "/s"])
        if not os.environ.get("RESTANTE_KEEP"):
            shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def sandbox(make_sandbox):
    """One sandbox for the tests of a file: each uses users of its own."""
    sandbox = make_sandbox()
    yield sandbox
    sandbox.down()


def pytest_terminal_summary(terminalreporter):
    """What was left out, by name: pytest's own summary counts places."""
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.line(f"skipped: {report.nodeid}: "
                              f"{report.longrepr[2].removeprefix('Skipped: ')}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Show the ends of the logs beside a failure."""
    outcome = yield
    report = outcome.get_result()
    sandbox = item.funcargs.get("sandbox") if report.failed else None
    if isinstance(sandbox, Sandbox):
        for name in ("policyd", "dovecot", "postfix"):
            report.sections.append(
                (f"{name}.log", sandbox.log(name)[-4000:]))
        for client in sandbox.clients[-3:]:
            report.sections.append(
                (str(client.log_path), client.log_path.read_text()[-2000:]))
