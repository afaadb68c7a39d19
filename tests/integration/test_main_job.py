# SPDX-License-Identifier: MIT
"""The main job: held, registered, arrived, pushed while online, fallback through
Sieve."""
import signal

from conftest import DOMAIN, maildir_messages, wait_for, without_trace


def subjects(messages):
    return sorted(
        line.split(b": ", 1)[1].strip().decode()
        for message in messages for line in message.split(b"\n")
        if line.startswith(b"Subject: "))


def test_held_then_collected(sandbox):
    for n in range(3):
        sandbox.send_simple("traveller0", f"held-{n}")
    sandbox.wait_held("traveller0", 3)
    assert sandbox.mailbox("traveller0") == []
    maildir = sandbox.collect("traveller0")
    assert subjects(maildir_messages(maildir)) == ["held-0", "held-1", "held-2"]
    sandbox.wait_held("traveller0", 0)
    # nothing comes twice
    sandbox.collect("traveller0", maildir)
    assert len(maildir_messages(maildir)) == 3


def test_nothing_held_drains_at_once(sandbox):
    assert maildir_messages(sandbox.collect("traveller1")) == []


def test_not_enrolled_gets_ordinary_mail(sandbox):
    sandbox.send_simple("resident", "ordinary")
    wait_for("delivery", lambda: sandbox.mailbox("resident"))
    assert subjects(sandbox.mailbox("resident")) == ["ordinary"]


def test_not_enrolled_may_not_register(sandbox):
    client = sandbox.client("resident", None, "--once")
    assert client.wait() == 77


def test_pushed_while_online(sandbox):
    client = sandbox.client("traveller2")
    wait_for("sign-in", lambda: client.said("signed in"))
    for n in range(10):
        sandbox.send_simple("traveller2", f"pushed-{n}")
        wait_for("push", lambda: len(maildir_messages(client.maildir)) == n + 1)
    client.kill(signal.SIGTERM)
    assert client.process.returncode == 0
    sandbox.wait_held("traveller2", 0)
    assert subjects(maildir_messages(client.maildir)) == [
        f"pushed-{n}" for n in range(10)]
    # away again: held again
    sandbox.send_simple("traveller2", "later")
    sandbox.wait_held("traveller2", 1)


def test_trace_fields(sandbox):
    """The client's copy has its own trace on top and none of ours inside."""
    sandbox.send_simple("traveller3", "trace")
    sandbox.wait_held("traveller3", 1)
    message, = maildir_messages(sandbox.collect("traveller3"))
    head = message.split(b"\n\n")[0]
    assert head.startswith(b"Return-Path: <sender@remote.test>\n")
    assert head.count(b"Return-Path:") == 1
    assert head.count(b"Delivered-To:") == 1
    assert b"Delivered-To: traveller3@" + DOMAIN.encode() in head
    assert b"X-Restante-Envelope" not in message
    assert without_trace(message).startswith(b"From: sender@remote.test\n")


def test_fallback_through_sieve(make_sandbox):
    sandbox = make_sandbox("--hold-time", "3")
    home = sandbox.dir / "mail" / f"traveller0@{DOMAIN}"
    sandbox.send_simple("traveller0", "warm-up")  # makes the home directory
    sandbox.wait_held("traveller0", 1)
    (home / ".dovecot.sieve").write_text(
        'require ["editheader"];\naddheader "X-Sieve-Was-Here" "yes";\n')
    sandbox.send_simple("traveller0", "uncollected")
    messages = wait_for(
        "fallback", lambda: len(m := sandbox.mailbox("traveller0")) == 2 and m,
        30)
    assert subjects(messages) == ["uncollected", "warm-up"]
    for message in messages:
        assert message.count(b"X-Sieve-Was-Here: yes") == 1
        assert b"X-Restante-Envelope" not in message
        assert message.count(b"Return-Path: <sender@remote.test>") == 1
        assert message.count(b"Delivered-To:") == 1
    assert sandbox.held("traveller0") == []
    # and what fell back is not pushed
    assert maildir_messages(sandbox.collect("traveller0")) == []


def test_fallback_of_mail_after_a_drain(make_sandbox):
    """Mail that comes when the hold was emptied a moment ago falls due in its
    own time, not when policyd would look at the emptied hold again."""
    sandbox = make_sandbox("--hold-time", "4")
    sandbox.send_simple("traveller0", "first")
    sandbox.wait_held("traveller0", 1)
    assert len(maildir_messages(sandbox.collect("traveller0"))) == 1
    sandbox.send_simple("traveller0", "second")
    wait_for("the fallback", lambda: sandbox.mailbox("traveller0"), 30)
    assert subjects(sandbox.mailbox("traveller0")) == ["second"]
    sandbox.down()
