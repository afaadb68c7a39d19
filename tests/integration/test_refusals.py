# SPDX-License-Identifier: MIT
"""A client's reply to one message concerns that message alone."""
import re
import time

import pytest

from conftest import DOMAIN, wait_for
from peer import EXTENDED, PLAIN, Peer

OK = b"250 2.0.0 Stored"
RETRY = 3  # seconds


@pytest.fixture(scope="module")
def sandbox(make_sandbox):
    sandbox = make_sandbox()
    sandbox.stop("policyd")
    with open(sandbox.env["POLICYD_CONF"], "a") as conf:
        conf.write(f"retry_interval = {RETRY}\n")
    sandbox.start("policyd")
    yield sandbox
    sandbox.down()


def subject_of(octets):
    return re.search(rb"^Subject: (.*?)\r?$", octets, re.M).group(1).decode()


def hold(sandbox, user, *subjects):
    for subject in subjects:
        sandbox.send_simple(user, subject)
    sandbox.wait_held(user, len(subjects))


def inbox(sandbox, user, count):
    return wait_for(
        f"{count} in INBOX of {user}",
        lambda: len(m := sandbox.mailbox(user)) == count and m)


def refused_by(octets):
    """The client's answer as the message in the mailbox names it."""
    field = re.search(rb"^X-Restante-Refused:((?:.*\r?\n)(?:[ \t].*\r?\n)*)",
                      octets, re.M | re.I)
    return b" ".join(field.group(1).split()) if field else None


def test_4xx_holds_back_one(sandbox):
    """One message of ten is put off. The client takes the others, and later
    ones; the one is not tried again at once."""
    user = "traveller0"
    hold(sandbox, user, *[f"n-{n}" for n in range(10)])
    peer = Peer(sandbox, user)
    messages = peer.messages(10)
    peer.answer(lambda m: b"451 4.3.0 Not now" if m.subject == "n-4" else OK)
    sandbox.wait_held(user, 1)
    sandbox.send_simple(user, "later")
    assert peer.message().subject == "later"
    peer.answer()
    waiting, = [m.id for m in messages if m.subject == "n-4"]
    wait_for("the rest", lambda: sandbox.held(user) == [waiting])
    assert re.search(rf"message deferred by client: user={user}@\S+ "
                     rf"id={waiting} .*451 4.3.0 Not now",
                     sandbox.log("policyd"))
    peer.close()
    # a new session is a new beginning
    peer = Peer(sandbox, user)
    assert peer.message().id == waiting
    peer.answer()
    sandbox.wait_held(user, 0)
    peer.close()
    assert sandbox.mailbox(user) == []


def test_4xx_is_tried_again(sandbox):
    """A message that was put off is tried again on the same connection, later
    each time, long after the rest has gone."""
    user = "traveller9"
    hold(sandbox, user, "put-off", "other")
    peer = Peer(sandbox, user)
    got = {m.subject: m.id for m in peer.messages(2)}
    peer.answer(lambda m: b"452 4.3.1 No room" if m.subject == "put-off"
                else OK)
    sandbox.wait_held(user, 1)
    for delay in (RETRY, 2 * RETRY):
        start = time.monotonic()
        assert peer.message().id == got["put-off"]
        assert time.monotonic() - start > 0.7 * delay
        peer.answer(lambda m: b"452 4.3.1 No room" if delay == RETRY else OK)
    sandbox.wait_held(user, 0)
    peer.close()
    assert sandbox.mailbox(user) == []


