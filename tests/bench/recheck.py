#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What it costs to look again at the accounts of those who are signed in.

COUNT clients (10,000) sign in as users of their own and stay. Measured over a
whole interval: the CPU of policyd's core and of Dovecot's auth, with
recheck_interval at its default, and at 0 in the same run; how soon an account
that is disabled is signed out; and for comparison what the same question costs
when restante-hold is asked, which opens the user for it.

usage: recheck.py BUILD [--quick] [--json FILE]
"""
import os
import pathlib
import re
import socket
import time

from idle import Clients, add_users, cpu
from server import (DOMAIN, Sandbox, directory, end_on_signals,
                    parse_arguments, rounded, wait_for, write_json)

INTERVAL = 50  # seconds, the default
RATE = 200
QUESTIONS = 500  # to restante-hold


def children_named(sandbox, name):
    """Process ids of the sandbox's Dovecot's children of that name."""
    master = int((sandbox.dir / "run" / "dovecot" / "master.pid").read_text())
    found = pathlib.Path(
        f"/proc/{master}/task/{master}/children").read_text().split()
    return [int(pid) for pid in found if
            pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == name]


def auth_cpu(sandbox):
    """Of the process that is there: one that is idle leaves after a minute."""
    return cpu(children_named(sandbox, "auth"))


def core(sandbox):
    return int((sandbox.dir / "run" / "policyd.pid").read_text())


def restart(sandbox, text, interval):
    sandbox.stop("policyd")
    conf = pathlib.Path(sandbox.env["POLICYD_CONF"])
    conf.write_text(text + "max_connections = 20000\nsession_lifetime = 0\n"
                    f"recheck_interval = {interval}\n")
    sandbox.start("policyd")


def measure(sandbox, build, text, count, interval):
    restart(sandbox, text, interval)
    clients = Clients(build, sandbox.env["TLS_PORT"], count, RATE,
                      sandbox.env["PASSWORD_FILE"])
    clients.wait(count / RATE + 240)
    # until each is known, and the first ones are asked again
    time.sleep(INTERVAL)
    before = cpu([core(sandbox)]), auth_cpu(sandbox)
    time.sleep(INTERVAL)
    result = {"sessions": count, "interval_s": interval,
              "core_cpu_percent": (cpu([core(sandbox)]) - before[0])
              / INTERVAL * 100,
              "auth_cpu_percent": (auth_cpu(sandbox) - before[1])
              / INTERVAL * 100}
    if interval != 0:
        result["noticed_s"] = noticed(sandbox, count)
    stat = clients.stat()
    result["still_signed_in"] = stat[0]
    clients.close()
    time.sleep(2)
    return result


def noticed(sandbox, count):
    """Seconds until each of ten sessions, anywhere among all, is signed out
    after its account was disabled."""
    users = [f"u{count * n // 10}@{DOMAIN}" for n in range(10)]
    path = sandbox.dir / "dovecot" / "users"
    new = path.with_suffix(".new")
    new.write_text("".join(
        line + (" nologin\n" if line.split(":")[0] in users else "\n")
        for line in path.read_text().splitlines()))
    os.chown(new, path.stat().st_uid, path.stat().st_gid)
    os.chmod(new, path.stat().st_mode & 0o777)
    new.rename(path)
    start, took = time.monotonic(), {}

    def all_out():
        for user in re.findall(r"session signed out: .*?user=(\S+)",
                               sandbox.log("policyd")):
            took.setdefault(user, time.monotonic() - start)
        return len(took) == len(users)

    wait_for("all to be signed out", all_out, 2 * INTERVAL)
    return sorted(took.values())


def hold_question(path, user):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(f"VERSION\trestante-hold\t1\t0\nUSER\t{user}\n".encode())
        answer = b""
        while b"\nOK" not in answer:
            part = sock.recv(4096)
            assert part, answer
            answer += part


def measure_hold(sandbox):
    """ms of CPU for each question to restante-hold"""
    path = str(sandbox.dir / "run" / "hold.sock")
    hold_question(path, f"u0@{DOMAIN}")
    pids = children_named(sandbox, "restante-hold") + \
        children_named(sandbox, "auth")
    before = cpu(pids)
    for n in range(QUESTIONS):
        hold_question(path, f"u{n + 1}@{DOMAIN}")
    return {"questions": QUESTIONS,
            "hold_cpu_ms_each": (cpu(pids) - before) / QUESTIONS * 1000}


def main():
    options = parse_arguments(__doc__)
    count = 1000 if options.quick else 10000
    end_on_signals()
    with directory() as path:
        sandbox = Sandbox(path / "s", "--build", options.build)
        try:
            sandbox.stop("dovecot")
            add_users(sandbox, count)
            sandbox.start("dovecot")
            text = pathlib.Path(sandbox.env["POLICYD_CONF"]).read_text()
            result = [measure_hold(sandbox)]
            for interval in (0, INTERVAL):
                result.append(measure(sandbox, options.build, text, count,
                                      interval))
        finally:
            sandbox.down()
    write_json({"recheck": rounded(result, 2)}, options.json)


if __name__ == "__main__":
    main()
