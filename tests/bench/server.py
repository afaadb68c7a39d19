# SPDX-License-Identifier: MIT
"""The sandbox at the server's end of a link, and the mail that peers fetch there.

Beside the travellers the sandbox has users who are not enrolled, for the peers
that fetch by IMAP, and mail for client.test that waits in the queue for ETRN.
"""
import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import random
import re
import select
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time

import link as links

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "integration"))

import dovecot as dovecot_conf  # noqa: E402
from conftest import DOMAIN, Sandbox, wait_for  # noqa: E402

ETRN_DOMAIN = "client.test"
MEAN_OCTETS = 19_900
SENDER = "sender@remote.test"


@contextlib.contextmanager
def directory():
    """A temporary directory that other users may search, with a short path, as
    Dovecot's socket paths end at 108 octets."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="rst", dir="/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def end_on_signals():
    """SIGTERM is an exception like any other: what is up is taken down."""
    def end(number, _frame):
        raise SystemExit(128 + number)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)


def parse_arguments(usage, **more):
    """What each of them takes: BUILD, as an absolute path, --quick, --json.

    @param more other options, by their names, with their types
    """
    parser = argparse.ArgumentParser(usage=usage.replace("%", "%%"))
    parser.add_argument("build", type=os.path.realpath)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    for name, kind in more.items():
        parser.add_argument(f"--{name}", type=kind)
    return parser.parse_args()


def write_json(result, path):
    """@param path None: to standard output"""
    text = json.dumps(result, indent=1)
    if path:
        path.write_text(text + "\n")
    else:
        print(text)


def rounded(value, digits):
    """All that are fractions, also in dictionaries and lists."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item, digits) for item in value]
    return round(value, digits) if isinstance(value, float) else value


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def letters(count, seed=1):
    """Mail as it comes: most of it short, some of it long, 19.9 KB each.

    @return bytes with CRLF; the same ones for the same seed
    """
    chance = random.Random(seed)
    sizes = [chance.lognormvariate(8.7, 1.4) for _ in range(count)]
    scale = MEAN_OCTETS * count / sum(sizes)
    result = []
    for n, size in enumerate(sizes):
        head = (f"From: {SENDER}\r\nSubject: letter {n}\r\n"
                f"Message-ID: <{seed}.{n}@remote.test>\r\n\r\n").encode()
        body = chance.randbytes(max(0, int(size * scale) - len(head)) // 2)
        text = body.hex().encode()
        result.append(head + b"".join(
            text[at:at + 76] + b"\r\n" for at in range(0, len(text), 76)))
    return result


def run(*command, **options):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL,
                   capture_output=True, timeout=60, **options)


def wait_exactly(process, seconds):
    """Popen.wait() with a limit looks every 50 ms only.
    @return its status"""
    fd = os.pidfd_open(process.pid)
    try:
        if not select.select([fd], [], [], seconds)[0]:
            raise subprocess.TimeoutExpired(process.args, seconds)
    finally:
        os.close(fd)
    return process.wait()


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def imaps(path, port):
    """Dovecot's configuration of IMAP with TLS, in the sandbox at path."""
    return dovecot_conf.conf(
        "ssl = yes\n"
        f"ssl_cert = <{path}/tls/cert.pem\n"
        f"ssl_key = <{path}/tls/key.pem\n"
        "service imap-login {\n"
        "  inet_listener imaps {\n"
        f"    port = {port}\n"
        "    ssl = yes\n"
        "  }\n"
        "}\n")


