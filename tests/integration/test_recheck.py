# SPDX-License-Identifier: MIT
"""A session ends with the account, the enrolment and the password that it was
opened with; an operator can end it at once; and policyd's sockets come back."""
import os
import pathlib
import re
import socket
import subprocess
import time
from contextlib import closing

import pytest

from conftest import DOMAIN, maildir_messages, wait_for
from dovecot import passdb
from peer import PLAIN, Peer

INTERVAL = 2
CONFIRM = 3
# a turn, a doubt, and a busy machine
SOON = INTERVAL + CONFIRM + 15
OUTAGE_INTERVALS = 6
# how often sockets are looked at is 10 s, what is promised is 30 s
REMADE = 30


@pytest.fixture(scope="module")
def sandbox(make_sandbox):
    """A short interval, and a passdb of those who are denied."""
    sandbox = make_sandbox()
    with open(sandbox.env["DOVECOT_CONF"], "a") as conf:
        conf.write("protocol restante {\n")
        for name, more in (
                ("denied", {"deny": True}),
                # as in 90-restante.conf
                ("devices", {"field": "restante_pass_changed=device"})):
            path = sandbox.dir / "dovecot" / name
            path.write_text(f"traveller12@{DOMAIN}:"
                            f"{{PLAIN}}{sandbox.password}\n"
                            if name == "devices" else "")
            os.chmod(path, 0o644)
            conf.write(passdb(name, path, **more))
        conf.write("}\n")
    users = sandbox.dir / "dovecot" / "users"
    first = users.read_text().splitlines()[0]
    with open(users, "a") as out:
        for n in (10, 11, 12):
            out.write(first.replace("traveller0@", f"traveller{n}@") + "\n")
    sandbox.stop("policyd")
    sandbox.stop("dovecot")
    with open(sandbox.env["POLICYD_CONF"], "a") as conf:
        conf.write(f"recheck_interval = {INTERVAL}s\n")
    sandbox.start("dovecot")
    sandbox.start("policyd")
    yield sandbox
    sandbox.down()


def edit_user(sandbox, user, change):
    """Replace the user's line, as passwd tools do: by a new file. `change` is
    given the line, and returns a line or None."""
    path = sandbox.dir / "dovecot" / "users"
    lines = [change(line) if line.startswith(f"{user}@") else line
             for line in path.read_text().splitlines()]
    new = path.with_suffix(".new")
    new.write_text("".join(f"{line}\n" for line in lines if line is not None))
    os.chown(new, path.stat().st_uid, path.stat().st_gid)
    os.chmod(new, path.stat().st_mode & 0o777)
    new.rename(path)


def who(sandbox, *arguments):
    """The sessions, as a list of dicts."""
    output = sandbox.doveadm("-f", "tab", "restante", "who",
                             *arguments).stdout.splitlines()
    names = output[0].split("\t") if output else []
    return [dict(zip(names, line.split("\t"))) for line in output[1:]]


def online(sandbox):
    return {row["user"].split("@")[0] for row in who(sandbox)}


def sign_in(sandbox, user):
    client = sandbox.client(user)
    wait_for(f"{user} signed in", lambda: user in online(sandbox))
    return client


def signed_out(sandbox, user):
    """The reasons in policyd's log."""
    return re.findall(rf'session signed out: .*user={user}@.* reason="(.*)"',
                      sandbox.log("policyd"))


def settled(sandbox, user):
    """policyd has asked what it compares with later: it does so at the sign-in,
    and not yet when the client shows in the list."""
    assert user in online(sandbox)
    time.sleep(0.5)


CHANGES = {
    "removed": ("traveller0", lambda line: None,
                "The account does not exist any more"),
    "unenrolled": ("traveller1",
                   lambda line: line.replace("restante=yes", "restante=no"),
                   "Mail is not held for this account any more"),
    "nologin": ("traveller2", lambda line: line + " nologin",
                "The account may not sign in any more"),
    "password": ("traveller3", lambda line:
                 line.replace("{PLAIN}", "{PLAIN}x") +
                 " restante_pass_changed=2026-11-29",
                 "The password was changed, sign in again"),
    "fail": ("traveller10", lambda line: line + " fail",
             "The account may not sign in any more"),
    "allow_nets": ("traveller11",
                   lambda line: line + " allow_nets=192.0.2.0/24",
                   "The account may not sign in any more"),
    "denied": ("traveller4", None, "The account may not sign in any more"),
}


