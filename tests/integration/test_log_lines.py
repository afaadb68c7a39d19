# SPDX-License-Identifier: MIT
"""A peer's octets cannot forge a log line: each is one line, key=value."""
import base64
import re
import socket
import ssl
import threading

import pytest

from conftest import DOMAIN, wait_for

# of Dovecot's escapes, of ours, of a terminal, and of lines
NASTY = b'x\x1b[31m"\\ a=b\x00\t\x7f\xff\xc2\x9b\xe2\x80\xa8\r2023 forged: k=v'
# a reply with control characters is none
MILD = b'x"\\ a=b\t\xff\xc2\x9b 2023 forged: k="v" \\x22'
VALUE = r'(?:"[^"\x00-\x1f\x7f]*"|[^\s"=]+)'
HEAD = (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:core|worker|restante)"
        r"\[\d+\] (?:error|warning|notice|info|debug): ")
LINE = re.compile(HEAD + r"[^=\"\x00-\x1f\x7f]*"
                  rf"(?:: [a-z_]+={VALUE}(?: [a-z_]+={VALUE})*)?(?:\.\.\.)?")


def judge(log):
    """@param log octets"""
    lines = log.split(b"\n")
    assert lines.pop() == b""
    for line in lines:
        assert LINE.fullmatch(line.decode()), line
    return lines


def policyd_log(sandbox):
    return (sandbox.dir / "log" / "policyd.log").read_bytes()


def say(sandbox, *lines):
    """Say each line in a session of its own, after EHLO."""
    for line in lines:
        with sandbox.tls() as tls:
            tls.recv(4096)
            tls.sendall(b"EHLO x\r\n")
            tls.recv(4096)
            tls.sendall(line + b"\r\n")
            tls.settimeout(5)
            try:
                while tls.recv(4096):
                    tls.sendall(b"QUIT\r\n")
            except OSError:
                pass


def plain(user, password):
    return b"AUTH PLAIN " + base64.b64encode(b"\0" + user + b"\0" + password)


def test_policyd_and_its_clients(sandbox):
    """A client's commands, names and passwords before the turnaround."""
    name = NASTY.replace(b"\0", b"")
    say(sandbox, NASTY, b"AUTH " + NASTY, b"ATRN " + NASTY,
        b"EHLO " + NASTY, plain(name, b"wrong"), plain(b"a" * 3000, b"x"),
        plain(name + f"@{DOMAIN}".encode(), b"wrong"))
    wait_for("sessions closed", lambda: policyd_log(sandbox).count(
        b"session closed") >= 7)
    lines = judge(policyd_log(sandbox))
    assert any(b"\\x1B[31m" in line for line in lines)
    assert not any(b" forged: k=v" in line.partition(b"\\x0D")[0]
                   for line in lines)


@pytest.mark.parametrize("reply", ["5xx", "EHLO"])
def test_policyd_and_replies(sandbox, reply):
    """A client's replies, after the turnaround."""
    user = "traveller1" if reply == "5xx" else "traveller2"
    sandbox.send_simple(user, "nasty")
    sandbox.wait_held(user, 1)
    nasty = MILD
    words = {b"EHLO": b"250 x", b"MAIL": b"550 5.1.0 " + nasty}
    if reply == "EHLO":
        words[b"EHLO"] = b"250-" + nasty + b"\r\n250-SIZE " + nasty + \
            b"\r\n250 XRESTANTE " + nasty
    with sandbox.tls() as tls:
        tls.recv(4096)
        tls.sendall(b"EHLO x\r\n")
        tls.recv(4096)
        tls.sendall(plain(f"{user}@{DOMAIN}".encode(),
                          sandbox.password.encode()) + b"\r\n")
        assert tls.recv(4096).startswith(b"235")
        tls.sendall(b"ATRN\r\n")
        assert tls.recv(4096).startswith(b"250")
        tls.sendall(b"220 " + nasty + b"\r\n")
        tls.settimeout(5)
        try:
            while data := tls.recv(65536):
                for line in data.split(b"\r\n"):
                    if line[:4] in words:
                        tls.sendall(words[line[:4]] + b"\r\n")
                    elif line[:4] in (b"RCPT", b"BDAT", b"DATA", b"RSET"):
                        tls.sendall(b"503 5.5.1 " + nasty + b"\r\n")
                if b"MAIL" in data:
                    break
        except TimeoutError:
            pass
    wait_for("session closed", lambda: re.search(
        rf"session closed:.* user={user}@", sandbox.log("policyd")))
    lines = judge(policyd_log(sandbox))
    if reply == "5xx":
        assert any(b"refused by client" in line and
                   b'x\\x22\\x5C a=b' in line for line in lines)


def server_context(sandbox):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sandbox.dir / "tls/cert.pem",
                            sandbox.dir / "tls/key.pem")
    return context


@pytest.mark.parametrize("step", range(4))
def test_client_and_its_server(sandbox, step):
    """A server's lines, at each step of the sign-in."""
    replies = [b"220 x", b"250-x\r\n250-ATRN\r\n250 AUTH PLAIN", b"235 ok",
               b"250 ok"]
    replies[step] = b"554 5.3.0 " + MILD
    context = server_context(sandbox)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            connection, _ = listener.accept()
            with context.wrap_socket(connection, server_side=True) as tls:
                for reply in replies[:step + 1]:
                    tls.sendall(reply + b"\r\n")
                    tls.settimeout(5)
                    try:
                        tls.recv(4096)
                    except OSError:
                        return
        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        client = sandbox.client(f"traveller3@{DOMAIN}", None, "--once",
                                "--server", f"127.0.0.1:{port}")
        client.wait()
        thread.join()
    lines = judge(client.log_path.read_bytes())
    assert any(b'x\\x22\\x5C a=b' in line for line in lines)
