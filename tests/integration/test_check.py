# SPDX-License-Identifier: MIT
"""`doveadm restante check` and `restante-policyd -t` see the traps of real
sites: a sound one has no error and no warning, each trap has its line with the
cure, and the line goes when the cure is applied."""
import contextlib
import os
import pwd
import re
import signal
import subprocess
from typing import NamedTuple

import pytest

from conftest import DOMAIN, TOP, wait_for
from dovecot import HOLD, HOLD_PLUGINS, IS_24, conf, option, variables
from rights import needs_mounts

USER = f"traveller1@{DOMAIN}"


def environment(sandbox):
    return {**os.environ, "MAIL_CONFIG": sandbox.env["POSTFIX_ETC"]}


def check(sandbox, *arguments, quiet=True):
    """The lines of doveadm restante check; its exit status fits them.

    quiet: Dovecot logs nothing by itself"""
    result = subprocess.run(
        [sandbox.bin("doveadm"), "restante", "check", *arguments],
        capture_output=True, text=True, timeout=60, env=environment(sandbox))
    print(result.stdout + result.stderr)
    lines = result.stdout.splitlines()
    assert lines
    for line in lines:
        assert re.match(r"(ok|warning|error) (-|\S+) [^:]+: .", line), line
    wrong = any(line.startswith("error") for line in lines)
    assert result.returncode == (78 if wrong else 0), result.stderr
    assert not quiet or result.stderr == ""
    return lines


def faults(lines):
    return [line for line in lines if not line.startswith("ok ")]


@contextlib.contextmanager
def appended(path, text):
    before = path.read_text()
    try:
        path.write_text(before + text)
        yield
    finally:
        path.write_text(before)


def dovecot(sandbox, text):
    """doveadm and doveconf read the file anew each time."""
    return appended(sandbox.dir / "dovecot" / "dovecot.conf",
                    conf(text).replace("@DIR@", str(sandbox.dir)))


def tree(path):
    return sorted(str(each) for each in path.rglob("*"))


# -- doveadm restante check

def test_sound_site(sandbox):
    lines = check(sandbox)
    assert faults(lines) == []
    text = "\n".join(lines)
    for what in ("protocol lmtp mail_plugins", "protocol lda mail_plugins",
                 "protocol restante mail_plugins", "protocol lmtp mail_fsync",
                 "lmtp_rcpt_check_quota", "service lmtp-release executable",
                 "restante_holders", "restante_release_socket",
                 "restante_control_socket"):
        assert f"ok - {what}: " in text


def test_sound_users(sandbox):
    """All of them; and nothing is left behind of a user who holds nothing."""
    before = tree(sandbox.dir / "mail"), tree(sandbox.dir / "restante")
    lines = check(sandbox, "-A")
    assert faults(lines) == []
    text = "\n".join(lines)
    for n in range(10):
        user = f"traveller{n}@{DOMAIN}"
        for what in ("settings", HOLD, "restante_holders",
                     "restante_queue_lifetime"):
            assert f"ok {user} {what}: " in text
    assert f"ok resident@{DOMAIN} settings: not enrolled" in text
    assert f"resident@{DOMAIN} {HOLD}" not in text
    assert (tree(sandbox.dir / "mail"),
            tree(sandbox.dir / "restante")) == before


@pytest.mark.parametrize("format", ["sdbox", "mdbox", "maildir"])
def test_user_who_holds_something(make_sandbox, tmp_path, format):
    extra = tmp_path / "dovecot.conf"
    extra.write_text("mail_fsync = always\n")
    sandbox = make_sandbox("--format", format, "--extra-dovecot", extra)
    sandbox.send_simple("traveller1", "held")
    sandbox.wait_held("traveller1", 1)
    hold = sandbox.dir / "mail" / USER / "restante"
    before = tree(hold)
    lines = check(sandbox, "-u", USER)
    assert faults(lines) == []
    assert f"ok {USER} hold: 1 messages" in lines
    assert [each for each in tree(hold) if "check" in each] == []
    assert set(before) <= set(tree(hold))
    assert len(sandbox.held("traveller1")) == 1
    sandbox.collect("traveller1")
    sandbox.down()


