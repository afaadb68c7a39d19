# SPDX-License-Identifier: MIT
"""A large message does not stop the small ones that are held with it."""
import re

from conftest import DOMAIN, maildir_messages
from peer import Peer

LARGE = 30_000_000
MEDIUM = 100_000  # a small one still
LINE = b"x" * 998 + b"\r\n"


def send_all(sandbox, user, messages):
    """(subject, octets) each, over one connection."""
    with sandbox.smtp() as smtp:
        smtp.ehlo("remote.test")
        for subject, octets in messages:
            assert smtp.mail("a@remote.test")[0] == 250
            assert smtp.rcpt(f"{user}@{DOMAIN}")[0] == 250
            assert smtp.data(f"Subject: {subject}\r\n\r\n".encode() +
                             LINE * (octets // 1000) + b"end\r\n")[0] == 250


def hold(sandbox, user, messages):
    """Hold the messages; the first of them surely arrives first."""
    send_all(sandbox, user, messages[:1])
    sandbox.wait_held(user, 1, 60)
    send_all(sandbox, user, messages[1:])
    sandbox.wait_held(user, len(messages), 60)


def test_stored_first(sandbox):
    small = [(f"small-{n}", 1000) for n in range(10)]
    hold(sandbox, "traveller0", [("large", LARGE)] + small)
    ids = sandbox.held("traveller0")
    client = sandbox.client("traveller0", None, "--once")
    assert client.wait(60) == 0
    stored = re.findall(r" stored: id=(\S+)", client.log_path.read_text())
    assert stored == ids[1:] + ids[:1]
    assert (max(map(len, maildir_messages(client.maildir))) >
            LARGE * 0.99)  # with LF
    sandbox.wait_held("traveller0", 0)


def test_arrives_before_the_large_one_is_begun(sandbox):
    """The peer takes one message and stops reading, while more octets than any
    buffer has stand before the large one. A message that comes then is also
    pushed before the large one."""
    medium = [(f"medium-{n}", MEDIUM) for n in range(60)]
    hold(sandbox, "traveller1", [("large", LARGE)] + medium)
    peer = Peer(sandbox, "traveller1")
    got = [peer.message().subject]
    send_all(sandbox, "traveller1", [("late", 1000)])
    sandbox.wait_held("traveller1", 62)
    got += [message.subject for message in peer.messages(61)]
    assert sorted(got[:60]) == sorted(s for s, _ in medium)
    assert got[60:] == ["late", "large"]
    peer.answer()
    sandbox.wait_held("traveller1", 0)
    peer.close()
