# SPDX-License-Identifier: MIT
"""fetchmail as ODMR customer: an old client gets plain ODMR.

fetchmail passes the mail to an SMTP server of its own host. Here that is a
small sink, so that the test sees the octets that come through.
"""
import os
import socketserver
import subprocess
import threading

from conftest import DOMAIN
from rights import NO_MOUNTS


class Sink(socketserver.StreamRequestHandler):
    """An SMTP server without any extension."""

    def say(self, line):
        self.wfile.write(line + b"\r\n")

    def handle(self):
        self.say(b"220 sink")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.say(b"354 go on")
                message = b""
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    message += line[1:] if line[:1] == b"." else line
                self.server.messages.append(message)
                self.say(b"250 stored")
            elif verb == b"QUIT":
                self.say(b"221 bye")
                return
            else:
                self.say(b"250 ok")


def named_localhost():
    """fetchmail wants the name of its host to resolve, which is not our matter.
    That of a container does."""
    return [] if NO_MOUNTS else [
        "unshare", "--uts", "sh", "-c", 'hostname localhost && exec "$@"',
        "sh"]


def test_fetchmail(sandbox, tmp_path):
    bodies = [b"one\r\n", b".\r\n..dots\r\n", b"x" * 3000 + b"\r\n",
              b"many\r\n" * 2000]
    for n, body in enumerate(bodies):
        sandbox.send(f"traveller0@{DOMAIN}",
                     b"From: a@remote.test\r\nSubject: f%d\r\n\r\n" % n + body)
    sandbox.wait_held("traveller0", len(bodies))

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Sink)
    server.messages = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rc = tmp_path / "fetchmailrc"
    rc.write_text(
        f"set no syslog\n"
        f"poll 127.0.0.1 protocol ODMR port {sandbox.env['TLS_PORT']}\n"
        f" auth cram-md5 timeout 20\n"
        f" user \"traveller0@{DOMAIN}\" password \"{sandbox.password}\"\n"
        f" ssl sslproto \"TLS1.2+\" sslcertck\n"
        f" sslcertfile \"{sandbox.env['CA_FILE']}\"\n"
        f" sslcommonname mx.example.test\n"
        f" smtphost 127.0.0.1/{server.server_address[1]}\n"
        f" fetchdomains {DOMAIN}\n")
    rc.chmod(0o600)
    result = subprocess.run(
        [*named_localhost(), "fetchmail", "-f", rc, "-v", "-v", "--nodetach", "--nosyslog"],
        capture_output=True, text=True, timeout=120,
        env=dict(os.environ, HOME=str(tmp_path), FETCHMAILHOME=str(tmp_path)))
    server.shutdown()
    server.server_close()
    assert len(server.messages) == len(bodies), (
        result.stdout[-3000:], result.stderr[-2000:])
    for n, body in enumerate(bodies):
        message, = [m for m in server.messages if b"Subject: f%d\r\n" % n in m]
        assert message.split(b"\r\n\r\n", 1)[1].replace(
            b"\r\n ", b"") == body, n
        assert b"X-Restante-Envelope" not in message
    sandbox.wait_held("traveller0", 0)
