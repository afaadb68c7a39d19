#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Change one octet of a held message's file, anywhere in it.

usage: flips.py [--quick] [--flips N] [--seed N] [--minutes M] [--workers W]
                [--format sdbox|maildir] [--build BUILD] [--keep] [--control]

After each change the client signs in. It gets the message as it was sent (the
octet did not matter), or nothing: then the message is held, `doveadm restante
list` shows that it stays, and the log says why. Then the octet is put back, and
the client gets the message, once; where Dovecot has made the file anew
meanwhile, the message is removed by hand.

--flips N  so many changes, at random octets (1000; --quick: 40)
--control  change the client's copy as well: this must be found
"""
import argparse
import contextlib
import os
import pathlib
import random
import subprocess
import sys
import threading
import time

import judge
import peers
import rig

HANGS = 20          # seconds that one sign-in may take
SIZE = 1500
STAYS = ("is damaged and stays", "is incomplete and stays",
         "has no valid envelope and stays", "cannot be read and stays")


class Work:
    def __init__(self, flips, deadline):
        self.lock = threading.Lock()
        self.left = flips
        self.deadline = deadline
        self.counts = {"flips": 0, "unharmed": 0, "stayed": 0, "healed": 0,
                       "removed": 0}
        self.violations = []

    def take(self):
        with self.lock:
            if self.left == 0 or time.monotonic() > self.deadline:
                return False
            self.left -= 1
            self.counts["flips"] += 1
            return True

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def violation(self, text):
        with self.lock:
            self.violations.append(text)
            if len(self.violations) <= 20:
                rig.say("VIOLATION", text)


class Traveller:
    def __init__(self, box, number, options):
        self.box = box
        self.user = f"f{number}@{rig.DOMAIN}"
        self.draw = random.Random(options.seed * 1009 + number)
        self.ledger = judge.Ledger(options.seed * 1009 + number)
        self.log = box.dir / "log" / f"client-{number}.log"
        self.maildir = box.dir / f"f{number}"
        self.hold = box.dir / "mail" / self.user / "restante"
        self.files = 0
        self.control = options.control

    def message_file(self):
        """The one file of the hold that has the message."""
        files = [path for pattern in ("**/dbox-Mails/u.*", ".Held/new/*",
                                      ".Held/cur/*")
                 for path in self.hold.glob(pattern)
                 if not path.name.endswith(".broken")]
        return files[0] if len(files) == 1 else None

    def stored(self):
        new = self.maildir / "new"
        return len(os.listdir(new)) if new.is_dir() else 0

    def collect(self):
        return peers.collect(self.box, self.user, self.maildir, HANGS,
                             log=self.log)

    def states(self):
        """The states that the operator is shown; None: there was an error."""
        result = self.box.doveadm("-f", "tab", "restante", "list", "-u",
                                  self.user, check=False)
        if result.returncode != 0:
            return None
        rows = [line.split("\t") for line in result.stdout.splitlines()]
        if not rows:
            return []
        column = rows[0].index("state")
        return [row[column] for row in rows[1:]]

    def is_logged(self, since):
        text = self.box.log("dovecot")[since:]
        return any(self.user in line and any(word in line for word in STAYS)
                   for line in text.splitlines())

    def comes_to_log(self, since):
        """At the next sign-in, where the connection of an earlier one has had
        the lock."""
        for _ in range(3):
            if self.is_logged(since):
                return True
            self.collect()
        return False

    def remove(self):
        """By hand, as an operator would."""
        for _ in range(3):
            self.box.doveadm("restante", "release", "-u", self.user, "--all",
                             check=False)
            self.box.doveadm_hold("expunge", "-u", self.user, "mailbox",
                                  "Held", "all", check=False)
            if self.states() == []:
                return
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(["rm", "-r", self.hold], check=True)

    def flip(self, work):
        letter = peers.letter(self.ledger, self.user, SIZE)
        if peers.deliver(self.box, self.ledger, letter) != 250:
            raise SystemExit(f"{self.user}: nothing can be delivered")
        path = self.message_file()
        if path is None:
            raise SystemExit(f"{self.user}: no message file in {self.hold}")
        octets = path.read_bytes()
        at = self.draw.randrange(len(octets))
        by = self.draw.randrange(1, 256)
        what = f"{self.user}: {path.name} octet {at} of {len(octets)}, " \
               f"{octets[at]:#x} -> {octets[at] ^ by:#x}"
        since = len(self.box.log("dovecot"))
        changed = octets[:at] + bytes([octets[at] ^ by]) + octets[at + 1:]
        self.put(path, at, octets[at] ^ by)
        self.collect()
        if self.stored() == self.files + 1:
            self.files += 1
            work.count("unharmed")
            if self.states() != []:
                work.violation(f"{what}: at the client, and held")
                self.remove()
            return
        self.judge_stayed(work, what, since)
        path = self.message_file()      # a flag is in its name
        if path is not None and path.read_bytes() == changed:
            self.put(path, at, octets[at])
        self.collect()
        if self.stored() == self.files + 1:
            self.files += 1
            work.count("healed")
        else:
            work.count("removed")
            self.ledger.letters[letter.token].accepted.clear()
        self.remove()

    def judge_stayed(self, work, what, since):
        states = self.states()
        if self.stored() != self.files:
            work.violation(f"{what}: {self.stored() - self.files} copies")
            self.files = self.stored()
        elif states is not None and not all(
                state in ("damaged", "incomplete") for state in states):
            work.violation(f"{what}: shown as {states}")
        elif states == []:
            work.violation(f"{what}: not held any more")
        elif states is not None and not self.comes_to_log(since):
            work.violation(f"{what}: not in the log")
        else:
            work.count("stayed")

    @staticmethod
    def put(path, at, octet):
        with open(path, "r+b") as file:
            file.seek(at)
            file.write(bytes([octet]))

    def run(self, work):
        try:
            while work.take():
                self.flip(work)
        except BaseException as error:
            work.violation(f"{self.user}: {error!r}")
            raise

    def judge(self):
        if self.control:
            path = next((self.maildir / "new").iterdir())
            path.write_bytes(path.read_bytes().replace(b"e", b"E"))
        copies = judge.maildir_copies(self.maildir, self.user)
        return judge.judge(self.ledger, copies)


def run(box, options):
    travellers = [Traveller(box, n, options) for n in range(options.workers)]
    work = Work(options.flips, time.monotonic() + options.minutes * 60)
    threads = [threading.Thread(target=traveller.run, args=(work,))
               for traveller in travellers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = judge.Verdict()
    for traveller in travellers:
        verdict += traveller.judge()
    rig.say(verdict)
    if verdict.bad:
        rig.say(verdict.details())
    bad = len(work.violations) + verdict.bad
    rig.say(f"{options.format}: " + ", ".join(
        f"{count} {what}" for what, count in work.counts.items()) +
        f", {bad} violations")
    if work.left:
        rig.say(f"TIME IS UP, {work.left} flips were not made")
    return bad


def main():
    parser = argparse.ArgumentParser(
        usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--flips", type=int)
    parser.add_argument("--seed", type=int,
                        default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--format", choices=("sdbox", "maildir"),
                        default="sdbox")
    parser.add_argument("--build", default=str(rig.BUILD))
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--control", action="store_true")
    options = parser.parse_args()
    options.flips = options.flips or (40 if options.quick else 1000)
    rig.end_on_signals()
    rig.say(f"seed {options.seed}")
    with rig.directory(options.keep) as path:
        with rig.TestBed(path / "s", "--build", options.build, "--format",
                         options.format) as box:
            peers.add_users(box, [f"f{n}@{rig.DOMAIN}"
                                  for n in range(options.workers)])
            bad = run(box, options)
    if options.control:
        rig.say("control: failed as it must" if bad else
                "CONTROL PASSED: a changed copy was not found")
        return 0 if bad else 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
