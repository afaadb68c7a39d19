#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Reconnect storm: policyd is restarted under COUNT clients that are signed in.

The clients wait and come back as the real client does (its own code, in
idle-client.c). This script measures the time from policyd's stop until all
clients are signed in again, how often they had to dial, and the CPU of each part
for one sign-in; the part of TLS is the CPU of the same handshakes at a bare TLS
server.

It also measures how many clients can sign in each second, all coming at once,
with passwords that cost nothing to compare: beside LOGIN at the IMAP port with
TLS of the same Dovecot, and TLS handshakes with a bare server, by the same
program.

With --quick there is no storm, because clients wait for up to half a minute
before they come back.

usage: storm.py BUILD [--quick] [--json FILE] [--count N] [--scheme SCHEME]

The accounts have ARGON2ID passwords, which take 100 ms of CPU and more for
each sign-in, one after the other. The clients have device passwords, as
packaging/dovecot/90-restante.conf advises. With --scheme the clients use the
passwords of the accounts, which then have that scheme.
"""
import os
import pathlib
import time

from idle import (Clients, add_users, bare_server, children, cpu, hashed,
                  measure_bare, policyd)
from server import (DOMAIN, Sandbox, directory, dovecot_conf, end_on_signals,
                    free_port, imaps, parse_arguments, rounded, write_json)

PATIENCE = 600
# Dovecot has so many processes for those that come with TLS, unless told
# otherwise, and each is there as long as its client
IMAP_LOGINS = 100


def dovecot(sandbox):
    """CPU of what Dovecot runs, by service; those that have ended are in
    "ended", most of them restante-hold"""
    master = int((sandbox.dir / "run/dovecot/master.pid").read_text())
    spent = {"ended": 0.0}
    for pid in children(master):
        try:
            name = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
            spent[name] = spent.get(name, 0) + cpu([pid])
        except (FileNotFoundError, ProcessLookupError):
            continue
    stat = pathlib.Path(f"/proc/{master}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    spent["ended"] = (int(fields[13]) + int(fields[14])) \
        / os.sysconf("SC_CLK_TCK")
    return spent


def storm(sandbox, build, count):
    clients = Clients(build, sandbox.env["TLS_PORT"], count, 100,
                      sandbox.env["PASSWORD_FILE"])
    clients.wait(PATIENCE)
    time.sleep(2)
    before, dialled = dovecot(sandbox), clients.stat()[3]
    start = time.monotonic()
    sandbox.stop("policyd")
    sandbox.start("policyd")
    curve = []
    while (stat := clients.stat())[0] < count:
        curve.append((time.monotonic() - start, stat[0]))
        if curve[-1][0] > PATIENCE:
            break
        time.sleep(.2)
    seconds = time.monotonic() - start
    time.sleep(2)       # the drains after it belong to it
    after, pids = dovecot(sandbox), policyd(sandbox)
    spent = {name: after[name] - before.get(name, 0) for name in after}
    part = {"core": cpu(pids[:1]), "workers": cpu(pids[1:]),
            "auth": spent.get("auth", 0),
            "hold": spent.get("restante-hold", 0) + spent["ended"]}
    row = {"clients": count, "seconds": seconds, "up": stat[0],
           "refused": stat[2],
           "dialled_each": (clients.stat()[3] - dialled) / count,
           "cpu_ms_each": {name: value / count * 1000
                           for name, value in part.items()}}
    for share in (.5, .9, .99):
        row[f"seconds_{int(share * 100)}_percent"] = next(
            (at for at, up in curve if up >= share * count), seconds)
    clients.close()
    return row


def tls_cost(sandbox, build, count):
    return measure_bare(sandbox, build, count)["cpu_ms_each"]


def add_devices(sandbox, path, count):
    word = hashed("SSHA512", sandbox.password)
    path.write_text("".join(f"u{n}@{DOMAIN}:{word}\n" for n in range(count)))


def measure(sandbox, build, count, scheme, devices):
    sandbox.stop("policyd")
    sandbox.stop("dovecot")
    if scheme:
        add_users(sandbox, count, scheme)
    else:
        add_users(sandbox, count, "ARGON2ID", "that of the account")
        add_devices(sandbox, devices, count)
    sandbox.start("dovecot")
    with open(sandbox.env["POLICYD_CONF"], "a") as out:
        out.write("max_connections = 12000\n")
    sandbox.start("policyd")
    row = storm(sandbox, build, count)
    row["scheme"] = scheme or "ARGON2ID, device passwords"
    row["cpu_ms_each"]["TLS alone"] = tls_cost(sandbox, build, count)
    return rounded(row, 3)


# ---- sign-ins a second

def rate_of(sandbox, build, port, count, *options):
    clients = Clients(build, port, count, 0, sandbox.env["PASSWORD_FILE"],
                      *options)
    seconds = clients.wait(PATIENCE, .005)
    refused = clients.stat()[2]
    clients.close()
    assert refused == 0
    return count / seconds


def sign_ins(scratch, build, count):
    """@return {peer: how many a second}"""
    extra, port = scratch / "imaps.conf", free_port()
    extra.write_text(imaps(scratch / "r", port))
    sandbox = Sandbox(scratch / "r", "--build", build,
                      "--extra-dovecot", extra)
    try:
        sandbox.stop("dovecot")
        add_users(sandbox, count)
        sandbox.start("dovecot")
        rates = {"restante": rate_of(sandbox, build, sandbox.env["TLS_PORT"],
                                     count)}
        rates[f"IMAP LOGIN with TLS, {IMAP_LOGINS} of them,"] = rate_of(
            sandbox, build, port, IMAP_LOGINS, "-i")
        with bare_server(sandbox, build) as (_, bare):
            rates["TLS alone"] = rate_of(sandbox, build, bare, count, "-b")
    finally:
        sandbox.down()
    return rates


def whole_storm(scratch, arguments):
    """@return the row, printed"""
    count = arguments.count or 5000
    devices, extra = scratch / "devices", scratch / "extra.conf"
    devices.touch()
    extra.write_text(dovecot_conf.conf(
        "protocol restante {\n  passdb {\n    driver = passwd-file\n"
        f"    args = username_format=%u {devices}\n  }}\n}}\n"))
    sandbox = Sandbox(scratch / "s", "--build", arguments.build,
                      "--extra-dovecot", extra)
    try:
        row = measure(sandbox, arguments.build, count, arguments.scheme,
                      devices)
    finally:
        sandbox.down()
    print(f"{row['up']} of {count} back in {row['seconds']:.1f} s (half in "
          f"{row['seconds_50_percent']:.1f} s), {row['refused']} refused, "
          f"dialled {row['dialled_each']:.2f} times each")
    print("CPU for each sign-in: " + ", ".join(
        f"{name} {value:.2f} ms"
        for name, value in row["cpu_ms_each"].items()))
    return row


def main():
    arguments = parse_arguments(__doc__, count=int, scheme=str)
    end_on_signals()
    with directory() as scratch:
        rates = sign_ins(scratch, arguments.build,
                         300 if arguments.quick else 2000)
        print("sign-ins a second: " + ", ".join(
            f"{name} {rate:.0f}" for name, rate in rates.items()), flush=True)
        result = {"sign_ins_per_second": rounded(rates, 1)}
        if not arguments.quick:
            result["reconnect_storm"] = whole_storm(scratch, arguments)
    write_json(result, arguments.json)


if __name__ == "__main__":
    main()
