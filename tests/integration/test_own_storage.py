# SPDX-License-Identifier: MIT
"""The hold is a storage of its own: what a site does with its mailboxes, or
fails to do, changes neither held mail nor anybody who is not enrolled."""
import re
import subprocess

import pytest

from conftest import (DOMAIN, digest, maildir_messages, wait_for,
                      without_trace)
from dovecot import HOLD, HOLD_PLUGINS, conf

USER = "traveller0"
MARK = "own-storage"
RSA = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp521r1"]


def configured(make_sandbox, tmp_path, text, *arguments):
    extra = tmp_path / "dovecot.conf"
    extra.write_text(conf(text))
    return make_sandbox("--extra-dovecot", extra, *arguments)


def send(sandbox, user, subject):
    body = "".join(f"line {n} of some text that packs well\r\n"
                   for n in range(200))
    sandbox.send(f"{user}@{DOMAIN}", f"From: sender@remote.test\r\n"
                 f"Subject: {subject}\r\n\r\n{body}")


def body(message):
    """The message without its trace, LF: the same in every place."""
    return digest(without_trace(message.replace(b"\r\n", b"\n")))


def subjects(messages):
    return sorted(re.search(rb"^Subject: (\S+)", m, re.M)[1].decode()
                  for m in messages)


# -- plugins that change what is saved

def crypt_keys(tmp_path):
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    subprocess.run(["openssl", *RSA, "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out",
                    public], check=True)
    private.chmod(0o644)
    return f"""
  mail_crypt_global_private_key = <{private}
  mail_crypt_global_public_key = <{public}
  mail_crypt_save_version = 2
"""


TRANSFORMS = {
    "zlib": ("zlib", lambda path: "  zlib_save = gz\n  zlib_save_level = 6\n"),
    "mail_crypt": ("mail_crypt", crypt_keys),
}
FORMATS = ["sdbox", "maildir"]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("plugin", TRANSFORMS)
def test_plugin_that_transforms(make_sandbox, tmp_path, plugin, format):
    """It is loaded for every mailbox, and nobody has named it for restante-hold:
    the hold has the octets that came, and gives them to the client, and back to
    the mailbox."""
    name, settings = TRANSFORMS[plugin]
    sandbox = configured(make_sandbox, tmp_path, f"""
protocol lmtp {{
  mail_plugins = $mail_plugins {name}
}}
protocol imap {{
  mail_plugins = {name}
}}
plugin {{
{settings(tmp_path)}}}
""", "--format", format)
    for user in (USER, "traveller1", "resident"):
        send(sandbox, user, MARK)
    wait_for("the resident", lambda: sandbox.mailbox("resident"))
    want = body(sandbox.mailbox("resident")[0])
    # it does transform here
    stored = [path.read_bytes() for path in
              (sandbox.dir / f"mail/resident@{DOMAIN}/mail").rglob("*")
              if path.is_file()]
    assert not any(b"packs well" in octets for octets in stored)
    for user in (USER, "traveller1"):
        sandbox.wait_held(user, 1)
    message, = maildir_messages(sandbox.collect(USER))
    assert body(message) == want
    sandbox.doveadm("restante", "release", "-u", f"traveller1@{DOMAIN}",
                    "--all")
    message, = sandbox.mailbox("traveller1")
    assert body(message) == want
    assert sandbox.held(USER) == sandbox.held("traveller1") == []


def test_encrypted_hold(make_sandbox, tmp_path):
    """restante_hold_plugin_settings: held mail is encrypted as well."""
    settings = crypt_keys(tmp_path)
    sandbox = configured(make_sandbox, tmp_path, f"""
mail_plugins = mail_crypt
protocol restante {{
  mail_plugins = mail_crypt
}}
protocol lmtp {{
  mail_plugins = mail_crypt restante
}}
plugin {{
{settings}  restante_hold_plugin_settings = mail_crypt_
}}
""")
    send(sandbox, USER, MARK)
    send(sandbox, "resident", MARK)
    sandbox.wait_held(USER, 1)
    stored = [path.read_bytes() for path in
              (sandbox.dir / f"mail/{USER}@{DOMAIN}/restante").rglob("*")
              if path.is_file()]
    assert any(b"CRYPTED" in octets for octets in stored)
    assert not any(b"packs well" in octets for octets in stored)
    message, = maildir_messages(sandbox.collect(USER))
    wait_for("the resident", lambda: sandbox.mailbox("resident"))
    assert body(message) == body(sandbox.mailbox("resident")[0])


def test_hold_service_without_plugin(make_sandbox, tmp_path):
    """restante-hold does not load a plugin that encrypts the hold: nothing
    leaves the hold until it does."""
    settings = crypt_keys(tmp_path)
    sandbox = configured(make_sandbox, tmp_path, f"""
protocol lmtp {{
  mail_plugins = $mail_plugins mail_crypt
}}
plugin {{
{settings}  restante_hold_plugin_settings = mail_crypt_
}}
""")
    send(sandbox, USER, MARK)
    wait_for("the delivery", lambda: ": held: id=" in sandbox.log("dovecot"))
    assert maildir_messages(sandbox.collect(USER)) == []
    assert sandbox.doveadm("-f", "tab", "restante", "list", "-u",
                           f"{USER}@{DOMAIN}").stdout.count("incomplete") == 1
    wait_for("the log", lambda: re.search(
        rf"restante-hold.*: Held message has no valid envelope and stays: "
        rf"user={USER}@{DOMAIN} id=.* {HOLD_PLUGINS}",
        sandbox.log("dovecot")))
    sandbox.stop("dovecot")
    with open(sandbox.env["DOVECOT_CONF"], "a") as file:
        file.write("protocol restante {\n  mail_plugins = mail_crypt\n}\n")
    sandbox.start("dovecot")
    message, = maildir_messages(sandbox.collect(USER))
    assert b"packs well" in message


