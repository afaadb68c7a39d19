# SPDX-License-Identifier: MIT
"""The holders directory: a file for each user of whom something is held."""
import datetime
import json
import os
import pathlib
import pwd
import shutil
import signal
import smtplib
import socket
import stat
import subprocess
import time

import pytest

from conftest import DOMAIN, maildir_messages, wait_for
from dovecot import IS_24, option
from peer import Peer

HELLO = "VERSION\trestante-hold\t1\t0\n"
POLICYD_USER = "daemon"


def holders(sandbox):
    return pathlib.Path(sandbox.env["HOLDERS_DIR"])


def entry(sandbox, user):
    return holders(sandbox) / f"{user}@{DOMAIN}"


def entries(sandbox):
    """Those that say that something is held. @return {user: due}"""
    return {path.name.split("@")[0]: int(path.read_text())
            for path in holders(sandbox).iterdir()
            if path.name[0] != "." and path.stat().st_size > 2}


def status(sandbox, *arguments):
    """@return names, in order, and the output on standard error"""
    result = sandbox.doveadm("-f", "json", *arguments, check=False)
    rows = json.loads(result.stdout or "[]")
    return sorted(row["username"].split("@")[0] for row in rows), result.stderr


def hold(sandbox, user, subject, count=1):
    sandbox.send_simple(user, subject)
    sandbox.wait_held(user, count)


def forget_audit(sandbox):
    """As it is where no walk over all users has ended yet."""
    (holders(sandbox) / ".audited").unlink(missing_ok=True)


def restart(sandbox, between=lambda: None):
    sandbox.stop("policyd")
    between()
    sandbox.start("policyd")


def core(sandbox):
    return int((sandbox.dir / "run/policyd.pid").read_text())


def walks(sandbox):
    return sandbox.log("policyd").count("walk over the holds done")


# ---- entries and holds

def test_permissions(sandbox):
    hold(sandbox, "traveller9", "permissions")
    found = holders(sandbox).stat()
    assert stat.S_IMODE(found.st_mode) == 0o1733
    assert found.st_uid == pwd.getpwnam(POLICYD_USER).pw_uid
    found = entry(sandbox, "traveller9").stat()
    assert stat.S_IMODE(found.st_mode) == 0o644
    # whoever delivers is its owner, and may remove it
    assert found.st_uid == pwd.getpwnam("mail").pw_uid
    sandbox.collect("traveller9")


def test_entries_follow_the_holds(sandbox):
    assert "traveller0" not in entries(sandbox)
    hold(sandbox, "traveller0", "first")
    row, = json.loads(sandbox.doveadm("-f", "json", "restante", "status", "-u",
                                      f"traveller0@{DOMAIN}").stdout)
    due = datetime.datetime.fromisoformat(row["due"]).timestamp()
    assert entries(sandbox)["traveller0"] == due
    # it has left when the client has it
    sandbox.collect("traveller0")
    wait_for("the vacancy", lambda: "traveller0" not in entries(sandbox))
    # while online, too
    client = sandbox.client("traveller0")
    wait_for("sign-in", lambda: client.said("signed in"))
    sandbox.send_simple("traveller0", "online")
    wait_for("the message", lambda: client.said(" stored: "))
    wait_for("the vacancy", lambda: "traveller0" not in entries(sandbox))
    client.kill()
    # by an operator, and by policyd
    hold(sandbox, "traveller0", "released")
    sandbox.doveadm("restante", "release", "-u", f"traveller0@{DOMAIN}",
                    "--all")
    assert "traveller0" not in entries(sandbox)


