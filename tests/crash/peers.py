# SPDX-License-Identifier: MIT
"""The peers of the hold: Postfix's LMTP client, a dialler, a client."""
import contextlib
import email.utils
import smtplib
import socket
import subprocess

import rig


def letter(ledger, user, size):
    """A new letter as Postfix hands it on.

    K counts only below a queue id, of a date that is not older than a queue's
    lifetime; without these, equal letters are two.
    """
    top = (b"Received: from remote.test (remote.test [192.0.2.1])\r\n"
           b"\tby mx.example.test (Postfix) with ESMTP id 4%08X\r\n"
           b"\tfor <%s>; %s (UTC)\r\n"
           % (ledger.random.getrandbits(32), user.encode(),
              email.utils.formatdate().encode()))
    return ledger.letter(user, size, top)


def deliver(box, ledger, message, seconds=30):
    """One try of Postfix. @return the LMTP code; 0: no answer"""
    code = 0
    with contextlib.suppress(smtplib.SMTPServerDisconnected, OSError):
        lmtp = smtplib.LMTP(str(box.dir / "run" / "lmtp.sock"),
                            local_hostname="mx.example.test")
        with contextlib.closing(lmtp):
            lmtp.sock.settimeout(seconds)
            lmtp.ehlo_or_helo_if_needed()
            code = say(lmtp, message)
            if code == 250:
                ledger.accept(message)
            lmtp.quit()
    return code


def say(lmtp, message):
    for command in (lambda: lmtp.mail(message.sender),
                    lambda: lmtp.rcpt(message.recipients[0]),
                    lambda: lmtp.data(message.octets)):
        try:
            code, _ = command()
        except smtplib.SMTPDataError as error:
            code = error.smtp_code
        if code != 250:
            break
    return code


def hold_talk(box, user, commands, last, seconds=30):
    """Send commands of the hold protocol. @return the answers' words"""
    lines = []
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(seconds)
        sock.connect(str(box.dir / "run" / "hold.sock"))
        sock.sendall(b"VERSION\trestante-hold\t1\t0\nUSER\t" +
                     user.encode() + b"\n" + commands)
        for line in sock.makefile("rb"):
            lines.append(line.rstrip(b"\n").split(b"\t"))
            if lines[-1][0] in (last, b"NO"):
                break
    return lines


def held(box, user):
    """The number of held messages; -1: restante-hold did not answer."""
    answer = hold_talk(box, user, b"", b"OK")
    if answer and answer[-1][0] == b"OK":
        return int(answer[-1][1])
    return -1


def release(box, user):
    """Fallback of all that is held. @return whether all of it went"""
    answer = hold_talk(box, user, b"RELEASE\tALL\n", b"RELEASED")
    return (bool(answer) and answer[-1][0] == b"RELEASED" and
            answer[-1][2:4] == [b"0", b"0"])


def collect(box, user, maildir, seconds, port=None, env=None, log=None):
    """restante register --once. @return its status; None: it did not end"""
    with open(log or box.dir / "log" / "client.log", "ab") as output:
        process = subprocess.Popen(
            [box.bin("restante"), "register", user, "--once",
             "--server", f"127.0.0.1:{port or box.env['TLS_PORT']}",
             "--ca-file", box.env["CA_FILE"],
             "--password-file", box.env["PASSWORD_FILE"],
             "--maildir", str(maildir)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def add_users(box, names):
    """Enrolled ones, made after traveller0. Dovecot is started again."""
    old = f"traveller0@{rig.DOMAIN}"
    path = box.dir / "dovecot" / "users"
    model = path.read_text().splitlines()[0]
    assert model.startswith(old)
    box.stop("dovecot")
    with open(path, "a", encoding="ascii") as file:
        file.writelines(model.replace(old, name) + "\n" for name in names)
    box.start("dovecot")
