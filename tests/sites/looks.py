# SPDX-License-Identifier: MIT
"""What a row looks at besides the cells that all rows have.

These run with the cell "hold", in the site's own way of sending. Users
traveller7 to traveller9 are theirs.
"""
import re
import subprocess

from bed import maildir_messages, same, wait_for


def pushed(site, user, count=1):
    """Collect all that is held for a user."""
    stored = maildir_messages(site.collect(site.address_of(user)))
    assert len(stored) == count, f"{len(stored)} messages, not {count}"
    site.wait_held(user, 0)
    return stored


def subject_of(message):
    head = message.split(b"\n\n")[0].split(b"\n")
    return next(line[9:].decode() for line in head
                if line.startswith(b"Subject: "))


# -- domains and addresses

def other_domain(site):
    """The names of another domain are other people."""
    for domain in site.row.domains[1:]:
        subject = site.mail("other", f"traveller8@{domain}",
                            f"resident@{domain}")
        site.wait_held(f"traveller8@{domain}", 1)
        message, = pushed(site, f"traveller8@{domain}")
        same(message, site.one_copy(f"resident@{domain}", subject))
        site.no_copy("resident", subject)
    site.wait_held("traveller8", 0)


def held_so_far(site, user):
    """How many messages are held, once Postfix has none on its way: a copy for
    somebody else may come later than the mail that another cell waited for."""
    taken = re.compile(r"cleanup\[\d+\]: (\w+): message-id=")
    gone = re.compile(r"qmgr\[\d+\]: (\w+): removed")

    def idle():
        log = site.log("postfix")
        return set(taken.findall(log)) <= set(gone.findall(log))
    wait_for("Postfix to deliver all that it has", idle)
    return site.held_subjects(user)


def bcc(site):
    """Who is enrolled and gets a copy of everything has it held."""
    before = held_so_far(site, "traveller9")
    subject = site.mail("bcc", "resident")
    site.wait_held("traveller9", before + 1)
    stored = [message for message in pushed(site, "traveller9", before + 1)
              if subject_of(message) == subject]
    assert len(stored) == 1, f"{len(stored)} copies"
    same(stored[0], site.one_copy("resident", subject))


def recipient_bcc(site):
    before = held_so_far(site, "traveller9")
    subject = site.mail("bcc", "traveller8")
    site.one_copy("resident", subject)
    site.wait_held("traveller8", 1)
    message, = pushed(site, "traveller8")
    assert subject_of(message) == subject
    # the bcc of a bcc is not asked for
    site.wait_held("traveller9", before)
    subject = site.mail("bcc", "resident")
    site.wait_held("traveller9", before + 1)
    assert subject in [subject_of(message) for message in
                       pushed(site, "traveller9", before + 1)]


def aliases(site):
    subject = site.mail("alias", "everybody", "traveller7")
    copy = site.one_copy("resident", subject)
    for user in ("traveller7", "traveller8"):
        site.wait_held(user, 1)
        message, = pushed(site, user)
        same(message, copy)


def catch_all(site):
    subject = site.mail("anything", "no-such-name")
    site.wait_held("traveller9", 1)
    message, = pushed(site, "traveller9")
    assert subject_of(message) == subject


def delimiters(site):
    subjects = [site.mail("detail", f"traveller7{mark}lists")
                for mark in "+-"]
    site.wait_held("traveller7", 2)
    assert sorted(subject_of(message) for message in
                  pushed(site, "traveller7", 2)) == sorted(subjects)
    for mark in "+-":
        site.one_copy("resident", site.mail("detail", f"resident{mark}lists"))


def unknown_user(site):
    """Somebody who does not exist is refused, and not by a returned message."""
    with site.smtp() as smtp:
        smtp.ehlo("remote.test")
        smtp.mail("sender@remote.test")
        code, text = smtp.rcpt(f"no-such-name@{site.domain}")
    assert code == 550, (code, text)
    assert returned(site) == 0


def detail(site):
    """Held mail for user+box falls back into the mailbox box."""
    subject = site.mail("detail", "traveller7+lists", "resident+lists")
    copy = site.one_copy("resident", subject, "lists")
    site.wait_held("traveller7", 1)
    site.doveadm("restante", "release", "-u", site.login("traveller7"), "--all")
    same(site.one_copy("traveller7", subject, "lists"), copy)
    site.no_copy("traveller7", subject)