def test_signed_out(sandbox):
    """Signed out soon, and told why; the next sign-in fails as it should."""
    clients = {case: sign_in(sandbox, CHANGES[case][0]) for case in CHANGES}
    settled(sandbox, CHANGES["denied"][0])
    since = time.monotonic()
    for user, change, _ in CHANGES.values():
        if change is None:
            (sandbox.dir / "dovecot" / "denied").write_text(
                f"{user}@{DOMAIN}:\n")
        else:
            edit_user(sandbox, user, change)
    for case, client in clients.items():
        user, _, reason = CHANGES[case]
        wait_for(f"{case}: its end",
                 lambda: client.said("sent away by the server"), SOON)
        print(f"{case}: after {time.monotonic() - since:.1f} s")
        assert client.said(f'reason="{reason}"'), case
        assert signed_out(sandbox, user) == [reason]
        assert user not in online(sandbox)
    # each tries again by itself, after 5 to 30 s, and is refused
    for case, client in clients.items():
        user = CHANGES[case][0]
        wait_for(f"{case}: its next try", lambda: client.said("refused") or
                 client.said("failed"), 45)
        client.kill()
        assert user not in online(sandbox)
        assert sandbox.client(user, None, "--once").wait(60) != 0, case


def test_device_password_removed(sandbox):
    """The laptop is lost: its line goes, and the account stays as it is."""
    user = "traveller12"
    client = sign_in(sandbox, user)
    settled(sandbox, user)
    (sandbox.dir / "dovecot" / "devices").write_text("")
    wait_for("its end", lambda: client.said(
        "The password was changed, sign in again"), SOON)
    client.kill()


def test_plain_client_is_told(sandbox):
    """A client without XRESTANTE that is being served: QUIT."""
    user = "traveller5"
    sandbox.send_simple(user, "plain")
    sandbox.wait_held(user, 1)
    peer = Peer(sandbox, user, PLAIN)
    assert peer.line().startswith(b"MAIL FROM:")
    settled(sandbox, user)
    assert who(sandbox, "-u", f"{user}@{DOMAIN}")[0]["state"] == "draining"
    sandbox.doveadm("restante", "kick", "-u", f"{user}@{DOMAIN}")
    assert peer.line() == b"QUIT"
    assert peer.line() == b""
    peer.close()
    # nothing was answered: nothing has left the hold
    assert len(sandbox.held(user)) == 1
    maildir = sandbox.collect(user)
    assert len(maildir_messages(maildir)) == 1


def test_changed_password_without_a_field(sandbox):
    """Dovecot does not tell: the operator's kick does it, at once."""
    user = "traveller6"
    client = sign_in(sandbox, user)
    settled(sandbox, user)
    edit_user(sandbox, user, lambda line: line.replace("{PLAIN}", "{PLAIN}x"))
    time.sleep(3 * INTERVAL)
    assert user in online(sandbox)
    since = time.monotonic()
    result = sandbox.doveadm("-f", "tab", "restante", "kick", "-u",
                             f"{user}@{DOMAIN}")
    assert result.stdout == f"user\tsessions\n{user}@{DOMAIN}\t1\n"
    wait_for("its end", lambda: client.said("Signed out by the operator"), 5)
    assert time.monotonic() - since < 2
    client.kill()
    assert sandbox.client(user, None, "--once").wait(60) != 0


def test_dovecot_is_away(sandbox):
    """Dovecot is stopped for many intervals: nobody is signed out. A change is
    noticed afterwards."""
    users = ["traveller7", "traveller8", "traveller9"]
    clients = [sign_in(sandbox, user) for user in users]
    settled(sandbox, users[-1])
    before = sandbox.log("policyd").count("session signed out")
    sandbox.stop("dovecot")
    # the auth process outlives Dovecot for as long as a connection is open
    wait_for("the log", lambda: "sessions are not checked again" in
             sandbox.log("policyd"), 25)
    time.sleep(OUTAGE_INTERVALS * INTERVAL)
    # doveadm does without Dovecot here
    assert set(users) <= online(sandbox)
    assert sandbox.log("policyd").count("sessions are not checked again") == 1
    sandbox.start("dovecot")
    wait_for("the log", lambda: "sessions are checked again" in
             sandbox.log("policyd"))
    time.sleep(2 * INTERVAL + CONFIRM)
    assert set(users) <= online(sandbox)
    assert sandbox.log("policyd").count("session signed out") == before
    edit_user(sandbox, users[0], lambda line: line + " nologin")
    wait_for("the change", lambda: signed_out(sandbox, users[0]), SOON)
    assert set(users[1:]) <= online(sandbox)
    for client in clients:
        client.kill()