def test_what_is_left_stays(sandbox):
    """A user of whom a message is left keeps the entry."""
    hold(sandbox, "traveller1", "taken")
    first = entries(sandbox)["traveller1"]
    time.sleep(1.1)     # dates are in seconds
    hold(sandbox, "traveller1", "left", 2)
    assert entries(sandbox)["traveller1"] == first
    peer = Peer(sandbox, "traveller1")
    peer.messages(2)
    peer.answer(lambda m: b"451 4.3.0 Not now" if m.subject == "left"
                else b"250 2.0.0 Stored")
    sandbox.wait_held("traveller1", 1)
    peer.close()
    assert "traveller1" in entries(sandbox)
    sandbox.collect("traveller1")
    wait_for("the vacancy", lambda: "traveller1" not in entries(sandbox))


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


# ---- doveadm

def test_status_of_all(sandbox):
    hold(sandbox, "traveller2", "waits")
    names, errors = status(sandbox, "restante", "status", "-A")
    assert names == ["traveller2"] and errors == ""
    names, errors = status(sandbox, "restante", "list", "-A")
    assert names == ["traveller2"] and errors == ""
    # everybody who is enrolled
    names, _ = status(sandbox, "restante", "status", "-u", "*")
    assert {"traveller2", "traveller3"} <= set(names)
    sandbox.stop("policyd")     # nothing asks it
    try:
        names, errors = status(sandbox, "restante", "status", "-A")
        assert names == ["traveller2"] and errors == ""
    finally:
        sandbox.start("policyd")


def test_strange_entries(sandbox):
    """Whoever can deliver can make an entry for anybody, and other things."""
    if not sandbox.held("traveller2"):
        hold(sandbox, "traveller2", "in good company")
    made = []
    for name in (f"nobody@{DOMAIN}", f"traveller3@{DOMAIN}", "a%0Ab", "%",
                 "%1B]0;title%07", "x" * 250, "no%61", "..x", "a b"):
        made.append(holders(sandbox) / name)
        made[-1].write_text("1\n")
    os.mkfifo(holders(sandbox) / f"traveller4@{DOMAIN}")
    made.append(holders(sandbox) / f"traveller4@{DOMAIN}")
    for path in made:
        os.utime(path)
    try:
        names, errors = status(sandbox, "restante", "status", "-A")
        assert names == ["traveller2"]
        assert "\x1b" not in errors and "\x07" not in errors
        # deliveries put it right
        hold(sandbox, "traveller4", "not a pipe")
        assert "traveller4" in entries_of(sandbox, "traveller4")
        sandbox.collect("traveller4")
        # and policyd lives
        sandbox.collect("traveller2")
    finally:
        for path in made:
            path.unlink(missing_ok=True)


def entries_of(sandbox, user):
    path = entry(sandbox, user)
    return {user: int(path.read_text())} if path.is_file() else {}


def test_no_directory_for_doveadm(sandbox):
    """Then doveadm looks at all users, and says why."""
    if not sandbox.held("traveller7"):
        hold(sandbox, "traveller7", "found all the same")
    names, errors = status(sandbox, "-o", option("restante_holders=/nowhere"),
                           "restante", "status", "-A")
    assert names == ["traveller7"]
    assert "looking at all users" in errors and "/nowhere" in errors
    sandbox.collect("traveller7")


# ---- what is missing

def test_audit_makes_entries(sandbox):
    """As after an upgrade: mail is held, and nobody has an entry."""
    hold(sandbox, "traveller5", "of an earlier version")
    due = entries(sandbox)["traveller5"]
    before = walks(sandbox)

    def lose():
        entry(sandbox, "traveller5").unlink()
        forget_audit(sandbox)
    restart(sandbox, lose)
    wait_for("the walk", lambda: walks(sandbox) > before)
    assert entries(sandbox)["traveller5"] == due
    wait_for("the note of the walk",
             lambda: (holders(sandbox) / ".audited").exists())
    # it is not walked again at each start
    restart(sandbox)
    client = sandbox.collect("traveller5")
    assert len(maildir_messages(client)) == 1
    assert walks(sandbox) == before + 1


