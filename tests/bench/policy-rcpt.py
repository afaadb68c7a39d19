#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The time that policyd adds to a RCPT of a whole Postfix, and the slowest RCPT.

One Postfix has an SMTP port with policyd as its policy service, one with none,
one with the least that a policy server can be (policy-floor.c) and one with
postgrey. RCPTs go to the ports in turn, in sessions of their own. The port
without a policy service shows the time that Postfix and this machine take by
themselves.

usage: policy-rcpt.py BUILD [--quick] [--situations NAME,...] [--json FILE]

Situations: quiet, reload (SIGHUP to policyd, again and again), auth-stopped
and hold-stopped (SIGSTOP, while clients sign in and messages are due),
sign-ins (1,000 clients at once), restart.
"""
import contextlib
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

from policy import (DOMAIN, POLICYD, Rig, Session, floor, median, postgrey,
                    recipients)
from server import (directory, end_on_signals, parse_arguments, percentile,
                    wait_for, write_json)

NONE = "none"
WANTED_US = 100
WANTED_MS = 50
SIGN_INS = 1000
SIGN_IN_PROCESSES = 2
HERE = pathlib.Path(__file__).parent


# -- what it adds

def one_round(ports, count):
    """@return {name: [seconds, ...]} of count RCPTs in a session each"""
    names = list(ports)
    sessions = {name: Session(ports[name]) for name in names}
    seconds = {name: [] for name in names}
    for turn, recipient in enumerate(recipients(count)):
        for n in range(len(names)):
            name = names[(turn + n) % len(names)]
            seconds[name].append(sessions[name].rcpt(recipient))
    for session in sessions.values():
        session.close()
    return seconds


def added(ports, sessions, count):
    """RCPTs over some sessions, `count` in each."""
    seconds = {name: [] for name in ports}
    for _ in range(sessions):
        for name, some in one_round(ports, count).items():
            seconds[name] += some
    without = median(seconds[NONE])
    for name, values in seconds.items():
        row = {"sessions": sessions, "rcpts_each": count, "service": name,
               "median_us": round(median(values) * 1e6, 1),
               "p99_us": round(percentile(values, .99) * 1e6, 1),
               "added_us": round((median(values) - without) * 1e6, 1)}
        if name == POLICYD:
            row["wanted_added_us"] = WANTED_US
        print(f"{sessions:4} sessions of {count:4}  {name:12}"
              f"median {row['median_us']:8.1f} us  "
              f"added {row['added_us']:8.1f} us", flush=True)
        yield row


# -- trouble

@contextlib.contextmanager
def in_background(function, *arguments):
    """function(until, ...) is to end when the event `until` is set."""
    until = threading.Event()
    thread = threading.Thread(target=function, args=(until, *arguments))
    thread.start()
    try:
        yield
    finally:
        until.set()
        thread.join()


def entries(until, rig):
    """Messages that are due, for who knows whom: policyd asks the hold."""
    for n in itertools.count():
        if until.wait(.005):
            return
        path = f"{rig.env['HOLDERS_DIR']}/storm{n % SIGN_INS}@{DOMAIN}"
        with open(path, "w", encoding="ascii") as file:
            file.write("1\n")
        os.utime(path)


@contextlib.contextmanager
def clients(rig, first, count, processes=1):
    """They sign in at once, and stay. Gives a list that has a report for each
    process once all of its clients are signed in or have failed. What they use
    of a processor is other machines': it gives way to the server's."""
    each = count // processes
    started = [subprocess.Popen(
        ["nice", "-n", "10", sys.executable, HERE / "policy-sign-in.py",
         rig.env["TLS_PORT"], rig.env["CA_FILE"], rig.env["PASSWORD_FILE"],
         "storm", str(first + n * each), str(each), "60"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(processes)]
    reports = []
    threads = [threading.Thread(
        target=lambda one: reports.append(json.loads(one.stdout.readline())),
        args=(one,)) for one in started]
    for thread in threads:
        thread.start()
    try:
        yield reports
    finally:
        for process, thread in zip(started, threads):
            thread.join()
            process.communicate("", timeout=90)


def children(rig, name):
    master = (rig.dir / "run/dovecot/master.pid").read_text().strip()
    return {int(pid) for pid in subprocess.run(
        ["pgrep", "-x", "-P", master, name], capture_output=True,
        text=True).stdout.split()}


def keep_stopped(until, rig, name, stopped):
    """Dovecot's master starts more of them: these are stopped, too, but
    looking for them is not to slow down who measures."""
    while not until.is_set():
        for pid in children(rig, name) - stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)
        until.wait(.25 if stopped else .02)


@contextlib.contextmanager
def service_stopped(rig, name):
    """One of Dovecot's, while clients want to sign in and mail is due."""
    stopped = set()
    with clients(rig, 0, 50):
        try:
            with in_background(keep_stopped, rig, name, stopped), \
                    in_background(entries, rig):
                wait_for(f"{name} is stopped", lambda: stopped)
                yield None
        finally:
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def quiet(_rig, _report):
    yield None


