# SPDX-License-Identifier: MIT
"""restante-setup on machines as they stand in the field: plan shows it, apply
makes mail be held and pushed, undo leaves postconf -n and doveconf -n as they were,
and whatever fails or is killed leaves nothing half-done."""
import contextlib
import importlib
import os
import pathlib
import re
import shutil
import sys
import tempfile
import time

import pytest

from conftest import TOP, wait_for
from dovecot import IS_24, hold_place
from machine import (LMTP, PASSWORD, POLICYD, SEND, SNIPPET, STAGE, STATE,
                     Machine)
from rights import NO_MOUNTS

RECIPIENT = "smtpd_recipient_restrictions"
ASK = ("check_policy_service { unix:private/restante, timeout=5s, "
       "default_action=DUNNO }")
SHORT = "{unix:private/restante,timeout=5s,default_action=DUNNO}"


# the installed parts
sys.dont_write_bytecode = True
sys.path.insert(0, str(STAGE / "usr/share/restante"))
dovecot, policyd, restrictions, system = (
    importlib.import_module("setup." + name)
    for name in ("dovecot", "policyd", "restrictions", "system"))
sys.path.pop(0)


# ---- text

@pytest.mark.parametrize("text,found", [
    ("", []), (" \n, ", []), ("a", ["a"]), ("a,b  c", ["a", "b", "c"]),
    ("x { y, z } w", ["x", "{ y, z }", "w"]),
    ("regexp:{{/[^ -~]/ 553 No}} b", ["regexp:{{/[^ -~]/ 553 No}}", "b"]),
    ("${a b} $c", ["${a b}", "$c"]), ("{ open", ["{ open"])])
def test_words(text, found):
    assert restrictions.words(text) == found


VALUES = {"own": "reject_unauth_destination, check_x y:z permit",
          "rest": "permit_mynetworks ${own}", "open": "check_a b:c",
          "empty": "", "round": "$round", "class": "check_a b:c, permit",
          "harmless": "check_a b:c"}


@pytest.mark.parametrize("text,after", [
    ("", "OURS"),
    ("a", "a OURS"),
    ("a b", "a b OURS"),
    ("a, b,", "a, b, OURS"),
    ("a,\n  b\n", "a,\n  b, OURS"),
    ("a, permit", "a, OURS, permit"),
    ("a reject", "a OURS reject"),
    ("permit_mynetworks", "permit_mynetworks OURS"),
    ("a { b, c }", "a { b, c } OURS"),
    ("a $open", "a $open OURS"),
    ("a $empty", "a $empty OURS"),
    ("a $round", "a $round OURS"),
    ("a, $own", "a, reject_unauth_destination, check_x y:z OURS, permit"),
    ("$(rest)", "permit_mynetworks reject_unauth_destination, check_x y:z "
     "OURS, permit"),
    ("a permit b", "a OURS permit b"),
    ("a warn_if_reject reject", "a warn_if_reject reject OURS"),
    ("a, class, b", "a, OURS, class, b"),
    ("a harmless", "a harmless OURS"),
    ("a ${x?{check_a b:c}} b", "a ${x?{check_a b:c}} b OURS")])
def test_insert(text, after):
    got = restrictions.insert(text, "OURS", VALUES.__getitem__,
                              ["class", "harmless"])
    assert restrictions.words(got) == restrictions.words(after)
    assert got.replace(", ", " ") == after.replace(", ", " ")


@pytest.mark.parametrize("text", [
    "a ${x?{permit}:{b}}", "a ${x:permit} b", "${{1}=={1}?{reject}:{permit}}"])
def test_nobody_knows_where_to_insert(text):
    assert restrictions.insert(text, "OURS", VALUES.__getitem__) is None


@pytest.mark.parametrize("text,found", [
    (f"a {ASK}", True), (f"a check_policy_service,{SHORT}", True),
    ("check_policy_service unix:private/restante", True),
    ("check_policy_service unix:private/other", False),
    ("check_client_access unix:private/restante", False)])
def test_asks_at(text, found):
    assert restrictions.asks_at(text, {"unix:private/restante"}) == found


@pytest.mark.parametrize("text,after", [
    ("a, b c", "a,b,c"),
    (f"a, {ASK}", f"a,check_policy_service,{SHORT}"),
    ("a regexp:{{/[^ -~]/ 553 No}}", None)])
def test_as_one_word(text, after):
    assert restrictions.as_one_word(text) == after


@pytest.mark.parametrize("text,after", [
    ("", 'user = "x"\n'),
    ("user = y\n", 'user = "x"\n'),
    ("  user=\"y\" # why\nlast = 1\n", 'user = "x"\nlast = 1\n'),
    ("#user = \"y\"\nlast = 1\n", '#user = "y"\nuser = "x"\nlast = 1\n'),
    ("users = y\n", 'users = y\nuser = "x"\n')])
def test_conf(text, after):
    assert policyd.conf_set(text, "user", "x") == after
    assert policyd.conf_get(after, "user") == "x"
    assert policyd.conf_set(after, "user", "x") == after


def test_conf_get():
    assert policyd.conf_get('#user = "x"\n', "user") is None
    assert policyd.conf_get('user = ""\n', "user") == ""
    assert policyd.conf_get('user = a\nuser = "b"\n', "user") == "b"


