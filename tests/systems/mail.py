#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Sends mail to the server that runs here, and compares what has come.

usage: mail.py send ADDRESS NAME [COUNT]    messages NAME, or NAME-1 to NAME-COUNT
       mail.py compare MAILDIR NAME COUNT   each of them is there once, as sent
       mail.py hash DIRECTORY               of each file below it
       mail.py syslog FILE                  a /dev/log that is written to FILE
"""
import email.utils
import hashlib
import os
import pathlib
import smtplib
import socket
import sys

TO = "X-Trial: "


def message(name):
    """Octets from TO on; trace fields stand before it. Sizes differ."""
    lines = int(hashlib.sha256(name.encode()).hexdigest()[:2], 16)
    return (f"{TO}{name}\r\nFrom: sender@remote.test\r\n"
            f"To: recipient@example.test\r\nSubject: {name}\r\n"
            f"Date: {email.utils.formatdate(1)}\r\n"
            f"Message-ID: <{name}@remote.test>\r\n\r\n"
            + f"{name}: gr\u00fc\u00dfe\r\n.\r\n" * (lines + 1)).encode()


def names(name, count):
    return [name] if count == 0 else [f"{name}-{n + 1}" for n in range(count)]


def sender(name):
    return f"{name}@sender.test"


def send(address, name, count=0):
    with smtplib.SMTP("127.0.0.1", 25, timeout=60) as smtp:
        for each in names(name, int(count)):
            smtp.sendmail(sender(each), [address], message(each))


def compare(maildir, name, count):
    wanted = {each: message(each).replace(b"\r\n", b"\n")
              for each in names(name, int(count))}
    faults = []
    seen = 0
    for part in ("new", "cur"):
        for path in pathlib.Path(maildir, part).iterdir():
            octets = path.read_bytes()
            start = octets.find(TO.encode())
            each = octets[start + len(TO):].split(b"\n", 1)[0].decode()
            seen += 1
            if wanted.pop(each, None) != octets[start:]:
                faults.append(f"{path}: {each}: not once, or not as sent")
            if f"Return-Path: <{sender(each)}>\n".encode() not in octets[:start]:
                faults.append(f"{path}: {each}: another envelope sender")
    faults += [f"{each} is missing" for each in wanted]
    print(f"{seen} messages, {len(wanted)} missing, {len(faults)} faults")
    if faults:
        sys.exit("FAILED: " + "\n".join(faults[:5]))


def hash_files(directory):
    for path in sorted(pathlib.Path(directory).rglob("*")):
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            print(digest, path.relative_to(directory))


def syslog(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, \
            open(path, "ab", buffering=0) as log:
        sock.bind("/dev/log")
        os.chmod("/dev/log", 0o666)
        while True:
            log.write(sock.recv(65536).rstrip(b"\0\n") + b"\n")


COMMANDS = {"send": send, "compare": compare, "hash": hash_files,
            "syslog": syslog}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    COMMANDS[sys.argv[1]](*sys.argv[2:])
