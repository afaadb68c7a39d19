#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Two machines of one user in a tug of war during one drain.

Each machine has its own Maildir, and a slow line, so that a session moves a few
messages before the other machine takes over. A machine mostly dials when it was
sent away, and sometimes at once, dropping its old session. At the end every
message must be in at least one Maildir, and none twice in the same one. The
number of messages in both Maildirs is printed: it must not exceed the number of
acknowledgements that policyd missed when the sessions ended.

usage: tests/crash/tug.py [--letters N] [--takeovers N] [--seed N] [--format F]
           [--quick] [--keep]
"""
import argparse
import collections
import random
import re
import selectors
import signal
import socket
import sys
import threading
import time

import judge
import rig

USER = "traveller0"
OCTETS_A_SECOND = 300000
AT_ONCE = 0.25      # of the takeovers: by a machine that was not sent away yet
SMALL = 16384       # of what a line may hold that is not at its end yet


class SlowLine(threading.Thread):
    """Passes connections on, and limits the speed from the server."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.ending = False

    @property
    def server(self):
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self):
        while not self.ending:
            for key, _ in self.selector.select(0.2):
                if key.fileobj is self.listener:
                    self.accept()
                elif key.fileobj.fileno() >= 0:     # closed in this turn
                    self.pass_on(key.fileobj, *key.data)

    def accept(self):
        client, _ = self.listener.accept()
        try:
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            server.connect(("127.0.0.1", self.port))
        except OSError:
            client.close()
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(client, selectors.EVENT_READ, (server, False))
        self.selector.register(server, selectors.EVENT_READ, (client, True))

    def pass_on(self, end, other, slow):
        try:
            octets = end.recv(4096)
            if octets:
                other.sendall(octets)
        except OSError:
            octets = b""
        if not octets:
            for one in (end, other):
                self.selector.unregister(one)
                one.close()
        elif slow:
            time.sleep(len(octets) / OCTETS_A_SECOND)


class Machine:
    """A client with its Maildir and its line."""

    def __init__(self, bed, name):
        self.line = SlowLine(int(bed.env["TLS_PORT"]))
        self.line.start()
        # the last --server counts
        self.client = bed.client(USER, bed.dir / name, "--server",
                                 self.line.server)

    @property
    def maildir(self):
        return self.client.maildir

    def start(self):
        if not wait_sign_in(self, 0, 20):
            raise OSError(f"no sign-in: {self.client.log_path}")
        return self

    def dial(self):
        """Also while it waits after it was sent away."""
        self.client.process.send_signal(signal.SIGUSR1)

    def sign_ins(self):
        return self.client.log_path.read_text().count("info: signed in")

    def is_away(self):
        says = re.findall("info: signed in|sent away|lost connection",
                          self.client.log_path.read_text())
        return bool(says) and says[-1] != "info: signed in"


def hold(bed, ledger, count, rng):
    for _ in range(count):
        letter = ledger.letter(rig.address(USER),
                               rng.choice((2000, 8000, 20000, 40000)))
        bed.send(letter.recipients, letter.octets)
        ledger.accept(letter)
    bed.wait_held(USER, count, 60)
    rig.say(f"{count} letters held")


def wait_sign_in(machine, before, seconds=5):
    end = time.monotonic() + seconds
    while machine.sign_ins() <= before:
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def wait_away(machine, seconds=8):
    end = time.monotonic() + seconds
    while not machine.is_away() and time.monotonic() < end:
        time.sleep(0.005)


def tug(bed, machines, takeovers, rng):
    """@return (takeovers, of these during the drain, sign-ins that failed)"""
    done = during = failed = 0
    turn = 0
    while done < takeovers and failed < 5:
        machine = machines[turn]
        if done > 0 and rng.random() >= AT_ONCE:
            wait_away(machine)
        before = machine.sign_ins()
        machine.dial()
        if not wait_sign_in(machine, before):
            failed += 1
            continue
        done += 1
        time.sleep(rng.uniform(0, 0.15))
        if done % 10 == 0 and bed.held(USER):
            during = done
        turn = 1 - turn
    return done, during, failed


def drain(bed, machine, seconds=60):
    """One of them stays."""
    machine.dial()
    end = time.monotonic() + seconds
    while bed.held(USER) and time.monotonic() < end:
        time.sleep(0.2)


def missed(bed, machines):
    """End the sessions.

    @return (acknowledgements that policyd missed, in how many sessions)
    """
    for machine in machines:
        machine.client.kill()
    bed.stop("policyd")
    counts = [int(n) for n in re.findall(r" session closed: .* unsettled=(\d+)",
                                         bed.log("policyd"))]
    return sum(counts), sum(1 for n in counts if n > 0)


def judge_both(ledger, machines):
    """@return (violations, in both)"""
    name = rig.address(USER)
    seen = []
    total = judge.Verdict()
    for machine in machines:
        copies = judge.maildir_copies(machine.maildir, name)
        seen.append(collections.Counter(copy.token for copy in copies))
        one = judge.judge(ledger, copies)
        one.lost = []               # may be at the other one
        rig.say(f"{machine.maildir.name}: {one}")
        total += one
    both = [t for t in seen[0] if t in seen[1]]
    total.lost = [(t, name, "") for t in ledger.letters
                  if t not in seen[0] and t not in seen[1]]
    return total, both


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--letters", type=int, default=500)
    parser.add_argument("--takeovers", type=int, default=100)
    parser.add_argument("--seed", type=int,
                        default=random.SystemRandom().getrandbits(31))
    parser.add_argument("--format", choices=rig.FORMATS, default="sdbox")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    rig.end_on_signals()
    if args.quick:
        args.letters, args.takeovers = 250, 50
    rig.say(f"tug of war, seed {args.seed}")
    rng = random.Random(args.seed)
    ledger = judge.Ledger(rng.getrandbits(32))
    with rig.directory(args.keep) as tmp, \
            rig.TestBed(tmp / "s", "--format", args.format) as bed:
        hold(bed, ledger, args.letters, rng)
        began = time.monotonic()
        machines = [Machine(bed, name).start() for name in ("one", "two")]
        done, during, failed = tug(bed, machines, args.takeovers, rng)
        drain(bed, machines[0])
        took = time.monotonic() - began
        waiting = len(bed.held(USER))
        inbox = judge.imap_copies(bed.env["IMAP_PORT"], rig.address(USER),
                                  bed.password)
        unsettled, sessions = missed(bed, machines)
        verdict, both = judge_both(ledger, machines)
        for machine in machines:
            machine.line.ending = True
    rig.say(f"{done} takeovers, {during} or more of them while letters were "
            f"waiting, {failed} sign-ins failed, {took:.0f} s")
    rig.say(f"both: {verdict}; still held {waiting}, in INBOX {len(inbox)}, "
            f"in both Maildirs {len(both)}, acknowledgements missed at most "
            f"{unsettled}, in {sessions} sessions")
    if verdict.bad:
        rig.say(verdict.details())
    good = not (verdict.bad or waiting or inbox or done < args.takeovers or
                len(both) > unsettled)
    rig.say("tug of war:", "ok" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
