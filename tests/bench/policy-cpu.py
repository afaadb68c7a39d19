#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The CPU of one policy request at policyd's core, and at other servers.

The others are a server that does nothing but read, parse and answer
(policy-floor.c), and postgrey. One program (policy-load.c) asks all of them as Postfix 3.7 does: 29 attributes,
three times at RCPT and once at END-OF-MESSAGE. The servers take turns in several
rounds, and the median counts. With two processors the server has one, and the
program that asks has the other. The figures are user and system time, as the
kernel counts it for the server's process.

usage: policy-cpu.py BUILD [--quick] [--json FILE]
"""
import os
import subprocess

from policy import (DOMAIN, FLOOR, POLICYD, POSTGREY, Rig, floor, median,
                    postgrey)
from server import directory, end_on_signals, parse_arguments, write_json

CONNECTIONS = (10, 100)
RECIPIENTS = {"not enrolled": f"resident@{DOMAIN}",
              "enrolled": f"traveller0@{DOMAIN}"}
WANTED = {"not enrolled": 1.25, "enrolled": 1.5}
POSTGREY_PART = 200     # it is asked so many times less


def requests(server, count):
    return count // POSTGREY_PART if server.name == POSTGREY else count


class Measurement:
    def __init__(self, build, arguments):
        self.load = build + "/tests/bench/policy-load"
        self.count = 20_000 if arguments.quick else 100_000
        self.rounds = 3 if arguments.quick else 7
        processors = sorted(os.sched_getaffinity(0))
        self.apart = len(processors) > 1
        self.ours, self.theirs = {processors[0]}, {processors[-1]}

    def command(self, server, connections, recipient):
        return [self.load, server.path, str(connections),
                str(requests(server, self.count)), recipient]

    def once(self, server, connections, recipient):
        """@return nanoseconds of CPU a request, requests a second"""
        command = self.command(server, connections, recipient)
        before = server.cpu_ns()
        answer = subprocess.run(
            command, check=True, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=120,
            preexec_fn=lambda: os.sched_setaffinity(0, self.ours))
        used = server.cpu_ns() - before
        wall_us, others = map(int, answer.stdout.split())
        count = requests(server, self.count)
        assert others == 0 or server.name == POSTGREY
        return used / count, count / wall_us * 1e6

    def row(self, servers, connections, who):
        cost = {server.name: [] for server in servers}
        rate = {server.name: [] for server in servers}
        for turn in range(self.rounds):
            for n in range(len(servers)):
                server = servers[(turn + n) % len(servers)]
                ns, per_second = self.once(server, connections,
                                           RECIPIENTS[who])
                cost[server.name].append(ns)
                rate[server.name].append(per_second)
        for server in servers:
            us = median(cost[server.name]) / 1000
            row = {"connections": connections, "recipient": who,
                   "server": server.name, "cpu_us": round(us, 3),
                   "cpu_us_rounds": [round(ns / 1000, 3)
                                     for ns in cost[server.name]],
                   "requests_per_second": round(median(rate[server.name])),
                   "ratio_to_floor": round(
                       us * 1000 / median(cost[FLOOR]), 3),
                   "command": " ".join(
                       self.command(server, connections, RECIPIENTS[who]))}
            if server.name == POLICYD:
                row["wanted_ratio"] = WANTED[who]
            print(f"{connections:4} connections  {who:13} {server.name:12}"
                  f"{us:9.2f} us {row['ratio_to_floor']:8.2f} x floor"
                  f"{row['requests_per_second']:9}/s", flush=True)
            yield row

    def rows(self, servers):
        for server in servers:
            server.pin(self.theirs)
        print(f"{self.count} requests, {self.rounds} rounds, server and load "
              + ("on a processor each" if self.apart else
                 "on one processor"), flush=True)
        return [row for connections in CONNECTIONS for who in RECIPIENTS
                for row in self.row(servers, connections, who)]


def main():
    arguments = parse_arguments(__doc__)
    build = arguments.build
    end_on_signals()
    measurement = Measurement(build, arguments)
    with directory() as scratch, floor(build, scratch) as least, \
            postgrey(scratch) as grey, Rig(scratch / "s", build) as rig:
        servers = [server for server in (least, rig.policyd(), grey)
                   if server is not None]
        rows = measurement.rows(servers)
        print("commands:")
        for server in servers:
            print(f"  {server.name}: {server.command}")
        print(f"  asked by: {rows[0]['command']}")
    write_json({"policy_cpu": rows}, arguments.json)


if __name__ == "__main__":
    main()