def test_write_keeps_octets_and_rights(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a\r\nb\xff\n")
    path.chmod(0o640)
    text = system.read(path)
    system.write(path, text + "c")
    assert path.read_bytes() == b"a\r\nb\xff\nc"
    assert path.stat().st_mode & 0o7777 == 0o640
    link = tmp_path / "link"
    link.symlink_to("file")
    system.write(link, "d")
    assert link.is_symlink() and path.read_bytes() == b"d"
    system.write(path, None)
    assert [each.name for each in tmp_path.iterdir()] == ["link"]


@pytest.mark.parametrize("line,found", [
    ("!include conf.d/*.conf", True), ("!include_try conf.d/*.conf", True),
    ("  !include conf.d/90-restante.conf", True),
    ("!include @DIR@/conf.d/*.conf", True), ("!include more.conf", True),
    ("#!include conf.d/*.conf", False), ("!include conf.d/1*.conf", False),
    ("!include other.d/*.conf", False), ("", False)])
def test_includes(tmp_path, line, found):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "more.conf").write_text("!include conf.d/*.conf\n")
    conf = tmp_path / "dovecot.conf"
    conf.write_text("a = b\n" + line.replace("@DIR@", str(tmp_path)) + "\n")
    site = dovecot.Dovecot(str(conf))
    assert site.includes(site.snippet) == found


# ---- machines

@contextlib.contextmanager
def machine(*arguments, **more):
    if NO_MOUNTS:
        pytest.skip(NO_MOUNTS)
    directory = tempfile.mkdtemp(prefix="rst", dir="/tmp")
    os.chmod(directory, 0o755)
    made = Machine.__new__(Machine)
    try:
        made.__init__(directory, *arguments, **more)
        yield made
    finally:
        made.down()
        if not os.environ.get("RESTANTE_KEEP"):
            shutil.rmtree(directory, ignore_errors=True)


def configuration(made):
    """All that undo must leave as it was, byte for byte."""
    return {
        "postconf": made.run("postconf", "-n").stdout,
        "master": made.run("postconf", "-M").stdout,
        "doveconf": made.run("doveconf", "-n").stdout,
        **{str(path): path.read_bytes()
           for name in ("/etc/postfix", "/etc/dovecot", "/etc/restante")
           for path in made.below(name).rglob("*") if path.is_file()}}


def call(made, *arguments, status=0):
    result = made.run("restante-setup", *arguments, status=None, cwd="/")
    if arguments[0] != "plan":
        print(arguments, result.stdout, result.stderr)
    assert result.returncode == status, (result.stdout, result.stderr)
    return result.stdout + result.stderr


def lines(text, *starts):
    """The one line that starts so."""
    found = [line for line in text.splitlines()
             if line.lstrip("# ").startswith(starts)]
    assert len(found) == 1, (starts, text)
    return found[0]


def added(text):
    """What plan adds to main.cf and master.cf."""
    part = re.findall(r"(?ms)^\+\+\+ /etc/postfix/.*?(?=^--- |\Z)", text)
    return [line[1:] for line in "".join(part).splitlines()
            if line.startswith("+") and not line.startswith("+++")]


def is_listening(made):
    return any(argv[0] == "restante-policyd" for argv in (
        line.split() for line in made.run("ps", "-eo", "args")
        .stdout.splitlines()))


def main_job(made, port=25):
    assert made.send("ann", "for-ann", port).startswith("250")
    assert made.send("bob", "for-bob", port).startswith("250")
    wait_for("bob's mail", lambda: made.mailbox("bob") == ["for-bob"])
    wait_for("ann's mail", lambda: made.held() == 1)
    assert made.mailbox("ann") == []
    assert made.collect() == ["for-ann"]


def is_asked(made, port=25):
    """Does smtpd ask policyd? It refuses what is too large for it."""
    return made.send("bob", "-", port, size=5000).startswith("552 5.3.4")


def small_messages(made):
    """A file that the admin has: apply keeps it."""
    made.file(POLICYD).write_text('message_size_limit = "1000"\n')


def cycle(made, *options, job=main_job):
    """plan, apply, apply again, undo"""
    before = configuration(made)
    plan = call(made, "plan", *options)
    assert configuration(made) == before
    call(made, "apply", *options)
    after = configuration(made)
    job(made)
    assert "nothing is to be changed" in call(made, "apply", *options)
    assert configuration(made) == after
    call(made, "undo")
    assert configuration(made) == before
    assert not made.file(STATE).exists()
    assert not is_listening(made)
    return plan


# ---- what stands in the field

def test_stock():
    """chrooted, virtual users, no restrictions of its own; nobody else notices"""
    with machine() as made:
        def job(made):
            main_job(made)
            assert "apply " not in call(made, "check")
        assert "apply " in call(made, "check", status=1)
        plan = cycle(made, job=job)
        assert added(plan) == [f"{RECIPIENT} = {ASK}"]
        assert "+++ " + SNIPPET in plan and "+++ " + POLICYD in plan
        assert not any(line.startswith("-") and not line.startswith("--- ")
                       for line in plan.splitlines())
        assert made.send("ann", "after").startswith("250")
        wait_for("the usual way", lambda: made.mailbox("ann") == ["after"])


def test_not_chrooted_and_tcp():
    tcp = ("service lmtp {\n  inet_listener lmtp {\n    port = 24\n  }\n}\n")
    with machine({"virtual_transport": "lmtp:inet:127.0.0.1:24"},
                 lambda text: re.sub(
                     r"(?m)^(\S+\s+(?:inet|unix)\s+\S+\s+\S+\s+)y",
                     r"\1n", text),
                 extra_dovecot=tcp) as made:
        cycle(made)


def test_mailbox_transport():
    with machine({"virtual_mailbox_domains": "", "mydestination":
                  "example.test", "local_recipient_maps": "",
                  "mailbox_transport": "lmtp:unix:private/dovecot-lmtp"}
                 ) as made:
        cycle(made)


LONG = ("permit_mynetworks,\n    reject_unauth_destination,\n"
        "# a comment\n    check_policy_service { inet:127.0.0.1:1, "
        "timeout=1s, try_limit=1, default_action=DUNNO },\n    permit")


