# SPDX-License-Identifier: MIT
"""Mail goes only to its owner: sign-in, refusals, and strangers, who see
nothing."""
import base64
import hashlib
import hmac
import shutil

import pytest

from conftest import DOMAIN, maildir_messages, wait_for


class Peer:
    """A client that speaks as the test tells it to."""

    def __init__(self, sandbox):
        self.sock = sandbox.tls()
        self.file = self.sock.makefile("rb")
        assert self.reply()[0] == 220

    def reply(self):
        lines = []
        while True:
            line = self.file.readline()
            if not line:
                return 0, lines
            lines.append(line[4:].rstrip(b"\r\n").decode())
            if line[3:4] != b"-":
                return int(line[:3]), lines

    def say(self, line):
        self.sock.sendall(line.encode() + b"\r\n")
        return self.reply()

    def ehlo(self):
        code, lines = self.say("EHLO client.test")
        assert code == 250
        return lines

    def plain(self, user, password):
        token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        return self.say(f"AUTH PLAIN {token}")

    def close(self):
        self.file.close()
        self.sock.close()


@pytest.fixture
def peer(sandbox):
    peer = Peer(sandbox)
    yield peer
    peer.close()


def test_atrn_before_auth(peer):
    peer.ehlo()
    assert peer.say("ATRN")[0] == 530


def test_mail_is_not_taken(peer):
    peer.ehlo()
    assert peer.say("MAIL FROM:<a@remote.test>")[0] == 502


@pytest.mark.parametrize("user", ["traveller0", "nobody"])
def test_wrong_password_and_unknown_user(sandbox, peer, user):
    """Neither code nor text tells the two apart; then ATRN gives nothing."""
    sandbox.send_simple("traveller0", "secret-letter")
    peer.ehlo()
    code, lines = peer.plain(f"{user}@{DOMAIN}", "wrong")
    assert (code, lines) == (535, ["5.7.8 " + lines[0][6:]])
    assert user not in lines[0]
    assert peer.say("ATRN")[0] == 530


def test_same_words_for_wrong_password_and_unknown_user(sandbox):
    replies = []
    for user in ("traveller0", "nobody"):
        peer = Peer(sandbox)
        peer.ehlo()
        replies.append(peer.plain(f"{user}@{DOMAIN}", "wrong"))
        peer.close()
    assert replies[0] == replies[1]


def test_too_many_failures_close(sandbox, peer):
    peer.ehlo()
    for _ in range(10):
        code, _ = peer.plain(f"traveller0@{DOMAIN}", "wrong")
        if code != 535:
            break
    assert code in (421, 0)


def test_cram_md5(sandbox, peer):
    peer.ehlo()
    code, lines = peer.say("AUTH CRAM-MD5")
    assert code == 334
    digest = hmac.new(sandbox.password.encode(), base64.b64decode(lines[0]),
                      hashlib.md5).hexdigest()
    answer = base64.b64encode(
        f"traveller9@{DOMAIN} {digest}".encode()).decode()
    assert peer.say(answer)[0] == 235


def test_auth_field_injection(sandbox, peer):
    """The request to Dovecot has no field that a client has made up."""
    peer.ehlo()
    for initial in ("AAAA\tvalid-client-cert", "!!!!", "AAAA nologin", "A"):
        code, _ = peer.say(f"AUTH PLAIN {initial}")
        assert code in (501, 535), initial
    assert peer.say("AUTH PLAIN\tx")[0] >= 500


def test_client_program_refused(sandbox):
    bad = sandbox.dir / "bad-password"
    bad.write_text("wrong\n")
    env = dict(sandbox.env)
    sandbox.env["PASSWORD_FILE"] = str(bad)
    try:
        assert sandbox.client("traveller1", None, "--once").wait() == 77
        sandbox.env["PASSWORD_FILE"] = env["PASSWORD_FILE"]
        assert sandbox.client("nobody", None, "--once").wait() == 77
    finally:
        sandbox.env = env


def test_client_refuses_a_stranger_s_certificate(sandbox, make_sandbox):
    env = dict(sandbox.env)
    wrong = sandbox.dir / "other-ca.pem"
    import subprocess
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "/dev/null",
         "-out", wrong, "-subj", "/CN=other"], check=True, capture_output=True)
    sandbox.env["CA_FILE"] = str(wrong)
    try:
        client = sandbox.client("traveller1", None, "--once")
        assert client.wait() in (75, 77)
        assert client.said("certificate")
    finally:
        sandbox.env = env


def test_two_users_never_see_each_other(sandbox):
    one = sandbox.client("traveller2")
    two = sandbox.client("traveller3")
    for client in (one, two):
        wait_for("sign-in", lambda: client.said("signed in"))
    for n in range(20):
        sandbox.send_simple("traveller2", f"for-two-{n}")
        sandbox.send_simple("traveller3", f"for-three-{n}")
    for client in (one, two):
        wait_for("twenty each",
                 lambda: len(maildir_messages(client.maildir)) == 20 or None)
    sandbox.wait_held("traveller2", 0)
    sandbox.wait_held("traveller3", 0)
    assert all(b"for-two-" in m and b"for-three-" not in m
               for m in maildir_messages(one.maildir))
    assert all(b"for-three-" in m and b"for-two-" not in m
               for m in maildir_messages(two.maildir))


def test_newer_sign_in_wins(sandbox):
    old = sandbox.client("traveller4")
    wait_for("sign-in", lambda: old.said("signed in"))
    new = sandbox.client("traveller4")
    wait_for("sign-in", lambda: new.said("signed in"))
    sandbox.send_simple("traveller4", "to-the-newer")
    wait_for("push", lambda: maildir_messages(new.maildir))
    assert maildir_messages(old.maildir) == []


def test_userdb_renames(make_sandbox):
    """An account signs in under one name, and the userdb gives it another: it
    has its mail at once, by whatever address it comes."""
    sandbox = make_sandbox()
    passdb = sandbox.dir / "dovecot" / "users"
    line = next(line for line in passdb.read_text().splitlines()
                if line.startswith("traveller1@"))
    alias = line.replace("traveller1@", "alias@", 1)
    userdb = passdb.with_name("userdb")
    shutil.copy(passdb, userdb)
    with open(userdb, "a") as file:
        file.write(f"{alias} userdb_user=traveller1@{DOMAIN}\n")
    with open(passdb, "a") as file:
        file.write(alias + "\n")
    shutil.chown(userdb, "root", "dovecot")
    userdb.chmod(0o640)
    conf = sandbox.dir / "dovecot" / "auth.conf"
    before, after = conf.read_text().split("\nuserdb ")
    conf.write_text(before + "\nuserdb " + after.replace(str(passdb),
                                                         str(userdb)))
    for part in ("policyd", "dovecot"):
        sandbox.stop(part)
    for part in ("dovecot", "policyd"):
        sandbox.start(part)
    client = sandbox.client("alias")
    wait_for("sign-in", lambda: client.said("held: messages=0"))
    for n, user in enumerate(("traveller1", "alias"), 1):
        sandbox.send_simple(user, f"by-{user}")
        wait_for("the message", lambda: len(
            maildir_messages(client.maildir)) == n, 30)
    # one account, one session
    other = sandbox.client("traveller1")
    wait_for("sign-in", lambda: other.said("held: messages=0"))
    wait_for("the end of the older one", lambda: client.said("signed out")
             or client.said("newer"))
    sandbox.send_simple("alias", "to-the-newer")
    wait_for("the message", lambda: maildir_messages(other.maildir), 30)
    # it is looked at again under the name that it signed in with
    assert "signed out: session" not in sandbox.log("policyd")