def test_look_makes_entry(sandbox):
    """Whoever looks into the hold, a sign-in, for example, makes it."""
    hold(sandbox, "traveller5", "without an entry")
    due = entries(sandbox)["traveller5"]
    entry(sandbox, "traveller5").unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(sandbox.dir / "run" / "hold.sock"))
        sock.sendall((HELLO + f"USER\ttraveller5@{DOMAIN}\n").encode())
        with sock.makefile("rb") as file:
            file.readline()
            assert file.readline().startswith(b"OK\t1\t")
    assert entries(sandbox)["traveller5"] == due
    sandbox.collect("traveller5")


def test_careless_removal(sandbox):
    """policyd has the entry made again."""
    hold(sandbox, "traveller5", "still held")
    wait_for("policyd to know", lambda: entry(sandbox, "traveller5").exists())
    time.sleep(.2)
    entry(sandbox, "traveller5").unlink()
    wait_for("the entry", entry(sandbox, "traveller5").exists, 30)
    sandbox.collect("traveller5")


@pytest.mark.parametrize("text", ["00000000000000000001\n", "0\n"])
def test_stale_entry(sandbox, text):
    """An entry of a user for whom nothing has been held for long goes with the
    next look: one that a crash has left, and one that says so."""
    def leave():
        path = entry(sandbox, "traveller3")
        path.write_text(text)
        shutil.chown(path, "mail")
        os.utime(path, (1, 1))
    restart(sandbox, leave)
    wait_for("the entry to go", lambda: not entry(sandbox,
                                                  "traveller3").exists())


def test_vacant_entry(sandbox):
    """It serves the next message, which need not make it durable."""
    hold(sandbox, "traveller3", "first")
    inode = entry(sandbox, "traveller3").stat().st_ino
    sandbox.collect("traveller3")
    wait_for("the vacancy",
             lambda: "traveller3" not in entries(sandbox))
    assert entry(sandbox, "traveller3").read_text() == "0\n"
    names, errors = status(sandbox, "restante", "status", "-A")
    assert "traveller3" not in names and errors == ""
    # also for policyd, when it starts
    restart(sandbox)
    hold(sandbox, "traveller3", "second")
    assert entry(sandbox, "traveller3").stat().st_ino == inode
    assert entries(sandbox)["traveller3"] > time.time()
    sandbox.collect("traveller3")


def test_vacancy_is_believed(sandbox):
    """Nobody's hold is opened who has a vacant entry of now, and there may be
    very many: here it lies. One of before the machine's start is not believed."""
    hold(sandbox, "traveller3", "held")
    sandbox.stop("policyd")
    path = entry(sandbox, "traveller3")
    path.write_text("0\n")
    assert "traveller3" not in status(sandbox, "restante", "status", "-A")[0]
    os.utime(path, (1, 1))
    assert "traveller3" in status(sandbox, "restante", "status", "-A")[0]
    sandbox.start("policyd")
    wait_for("the look", lambda: entries(sandbox).get("traveller3", 0) >
             time.time())
    sandbox.collect("traveller3")


def test_walk_cannot_read_a_hold(sandbox):
    """One hold is broken, here by a directory where a file should be."""
    hold(sandbox, "traveller9", "unreadable")
    mails, = (sandbox.dir / "mail" / f"traveller9@{DOMAIN}").rglob(
        "Held/dbox-Mails")
    log, away = mails / "dovecot.index.log", mails / "log.away"
    sandbox.stop("policyd")
    log.rename(away)
    log.mkdir()
    forget_audit(sandbox)
    try:
        sandbox.start("policyd")
        wait_for("the walk", lambda: "walk over the holds done: users=11 "
                 "failed=1" in sandbox.log("policyd"))
        # it is not one to rely on
        assert not (holders(sandbox) / ".audited").exists()
        result = sandbox.doveadm("restante", "status", "-A", check=False)
        assert result.returncode != 0 and "Is a directory" in result.stderr
    finally:
        log.rmdir()
        away.rename(log)
    names, _ = status(sandbox, "restante", "status", "-A")
    assert "traveller9" in names
    sandbox.collect("traveller9")