def test_default_enrolment_changes(sandbox):
    """plugin { restante } of the configuration, which only restante-hold knows,
    after a reload of Dovecot."""
    user = "traveller9"
    conf = sandbox.dir / "dovecot" / "90-restante.conf"
    edit_user(sandbox, user, lambda line: line.replace(
        "userdb_restante=yes", ""))
    text = conf.read_text()
    assert "restante = no" in text
    conf.write_text(text.replace("restante = no", "restante = yes"))
    sandbox.doveadm("reload")
    client = sign_in(sandbox, user)
    settled(sandbox, user)
    conf.write_text(text)
    sandbox.doveadm("reload")
    # the old auth process is asked for 10 s more
    wait_for("its end", lambda: signed_out(sandbox, user), SOON + 10)
    assert client.said("Mail is not held for this account any more")
    client.kill()


def test_who_and_kick_many(sandbox):
    users = ["traveller5", "traveller8"]
    before = time.time()
    clients = [sign_in(sandbox, user) for user in users]
    rows = who(sandbox, "-u", "traveller*")
    assert [row["user"] for row in rows] == [f"{u}@{DOMAIN}" for u in users]
    for row in rows:
        assert row["address"] == "127.0.0.1"
        assert row["state"] == "idle"
        since = time.mktime(time.strptime(row["since"], "%Y-%m-%d %H:%M:%S"))
        assert before - 2 < since < time.time() + 1
    assert int(rows[0]["epoch"]) < int(rows[1]["epoch"])
    assert who(sandbox, "-u", "nobody*") == []
    # nobody of that name
    result = sandbox.doveadm("restante", "kick", "-u", f"resident@{DOMAIN}",
                             check=False)
    assert result.returncode == 68 and "signed in" in result.stderr
    # as Dovecot's auth spells it, or not
    name = f"{users[0]}@{DOMAIN}".title()
    assert [row["user"] for row in who(sandbox, "-u", name)] == [rows[0]["user"]]
    result = sandbox.doveadm("-f", "tab", "restante", "kick", "-u", name)
    assert result.stdout == f"user\tsessions\n{rows[0]['user']}\t1\n"
    wait_for("its return", lambda: users[0] in online(sandbox), 40)
    # no selection
    assert sandbox.doveadm("restante", "kick", check=False).returncode != 0
    names = sandbox.dir / "names"
    names.write_text(f"{users[1].upper()}@{DOMAIN}\nnobody@{DOMAIN}\n")
    rows = who(sandbox, "-F", str(names))
    assert [row["user"] for row in rows] == [f"{users[1]}@{DOMAIN}"]
    sandbox.doveadm("restante", "kick", "-F", str(names))
    wait_for("one to go", lambda: users[1] not in online(sandbox))
    assert users[0] in online(sandbox)
    sandbox.doveadm("restante", "kick", "-A")
    wait_for("all to go", lambda: not online(sandbox))
    wait_for("their ends", lambda: all(
        client.said("Signed out by the operator") for client in clients))
    for client in clients:
        client.kill()


def test_kicked_client_comes_back(sandbox):
    """Nothing keeps it from that; it waits for 5 to 30 s, as after every
    dismissal."""
    user = "traveller8"
    client = sign_in(sandbox, user)
    sandbox.doveadm("restante", "kick", "-u", f"{user}@{DOMAIN}")
    wait_for("its end", lambda: user not in online(sandbox))
    since = time.monotonic()
    wait_for("its return", lambda: user in online(sandbox), 40)
    assert time.monotonic() - since > 3
    sandbox.send_simple(user, "back")
    wait_for("mail", lambda: maildir_messages(client.maildir))
    client.kill()


# ---- sockets

def policy_answers(path):
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        sock.sendall(b"request=smtpd_access_policy\nprotocol_state=RCPT\n"
                     b"recipient=a@example.test\nsize=0\n\n")
        return sock.recv(100) == b"action=DUNNO\n\n"


def answers(path):
    try:
        return policy_answers(path)
    except OSError:
        return False


