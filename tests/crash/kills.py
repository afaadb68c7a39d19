#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Random kills under load: nothing lost, twice, altered or at somebody else.

Mail comes in by SMTP for several users: some are signed in, some sign in and
out with the kills, some never sign in, one is not enrolled. Meanwhile SIGKILL
goes to a random one of Dovecot's lmtp, lmtp-release and restante-hold, policyd's
core and workers, the clients, Postfix's lmtp and its queue manager. At the end
all programs are started again, the hold is drained, and all copies are judged.

Mail of users who are not enrolled is Dovecot's alone: it is judged as well, but
second copies of it are only counted. With --plain nobody is enrolled: the same
kills hit Postfix and Dovecot without Restante, for comparison.

usage: tests/crash/kills.py [--kills N | --minutes M] [--rate KILLS_A_SECOND]
           [--seed N] [--format F] [--plain] [--control] [--quick] [--keep]
--format: sdbox (without it), maildir or mdbox: of the hold and of INBOX
--control: deliveries that know no duplicates, which must show twice
"""
import argparse
import collections
import contextlib
import os
import random
import signal
import smtplib
import subprocess
import sys
import threading
import time

import judge
import rig

PROGRAMS = ("lmtp", "lmtp-release", "restante-hold", "policyd-core",
            "policyd-worker", "restante", "postfix-lmtp", "qmgr")
# those whose death makes Postfix deliver again
DELIVERY_PROGRAMS = ("lmtp", "postfix-lmtp", "qmgr")
CONTROL_KILLS = 150     # of these about one in fifty shows a letter twice
CONTROL_TRIES = 4
NO_DEDUP = "plugin {\n  restante_test_no_dedup = yes\n}\n"
STAY = tuple(f"traveller{n}" for n in range(4))
FALLBACK = ("traveller5", "traveller6")
LATER = ("traveller7",)         # waits all the time, is called for at the end
PLAIN = ("resident",)
EVERYBODY = STAY + FALLBACK + LATER + PLAIN
SIZES = (500, 900, 2000, 5000, 20000, 90000)
LETTERS_A_SECOND = 40
POSTFIX = """\
service_throttle_time = 1s
transport_retry_time = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
"""


class Sender(threading.Thread):
    """An MTA: sends a letter again until it has a 250 for it."""

    def __init__(self, run, seed):
        super().__init__(daemon=True)
        self.run_ = run
        self.rng = random.Random(seed)

    def run(self):
        while not self.run_.ending:
            time.sleep(self.rng.expovariate(LETTERS_A_SECOND / 4))
            count = self.rng.choices((1, 2, 3), weights=(8, 1, 1))[0]
            recipients = [rig.address(u)
                          for u in self.rng.sample(EVERYBODY, count)]
            if self.rng.random() < 0.1:
                recipients[0] = recipients[0].replace("@", "+list@")
            size = self.rng.choices(SIZES, weights=(6, 6, 6, 4, 2, 1))[0]
            with self.run_.lock:
                letter = self.run_.ledger.letter(recipients, size)
            self.deliver(letter)

    def deliver(self, letter):
        for _ in range(50):
            try:
                with smtplib.SMTP("127.0.0.1", self.run_.port,
                                  timeout=60) as smtp:
                    smtp.ehlo("remote.test")
                    self.send(smtp, letter)
                return
            except (OSError, smtplib.SMTPException) as error:
                self.run_.failures.append(error)
                time.sleep(0.5)

    def send(self, smtp, letter):
        for code, text in (smtp.mail(letter.sender),
                           *map(smtp.rcpt, letter.recipients),
                           smtp.data(letter.octets)):
            if code != 250:
                raise smtplib.SMTPResponseException(code, text)
        with self.run_.lock:
            self.run_.ledger.accept(letter)


class Clients(threading.Thread):
    """Starts again what was killed, as systemd does."""

    def __init__(self, run, users):
        super().__init__(daemon=True)
        self.run_ = run
        self.bed = run.bed
        self.maildirs = {user: self.bed.dir / f"at-{user}" for user in users}
        self.clients = {}
        self.ending = False

    def run(self):
        while not self.ending:
            self.revive()
            time.sleep(0.1)

    def revive(self):
        for user, maildir in self.maildirs.items():
            client = self.clients.get(user)
            if client is not None and client.process.poll() is None:
                continue
            if client is not None:
                client.log.close()
                self.bed.clients.remove(client)
            self.clients[user] = self.bed.client(user, maildir)
        with self.run_.core:
            core = self.bed.masters().get("policyd")
            if core is None or not rig.tree([core], str(self.bed.dir)):
                # killed again before it was up: the next turn does it
                with contextlib.suppress(subprocess.CalledProcessError):
                    self.bed.start("policyd")

    def places(self):
        """{user: its Maildirs}"""
        return {rig.address(user): [maildir]
                for user, maildir in self.maildirs.items()}


class Run:
    def __init__(self, args, bed):
        self.args = args
        self.bed = bed
        self.port = int(bed.env["SMTP_PORT"])
        self.rng = random.Random(args.seed)
        self.ledger = judge.Ledger(self.rng.getrandbits(32))
        self.lock = threading.Lock()
        self.core = threading.Lock()    # policyd is being started
        self.failures = []
        self.ending = False
        self.killed = collections.Counter()
        self.clients = Clients(self, () if args.plain else STAY)

    # -- killing

    def victim(self):
        """A random process of a random program that runs now."""
        processes = self.bed.processes()
        programs = DELIVERY_PROGRAMS if self.args.control else PROGRAMS
        by_name = collections.defaultdict(list)
        for process in processes:
            if process.name in programs:
                by_name[process.name].append(process)
        if not by_name:
            return None
        return self.rng.choice(by_name[self.rng.choice(sorted(by_name))])

    def kill_all_the_while(self):
        end = time.monotonic() + self.args.minutes * 60 \
            if self.args.minutes else None
        kills = 0
        while (time.monotonic() < end) if end else (kills < self.args.kills):
            time.sleep(min(2, self.rng.expovariate(self.args.rate)))
            process = self.victim()
            if process is None:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
                self.killed[process.name] += 1
                kills += 1

    def load(self):
        """Letters and kills at the same time."""
        senders = [Sender(self, self.rng.getrandbits(32)) for _ in range(4)]
        self.clients.start()
        for sender in senders:
            sender.start()
        time.sleep(1)
        try:
            self.kill_all_the_while()
            time.sleep(0.5)
        finally:
            self.ending = True
            for sender in senders:
                sender.join(90)

    # -- afterwards

    def until(self, what, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                rig.say(f"not within {seconds} s: {what}")
                return
            time.sleep(0.2)

    def queue_empty(self):
        if not judge.queue_copies(self.bed.dir / "postfix" / "spool"):
            return True
        subprocess.run(["postqueue", "-c", self.bed.env["POSTFIX_ETC"], "-f"],
                       check=False, timeout=60, stdin=subprocess.DEVNULL)
        time.sleep(1)
        return False

    def none_held(self, users):
        return not any(self.bed.held(user) for user in users)

    def drain(self):
        self.until("Postfix's queue is empty", self.queue_empty)
        for client in self.clients.clients.values():
            client.process.send_signal(signal.SIGUSR1)
        if self.args.plain:
            return
        self.until("the clients are drained", lambda: self.none_held(STAY))
        self.clients.ending = True
        self.clients.join(30)
        for user in LATER:
            maildir = self.bed.dir / f"at-{user}"
            self.clients.maildirs[user] = maildir
            self.bed.collect(user, maildir)
        self.bed.doveadm("restante", "release", "-A", "--all", check=False)
        self.until("all is released",
                   lambda: self.none_held(STAY + FALLBACK + LATER), 20)

    def judge(self):
        copies = judge.everywhere(self.bed, self.clients.places(),
                                  map(rig.address, EVERYBODY))
        return judge.judge(self.ledger, copies)


def report(run, verdict, seconds):
    """@return how many violations are ours"""
    plain = set(map(rig.address, EVERYBODY if run.args.plain else PLAIN))
    theirs = [item for item in verdict.twice if item[1] in plain]
    verdict.twice = [item for item in verdict.twice if item[1] not in plain]
    kills = ", ".join(f"{name} {run.killed[name]}" for name in PROGRAMS
                      if run.killed[name])
    rig.say(f"{run.killed.total()} kills: {kills}")
    accepted = sum(len(x.accepted) for x in run.ledger.letters.values())
    rig.say(f"{len(run.ledger.letters)} letters, {accepted} copies answered "
            f"250, {len(run.failures)} tries of the senders failed "
            f"({seconds:.0f} s)")
    rig.say(f"{'plain' if run.args.plain else 'restante'}: {verdict}")
    rig.say(f"users who are not enrolled: twice {len(theirs)}")
    if verdict.bad and not run.args.control:
        rig.say(verdict.details())
    return verdict


def once(args):
    """@return good"""
    began = time.monotonic()
    rig.say(f"kills{' --plain' if args.plain else ''}, {args.format}, "
            f"seed {args.seed}")
    users = {user: "userdb_restante_hold_time=2s" for user in FALLBACK}
    if args.plain:
        users = {user: None for user in EVERYBODY}
    with rig.directory(args.keep) as tmp, \
            rig.TestBed(tmp / "s", "--format", args.format,
                        postfix=POSTFIX, users=users,
                        dovecot=NO_DEDUP if args.control else "") as bed:
        run = Run(args, bed)
        try:
            run.load()
            run.drain()
        finally:
            run.clients.ending = True
            if run.clients.is_alive():
                run.clients.join(30)
        verdict = report(run, run.judge(), time.monotonic() - began)
        if args.keep:
            run.ledger.save(tmp / "ledger.json")
    if args.control:
        if not verdict.twice:
            rig.say("control: no letter came twice, so this proves nothing")
            return False
        rig.say(f"control: failed as it must ({len(verdict.twice)} twice)")
        return True
    return verdict.bad == 0


def control(args):
    """What must show, but not with each seed. @return whether it did"""
    for _ in range(CONTROL_TRIES):
        if once(args):
            return True
        args.seed += 1
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--rate", type=float, default=4)
    parser.add_argument("--seed", type=int,
                        default=random.SystemRandom().getrandbits(31))
    parser.add_argument("--format", choices=rig.FORMATS, default="sdbox")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--quick", action="store_true",
                        help="about a minute, with a control and --plain")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    rig.end_on_signals()
    if args.quick:
        args.kills, args.minutes = 60, None
        if args.control:
            args.kills = CONTROL_KILLS
    good = control(args) if args.control else once(args)
    if args.quick and not args.control:
        args.plain, args.kills = True, 40
        good = once(args) and good
        args.plain, args.control, args.kills = False, True, CONTROL_KILLS
        good = control(args) and good
    rig.say("kills:", "ok" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