def test_own_policy_service_in_several_lines():
    with machine({RECIPIENT: LONG}) as made:
        small_messages(made)

        def job(made):
            assert is_asked(made)
        plan = cycle(made, job=job)
        value = lines("\n".join(added(plan)), RECIPIENT)
        assert value.endswith(f"default_action=DUNNO }}, {ASK}, permit")
        assert restrictions.words(value)[2:4] == [
            "permit_mynetworks", "reject_unauth_destination"]


def test_references_and_an_old_compatibility_level():
    """Relay restrictions come second there: in ours, first, they mean the same.
    Own clients may relay, others may not."""
    with machine({"compatibility_level": "2", "ours": "check_client_access "
                  "inline:{192.0.2.1=REJECT}", RECIPIENT: "$ours",
                  "mynetworks": "127.0.0.2/32"}) as made:
        small_messages(made)

        def job(made):
            assert is_asked(made)
            relay = """
import smtplib, sys
with smtplib.SMTP("127.0.0.1", 25, source_address=(sys.argv[1], 0)) as s:
    s.ehlo("x")
    s.mail("a@remote.test")
    print(s.rcpt("b@remote.test"))
"""
            said = [made.run("/usr/bin/python3", "-c", relay, address).stdout
                    for address in ("127.0.0.1", "127.0.0.2")]
            assert said[0].startswith("(454") and said[1].startswith("(250")
        plan = cycle(made, job=job)
        assert added(plan) == [f"{RECIPIENT} = $ours $smtpd_relay_restrictions "
                               f"{ASK}"]


def services(text):
    """Port 25 has a list of its own, submission and a filter's way back too."""
    own = f" -o {RECIPIENT}="
    return text.replace(
        "smtpd\n", f"smtpd\n{own}permit_mynetworks,reject_unauth_destination\n"
        f"2587 inet n - y - - smtpd\n{own}\n"
        f"submission inet n - y - - smtpd\n{own}\n"
        f"127.0.0.1:10025 inet n - y - - smtpd\n{own}permit_mynetworks,reject\n",
        1)


def test_services_with_lists_of_their_own():
    with machine(master=services) as made:
        small_messages(made)

        def job(made):
            assert is_asked(made) and not is_asked(made, 2587)
        plan = cycle(made, job=job)
        assert "left alone" in lines(plan, "note submission/inet")
        assert "left alone" in lines(plan, "note 127.0.0.1:10025/inet")
        assert f",{SHORT}" in "".join(added(plan))
        assert "+++ /etc/postfix/main.cf" not in plan


def pipe(text):
    return text + ("dovecot unix - n n - - pipe\n  flags=DRhu user=vmail:vmail "
                   "argv=/usr/lib/dovecot/dovecot-lda -f ${sender} -d "
                   "${recipient}\n")


LDA = {"virtual_transport": "dovecot",
       "dovecot_destination_recipient_limit": "1"}
LDA_DOVECOT = """
service auth {
  unix_listener auth-userdb {
    user = vmail
  }
}
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
log_path = /var/log/dovecot.log
"""


def test_dovecot_lda():
    with machine(LDA, pipe, extra_dovecot=LDA_DOVECOT) as made:
        log = made.file("/var/log/dovecot.log")
        log.touch()
        log.chmod(0o666)
        plan = cycle(made)
        assert "held as well" in lines(plan, "note virtual_transport")
        assert added(plan) == [f"{RECIPIENT} = {ASK}"]


def test_dovecot_lda_to_lmtp():
    """Dovecot without LMTP: it gets that, too."""
    off = "protocols = imap\n"
    with machine(LDA, pipe) as made:
        path = made.file("/etc/dovecot/conf.d/30-site.conf")
        path.write_text(off + path.read_text().replace(LMTP, ""))
        made.run("doveadm", "reload")
        plan = cycle(made, "--lmtp")
        assert "virtual_transport = lmtp:unix:private/dovecot-lmtp" in added(
            plan)
        assert "smtputf8_enable=no" in plan


# ---- what apply cannot do is named, with what to write; nothing is changed

def refused(made, *options, command="apply"):
    """The lines for a person; nothing is changed."""
    before = configuration(made)
    text = call(made, command, *options, status=1)
    assert configuration(made) == before
    assert not made.file(STATE).exists()
    return text


def test_no_include():
    with machine() as made:
        path = made.file("/etc/dovecot/dovecot.conf")
        path.write_text(path.read_text().replace(
            "!include conf.d/*.conf", "!include conf.d/[1-3]*.conf"))
        line = lines(refused(made), "you /etc/dovecot/dovecot.conf")
        assert f"add as its last line: !include_try {SNIPPET}" in line
        path.write_text(path.read_text() + f"!include_try {SNIPPET}\n")
        call(made, "apply")
        call(made, "undo")


@pytest.mark.parametrize("settings,what", [
    ({"virtual_transport": "virtual"},
     "note virtual_transport = virtual: virtual(8), which goes past Dovecot: "
     "nothing is held of this mail; to hold it, write virtual_transport = "
     "lmtp:unix:private/dovecot-lmtp"),
    ({"virtual_mailbox_domains": "", "mydestination": "example.test",
      "mailbox_command": "/usr/lib/dovecot/dovecot-lda -a \"$RECIPIENT\""},
     "note mailbox_command = /usr/lib/dovecot/dovecot-lda"),
    ({"virtual_mailbox_domains": "", "mydestination": "example.test"},
     "note mailbox_transport =: local(8), which writes mailboxes itself: "
     "nothing is held of this mail; to hold it, write mailbox_transport = "),
    ({"transport_maps": "inline:{example.test=virtual}"},
     "note transport_maps = inline:{example.test=virtual}: goes first"),
    ({"virtual_transport": "nowhere:"},
     "note virtual_transport = nowhere:: a transport that master.cf has not"),
    ({"smtpd_relay_restrictions": "", RECIPIENT: "permit_mynetworks"},
     f"you {RECIPIENT}: has no reject_unauth_destination"),
    ({RECIPIENT: "$smtpd_client_restrictions", "smtpd_client_restrictions":
      ASK}, f"ok smtpd_client_restrictions: asks at unix:private/restante"),
    ({RECIPIENT: f"reject_unauth_destination {ASK}"},
     f"ok {RECIPIENT}: asks at unix:private/restante"),
    ({"multi_instance_directories": "/etc/postfix-two"},
     "note Postfix: other instances are left alone: /etc/postfix-two"),
    ({"relay_domains": "other.test", "relay_transport":
      "lmtp:inet:[192.0.2.9]:24"},
     "ok relay_transport = lmtp:inet:[192.0.2.9]:24"),
])
def test_named(setting_machine, settings, what):
    made = setting_machine
    made.write_postfix(settings, None)
    before = configuration(made)
    text = made.run("restante-setup", "plan", status=None).stdout
    assert lines(text, what)
    assert configuration(made) == before


