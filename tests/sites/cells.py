# SPDX-License-Identifier: MIT
"""What must hold at each site.

Each cell is a generator. It does a part up to each yield, and then the other
cells do theirs, so that hold times pass for all of them together. A cell that
raises AssertionError is red.
"""
import subprocess
import time

from bed import (SANDBOX, SHORT_SECONDS, below_trace, maildir_messages, same,
                 wait_for)
from userdbs import ENROLLED


def held(site, user, what):
    """Hold one message. The resident's copy is there to compare with."""
    subject = site.mail(what, user, "resident")
    site.wait_held(user, 1)
    site.no_copy(user, subject)
    return subject


def like_residents(site, user, subject):
    """The message is in the user's mailbox, once, with the octets that the
    resident's copy has."""
    same(site.one_copy(user, subject), site.one_copy("resident", subject))


def sleep_until(when):
    time.sleep(max(0, when - time.monotonic()))


# -- the cells

def hold(site):
    """Mail for an enrolled user is held, and is in no mailbox."""
    site.first = held(site, "traveller0", "hold")
    if site.row.extra:
        site.row.extra(site)
    yield


def push(site):
    """The client gets held mail, and new mail while it is signed in."""
    subject = getattr(site, "first", None)
    assert subject, "nothing was held"
    stored = maildir_messages(
        site.collect(site.address_of("traveller0")))
    assert len(stored) == 1, f"{len(stored)} messages at the client"
    same(stored[0], site.one_copy("resident", subject))
    site.wait_held("traveller0", 0)
    client = site.client(site.address_of("traveller1"))
    wait_for("a client that waits for mail",
             lambda: client.said("signed in"))
    subject = site.mail("online", "traveller1", "resident")
    stored = wait_for("the client's copy",
                      lambda: maildir_messages(client.maildir), 10)
    same(stored[0], site.one_copy("resident", subject))
    site.wait_held("traveller1", 0)
    client.kill(15)
    yield


def again(site):
    """Postfix delivers a message again when it did not hear the answer. It is
    held once, also when it has left the hold by then."""
    subject = site.mail("again", "resident")
    octets = below_trace(site.one_copy("resident", subject))
    for _ in range(2):
        site.row.hop(site, "traveller5", octets)
    try:
        site.wait_held("traveller5", 1)
    finally:
        site.collect(site.address_of("traveller5"))
    site.row.hop(site, "traveller5", octets)
    site.wait_held("traveller5", 0)
    site.no_copy("traveller5", subject)
    yield


def fall_back(site):
    """Mail goes to the mailbox when its time is over: also where policyd was
    down when the mail came in, and heard of it from nobody."""
    subject = site.mail("due", "traveller2", "resident")
    yield
    like_residents(site, "traveller2", subject)
    site.wait_held("traveller2", 0)
    site.stop("policyd")
    try:
        unheard = held(site, "traveller2", "unheard-of")
        due = time.monotonic() + SHORT_SECONDS + 0.2
        yield
        sleep_until(due)
    finally:
        site.start("policyd")
    like_residents(site, "traveller2", unheard)
    site.wait_held("traveller2", 0)


def resident(site):
    """Somebody who is not enrolled does not notice that we are there."""
    began = time.monotonic()
    subject = site.mail("resident", "resident")
    site.one_copy("resident", subject)
    took = time.monotonic() - began
    assert took < 5, f"the mail took {took:.1f} s"
    names = site.doveadm("mailbox", "list", "-u",
                         site.login("resident")).stdout.split("\n")
    assert not any(name.startswith("Restante") for name in names), names
    answer = site.doveadm("restante", "status", "-u", site.login("resident"),
                          check=False).stderr
    assert "is not enrolled" in answer, answer
    ours = [str(path) for path in (site.dir / "mail").rglob("*")
            if "restante" in path.name and "resident" in str(path)]
    assert not ours, f"made for somebody who is not enrolled: {ours}"
    yield


def unenrol(site):
    """Who is taken off the list gets what is held, at its time or when the
    operator says so, and new mail at once."""
    yield
    by_time = held(site, "traveller3", "unenrolled")
    by_hand = held(site, "traveller4", "unenrolled")
    site.users.unenrol(site, "traveller3", "traveller4")
    site.wait_held("traveller3", 1)
    yield
    for user in ("traveller3", "traveller4"):
        like_residents(site, user, site.mail("ordinary", user, "resident"))
    site.doveadm("restante", "release", "-u", site.login("traveller4"), "--all")
    like_residents(site, "traveller4", by_hand)
    site.wait_held("traveller4", 0)
    like_residents(site, "traveller3", by_time)
    site.wait_held("traveller3", 0)


def unload(site):
    """The plugin goes, with mail on hold. It is not lost; and by the documented
    way out it is in the mailbox before the plugin goes."""
    yield
    yield
    yield
    users = ("traveller5", "traveller6")
    subjects = {user: held(site, user, "unloaded") for user in users}
    reload_dovecot(site, "unload")
    for user in users:
        like_residents(site, user, site.mail("without", user, "resident"))
        site.no_copy(user, subjects[user])
        seen = site.subjects_in_hold(user)
        assert subjects[user] in seen, f"Dovecot sees in the hold: {seen!r}"
    reload_dovecot(site, "load")
    for user in users:
        site.wait_held(user, 1)
    way_out(site)
    reload_dovecot(site, "unload")
    for user, subject in subjects.items():
        like_residents(site, user, subject)
        like_residents(site, user, site.mail("without", user, "resident"))


def way_out(site):
    """As restante-plugin(7) has it, under "The way out"."""
    site.users.unenrol(site, *ENROLLED)
    site.doveadm("restante", "release", "-A", "--all")
    left = who_holds(site)
    assert not left, f"still held after the way out: {left}"


def who_holds(site):
    """As the holders directory has it, which needs no list of users."""
    answer = site.doveadm("-f", "tab", "restante", "status", "-A", check=False)
    assert answer.returncode == 0, (
        f"status -A: {answer.stderr.strip()[-300:]}")
    return [line.split("\t")[0] for line in answer.stdout.splitlines()[1:]]


def reload_dovecot(site, command):
    subprocess.run([SANDBOX, command, site.dir], check=True, timeout=60)


CELLS = {"hold": hold, "push": push, "again": again, "fall back": fall_back,
         "resident": resident, "unenrol": unenrol, "unload": unload}

# the order in which the parts of the cells are done
ORDER = ("fall back", "unenrol", "hold", "push", "again", "resident", "unload")
