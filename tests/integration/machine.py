# SPDX-License-Identifier: MIT
"""A machine as the distribution ships it: Postfix and Dovecot at their own paths,
smtpd on port 25 and chrooted, and what Restante's packages install.

Mount, network and pid namespaces of its own give each path of below() a copy of
its own: the machine's own Postfix and Dovecot are not touched or seen.
"""
import os
import pathlib
import shutil
import subprocess

from conftest import BUILD, wait_for
from dovecot import IS_24

STAGE = BUILD / "stage"
DOMAIN = "example.test"
PASSWORD = "secret"
SNIPPET = "/etc/dovecot/conf.d/90-restante.conf"
POLICYD = "/etc/restante/restante-policyd.conf"
STATE = "/var/lib/restante/setup"

# pid 1: waits for whatever ends, and ends with the test
INIT = """
import os, time
print("up", flush=True)
while True:
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(0.02)
"""

SEND = """
import smtplib, sys
with smtplib.SMTP("127.0.0.1", int(sys.argv[3]), timeout=30) as smtp:
    smtp.ehlo("remote.test")
    size = int(sys.argv[4])
    smtp.mail("sender@remote.test", [f"size={size}"] if size else [])
    code, text = smtp.rcpt(sys.argv[1])
    if code == 250 and not size:
        code, text = smtp.data(f"From: sender@remote.test\\r\\n"
            f"Subject: {sys.argv[2]}\\r\\n\\r\\n{sys.argv[2]}\\r\\n")
    print(code, text.decode())
"""


def make_accounts(directory):
    """vmail, which owns all mail, and restante, as the packages make it."""
    for name, lines in (
            ("passwd", "vmail:x:5000:5000::/var/vmail:/usr/sbin/nologin\n"
             "restante:x:5001:5001::/nonexistent:/usr/sbin/nologin\n"),
            ("group", "vmail:x:5000:\nrestante:x:5001:\n")):
        text = "".join(
            line + "\n" for line in
            pathlib.Path("/etc", name).read_text().splitlines()
            if line.split(":")[0] not in ("vmail", "restante"))
        (directory / name).write_text(text + lines)
    (directory / "hosts").write_text("127.0.0.1 mx.example.test localhost\n")


def make_certificate(directory):
    for name in ("dovecot.key", "dovecot.pem"):
        (directory / name).unlink(missing_ok=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
         "-subj", "/CN=mx.example.test", "-addext",
         "subjectAltName=DNS:mx.example.test", "-keyout",
         directory / "dovecot.key", "-out", directory / "dovecot.pem"],
        check=True, capture_output=True)


DOVECOT_2_3 = """
mail_location = maildir:~/Maildir
passdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
userdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
protocol lmtp {
  mail_plugins = $mail_plugins sieve
}
"""

DOVECOT_2_4 = """
mail_driver = maildir
mail_path = ~/Maildir
mail_inbox_path =
mail_home =
passdb passwd-file {
  passwd_file_path = /etc/dovecot/users
}
userdb passwd-file {
  passwd_file_path = /etc/dovecot/users
}
protocol lmtp {
  auth_username_format = %{user | lower}
  mail_plugins {
    sieve = yes
  }
}
"""

LMTP = """
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0600
    user = postfix
    group = postfix
  }
}
"""

POSTFIX = {
    "compatibility_level": "3.6", "myhostname": "mx.example.test",
    "mydestination": "", "inet_protocols": "ipv4",
    "mynetworks": "192.0.2.0/24", "relayhost": "",
    "smtpd_relay_restrictions": "permit_mynetworks "
    "permit_sasl_authenticated defer_unauth_destination",
    "virtual_mailbox_domains": DOMAIN,
    "virtual_mailbox_maps": "inline:{ann@example.test=x, bob@example.test=x}",
    "virtual_transport": "lmtp:unix:private/dovecot-lmtp",
    "maillog_file": "/var/log/mail.log"}


