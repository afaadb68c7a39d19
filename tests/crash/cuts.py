#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Cut the connection between client and policyd after every octet.

usage: cuts.py [--quick] [--seed N] [--minutes M] [--workers W]
               [--first N] [--format F] [--build BUILD] [--keep]

A relay passes exactly N octets in one direction, and then ends both
connections: for every N of the whole TLS connection, in both directions, over
the push of a message of 2 KiB and of one of 70 KiB. After each cut the message
must be at the client, or in the hold, or both. Then the client signs in again,
after which it must have the message once.

--quick    a sample of the offsets, with a seeded start
--format F sdbox (without it), maildir or mdbox: of the hold and of INBOX
--first N  leave out the offsets below N, which an earlier run has tried
"""
import argparse
import contextlib
import os
import random
import selectors
import socket
import sys
import threading
import time

import judge
import peers
import rig

HANGS = 10          # seconds that one sign-in may take
SIZES = (2048, 70 * 1024)
DIRECTIONS = ("from the client", "to the client")
# a connection may be some octets longer than the one that was measured
SLACK = 24
NEVER = 1 << 40


class Relay:
    """One connection at a time, on a port of its own."""

    def __init__(self, port):
        self.target = ("127.0.0.1", int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.limits = [NEVER, NEVER]
        self.passed = [0, 0]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def set(self, direction, octets):
        self.limits = [NEVER, NEVER]
        self.limits[direction] = octets
        self.passed = [0, 0]

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)

    def _serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                with socket.create_connection(self.target, 10) as server:
                    self._pass(client, server)

    def _pass(self, client, server):
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, (0, server))
            selector.register(server, selectors.EVENT_READ, (1, client))
            while not any(self.passed[n] >= self.limits[n] for n in (0, 1)):
                for key, _ in selector.select(HANGS):
                    direction, target = key.data
                    room = self.limits[direction] - self.passed[direction]
                    octets = key.fileobj.recv(min(65536, room)) if room else b""
                    if not octets:
                        return
                    target.sendall(octets)
                    self.passed[direction] += len(octets)
        self._end(client, server)

    @staticmethod
    def _end(client, server):
        """An orderly end of TCP: a reset might take octets back that have
        been passed on."""
        for sock in (client, server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
        for sock in (client, server):
            sock.settimeout(2)
            with contextlib.suppress(OSError):
                while sock.recv(65536):
                    pass


class Work:
    """The cuts that are still to be made, and what came of them."""

    def __init__(self, deadline):
        self.deadline = deadline
        self.lock = threading.Lock()
        self.todo = []
        self.cuts = 0
        self.stored = 0     # ... after which the client came again
        self.slow = 0       # ... sign-ins that took a second or more
        self.violations = []

    def take(self):
        with self.lock:
            if not self.todo or time.monotonic() > self.deadline:
                return None
            return self.todo.pop()

    def violation(self, text):
        with self.lock:
            self.violations.append(text)
            if len(self.violations) <= 40:
                rig.say("VIOLATION", text)


class Traveller:
    """A user, and a thread that makes cuts with it."""

    def __init__(self, box, number, seed):
        self.box = box
        self.user = f"c{number}@{rig.DOMAIN}"
        self.ledger = judge.Ledger(seed * 1009 + number)
        self.relay = Relay(box.env["TLS_PORT"])
        self.log = box.dir / "log" / f"client-{number}.log"
        self.maildir = box.dir / f"c{number}"
        self.waiting = None     # the size of the letter that is held
        self.files = 0          # in the Maildir, as they should be

    def ready(self, size):
        """A letter of this size is held, and nothing else is."""
        if self.waiting == size:
            return
        if self.waiting is not None:
            self.settle("the other size")
        letter = peers.letter(self.ledger, self.user, size)
        if peers.deliver(self.box, self.ledger, letter) != 250:
            raise SystemExit(f"{self.user}: nothing can be delivered")
        self.waiting = size

    def collect(self, port=None):
        return peers.collect(self.box, self.user, self.maildir, HANGS, port,
                             log=self.log)

    def stored(self):
        new = self.maildir / "new"
        return len(os.listdir(new)) if new.is_dir() else 0

    def settle(self, what):
        """The client comes, uncut, until nothing is held.
        @return what was wrong, or None"""
        end = time.monotonic() + 20
        while True:
            status = self.collect()
            held = peers.held(self.box, self.user)
            if status == 0 and held == 0:
                break
            if time.monotonic() > end:
                return f"{what}: status {status}, {held} held"
        wrong = None
        if self.stored() != self.files + 1:
            wrong = f"{what}: {self.stored() - self.files} copies"
        self.files = self.stored()
        self.waiting = None
        return wrong

    def measure(self, size):
        self.ready(size)
        self.relay.set(0, NEVER)
        if self.collect(self.relay.port) != 0:
            raise SystemExit(f"a push through the relay fails, see {self.log}")
        passed = list(self.relay.passed)
        wrong = self.settle("without a cut")
        if wrong:
            raise SystemExit(wrong)
        return passed

    def cut(self, work, size, direction, octets):
        self.ready(size)
        self.relay.set(direction, octets)
        begin = time.monotonic()
        status = self.collect(self.relay.port)
        what = f"{self.user}, {size} octets, cut {DIRECTIONS[direction]} " \
               f"after {octets}"
        with work.lock:
            work.cuts += 1
            work.slow += time.monotonic() - begin >= 1
        if status is None:
            work.violation(f"{what}: the client hangs")
        if status != 0 and self.stored() == self.files:
            return          # it is held still: for the next cut
        with work.lock:
            work.stored += 1
        wrong = self.settle(what)
        if wrong:
            work.violation(wrong)

    def run(self, work):
        try:
            while (cut := work.take()) is not None:
                self.cut(work, *cut)
            if self.waiting is not None:
                wrong = self.settle("at the end")
                if wrong:
                    work.violation(wrong)
        except BaseException as error:
            work.violation(f"{self.user}: {error!r}")
            raise

    def judge(self):
        copies = judge.everywhere(self.box, {self.user: [self.maildir]})
        return judge.judge(self.ledger, copies)


def offsets(first, length, step, draw):
    return range(first + draw.randrange(step), length + SLACK, step)


def run(box, options, deadline):
    travellers = [Traveller(box, n, options.seed)
                  for n in range(options.workers)]
    draw = random.Random(options.seed)
    violations = cuts = 0
    verdict = judge.Verdict()
    try:
        for size in SIZES:
            step = 1
            if options.quick:
                step = 11 if size == SIZES[0] else 97
            passed = travellers[0].measure(size)
            for direction in (0, 1):
                work = Work(deadline)
                work.todo = [(size, direction, n) for n in
                             offsets(options.first, passed[direction],
                                     step, draw)]
                total = len(work.todo)
                work.todo.reverse()
                run_all(travellers, work)
                note = "" if work.cuts == total else \
                    f", TIME IS UP, {total} wanted"
                rig.say(f"{size:6} octets, {DIRECTIONS[direction]:15}: "
                        f"{passed[direction]:6} octets, {work.cuts:6} cuts "
                        f"(step {step}), {work.stored:6} with the message "
                        f"stored, {work.slow} slow, "
                        f"{len(work.violations)} violations{note}")
                cuts += work.cuts
                violations += len(work.violations)
        for traveller in travellers:
            verdict += traveller.judge()
    finally:
        for traveller in travellers:
            traveller.relay.close()
    rig.say(verdict)
    if verdict.bad:
        rig.say(verdict.details())
    rig.say(f"cuts: {cuts} cuts, {violations + verdict.bad} violations")
    return 1 if violations + verdict.bad else 0


def run_all(travellers, work):
    threads = [threading.Thread(target=traveller.run, args=(work,))
               for traveller in travellers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main():
    parser = argparse.ArgumentParser(
        usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int,
                        default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--format", choices=rig.FORMATS, default="sdbox")
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--build", default=str(rig.BUILD))
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    rig.end_on_signals()
    rig.say(f"seed {options.seed}")
    deadline = time.monotonic() + options.minutes * 60
    with rig.directory(options.keep) as path:
        with rig.TestBed(path / "s", "--build", options.build, "--format",
                         options.format) as box:
            peers.add_users(box, [f"c{n}@{rig.DOMAIN}"
                                  for n in range(options.workers)])
            return run(box, options, deadline)


if __name__ == "__main__":
    sys.exit(main())
