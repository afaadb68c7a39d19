# SPDX-License-Identifier: MIT
"""A client of policyd that says exactly the lines that a test gives it."""
import base64
import re
import threading
from contextlib import suppress

from conftest import DOMAIN

EXTENDED = (b"PIPELINING", b"CHUNKING", b"BINARYMIME", b"8BITMIME",
            b"SMTPUTF8", b"ENHANCEDSTATUSCODES", b"XRESTANTE")
PLAIN = (b"8BITMIME",)


class Message:
    """The lines and octets from MAIL to the end of the message."""

    def __init__(self, mail):
        self.mail = mail
        match = re.search(rb" XRESTANTE=(\S+)", mail)
        self.id = match.group(1).decode() if match else None
        self.rcpt = None
        self.octets = b""

    @property
    def subject(self):
        return re.search(rb"^Subject: (.*?)\r?$", self.octets,
                         re.M).group(1).decode()


class Peer:
    """One connection, signed in and turned round."""

    def __init__(self, sandbox, user, offers=EXTENDED, password=None):
        self.sock = sandbox.tls()
        self.file = self.sock.makefile("rb")
        self.unanswered = []  # commands and messages, in order
        self.notices = []     # what came with XRESTANTE
        assert self.reply().startswith(b"220"), "no greeting"
        token = base64.b64encode(
            f"\0{user}@{DOMAIN}\0{password or sandbox.password}".encode())
        assert self.ask(b"EHLO peer").startswith(b"250")
        assert self.ask(b"AUTH PLAIN " + token).startswith(b"235")
        assert self.ask(b"ATRN").startswith(b"250")
        self.send(b"220 peer ESMTP")
        assert self.line().startswith(b"EHLO ")
        self.send(*[b"250-" + word for word in (b"peer",) + offers[:-1]],
                  b"250 " + offers[-1])

    def send(self, *lines):
        self.sock.sendall(b"".join(line + b"\r\n" for line in lines))

    def line(self):
        """The next line; b"" at the end."""
        return self.file.readline().rstrip(b"\r\n")

    def reply(self):
        line = self.line()
        while line[3:4] == b"-":
            line = self.line()
        return line

    def ask(self, line):
        self.send(line)
        return self.reply()

    def close(self):
        self.file.close()
        self.sock.close()

    # -- extended

    def command(self):
        """Take a command, or a message as a whole; None at the end."""
        line = self.line()
        if not line:
            return None
        if not line.startswith(b"MAIL "):
            if line.startswith(b"XRESTANTE "):
                self.notices.append(line)
            self.unanswered.append(line)
            return line
        message = Message(line)
        message.rcpt = self.line()
        bdat = self.line().split()
        assert bdat[0] == b"BDAT" and bdat[2] == b"LAST", bdat
        message.octets = self.file.read(int(bdat[1]))
        self.unanswered.append(message)
        return message

    def message(self):
        """The next message; other commands wait for their reply."""
        while True:
            got = self.command()
            assert got is not None, "connection ended"
            if isinstance(got, Message):
                return got

    def messages(self, count):
        return [self.message() for _ in range(count)]

    def answer(self, decide=lambda message: b"250 2.0.0 Stored", count=None):
        """Reply to the commands that were taken, or to the first `count` messages.

        decide() gives the reply to BDAT, or a tuple of all three.
        """
        while self.unanswered and count != 0:
            what = self.unanswered.pop(0)
            if not isinstance(what, Message):
                self.send(b"250 2.0.0 Noted")
                continue
            reply = decide(what)
            if isinstance(reply, bytes):
                reply = (b"250 2.1.0 Sender ok", b"250 2.1.5 Recipient ok",
                         reply)
            self.send(*reply)
            count = None if count is None else count - 1

    def answer_too_late(self):
        """Reply to a server that may have closed the connection.

        In a thread of its own: OpenSSL notes the failure for the thread, and
        Python 3.13 raises it at the thread's next read, of any connection."""
        def answer():
            with suppress(OSError):
                self.answer()
        late = threading.Thread(target=answer)
        late.start()
        late.join()

    def close_notice(self):
        """Read on until XRESTANTE CLOSE, and then the end."""
        while (line := self.command()) is not None:
            if isinstance(line, bytes) and line.startswith(b"XRESTANTE CLOSE"):
                with suppress(ConnectionResetError):
                    assert self.line() == b""
                return line
        return None