# -- a hold that cannot be opened

def without_home(sandbox):
    """From now on the userdb knows no home directories."""
    users = sandbox.dir / "dovecot/users"
    lines = [line.split(":") for line in users.read_text().splitlines()]
    for fields in lines:
        fields[5] = ""
    users.write_text("".join(":".join(fields) + "\n" for fields in lines))


HOMELESS = """
mail_location = maildir:{dir}/mail/%u/Maildir
protocol lmtp {{
  mail_plugins = restante
}}
plugin {{
  {setting}
}}
"""


def homeless(make_sandbox, tmp_path, setting):
    extra = tmp_path / "dovecot.conf"
    extra.write_text("")
    sandbox = make_sandbox("--extra-dovecot", extra)
    sandbox.stop("policyd")
    sandbox.stop("dovecot")
    with open(sandbox.env["DOVECOT_CONF"], "a") as file:
        file.write(conf(HOMELESS.format(dir=sandbox.dir,
                                        setting=setting)))
    without_home(sandbox)
    sandbox.start("dovecot")
    sandbox.start("policyd")
    return sandbox


def lines_about(sandbox, user):
    return [line for line in sandbox.log("dovecot").splitlines()
            if f"({user}@{DOMAIN})" in line]


BROKEN = {
    "no home": ("restante_on_error = tempfail", HOLD),
    "deliver": ("restante_on_error = deliver", HOLD),
    "bad values": ("restante_on_error = deliver\n"
                   "  restante_hold_location = nosuch:/nonexistent\n"
                   "  restante_hold_time = never\n"
                   "  restante_hold_quota = much\n"
                   "  restante_holders = /nonexistent/holders",
                   "Unknown mail storage driver nosuch"),
    "no access": ("restante_on_error = deliver\n"
                  "  restante_hold_location = sdbox:/proc/1/restante",
                  "/proc/1/restante"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_hold_cannot_be_opened(make_sandbox, tmp_path, case):
    """Who is not enrolled does not notice; an enrolled user's mail is delivered
    normally or stays in Postfix's queue, and one line says why."""
    setting, reason = BROKEN[case]
    sandbox = homeless(make_sandbox, tmp_path, setting)
    send(sandbox, "resident", MARK)
    wait_for("the resident", lambda: sandbox.mailbox("resident"))
    assert not any("estante" in line for line in lines_about(sandbox, "resident"))
    result = sandbox.doveadm("mailbox", "list", "-u", f"resident@{DOMAIN}")
    assert result.stderr == ""

    send(sandbox, USER, MARK)
    if "tempfail" in setting:
        wait_for("4xx", lambda: "status=deferred" in sandbox.log("postfix"))
        assert sandbox.mailbox(USER) == []
    else:
        wait_for("normal delivery", lambda: sandbox.mailbox(USER))
    said = [line for line in lines_about(sandbox, USER)
            if "Hold failed" in line]
    assert said and all(reason in line for line in said)
    assert "bounced" not in sandbox.log("postfix")
    # the mailbox itself is as it was
    sandbox.doveadm("mailbox", "list", "-u", f"{USER}@{DOMAIN}")


def test_hold_without_home(make_sandbox, tmp_path):
    """The cure: a location of its own."""
    sandbox = homeless(
        make_sandbox, tmp_path,
        f"restante_hold_location = sdbox:{tmp_path}/held/%d/%n")
    tmp_path.chmod(0o777)
    for parent in list(tmp_path.parents)[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    for user in (USER, "traveller1", "resident"):
        send(sandbox, user, MARK)
    sandbox.wait_held(USER, 1)
    assert (tmp_path / "held" / DOMAIN / USER).is_dir()
    assert subjects(maildir_messages(sandbox.collect(USER))) == [MARK]
    sandbox.doveadm("restante", "release", "-u", f"traveller1@{DOMAIN}",
                    "--all")
    assert subjects(sandbox.mailbox("traveller1")) == [MARK]
    wait_for("the resident", lambda: sandbox.mailbox("resident"))
    # who is looked at, and holds nothing
    for command in ("list", "status"):
        sandbox.doveadm("restante", command, "-u", f"resident@{DOMAIN}",
                        check=False)
    assert not (tmp_path / "held" / DOMAIN / "resident").exists()


def test_one_place_for_all(make_sandbox, tmp_path):
    """A location that is the same for all users: no client gets the mail of
    somebody else, which goes to the mailbox."""
    sandbox = configured(make_sandbox, tmp_path, """
plugin {
  restante_hold_location = sdbox:~/../one-place
}
""")
    send(sandbox, USER, MARK)
    sandbox.wait_held(USER, 1)
    send(sandbox, "traveller1", "other")
    wait_for("the mailbox", lambda: sandbox.mailbox("traveller1"))
    assert re.search(rf"{HOLD}=\S+ is the same for", sandbox.log("dovecot"))
    assert sandbox.held("traveller1") == []
    assert maildir_messages(sandbox.collect("traveller1")) == []
    sandbox.doveadm("restante", "release", "-u", f"traveller1@{DOMAIN}",
                    "--all")
    assert subjects(sandbox.mailbox("traveller1")) == ["other"]
    assert subjects(maildir_messages(sandbox.collect(USER))) == [MARK]
    # while nothing is held, it is anybody's
    send(sandbox, "traveller1", "later")
    sandbox.wait_held("traveller1", 1)
    assert subjects(maildir_messages(sandbox.collect("traveller1"))) == [
        "later"]
    assert "bounced" not in sandbox.log("postfix")