def due_again(site):
    """A second message falls due in its time, too, soon after the first."""
    for _ in range(2):
        site.one_copy("traveller9", site.mail("due", "traveller9"))


# -- storage

def attachment(site):
    """A large attachment comes out of the hold whole."""
    subject = site.tag("attachment")
    part = b"\r\n".join([b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlq"
                         b"a2xtbm9wcXJzdHV2d3h5"] * 400)
    site.send([site.address_of(user) for user in ("traveller7", "resident")],
              f"From: a@remote.test\r\nSubject: {subject}\r\n".encode()
              + b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; "
              b"boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n"
              b"Content-Type: application/octet-stream\r\n"
              b"Content-Disposition: attachment\r\n"
              b"Content-Transfer-Encoding: base64\r\n\r\n"
              + part + b"\r\n--b--\r\n")
    site.wait_held("traveller7", 1)
    message, = pushed(site, "traveller7")
    same(message, site.one_copy("resident", subject))


def nothing_expunged(site):
    """A message that has left the hold is not kept by lazy_expunge."""
    site.mail("lazy", "traveller7")
    site.wait_held("traveller7", 1)
    pushed(site, "traveller7")
    names = site.doveadm("mailbox", "list", "-u",
                         site.login("traveller7")).stdout.split()
    for name in names:
        if "Expunged" in name:
            status = site.doveadm("mailbox", "status", "-u",
                                  site.login("traveller7"), "messages", name)
            assert "messages=0" in status.stdout, status.stdout


# -- quota: 40 KB; a message has 4 KB, and 15 of them have 60

LARGE = (b"x" * 70 + b"\r\n") * 140


def send_large(site, user):
    subject = site.tag("large")
    site.send(site.address_of(user), f"From: a@remote.test\r\n"
              f"Subject: {subject}\r\n\r\n".encode() + LARGE)
    return subject


def full(site):
    """Mail that Postfix has taken is never returned: neither when the hold has
    more than the quota, nor when the mailbox is full."""
    subjects = [send_large(site, "traveller7") for _ in range(8)]
    wait_for_queue(site, "traveller7", len(subjects))
    held = site.held_subjects("traveller7")
    assert held == len(subjects), (
        f"{held} of {len(subjects)} held, of 10 KB each, with a quota of 40 KB;"
        f" {returned(site)} returned")
    # some of these fit the mailbox; the rest stays held
    site.doveadm("restante", "release", "-u", site.login("traveller7"), "--all",
                 check=False)
    in_box = sum(len(site.copies("traveller7", subject))
                 for subject in subjects)
    held = site.held_subjects("traveller7")
    assert in_box >= 2 and in_box + held == len(subjects), (in_box, held)
    send_large(site, "traveller7")
    wait_for_queue(site, "traveller7", len(subjects) + 1)
    assert site.held_subjects("traveller7") == held + 1
    assert returned(site) == 0, f"{returned(site)} returned"
    pushed(site, "traveller7", held + 1)


def both_full(site):
    """The hold has reached its own cap, and the mailbox its quota. What has no
    room in either is refused at RCPT or waits in Postfix's queue."""
    subjects = []
    try:
        for sent in range(1, 13):
            subjects.append(send_large(site, "traveller7"))
            wait_for_queue(site, "traveller7", sent)
    except AssertionError as refusal:
        assert "452, b'4.2.2" in str(refusal), refusal
    assert returned(site) == 0, (
        f"{returned(site)} returned of {len(subjects)} messages of 10 KB")
    held, in_box = where(site, subjects)
    waiting = len(subjects) - held - in_box
    assert held and in_box, (held, in_box, waiting)
    # with room in both again, what has waited arrives
    for _ in range(3):
        pushed(site, "traveller7", held)
        site.doveadm("expunge", "-u", site.login("traveller7"), "mailbox",
                     "INBOX", "all")
        if not waiting:
            return
        flush_queue(site)
        wait_for("more to arrive", lambda: sum(where(site, subjects)) >= min(
            waiting, 4))
        held, in_box = where(site, subjects)
        waiting -= held + in_box
    assert not waiting, f"{waiting} still wait"


def where(site, subjects):
    """How many of these are held, and how many in the mailbox."""
    return site.held_subjects("traveller7"), sum(
        len(site.copies("traveller7", subject)) for subject in subjects)