@pytest.fixture(scope="module")
def setting_machine():
    """Neither Postfix nor Dovecot runs: plan goes on as far as it can."""
    with machine(start=False) as made:
        yield made


def test_not_running(setting_machine):
    made = setting_machine
    made.write_postfix({}, None)
    text = refused(made)
    assert "you Postfix: is not running" in text
    assert "you Dovecot: is not running" in text


@pytest.mark.parametrize("dovecot,what", [
    ("protocols = imap\n", "you Dovecot: protocols is without lmtp"),
    ("bad_setting = x\n", "you Dovecot: mend its configuration: "),
])
def test_named_of_dovecot(setting_machine, dovecot, what):
    made = setting_machine
    made.write_postfix({}, None)
    path = made.file("/etc/dovecot/conf.d/99-site.conf")
    path.write_text(dovecot)
    try:
        assert lines(made.run("restante-setup", "plan", status=1).stdout, what)
    finally:
        path.write_text("")


@pytest.mark.parametrize("program,what", [
    ("/usr/sbin/postconf", "you Postfix: is not installed"),
    ("/usr/bin/doveconf", "you Dovecot: is not installed")])
def test_absent(setting_machine, program, what):
    made = setting_machine
    for command in ("check", "plan", "apply"):
        result = made.run(
            "unshare", "--mount", "sh", "-c", f"mount --bind /dev/null "
            f"{program} && exec restante-setup {command}", status=1)
        assert lines(result.stdout, what)


def test_source_tree(setting_machine):
    """The same as when it is installed, and no byte-code is left to either."""
    made = setting_machine
    made.write_postfix({}, None)
    programs = (STAGE / "usr/sbin", TOP / "packaging")
    said = [made.run(path / "restante-setup", "plan", status=1).stdout
            for path in programs]
    assert said[0] == said[1] and "+++ " + SNIPPET in said[0]
    assert not list((STAGE / "usr").rglob("__pycache__"))


def test_not_root(setting_machine):
    """check and plan go as far as they can, apply and undo say why not"""
    made = setting_machine
    made.write_postfix({}, None)
    nobody = ["setpriv", "--reuid", "nobody", "--regid", "nogroup",
              "--clear-groups", "restante-setup"]
    text = made.run(*nobody, "check", status=1).stdout
    assert "note root: " in text and f"apply {SNIPPET}" in text
    plan = made.run(*nobody, "plan").stdout
    assert f"+{RECIPIENT} = {ASK}" in plan and "+++ " + SNIPPET in plan
    for command in ("apply", "undo"):
        assert "as root" in made.run(*nobody, command, status=1).stderr


def test_another_instance(setting_machine):
    made = setting_machine
    made.write_postfix({}, None)
    made.run("sh", "-c", "cp -a /etc/postfix /run/two && cd "
             "/run/two && postconf -c . -e "
             "queue_directory=/var/spool/postfix/two "
             f"'{RECIPIENT}=reject_unauth_destination permit'")
    plan = made.run("restante-setup", "plan", "--postfix-config",
                    "/run/two", "--policyd-config",
                    "/etc/restante/two.conf", status=None).stdout
    assert f'+policy_socket = "/var/spool/postfix/two/private/restante"' in plan
    assert "+++ /etc/restante/two.conf" in plan
    assert f"+{RECIPIENT} = reject_unauth_destination {ASK} permit" in plan
    assert "+++ /etc/postfix/main.cf" not in plan


def test_installed_while_dovecot_runs():
    """by make install: 2.4's config process has looked for modules of settings
    before, and outlives a reload."""
    with machine(start=False) as made:
        into = made.below("/usr/lib/dovecot")
        ours = [path.relative_to(STAGE / "usr/lib/dovecot") for path in
                (STAGE / "usr/lib/dovecot").rglob("*.so")]
        assert ours
        for name in ours:
            (into / name).unlink()
        made.start()
        made.run("doveadm", "auth", "test", "ann@example.test", PASSWORD)
        for name in ours:
            shutil.copy(STAGE / "usr/lib/dovecot" / name, into / name)
        call(made, "apply")
        main_job(made)


def test_made_by_hand():
    """The whole guide was followed: nothing is to be changed, nor undone."""
    example = TOP / "packaging" / "dovecot" / (
        "90-restante-2.4.conf" if IS_24 else "90-restante.conf")
    with machine({RECIPIENT: f"reject_unauth_destination, {ASK}"}) as made:
        made.file(SNIPPET).write_text(example.read_text())
        made.file(POLICYD).write_text(
            'hostname = "mx.example.test"\n'
            'tls_certificate = "/etc/dovecot/private/dovecot.pem"\n'
            'tls_key = "/etc/dovecot/private/dovecot.key"\n'
            'recipient_delimiter = ""\n')
        made.run("doveadm", "reload")
        made.run("restante-policyd")
        before = configuration(made)
        assert "made by hand: left alone" in call(made, "check")
        assert "nothing is to be changed" in call(made, "apply")
        assert "nothing is to be undone" in call(made, "undo")
        assert configuration(made) == before and is_listening(made)
        main_job(made)


