#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Idle clients: the cost of each for policyd, and for the other clients.

COUNT clients (1,000, then 10,000) sign in as users of their own, with TLS 1.3
and the whole dialogue up to XRESTANTE, and stay. This script measures the memory
of all policyd processes (PSS, less their PSS before), their CPU over half a
minute without keep-alives, and how soon a new message is at one of the clients,
beside the same with that client alone. It also measures how soon each of many
clients has its user's first message ever, for which the hold is made. The same
run measures a bare libevent/OpenSSL TLS server, and IMAP IDLE at the same
Dovecot.

usage: idle.py BUILD [--quick] [--json FILE]
"""
import contextlib
import os
import pathlib
import re
import socket
import subprocess
import time

from server import (DOMAIN, Sandbox, directory, end_on_signals,
                    parse_arguments, percentile, rounded, write_json)

RATE = 200      # sign-ins a second, half of what is possible here
PER_SOURCE = 5000  # below what descriptors a process usually has
CLOCK = os.sysconf("SC_CLK_TCK")


# ---- what processes cost

def children(pid):
    path = f"/proc/{pid}/task/{pid}/children"
    found = pathlib.Path(path).read_text().split()
    return [pid] + [p for c in found for p in children(int(c))]


def pss(pids):
    """In KiB, with memory that was swapped out."""
    total = 0
    for pid in pids:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += sum(int(n) for n in
                     re.findall(r"^(?:Pss|SwapPss): +(\d+)", text, re.M))
    return total


def cpu(pids):
    """seconds, user and system"""
    total = 0
    for pid in pids:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / CLOCK


# ---- the two ends

class Clients:
    """COUNT clients in a few processes."""

    def __init__(self, build, port, count, rate, password_file, *options,
                 first=0):
        self.count = count
        self.parts = []
        for start in range(0, count, PER_SOURCE):
            part = min(PER_SOURCE, count - start)
            self.parts.append(subprocess.Popen(
                [build + "/tests/bench/idle-client", *options, str(port),
                 str(first + start), str(part),
                 str(rate * part // count), password_file],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))

    def stat(self):
        """@return up, waiting, refused, dialled"""
        total = [0, 0, 0, 0]
        for part in self.parts:
            part.stdin.write("stat\n")
            part.stdin.flush()
            while not (line := part.stdout.readline()).startswith("stat"):
                assert line, "a source of clients has ended"
            total = [a + int(b) for a, b in zip(total, line.split()[1:])]
        return total

    def wait(self, seconds, pause=.1):
        """Until all are up. @return how long it took"""
        start = time.monotonic()
        while (stat := self.stat())[0] < self.count:
            assert time.monotonic() < start + seconds and stat[2] == 0, \
                f"{stat[0]} of {self.count} are up: {stat}"
            time.sleep(pause)
        return time.monotonic() - start

    def message(self, number):
        """@return when the next message to this user was there"""
        part = self.parts[number // PER_SOURCE]
        while not (line := part.stdout.readline()).startswith("message"):
            assert line, "a source of clients has ended"
        assert int(line.split()[1]) == number, line
        return int(line.split()[2]) / 1e6

    def close(self):
        for part in self.parts:
            part.stdin.close()
        for part in self.parts:
            part.wait(30)


def hashed(scheme, password):
    if scheme == "PLAIN":
        return "{PLAIN}" + password
    return subprocess.run(
        ["doveadm", "-O", "pw", "-s", scheme, "-p", password], check=True,
        capture_output=True, text=True).stdout.strip()


def add_users(sandbox, count, scheme="PLAIN", password=None):
    """uNUMBER@..., all with one password, as cheap or dear as its scheme"""
    word = hashed(scheme, password or sandbox.password)
    path = sandbox.dir / "dovecot" / "users"
    template = path.read_text().splitlines()[0].split(":", 2)[2]
    with open(path, "a") as out:
        for n in range(count):
            rest = template.replace("traveller0@", f"u{n}@")
            out.write(f"u{n}@{DOMAIN}:{word}:{rest}\n")


def latency(sandbox, clients, numbers):
    """ms from the sender's 250 to the end of the message at the client"""
    text = "From: a@remote.test\r\nSubject: latency\r\n\r\n" \
        + "line of a letter of some length\r\n" * 120
    smtp = sandbox.smtp()
    took = []
    for number in numbers:
        smtp.sendmail("a@remote.test", f"u{number}@{DOMAIN}", text)
        sent = time.monotonic()
        took.append((clients.message(number) - sent) * 1000)
    smtp.quit()
    return took


# ---- the measurements

def policyd(sandbox):
    pid = int((sandbox.dir / "run" / "policyd.pid").read_text())
    return children(pid)