class Trap(NamedTuple):
    text: str          # what is planted in dovecot.conf
    arguments: tuple
    line: str          # its beginning
    cure: str          # a regex
    mended: str = ""   # added to text: the cure; empty: text is removed
    account: str = ""  # what is planted in USER's account


TRAPS = {
    "lmtp-without-us": Trap(
        "protocol lmtp {\n  mail_plugins = sieve\n}\n", (),
        "error - protocol lmtp mail_plugins", 'add "restante"',
        "protocol lmtp {\n  mail_plugins = sieve restante\n}\n"),
    "lda-without-us": Trap(
        "protocol lda {\n  mail_plugins = sieve\n}\n", (),
        "warning - protocol lda mail_plugins", 'add "restante"',
        "protocol lda {\n  mail_plugins = sieve restante\n}\n"),
    "imap-with-us": Trap(
        "protocol imap {\n  mail_plugins = restante\n}\n", (),
        "error - protocol imap mail_plugins", "take .restante. out",
        "protocol imap {\n  mail_plugins =\n}\n"),
    "hold-without-zlib": Trap(
        "protocol lmtp {\n  mail_plugins = sieve restante zlib\n}\n"
        "plugin {\n  restante_hold_plugin_settings = zlib_\n}\n", (),
        "error - protocol restante mail_plugins", 'add "(zlib|mail_compress)"',
        "protocol restante {\n  mail_plugins = zlib\n}\n"),
    "hold-without-mail-crypt": Trap(
        "protocol lmtp {\n  mail_plugins = sieve restante mail_crypt\n}\n"
        "plugin {\n  restante_hold_plugin_settings = mail_crypt_\n}\n", (),
        "error - protocol restante mail_plugins", 'add "mail_crypt"',
        "protocol restante {\n  mail_plugins = mail_crypt\n}\n"),
    "hold-without-fts": Trap(
        "protocol lmtp {\n  mail_plugins = sieve restante fts\n}\n"
        "plugin {\n  restante_hold_plugin_settings = fts_\n}\n", (),
        "warning - protocol restante mail_plugins", 'add "fts"',
        "protocol restante {\n  mail_plugins = fts\n}\n"),
    "what-is-saved": Trap(
        "protocol doveadm {\n  mail_plugins = zlib\n}\n"
        "plugin {\n  zlib_save = gz\n"
        "  restante_hold_plugin_settings = zlib_\n}\n"
        "protocol restante {\n  mail_plugins =\n}\n", ("-u", USER),
        f"error {USER} {HOLD}",
        "add that plugin to mail_plugins of protocol restante",
        "protocol restante {\n  mail_plugins = zlib\n}\n"),
    "user-plugin": Trap(
        "protocol lmtp {\n  mail_plugins = sieve restante zlib\n}\n",
        ("-u", USER), f"error {USER} protocol restante mail_plugins",
        'add "(zlib|mail_compress)"', "protocol restante {\n  mail_plugins = zlib\n}\n",
        f"{HOLD_PLUGINS}={'mail_compress' if IS_24 else 'zlib_'}"),
    "fsync-never": Trap(
        "mail_fsync = never\n", (), "error - protocol restante mail_fsync",
        "set it to optimized", "mail_fsync = optimized\n"),
    "fsync-never-lmtp": Trap(
        "protocol lmtp {\n  mail_fsync = never\n}\n", (),
        "error - protocol lmtp mail_fsync", "set it to optimized",
        "protocol lmtp {\n  mail_fsync = always\n}\n"),
    "maildir": Trap(
        "plugin {\n  restante_hold_location = maildir:~/restante\n}\n",
        ("-u", USER), f"warning {USER} protocol restante mail_fsync",
        "set it to always", "mail_fsync = always\n"),
    "quota-at-rcpt": Trap(
        "lmtp_rcpt_check_quota = yes\n", (),
        "warning - lmtp_rcpt_check_quota", "set it to no",
        "protocol lmtp {\n  lmtp_rcpt_check_quota = no\n}\n"),
    "release-without-bypass": Trap(
        "service lmtp-release {\n  executable = lmtp\n}\n", (),
        "error - service lmtp-release executable",
        f"lmtp -o {option('restante_bypass=yes')}",
        "service lmtp-release {\n"
        "  executable = lmtp -o plugin/restante_bypass=yes\n}\n"),
    "bypass-everywhere": Trap(
        "plugin {\n  restante_bypass = yes\n}\n", (),
        "error - restante_bypass", "remove it",
        "plugin {\n  restante_bypass = no\n}\n"),
    "quota-rule": Trap(
        "plugin {\n  quota_rule = *:storage=1G\n"
        "  quota_rule2 = Restante/*:ignore\n}\n", (),
        "warning - quota_rule2", "remove it",
        "plugin {\n  quota_rule2 = Trash:storage=+1G\n}\n"),
    "no-holders": Trap(
        "plugin {\n  restante_holders = /nonexistent/holders\n}\n", (),
        "error - restante_holders", "holders_directory",
        "plugin {\n  restante_holders = @DIR@/restante/holders\n}\n"),
    "another-directory": Trap(
        "plugin {\n  restante_holders = @DIR@/another\n}\n", (),
        "error - restante_control_socket", "holders_directory",
        "plugin {\n  restante_holders = @DIR@/link\n}\n"),
    "another-directory-of-one": Trap(
        "", ("-u", USER), f"error {USER} restante_control_socket",
        "holders_directory", account="restante_holders=/nonexistent"),
    "no-daemon": Trap(
        "plugin {\n  restante_control_socket = @DIR@/run/nonexistent\n}\n", (),
        "warning - restante_control_socket", "is restante-policyd running",
        "plugin {\n  restante_control_socket = @DIR@/run/control\n}\n"),
    "not-the-daemon": Trap(
        "plugin {\n  restante_control_socket = @DIR@/run/auth.sock\n}\n", (),
        "warning - restante_control_socket", "is this its control_socket",
        "plugin {\n  restante_control_socket = @DIR@/run/control\n}\n"),
    "holders-of-root": Trap(
        "plugin {\n  restante_holders = @DIR@/of-root\n}\n", (),
        "error - restante_holders", "holders_directory",
        "plugin {\n  restante_holders = @DIR@/restante/holders\n}\n"),
    "holders-closed": Trap(
        "plugin {\n  restante_holders = @DIR@/closed\n}\n", ("-u", USER),
        f"error {USER} restante_holders", "chmod 1733",
        "plugin {\n  restante_holders = @DIR@/restante/holders\n}\n"),
    "no-release-socket": Trap(
        "plugin {\n  restante_release_socket = nonexistent\n}\n", (),
        "error - restante_release_socket", "unix_listener",
        "plugin {\n  restante_release_socket = lmtp-release\n}\n"),
    "another-release-socket": Trap(
        "plugin {\n  restante_release_socket = @DIR@/run/auth.sock\n}\n", (),
        "error - restante_release_socket", "lmtp-release",
        "plugin {\n  restante_release_socket = "
        "@DIR@/run/dovecot/lmtp-release\n}\n"),
    "user-release-socket": Trap(
        "", ("-u", USER), f"error {USER} restante_release_socket",
        "lmtp-release", account="restante_release_socket=nonexistent"),
    "bad-setting": Trap(
        "plugin {\n  restante_hold_time = often\n}\n", ("-u", USER),
        f"error {USER} settings", "restante_hold_time=often.*14d or 12h",
        "plugin {\n  restante_hold_time = 3d\n}\n"),
    "bad-setting-of-one": Trap(
        "", ("-u", USER), f"error {USER} settings",
        "restante_on_error=panic.*tempfail", account="restante_on_error=panic"),
    "obsolete-mailbox": Trap(
        "plugin {\n  restante_hold_mailbox = Restante/Held\n}\n",
        ("-u", USER), f"warning {USER} restante_hold_mailbox",
        HOLD),
    "obsolete-notify": Trap(
        "plugin {\n  restante_notify_socket = /run/restante/notify\n}\n",
        ("-u", USER), f"warning {USER} restante_notify_socket",
        "remove it"),
    "obsolete-index": Trap(
        "plugin {\n  restante_index_socket = /run/restante/index\n}\n",
        ("-u", USER), f"warning {USER} restante_index_socket",
        "remove it"),
    "namespace": Trap(
        "namespace restante {\n  prefix = Restante/\n  separator = /\n"
        "  location = sdbox:~/restante\n  list = no\n}\n", ("-u", USER),
        f'error {USER} namespace "Restante/"', "remove it",
        "namespace restante {\n  location = sdbox:~/another\n}\n"),
    "no-home": Trap(
        "mail_location = sdbox:@DIR@/mail/%u\n", ("-u", USER), f"error {USER} {HOLD}",
        "let the userdb return home, or set it",
        "plugin {\n"
        "  restante_hold_location = sdbox:@DIR@/mail/held/%d/%n\n}\n",
        "home"),
    "closed-place": Trap(
        "plugin {\n  restante_hold_location = sdbox:@DIR@/of-root/%n\n}\n",
        ("-u", USER), f"error {USER} {HOLD}",
        "let uid 8 make and write it",
        "plugin {\n  restante_hold_location = sdbox:@DIR@/mail/x/%n\n}\n"),
    "closed-hold": Trap(
        "plugin {\n  restante_hold_location = sdbox:@DIR@/of-root\n}\n",
        ("-u", USER), f"error {USER} {HOLD}",
        "let uid 8 make and write it",
        "plugin {\n  restante_hold_location = sdbox:@DIR@/mail/x/%n\n}\n"),
    "one-place": Trap(
        "plugin {\n  restante_hold_location = sdbox:@DIR@/mail/one\n}\n",
        ("-A",), f"error {USER} {HOLD}",
        f"with {re.escape(variables('%u'))} in it",
        "plugin {\n  restante_hold_location = sdbox:@DIR@/mail/one/%n\n}\n"),
    "closed-index": Trap(
        "plugin {\n  restante_hold_location = "
        "sdbox:~/restante:INDEX=@DIR@/of-root/%n\n}\n",
        ("-u", USER), f"error {USER} {HOLD}",
        "let uid 8 make and write it",
        "plugin {\n  restante_hold_location = "
        "sdbox:~/restante:INDEX=@DIR@/mail/index/%n\n}\n"),
}
if IS_24:
    # settings that Dovecot 2.4 does not know, and so refuses by itself
    for name in ("quota-rule", "obsolete-mailbox", "obsolete-notify",
                 "obsolete-index"):
        del TRAPS[name]
    # a protocol's list adds to the global one, and takes away from it
    TRAPS["global-plugin"] = Trap(
        "mail_plugins {\n  mail_compress = yes\n}\n"
        "protocol restante {\n  mail_plugins {\n    mail_compress = no\n"
        "  }\n}\n"
        "plugin {\n  restante_hold_plugin_settings = zlib_\n}\n", (),
        "error - protocol restante mail_plugins", 'add "mail_compress"',
        "protocol restante {\n  mail_plugins {\n    mail_compress = yes\n"
        "  }\n}\n")


