# SPDX-License-Identifier: MIT
"""policyd's due index: which users have held mail, and doveadm asking for
it."""
import contextlib
import datetime
import json
import socket
import stat
import threading
import time

import pytest

from conftest import DOMAIN, wait_for
from peer import Peer

HELLO = "VERSION\trestante-hold\t1\t0\n"


def ask_once(sandbox):
    """@return {user: due}; None: policyd has not looked at all users yet"""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(sandbox.dir / "run" / "index"))
        sock.sendall((HELLO + "SCAN\n").encode())
        with sock.makefile() as file:
            lines = [line.rstrip("\n").split("\t") for line in file]
    assert lines[0] == HELLO.rstrip("\n").split("\t")
    if lines[-1][:2] == ["NO", "TEMPFAIL"]:
        return None
    assert lines[-1][0] == "END"
    assert int(lines[-1][1]) == len(lines) - 2
    assert int(lines[-1][2]) == 0
    return {line[1]: int(line[4]) for line in lines[1:-1]
            if line[0] == "HOLDS"}


def ask(sandbox):
    """As ask_once(), once policyd's first walk has ended. @return {user:
    due}"""
    answers = []

    def answered():
        answers.append(ask_once(sandbox))
        return answers[-1] is not None
    wait_for("the first walk", answered)
    return answers[-1]


def status(sandbox, *arguments):
    """@return names, in order, and the output on standard error"""
    result = sandbox.doveadm("-f", "json", *arguments)
    rows = json.loads(result.stdout or "[]")
    return sorted(row["username"].split("@")[0] for row in rows), result.stderr


def hold(sandbox, user, subject):
    """Hold a message, and wait until policyd has heard of it."""
    sandbox.send_simple(user, subject)
    sandbox.wait_held(user, 1)
    wait_for("the note", lambda: f"{user}@{DOMAIN}" in ask(sandbox))


def test_index_follows_the_holds(sandbox):
    user = f"traveller0@{DOMAIN}"
    assert user not in ask(sandbox)
    hold(sandbox, "traveller0", "first")
    rows = json.loads(sandbox.doveadm("-f", "json", "restante", "list", "-u",
                                      user).stdout)
    assert len(rows) == 1
    due = ask(sandbox)[user]
    assert due > 0
    # it has left when the client has it
    sandbox.collect("traveller0")
    wait_for("the index to forget", lambda: user not in ask(sandbox))
    # while online, too
    client = sandbox.client("traveller0")
    wait_for("sign-in", lambda: client.said("signed in"))
    sandbox.send_simple("traveller0", "online")
    wait_for("the message", lambda: client.said(" stored: "))
    wait_for("the index to forget", lambda: user not in ask(sandbox))
    client.kill()


def test_what_is_left_stays(sandbox):
    """A message that the client has put off stays in the index, with its
    date."""
    user = f"traveller1@{DOMAIN}"
    hold(sandbox, "traveller1", "taken")
    first = ask(sandbox)[user]
    time.sleep(1.1)     # dates are in seconds
    sandbox.send_simple("traveller1", "left")
    sandbox.wait_held("traveller1", 2)
    assert ask(sandbox)[user] == first
    peer = Peer(sandbox, "traveller1")
    peer.messages(2)
    peer.answer(lambda m: b"451 4.3.0 Not now" if m.subject == "left"
                else b"250 2.0.0 Stored")
    sandbox.wait_held("traveller1", 1)
    peer.close()
    listed, = json.loads(sandbox.doveadm("-f", "json", "restante", "status",
                                         "-u", user).stdout)
    due = datetime.datetime.fromisoformat(listed["due"]).timestamp()
    assert due > first
    wait_for("the date of what is left", lambda: ask(sandbox)[user] == due)
    sandbox.collect("traveller1")
    wait_for("the index to forget", lambda: user not in ask(sandbox))


def test_bye_says_what_is_left(sandbox):
    """BYE says the due date only after a whole listing."""
    user = f"traveller6@{DOMAIN}"
    for n in range(50):
        sandbox.send_simple("traveller6", f"unheard-{n}")
    sandbox.wait_held("traveller6", 50)
    for said, answer in (("BYE\n", b"BYE\n"), ("DRAIN\nBYE\n", b"BYE\n")):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(str(sandbox.dir / "run" / "hold.sock"))
            sock.sendall((HELLO + f"USER\t{user}\n" + said).encode())
            lines = sock.makefile("rb").readlines()
        assert lines[-1] == answer, lines[-1]
        assert not any(line.startswith(b"END\t") for line in lines)
    sandbox.doveadm("restante", "release", "-u", user, "--all")


def test_permissions(sandbox):
    mode = (sandbox.dir / "run" / "index").stat()
    assert stat.S_IMODE(mode.st_mode) == 0o600 and mode.st_uid == 0


def test_status_of_all(sandbox):
    hold(sandbox, "traveller2", "waits")
    names, errors = status(sandbox, "restante", "status", "-A")
    assert "traveller2" in names and "traveller3" not in names
    assert errors == ""
    names, _ = status(sandbox, "restante", "list", "-A")
    assert "traveller2" in names
    # everybody who is enrolled
    names, _ = status(sandbox, "restante", "status", "-u", "*")
    assert {"traveller2", "traveller3"} <= set(names)


