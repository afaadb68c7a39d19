# SPDX-License-Identifier: MIT
"""The normal mailbox has no room for a fallback delivery."""
import json
import pathlib
import shutil
import time

import pytest

from conftest import DOMAIN, maildir_messages, wait_for
from dovecot import conf, hold_place

QUOTA = """
protocol lmtp {
  mail_plugins = $mail_plugins quota
}
protocol imap {
  mail_plugins = $mail_plugins quota
}
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=4K
  quota_grace = 0
  restante_fallback_give_up = 4s
}
"""


@pytest.fixture(scope="module")
def sandbox(make_sandbox, tmp_path_factory):
    extra = tmp_path_factory.mktemp("quota") / "extra.conf"
    extra.write_text(conf(QUOTA))
    sandbox = make_sandbox("--hold-time", "2", "--extra-dovecot", extra)
    # only what a test asks for is released
    sandbox.stop("policyd")
    yield sandbox
    sandbox.down()


def send_large(sandbox, user, subject):
    sandbox.send(f"{user}@{DOMAIN}",
                 f"From: sender@remote.test\r\nSubject: {subject}\r\n\r\n"
                 + "x" * 70 + ("\r\n" + "x" * 70) * 100 + "\r\n")


def status(sandbox, user):
    row, = json.loads(sandbox.doveadm(
        "-f", "json", "restante", "status", "-u", f"{user}@{DOMAIN}").stdout)
    return int(row["messages"]), int(row["overflow"])


def release(sandbox, user):
    return sandbox.doveadm("restante", "release", "-u", f"{user}@{DOMAIN}",
                           "--all", check=False)


def test_kept_and_pushed(sandbox):
    """A message that the mailbox refuses goes to the client all the same,
    once."""
    send_large(sandbox, "traveller0", "too-large")
    sandbox.wait_held("traveller0", 1)
    assert release(sandbox, "traveller0").returncode != 0
    assert status(sandbox, "traveller0") == (1, 0)
    assert "Quota exceeded" in sandbox.log("dovecot")
    sandbox.start("policyd")
    try:
        message, = maildir_messages(sandbox.collect("traveller0"))
    finally:
        sandbox.stop("policyd")
    assert b"Subject: too-large" in message
    assert status(sandbox, "traveller0") == (0, 0)
    assert sandbox.mailbox("traveller0") == []


def test_moved_at_the_last(sandbox):
    send_large(sandbox, "traveller1", "overflow")
    sandbox.wait_held("traveller1", 1)

    def moved():
        release(sandbox, "traveller1")
        return status(sandbox, "traveller1") == (0, 1)

    wait_for("the overflow mailbox", moved, 30)
    assert sandbox.mailbox("traveller1") == []
    user = f"traveller1@{DOMAIN}"
    assert "Overflow" in sandbox.doveadm_hold(
        "mailbox", "list", "-u", user).stdout.splitlines()
    # as restante-plugin(7) says
    sandbox.doveadm("import", "-u", user, "sdbox:~/restante", "",
                    "mailbox", "Overflow", "all")
    sandbox.doveadm(*hold_place("sdbox:~/restante"), "expunge", "-u",
                    user, "mailbox", "Overflow", "all")
    sandbox.doveadm("move", "-u", user, "INBOX", "mailbox", "Overflow", "all")
    message, = sandbox.mailbox("traveller1")
    assert b"Subject: overflow" in message
    assert b"X-Restante-Envelope" not in message
    assert status(sandbox, "traveller1") == (0, 0)


SMALL_HOLD = """
protocol lmtp {
  mail_plugins = $mail_plugins quota
}
protocol imap {
  mail_plugins = $mail_plugins quota
}
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=20K
  quota_grace = 0
  restante_hold_quota = 20K
}
"""


@pytest.fixture(scope="module")
def small(make_sandbox, tmp_path_factory):
    extra = tmp_path_factory.mktemp("small") / "extra.conf"
    extra.write_text(conf(SMALL_HOLD))
    sandbox = make_sandbox("--extra-dovecot", extra)
    yield sandbox
    sandbox.down()


def rcpt(sandbox, address):
    """The code of the answer to RCPT."""
    with sandbox.smtp() as smtp:
        smtp.ehlo("remote.test")
        smtp.mail("sender@remote.test")
        return smtp.rcpt(address)[0]


def test_hold_is_in_no_quota(small):
    """Held mail does not fill the mailbox; where the hold is full, mail goes to
    the mailbox; and where both are full, Postfix keeps it and nobody gets a
    non-delivery report."""
    user = "traveller0"

    def answered(number):
        log = small.log("postfix")
        return log.count("status=sent") + log.count("status=deferred") >= number

    # 7.6 KB each: two in the hold, two in the mailbox, and one waits. One after
    # the other: 2.3's lmtp panics where several deliveries make one INBOX.
    for n in range(5):
        send_large(small, user, f"n-{n}")
        wait_for("an answer", lambda: answered(n + 1))
    assert len(small.held(user)) == len(small.mailbox(user)) == 2
    assert "status=deferred" in small.log("postfix")
    assert "452 4.2.2" in small.log("postfix")
    # policyd knows, and tells the sender at RCPT
    wait_for("RCPT", lambda: rcpt(small, f"{user}@{DOMAIN}") == 452, 5)
    for address, code in ((f"{user}@{DOMAIN}", 452),
                          (f"{user.upper()}+x@{DOMAIN}", 452),
                          (f"traveller1@{DOMAIN}", 250),
                          (f"resident@{DOMAIN}", 250)):
        assert rcpt(small, address) == code, address
    # there is room again
    assert len(maildir_messages(small.collect(user))) == 2
    wait_for("RCPT", lambda: rcpt(small, f"{user}@{DOMAIN}") == 250, 5)
    wait_for("Postfix's next try", lambda: len(small.held(user)) == 1, 60)
    assert len(small.mailbox(user)) == 2
    assert "status=bounced" not in small.log("postfix")


def test_entry_of_a_stranger(small):
    """Any local user can make an entry that says that there is no room: nobody
    is refused because of it, enrolled or not."""
    users = ("resident", "traveller2", "traveller3", "nobody-of-that-name")
    small.send_simple("traveller3", "held")
    small.wait_held("traveller3", 1)
    for user in users:
        path = pathlib.Path(small.env["HOLDERS_DIR"]) / f"{user}@{DOMAIN}"
        path.unlink(missing_ok=True)
        path.write_text("00000000000000000001 full\n")
        shutil.chown(path, "nobody")
    end = time.monotonic() + 2
    while time.monotonic() < end:
        for user in users:
            assert rcpt(small, f"{user}@{DOMAIN}") == 250, user
        time.sleep(.05)
    # once more, when policyd reads all entries
    small.stop("policyd")
    small.start("policyd")
    time.sleep(1)
    for user in users:
        assert rcpt(small, f"{user}@{DOMAIN}") == 250, user
    for user in users:
        (pathlib.Path(small.env["HOLDERS_DIR"]) / f"{user}@{DOMAIN}").unlink(
            missing_ok=True)
    small.collect("traveller3")


def test_resident_over_quota(small):
    """A user who is not enrolled is refused as before."""
    def answers():
        return small.log("postfix").count("to=<resident@")

    for n in range(4):
        before = answers()
        send_large(small, "resident", f"n-{n}")
        wait_for("an answer", lambda: answers() > before)
    wait_for("552", lambda: "552 5.2.2" in small.log("postfix"))
