# SPDX-License-Identifier: MIT
"""The client stores exactly the octets that Dovecot would have stored."""
import base64
import json
import random
import subprocess

import dkim
import pytest

from conftest import (DOMAIN, digest, maildir_messages, wait_for,
                      without_trace)

HEADER = b"From: a@remote.test\r\nSubject: %s\r\n\r\n"


def odd_messages():
    """name -> octets as the sender says them in SMTP DATA (CRLF)."""
    rng = random.Random(20)
    yield "8bit", HEADER % b"8bit" + bytes(range(128, 256)) + b"\r\n"
    yield "utf8-header", HEADER % "Grüße 你好".encode() + b"x\r\n"
    yield "latin1-header", HEADER % b"Gr\xfc\xdfe" + b"x\r\n"
    yield "nul", HEADER % b"nul" + b"a\0b\0\0c\r\n"
    yield "controls", HEADER % b"controls" + bytes(
        c for c in range(1, 32) if c not in b"\r\n") + b"\x7f\r\n"
    yield "line-20k", HEADER % b"line20k" + b"x" * 20000 + b"\r\n"
    yield "line-998", HEADER % b"line998" + b"y" * 998 + b"\r\n"
    yield "line-999", HEADER % b"line999" + b"y" * 999 + b"\r\n"
    yield "dots", HEADER % b"dots" + b".\r\n..\r\n...\r\n.x\r\n. \r\n" * 50
    yield "dot-first", HEADER % b"dot1" + b".\r\n"
    yield "dots-only", HEADER % b"dots2" + b"." * 4000 + b"\r\n"
    yield "bare-cr", HEADER % b"barecr" + b"a\rb\rc\r\n\r\rd\r\n"
    yield "cr-cr-lf", HEADER % b"crcrlf" + b"a\r\r\nb\r\n"
    yield "from-line", HEADER % b"from" + b"From here\r\n>From there\r\n"
    yield "from-first", b"From somebody Mon Jan  1 00:00:00 2026\r\nx: y\r\n\r\nz\r\n"
    yield "no-header", b"\r\njust a body\r\n"
    yield "no-header-no-blank", b"just a line without a colon\r\nanother\r\n"
    yield "empty-body", b"From: a@remote.test\r\nSubject: empty\r\n\r\n"
    yield "header-only", b"From: a@remote.test\r\nSubject: only\r\n"
    yield "empty", b""
    yield "one-newline", b"\r\n"
    yield "many-newlines", HEADER % b"newlines" + b"\r\n" * 3000
    yield "trailing-blanks", HEADER % b"blanks" + b"a  \r\n\t\r\n \r\n"
    yield "own-field", b"X-Restante-Envelope: v=1; id=forged; t=1\r\n" + (
        HEADER % b"forged")
    yield "own-field-inside", HEADER % b"inside" + (
        b"X-Restante-Envelope: v=1; id=forged\r\n")
    yield "return-path", b"Return-Path: <forged@remote.test>\r\n" + (
        HEADER % b"rp") + b"x\r\n"
    yield "delivered-to", b"Delivered-To: loop@remote.test\r\n" + (
        HEADER % b"dt") + b"x\r\n"
    yield "received-many", b"".join(
        b"Received: from h%d by g%d; Mon, 01 Jan 2026 00:00:00 +0000\r\n" % (
            n, n) for n in range(40)) + HEADER % b"received" + b"x\r\n"
    yield "folded", b"From: a@remote.test\r\nSubject: a\r\n b\r\n\tc\r\n" + (
        b" " * 200 + b"d\r\n\r\nbody\r\n")
    yield "long-header", b"X-Long: " + b"h" * 900 + b"\r\n" + (
        HEADER % b"longheader") + b"x\r\n"
    yield "many-headers", b"".join(
        b"X-%d: %d\r\n" % (n, n) for n in range(1500)) + (
            HEADER % b"many") + b"x\r\n"
    yield "smtp-words", HEADER % b"smtp" + (
        b"QUIT\r\nRSET\r\nMAIL FROM:<>\r\n250 ok\r\n\r\nBDAT 0 LAST\r\n")
    yield "hold-words", HEADER % b"hold" + b"MSG\t1\tx\t1\t1\t\t\r\nEND\t1\r\n"
    yield "tabs", HEADER % b"tabs" + b"\t\t\t\x01t\x01n\r\n"
    yield "mime", HEADER % b"mime" + b"--x\r\n\r\n--x--\r\n"
    yield "ff", HEADER % b"ff" + b"\xff" * 5000 + b"\r\n"
    yield "no-final-newline", HEADER % b"nofinal" + b"the end"
    yield "equal-a", HEADER % b"equal" + b"the same twice\r\n"
    yield "equal-b", HEADER % b"equal" + b"the same twice\r\n"
    for n, size in enumerate((1, 77, 1023, 4096, 8191, 8192, 16385, 65536,
                              131071, 262144, 1000000)):
        body = bytes(rng.choice(b"abcdefgh \n\t.") for _ in range(size))
        yield f"size-{n}", HEADER % b"size%d" % n + (
            body.replace(b"\n", b"\r\n") + b"\r\n")
    line = bytes(rng.choice(b"0123456789abcdef") for _ in range(76)) + b"\r\n"
    yield "30MB", HEADER % b"big" + line * (30 * 1000 * 1000 // len(line))


def signed_message(directory):
    """A DKIM-signed message and the DNS answer that verifies it."""
    key = directory / "dkim.pem"
    subprocess.run(["openssl", "genrsa", "-traditional", "-out", key, "2048"],
                   check=True, capture_output=True)
    public = subprocess.run(
        ["openssl", "rsa", "-in", key, "-pubout", "-outform", "DER"],
        check=True, capture_output=True).stdout
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    message = (b"From: a@remote.test\r\nTo: traveller0@example.test\r\n"
               b"Subject: signed\r\nDate: Mon, 01 Jan 2026 00:00:00 +0000\r\n"
               b"\r\nLine one  \r\n\r\n.dots\r\n\r\n\r\n")
    signature = dkim.sign(message, b"s1", b"remote.test", key.read_bytes(),
                          canonicalize=(b"simple", b"simple"))
    return signature + message, record


@pytest.fixture(scope="module", params=["sdbox", "maildir", "mdbox"])
def identity(request, make_sandbox):
    sandbox = make_sandbox("--format", request.param)
    yield sandbox
    sandbox.down()


def test_odd_messages_are_identical(identity):
    sandbox = identity
    messages = dict(odd_messages())
    messages["dkim"], record = signed_message(sandbox.dir)
    assert len(messages) >= 50
    both = [f"traveller0@{DOMAIN}", f"resident@{DOMAIN}"]
    for n, data in enumerate(messages.values()):
        # in one LMTP transaction one of them may be a copy of the other
        for recipients in ([both] if n % 2 else [both[:1], both[1:]]):
            sandbox.send(recipients, data)
    sandbox.wait_held("traveller0", len(messages), 120)
    maildir = sandbox.collect("traveller0")
    # raw, as the storage format has it: IMAP would change NULs
    fetched = wait_for(
        "resident's copies",
        lambda: len(r := raw_store(sandbox, "resident")) == len(messages) and r,
        60)
    want = sorted(digest(without_trace(m)) for m in fetched)
    stored = maildir_messages(maildir)
    got = sorted(digest(without_trace(m)) for m in stored)
    assert got == want

    signed, = [m for m in stored if b"Subject: signed\n" in m]
    assert dkim.verify(signed.replace(b"\n", b"\r\n"),
                       dnsfunc=lambda name, timeout=5: record)


def raw_store(sandbox, user):
    """The octets of each message as Dovecot has stored them (LF)."""
    result = subprocess.run(
        [sandbox.bin("doveadm"), "-f", "json", "fetch",
         "-u", f"{user}@{DOMAIN}", "uid", "mailbox", "INBOX"],
        capture_output=True, timeout=60)
    if result.returncode != 0:
        return []
    uids = [entry["uid"] for entry in json.loads(result.stdout)]
    messages = []
    for uid in uids:
        # one message's text is written as it is stored, after "text:"
        out = subprocess.run(
            [sandbox.bin("doveadm"), "fetch", "-u",
             f"{user}@{DOMAIN}", "text", "mailbox", "INBOX", "uid", str(uid)],
            capture_output=True, timeout=60, check=True).stdout
        assert out.startswith(b"text:\n"), out[:20]
        messages.append(out[len(b"text:\n"):])
    return messages