def returned(site):
    """How many messages Postfix has returned."""
    return site.log("postfix").count("status=bounced")


def flush_queue(site):
    """Postfix tries all that waits, and looks for what sendmail(1) left."""
    subprocess.run(["postqueue", "-c", site.env["POSTFIX_ETC"], "-f"],
                   check=True, stderr=subprocess.DEVNULL)


def wait_for_queue(site, user, count):
    """Until Postfix has delivered or returned so many messages, or has tried
    and waits."""
    pattern = re.compile(
        rf": ([0-9A-F]+): to=<{site.address_of(user)}>.*status=")
    wait_for("Postfix to try all mail", lambda: len(
        set(pattern.findall(site.log("postfix")))) >= count)


def lmtp_dies(site):
    """Each delivery and each look at a mailbox kills Dovecot's processes."""
    site.mail("fatal", "resident")
    wait_for("lmtp's death",
             lambda: "service(lmtp): child" in site.log("dovecot"))
    assert "killed with signal 11" in site.log("dovecot")


# -- SMTPUTF8

def say(site, *recipients, sender="sender@remote.test", options=" SMTPUTF8",
        subject=None):
    """One message with UTF-8 in its header.

    Return the reply to each RCPT, and the subject."""
    subject = subject or site.tag("gr\u00fc\u00dfe")
    with site.smtp() as smtp:
        smtp.command_encoding = "utf-8"
        smtp.ehlo("remote.test")
        code, text = smtp.docmd("MAIL", f"FROM:<{sender}>{options}")
        assert code == 250, (code, text)
        replies = [smtp.docmd("RCPT", f"TO:<{recipient}>")
                   for recipient in recipients]
        if all(code == 250 for code, _ in replies):
            code, text = smtp.data(
                f"From: <{sender}>\r\nSubject: {subject}\r\n\r\n"
                f"J\u00fcrgen\r\n".encode())
            assert code == 250, (code, text)
    return replies, subject


def smtputf8(site):
    """What Dovecot can take arrives; what it cannot take Postfix refuses."""
    both = [site.address_of(user) for user in ("traveller7", "resident")]
    for sender in ("sender@remote.test", "j\u00fcrgen@remote.test",
                   "j\u00fcrgen@b\u00fccher.test"):
        _, subject = say(site, *both, sender=sender)
        copy = site.one_copy("resident", subject)
        site.wait_held("traveller7", 1)
        message, = pushed(site, "traveller7")
        same(message, copy)
        assert f"Return-Path: <{sender}>\n".encode() in message, message[:200]
        _, subject = say(site, *both, sender=sender)
        site.wait_held("traveller7", 1)
        site.doveadm("restante", "release", "-u", site.login("traveller7"),
                     "--all")
        same(site.one_copy("traveller7", subject),
             site.one_copy("resident", subject))
    refused_at_rcpt(site)
    # as cron and other programs of the server itself send
    subject = site.tag("gr\u00fc\u00dfe")
    subprocess.run(
        ["/usr/sbin/sendmail", "-C", site.env["POSTFIX_ETC"], *both],
        check=True, stderr=subprocess.DEVNULL, input=(
            f"From: a@remote.test\nSubject: {subject}\n\nbody\n".encode()))
    flush_queue(site)
    site.one_copy("resident", subject)
    site.wait_held("traveller7", 1)


def refused_at_rcpt(site):
    for recipient in (f"j\u00fcrgen@{site.domain}",
                      "resident@b\u00fccher.test"):
        for options in (" SMTPUTF8", ""):
            (reply,), _ = say(site, recipient, options=options)
            assert 500 <= reply[0] < 600, reply
            assert not options or reply[1].startswith(b"5.6.7 "), reply
    assert returned(site) == 0, f"{returned(site)} returned"


def no_smtputf8(site):
    """Nothing is offered, and UTF-8 that comes all the same goes through."""
    with site.smtp() as smtp:
        smtp.ehlo("remote.test")
        assert not smtp.has_extn("smtputf8")
    _, subject = say(site, *[site.address_of(user) for user in
                             ("traveller7", "resident")], options="")
    site.wait_held("traveller7", 1)
    message, = pushed(site, "traveller7")
    same(message, site.one_copy("resident", subject))