@pytest.fixture(scope="module")
def closed(sandbox):
    (sandbox.dir / "of-root").mkdir(mode=0o755)
    for name, mode in (("closed", 0o1755), ("another", 0o1733)):
        directory = sandbox.dir / name
        directory.mkdir()
        os.chown(directory, pwd.getpwnam("daemon").pw_uid, 0)
        directory.chmod(mode)
    (sandbox.dir / "link").symlink_to(sandbox.dir / "restante" / "holders")


@contextlib.contextmanager
def account(sandbox, change):
    """USER's line in the passwd-file: without home, or with one field more."""
    path = sandbox.dir / "dovecot" / "users"
    before = path.read_text()
    lines = before.splitlines()
    for at, line in enumerate(lines):
        if line.startswith(USER + ":"):
            fields = line.split(":", 6)
            if change == "home":
                fields[5] = ""
            lines[at] = ":".join(fields)
            if change and change != "home":
                lines[at] += f" userdb_{change}"
    def known():
        done = sandbox.doveadm("user", USER, check=False)
        text = done.stdout
        if change == "home":
            # 2.4's fails for a user whose mailboxes need a home and who has none
            return "there is no mail_home" in done.stderr or (
                re.search(r"^uid\s", text, re.M) and not re.search(
                    r"^home\s+/", text, re.M))
        return change.split("=")[0] in text

    try:
        path.write_text("\n".join(lines) + "\n")
        wait_for("the userdb", known)
        yield
    finally:
        path.write_text(before)
        # the userdb looks at the file once a second
        wait_for("the userdb", lambda: not change or not known())