# 2.4 adds those of a protocol to the global ones
if not IS_24:
    def plugins_of(made, protocol):
        return made.run("doveconf", "-h", "-f", f"protocol={protocol}",
                        "mail_plugins").stdout.split()

    @pytest.mark.parametrize("include,later", [
        ("conf.d/*.conf", "mail_plugins = $mail_plugins quota\n"),
        ("/etc/dovecot/conf.d/*.conf",
         "mail_plugins = quota\nprotocol lmtp {\n"
         "  mail_plugins = sieve $mail_plugins acl\n}\n")])
    def test_global_plugins_are_read_later(include, later):
        """Delivery keeps its plugins, whatever file names them."""
        with machine() as made:
            conf = made.file("/etc/dovecot/dovecot.conf")
            conf.write_text(conf.read_text().replace("!include conf.d/*.conf",
                                                     f"!include {include}"))
            site = made.file("/etc/dovecot/conf.d/30-site.conf")
            site.write_text(re.sub(r"(?m)^protocol lmtp \{\n.*\n\}\n", "",
                                   site.read_text()))
            made.file("/etc/dovecot/local.conf").write_text(later)
            made.run("doveadm", "reload")
            files = configuration(made)
            before = {name: plugins_of(made, name) for name in ("lmtp", "lda")}
            assert "quota" in before["lmtp"] and "quota" in before["lda"]
            text = call(made, "apply")
            assert lines(text, "note mail_plugins of protocol lmtp")
            for name in ("lmtp", "lda"):
                assert sorted(plugins_of(made, name)) == sorted(
                    [*before[name], "restante"])
            main_job(made)
            call(made, "undo")
            assert configuration(made) == files

    def test_global_plugins_cannot_be_named():
        """What was planned is not believed, but looked at."""
        with machine() as made:
            conf = made.file("/etc/dovecot/dovecot.conf")
            other = made.dir / "other.conf"
            other.write_text("!include /etc/dovecot/conf.d/*.conf\n")
            conf.write_text(conf.read_text().replace("!include conf.d/*.conf",
                                                     f"!include {other}"))
            site = made.file("/etc/dovecot/conf.d/30-site.conf")
            site.write_text(re.sub(r"(?m)^protocol lmtp \{\n.*\n\}\n", "",
                                   site.read_text()))
            made.file("/etc/dovecot/local.conf").write_text("mail_plugins = quota\n")
            made.run("doveadm", "reload")
            fails(made, reason="protocol lmtp is without the plugin quota")


def test_users_without_a_home():
    with machine(homes=False) as made:
        made.below("/var/vmail").joinpath("INBOX").mkdir()
        text = refused(made, "--enrol", "all")
        assert "has no home" in lines(text, "you userdb")
        path = made.file("/etc/dovecot/conf.d/30-site.conf")
        text = path.read_text().replace("~/Maildir", "/var/vmail/INBOX/" + (
            "%{user}" if IS_24 else "%u"))
        # sieve wants a home
        path.write_text(text.replace("$mail_plugins sieve", "$mail_plugins")
                        .replace("sieve = yes", "acl = no"))
        shutil.chown(made.below("/var/vmail") / "INBOX", 5000, 5000)
        made.run("doveadm", "reload")
        cycle(made, "--enrol", "all", "--hold-path", "/var/vmail/restante",
              job=lambda made: (
                  made.send("bob", "one"),
                  wait_for("it", lambda: made.held("bob") == 1),
                  made.collect("bob")))

        # held mail would be out of sight in another place
        where = ["--enrol", "all", "--hold-path"]
        call(made, "apply", *where, "/var/vmail/restante")
        made.send("bob", "two")
        wait_for("it", lambda: made.held("bob") == 1)
        text = call(made, "apply", *where, "/run/closed", status=1)
        assert "mail is held" in lines(text, "you --hold-path")
        made.run("doveadm", "restante", "release", "-A", "--all")
        wait_for("release", lambda: made.held("bob") == 0)
        made.file("/run/closed").mkdir(mode=0o700)
        text = call(made, "apply", *where, "/run/closed")
        assert "cannot be held" in lines(text, "warning: mail of")


# ---- a step fails: everything is as it was

def fails(made, *options, reason):
    before = configuration(made)
    text = call(made, "apply", *options, status=1)
    assert reason in text and "everything is as it was before" in text, text
    assert configuration(made) == before
    assert not made.file(STATE).exists() and not is_listening(made)
    assert not any(made.below("/etc").parent.rglob("*.restante-setup"))
    before = len(made.mailbox("ann"))
    assert made.send("ann", "usual").startswith("250")
    wait_for("the usual way", lambda: len(made.mailbox("ann")) == before + 1)


