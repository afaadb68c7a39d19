#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A new message: the time from Dovecot's 250 until it is durable at the client.

Beside it, in the same run on the same Dovecot, IMAP IDLE: the message goes to a
user who is not enrolled; a client in IDLE is told of it, fetches it, and writes
it to disk with fsync. The two take turns, message by message; on loopback, and
over emulated links (see link.c).

usage: push-latency.py BUILD [--quick] [--messages N] [--json FILE]
"""
import os
import smtplib
import socket
import subprocess
import time

import link as links
from server import (DOMAIN, SENDER, Server, directory, end_on_signals,
                    parse_arguments, percentile, write_json)

# what IDLE takes besides the round trips, which is what takes long here
IDLE_SECONDS = .6
SECONDS = 60
QUICK_SECONDS = 4
# a short letter, and one that takes 4 ms on the link and more than one packet
OCTETS = (1000, 5000)


class Idler:
    """An IMAP client that waits in IDLE and keeps what it is told of."""

    def __init__(self, sandbox, user, directory, address):
        self.directory = directory
        directory.mkdir()
        self.sock = socket.create_connection(
            (address, int(sandbox.env["IMAP_PORT"])))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")
        self.line()
        self.command(f"LOGIN {user}@{DOMAIN} {sandbox.password}")
        self.count = 0
        for line in self.command("SELECT INBOX").splitlines():
            if line.endswith(b" EXISTS"):
                self.count = int(line.split()[1])
        self.idle()

    def line(self):
        line = self.file.readline()
        assert line, "Dovecot has closed the connection"
        return line

    def command(self, text):
        """@return the octets of a literal, or else the lines"""
        self.sock.sendall(f"a {text}\r\n".encode())
        octets, lines = None, b""
        while not (line := self.line()).startswith(b"a "):
            lines += line
            if line.endswith(b"}\r\n"):
                octets = self.file.read(int(line.rsplit(b"{")[1][:-3]))
        assert line.startswith(b"a OK"), line
        return lines if octets is None else octets

    def idle(self):
        self.sock.sendall(b"a IDLE\r\n")
        assert self.line().startswith(b"+")

    def wait(self):
        """@return when the next message was on disk"""
        while not self.line().endswith(b" EXISTS\r\n"):
            pass
        self.sock.sendall(b"DONE\r\n")
        while not self.line().startswith(b"a OK"):
            pass
        self.count += 1
        octets = self.command(f"FETCH {self.count} BODY[]")
        path = self.directory / str(self.count)
        with open(path, "wb") as out:
            out.write(octets)
            out.flush()
            os.fsync(out.fileno())
        directory = os.open(self.directory, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        done = time.monotonic()
        self.idle()
        return done

    def close(self):
        self.file.close()
        self.sock.close()


def start_client(server, address, maildir):
    """It writes "stored" when a message is durable."""
    command = [server.bin("restante"), "register", f"traveller0@{DOMAIN}",
               "--server", f"{address}:{server.env['TLS_PORT']}",
               "--ca-file", server.env["CA_FILE"],
               "--password-file", server.env["PASSWORD_FILE"],
               "--maildir", str(maildir)]
    client = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE)
    until_said(client, b"signed in")
    return client


def until_said(client, text):
    while text not in (line := client.stderr.readline()):
        assert line, "the client has ended"


def text_of_letter(octets):
    head = f"From: {SENDER}\r\nSubject: latency\r\n\r\n"
    line = "a line of a letter of some length\r\n"
    return head + line * ((octets - len(head)) // len(line))


def take_turns(server, client, idler, text, messages, rtt_ms):
    """@return milliseconds of each, pushed and told by IDLE"""
    pushed, idled = [], []
    with smtplib.LMTP(f"{server.dir}/run/lmtp.sock") as lmtp:
        for _ in range(messages):
            # the last one's acknowledgements are to be out of the way
            time.sleep(rtt_ms / 1000)
            lmtp.sendmail(SENDER, f"traveller0@{DOMAIN}", text)
            sent = time.monotonic()
            until_said(client, b"stored")
            pushed.append((time.monotonic() - sent) * 1000)
            lmtp.sendmail(SENDER, f"resident@{DOMAIN}", text)
            sent = time.monotonic()
            idled.append((idler.wait() - sent) * 1000)
    return pushed, idled


def measure(link, server, cell, messages, scratch):
    rtt_ms, loopback, wanted = cell
    try:
        congestion = link.congestion(*wanted)
    except OSError as error:
        print(f"left out: {error}")
        return []
    name = ("loopback" if loopback else f"{rtt_ms}ms") + f" {congestion}"
    link.set(rtt_ms)
    # policyd's connections begin with what is the system's when it starts
    server.stop("policyd")
    server.start("policyd")
    address = "127.0.0.1" if loopback else links.SERVER
    with link.at("server" if loopback else "client"):
        client = start_client(server, address, scratch / f"laptop {name}")
        idler = Idler(server, "resident", scratch / f"idler {name}", address)
    result = []
    try:
        for octets in OCTETS:
            times = take_turns(server, client, idler, text_of_letter(octets),
                               messages // len(OCTETS), rtt_ms)
            result += rows(name, rtt_ms, octets, *times)
    finally:
        idler.close()
        client.terminate()
        client.wait(10)
    return result


def rows(name, rtt_ms, octets, pushed, idled):
    result = []
    for peer, values in (("restante push", pushed),
                         ("IMAP IDLE + FETCH", idled)):
        row = {"link": name, "peer": peer, "messages": len(values),
               "octets": octets}
        for key, part in (("p50_ms", .5), ("p99_ms", .99)):
            row[key] = round(percentile(values, part), 2)
        row["p50_beyond_half_a_round_trip_ms"] = round(
            row["p50_ms"] - rtt_ms / 2, 2)
        result.append(row)
        print(f"{name:14} {octets:5} octets {peer:18}{len(values):5}   "
              f"p50 {row['p50_ms']:8.2f} ms (half a round trip "
              f"{row['p50_beyond_half_a_round_trip_ms']:+8.2f})   "
              f"p99 {row['p99_ms']:8.2f} ms", flush=True)
    return result


def cells(default, quick):
    """@return round trip, whether on loopback, congestion control"""
    result = [(0, True, (default,)), (250, False, (default,))]
    if quick:
        return result
    result.insert(1, (50, False, (default,)))
    # it also sets the pace of a few packets after a silence
    if default not in links.LOSS_BASED:
        result += [(50, False, links.LOSS_BASED),
                   (250, False, links.LOSS_BASED)]
    return result


def main():
    arguments = parse_arguments(__doc__, messages=int)
    end_on_signals()
    result = []
    with directory() as scratch, links.Link(arguments.build) as link:
        link.enter("server")
        with Server(scratch / "s", arguments.build) as server:
            for cell in cells(links.CONGESTION.read_text().strip(),
                              arguments.quick):
                one = IDLE_SECONDS + 5 * cell[0] / 1000
                seconds = QUICK_SECONDS if arguments.quick else SECONDS
                count = arguments.messages or int(seconds / one)
                result += measure(link, server, cell, count, scratch)
    write_json({"new_message": result}, arguments.json)


if __name__ == "__main__":
    main()