class Machine:
    """postfix: settings over POSTFIX, None takes one away; master: a function of
    master.cf's text; dovecot: text, which takes the place of the usual one.

    ann is enrolled, in the userdb; bob is not."""

    def __init__(self, directory, postfix=(), master=None, dovecot=None,
                 extra_dovecot="", fields="userdb_restante=yes", homes=True,
                 start=True):
        self.dir = pathlib.Path(directory)
        self.init = None
        self.path = ""  # of what goes before Restante's own programs
        self.lay_out()
        self.write_postfix(dict(postfix), master)
        self.write_dovecot(dovecot, extra_dovecot, fields, homes)
        self.boot()
        if start:
            self.start()

    def below(self, path):
        """Where a path of the machine is outside."""
        return self.dir / path.strip("/").replace("/", "_")

    def file(self, path):
        """Of a file below one of the directories."""
        for name in self.paths:
            if path.startswith(name + "/"):
                return self.below(name) / path[len(name) + 1:]
        raise KeyError(path)

    def lay_out(self):
        self.paths = ["/etc/postfix", "/etc/dovecot", "/etc/restante",
                      "/var/spool/postfix", "/var/lib/postfix",
                      "/var/lib/dovecot", "/var/lib/restante", "/var/log",
                      "/var/vmail", "/run", "/usr/lib/dovecot"]
        for path in self.paths:
            below = self.below(path)
            if path in ("/etc/postfix", "/etc/dovecot", "/usr/lib/dovecot",
                        "/var/spool/postfix", "/var/lib/postfix"):
                subprocess.run(["cp", "-a", path, below], check=True)
            else:
                below.mkdir()
        for path in self.below("/var/spool/postfix").rglob("*"):
            if not path.is_dir():
                path.unlink()
        shutil.copytree(STAGE / "usr/lib/dovecot",
                        self.below("/usr/lib/dovecot"), dirs_exist_ok=True)
        log = self.below("/var/log") / "mail.log"
        log.touch()
        shutil.chown(log, "postfix")
        make_accounts(self.dir)
        os.chown(self.below("/var/vmail"), 5000, 5000)
        (self.dir / "tmp").mkdir()
        (self.dir / "tmp").chmod(0o1777)

    def write_postfix(self, settings, master):
        etc = self.below("/etc/postfix")
        settings = {**POSTFIX, **settings}
        path = etc / "master.cf"
        if master:
            path.write_text(master(path.read_text()))
        lines = "".join(f"{name} = {value}\n" for name, value
                        in settings.items() if value is not None)
        (etc / "main.cf").write_text(
            "# the site's own\n" + lines + "# its end\n")
        for name in ("main.cf", "master.cf"):
            os.utime(etc / name, (1, 1))

    def write_dovecot(self, text, extra, fields, homes):
        etc = self.below("/etc/dovecot")
        make_certificate(etc / "private")
        home = "/var/vmail/%s" if homes else ""
        (etc / "users").write_text("".join(
            f"{user}@{DOMAIN}:{{PLAIN}}{PASSWORD}:5000:5000::"
            f"{home % user if homes else ''}::{more}\n"
            for user, more in (("ann", fields), ("bob", ""))))
        auth = etc / "conf.d/10-auth.conf"
        auth.write_text(auth.read_text().replace(
            "!include auth-system.conf.ext", "#!include auth-system.conf.ext"))
        if text is None:
            text = (DOVECOT_2_4 if IS_24 else DOVECOT_2_3) + LMTP
        (etc / "conf.d/30-site.conf").write_text(text)
        (etc / "conf.d/99-site.conf").write_text(extra)

    # -- running

    def boot(self):
        mounts = "".join(
            f"mkdir -p {path} && mount --bind {self.below(path)} {path} || "
            "exit\n" for path in self.paths)
        script = (
            "ip link set lo up || exit\n"
            + mounts.replace("mkdir -p /run ", "true ")
            + "".join(f"mount --bind {self.dir}/{name} /etc/{name} || exit\n"
                      for name in ("passwd", "group", "hosts")) +
            f"exec /usr/bin/python3 -c '{INIT}'")
        self.init = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--fork",
             "--kill-child=KILL", "--mount-proc", "sh", "-c", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self.init.stdout.readline() == "up\n"
        children = pathlib.Path(
            f"/proc/{self.init.pid}/task/{self.init.pid}/children")
        self.pid = wait_for("its pid 1", lambda: children.read_text().split()
                            or None)[0]

    def command(self, *argv):
        return ["nsenter", "--target", self.pid, "--mount", "--net", "--pid",
                "env", f"PATH={self.path}{STAGE}/usr/sbin:{STAGE}/usr/bin:"
                f"{os.environ['PATH']}:/usr/sbin:/sbin", *map(str, argv)]

    def run(self, *argv, status=0, **more):
        result = subprocess.run(
            self.command(*argv), stdin=subprocess.DEVNULL, timeout=60,
            capture_output=True, text=True, errors="surrogateescape", **more)
        if status is not None:
            assert result.returncode == status, (
                argv, result.returncode, result.stdout, result.stderr)
        return result

    def start(self):
        if not self.file("/var/spool/postfix/private").exists():
            self.run("postfix", "check")  # never started: it makes them
        self.run("sh", "-c", "dovecot >/run/out 2>&1 || { cat /run/out; exit 1; }")
        self.run("sh", "-c", "exec /usr/lib/postfix/sbin/master -w "
                 ">>/run/out 2>&1")

    def down(self):
        if self.init and self.init.poll() is None:
            self.init.kill()
            self.init.wait()

    # -- mail

    def send(self, user, subject, port=25, size=0):
        return self.run("/usr/bin/python3", "-c", SEND, f"{user}@{DOMAIN}",
                        subject, port, size).stdout.strip()

    def held(self, user="ann"):
        lines = self.run("doveadm", "-f", "tab", "restante", "status", "-u",
                         f"{user}@{DOMAIN}").stdout.splitlines()
        names, values = lines[0].split("\t"), lines[1].split("\t")
        return int(dict(zip(names, values))["messages"])

    def mailbox(self, user):
        """The subjects in INBOX."""
        found = self.run("doveadm", "-f", "tab", "fetch", "-u",
                         f"{user}@{DOMAIN}", "hdr.subject", "mailbox", "INBOX",
                         "all", status=None).stdout.splitlines()
        return sorted(found[1:])

    def collect(self, user="ann"):
        """The subjects that the client gets."""
        into = self.file("/run/client")
        password = self.file("/run/password")
        password.write_text(PASSWORD + "\n")
        password.chmod(0o600)
        self.run("restante", "register", f"{user}@{DOMAIN}", "--server",
                 "mx.example.test:8463", "--ca-file",
                 "/etc/dovecot/private/dovecot.pem", "--password-file",
                 "/run/password", "--maildir", "/run/client", "--once")
        return sorted(
            line.split(": ", 1)[1] for path in into.glob("new/*")
            for line in path.read_text().splitlines()
            if line.startswith("Subject: "))
