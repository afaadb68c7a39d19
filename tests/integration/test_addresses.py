# SPDX-License-Identifier: MIT
"""Each message lands where it should, once."""
import os
import smtplib

from conftest import DOMAIN, maildir_messages, wait_for
from dovecot import IS_24

BODY = "From: a@remote.test\r\nSubject: {}\r\n\r\n{}\r\n"


def fields(message):
    head = message.split(b"\n\n")[0].decode(errors="replace")
    return dict(line.split(": ", 1) for line in head.split("\n")
                if ": " in line and line[:1] not in " \t")


def collect_one(sandbox, user):
    message, = maildir_messages(sandbox.collect(user))
    return fields(message)


def test_detail(sandbox):
    sandbox.send(f"traveller0+lists@{DOMAIN}", BODY.format("detail", "x"))
    sandbox.wait_held("traveller0", 1)
    assert collect_one(sandbox, "traveller0")["Delivered-To"] == (
        f"traveller0+lists@{DOMAIN}")


def test_case_of_localpart(sandbox):
    sandbox.send(f"Traveller1@{DOMAIN}", BODY.format("case", "x"))
    sandbox.wait_held("traveller1", 1)
    assert collect_one(sandbox, "traveller1")["Delivered-To"].lower() == (
        f"traveller1@{DOMAIN}")


def test_null_sender(sandbox):
    sandbox.send(f"traveller2@{DOMAIN}", BODY.format("null", "x"), sender="")
    sandbox.wait_held("traveller2", 1)
    got = collect_one(sandbox, "traveller2")
    assert got["Return-Path"] == "<>"
    assert got["Subject"] == "null"


def test_quoted_localpart_sender(sandbox):
    sandbox.send(f"traveller3@{DOMAIN}", BODY.format("quoted", "x"),
                 sender='"a b;c=d"@remote.test')
    sandbox.wait_held("traveller3", 1)
    assert collect_one(sandbox, "traveller3")["Return-Path"] == (
        '<"a b;c=d"@remote.test>')


def test_utf8_sender(sandbox):
    with sandbox.smtp() as smtp:
        smtp.ehlo("remote.test")
        smtp.command_encoding = "utf-8"
        assert smtp.docmd("MAIL", "FROM:<jürgen@remote.test>")[0] == 250
        assert smtp.rcpt(f"traveller4@{DOMAIN}")[0] == 250
        assert smtp.data(BODY.format("utf8", "x").encode())[0] == 250
    sandbox.wait_held("traveller4", 1)
    assert collect_one(sandbox, "traveller4")["Return-Path"] == (
        "<jürgen@remote.test>")


def test_five_recipients_two_enrolled(sandbox):
    """Postfix delivers to all recipients in one LMTP transaction."""
    for name in ("local1", "local2"):
        add_user(sandbox, name)
    everybody = ["local1", "traveller5", "resident", "traveller6", "local2"]
    sandbox.send([f"{name}@{DOMAIN}" for name in everybody],
                 BODY.format("five", "x"))
    for name in ("local1", "resident", "local2"):
        wait_for(name, lambda: len(sandbox.mailbox(name)) == 1 or None)
    for name in ("traveller5", "traveller6"):
        sandbox.wait_held(name, 1)
        assert sandbox.mailbox(name) == []
        got = collect_one(sandbox, name)
        assert got["Subject"] == "five"
        assert got["Delivered-To"] == f"{name}@{DOMAIN}"
        assert sandbox.held(name) == []
    for name in ("local1", "resident", "local2"):
        message, = sandbox.mailbox(name)
        assert b"X-Restante" not in message


def test_same_recipient_twice(sandbox):
    """Two addresses of one mailbox in one transaction are two deliveries."""
    sandbox.send([f"traveller7+a@{DOMAIN}", f"traveller7+b@{DOMAIN}"],
                 BODY.format("twice", "x"))
    sandbox.wait_held("traveller7", 2)
    stored = maildir_messages(sandbox.collect("traveller7"))
    assert sorted(fields(m)["Delivered-To"] for m in stored) == [
        f"traveller7+a@{DOMAIN}", f"traveller7+b@{DOMAIN}"]


def add_user(sandbox, name, extra=""):
    users = sandbox.dir / "dovecot" / "users"
    line, = [line for line in users.read_text().splitlines()
             if line.startswith("resident@")]
    with users.open("a") as out:
        out.write(line.replace("resident@", f"{name}@") + extra + "\n")
    # Dovecot goes by the file's time, in whole seconds
    wait_for(f"Dovecot to see {name}", lambda: sandbox.doveadm(
        "user", f"{name}@{DOMAIN}", check=False).returncode == 0 or (
            os.utime(users)))


def utf8_rcpt(sandbox, name, extra):
    """A connection to LMTP, and the code of the answer to RCPT."""
    add_user(sandbox, name, extra)
    lmtp = smtplib.LMTP(str(sandbox.dir / "run" / "lmtp.sock"))
    lmtp.command_encoding = "utf-8"
    lmtp.docmd("LHLO", "mx.example.test")
    assert lmtp.docmd("MAIL", "FROM:<a@remote.test>")[0] == 250
    return lmtp, lmtp.docmd("RCPT", f"TO:<{name}@{DOMAIN}>")[0]


UTF8_USERS = (("jürgen", "userdb_restante=yes"), ("jörg", ""))


def utf8_is_refused(sandbox):
    """Dovecot 2.3's LMTP does not accept a UTF-8 recipient, with the plugin or
    without: the sender gets Postfix's notice."""
    for name, extra in UTF8_USERS:
        lmtp, code = utf8_rcpt(sandbox, name, extra)
        assert code == 501
        lmtp.quit()


def utf8_is_held(sandbox):
    """2.4's does: the one who is enrolled is held for, signs in, and gets it."""
    for name, extra in UTF8_USERS:
        lmtp, code = utf8_rcpt(sandbox, name, extra)
        assert code == 250
        lmtp.docmd("DATA")
        lmtp.send(b"Subject: utf8-" + name.encode() + b"\r\n\r\nx\r\n.\r\n")
        assert lmtp.getreply()[0] == 250
        lmtp.quit()
    enrolled, other = (name for name, _ in UTF8_USERS)
    assert len(sandbox.held(enrolled)) == 1
    assert f"utf8-{other}" in sandbox.doveadm(
        "fetch", "-u", f"{other}@{DOMAIN}", "hdr.subject", "mailbox", "INBOX",
        "all").stdout
    message, = maildir_messages(sandbox.collect(enrolled))
    assert f"Subject: utf8-{enrolled}".encode() in message
    assert f"Delivered-To: <{enrolled}@{DOMAIN}>".encode() in message or (
        f"Delivered-To: {enrolled}@{DOMAIN}".encode() in message)
    assert sandbox.held(enrolled) == []


def test_utf8_recipient(sandbox):
    (utf8_is_held if IS_24 else utf8_is_refused)(sandbox)