def hang_up(until, rig):
    pid = rig.policyd().pid
    while not until.wait(.1):
        os.kill(pid, signal.SIGHUP)


@contextlib.contextmanager
def reload(rig, _report):
    with in_background(hang_up, rig):
        yield None


def auth_stopped(rig, _report):
    return service_stopped(rig, "auth")


def hold_stopped(rig, _report):
    return service_stopped(rig, "restante-hold")


@contextlib.contextmanager
def sign_ins(rig, report):
    with clients(rig, 0, SIGN_INS, SIGN_IN_PROCESSES) as reports:
        yield lambda: len(reports) < SIGN_IN_PROCESSES
    report["signed_in"] = sum(one["signed_in"] for one in reports)
    report["failed"] = sum(one["failed"] for one in reports)
    report["errors"] = sum((one["errors"] for one in reports), [])
    report["seconds"] = max(one["seconds"] for one in reports)
    print(f"           {report['signed_in']} signed in within "
          f"{report['seconds']:.1f} s, {report['failed']} failed "
          f"{report['errors'] or ''} (TLS, AUTH PLAIN with the scheme PLAIN, "
          "ATRN)")


@contextlib.contextmanager
def restart(rig, _report):
    def again(_until):
        rig.stop("policyd")
        rig.start("policyd")
    with in_background(again):
        yield None


SITUATIONS = {"quiet": quiet, "reload": reload, "auth-stopped": auth_stopped,
              "hold-stopped": hold_stopped, "sign-ins": sign_ins,
              "restart": restart}
QUICK = ("quiet", "auth-stopped", "hold-stopped", "sign-ins")
# Postfix goes on without an answer after a second, see restante-policyd(8)
NOT_WANTED = ("restart",)


# -- how long a RCPT takes meanwhile

@contextlib.contextmanager
def first_in_line():
    """Who measures stands for another machine: on this one it is not to wait
    for a processor itself. (That was most of what the slowest RCPTs took. A
    high priority is not enough: it counts within a session only where the
    kernel has sched_autogroup_enabled.)"""
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK,
                          os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


class Probe:
    """RCPTs with our policy service and without, in turn, again and again."""

    def __init__(self, ports):
        self.ports = {name: ports[name] for name in (NONE, POLICYD)}
        self.sessions = {}
        self.seconds = {name: [] for name in self.ports}

    def session(self, name):
        session = self.sessions.get(name)
        if session is not None and session.rcpts == 400:
            session.close()
            session = None
        if session is None:
            session = self.sessions[name] = Session(self.ports[name])
        return session

    def run(self, seconds, going):
        start = time.monotonic()
        for n, recipient in enumerate(itertools.cycle(recipients(10))):
            since = time.monotonic() - start
            if since > 90 or not (going() if going else since < seconds):
                break
            for name in sorted(self.ports, reverse=n % 2 == 0):
                self.seconds[name].append(self.session(name).rcpt(recipient))
            time.sleep(.001)
        for session in self.sessions.values():
            session.close()


def situation(rig, name, seconds):
    report = {"situation": name}
    probe = Probe(rig.ports)
    with SITUATIONS[name](rig, report) as going, first_in_line():
        probe.run(seconds, going)
    for service, values in probe.seconds.items():
        row = {**report, "service": service, "rcpts": len(values),
               "median_ms": round(median(values) * 1e3, 3),
               "p99_ms": round(percentile(values, .99) * 1e3, 3),
               "max_ms": round(max(values) * 1e3, 3)}
        if service == POLICYD and name not in NOT_WANTED:
            row["wanted_max_ms"] = WANTED_MS
        print(f"{name:13} {service:10}{len(values):6} RCPTs  median "
              f"{row['median_ms']:7.2f} ms  p99 {row['p99_ms']:7.2f} ms  "
              f"max {row['max_ms']:8.2f} ms", flush=True)
        yield row


def measure(build, scratch, arguments):
    short, long = ((10, 50), (1, 200)) if arguments.quick else \
        ((40, 50), (4, 900))
    seconds = 1 if arguments.quick else 15
    names = arguments.situations.split(",") if arguments.situations \
        else QUICK if arguments.quick else SITUATIONS
    with floor(build, scratch) as least, postgrey(scratch) as grey, \
            Rig(scratch / "s", build,
                [one for one in (least, grey) if one], SIGN_INS) as rig:
        rows = []
        if not arguments.situations:
            rows = [row for sessions, count in (long, short)
                    for row in added(rig.ports, sessions, count)]
        delays = [row for name in names
                  for row in situation(rig, name, seconds)]
    return {"policy_rcpt": rows, "policy_delay": delays}


def main():
    arguments = parse_arguments(__doc__, situations=str)
    end_on_signals()
    with directory() as scratch:
        result = measure(arguments.build, scratch, arguments)
    write_json(result, arguments.json)


if __name__ == "__main__":
    main()
