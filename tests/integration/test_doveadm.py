# SPDX-License-Identifier: MIT
"""doveadm restante status|list|push|release: the operator's view."""
import email.utils
import json
import pathlib
import re
import subprocess
import time

from conftest import DOMAIN, maildir_messages, wait_for
from dovecot import option


def listing(sandbox, *arguments):
    return json.loads(
        sandbox.doveadm("-f", "json", "restante", *arguments).stdout)


def test_status_and_list(sandbox):
    for n in range(3):
        sandbox.send_simple("traveller0", f"listed-{n}")
    sandbox.wait_held("traveller0", 3)
    status, = listing(sandbox, "status", "-u", f"traveller0@{DOMAIN}")
    assert int(status["messages"]) == 3
    assert int(status["octets"]) > 0
    entries = listing(sandbox, "list", "-u", f"traveller0@{DOMAIN}")
    assert len({entry["id"] for entry in entries}) == 3
    for entry in entries:
        assert entry["from"] == "<sender@remote.test>"
        assert entry["to"] == f"<traveller0@{DOMAIN}>"
        assert int(entry["size"]) > 0
    # nothing of the content
    assert "listed-" not in json.dumps(entries)


def test_all_users(sandbox):
    sandbox.send_simple("traveller1", "all-users")
    sandbox.wait_held("traveller1", 1)
    rows = listing(sandbox, "status", "-A")
    users = {row.get("username", row.get("user")): row for row in rows}
    assert int(users[f"traveller1@{DOMAIN}"]["messages"]) == 1


def test_release_one_and_all(sandbox):
    for n in range(3):
        sandbox.send_simple("traveller2", f"released-{n}")
    sandbox.wait_held("traveller2", 3)
    first = sandbox.held("traveller2")[0]
    sandbox.doveadm("restante", "release", "-u", f"traveller2@{DOMAIN}", first)
    assert len(sandbox.held("traveller2")) == 2
    assert len(sandbox.mailbox("traveller2")) == 1
    sandbox.doveadm("restante", "release", "-u", f"traveller2@{DOMAIN}",
                    "--all")
    assert sandbox.held("traveller2") == []
    inbox = sandbox.mailbox("traveller2")
    assert len(inbox) == 3
    assert all(b"X-Restante-Envelope" not in m for m in inbox)


def test_release_expired_leaves_the_rest(sandbox):
    sandbox.send_simple("traveller3", "young")
    sandbox.wait_held("traveller3", 1)
    sandbox.doveadm("restante", "release", "-u", f"traveller3@{DOMAIN}",
                    "--expired")
    assert len(sandbox.held("traveller3")) == 1


def test_push_after_a_lost_wake_up(sandbox):
    """Policyd was not told of a message; push makes policyd look."""
    other = sandbox.dir / "other-holders"
    other.mkdir()
    other.chmod(0o777)
    client = sandbox.client("traveller4")
    wait_for("sign-in", lambda: client.said("held: messages=0"))
    # what comes during the drain after the sign-in is in it
    wait_for("the end of the drain", lambda: sandbox.doveadm(
        "restante", "release", "-u", f"traveller4@{DOMAIN}", "--expired",
        check=False).returncode == 0)
    lda(sandbox, "traveller4", "unnoticed",
        "-o", option(f"restante_holders={other}"))
    sandbox.wait_held("traveller4", 1)
    assert not (pathlib.Path(sandbox.env["HOLDERS_DIR"]) /
                f"traveller4@{DOMAIN}").exists()
    assert maildir_messages(client.maildir) == []
    sandbox.doveadm("restante", "push", "-u", f"traveller4@{DOMAIN}")
    wait_for("push", lambda: maildir_messages(client.maildir), 5)
    sandbox.wait_held("traveller4", 0)
    # nothing is held: nothing to do
    sandbox.doveadm("restante", "push", "-u", f"traveller4@{DOMAIN}")
    # policyd cannot be told
    sandbox.send_simple("traveller5", "waits")
    sandbox.wait_held("traveller5", 1)
    result = sandbox.doveadm("-o", option("restante_holders=/nowhere"),
                             "restante", "push", "-u", f"traveller5@{DOMAIN}",
                             check=False)
    assert result.returncode != 0 and "/nowhere" in result.stderr
    sandbox.collect("traveller5")


def lda(sandbox, user, subject, *arguments):
    subprocess.run(
        [sandbox.bin("private"), "/usr/lib/dovecot/dovecot-lda",
         "-c", sandbox.env["DOVECOT_CONF"], *arguments, "-d", f"{user}@{DOMAIN}", "-f", "a@remote.test"],
        input=f"From: a@remote.test\nSubject: {subject}\n\nx\n".encode(),
        check=True, timeout=30)


