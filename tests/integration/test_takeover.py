# SPDX-License-Identifier: MIT
"""A newer sign-in of the same user wins, whatever the older one does."""
import os
import re
import signal
import threading
import time

import pytest

from conftest import DOMAIN, maildir_messages, wait_for
from peer import PLAIN, Peer

# What a replaced session's client owes is waited for while it is not silent
# for a second (RST_IPC_QUIET_MS), and for five in all (RST_IPC_SETTLE_MS).
QUIET, SETTLE = 1, 5
# Until the first message comes, where an old client owes answers; and where
# there is nobody to be waited for.
PATIENCE = 1.5
AT_ONCE = 0.5


@pytest.fixture(scope="module")
def sandbox(make_sandbox):
    """A sandbox with two workers: one may be stopped while the other takes
    connections."""
    sandbox = make_sandbox()
    sandbox.stop("policyd")
    with open(sandbox.env["POLICYD_CONF"], "a") as conf:
        conf.write("workers = 2\n")
    sandbox.start("policyd")
    yield sandbox
    sandbox.down()


def send_numbered(sandbox, user, count, first=0, size=100):
    with sandbox.smtp() as smtp:
        smtp.ehlo("remote.test")
        for n in range(first, first + count):
            assert smtp.mail("a@remote.test")[0] == 250
            assert smtp.rcpt(f"{user}@{DOMAIN}")[0] == 250
            body = ("x" * 70 + "\r\n") * (size // 72 + 1)
            assert smtp.data(f"From: a@remote.test\r\nSubject: n-{n}\r\n\r\n"
                             f"{body}".encode())[0] == 250


def numbers(messages):
    return sorted(int(re.search(rb"^Subject: n-(\d+)", m, re.M).group(1))
                  for m in messages)


def hold(sandbox, user, count, **how):
    send_numbered(sandbox, user, count, **how)
    sandbox.wait_held(user, count, 60)


def finish(sandbox, peer, user, expected):
    """The peer takes all expected messages, and the hold is empty."""
    got = [int(m.subject[2:]) for m in peer.messages(len(expected))]
    peer.answer()
    assert sorted(got) == sorted(expected)
    sandbox.wait_held(user, 0)
    peer.close()


def test_extended_is_told(sandbox):
    old = Peer(sandbox, "traveller0")
    new = Peer(sandbox, "traveller0")
    assert b"newer sign-in" in old.close_notice()
    send_numbered(sandbox, "traveller0", 1)
    finish(sandbox, new, "traveller0", [0])


def test_plain_is_told(sandbox):
    hold(sandbox, "traveller0", 1)
    old = Peer(sandbox, "traveller0", PLAIN)
    assert old.line().startswith(b"MAIL FROM:")
    new = Peer(sandbox, "traveller0")
    assert old.line() == b"QUIT"
    assert old.line() == b""
    finish(sandbox, new, "traveller0", [0])


def test_late_acknowledgements_count_for_nothing(sandbox):
    hold(sandbox, "traveller1", 10)
    old = Peer(sandbox, "traveller1")
    got = old.messages(10)
    old.answer(count=3)
    sandbox.wait_held("traveller1", 7)
    new = Peer(sandbox, "traveller1")
    assert old.close_notice()
    old.answer_too_late()
    finish(sandbox, new, "traveller1", [int(m.subject[2:]) for m in got[3:]])


def first_message(sandbox, user):
    """@return a newer session, its first message, and after how many seconds
    it came"""
    start = time.monotonic()
    new = Peer(sandbox, user)
    message = new.message()
    delay = time.monotonic() - start
    print(f"first message after {delay * 1000:.0f} ms")
    return new, message, delay


def unsettled(sandbox, user):
    """The `unsettled` of each session that has ended, in the order of their
    ends."""
    return [int(n) for n in re.findall(
        rf"session closed: .* user={user}@.* unsettled=(\d+)",
        sandbox.log("policyd"))]


def test_answers_on_their_way_count(sandbox):
    """The old client answers, slowly, the messages that it got before it was
    replaced; the new one gets the rest."""
    hold(sandbox, "traveller7", 10)
    old = Peer(sandbox, "traveller7")
    old.messages(10)
    new = Peer(sandbox, "traveller7")
    for _ in range(3):
        time.sleep(QUIET * 0.6)
        old.answer(count=3)
    old.answer()
    assert old.close_notice()
    old.close()
    sandbox.wait_held("traveller7", 0)
    send_numbered(sandbox, "traveller7", 1, first=10)
    finish(sandbox, new, "traveller7", [10])
    wait_for("the ends", lambda: len(unsettled(sandbox, "traveller7")) == 2)
    assert unsettled(sandbox, "traveller7") == [0, 0]


def test_nothing_on_its_way(sandbox):
    """The old client owes no answer: the new one does not wait."""
    hold(sandbox, "traveller8", 1)
    old = Peer(sandbox, "traveller8")
    old.message()
    old.answer(lambda _: b"452 4.2.2 Not now")
    wait_for("the answer read", lambda: "message deferred by client: "
             f"user=traveller8@{DOMAIN}" in sandbox.log("policyd"))
    new, _, delay = first_message(sandbox, "traveller8")
    assert delay < AT_ONCE
    new.answer()
    sandbox.wait_held("traveller8", 0)
    new.close()
    old.close()


def test_silent_for_long(sandbox):
    """policyd does not wait for a connection that has been dead for a while:
    mostly the same machine comes back from elsewhere."""
    hold(sandbox, "traveller9", 3)
    old = Peer(sandbox, "traveller9")
    old.messages(3)
    time.sleep(SETTLE + 0.5)
    new, _, delay = first_message(sandbox, "traveller9")
    assert delay < AT_ONCE
    new.messages(2)
    new.answer()
    sandbox.wait_held("traveller9", 0)
    new.close()
    old.close()


def test_third_while_the_first_settles(sandbox):
    """The newest session wins; its wait does not begin anew."""
    before = len(unsettled(sandbox, "traveller0"))
    hold(sandbox, "traveller0", 5)
    first = Peer(sandbox, "traveller0")
    first.messages(5)
    start = time.monotonic()
    second = Peer(sandbox, "traveller0")
    time.sleep(QUIET * 0.5)
    third, message, _ = first_message(sandbox, "traveller0")
    assert time.monotonic() - start < PATIENCE
    assert second.close_notice()
    rest = [message] + third.messages(4)
    # the order is the one in which Postfix has delivered them
    assert sorted(m.subject for m in rest) == [f"n-{n}" for n in range(5)]
    third.answer()
    sandbox.wait_held("traveller0", 0)
    for peer in (first, second, third):
        peer.close()
    wait_for("the ends", lambda: sorted(unsettled(
        sandbox, "traveller0")[before:]) == [0, 0, 5])


def test_acknowledged_before_counts(sandbox):
    """Messages acknowledged before the newer sign-in are not pushed again."""
    hold(sandbox, "traveller2", 40)
    old = Peer(sandbox, "traveller2")
    got = old.messages(40)
    old.answer(count=15)
    wait_for("acknowledgements read", lambda: sandbox.log("policyd").count(
        f"message pushed: user=traveller2@{DOMAIN}") == 15)
    new = Peer(sandbox, "traveller2")
    kept = {int(m.subject[2:]) for m in got[15:]}
    finish(sandbox, new, "traveller2", kept)


@pytest.mark.parametrize("size", [100, 100000])
def test_half_open(sandbox, size):
    """The old client neither reads nor says anything, or is in the middle of a
    message that fills every buffer on the way."""
    count = 60
    hold(sandbox, "traveller3", count, size=size)
    old = Peer(sandbox, "traveller3")
    time.sleep(0.5)
    new, _, delay = first_message(sandbox, "traveller3")
    assert delay < PATIENCE
    new.messages(count - 1)
    new.answer()
    sandbox.wait_held("traveller3", 0)
    new.close()
    old.close()


def stop_while_it_receives(client):
    """Stop the client while it receives. All messages arrive within a tenth of
    a second after the first, so there is no time to sleep."""
    end = time.monotonic() + 20
    while not any((client.maildir / "tmp").glob("*")):
        assert time.monotonic() < end
    os.kill(client.process.pid, signal.SIGSTOP)


def test_client_stopped(sandbox):
    """The traveller's program is stopped in the middle of a drain."""
    hold(sandbox, "traveller4", 100, size=100000)
    old = sandbox.client("traveller4")
    stop_while_it_receives(old)
    new, message, delay = first_message(sandbox, "traveller4")
    assert delay < PATIENCE
    left = len(sandbox.held("traveller4"))
    got = [message] + new.messages(left - 1)
    new.answer()
    sandbox.wait_held("traveller4", 0)
    new.close()
    os.kill(old.process.pid, signal.SIGCONT)
    time.sleep(0.5)
    old.kill()
    both = (sorted(int(m.subject[2:]) for m in got),
            numbers(maildir_messages(old.maildir)))
    # only what it was storing when it was stopped: what it had not read when
    # its connection was reset is not stored
    twice = set(both[0]) & set(both[1])
    print(f"in both {len(twice)}")
    assert len(twice) <= unsettled(sandbox, "traveller4")[0]
    assert set(both[0]) | set(both[1]) == set(range(100))
    assert all(len(set(one)) == len(one) for one in both)
    sandbox.wait_held("traveller4", 0)


def worker_of(sandbox, user):
    """Process id of the worker that has the user's newest session."""
    return int(re.findall(rf"session registered: session=\d+ worker=(\d+) "
                          rf"user={user}@", sandbox.log("policyd"))[-1])


def test_worker_stopped(sandbox):
    """A worker has the hold open and hangs. When it goes on, the
    acknowledgements that it finds do not reach the hold."""
    hold(sandbox, "traveller5", 10)
    old = Peer(sandbox, "traveller5")
    old.messages(10)
    worker = worker_of(sandbox, "traveller5")
    os.kill(worker, signal.SIGSTOP)
    try:
        old.answer()
        new, _, delay = first_message(sandbox, "traveller5")
        assert delay < PATIENCE
    finally:
        os.kill(worker, signal.SIGCONT)
    new.messages(9)
    # the old one has been told by now
    wait_for("old one's end", lambda: old.line() == b"" or None)
    assert len(sandbox.held("traveller5")) == 10
    new.answer()
    sandbox.wait_held("traveller5", 0)
    new.close()


class Fighter:
    """A machine with its own Maildir that signs in again and again."""

    def __init__(self, sandbox, user):
        self.sandbox, self.user = sandbox, user
        self.maildir = sandbox.new_maildir()
        self.client = None

    def stop(self, number=signal.SIGTERM):
        if self.client is not None:
            self.client.kill(number)

    def sign_in(self, number):
        self.stop(number)
        self.client = self.sandbox.client(self.user, self.maildir)

    def numbers(self):
        return numbers(maildir_messages(self.maildir))


def test_tug_of_war(sandbox):
    """Two machines of one user take the account from each other all the
    time: nothing is lost, and nothing is twice at one of them."""
    takeovers = int(os.environ.get("RESTANTE_TAKEOVERS", "40"))
    count = 5 * takeovers
    user = "traveller6"
    fighters = [Fighter(sandbox, user) for _ in range(2)]
    hold(sandbox, user, count // 2, size=4000)
    sender = threading.Thread(target=send_numbered, args=(
        sandbox, user, count - count // 2, count // 2, 4000))
    sender.start()
    for n in range(takeovers):
        fighters[n % 2].sign_in((signal.SIGTERM, signal.SIGKILL)[n // 2 % 2])
        time.sleep(0.02 * (n % 8))
    sender.join()
    wait_for("drained", lambda: not sandbox.held(user), 60)
    for fighter in fighters:
        fighter.stop()
    one, two = (fighter.numbers() for fighter in fighters)
    for mine in (one, two):
        assert len(set(mine)) == len(mine), "twice at one of them"
    assert set(one) | set(two) == set(range(count))
    replaced = sandbox.log("policyd").count("session replaced by a newer")
    print(f"{count} messages, {replaced} takeovers: {len(one)} + {len(two)}, "
          f"at both {len(set(one) & set(two))}")