def wrap(made, name, text):
    """A program of this name, and no other, goes first in PATH; text: of a
    shell."""
    path = made.dir / "bin" / name
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\nreal=$(PATH=${{PATH#*:}} command -v {name})\n"
                    f"{text}\nexec $real \"$@\"\n")
    path.chmod(0o755)
    made.path = f"{made.dir}/bin:"


BAD_LISTENER = """
service auth {
  unix_listener restante-auth {
    user = root
  }
}
"""
PLUGINS_AGAIN = ("protocol lmtp {\n  mail_plugins = sieve\n}\n")


def test_failing_steps(tmp_path):
    with machine() as made:
        site = made.file("/etc/dovecot/conf.d/99-site.conf")

        site.write_text(PLUGINS_AGAIN)
        fails(made, reason="are set once more after")
        site.write_text(BAD_LISTENER)
        fails(made, reason="error auth_socket")
        site.write_text("")

        # of our own, a setting that Dovecot does not take
        broken = made.dir / "broken"
        shutil.copytree(STAGE / "usr/share/restante",
                        broken / "share/restante")
        shutil.copytree(STAGE / "usr/sbin", broken / "sbin")
        for path in (broken / "share/restante").glob("90-*"):
            path.write_text(path.read_text() + "bad_setting = x\n")
        made.path = f"{broken}/sbin:"
        fails(made, reason="doveconf -n")
        made.path = ""

        wrap(made, "restante-policyd", 'case "$*" in *-t*) ;; *) exit 71;; '
             "esac")
        fails(made, reason="restante-policyd")
        wrap(made, "postfix", 'case "$*" in *check*) echo no; exit 1;; esac')
        fails(made, reason="postfix")
        made.path = ""


def test_socket_that_postfix_cannot_reach():
    """seen only when it is dialled as Postfix's user"""
    with machine(extra_dovecot=LMTP.replace("= postfix", "= root")) as made:
        before = configuration(made)
        text = call(made, "apply", status=1)
        assert "private/dovecot-lmtp as Postfix's user: PermissionError" in text
        assert configuration(made) == before and not is_listening(made)


# ---- kill -9, power cut

RENAMES = 5   # pending, three files, state

KILLS = [*(("rename", n) for n in range(1, RENAMES + 1)), ("unlink", 1),
         ("postfix check", "before"), ("doveadm reload", "after"),
         ("restante-policyd start", "after"), ("postfix reload", "after")]


def killed(made, command, at):
    """restante-setup, killed at one of its steps."""
    what, when = at
    if what in ("rename", "unlink"):
        argv = ["strace", "-o", "/dev/null", "-e", f"trace={what}", "-e",
                f"inject={what}:signal=KILL:when={when}",
                STAGE / "usr/sbin/restante-setup", *command]
    else:
        name, word = what.split()
        word = f"*{word}*" if word != "start" else "-c*"
        act = ('kill -9 $PPID; exit' if when == "before" else
               '$real "$@"; kill -9 $PPID; exit')
        wrap(made, name, f'case "$*" in {word}) {act};; esac')
        argv = ["restante-setup", *command]
    result = made.run(*argv, status=None)
    made.path = ""
    shutil.rmtree(made.dir / "bin", ignore_errors=True)
    assert result.returncode in (-9, 137), (at, result)


@pytest.fixture(scope="module")
def site():
    with machine() as made:
        made.before = configuration(made)
        yield made


@pytest.mark.parametrize("at", KILLS, ids=lambda at: f"{at[0]}-{at[1]}")
def test_apply_killed(site, at):
    """undo makes all as before; or apply goes on to the end"""
    killed(site, ["apply"], at)
    call(site, "undo")
    assert configuration(site) == site.before
    assert not site.file(STATE).exists() and not is_listening(site)


@pytest.mark.parametrize("at", [KILLS[2], KILLS[4], KILLS[-2]],
                         ids=lambda at: f"{at[0]}-{at[1]}")
def test_apply_killed_and_done_again(site, at):
    killed(site, ["apply"], at)
    call(site, "apply")
    assert "apply " not in call(site, "check")
    call(site, "undo")
    assert configuration(site) == site.before and not is_listening(site)


@pytest.mark.parametrize("at", [
    ("rename", 2), ("rename", 3), ("unlink", 1), ("unlink", 2),
    ("doveadm reload", "after"), ("postfix reload", "before")],
    ids=lambda at: f"{at[0]}-{at[1]}")
def test_undo_killed(site, at):
    call(site, "apply")
    killed(site, ["undo"], at)
    call(site, "undo")
    assert configuration(site) == site.before
    assert not site.file(STATE).exists() and not is_listening(site)


def test_undo_after_a_removal(site):
    """The package's removal has put 90-restante.conf aside."""
    for applied_again in (False, True):
        call(site, "apply")
        path = site.file(SNIPPET)
        removed = path.with_name(path.name + ".removed")
        path.rename(removed)
        site.run("doveadm", "reload")
        if applied_again:
            call(site, "apply")
            main_job(site)
        call(site, "undo", *([] if applied_again else ["--leave"]))
        assert not removed.exists()
        assert configuration(site) == site.before and not is_listening(site)
        assert not site.file(STATE).exists()
        shutil.rmtree(site.file("/run/client"), ignore_errors=True)


@pytest.mark.parametrize("program", ["postconf", "doveconf"])
def test_undo_without(program):
    """Postfix or Dovecot was taken away before."""
    with machine() as made:
        before = configuration(made)
        call(made, "apply")
        where = shutil.which(program)
        made.run("mount", "--bind", "/dev/null", where)
        assert "is not installed" in call(made, "undo", status=1)
        assert "undone without" in call(made, "undo", "--leave")
        assert "nothing is to be undone" in call(made, "undo")
        made.run("umount", where)
        assert configuration(made) == before and not is_listening(made)


def test_undo_while_a_delivery_is_at_work():
    with machine() as made:
        before = configuration(made)
        call(made, "apply")
        lda = made.dir / "tmp" / "dovecot-lda"
        lda.write_text("#!/bin/sh\nsleep 4\n")
        lda.chmod(0o755)
        made.run("sh", "-c", f"mount --bind {made.dir}/tmp /mnt; "
                 "/mnt/dovecot-lda >/dev/null 2>&1 &")
        began = time.monotonic()
        call(made, "undo")
        assert time.monotonic() - began > 3
        assert configuration(made) == before


def test_full_disk_at_the_last_step(site):
    """"state" cannot be written: what was changed is put back."""
    result = site.run(
        "strace", "-o", "/dev/null", "-e", "trace=rename", "-e",
        f"inject=rename:error=ENOSPC:when={RENAMES}",
        STAGE / "usr/sbin/restante-setup", "apply", status=1)
    assert "everything is as it was before" in result.stderr
    assert configuration(site) == site.before and not is_listening(site)
    assert not site.file(STATE).exists()


def fsync_failures(site, command):
    """The command again and again, and a failure at its 1st, 2nd, ... fsync,
    until it meets none. Yields what it says when it has failed."""
    for n in range(1, 60):
        result = site.run(
            "strace", "-o", "/dev/null", "-e", "trace=fsync", "-e",
            f"inject=fsync:error=EIO:when={n}",
            STAGE / "usr/sbin/restante-setup", command, status=None)
        if result.returncode == 0:
            return
        assert result.returncode == 1, (n, result)
        print(n, result.stderr, flush=True)
        yield result.stderr
    pytest.fail("fails at each fsync")


def test_apply_with_failing_disk(site):
    """What it says of the files is true."""
    stood = 0
    for said in fsync_failures(site, "apply"):
        if "the changes are made and stand" in said:
            stood += 1
            assert "apply " not in call(site, "check")
            call(site, "undo")
        else:
            assert "not everything" not in said, said
        assert configuration(site) == site.before
        assert not site.file(STATE).exists() and not is_listening(site)
    assert stood
    call(site, "undo")


def test_undo_with_failing_disk(site):
    call(site, "apply")
    applied = configuration(site)
    failed = 0
    for said in fsync_failures(site, "undo"):
        failed += "everything is as it was before" in said
        assert "not everything" not in said, said
        assert configuration(site) == applied and is_listening(site)
    assert failed
    assert configuration(site) == site.before and not is_listening(site)


def test_octets_of_a_file(setting_machine):
    made = setting_machine
    made.write_postfix({}, None)
    path = made.file("/etc/postfix/main.cf")
    path.write_bytes(path.read_bytes() + b"# M\xfcller\n")
    # as of en_US.UTF-8; those that are always there are no strict ones
    result = made.run("env", "PYTHONIOENCODING=utf-8:strict",
                      "restante-setup", "plan", status=1)
    assert "# M\udcfcller" in result.stdout


def test_one_at_a_time(site):
    site.run("sh", "-c", f"mkdir -p {STATE} && exec flock {STATE} "
             "sh -c 'restante-setup apply 2>&1 | grep another'")
    site.run("rmdir", STATE)


# ---- undo

def test_undo_with_held_mail():
    """Neither option: refused. A mailbox that takes nothing: nothing is lost."""
    with machine() as made:
        before = configuration(made)
        call(made, "apply")
        made.send("ann", "kept")
        wait_for("it", lambda: made.held() == 1)
        applied = configuration(made)
        text = call(made, "undo", status=1)
        assert "held ann@example.test: 1 messages" in text
        assert "--release" in text and "--leave" in text
        assert configuration(made) == applied and is_listening(made)

        box = made.file("/var/vmail/ann/Maildir")
        shutil.rmtree(box, ignore_errors=True)
        box.write_text("no directory")
        assert "everything is as it was" in call(made, "undo", "--release",
                                                 status=1)
        assert configuration(made) == applied and is_listening(made)
        assert made.held() == 1
        made.send("ann", "more")
        wait_for("still held", lambda: made.held() == 2)

        text = call(made, "undo", "--leave")
        assert "held ann@example.test: 2 messages" in text
        assert "restante release" in text
        assert configuration(made) == before
        box.unlink()
        call(made, "apply")
        assert made.held() == 2
        call(made, "undo", "--release")
        assert configuration(made) == before
        assert made.mailbox("ann") == ["kept", "more"]


STATIC = """
userdb {
  driver = static
  args = uid=5000 gid=5000 home=/var/vmail/%n restante=yes
}
""" if not IS_24 else """
userdb static {
  fields {
    uid = 5000
    gid = 5000
    home = /var/vmail/%{user | username}
    restante = yes
  }
}
"""


def test_undo_with_overflow_mail_only():
    """The holders directory does not know of it, and no release moves it. A user
    without a home is in nobody's way."""
    with machine() as made:
        users = made.file("/etc/dovecot/users")
        users.write_text(users.read_text() + "carol@example.test:{PLAIN}x:"
                         "5000:5000::::\n")
        before = configuration(made)
        call(made, "apply")
        assert "undone" in call(made, "undo")
        call(made, "apply")
        path = made.file("/run/message")
        path.write_text("Subject: over\n\nover\n")
        user, beside = "ann@example.test", hold_place("sdbox:~/restante")
        made.run("doveadm", *beside, "mailbox", "create", "-u", user,
                 "Overflow")
        made.run("doveadm", *beside, "save", "-u", user, "-m", "Overflow",
                 "/run/message")
        applied = configuration(made)
        for options in ([], ["--release"]):
            text = call(made, "undo", *options, status=1)
            assert "overflow 1" in lines(
                "\n".join(set(text.splitlines())), f"held {user}: 0 messages")
            assert "looked at all users" in text
            assert configuration(made) == applied and is_listening(made)
        assert "move overflow mail as restante-plugin(7) says" in text

        # a userdb that does not list its users
        site = made.file("/etc/dovecot/conf.d/30-site.conf")
        listing = site.read_text()
        start = listing.index("userdb ")
        end = listing.index("}\n", start) + 2
        site.write_text(listing[:start] + STATIC + listing[end:])
        made.run("doveadm", "reload")
        assert "the userdb does not list its users" in call(made, "undo")
        site.write_text(listing)
        made.run("doveadm", "reload")
        assert configuration(made) == before

        call(made, "apply")
        text = call(made, "undo", "--leave")
        assert "overflow 1" in lines(
            "\n".join(set(text.splitlines())), f"held {user}")
        assert configuration(made) == before


def test_undo_without_entries_of_holders(site):
    """As after a backup without /var/lib/restante/holders."""
    call(site, "apply")
    site.send("ann", "entry")
    wait_for("it", lambda: site.held() == 1)
    for path in site.file("/var/lib/restante/holders").iterdir():
        path.unlink()
    assert "held ann@example.test: 1 messages" in call(site, "undo", status=1)
    call(site, "undo", "--release")
    assert "entry" in site.mailbox("ann")
    assert configuration(site) == site.before


def test_undo_after_the_admin_has_changed_things():
    with machine({RECIPIENT: LONG}) as made:
        before = configuration(made)
        call(made, "apply")
        made.run("postconf", "-e", "message_size_limit=5000000")
        call(made, "undo")
        after = configuration(made)
        assert after["postconf"].replace("message_size_limit = 5000000\n", ""
                                         ) == before["postconf"]
        assert after["master"] == before["master"]
        assert after["doveconf"] == before["doveconf"]

        call(made, "apply")
        path = made.file(SNIPPET)
        path.write_text(path.read_text() + "# mine\n")
        text = call(made, "apply")
        assert "was changed after restante-setup made it" in text
        made.run("postconf", "-e", f"{RECIPIENT}=reject_unauth_destination")
        text = call(made, "undo")
        line = lines(text, f"left alone {RECIPIENT}")
        assert "to: reject_unauth_destination" in line and "permit" in line
        assert lines(text, f"left alone {SNIPPET}").endswith(".saved")
        assert made.run("postconf", "-h", RECIPIENT
                        ).stdout == "reject_unauth_destination\n"
        assert configuration(made)["doveconf"] == before["doveconf"]
        assert pathlib.Path(str(path) + ".saved").read_text().endswith(
            "# mine\n")


def test_undo_dry_run(site):
    call(site, "apply")
    after = configuration(site)
    text = call(site, "undo", "--dry-run")
    assert f"-{RECIPIENT} = {ASK}" in text and f"--- {SNIPPET}" in text
    assert configuration(site) == after
    call(site, "undo")
    assert configuration(site) == site.before


def test_check_tells_of_an_interrupted_apply(site):
    killed(site, ["apply"], ("rename", 3))
    assert "apply interrupted" in call(site, "check", status=1)
    call(site, "undo")
    assert configuration(site) == site.before


SYSTEMCTL = """
unit() {
    pgrep -f '^restante-policyd -c' >/dev/null
}
echo "$*" >>/run/systemctl
case $1 in
cat) exit 0 ;;
is-active) unit; exit ;;
is-enabled) test -e /run/enabled; exit ;;
enable) : >/run/enabled ;;
disable) rm /run/enabled ;;
stop | restart)
    pkill -f '^restante-policyd -c'
    while unit; do sleep 0.05; done
    [ $1 = stop ] || restante-policyd -c /etc/restante/restante-policyd.conf
    ;;
esac
exit
"""


def test_systemd(site):
    """The unit is enabled and started, by systemctl; and then neither."""
    (site.below("/run") / "systemd/system").mkdir(parents=True)
    wrap(site, "systemctl", SYSTEMCTL)
    try:
        assert "no systemd" not in call(site, "apply")
        said = site.file("/run/systemctl").read_text()
        assert "enable restante-policyd\nrestart restante-policyd\n" in said
        assert is_listening(site) and site.file("/run/enabled").exists()
        call(site, "undo")
        assert not is_listening(site)
        assert not site.file("/run/enabled").exists()
    finally:
        site.path = ""
        shutil.rmtree(site.below("/run") / "systemd")
    assert configuration(site) == site.before


def test_terminated(site):
    """SIGTERM while a program of its own runs: all is put back."""
    wrap(site, "postfix", 'case "$*" in *reload*) kill -TERM $PPID; sleep 1;; '
         "esac")
    text = call(site, "apply", status=1)
    site.path = ""
    assert "everything is as it was before" in text
    assert configuration(site) == site.before and not is_listening(site)


def test_record_is_gone(site):
    call(site, "apply")
    state = site.file(STATE + "/state")
    state.rename(str(state) + ".away")
    assert "state is gone" in call(site, "undo", status=1)
    pathlib.Path(str(state) + ".away").rename(state)
    call(site, "undo")
    assert configuration(site) == site.before


def test_undo_puts_back_what_was_there_last():
    """The admin writes a list anew, and apply puts ours into it again."""
    with machine({RECIPIENT: LONG}) as made:
        call(made, "apply")
        mine = "reject_unauth_destination, reject_unlisted_recipient"
        made.run("postconf", "-e", f"{RECIPIENT}={mine}")
        call(made, "apply")
        assert made.run("postconf", "-h", RECIPIENT
                        ).stdout == f"{mine}, {ASK}\n"
        call(made, "undo")
        assert made.run("postconf", "-h", RECIPIENT).stdout == mine + "\n"


def test_nothing_is_held_while_held_mail_is_released(site):
    call(site, "apply")
    site.send("ann", "held")
    wait_for("it", lambda: site.held() == 1)
    (site.dir / "send.py").write_text(SEND)
    wrap(site, "doveadm", f"""case "$*" in *release*)
$real "$@"
/usr/bin/python3 {site.dir}/send.py ann@example.test meanwhile 25 0
for _ in $(seq 50); do
    postqueue -p | grep -q 'queue is empty' && break
    sleep 0.1
done
exit ;; esac""")
    call(site, "undo", "--release")
    site.path = ""
    assert site.mailbox("ann")[-2:] == ["held", "meanwhile"]
    assert configuration(site) == site.before
