#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Many users with held mail: the cost for one who drains, and for the machine.

First policyd is told by entries, as the plugin makes them, that 1,000, then
100,000 users have held mail. With both, in turns, this script measures: a drain
of 200 real messages for one more user, from the client's start to its end; the
CPU of all policyd processes while nothing is due; and the core's memory for each
user.

Then 1,000, and 10,000 users have a real hold with one message in it (copies of
one that was delivered): the duration of policyd's walk over all of them, which
makes their entries, with the CPU of each part.

Then mail of 1,000 of 100,000 users falls due while policyd is away, and the
userdb cannot list its users (static: everybody is one). The others have a home,
and an entry that says that nothing is held any more, as after a client that has
collected all. policyd is started; the time until all of it is in the mailboxes,
with the CPU of each part.

Last, "doveadm restante status -A" where 20 of 1,000, and of 10,000, users have
held mail; beside it the same command for all users (-u '*'), which does without
the entries.

usage: due.py BUILD [--quick] [--json FILE] [--only overdue]
"""
import os
import pathlib
import smtplib
import statistics
import subprocess
import time

from idle import add_users, children, policyd, pss
from server import (DOMAIN, SENDER, Sandbox, directory, dovecot_conf,
                    end_on_signals, letters, parse_arguments, rounded,
                    wait_exactly, write_json)

COUNTS = (1000, 100_000)
FEW = 20
OVERDUE = (1000, 100_000)
OVERDUE_QUICK = (100, 1000)
MESSAGES = 200
DAY = 24 * 3600


def cpu(pids):
    """seconds, finer than clock ticks"""
    return sum(int(pathlib.Path(f"/proc/{pid}/schedstat").read_text()
                   .split()[0]) for pid in pids) / 1e9


def dovecot(sandbox):
    """CPU of Dovecot's processes, by name and pid."""
    master = int((sandbox.dir / "run/dovecot/master.pid").read_text())
    return {(pathlib.Path(f"/proc/{pid}/comm").read_text().strip(), pid):
            cpu([pid]) for pid in children(master)}


# ---- what policyd is told

def note_all(sandbox, count):
    """u0 ... hold something for two weeks to come"""
    due = int(time.time()) + 14 * DAY
    for n in range(count):
        path = f"{sandbox.env['HOLDERS_DIR']}/u{n}@{DOMAIN}"
        with open(path, "w", encoding="ascii") as file:
            file.write(f"{due + n % DAY:020}\n")
        os.utime(path)


def forget_all(sandbox):
    """All entries, and that there was a walk"""
    for path in pathlib.Path(sandbox.env["HOLDERS_DIR"]).iterdir():
        path.unlink()


def settled(pids):
    """Until what they were told has been dealt with."""
    before = -1
    while (now := cpu(pids)) - before > .001:
        before = now
        time.sleep(.5)


# ---- one user among many

def load(sandbox, user, messages):
    with sandbox.smtp() as smtp:
        for message in messages:
            smtp.sendmail(SENDER, f"{user}@{DOMAIN}", message)
    sandbox.wait_held(user, len(messages), 120)


def drain(sandbox, user):
    """@return seconds, and those of CPU of policyd"""
    pids = policyd(sandbox)
    spent, start = cpu(pids), time.monotonic()
    client = sandbox.client(user, None, "--once")
    status = wait_exactly(client.process, 60)
    seconds = time.monotonic() - start
    assert status == 0, client.log_path.read_text()[-3000:]
    client.kill()
    return seconds, cpu(pids) - spent


class Told:
    """A sandbox whose policyd was told of count users."""

    def __init__(self, sandbox, count):
        self.sandbox, self.count, self.drains = sandbox, count, []
        core = policyd(sandbox)[0]
        before = pss([core])
        note_all(sandbox, count)
        settled([core])
        self.kib_each = (pss([core]) - before) / count

    def drain(self, mail):
        load(self.sandbox, "traveller0", mail)
        self.drains.append(drain(self.sandbox, "traveller0"))

    def row(self):
        took = [one[0] for one in self.drains]
        return {"holding": self.count, "messages": MESSAGES,
                "drains": len(took),
                "drain_seconds": statistics.median(took),
                "drain_seconds_best": min(took),
                "drain_policyd_cpu_ms": 1000 * statistics.median(
                    one[1] for one in self.drains),
                "core_kib_each": self.kib_each}


