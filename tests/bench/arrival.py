#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The cost of an arrival: one LMTP delivery after the other, each durable.

A message of 4 KB for a hold that has 100, 1,000 and 20,000 messages; and for one
that is empty, as that of a client is that is signed in: then the entry in the
holders directory is made for each message. Beside it, in turns, plain LMTP
delivery of the same into a mailbox with as many messages.

With --tree and --beside the same for another version in the same run: its
source tree, and its build.

usage: arrival.py BUILD [--quick] [--counts N,N] [--json FILE]
                  [--tree TREE --beside BUILD]
"""
import concurrent.futures
import email.utils
import itertools
import pathlib
import smtplib
import socket
import statistics
import time

from server import (DOMAIN, SENDER, Sandbox, directory, end_on_signals,
                    parse_arguments, rounded, write_json)

import conftest  # its directory is known to server.py

OCTETS = 4096
COUNTS = (100, 1000, 20_000)
QUICK_COUNTS = (100, 1000)
BLOCK = 20          # messages at a time, in turns
BLOCKS = 15
FILLERS = 4         # connections
# nothing else may happen in between
DOVECOT = ("service lmtp {\n  process_min_avail = 1\n  service_count = 0\n"
           "  client_limit = 1\n}\n")


class Server:
    """A sandbox with one connection to its LMTP."""

    def __init__(self, name, path, build):
        self.name = name
        extra = pathlib.Path(f"{path}.dovecot")
        extra.write_text(DOVECOT)
        self.sandbox = Sandbox(path, "--build", build, "--extra-dovecot",
                               extra)
        for part in ("postfix", "policyd"):     # policyd would look at it
            self.sandbox.stop(part)
        self.numbers = itertools.count(1)

    def connect(self):
        return smtplib.LMTP(str(self.sandbox.dir / "run" / "lmtp.sock"))

    def message(self):
        number = next(self.numbers)
        head = (f"Received: from x by y (Postfix) with ESMTP id "
                f"{number:010X}; {email.utils.formatdate()}\r\n"
                f"From: {SENDER}\r\nSubject: {number}\r\n\r\n")
        line = "x" * 74 + "\r\n"
        return head + line * ((OCTETS - len(head)) // len(line))

    def deliver(self, user, count):
        """@return seconds of each"""
        took = []
        with self.connect() as lmtp:
            lmtp.ehlo("mx.example.test")
            for _ in range(count):
                message = self.message()
                start = time.monotonic()
                lmtp.sendmail(SENDER, [f"{user}@{DOMAIN}"], message)
                took.append(time.monotonic() - start)
        return took

    def fill(self, user, count):
        each = -(-count // FILLERS)
        with concurrent.futures.ThreadPoolExecutor(FILLERS) as pool:
            list(pool.map(lambda _: self.deliver(user, each),
                          range(FILLERS)))

    def deliver_to_empty(self, user, count):
        took = []
        for _ in range(count):
            took += self.deliver(user, 1)
            self.empty(user)
        return took

    def empty(self, user):
        """As a drain does."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            sock.connect(str(self.sandbox.dir / "run" / "hold.sock"))
            sock.sendall(f"VERSION\trestante-hold\t1\t0\nUSER\t{user}@{DOMAIN}"
                         "\nDRAIN\n".encode())
            with sock.makefile("rb") as file:
                ids = []
                while not (line := file.readline()).startswith(b"END\t"):
                    assert line, "restante-hold has closed the connection"
                    fields = line.rstrip(b"\n").split(b"\t")
                    if fields[0] == b"MSG":
                        ids.append(fields[2])
                        file.read(int(fields[3]))
                sock.sendall(b"".join(b"ACK\t" + i + b"\n" for i in ids) +
                             b"BYE\n")
                while file.readline():
                    pass
        assert ids

    def down(self):
        self.sandbox.down()


def in_turns(ways, blocks):
    """@param ways {name: function(count) -> seconds of each}"""
    took = {name: [] for name in ways}
    for turn in range(blocks + 1):
        for name in sorted(ways, reverse=turn % 2 == 1):
            seconds = ways[name](BLOCK)
            if turn > 0:        # the first ones only warm up
                took[name] += seconds
    return {name: 1000 * statistics.median(some)
            for name, some in took.items()}


def row(what, medians):
    plain = medians["plain"]
    print(f"{what:>12}: " + ", ".join(
        f"{name} {ms:.2f} ms ({ms / plain:.2f} x)"
        for name, ms in medians.items()), flush=True)
    return {"holds": what, "ms": medians}


def measure(servers, quick, counts):
    rows = []
    first = servers[0]
    blocks = 4 if quick else BLOCKS
    ways = {server.name: lambda n, s=server: s.deliver_to_empty(
        "traveller1", n) for server in servers}
    ways["plain"] = lambda n: first.deliver("resident", n)
    rows.append(row("nothing", in_turns(ways, blocks)))
    before = {}
    for count in counts or (QUICK_COUNTS if quick else COUNTS):
        ways = {server.name: lambda n, s=server: s.deliver("traveller0", n)
                for server in servers}
        ways["plain"] = lambda n: first.deliver("resident", n)
        for server in servers:
            for user in ("traveller0", "resident"):
                have = before.get((server, user), 0)
                if user == "traveller0" or server is first:
                    server.fill(user, max(0, count - have))
                before[server, user] = count
        rows.append(row(str(count), in_turns(ways, blocks)))
    return rounded({"arrival": rows}, 3)


def main():
    arguments = parse_arguments(
        __doc__, tree=pathlib.Path, beside=str,
        counts=lambda text: [int(one) for one in text.split(",")])
    end_on_signals()
    servers = []
    with directory() as scratch:
        try:
            servers.append(Server("held", scratch / "s0", arguments.build))
            if arguments.beside:
                conftest.SANDBOX = (arguments.tree.resolve() / "packaging" /
                                    "sandbox")
                servers.append(Server("beside", scratch / "s1",
                                      arguments.beside))
            result = measure(servers, arguments.quick, arguments.counts)
        finally:
            for server in servers:
                server.down()
    write_json(result, arguments.json)


if __name__ == "__main__":
    main()