# ---- wake-ups that are lost

def test_lost_wake_up(sandbox):
    """policyd stands still while more changes come than its queue has room
    for, and with them a message for a client that is signed in."""
    most = int(pathlib.Path(
        "/proc/sys/fs/inotify/max_queued_events").read_text())
    assert most < 1000000
    client = sandbox.client("traveller8")
    wait_for("sign-in", lambda: client.said("held: messages=0"))
    hold(sandbox, "traveller2", "somebody")
    names = [entry(sandbox, "traveller2"), holders(sandbox) / "other@x"]
    names[1].write_text("1\n")
    time.sleep(.5)
    os.kill(core(sandbox), signal.SIGSTOP)
    try:
        for n in range(most + 10):
            os.utime(names[n % 2])
        lmtp(sandbox, "traveller8", "lost")
        sandbox.wait_held("traveller8", 1)
        time.sleep(1)
        assert maildir_messages(client.maildir) == []
    finally:
        os.kill(core(sandbox), signal.SIGCONT)
    start = time.monotonic()
    wait_for("the message", lambda: maildir_messages(client.maildir), 30)
    print(f"after {time.monotonic() - start:.1f} s")
    assert "too many changes" in sandbox.log("policyd")
    sandbox.wait_held("traveller8", 0)
    client.kill()
    names[1].unlink()
    sandbox.collect("traveller2")


def lmtp(sandbox, user, subject):
    """Without Postfix, which would ask policyd first."""
    with smtplib.LMTP(str(sandbox.dir / "run" / "lmtp.sock")) as conn:
        conn.sendmail("a@remote.test", [f"{user}@{DOMAIN}"],
                      f"Subject: {subject}\r\n\r\n{subject}\r\n")


def test_wake_up_never_sent(sandbox):
    """The touch is lost, by whatever means: the next look at the entries sees
    that there is something that this session was not told of."""
    client = sandbox.client("traveller8")
    wait_for("sign-in", lambda: client.said("held: messages=0"))
    time.sleep(.5)
    # a delivery that has another directory in mind, and then the entry is there
    other = sandbox.dir / "other-holders"
    other.mkdir(mode=0o777)
    other.chmod(0o777)
    subprocess.run(
        [sandbox.bin("private"), "/usr/lib/dovecot/dovecot-lda",
         "-c", sandbox.env["DOVECOT_CONF"], "-o", option(f"restante_holders={other}"),
         "-d", f"traveller8@{DOMAIN}", "-f", "a@remote.test"],
        input=b"Subject: never told\n\nx\n", check=True, timeout=30)
    made, = other.iterdir()
    sandbox.wait_held("traveller8", 1)
    time.sleep(1)
    assert maildir_messages(client.maildir) == []
    # made here, with its name: that is no touch
    entry(sandbox, "traveller8").unlink(missing_ok=True)
    os.link(made, entry(sandbox, "traveller8"))
    wait_for("the message", lambda: maildir_messages(client.maildir), 30)
    sandbox.wait_held("traveller8", 0)
    client.kill()
    shutil.rmtree(other)


# ---- the directory goes

@pytest.fixture
def online(sandbox):
    client = sandbox.client("traveller4")
    wait_for("sign-in", lambda: client.said("held: messages=0"))
    yield client
    # what the client has stored, it also acknowledges before it goes
    sandbox.wait_held("traveller4", 0)
    client.kill()