REFUSALS = {
    "bdat-550": lambda m: b"550 5.7.1 Not wanted here",
    "bdat-552": lambda m: b"552 5.2.2 Mailbox is full",
    "bdat-554": lambda m: b"554 5.6.0 No",
    "mail": lambda m: (b"550 5.1.8 Sender not welcome",
                       b"503 5.5.1 MAIL first", b"503 5.5.1 MAIL first"),
    "rcpt": lambda m: (b"250 2.1.0 Ok", b"550 5.1.1 No such user",
                       b"503 5.5.1 RCPT first"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_5xx_goes_to_the_mailbox(sandbox, what):
    """A refused message goes through Sieve and quota, once, with the client's
    answer in it."""
    user = f"traveller{1 + list(REFUSALS).index(what)}"
    refuse = REFUSALS[what]
    hold(sandbox, user, *[f"n-{n}" for n in range(10)])
    peer = Peer(sandbox, user)
    messages = peer.messages(10)
    peer.answer(lambda m: refuse(m) if m.subject == "n-7" else OK)
    delivered, = inbox(sandbox, user, 1)
    assert subject_of(delivered) == "n-7"
    sandbox.wait_held(user, 0)
    bad, = [m for m in messages if m.subject == "n-7"]
    answer = refuse(bad)
    if isinstance(answer, tuple):
        answer = next(a for a in answer if not a.startswith(b"2"))
    assert re.search(rf"message refused by client: user={user}@\S+ "
                     rf"id={bad.id} .*{answer.decode()}",
                     sandbox.log("policyd"))
    assert refused_by(delivered) == answer
    # the others go on, on the same connection
    sandbox.send_simple(user, "later")
    assert peer.message().subject == "later"
    peer.answer()
    sandbox.wait_held(user, 0)
    peer.close()
    # neither comes back, to either side
    peer = Peer(sandbox, user)
    sandbox.send_simple(user, "last")
    assert peer.message().subject == "last"
    peer.answer()
    sandbox.wait_held(user, 0)
    peer.close()
    assert len(sandbox.mailbox(user)) == 1


TEMPORARY = {
    "mail": (b"450 4.7.1 Later", b"503 5.5.1 MAIL first",
             b"503 5.5.1 MAIL first"),
    "rcpt": (b"250 2.1.0 Ok", b"452 4.3.1 No room", b"503 5.5.1 RCPT first"),
    "bdat": (b"250 2.1.0 Ok", b"250 2.1.5 Ok", b"452 4.3.1 No room"),
}


@pytest.mark.parametrize("where", TEMPORARY)
def test_first_refusal_decides(sandbox, where):
    """A 503 after a 4xx is no refusal of the message."""
    user = "traveller6"
    hold(sandbox, user, "once")
    peer = Peer(sandbox, user)
    message = peer.message()
    peer.answer(lambda m: TEMPORARY[where])
    wait_for("policyd's verdict", lambda: re.search(
        rf"message deferred by client: user={user}@\S+ id={message.id}",
        sandbox.log("policyd")))
    assert sandbox.held(user) == [message.id]
    peer.close()
    peer = Peer(sandbox, user)
    assert peer.message().id == message.id
    peer.answer()
    sandbox.wait_held(user, 0)
    peer.close()
    assert sandbox.mailbox(user) == []


def test_plain_refusals(sandbox):
    """The same for a client without XRESTANTE, message by message."""
    user = "traveller7"
    hold(sandbox, user, "taken", "refused", "put-off")
    peer = Peer(sandbox, user, PLAIN)
    answers = {"taken": b"250 Ok", "refused": b"552 5.2.2 Full",
               "put-off": b"451 4.3.0 Later"}
    while (line := peer.line()) != b"QUIT":
        assert line.startswith(b"MAIL FROM:"), line
        peer.send(b"250 Ok")
        assert peer.line().startswith(b"RCPT TO:")
        peer.send(b"250 Ok")
        assert peer.line() == b"DATA"
        peer.send(b"354 Go on")
        octets = b""
        while (line := peer.line()) != b".":
            octets += line + b"\r\n"
        peer.send(answers.pop(subject_of(octets)))
    assert answers == {}
    peer.send(b"221 Bye")
    peer.close()
    delivered, = inbox(sandbox, user, 1)
    assert subject_of(delivered) == "refused"
    assert refused_by(delivered) == b"552 5.2.2 Full"
    sandbox.wait_held(user, 1)


def test_too_large_for_the_client(sandbox):
    """policyd does not try a message that is larger than the client's SIZE."""
    user = "traveller8"
    sandbox.send(f"{user}@{DOMAIN}", "From: a@remote.test\r\n"
                 "Subject: large\r\n\r\n" + ("x" * 70 + "\r\n") * 1000)
    sandbox.send_simple(user, "small")
    sandbox.wait_held(user, 2)
    peer = Peer(sandbox, user, (b"SIZE 20000",) + EXTENDED)
    assert peer.message().subject == "small"
    peer.answer()
    delivered, = inbox(sandbox, user, 1)
    assert subject_of(delivered) == "large"
    assert refused_by(delivered).startswith(b"552 5.3.4")
    sandbox.wait_held(user, 0)
    peer.close()
