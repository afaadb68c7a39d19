# SPDX-License-Identifier: MIT
"""Bad input gets a clear error: configuration files and command lines."""
import re
import subprocess

import pytest

from conftest import DOMAIN


def policyd(sandbox, *arguments):
    return subprocess.run(
        [sandbox.bin("restante-policyd"), *arguments], capture_output=True,
        text=True, timeout=30, stdin=subprocess.DEVNULL)


def changed(sandbox, name, pattern, replacement):
    """policyd's configuration with one setting changed."""
    path = sandbox.dir / name
    text = (sandbox.dir / "policyd.conf").read_text()
    new, count = re.subn(pattern, replacement, text)
    assert count == 1
    path.write_text(new)
    return path


def test_check_of_a_running_system(sandbox):
    result = policyd(sandbox, "-t", "-c", sandbox.env["POLICYD_CONF"])
    print(result.stdout + result.stderr)
    assert result.returncode == 0
    for setting in ("tls_certificate", "policy_socket", "auth_socket",
                    "hold_socket", "holders_directory", "userdb_socket",
                    "control_socket"):
        assert setting in result.stdout + result.stderr


@pytest.mark.parametrize("pattern,replacement,words", [
    (r"auth_socket = .*", 'auth_socket = "/nonexistent/auth"', "auth_socket"),
    (r"userdb_socket = .*", 'userdb_socket = "/nonexistent/u"',
     "userdb_socket"),
    # a listener of another type, as its name does not end in -userdb
    (r'userdb_socket = "(.*)/restante-userdb"',
     r'userdb_socket = "\1/auth.sock"', "userdb_socket"),
    (r"hold_socket = .*", 'hold_socket = "/nonexistent/hold"', "hold_socket"),
    (r"tls_key = .*", 'tls_key = "/nonexistent/key.pem"', "tls_key"),
    (r"user = .*", 'user = "nosuchuser"', "user"),
    (r"holders_directory = .*", 'holders_directory = "/no/such/directory"',
     "holders_directory"),
    (r"holders_directory = .*", 'holders_directory = "/tmp"',
     "holders_directory"),
    (r"holders_directory = .*", 'holders_directory = "/etc/passwd"',
     "holders_directory"),
    (r"hostname = .*", 'hostname = "other.example.test"', "tls_certificate"),
])
def test_check_names_what_is_wrong(sandbox, pattern, replacement, words):
    path = changed(sandbox, "wrong.conf", pattern, replacement)
    result = policyd(sandbox, "-t", "-c", str(path))
    print(result.stdout + result.stderr)
    assert result.returncode != 0
    wrong = [line for line in (result.stdout + result.stderr).splitlines()
             if "error" in line or str(path) in line]
    assert any(words in line for line in wrong)


@pytest.mark.parametrize("line", [
    "keepalive = \"often\"",
    "workers = -1",
    "no_such_setting = 1",
    'listen = {"127.0.0.1:99999"}',
    "keepalive = ",
])
def test_wrong_setting_names_file_and_line(sandbox, line):
    path = sandbox.dir / "wrong-line.conf"
    path.write_text((sandbox.dir / "policyd.conf").read_text() + line + "\n")
    number = len(path.read_text().splitlines())
    result = policyd(sandbox, "-t", "-c", str(path))
    text = result.stdout + result.stderr
    print(text)
    assert result.returncode == 78
    # an unfinished line is noticed at the line after it
    assert f"{path}:{number}:" in text or f"{path}:{number + 1}:" in text


def test_missing_configuration(sandbox):
    result = policyd(sandbox, "-t", "-c", "/nonexistent.conf")
    assert result.returncode == 78
    assert "/nonexistent.conf" in result.stdout + result.stderr


def client(sandbox, *arguments):
    return subprocess.run(
        [sandbox.bin("restante"), *arguments], capture_output=True, text=True,
        timeout=30, stdin=subprocess.DEVNULL)


def test_client_usage(sandbox):
    assert client(sandbox).returncode == 64
    assert client(sandbox, "register", "--nonsense").returncode == 64
    assert client(sandbox, "--version").stdout.startswith("restante ")
    assert "register" in client(sandbox, "--help").stdout


def test_client_from_configuration_file(sandbox):
    maildir = sandbox.new_maildir()
    conf = sandbox.dir / "restante.conf"
    conf.write_text(
        f'user = "traveller0@{DOMAIN}"\n'
        f'server = "127.0.0.1:{sandbox.env["TLS_PORT"]}"\n'
        f'ca_file = "{sandbox.env["CA_FILE"]}"\n'
        f'password_file = "{sandbox.env["PASSWORD_FILE"]}"\n'
        f'maildir = "{maildir}"\n')
    sandbox.send_simple("traveller0", "by-file")
    sandbox.wait_held("traveller0", 1)
    result = client(sandbox, "register", "-c", str(conf), "--once")
    assert result.returncode == 0, result.stderr
    assert len(list((maildir / "new").iterdir())) == 1


def test_client_configuration_errors(sandbox):
    conf = sandbox.dir / "restante-wrong.conf"
    conf.write_text('user = "a@b"\nserver = "no-port"\n')
    result = client(sandbox, "register", "-c", str(conf), "--once")
    assert result.returncode == 78
    assert f"{conf}:2:" in result.stderr
    assert "server" in result.stderr
    result = client(sandbox, "register", f"traveller0@{DOMAIN}", "--once",
                    "--server", "127.0.0.1:1", "--maildir",
                    str(sandbox.new_maildir()), "--password-file",
                    "/nonexistent/password")
    assert result.returncode == 78
    assert "/nonexistent/password" in result.stderr


def test_server_not_there(sandbox):
    result = client(sandbox, "register", f"traveller0@{DOMAIN}", "--once",
                    "--server", "127.0.0.1:1", "--maildir",
                    str(sandbox.new_maildir()), "--password-file",
                    sandbox.env["PASSWORD_FILE"])
    assert result.returncode == 75
