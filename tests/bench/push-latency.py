#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""New message: from the sender's 250 to durable at the client.

Beside it, in the same run on the same Dovecot, IMAP IDLE: the message goes to
a user who is not enrolled, a client in IDLE is told, fetches it, and writes it
to disk with fsync. The two take turns, message by message.

usage: push-latency.py BUILD [MESSAGES]
"""
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))
from conftest import DOMAIN, Sandbox  # noqa: E402


class Idler:
    """An IMAP client that waits in IDLE and keeps what it is told of."""

    def __init__(self, sandbox, user, directory):
        self.directory = directory
        directory.mkdir()
        self.sock = socket.create_connection(
            ("127.0.0.1", int(sandbox.env["IMAP_PORT"])))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")
        self.file.readline()
        self.command(f"LOGIN {user}@{DOMAIN} {sandbox.password}")
        self.command("SELECT INBOX")
        self.count = 0
        self.idle()

    def command(self, text):
        self.sock.sendall(f"a {text}\r\n".encode())
        octets = b""
        while not (line := self.file.readline()).startswith(b"a "):
            if line.endswith(b"}\r\n"):
                octets = self.file.read(int(line.rsplit(b"{")[1][:-3]))
        assert line.startswith(b"a OK"), line
        return octets

    def idle(self):
        self.sock.sendall(b"a IDLE\r\n")
        assert self.file.readline().startswith(b"+")

    def wait(self):
        """@return when the next message was on disk"""
        while not self.file.readline().endswith(b" EXISTS\r\n"):
            pass
        self.sock.sendall(b"DONE\r\n")
        while not self.file.readline().startswith(b"a OK"):
            pass
        self.count += 1
        octets = self.command(f"FETCH {self.count} BODY[]")
        path = self.directory / str(self.count)
        with open(path, "wb") as out:
            out.write(octets)
            out.flush()
            os.fsync(out.fileno())
        directory = os.open(self.directory, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        done = time.monotonic()
        self.idle()
        return done


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def main():
    build, messages = sys.argv[1], int((sys.argv[2:] or [200])[0])
    directory = subprocess.run(["mktemp", "-d", "/tmp/rstXXXXXX"], check=True,
                               capture_output=True, text=True).stdout.strip()
    os.chmod(directory, 0o755)
    sandbox = Sandbox(directory + "/s", "--build", build)
    try:
        # the client writes "stored" when the message is durable
        client = subprocess.Popen(
            [sandbox.bin("restante"), "register", f"traveller0@{DOMAIN}",
             "--server", f"127.0.0.1:{sandbox.env['TLS_PORT']}",
             "--ca-file", sandbox.env["CA_FILE"],
             "--password-file", sandbox.env["PASSWORD_FILE"],
             "--maildir", str(sandbox.dir / "laptop")],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while b"signed in" not in client.stderr.readline():
            pass
        idler = Idler(sandbox, "resident", sandbox.dir / "idler")
        body = "".join(f"line {n} of a letter of some length\r\n"
                       for n in range(120))
        text = f"From: a@remote.test\r\nSubject: latency\r\n\r\n{body}"
        pushed, idled = [], []
        smtp = sandbox.smtp()
        for _ in range(messages):
            smtp.sendmail("a@remote.test", f"traveller0@{DOMAIN}", text)
            sent = time.monotonic()
            while b"stored" not in client.stderr.readline():
                pass
            pushed.append((time.monotonic() - sent) * 1000)
            smtp.sendmail("a@remote.test", f"resident@{DOMAIN}", text)
            sent = time.monotonic()
            idled.append((idler.wait() - sent) * 1000)
        smtp.quit()
        client.terminate()
        client.wait(10)
    finally:
        sandbox.down()
        subprocess.run(["rm", "-rf", directory], check=True)
    result = {"messages": messages, "octets": len(text)}
    for name, values in (("restante push", pushed), ("IMAP IDLE", idled)):
        result[name] = {"p50_ms": round(percentile(values, .5), 2),
                        "p99_ms": round(percentile(values, .99), 2)}
        print(f"{name:14} p50 {percentile(values, .5):8.2f} ms   "
              f"p99 {percentile(values, .99):8.2f} ms")
    print(json.dumps(result))


main()