@pytest.mark.parametrize("how", ["removed", "renamed", "above"])
def test_directory_goes(sandbox, online, how):
    """policyd makes it again; what is held gets its entries back."""
    if not sandbox.held("traveller2"):
        hold(sandbox, "traveller2", "waits")
    time.sleep(.2)
    away = sandbox.dir / "away"
    if how == "removed":
        shutil.rmtree(holders(sandbox))
    elif how == "renamed":
        holders(sandbox).rename(away)
    else:
        holders(sandbox).parent.rename(away)
        # policyd's account may not make this one
        holders(sandbox).parent.mkdir()
        shutil.chown(holders(sandbox).parent, POLICYD_USER)
    wait_for("the directory", holders(sandbox).is_dir, 30)
    assert stat.S_IMODE(holders(sandbox).stat().st_mode) == 0o1733
    wait_for("the entry", entry(sandbox, "traveller2").exists, 30)
    before = len(maildir_messages(online.maildir))
    lmtp(sandbox, "traveller4", how)
    wait_for("the message", lambda: len(maildir_messages(online.maildir)) >
             before)
    assert "the holders directory is another one" in sandbox.log("policyd")
    shutil.rmtree(away, ignore_errors=True)


def test_directory_cannot_be_made(sandbox, online):
    """Nothing is held without it: 4xx, and nobody else notices. It is taken
    into use when it is there again."""
    above = holders(sandbox).parent
    errors = sandbox.log("policyd").count("no holders directory")
    above.rename(sandbox.dir / "away")      # nobody is told
    above.write_text("in its place")
    try:
        wait_for("policyd's word", lambda: sandbox.log("policyd").count(
            "no holders directory") > errors, 30)
        sandbox.send_simple("traveller4", "not now")
        sandbox.send_simple("resident", "undisturbed")
        wait_for("the resident's", lambda: any(
            b"undisturbed" in m for m in sandbox.mailbox("resident")))
        wait_for("4xx", lambda: "Hold failed, asking to try again later" in
                 sandbox.log("dovecot"))
        assert "status=bounced" not in sandbox.log("postfix")
        assert sandbox.held("traveller4") == []
    finally:
        above.unlink()
        above.mkdir()
        shutil.rmtree(sandbox.dir / "away")
    holders(sandbox).mkdir()
    holders(sandbox).chmod(0o1733)
    shutil.chown(holders(sandbox), POLICYD_USER)
    shutil.chown(above, POLICYD_USER)
    wait_for("policyd's word", lambda: "holders directory is there again" in
             sandbox.log("policyd"), 30)
    assert sandbox.log("policyd").count("no holders directory") == errors + 1
    wait_for("the message", lambda: any(
        b"not now" in m for m in maildir_messages(online.maildir)), 40)


def test_on_error_deliver(sandbox):
    """With restante_on_error = deliver the mailbox has it."""
    users = sandbox.dir / "dovecot" / "users"
    text = users.read_text()
    lines = [line + " userdb_restante_on_error=deliver "
             "userdb_restante_holders=/nowhere"
             if line.startswith("traveller3@") else line
             for line in text.splitlines()]
    sandbox.stop("dovecot")
    users.write_text("\n".join(lines) + "\n")
    sandbox.start("dovecot")
    try:
        sandbox.send_simple("traveller3", "to the mailbox")
        wait_for("the message", lambda: sandbox.mailbox("traveller3"))
        assert "/nowhere" in sandbox.log("dovecot")
    finally:
        sandbox.stop("dovecot")
        users.write_text(text)
        sandbox.start("dovecot")


# ---- other sites

def edit(path, old, new):
    text = path.read_text()
    assert old in text, old
    path.write_text(text.replace(old, new))


if IS_24:
    PASSWD_FILE = "userdb passwd-file {{\n  passwd_file_path = {}/dovecot/users\n}}\n"
    STATIC = """userdb static {{
  fields {{
    uid = mail
    gid = mail
    home = {}/mail/%{{user}}
    restante = yes
  }}
}}
"""
else:
    PASSWD_FILE = """userdb {{
  driver = passwd-file
  args = username_format=%u {}/dovecot/users
}}
"""
    STATIC = """userdb {{
  driver = static
  args = uid=mail gid=mail home={}/mail/%u restante=yes
}}
"""