@pytest.mark.parametrize("trap", TRAPS)
def test_trap(sandbox, closed, trap):
    trap = TRAPS[trap]
    with account(sandbox, trap.account):
        with dovecot(sandbox, trap.text):
            wrong = faults(check(sandbox, *trap.arguments))
        found = [line for line in wrong if line.startswith(trap.line + ": ")]
        assert len(found) == 1, wrong
        assert re.search(trap.cure, found[0])
        if trap.mended:
            with dovecot(sandbox, trap.text + trap.mended):
                assert faults(check(sandbox, *trap.arguments)) == []
    assert faults(check(sandbox, *trap.arguments)) == []


@pytest.mark.parametrize("whom", [("-u", USER), ("-A",)])
def test_users_of_a_site_that_is_wrong(sandbox, whom):
    with dovecot(sandbox, "mail_fsync = never\n"):
        with account(sandbox, "restante_on_error=panic"):
            lines = check(sandbox, *whom)
    assert any(line.startswith("error - ") for line in lines)
    assert [line.split(": ")[0] for line in lines
            if line.startswith(f"error {USER}")] == [f"error {USER} settings"]
    others = {line.split()[1] for line in lines} - {"-", USER}
    assert len(others) == (10 if whom == ("-A",) else 0)


def test_message_that_stays(sandbox):
    """One that was put there by hand."""
    user = f"traveller2@{DOMAIN}"
    sandbox.send_simple("traveller2", "whole")
    sandbox.wait_held("traveller2", 1)
    message = sandbox.dir / "message"
    message.write_text("Subject: by hand\n\nno envelope\n")
    sandbox.doveadm_hold("save", "-u", user, "-m", "Held", str(message))
    wrong = faults(check(sandbox, "-u", user))
    assert len(wrong) == 1
    assert wrong[0].startswith(f"warning {user} hold: 1 messages")
    assert "doveadm restante list" in wrong[0]
    sandbox.doveadm_hold("expunge", "-u", user, "mailbox", "Held", "subject",
                         "by hand")
    assert faults(check(sandbox, "-u", user)) == []