def measure(sandbox, build, count, seconds, messages):
    pids = policyd(sandbox)
    before = pss(pids)
    rate = RATE
    clients = Clients(build, sandbox.env["TLS_PORT"], count, rate,
                      sandbox.env["PASSWORD_FILE"])
    clients.wait(count / rate + 120)
    time.sleep(3)
    result = {"peer": "restante", "clients": count,
              "pss_kib_each": (pss(pids) - before) / count}
    spent = cpu(pids)
    time.sleep(seconds)
    result["cpu_percent"] = (cpu(pids) - spent) / seconds * 100
    latency(sandbox, clients, [0] * 5)
    took = latency(sandbox, clients, [0] * messages)
    result["push_p50_ms"] = percentile(took, .5)
    result["push_p99_ms"] = percentile(took, .99)
    if count > 1:
        # users who had none when there were fewer clients
        part = range(count // 10 + 1, count)
        took = latency(sandbox, clients, [
            part[n * 7919 % len(part)] for n in range(messages)])
        result["first_p50_ms"] = percentile(took, .5)
        result["first_p99_ms"] = percentile(took, .99)
    result["refused"] = clients.stat()[2]
    clients.close()
    time.sleep(2)
    return result


@contextlib.contextmanager
def bare_server(sandbox, build):
    """@return its pid and port"""
    server = subprocess.Popen(
        [build + "/tests/bench/idle-bare", sandbox.dir / "tls" / "cert.pem",
         sandbox.dir / "tls" / "key.pem"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield server.pid, int(server.stdout.readline())
    finally:
        server.stdin.close()
        server.wait(30)


def measure_bare(sandbox, build, count):
    with bare_server(sandbox, build) as (pid, port):
        before = pss([pid])
        clients = Clients(build, port, count, 500,
                          sandbox.env["PASSWORD_FILE"], "-b")
        clients.wait(count / 500 + 60)
        time.sleep(1)
        result = {"peer": "bare TLS server", "clients": count,
                  "pss_kib_each": (pss([pid]) - before) / count,
                  "cpu_ms_each": cpu([pid]) / count * 1000}
        clients.close()
    return result


def measure_imap(sandbox, count):
    """Without TLS: with it, a process of Dovecot's that carries octets to and
    fro would come on top."""
    master = int((sandbox.dir / "run/dovecot/master.pid").read_text())

    def imap():
        names = {p: pathlib.Path(f"/proc/{p}/comm").read_text().strip()
                 for p in children(master)}
        return [p for p, name in names.items() if name == "imap"]

    idlers = []
    for n in range(count):
        sock = socket.create_connection(
            ("127.0.0.1", int(sandbox.env["IMAP_PORT"])))
        file = sock.makefile("rwb")
        file.readline()
        for command, wanted in (
                (f"LOGIN u{n}@{DOMAIN} {sandbox.password}", b"a OK"),
                ("SELECT INBOX", b"a OK"), ("IDLE", b"+")):
            file.write(f"a {command}\r\n".encode())
            file.flush()
            while not (line := file.readline()).startswith(wanted):
                assert line and not line.startswith((b"a NO", b"a BAD")), line
        idlers.append((sock, file))
    time.sleep(1)
    result = {"peer": "IMAP IDLE, no TLS", "clients": count,
              "pss_kib_each": pss(imap()) / count}
    for sock, file in idlers:
        file.close()
        sock.close()
    return result


def show(row):
    print(f"{row['peer']:18}{row['clients']:6} clients"
          f"{row['pss_kib_each']:8.1f} KiB each", end="")
    if "cpu_percent" in row:
        print(f"   CPU {row['cpu_percent']:5.2f} %   new message "
              f"p50 {row['push_p50_ms']:6.2f} ms "
              f"p99 {row['push_p99_ms']:6.2f} ms", end="")
    if "first_p50_ms" in row:
        print(f"   first to each p50 {row['first_p50_ms']:6.2f} ms "
              f"p99 {row['first_p99_ms']:6.2f} ms", end="")
    print(flush=True)


def measure_all(sandbox, build, quick):
    counts = (1000,) if quick else (1000, 10000)
    seconds, messages = (3, 30) if quick else (35, 300)
    # Dovecot sees at once a change of its users only after a restart
    sandbox.stop("policyd")
    sandbox.stop("dovecot")
    add_users(sandbox, max(counts))
    sandbox.start("dovecot")
    with open(sandbox.env["POLICYD_CONF"], "a") as out:
        out.write("max_connections = 12000\n")
    for count in (1, *counts):
        sandbox.start("policyd")
        yield measure(sandbox, build, count, seconds, messages)
        sandbox.stop("policyd")
    yield measure_bare(sandbox, build, counts[-1])
    yield measure_imap(sandbox, 20 if quick else 100)


def main():
    arguments = parse_arguments(__doc__)
    end_on_signals()
    rows = []
    with directory() as scratch:
        sandbox = Sandbox(scratch / "s", "--build", arguments.build)
        try:
            for row in measure_all(sandbox, arguments.build, arguments.quick):
                show(row)
                rows.append(row)
        finally:
            sandbox.down()
    write_json({"idle_clients": rounded(rows, 2)}, arguments.json)


if __name__ == "__main__":
    main()