def test_sockets_removed(sandbox):
    """Each comes back, with the permissions that it had, and the log says so.
    The directory is root's, and policyd's core is not root."""
    policy = pathlib.Path(sandbox.env["POLICY_SOCKET"])
    control = policy.parent / "control"
    modes = [path.stat().st_mode for path in (policy, control)]
    before = sandbox.log("policyd").count("had vanished, made again")
    since = time.monotonic()
    policy.unlink()
    control.unlink()
    wait_for("policy", lambda: answers(policy), REMADE)
    wait_for("control", lambda: sandbox.doveadm(
        "restante", "who", check=False).returncode == 0, REMADE)
    print(f"after {time.monotonic() - since:.1f} s")
    assert time.monotonic() - since < REMADE
    assert [path.stat().st_mode for path in (policy, control)] == modes
    log = sandbox.log("policyd")
    assert log.count("had vanished, made again") == before + 2
    # Postfix finds it
    sandbox.send_simple("traveller8", "after")


def test_socket_taken_by_another(sandbox):
    """A live process is left alone, with one line in the log. When it has
    gone, the socket is made again."""
    policy = pathlib.Path(sandbox.env["POLICY_SOCKET"])
    with closing(socket.socket(socket.AF_UNIX)) as other:
        policy.unlink()
        other.bind(str(policy))
        other.listen(5)
        ino = policy.stat().st_ino
        wait_for("the log", lambda: "another process has taken" in
                 sandbox.log("policyd"), REMADE)
        time.sleep(21)
        assert policy.stat().st_ino == ino
        log = sandbox.log("policyd")
        assert log.count("another process has taken") == 1
        assert f"pid={os.getpid()}" in log
    wait_for("policy", lambda: answers(policy), REMADE)


def test_socket_of_a_unit(sandbox):
    """A policy socket that a service manager has passed is the manager's: the
    log says that it has vanished, and policyd makes none in its place."""
    policy = pathlib.Path(sandbox.env["POLICY_SOCKET"])
    sandbox.stop("policyd")
    policy.unlink(missing_ok=True)
    started = sandbox.log("policyd").count("notice: started")
    with closing(socket.socket(socket.AF_UNIX)) as listener, \
            open(sandbox.dir / "log" / "policyd.log", "ab") as log:
        listener.bind(str(policy))
        listener.listen(5)

        def in_child():
            os.dup2(listener.fileno(), 3)
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1",
                              LISTEN_FDNAMES="restante-policyd.socket")
            os.execv(sandbox.bin("restante-policyd"),
                     ["restante-policyd", "-f", "-c",
                      sandbox.env["POLICYD_CONF"]])

        process = subprocess.Popen(
            ["/bin/true"], preexec_fn=in_child, close_fds=False,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for("its start", lambda: sandbox.log("policyd").count(
                "notice: started") > started)
            assert answers(policy)
            policy.unlink()
            wait_for("the log", lambda: "a socket of the service manager's has "
                     "vanished" in sandbox.log("policyd"), REMADE)
            assert not policy.exists()
        finally:
            process.terminate()
            process.wait(20)
    sandbox.start("policyd")
    assert answers(policy)


def test_restart_without_trace(sandbox):
    """The keeper ends with the core: no process is left, and the next policyd
    finds its paths free."""
    pid = int((sandbox.dir / "run" / "policyd.pid").read_text())

    def keepers():
        return [path for path in pathlib.Path("/proc").glob("[0-9]*/comm")
                if read(path) == "policyd-keeper\n" and
                read(path.with_name("cmdline")).find(str(sandbox.dir)) >= 0]

    def read(path):
        try:
            return path.read_text()
        except OSError:
            return ""

    assert len(keepers()) == 1
    os.kill(pid, 9)
    wait_for("the keeper's end", lambda: not keepers())
    sandbox.start("policyd")
    assert len(keepers()) == 1
    assert answers(sandbox.env["POLICY_SOCKET"])


def test_lifetime(sandbox):
    """Where nothing else tells, a session ends some day; the client signs in
    again by itself."""
    sandbox.stop("policyd")
    with open(sandbox.env["POLICYD_CONF"], "a") as conf:
        conf.write("session_lifetime = 8s\n")
    sandbox.start("policyd")
    user = "traveller8"
    client = sign_in(sandbox, user)
    wait_for("its end", lambda: client.said("Signed in for long enough"), 30)
    wait_for("its return", lambda: user in online(sandbox), 40)
    client.kill()