def test_not_enrolled(sandbox):
    result = sandbox.doveadm("restante", "status", "-u", f"resident@{DOMAIN}",
                             check=False)
    assert result.returncode != 0
    assert "enrolled" in result.stderr


def test_unknown_id(sandbox):
    sandbox.send_simple("traveller5", "kept")
    sandbox.wait_held("traveller5", 1)
    result = sandbox.doveadm("restante", "release", "-u",
                             f"traveller5@{DOMAIN}", "no-such-id", check=False)
    assert result.returncode != 0
    assert len(sandbox.held("traveller5")) == 1


def test_dovecot_lda(sandbox):
    """Delivery by dovecot-lda is held as well."""
    lda(sandbox, "traveller6", "lda")
    sandbox.wait_held("traveller6", 1)
    message, = maildir_messages(sandbox.collect("traveller6"))
    assert message.endswith(b"From: a@remote.test\nSubject: lda\n\nx\n")


def test_from_a_backup(sandbox):
    """A message that Postfix tries again comes once; a stored message that is
    put back weeks later is a new one, whether the first has left or not."""
    now = time.time()

    def bring(days):
        then = email.utils.formatdate(now - days * 24 * 3600)
        subprocess.run(
            [sandbox.bin("private"), "/usr/lib/dovecot/dovecot-lda",
             "-c", sandbox.env["DOVECOT_CONF"], "-d", f"traveller9@{DOMAIN}", "-f", "a@remote.test"],
            input=b"Received: from x by y (Postfix) with ESMTP id 4Bx2;\n\t"
                  + then.encode() + b"\nSubject: backup\n\nx\n",
            check=True, timeout=30)
        return len(sandbox.held("traveller9"))

    assert bring(0) == 1
    assert bring(0) == 1
    assert bring(21) == 2
    assert bring(21) == 3
    assert len(maildir_messages(sandbox.collect("traveller9"))) == 3
    assert bring(0) == 0
    assert bring(21) == 1


def test_hold_is_hidden_from_imap(sandbox):
    sandbox.send_simple("traveller7", "hidden")
    sandbox.wait_held("traveller7", 1)
    imap = sandbox.imap("traveller7")
    _, folders = imap.list()
    imap.logout()
    assert not any(b"Restante" in folder for folder in folders if folder)


def raw_text(sandbox, user, mailbox):
    text = sandbox.doveadm_hold("fetch", "-u", f"{user}@{DOMAIN}", "text",
                                "mailbox", mailbox).stdout
    return text.removeprefix("text:\n")


def put_part(sandbox, user, text):
    """Put the part of a message that a crash in the middle of a save leaves in
    some formats."""
    part = sandbox.dir / "part"
    part.write_text(text)
    sandbox.doveadm_hold("save", "-u", f"{user}@{DOMAIN}", "-m", "Held", part)


def test_incomplete(sandbox):
    """An incomplete message goes nowhere by itself, and makes no message
    known."""
    user = f"traveller8@{DOMAIN}"
    sandbox.send_simple("traveller8", "whole")
    sandbox.wait_held("traveller8", 1)
    text = raw_text(sandbox, "traveller8", "Held")
    sandbox.doveadm_hold("expunge", "-u", user, "mailbox", "Held", "all")
    put_part(sandbox, "traveller8", text[:-10])
    put_part(sandbox, "traveller8", text[:30])

    first, second = listing(sandbox, "list", "-u", user)
    assert first["state"] == second["state"] == "incomplete"
    status, = listing(sandbox, "status", "-u", user)
    assert int(status["messages"]) == 0 and int(status["incomplete"]) == 2
    assert maildir_messages(sandbox.collect("traveller8")) == []
    for option in ("--all", "--expired"):
        sandbox.doveadm("restante", "release", "-u", user, option)
    assert len(listing(sandbox, "list", "-u", user)) == 2
    assert sandbox.mailbox("traveller8") == []

    sandbox.doveadm("restante", "release", "-u", user, first["id"])
    left, = listing(sandbox, "list", "-u", user)
    assert left["id"] == second["id"]
    message, = sandbox.mailbox("traveller8")
    assert b"whole" in message and b"X-Restante-Envelope" not in message
    # that this part has left says nothing of the whole; an earlier version has
    # written no digest
    whole, digests = re.subn(r";\s+d=[0-9a-f\s]{64}(?=\n)", "", text)
    assert digests == 1
    put_part(sandbox, "traveller8", whole.replace(first["id"], "another"))
    assert [row["state"] for row in listing(sandbox, "list", "-u", user)] == [
        "incomplete", "held"]
    assert len(maildir_messages(sandbox.collect("traveller8"))) == 1
