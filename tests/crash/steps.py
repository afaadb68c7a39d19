#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Let every durable call of every operation fail, one after the other.

usage: steps.py [--quick] [--seed N] [--minutes M] [--format F|all]
                [--only OPERATION] [--faults FAULT...] [--build BUILD]
                [--control] [--keep] [--verbose]

An operation (an arrival, a push with its acknowledgement, a fallback, a store
at the client) is run with a fault at its 1st, 2nd, ... call that changes the
disk, until it ends without having met the fault. After each run the program that
died is started again, all mail is drained, and each message must be seen exactly
once.

The faults: kill (before the call), torn (killed when half of a write is done),
EIO, ENOSPC (once, in the middle of a write), full (ENOSPC from then on).

--quick    a sample, drawn by the seed, that takes about a minute
--control  without duplicate detection, which must show as a violation
"""
import argparse
import imaplib
import mmap
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import time

import judge
import peers
import rig
from judge import plain_user

KINDS = ("kill", "torn", "EIO", "ENOSPC", "full")
COUNT_ONLY = 0
NEVER = 1 << 30
USERS = 20000
# seconds until everything must be drained: a service whose process was killed
# while it started is started again by Dovecot after 2, 4, ... 60 seconds
HELD_LATER = 90
# seconds until the hold is empty after its last client: where the disk becomes
# full at the worst moment, restante-hold first has to use up its memory (see
# rst_mailbox_expungeable())
EXPUNGED = 20
HANGS = 3           # seconds that one sign-in may take
HERE = pathlib.Path(__file__).resolve().parent


class Orders:
    """The file that tests/crash/fault-preload.c maps."""

    LAYOUT = struct.Struct("=6i32s256s64s256s256s")

    def __init__(self, path):
        path.write_bytes(bytes(mmap.PAGESIZE))
        path.chmod(0o666)
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def arm(self, kind, at, names, prefixes):
        data = self.LAYOUT.pack(
            0, kind, 0, 0, 0, 0, b"", b"",
            b"".join(name.encode() + b" " for name in names),
            *(str(prefix).encode() for prefix in prefixes))
        # `at` arms it: last
        self.map[4:self.LAYOUT.size] = data[4:]
        self.map[0:4] = struct.pack("=i", at)

    def disarm(self):
        self.map[0:4] = bytes(4)

    def look(self):
        """(calls so far, was it hit, which call, of which file)"""
        _, _, count, hit, _, _, call, path, _, _, _ = self.LAYOUT.unpack(
            self.map[:self.LAYOUT.size])
        return (count, bool(hit), call.split(b"\0")[0].decode(),
                path.split(b"\0")[0].decode())


class Bed:
    """A sandbox whose Dovecot has the fault object loaded."""

    def __init__(self, path, preload, arguments, dovecot=""):
        self.path = path
        self.preload = preload
        self.orders_path = path / "orders"
        self.orders = Orders(self.orders_path)
        extra = path / "extra.conf"
        extra.write_text(rig.dovecot_conf.conf(
            "import_environment = $import_environment "
            f"LD_PRELOAD={preload} RESTANTE_FAULT={self.orders_path}\n"
            "service lmtp {\n  process_limit = 4\n}\n" + dovecot))
        self.box = rig.TestBed(path / "s", "--extra-dovecot", extra,
                               *arguments)
        peers.add_users(self.box, map(self.address, range(USERS)))
        self.next_user = 0
        self.locks = 0      # of dead processes, that were broken
        self.ledger = judge.Ledger(0)
        self.end_well()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.orders.disarm()
        self.box.down()

    @staticmethod
    def address(n):
        return f"s{n:05d}@{rig.DOMAIN}"

    def user(self):
        self.next_user += 1
        return self.address(self.next_user - 1)

    def mail(self, user):
        return self.box.dir / "mail" / user

    def end_well(self):
        """One process of each service. Dovecot takes a service for broken of
        which more than ten were killed in a second, and none ended well."""
        user = self.user()
        self.deliver_until_250(self.letter(user, 900))
        self.release_all(user)
        names = {"lmtp", "lmtp-release", "restante-hold"}
        if rig.dovecot_conf.IS_24:
            names.discard("lmtp")       # ends well after each connection
        ended = [process for process in self.box.processes()
                 if process.name in names]
        assert {process.name for process in ended} >= names
        for process in ended:
            os.kill(process.pid, signal.SIGTERM)

    # -- the peers

    def letter(self, user, size):
        return peers.letter(self.ledger, user, size)

    def deliver(self, letter):
        return peers.deliver(self.box, self.ledger, letter)

    def break_locks(self, user):
        """What Dovecot does itself with a lock that was left behind, after 2
        or 3 minutes. Nobody works for this user now."""
        for name in ("*.newlock", "dovecot-uidlist.lock"):
            for path in self.mail(user).rglob(name):
                path.unlink(missing_ok=True)
                self.locks += 1

    def deliver_until_250(self, letter, seconds=HELD_LATER):
        end = time.monotonic() + seconds
        while True:
            self.break_locks(plain_user(letter.recipients[0]))
            code = self.deliver(letter)
            if code == 250:
                return
            if code >= 500:
                raise Violation(f"refused with {code}: a bounce")
            if time.monotonic() > end:
                raise Violation(f"retries in vain, last {code}")
            time.sleep(0.05)

    def collect(self, user, maildir, seconds=HELD_LATER, fault=False):
        """restante register --once. @return its status"""
        env = dict(os.environ)
        if fault:
            env.update(LD_PRELOAD=str(self.preload),
                       RESTANTE_FAULT=str(self.orders_path))
        return peers.collect(self.box, user, maildir, seconds, env=env)

    def release(self, user):
        return peers.release(self.box, user)

    def release_all(self, user):
        end = time.monotonic() + HELD_LATER
        while True:
            self.break_locks(user)
            if self.release(user):
                return
            if time.monotonic() > end:
                raise Violation("fallback: tried again in vain")
            time.sleep(0.05)

    def rest(self, seconds=10):
        """Until the operation has met the fault, or does nothing more."""
        end = time.monotonic() + seconds
        before = None
        while time.monotonic() < end:
            now = self.orders.look()
            if now == before:
                return
            before = now
            time.sleep(0.1)

    # -- the end of a case

    def drain(self, user, maildir):
        """The client comes until nothing is held for it."""
        self.hung = 0
        end = time.monotonic() + HELD_LATER
        while True:
            self.break_locks(user)
            status = self.collect(user, maildir, HANGS)
            left = peers.held(self.box, user)
            if status is None:
                self.hung += 1
            elif status == 0 and left == 0:
                break
            if time.monotonic() > end:
                raise Violation(f"does not drain: client's status {status}, "
                                f"{left} held")
            time.sleep(0.02)
        # one who has nothing yet is shown whatever comes back
        if self.collect(user, f"{maildir}.2", HANGS) != 0:
            raise Violation("a second client gets no end")
        if self.hung > 0:
            raise Violation(f"restante --once hung for {HANGS} s")

    def judge(self, user, maildir):
        # all letters of this case are this user's
        self.break_locks(user)
        end = time.monotonic() + EXPUNGED
        while True:
            copies = judge.everywhere(
                self.box, {user: [maildir, f"{maildir}.2"]})
            verdict = judge.judge(self.ledger, copies)
            # what is taken away when the client has gone already
            if not verdict.waiting or time.monotonic() > end:
                return verdict
            time.sleep(0.2)


class Violation(Exception):
    """Seen before the judge is asked."""


# -- the operations: what goes before, the run with the fault, what follows

class Operation:
    """Subclasses: a name, the programs that meet the fault, and run()."""

    programs = ()
    earlier = 0          # letters that are held before it begins
    size = 900

    def __init__(self, bed):
        self.bed = bed

    def prepare(self, number):
        self.user = self.bed.user()
        self.bed.ledger = judge.Ledger(number)
        self.maildir = self.bed.path / f"m-{self.user}"
        for _ in range(self.earlier):
            self.bed.deliver_until_250(self.bed.letter(self.user, self.size))

    def prefixes(self):
        """Two, of what is cut: the mail storage, and the entries."""
        return self.bed.mail(self.user), self.bed.box.env["HOLDERS_DIR"]

    def run(self):
        raise NotImplementedError

    def follow_up(self):
        """After the fault: what the outside world does by itself."""

    def judge_entry(self):
        """No message is held without an entry; policyd is not asked, as it
        would make it."""
        self.bed.break_locks(self.user)
        listed = self.bed.box.doveadm("-f", "tab", "restante", "list", "-u",
                                      self.user, check=False)
        held = [line for line in listed.stdout.splitlines()[1:]
                if "\theld\t" in line]
        entry = pathlib.Path(self.bed.box.env["HOLDERS_DIR"], self.user)
        if held and (not entry.exists() or entry.stat().st_size == 2):
            raise Violation("held without an entry, or with one that says "
                            "that nothing is")

    def case(self, kind, at, number):
        """@return (orders.look(), Verdict, a Violation's text or None)"""
        bed = self.bed
        problem = None
        verdict = judge.Verdict()
        try:
            self.prepare(number)
            bed.orders.arm(kind, at, self.programs, self.prefixes())
            try:
                self.run()
            finally:
                bed.orders.disarm()
            seen = bed.orders.look()
            self.follow_up()
            self.judge_entry()
            bed.drain(self.user, self.maildir)
            self.judge_entry()
        except Violation as violation:
            bed.orders.disarm()
            seen = bed.orders.look()
            problem = str(violation)
        try:
            verdict = bed.judge(self.user, self.maildir)
        except (OSError, imaplib.IMAP4.error, subprocess.SubprocessError) as e:
            problem = f"{problem or ''}; cannot be judged: {e}"
        return seen, verdict, problem


class Arrival(Operation):
    """Of the first letter ever: the hold is made."""

    name = "arrival, first"
    programs = ("lmtp",)

    def run(self):
        self.letter = self.bed.letter(self.user, self.size)
        self.code = self.bed.deliver(self.letter)
        if self.code >= 500:
            raise Violation(f"refused with {self.code}: a bounce")

    def follow_up(self):
        if self.code != 250:
            self.bed.deliver_until_250(self.letter)


class ArrivalNext(Arrival):
    name = "arrival"
    earlier = 1
    size = 9000


class ArrivalPushed(ArrivalNext):
    """Postfix tries again only when the client has been there."""

    name = "arrival, push, retry"

    def follow_up(self):
        if self.code != 250:
            self.bed.drain(self.user, self.maildir)
        super().follow_up()


class ArrivalReleased(ArrivalNext):
    """Postfix tries again only after the fallback."""

    name = "arrival, fallback, retry"

    def follow_up(self):
        if self.code != 250:
            self.bed.release_all(self.user)
        super().follow_up()


class Push(Operation):
    name = "push"
    programs = ("restante-hold",)
    earlier = 2

    def run(self):
        self.bed.collect(self.user, self.maildir, 2)
        self.bed.rest()


class Fallback(Operation):
    name = "fallback"
    programs = ("restante-hold", "lmtp")
    earlier = 2

    def run(self):
        self.bed.release(self.user)

    def follow_up(self):
        self.bed.release_all(self.user)


class Store(Operation):
    name = "store, first"
    programs = ("restante",)
    earlier = 2

    def prefixes(self):
        return self.maildir, self.maildir

    def run(self):
        self.bed.collect(self.user, self.maildir, 2, fault=True)


class StoreNext(Store):
    name = "store"

    def prepare(self, number):
        super().prepare(number)
        if self.bed.collect(self.user, self.maildir) != 0:
            raise Violation("no push without a fault")
        self.bed.deliver_until_250(self.bed.letter(self.user, 70000))


OPERATIONS = (ArrivalNext, Arrival, ArrivalPushed, ArrivalReleased, Push,
              Fallback, StoreNext, Store)


# -- the runs

class Tally:
    def __init__(self):
        self.cases = 0
        self.calls = 0
        self.violations = 0

    def report(self, operation, kind, at, result):
        (_, hit, call, path), verdict, problem = result
        self.cases += 1
        if problem is None and verdict.bad == 0:
            return
        self.violations += 1
        where = f"at {call} {os.path.basename(path)}" if hit else "(no fault)"
        found = [f"{kind} {len(getattr(verdict, kind))}"
                 for kind in verdict.KINDS if getattr(verdict, kind)]
        if problem:
            found.append(problem)
        rig.say(f"VIOLATION {operation.name}: {kind} {where} (call {at}, "
                f"{operation.user}): {', '.join(found)}")


class Runner:
    def __init__(self, bed, options, deadline, format):
        self.bed = bed
        self.options = options
        self.deadline = deadline
        self.format = format
        self.number = 0

    def time_is_up(self):
        return time.monotonic() > self.deadline

    def case(self, operation, tally, kind, at):
        self.number += 1
        begin = time.monotonic()
        result = operation.case(KINDS.index(kind) + 1, at,
                                self.options.seed * 100003 + self.number)
        tally.report(operation, kind, at, result)
        if self.options.verbose:
            rig.say(f"{time.monotonic() - begin:7.3f} s {operation.name}: "
                    f"{kind} {at} {result[0][1:]} {operation.user}")
        return result

    def calls(self, operation):
        """How many there are without a fault, with the first try for nothing:
        programs that have just been started do more."""
        for _ in range(2):
            self.number += 1
            seen, verdict, problem = operation.case(COUNT_ONLY, NEVER,
                                                    self.number)
            if problem or verdict.bad:
                raise SystemExit(f"{operation.name} fails without a fault: "
                                 f"{problem or verdict}\n{verdict.details()}")
        return seen[0]

    def whole(self, operation, kind, tally):
        """@return whether it came to its end in time"""
        at = misses = 0
        while misses < 2 and at < 1000:
            if self.time_is_up():
                return False
            at += 1
            seen, _, _ = self.case(operation, tally, kind, at)
            misses = 0 if seen[1] else misses + 1
        return True

    def run_whole(self, operations):
        total = Tally()
        for operation in operations:
            tally = Tally()
            tally.calls = self.calls(operation)
            done = all([self.whole(operation, kind, tally) for kind in self.options.faults])
            self.print_row(operation, tally, done)
            total.cases += tally.cases
            total.violations += tally.violations
        return total

    def run_quick(self, operations, seconds):
        draw = random.Random(self.options.seed)
        end = time.monotonic() + seconds
        tallies = {}
        cases = []
        for operation in operations:
            tally = tallies[operation] = Tally()
            tally.calls = self.calls(operation)
            every = [(operation, kind, at) for kind in self.options.faults
                     for at in range(1, tally.calls + 1)]
            draw.shuffle(every)
            # each operation has its share of the time
            cases += [(n / len(every), *case) for n, case in enumerate(every)]
        order = sorted(cases, key=lambda case: case[0])
        for _, operation, kind, at in order:
            if time.monotonic() > end:
                break
            self.case(operation, tallies[operation], kind, at)
        total = Tally()
        for operation, tally in tallies.items():
            self.print_row(operation, tally, None)
            total.cases += tally.cases
            total.violations += tally.violations
        return total

    def print_row(self, operation, tally, done):
        note = {True: "", False: ", TIME IS UP", None: ", sample"}[done]
        rig.say(f"{self.format:8} {operation.name:25} {tally.calls:4} calls "
                f"{tally.cases:5} cases {tally.violations:4} violations{note}")


def build_preload(directory):
    target = directory / "fault.so"
    subprocess.run(["cc", "-std=gnu11", "-O1", "-fPIC", "-shared",
                    "-fvisibility=hidden", "-o", target,
                    HERE / "fault-preload.c", "-ldl"], check=True, timeout=60)
    target.chmod(0o755)
    return target


def run_control(options, deadline):
    with rig.directory(options.keep) as path:
        with Bed(path, build_preload(path), ["--build", options.build],
                 "plugin {\n  restante_test_no_dedup = yes\n}\n") as bed:
            runner = Runner(bed, options, deadline, "sdbox")
            operation = ArrivalNext(bed)
            at = 0
            hit = True
            while hit and not runner.time_is_up():
                at += 1
                seen, verdict, _ = operation.case(1, at, at)
                hit = seen[1]
                if verdict.twice:
                    rig.say(f"control: killed at call {at}: {verdict}")
                    rig.say("control: failed as it must")
                    return 0
    rig.say(f"control: {at} kills without a violation: THE TEST IS BLIND")
    return 1


def run_format(options, deadline, format):
    with rig.directory(options.keep) as path:
        with Bed(path, build_preload(path),
                 ["--build", options.build, "--format", format]) as bed:
            runner = Runner(bed, options, deadline, format)
            operations = [kind(bed) for kind in OPERATIONS
                          if options.only in (None, kind.name)]
            if options.quick:
                total = runner.run_quick(operations, 60)
            else:
                total = runner.run_whole(operations)
            if bed.locks:
                rig.say(f"{format:8} {bed.locks} locks broken that were left "
                        "behind, for which Dovecot waits 2 or 3 minutes")
            return total


def main():
    parser = argparse.ArgumentParser(
        usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int,
                        default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--format", default="sdbox",
                        choices=rig.FORMATS + ("all",))
    parser.add_argument("--only", choices=[x.name for x in OPERATIONS])
    parser.add_argument("--faults", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--build", default=str(rig.BUILD))
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    rig.end_on_signals()
    rig.say(f"seed {options.seed}")
    deadline = time.monotonic() + options.minutes * 60
    if options.control:
        return run_control(options, deadline)
    formats = (rig.FORMATS if options.format == "all" else [options.format])
    cases = violations = 0
    for format in formats:
        total = run_format(options, deadline, format)
        cases += total.cases
        violations += total.violations
    rig.say(f"steps: {cases} cases, {violations} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
