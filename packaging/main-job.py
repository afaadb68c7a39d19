#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The main job, step by step, on a sandbox that packaging/try has started.

usage: packaging/main-job.py DIR [USER]    USER: traveller0@example.test

Prints what was seen at each step, and "main job: ok" at the end only if every
step had the expected result.
"""
import imaplib
import mailbox
import pathlib
import signal
import smtplib
import subprocess
import sys
import time

SIEVE = 'require ["editheader"];\naddheader "X-Sieve-Was-Here" "yes";\n'


class Seen(Exception):
    """A step did not have the expected result."""


class Job:
    def __init__(self, directory, user="traveller0@example.test"):
        self.dir = pathlib.Path(directory)
        self.user = user
        self.env = dict(
            line.split("=", 1)
            for line in (self.dir / "env").read_text().splitlines())
        self.password = pathlib.Path(
            self.env["PASSWORD_FILE"]).read_text().strip()
        self.maildir = self.dir / "laptop"
        self.client = None
        self.started = time.monotonic()

    def say(self, step, text):
        at = (time.monotonic() - self.started) * 1000
        print(f"{at:8.0f} ms  {step:<11} {text}", flush=True)

    def until(self, what, condition, seconds=20):
        end = time.monotonic() + seconds
        while not (result := condition()):
            if time.monotonic() > end:
                raise Seen(f"{what}: not within {seconds} s")
            if self.client and self.client.poll() is not None:
                raise Seen(f"{what}: the client ended, see "
                           f"{self.dir}/log/client.log")
            time.sleep(0.001)
        return result

    def send(self, name):
        """Send a message to Postfix. @return its octets"""
        text = (f"From: sender@remote.test\r\nTo: {self.user}\r\n"
                f"Subject: {name}\r\nMessage-ID: <{name}@remote.test>\r\n\r\n"
                + f"This is {name}.\r\n" * 20)
        with smtplib.SMTP("127.0.0.1", int(self.env["SMTP_PORT"])) as smtp:
            smtp.sendmail("sender@remote.test", [self.user], text.encode())
        return len(text)

    def held(self):
        output = subprocess.run(
            [self.env["BIN_DIR"] + "/doveadm", "-f", "tab",
             "restante", "list", "-u", self.user],
            capture_output=True, text=True, check=True).stdout.splitlines()
        if not output:
            return []
        names = output[0].split("\t")
        return [dict(zip(names, line.split("\t"))) for line in output[1:]]

    def laptop(self):
        # The client makes them one by one: before the last one exists there can
        # be no message.
        if not all((self.maildir / part).is_dir()
                   for part in ("tmp", "new", "cur")):
            return []
        box = mailbox.Maildir(self.maildir, create=False)
        # a name with a dot is no message: the client tries whether it may write
        return [box[key] for key in box.keys() if not key.startswith(".")]

    def inbox(self):
        imap = imaplib.IMAP4("127.0.0.1", int(self.env["IMAP_PORT"]))
        try:
            imap.login(self.user, self.password)
            imap.select("INBOX", readonly=True)
            _, data = imap.uid("FETCH", "1:*", "(BODY.PEEK[])")
            return [part[1] for part in data if isinstance(part, tuple)]
        finally:
            imap.logout()

    def arrived(self, subject):
        return any(m["Subject"] == subject for m in self.laptop())

    def register(self):
        log = open(self.dir / "log" / "client.log", "ab")
        self.client = subprocess.Popen(
            [self.env["BIN_DIR"] + "/restante", "register", self.user,
             "--server", "127.0.0.1:" + self.env["TLS_PORT"],
             "--ca-file", self.env["CA_FILE"],
             "--password-file", self.env["PASSWORD_FILE"],
             "--maildir", str(self.maildir)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def sign_out(self):
        if self.client and self.client.poll() is None:
            self.client.send_signal(signal.SIGTERM)
            try:
                self.client.wait(10)
            except subprocess.TimeoutExpired:
                self.client.kill()
                self.client.wait()
        self.client = None

    def run(self):
        self.say("absent", f"{self.user} is enrolled and nowhere signed in")
        octets = self.send("letter-one")
        self.say("accepted", f"Postfix took <letter-one@remote.test>, "
                 f"{octets} octets, 250")
        message, = self.until("held", self.held)
        self.say("held", f"id {message['id']}, {message['size']} octets in the "
                 "hold mailbox")
        if self.inbox():
            raise Seen("it is in INBOX as well")
        self.say("held", "INBOX is empty")

        start = time.monotonic()
        self.register()
        self.until("arrived", lambda: self.arrived("letter-one"))
        took = (time.monotonic() - start) * 1000
        self.say("registered", "restante register: TLS, AUTH, ATRN")
        self.say("arrived", f"<letter-one@remote.test> is in the laptop's "
                 f"Maildir, {took:.0f} ms after the program was started")
        self.until("left the hold", lambda: not self.held())
        self.say("arrived", "and has left the hold")

        start = time.monotonic()
        octets = self.send("letter-two")
        sent = time.monotonic()
        self.until("pushed", lambda: self.arrived("letter-two"))
        now = time.monotonic()
        self.say("pushed", f"<letter-two@remote.test>, {octets} octets, while "
                 f"online: {(now - sent) * 1000:.0f} ms after the sender's "
                 f"session ended ({(now - start) * 1000:.0f} ms after it began)")

        self.sign_out()
        self.say("absent", "the laptop is closed")
        home = self.dir / "mail" / self.user
        (home / ".dovecot.sieve").write_text(SIEVE)
        self.send("letter-three")
        message, = self.until("held", self.held)
        self.say("held", f"id {message['id']}, due {message['due']}")
        copies = self.until("fallback", self.inbox, 40)
        if len(copies) != 1 or b"Subject: letter-three\r\n" not in copies[0]:
            raise Seen(f"INBOX has {len(copies)} messages")
        if copies[0].count(b"X-Sieve-Was-Here: yes\r\n") != 1:
            raise Seen("Sieve did not run once")
        if self.held():
            raise Seen("it is still in the hold")
        self.say("fallback", f"<letter-three@remote.test>, {len(copies[0])} "
                 "octets, is in INBOX, and Sieve has run once")
        if sorted(m["Subject"] for m in self.laptop()) != [
                "letter-one", "letter-two"]:
            raise Seen("the laptop does not have exactly the first two")
        self.say("counted", "two at the laptop, one in INBOX, none held")


def main():
    job = Job(*sys.argv[1:])
    try:
        job.run()
    except Seen as seen:
        print(f"main job: failed: {seen}")
        return 1
    finally:
        job.sign_out()
    print("main job: ok")
    return 0


sys.exit(main())
