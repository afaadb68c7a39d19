# SPDX-License-Identifier: MIT
"""Shared by the benches of the policy path: a sandbox with more SMTP ports,
policy servers to compare with, and the timing of a RCPT."""
import contextlib
import os
import pathlib
import pwd
import shutil
import socket
import statistics
import subprocess
import time

from server import DOMAIN, Sandbox, free_port, wait_for

POLICYD, FLOOR, POSTGREY = "restante", "parse floor", "postgrey"


def median(values):
    return statistics.median(values)


class PolicyServer:
    """A process that answers at a unix socket."""

    def __init__(self, name, path, pid, command):
        self.name, self.path, self.pid = name, str(path), pid
        self.command = command

    def cpu_ns(self):
        """User and system time, of its only thread."""
        return int(pathlib.Path(f"/proc/{self.pid}/schedstat")
                   .read_text().split()[0])

    def pin(self, processors):
        os.sched_setaffinity(self.pid, processors)


@contextlib.contextmanager
def started(name, path, command):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        wait_for(f"{name} at {path}", path.exists)
        path.chmod(0o666)
        yield PolicyServer(name, path, process.pid,
                           " ".join(map(str, command)))
    finally:
        process.terminate()
        process.wait(10)


def floor(build, scratch):
    path = scratch / "floor"
    return started(FLOOR, path, [build + "/tests/bench/policy-floor", path])


@contextlib.contextmanager
def postgrey(scratch):
    """Debian's, with a database of its own; None where it is not installed."""
    if not shutil.which("postgrey"):
        print("postgrey: not here; see packaging/deps --bench")
        yield None
        return
    path, data = scratch / "postgrey", scratch / "postgrey.db"
    data.mkdir()
    user = pwd.getpwnam("postgrey")
    os.chown(data, user.pw_uid, user.pw_gid)
    scratch.chmod(0o777)  # it makes its socket as that user
    with started(POSTGREY, path, ["postgrey", f"--unix={path}",
                                  f"--dbdir={data}", "--greylist-action=DUNNO",
                                  "--quiet"]) as server:
        yield server


class Rig(Sandbox):
    """The sandbox, with an SMTP port for each policy server, and one
    without. `ports` is {name: port}."""

    def __init__(self, path, build, servers=(), users=0):
        super().__init__(path, "--build", build)
        try:
            self._add_users(users)
            self._add_ports(servers)
        except BaseException:
            self.down()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()

    def policyd(self):
        pid = int((self.dir / "run" / "policyd.pid").read_text())
        return PolicyServer(POLICYD, self.env["POLICY_SOCKET"], pid,
                            "restante-policyd -f -c policyd.conf")

    def _add_users(self, count):
        """storm0, storm1, ...: enrolled, like the travellers."""
        path = self.dir / "dovecot" / "users"
        lines = path.read_text()
        one = next(line for line in lines.splitlines()
                   if line.startswith("traveller0@"))
        path.write_text(lines + "".join(
            one.replace("traveller0@", f"storm{n}@") + "\n"
            for n in range(count)))

    def _add_ports(self, servers):
        self.ports = {POLICYD: int(self.env["SMTP_PORT"])}
        restrictions = {"none": ""}
        for server in servers:
            restrictions[server.name] = (
                f"check_policy_service {{ unix:{server.path}, timeout=2s, "
                "default_action=DUNNO }")
        etc = pathlib.Path(self.env["POSTFIX_ETC"])
        self.stop("postfix")
        with open(etc / "main.cf", "a") as main, \
                open(etc / "master.cf", "a") as master:
            for name, what in restrictions.items():
                setting = "bench_" + name.replace(" ", "_")
                self.ports[name] = free_port()
                main.write(f"{setting} = {what}\n")
                master.write(
                    f"127.0.0.1:{self.ports[name]} inet n - n - - smtpd\n"
                    f" -o smtpd_recipient_restrictions=${setting}\n")
        # Postfix waits until its files are two seconds old
        for name in ("main.cf", "master.cf"):
            os.utime(etc / name, (time.time() - 60,) * 2)
        self.start("postfix")


class Session:
    """An SMTP session that never gets to DATA."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert self.sock.recv(4096).startswith(b"220")
        self.rcpts = 0
        for line in (b"EHLO client.remote.test",
                     b"MAIL FROM:<a@remote.test> SIZE=48213"):
            self.ask(line)

    def ask(self, line):
        self.sock.sendall(line + b"\r\n")
        reply = b""
        while not reply.endswith(b"\r\n") or \
                reply.splitlines()[-1][3:4] == b"-":
            part = self.sock.recv(4096)
            assert part, "closed"
            reply += part
        assert reply.startswith(b"250"), reply
        return reply

    def rcpt(self, recipient):
        """@return seconds"""
        line = b"RCPT TO:<" + recipient.encode() + b">"
        start = time.perf_counter()
        self.ask(line)
        self.rcpts += 1
        return time.perf_counter() - start

    def close(self):
        self.sock.sendall(b"QUIT\r\n")
        self.sock.close()


def recipients(count):
    """Nine of ten are enrolled."""
    return [f"traveller{n % 10}@{DOMAIN}" if n % 10 < 9
            else f"resident@{DOMAIN}" for n in range(count)]