class Server(Sandbox):
    """Use it with `with`, from a thread that is at the server's end."""

    def __init__(self, path, build, people=()):
        """people: who has an account and is not enrolled"""
        self.loaded = set()     # people whose mail is there
        self.imaps_port, self.rsync_port = free_port(), free_port()
        extra = pathlib.Path(f"{path}.dovecot")
        extra.write_text(
            f"listen = 127.0.0.1, {links.SERVER}\n"
            + imaps(path, self.imaps_port))
        try:
            super().__init__(path, "--build", build,
                             "--extra-dovecot", extra)
        except BaseException:
            run(TOP / "packaging" / "sandbox", "down", path)
            raise
        try:
            for part in ("policyd", "dovecot", "postfix"):
                self.stop(part)
            self._certificate()
            self._users(people)
            self._policyd()
            self._postfix()
            for part in ("dovecot", "policyd", "postfix"):
                self.start(part)
        except BaseException:
            self.down()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()

    def _certificate(self):
        """One that is also for the address at the link."""
        tls = self.dir / "tls"
        names = tls / "names"
        names.write_text(re.sub(
            "subjectAltName = .*",
            f"subjectAltName = DNS:mx.example.test, DNS:{links.SERVER}, "
            f"IP:{links.SERVER}, DNS:127.0.0.1, IP:127.0.0.1",
            (tls / "openssl.cnf").read_text()))
        run("openssl", "x509", "-req", "-in", tls / "request.pem",
            "-CA", tls / "ca.pem", "-CAkey", tls / "ca-key.pem",
            "-CAcreateserial", "-days", "30", "-out", tls / "cert.pem",
            "-extfile", names, "-extensions", "server")

    def _users(self, people):
        path = self.dir / "dovecot" / "users"
        lines = path.read_text()
        resident = next(line for line in lines.splitlines()
                        if line.startswith("resident@"))
        for user in people:
            lines += resident.replace("resident@", f"{user}@") + "\n"
        path.write_text(lines)

    def _policyd(self):
        path = pathlib.Path(self.env["POLICYD_CONF"])
        port = self.env["TLS_PORT"]
        path.write_text(path.read_text().replace(
            "listen = {", f'listen = {{"{links.SERVER}:{port}", '))

    def _postfix(self):
        etc = pathlib.Path(self.env["POSTFIX_ETC"])
        master = etc / "master.cf"
        port = self.env["SMTP_PORT"]
        master.write_text(f"{links.SERVER}:{port} inet n - n - - smtpd\n"
                          + master.read_text())
        self._main_cf(inet_interfaces=f"127.0.0.1, {links.SERVER}",
                      relay_domains=ETRN_DOMAIN,
                      fast_flush_domains=ETRN_DOMAIN,
                      relay_transport="smtp",
                      disable_dns_lookups="yes",
                      queue_run_delay="3000s",
                      minimal_backoff_time="3000s",
                      maximal_backoff_time="4000s")

    def _main_cf(self, **settings):
        etc = pathlib.Path(self.env["POSTFIX_ETC"])
        path = etc / "main.cf"
        lines = [line for line in path.read_text().splitlines()
                 if line.split("=")[0].strip() not in settings]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        path.write_text("\n".join(lines) + "\n")
        # Postfix waits until its files are two seconds old
        for name in ("main.cf", "master.cf"):
            os.utime(etc / name, (time.time() - 60,) * 2)

    def etrn_target(self, address, port):
        """Where mail for ETRN_DOMAIN goes; with None it stays in the queue."""
        if address is None:
            self._main_cf(defer_transports="smtp")
        else:
            self._main_cf(
                defer_transports="",
                transport_maps=f"inline:{{{ETRN_DOMAIN}="
                               f"smtp:[{address}]:{port}}}")
        self.stop("postfix")
        self.start("postfix")

    # -- loading

    def load(self, recipient, messages):
        """Hand messages to Postfix over some connections."""
        def some(part):
            with smtplib.SMTP("127.0.0.1", int(self.env["SMTP_PORT"]),
                              timeout=60) as smtp:
                for message in part:
                    smtp.sendmail(SENDER, recipient, message)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(some, [messages[n::4] for n in range(4)]))

    def load_traveller(self, user, messages):
        self.load(f"{user}@{DOMAIN}", messages)
        self.wait_held(user, len(messages), 120)

    def _wait_inbox(self, user, count):
        def all_there():
            imap = self.imap(user)
            try:
                _, data = imap.select("INBOX", readonly=True)
                return int(data[0]) == count
            finally:
                imap.logout()
        wait_for(f"mail of {user}", all_there, 120)

    def load_person(self, user, messages):
        """One first: where several deliveries at once make an INBOX, Dovecot's
        lmtp dies now and then ("Resource deadlock avoided", also without us),
        and Postfix tries again minutes later."""
        self.load(f"{user}@{DOMAIN}", messages[:1])
        self._wait_inbox(user, 1)
        self.load(f"{user}@{DOMAIN}", messages[1:])
        self._wait_inbox(user, len(messages))

    def load_queue(self, messages):
        self.etrn_target(None, None)
        before = self.log("postfix").count("status=deferred")
        self.load(f"bench@{ETRN_DOMAIN}", messages)
        wait_for("the queue", lambda: self.log("postfix").count(
            "status=deferred") - before >= len(messages), 120)