class Played:
    """A server in the place of policyd; it keeps the lines that it hears."""

    def __init__(self, path, answer):
        self.path, self.answer, self.heard = path, answer, b""
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        conn = self.listener.accept()[0]
        with conn:
            conn.settimeout(20)
            while not self.heard.endswith(b"SCAN\n"):
                self.heard += conn.recv(4096)
            # it may have heard enough before the end
            with contextlib.suppress(BrokenPipeError):
                for octet in self.answer.encode():
                    conn.sendall(bytes([octet]))

    def close(self):
        self.thread.join(30)
        self.listener.close()
        self.path.unlink()


def played(sandbox, answer):
    """@return the output of status -A for these answers"""
    path = sandbox.dir / "run" / "played"
    peer = Played(path, answer)
    try:
        return status(sandbox, "-o", f"plugin/restante_index_socket={path}",
                      "restante", "status", "-A")
    finally:
        peer.close()


def line(user, due=1700000000):
    return f"HOLDS\t{user}\t0\t0\t{due}\n"


def test_only_who_is_named_is_looked_at(sandbox):
    hold(sandbox, "traveller4", "named")
    hold(sandbox, "traveller5", "not named")
    names, errors = played(
        sandbox, HELLO + line(f"traveller4@{DOMAIN}") + "END\t1\n")
    assert names == ["traveller4"] and errors == ""
    names, errors = played(sandbox, HELLO + "END\t0\n")
    assert names == [] and errors == ""


def test_strange_names(sandbox):
    """Whoever can send a note can name any user."""
    hold(sandbox, "traveller6", "in good company")
    names, errors = played(
        sandbox, HELLO + line("nobody@example.test") + line("a\001nb\001tc")
        + line("\x1b]0;title\x07") + line("x" * 1000)
        + line(f"traveller3@{DOMAIN}") + line(f"traveller6@{DOMAIN}")
        + "END\t6\n")
    assert names == ["traveller6"]
    assert "\x1b" not in errors and "\x07" not in errors


def test_holds_that_were_not_read(sandbox):
    hold(sandbox, "traveller8", "readable")
    names, errors = played(
        sandbox, HELLO + line(f"traveller8@{DOMAIN}") + "END\t1\t2\n")
    assert names == ["traveller8"]
    assert "does not know of 2 user" in errors


NO_INDEX = {
    "nothing": "",
    "hello": HELLO,
    "no-end": HELLO + line(f"traveller6@{DOMAIN}"),
    "not-yet": HELLO + "NO\tTEMPFAIL\tnot yet\n",
    "no": "NO\tPROTOCOL\tno\n",
    "few-fields": HELLO + "HOLDS\tx\n",
    "another-protocol": "220 mx ESMTP\n",
    "long-line": HELLO + "x" * 20000 + "\n",
}


@pytest.mark.parametrize("what", NO_INDEX)
def test_no_index(sandbox, what):
    """Without the index doveadm looks at all users, and says why."""
    if not sandbox.held("traveller7"):
        hold(sandbox, "traveller7", "found all the same")
    names, errors = played(sandbox, NO_INDEX[what])
    assert "traveller7" in names and "traveller3" not in names
    assert "looking at all users" in errors


def test_no_socket(sandbox):
    """When the socket cannot be made, policyd says so, and mail flows on."""
    path = sandbox.dir / "policyd.conf"
    text = path.read_text()
    sandbox.stop("policyd")
    path.write_text(text.replace("run/index", "no/such/index"))
    try:
        sandbox.start("policyd")
        assert "index socket not opened" in sandbox.log("policyd")
        sandbox.send_simple("traveller3", "all the same")
        sandbox.collect("traveller3")
    finally:
        sandbox.stop("policyd")
        path.write_text(text)
        sandbox.start("policyd")


def test_policyd_is_away(sandbox):
    if not sandbox.held("traveller8"):
        hold(sandbox, "traveller8", "policyd is away")
    sandbox.stop("policyd")
    try:
        names, errors = status(sandbox, "restante", "status", "-A")
        assert "traveller8" in names
        assert "looking at all users" in errors
    finally:
        sandbox.start("policyd")
    # what it was never told of it finds by its walk
    assert f"traveller8@{DOMAIN}" in ask(sandbox)


def test_walk_cannot_read_a_hold(sandbox):
    """One hold is broken, here by a directory where a file should be: status
    of all users says that the hold is not known, status of each that it cannot
    be read."""
    hold(sandbox, "traveller9", "unreadable")
    mails, = (sandbox.dir / "mail" / f"traveller9@{DOMAIN}").rglob(
        "Held/dbox-Mails")
    log, away = mails / "dovecot.index.log", mails / "log.away"
    sandbox.stop("policyd")
    log.rename(away)
    log.mkdir()
    try:
        sandbox.start("policyd")
        wait_for("the walk", lambda: "walk over the holds done: users=11 "
                 "failed=1" in sandbox.log("policyd"))
        _, errors = status(sandbox, "restante", "status", "-A")
        assert "does not know of 1 user" in errors
        result = sandbox.doveadm("restante", "status", "-u", "*", check=False)
        assert result.returncode != 0 and "Is a directory" in result.stderr
    finally:
        log.rmdir()
        away.rename(log)
    names, _ = status(sandbox, "restante", "status", "-u", "*")
    assert "traveller9" in names