@pytest.fixture(scope="module")
def static(make_sandbox):
    """userdb static cannot list its users. And all of Dovecot runs as the one
    owner of mail, which cannot become root."""
    sandbox = make_sandbox("--hold-time", "2")
    sandbox.stop("policyd")
    sandbox.stop("dovecot")
    edit(sandbox.dir / "dovecot" / "auth.conf",
         PASSWD_FILE.format(sandbox.dir), STATIC.format(sandbox.dir))
    edit(pathlib.Path(sandbox.env["DOVECOT_CONF"]), "service lmtp {",
         "service lmtp {\n  user = mail")
    sandbox.start("dovecot")
    forget_audit(sandbox)
    sandbox.start("policyd")
    yield sandbox
    sandbox.down()


def test_userdb_does_not_list(static):
    """Mail that falls due while policyd is away falls back all the same."""
    sandbox = static
    wait_for("a word of it", lambda: "does not list its users" in
             sandbox.log("policyd"))
    assert " error: " not in sandbox.log("policyd")
    sandbox.stop("policyd")
    hold(sandbox, "traveller0", "due")
    assert entry(sandbox, "traveller0").owner() == "mail"
    names, _ = status(sandbox, "restante", "status", "-A")
    assert names == ["traveller0"]
    time.sleep(2.5)
    assert sandbox.mailbox("traveller0") == []
    sandbox.start("policyd")
    wait_for("fallback", lambda: sandbox.mailbox("traveller0"), 10)
    wait_for("the vacancy",
             lambda: "traveller0" not in entries(sandbox))
    # and while it runs
    sandbox.send_simple("traveller1", "due soon")
    wait_for("fallback", lambda: sandbox.mailbox("traveller1"), 10)
    result = subprocess.run(
        [sandbox.bin("restante-policyd"), "-t", "-c",
         sandbox.env["POLICYD_CONF"]], capture_output=True, text=True,
        timeout=60)
    assert result.returncode == 0, result.stdout
    assert "does not list its users" in result.stdout


def test_users_of_several_uids(sandbox):
    """Each one's entry is the user's own."""
    users = sandbox.dir / "dovecot" / "users"
    text = users.read_text()
    uids = {"traveller0": "games", "traveller1": "news"}
    lines = []
    for line in text.splitlines():
        user = line.split("@")[0]
        if user in uids:
            fields = line.split(":")
            fields[2] = str(pwd.getpwnam(uids[user]).pw_uid)
            fields[5] = str(sandbox.dir / "mail" / f"own-{user}")
            pathlib.Path(fields[5]).mkdir()
            shutil.chown(fields[5], uids[user])
            line = ":".join(fields)
        lines.append(line)
    sandbox.stop("dovecot")
    users.write_text("\n".join(lines) + "\n")
    sandbox.start("dovecot")
    try:
        for user, owner in uids.items():
            hold(sandbox, user, "own uid")
            assert entry(sandbox, user).owner() == owner
            assert len(maildir_messages(sandbox.collect(user))) == 1
            wait_for("the vacancy",
                     lambda: user not in entries(sandbox))
    finally:
        sandbox.stop("dovecot")
        users.write_text(text)
        sandbox.start("dovecot")


def test_name_too_long(sandbox):
    """A user whose name has no room in a file's is delivered to normally."""
    users = sandbox.dir / "dovecot" / "users"
    text = users.read_text()
    name = "!" * 80 + f"@{DOMAIN}"
    model = text.splitlines()[0]
    fields = model.split(":")
    fields[0], fields[5] = name, str(sandbox.dir / "mail" / "long")
    sandbox.stop("dovecot")
    users.write_text(text + ":".join(fields) + "\n")
    sandbox.start("dovecot")
    lmtp(sandbox, "!" * 80, "long")
    assert "not held: the user's name is too long" in sandbox.log("dovecot")
    text = sandbox.doveadm("fetch", "-u", name, "hdr", "mailbox",
                           "INBOX").stdout
    assert "Subject: long" in text