def idle_cpu(tolds, seconds):
    """@return ms in half a minute for each"""
    pids = [policyd(told.sandbox) for told in tolds]
    for some in pids:
        settled(some)
    before = [cpu(some) for some in pids]
    time.sleep(seconds)
    return [(cpu(some) - spent) / seconds * 30_000
            for some, spent in zip(pids, before)]


def among_many(sandboxes, quick):
    """In turns, as a machine that is busy with others changes its pace. The
    first ones only warm up."""
    mail = letters(MESSAGES)
    tolds = [Told(*pair) for pair in zip(sandboxes, COUNTS)]
    for told in tolds:
        told.drain(mail)
        told.drains.clear()
    for turn in range(3 if quick else 21):
        for told in tolds if turn % 2 else tolds[::-1]:
            told.drain(mail)
    spent = idle_cpu(tolds, 3 if quick else 30)
    for told, idle in zip(tolds, spent):
        yield dict(told.row(), idle_cpu_ms_in_30_s=idle)


# ---- real holds

def copy_holds(sandbox, user, first, last):
    """u{first} ... get the hold of user, file by file"""
    mail = sandbox.dir / "mail"
    source = mail / f"{user}@{DOMAIN}"
    owner = source.stat()
    tree = [(os.path.relpath(path, source),
             [(name, pathlib.Path(path, name).read_bytes()) for name in files
              if name != "restante.owner"])
            for path, _, files in os.walk(source)]
    for n in range(first, last):
        for place, files in tree:
            target = os.path.normpath(mail / f"u{n}@{DOMAIN}" / place)
            # who was looked at may have a home already
            os.makedirs(target, 0o700, exist_ok=True)
            os.chown(target, owner.st_uid, owner.st_gid)
            for name, octets in files:
                fd = os.open(f"{target}/{name}",
                             os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
                os.write(fd, octets)
                os.fchown(fd, owner.st_uid, owner.st_gid)
                os.close(fd)


def walk(sandbox, accounts):
    """policyd is started, and knows of nobody: it walks."""
    forget_all(sandbox)
    said = sandbox.log("policyd").count("walk over the holds done")
    before = dovecot(sandbox)
    start = time.monotonic()
    sandbox.start("policyd")
    while sandbox.log("policyd").count("walk over the holds done") == said:
        assert time.monotonic() < start + 600, "the walk does not end"
        time.sleep(.05)
    seconds = time.monotonic() - start
    after = dovecot(sandbox)
    core = policyd(sandbox)[0]
    row = {"accounts": accounts, "seconds": seconds,
           "policyd_cpu_ms": cpu([core]) * 1000}
    for service in ("restante-hold", "auth"):
        row[service + "_cpu_ms"] = 1000 * sum(
            spent - before.get(key, 0) for key, spent in after.items()
            if key[0] == service)
    line = [line for line in sandbox.log("policyd").splitlines()
            if "walk over the holds done" in line][-1]
    row["holding"] = int(line.rpartition("timetable=")[2])
    return row


class Accounts:
    """Users of a sandbox, and how many of them hold a message."""

    def __init__(self, sandbox):
        self.sandbox, self.holding = sandbox, 0
        self.users = sandbox.dir / "dovecot" / "users"
        self.template = self.users.read_text()
        sandbox.send_simple("traveller1", "walk")
        sandbox.wait_held("traveller1", 1)

    def set(self, count, holding):
        """Dovecot sees at once a change of its users only after a restart.
        @return how many users there are"""
        self.sandbox.stop("dovecot")
        self.users.write_text(self.template)
        add_users(self.sandbox, count)
        copy_holds(self.sandbox, "traveller1", self.holding, holding)
        self.holding = max(self.holding, holding)
        self.sandbox.start("dovecot")
        return count + len(self.template.splitlines())


def walks(accounts, counts):
    for count in counts:
        row = walk(accounts.sandbox, accounts.set(count, count))
        accounts.sandbox.stop("policyd")
        yield row


def status(sandbox, *whom):
    """@return median of seconds, and how many lines"""
    took = []
    for _ in range(3):
        start = time.monotonic()
        done = subprocess.run(
            [sandbox.bin("doveadm"), "-f", "tab", "restante", "status", *whom],
            check=True, capture_output=True, text=True, timeout=600)
        took.append(time.monotonic() - start)
        assert done.stderr == "", done.stderr
    return statistics.median(took), len(done.stdout.splitlines()) - 1


def statuses(accounts, counts):
    """Few hold something, of more and more users."""
    sandbox = accounts.sandbox
    for count in counts:
        row = {"accounts": accounts.set(count, FEW)}
        row["holding"] = walk(sandbox, row["accounts"])["holding"]
        for name, whom in (("status", ("-A",)), ("all", ("-u", "*"))):
            row[name + "_seconds"], row[name + "_lines"] = status(sandbox,
                                                                  *whom)
        assert row["status_lines"] == row["holding"], row
        sandbox.stop("policyd")
        yield row


# ---- mail that fell due while policyd was away

STATIC = """userdb {{
  driver = static
  args = uid=mail gid=mail home={}/mail/%u restante=yes allow_all_users=yes
}}
"""


def everybody(sandbox):
    """userdb static"""
    path = sandbox.dir / "dovecot" / "auth.conf"
    passdb, _ = path.read_text().split("\nuserdb ")
    sandbox.stop("dovecot")
    path.write_text(passdb + "\n" + dovecot_conf.conf(STATIC.format(sandbox.dir)))
    sandbox.start("dovecot")


def add_others(sandbox, users, first):
    """They have collected what was held."""
    homes = sandbox.dir / "mail"
    owner = homes.stat()
    for user in users:
        home = homes / user
        home.mkdir()
        os.chown(home, owner.st_uid, owner.st_gid)
        entry = pathlib.Path(sandbox.env["HOLDERS_DIR"], user)
        entry.write_text("0\n")
        os.chown(entry, first.st_uid, first.st_gid)


def overdue(scratch, build, count, among):
    sandbox = Sandbox(scratch / "overdue", "--build", build, "--hold-time",
                      "1")
    holders = [f"u{n * (among // count)}@{DOMAIN}" for n in range(count)]
    others = {f"u{n}@{DOMAIN}" for n in range(among)} - set(holders)
    try:
        sandbox.stop("policyd")
        everybody(sandbox)
        forget_all(sandbox)
        with smtplib.LMTP(str(sandbox.dir / "run" / "lmtp.sock")) as lmtp:
            for user in holders:
                lmtp.sendmail(SENDER, [user],
                              f"Subject: {user}\r\n\r\ndue\r\n")
        add_others(sandbox, others, pathlib.Path(
            sandbox.env["HOLDERS_DIR"], holders[0]).stat())
        time.sleep(2)
        row = {"accounts": among, **deliver_overdue(sandbox, count)}
        show_overdue(row)
        in_mailboxes(sandbox, holders)
        return row
    finally:
        sandbox.down()


def in_mailboxes(sandbox, users):
    """Each has one message, and nobody holds any."""
    names = sandbox.dir / "users-overdue"
    names.write_text("".join(f"{user}\n" for user in users))
    answer = sandbox.doveadm("-f", "tab", "mailbox", "status", "-F", names,
                             "messages", "INBOX").stdout.splitlines()[1:]
    found = sorted(line.split("\t")[0:1] + line.split("\t")[-1:]
                   for line in answer)
    assert found == sorted([user, "1"] for user in users), found[:20]
    held = sandbox.doveadm("-f", "tab", "restante",
                           "status", "-A").stdout.splitlines()[1:]
    assert held == [], held[:3]


def deliver_overdue(sandbox, count):
    before, start = dovecot(sandbox), time.monotonic()
    sandbox.start("policyd")
    while sandbox.log("dovecot").count("delivered to the mailbox") < count:
        assert time.monotonic() < start + 600, "not all of it is delivered"
        time.sleep(.05)
    row = {"overdue": count, "seconds": time.monotonic() - start,
           "policyd_cpu_ms": cpu([policyd(sandbox)[0]]) * 1000}
    after = dovecot(sandbox)
    for service in ("restante-hold", "lmtp", "auth"):
        row[service + "_cpu_ms"] = 1000 * sum(
            spent - before.get(key, 0) for key, spent in after.items()
            if key[0] == service)
    return row


# ---- all

def show_overdue(row):
    print(f"{row['overdue']:7} of {row['accounts']} users' mail is overdue, "
          f"userdb static: "
          f"{row['seconds']:.1f} s, CPU of policyd's core "
          f"{row['policyd_cpu_ms']:.0f} ms, restante-hold "
          f"{row['restante-hold_cpu_ms']:.0f}, lmtp-release "
          f"{row['lmtp_cpu_ms']:.0f}, auth {row['auth_cpu_ms']:.0f}",
          flush=True)


def show_one(row):
    print(f"{row['holding']:7} hold mail: {row['messages']} messages drained "
          f"in {row['drain_seconds'] * 1000:5.0f} ms (best "
          f"{row['drain_seconds_best'] * 1000:.0f}, CPU of policyd "
          f"{row['drain_policyd_cpu_ms']:.0f}), nothing due "
          f"{row['idle_cpu_ms_in_30_s']:5.1f} ms of CPU in 30 s, "
          f"{row['core_kib_each'] * 1024:4.0f} octets each", flush=True)


def show_walk(row):
    print(f"{row['holding']:7} of {row['accounts']} hold mail: walk "
          f"{row['seconds']:5.1f} s, CPU of restante-hold "
          f"{row['restante-hold_cpu_ms']:.0f} ms, auth "
          f"{row['auth_cpu_ms']:.0f}, policyd {row['policyd_cpu_ms']:.0f}",
          flush=True)


def show_status(row):
    print(f"{row['holding']:7} of {row['accounts']} hold mail: doveadm "
          f"restante status -A {row['status_seconds'] * 1000:6.0f} ms, "
          f"-u '*' {row['all_seconds'] * 1000:6.0f} ms", flush=True)


def measure(sandboxes, quick):
    one, shown, whole = [], [], []
    counts = (1000,) if quick else (1000, 10_000)
    for row in among_many(sandboxes, quick):
        show_one(row)
        one.append(row)
    few, many = one
    print(f"drain: {many['drain_seconds'] / few['drain_seconds']:.2f} x the "
          f"time; load of the machine {os.getloadavg()[0]:.1f}")
    sandbox = sandboxes[0]
    sandbox.stop("policyd")
    accounts = Accounts(sandbox)
    for row in statuses(accounts, counts):
        show_status(row)
        shown.append(row)
    for row in walks(accounts, () if quick else counts):
        show_walk(row)
        whole.append(row)
    return rounded({"many_holds": one, "status": shown, "walk": whole}, 4)


def all_overdue(scratch, arguments):
    row = overdue(scratch, arguments.build,
                  *(OVERDUE_QUICK if arguments.quick else OVERDUE))
    return rounded(row, 4)


def main():
    arguments = parse_arguments(__doc__, only=str)
    end_on_signals()
    if arguments.only is not None:
        assert arguments.only == "overdue", arguments.only
        with directory() as scratch:
            write_json(all_overdue(scratch, arguments), arguments.json)
        return
    sandboxes = []
    with directory() as scratch:
        try:
            for n in range(len(COUNTS)):
                sandboxes.append(Sandbox(scratch / f"s{n}", "--build",
                                         arguments.build))
            result = measure(sandboxes, arguments.quick)
            result["overdue"] = all_overdue(scratch, arguments)
        finally:
            for sandbox in sandboxes:
                sandbox.down()
    write_json(result, arguments.json)


if __name__ == "__main__":
    main()
