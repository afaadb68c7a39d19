# SPDX-License-Identifier: MIT
"""restante register --once from cron, which mails whatever is written: nothing
is, unless there is something to report. And a password file from Windows."""
import contextlib
import os
import pty
import re
import socket
import subprocess
import threading

import pytest

from conftest import DOMAIN, maildir_messages
from test_log_lines import server_context

PASSWORD = "--password-file"


def register(sandbox, user, *extra, stderr=subprocess.PIPE, **kwargs):
    return subprocess.run(
        [sandbox.bin("restante"), "register", f"{user}@{DOMAIN}", "--once",
         "--server", f"127.0.0.1:{sandbox.env['TLS_PORT']}",
         "--ca-file", sandbox.env["CA_FILE"],
         PASSWORD, sandbox.env["PASSWORD_FILE"],
         "--maildir", str(sandbox.dir / f"cron-{user}"), *extra],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
        timeout=60, **kwargs)


def messages(octets):
    """The message of each line, without time and values."""
    return re.findall(rb"^\S+ restante\[\d+\] (\w+: [^:\n]+)", octets, re.M)


def test_nothing_to_report(sandbox):
    for _ in range(2):
        result = register(sandbox, "traveller0")
        assert (result.returncode, result.stdout, result.stderr) == (0, b"",
                                                                     b"")


def until_hangup(terminal):
    """All of it: a terminal hands on what was written in pieces, some time
    later, and its end as an error."""
    octets = b""
    with contextlib.suppress(OSError):
        while piece := terminal.read(65536):
            octets += piece
    return octets


def test_on_a_terminal_or_verbose(sandbox):
    master, slave = pty.openpty()
    with open(master, "rb", buffering=0) as terminal:
        with open(slave, "wb", buffering=0) as stderr:
            assert register(sandbox, "traveller0",
                            stderr=stderr).returncode == 0
        assert messages(until_hangup(terminal)) == [
            b"info: signed in", b"info: held", b"info: signed out"]
    lines = messages(register(sandbox, "traveller0", "--verbose").stderr)
    assert b"debug: connected" in lines
    assert lines[-1] == b"info: signed out"


def test_mail_is_reported(sandbox):
    """In order, with the lines that were kept back."""
    sandbox.send_simple("traveller1", "news")
    sandbox.wait_held("traveller1", 1)
    result = register(sandbox, "traveller1")
    assert result.returncode == 0
    assert messages(result.stderr) == [b"info: signed in", b"info: held",
                                       b"info: stored", b"info: signed out"]
    times = [line.split()[0] for line in result.stderr.splitlines()]
    assert times == sorted(times)
    sandbox.wait_held("traveller1", 0)
    sandbox.send_simple("traveller1", "more-news")
    sandbox.wait_held("traveller1", 1)
    result = register(sandbox, "traveller1", "--quiet")
    assert (result.returncode, result.stderr) == (0, b"")
    assert len(maildir_messages(sandbox.dir / "cron-traveller1")) == 2


SAYS = [b"220 mx ESMTP", b"250-mx\r\n250-AUTH PLAIN\r\n250 ATRN",
        b"235 2.7.0 Ok", b"250 2.0.0 Ok", b"EHLO mx",
        b"XRESTANTE SUMMARY 1 5"]


@pytest.fixture
def breaks_off(sandbox):
    """A server that announces a message, and is gone. @return its port"""
    context = server_context(sandbox)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve():
            connection, _ = listener.accept()
            with context.wrap_socket(connection, server_side=True) as tls:
                for line in SAYS:
                    tls.sendall(line + b"\r\n")
                    tls.settimeout(5)
                    tls.recv(4096)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(25)


@pytest.mark.parametrize("extra", [(), ("--quiet",)])
def test_broken_off(sandbox, breaks_off, extra):
    """What was kept back is written when mail was left at the server."""
    result = register(sandbox, "traveller0", "--server",
                      f"127.0.0.1:{breaks_off}", *extra)
    assert result.returncode == 75
    lines = messages(result.stderr)
    assert lines == ([] if extra else [
        b"info: signed in", b"info: held", b"info: lost connection"])


def test_server_not_reached(sandbox):
    where = ("--server", "127.0.0.1:1")
    result = register(sandbox, "traveller0", *where)
    assert result.returncode == 75
    assert messages(result.stderr) == [b"warning: cannot reach the server"]
    result = register(sandbox, "traveller0", *where, "--quiet")
    assert (result.returncode, result.stderr) == (75, b"")


def test_quiet_tells_what_needs_a_person(sandbox, tmp_path):
    """Each by its own exit status, and in one line."""
    password = tmp_path / "password"
    password.write_text("wrong\n")
    stranger = tmp_path / "stranger.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=stranger",
         "-keyout", tmp_path / "key.pem", "-out", stranger], check=True,
        capture_output=True)
    maildir = tmp_path / "Maildir"
    maildir.write_text("a file")
    for extra, status, words in [
            ((PASSWORD, str(password)), 77, b"error: sign-in refused"),
            (("--ca-file", str(stranger)), 75, b"error: cannot reach the"),
            (("--maildir", str(maildir)), 75, b"error: cannot open the")]:
        result = register(sandbox, "traveller5", "--quiet", *extra)
        assert result.returncode == status, result.stderr
        assert words in result.stderr
        assert result.stderr.count(b"\n") == 1


# ---- a password file from Windows

@pytest.mark.parametrize("before,after", [
    (b"\xef\xbb\xbf", b"\r\n"), (b"\xef\xbb\xbf", b""), (b"", b"\r\n")])
def test_password_from_notepad(sandbox, tmp_path, before, after):
    path = tmp_path / "password"
    path.write_bytes(before + sandbox.password.encode() + after)
    path.chmod(0o600)
    result = register(sandbox, "traveller2", PASSWORD, str(path))
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_password_in_utf_16(sandbox, tmp_path, coding):
    """Refused, and the file is named; the server is not asked."""
    path = tmp_path / "password"
    path.write_bytes((sandbox.password + "\r\n").encode(coding))
    result = register(sandbox, "traveller3", PASSWORD, str(path))
    assert result.returncode == 78
    assert str(path).encode() in result.stderr
    assert b"save it as UTF-8" in result.stderr


def test_password_with_a_blank(sandbox, tmp_path):
    path = tmp_path / "password"
    path.write_text(sandbox.password + " \n")
    result = register(sandbox, "traveller4", PASSWORD, str(path))
    assert result.returncode == 77
    assert b"begins or ends with a blank" in result.stderr
    assert str(path).encode() in result.stderr