def test_long_name(sandbox):
    user = "x" * 240 + "@" + "y" * 20
    path = sandbox.dir / "dovecot" / "users"
    line = next(each for each in path.read_text().splitlines()
                if each.startswith(USER + ":"))
    with appended(path, line.replace(USER + ":", user + ":", 1) + "\n"):
        wait_for("the userdb", lambda: sandbox.doveadm(
            "user", user, check=False).returncode == 0)
        wrong = faults(check(sandbox, "-u", user))
        assert len(wrong) == 1
        assert wrong[0].startswith(f"warning {user} restante_holders: ")
        assert "shorter name" in wrong[0]


@needs_mounts
def test_full_disk(sandbox):
    disk = sandbox.dir / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=1777", "none",
                    disk], check=True)
    location = f"plugin {{\n  restante_hold_location = sdbox:{disk}/%n\n}}\n"
    try:
        with contextlib.suppress(OSError):
            (disk / "all").write_bytes(b"x" * 65536)
        with dovecot(sandbox, location):
            wrong = faults(check(sandbox, "-u", USER, quiet=False))
            assert len(wrong) == 1
            assert wrong[0].startswith(f"error {USER} {HOLD}: ")
            assert "No space left" in wrong[0] or "quota" in wrong[0].lower()
            (disk / "all").unlink()
            assert faults(check(sandbox, "-u", USER)) == []
        assert tree(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_holders_below_a_closed_directory(sandbox):
    """policyd's own, as StateDirectoryMode=0700 makes it"""
    above = sandbox.dir / "restante"
    above.chmod(0o700)
    try:
        wrong = faults(check(sandbox, "-u", USER))
    finally:
        above.chmod(0o755)
    assert len(wrong) == 1
    assert wrong[0].startswith(f"error {USER} restante_holders: ")
    assert "search (chmod +x) each directory above" in wrong[0]
    assert faults(check(sandbox, "-u", USER)) == []


def test_daemon_hangs(sandbox):
    pid = int((sandbox.dir / "run" / "policyd.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        wrong = faults(check(sandbox))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert len(wrong) == 1
    assert wrong[0].startswith("warning - restante_control_socket: ")
    assert "no answer in time" in wrong[0]


def test_many_users_are_named(sandbox):
    with account(sandbox, "restante_on_error=panic"):
        wrong = faults(check(sandbox, "-u", "traveller*"))
    assert len(wrong) == 1
    assert wrong[0].startswith(f"error {USER} settings: ")


def test_users_of_a_file(sandbox):
    path = sandbox.dir / "some-users"
    path.write_text(f"{USER}\nresident@{DOMAIN}\n")
    lines = check(sandbox, "-F", str(path))
    assert faults(lines) == []
    assert {line.split()[1] for line in lines} == {
        "-", USER, f"resident@{DOMAIN}"}


def test_policy_lifetime_is_known_to_dovecot(sandbox):
    main = sandbox.dir / "postfix" / "etc" / "main.cf"
    for name in ("maximal_queue_lifetime", "bounce_queue_lifetime"):
        with (appended(main, f"{name} = 10\n"),
              dovecot(sandbox, "import_environment = "
                      "TZ MAIL_CONFIG\n")):
            wrong = faults(check(sandbox, "-u", USER))
            assert len(wrong) == 1
            assert wrong[0].startswith(f"warning {USER} restante_queue_lifetime")
            assert "set it to 864000s" in wrong[0]
            with dovecot(sandbox, "plugin {\n  restante_queue_lifetime = "
                         "864000s\n}\n"):
                assert faults(check(sandbox, "-u", USER)) == []


# -- restante-policyd -t, and Postfix

def policyd(sandbox, status=0, before=(), **variables):
    result = subprocess.run(
        [*before, sandbox.bin("restante-policyd"), "-t", "-c",
         sandbox.env["POLICYD_CONF"]], capture_output=True, text=True,
        timeout=60, env={**environment(sandbox), **variables})
    print(result.stdout + result.stderr)
    assert result.returncode == status
    return result.stdout.splitlines()


def postfix(sandbox, text, name="main.cf"):
    text = text.replace("@POLICY@", sandbox.env["POLICY_SOCKET"])
    text = text.replace("@DIR@", str(sandbox.dir))
    return appended(sandbox.dir / "postfix" / "etc" / name, text)


def test_sound_postfix(sandbox):
    lines = policyd(sandbox)
    assert faults(lines) == []
    for start in ("ok smtpd_recipient_restrictions check_policy_service unix:",
                  "ok smtpd_forbid_bare_newline normalize",
                  "ok cleanup/unix/smtputf8_enable no",
                  "ok smtpd_recipient_restrictions check_recipient_access",
                  "ok maximal_queue_lifetime 5d",
                  "ok bounce_queue_lifetime 5d"):
        assert any(line.startswith(start) for line in lines), start


ACCESS = " check_recipient_access regexp:{{/[^ -~]/ 553 No}}\n"
ASK = (" check_policy_service { unix:@POLICY@, timeout=5s,"
       " default_action=DUNNO }\n")
RECIPIENT = "smtpd_recipient_restrictions =\n"
RELAY = "smtpd_relay_restrictions =\n"
SHORT = "check_policy_service unix:@POLICY@"
# without these they could not send elsewhere
OWN_CLIENTS = ("permit_mynetworks, permit_sasl_authenticated, "
               "reject_unauth_destination")

POSTFIX = {
    "not-asked": (
        RECIPIENT + ACCESS + " reject_unauth_destination\n",
        "smtpd_recipient_restrictions -", "check_policy_service {",
        RECIPIENT + ACCESS + ASK),
    "another-socket": (
        RECIPIENT + ACCESS + " check_policy_service { unix:private/other,"
        " timeout=5s, default_action=DUNNO }\n",
        "smtpd_recipient_restrictions -", "check_policy_service {",
        RECIPIENT + ACCESS + ASK),
    "no-default-action": (
        RECIPIENT + ACCESS + f" {SHORT}\nsmtpd_policy_service_timeout = 5s\n",
        "smtpd_recipient_restrictions default_action=451",
        "set default_action=DUNNO",
        "smtpd_policy_service_default_action = DUNNO\n"),
    "long-timeout": (
        RECIPIENT + ACCESS + f" {SHORT}\n"
        "smtpd_policy_service_default_action = DUNNO\n",
        "smtpd_recipient_restrictions timeout=100s", "set timeout=5s",
        "smtpd_policy_service_timeout = 5s\n"),
    "before-reject": (
        RELAY + " permit_mynetworks\n" + RECIPIENT + ACCESS + ASK
        + " reject_unauth_destination\n",
        "smtpd_recipient_restrictions check_policy_service",
        "reject_unauth_destination, check_policy_service",
        RECIPIENT + ACCESS + " reject_unauth_destination\n" + ASK),
    "recipient-before-relay": (
        "smtpd_relay_before_recipient_restrictions = no\n",
        "smtpd_recipient_restrictions check_policy_service",
        "reject_unauth_destination, check_policy_service",
        "smtpd_relay_before_recipient_restrictions = yes\n"),
    "relay-before-reject": (
        RECIPIENT + ACCESS + RELAY + ASK + " reject_unauth_destination\n",
        "smtpd_relay_restrictions check_policy_service",
        "reject_unauth_destination, check_policy_service",
        RELAY + " defer_unauth_destination\n" + ASK),
    "at-connect": (
        RECIPIENT + ACCESS + "smtpd_client_restrictions =\n" + ASK,
        "smtpd_client_restrictions check_policy_service",
        "reject_unauth_destination, check_policy_service",
        "smtpd_client_restrictions =\n" + RECIPIENT + ACCESS + ASK),
    "at-data": (
        RECIPIENT + ACCESS + "smtpd_data_restrictions =\n" + ASK,
        "smtpd_data_restrictions check_policy_service",
        "reject_unauth_destination, check_policy_service",
        "smtpd_data_restrictions =\n" + RECIPIENT + ACCESS + ASK),
    "bare-newline": (
        "smtpd_forbid_bare_newline = no\n", "smtpd_forbid_bare_newline no",
        "set it to normalize", "smtpd_forbid_bare_newline = yes\n"),
    "no-smtputf8": (
        "smtputf8_enable = no\n", "smtputf8_enable no", "remove it",
        "smtputf8_enable = yes\n"),
    "another-expression": (
        RECIPIENT + " check_recipient_access regexp:{{/^abuse@/ OK}}\n" + ASK,
        "smtpd_recipient_restrictions check_recipient_access", "regexp:",
        RECIPIENT + " check_recipient_access regexp:{{/^abuse@/ OK}"
        " {/[^ -~].*@example\\.test$$/ REJECT}}\n" + ASK),
    "missing-table": (
        RECIPIENT + " check_recipient_access regexp:/nonexistent\n" + ASK,
        "smtpd_recipient_restrictions check_recipient_access", "regexp:",
        RECIPIENT + ACCESS + ASK),
    "utf8-recipients": (
        RECIPIENT + ASK,
        "smtpd_recipient_restrictions check_recipient_access", "regexp:",
        RECIPIENT + " check_recipient_access regexp:@DIR@/ascii\n" + ASK),
}


UTF8_NAMES = {"another-expression", "missing-table", "utf8-recipients"}


def test_utf8_recipients_of_2_4(sandbox):
    """2.4's LMTP takes them: they need not be refused."""
    (sandbox.dir / "ascii").write_text("/[^ -~]/ 553 5.6.7 No\n")
    for trap in UTF8_NAMES:
        with postfix(sandbox, POSTFIX[trap][0]):
            wrong = faults(policyd(sandbox))
        assert (wrong == []) == IS_24, wrong


@pytest.mark.parametrize("trap", sorted(
    set(POSTFIX) - (UTF8_NAMES if IS_24 else set())))
def test_postfix_trap(sandbox, trap):
    text, line, cure, mended = POSTFIX[trap]
    (sandbox.dir / "ascii").write_text("/[^ -~]/ 553 5.6.7 No\n")
    with postfix(sandbox, text):
        wrong = faults(policyd(sandbox))
    assert len(wrong) == 1, wrong
    assert wrong[0].startswith("warning " + line)
    assert cure in wrong[0]
    assert ("let it end in: " in wrong[0]) == (OWN_CLIENTS in wrong[0])
    with postfix(sandbox, text + mended):
        assert faults(policyd(sandbox)) == []


@pytest.mark.parametrize("path", [
    "README.md", "doc/restante-policyd.8", "packaging/restante-policyd.conf"])
def test_example_lets_own_clients_send(path):
    listed = re.search(r"(?s)\nsmtpd_recipient_restrictions =(.*?)"
                       "check_policy_service", re.sub(
                           "(?m)^[# ]+", "", (TOP / path).read_text()))
    assert re.findall(r"\w+", listed[1])[:3] == OWN_CLIENTS.split(", ")


def test_cleanup_notes_smtputf8(sandbox):
    path = sandbox.dir / "postfix" / "etc" / "master.cf"
    before = path.read_text()
    assert before.count(" -o smtputf8_enable=no\n") == 1
    try:
        path.write_text(before.replace(" -o smtputf8_enable=no\n", ""))
        wrong = faults(policyd(sandbox))
    finally:
        path.write_text(before)
    assert len(wrong) == 1
    assert wrong[0].startswith("warning cleanup/unix/smtputf8_enable -: ")
    assert "postconf -P cleanup/unix/smtputf8_enable=no" in wrong[0]


@pytest.mark.parametrize("service,name,mended", [
    ("pre unix n - n - 0 cleanup\n -o virtual_alias_maps=\n",
     "pre/unix/smtputf8_enable", " -o smtputf8_enable=no\n"),
    ("127.0.0.1:10025 inet n - n - - smtpd\n",
     "127.0.0.1:10025/inet/smtputf8_enable", None)])
def test_smtputf8_of_another_service(sandbox, service, name, mended):
    """A second cleanup(8) makes notes like the first one; a smtpd(8) may be
    alone in not offering it."""
    bad = service + ("" if mended else " -o smtputf8_enable=no\n")
    with postfix(sandbox, bad, "master.cf"):
        wrong = faults(policyd(sandbox))
        assert len(wrong) == 1
        assert wrong[0].startswith(f"warning {name} ")
        assert f"postconf -P{'' if mended else 'X'} {name}" in wrong[0]
    with postfix(sandbox, service + (mended or ""), "master.cf"):
        assert faults(policyd(sandbox)) == []


def test_long_lifetime(sandbox):
    with postfix(sandbox, "maximal_queue_lifetime = 2w\n"):
        lines = policyd(sandbox)
    assert any(line.startswith("ok maximal_queue_lifetime 2w: ")
               and "restante_queue_lifetime" in line for line in lines)


def test_path_below_the_queue_directory(sandbox):
    (sandbox.dir / "postfix/spool/private/restante").symlink_to(
        sandbox.env["POLICY_SOCKET"])
    with postfix(sandbox, RECIPIENT + ACCESS + ASK.replace(
            "@POLICY@", "private/restante")):
        lines = policyd(sandbox)
    assert faults(lines) == []
    assert any("check_policy_service unix:private/restante" in line
               for line in lines)


def test_service_of_its_own(sandbox):
    """-o in master.cf"""
    with postfix(sandbox, RECIPIENT + ACCESS):
        with postfix(sandbox, "127.0.0.1:10024 inet n - n - - smtpd\n"
                     " -o { smtpd_recipient_restrictions = "
                     "reject_unauth_destination, check_policy_service "
                     "{ unix:@POLICY@, timeout=5s, default_action=451 } }\n",
                     "master.cf"):
            lines = policyd(sandbox)
    wrong = faults(lines)
    assert len(wrong) == 1
    assert re.match(r"warning \S+/inet/smtpd_recipient_restrictions "
                    r"default_action=451: ", wrong[0])


def test_restriction_class(sandbox):
    with postfix(sandbox, RECIPIENT + ACCESS + "smtpd_restriction_classes = us"
                 "\nus =\n" + ASK):
        lines = policyd(sandbox)
    assert faults(lines) == []
    assert any(line.startswith("ok us check_policy_service ")
               for line in lines)


def test_postconf_fails(sandbox):
    wrong = faults(policyd(sandbox, MAIL_CONFIG="/nonexistent"))
    assert len(wrong) == 1
    assert wrong[0].startswith("warning postfix -: postconf fails; ")


@needs_mounts
def test_no_postfix(sandbox):
    """One note, and no more."""
    hide = ["unshare", "--mount", "sh", "-c",
            'mount --bind /dev/null /usr/sbin/postconf && exec "$@"', "sh"]
    lines = policyd(sandbox, before=hide)
    assert faults(lines) == []
    assert [line for line in lines if "postconf" in line] == [
        "ok postfix -: there is no postconf: its configuration is not looked "
        "at"]
    assert not any("smtpd" in line for line in lines)
