#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Drains over emulated links: Restante beside what users would take instead.

A Postfix and a Dovecot at one end of a link (see link.c) hold mail, and one
program after the other fetches it to the other end. A program has finished
when every message is durable there; raw TCP only carries the same octets.

On loopback the disk takes most of the time: there all are compared with rsync,
and each runs several times; the median counts.

usage: drain.py BUILD [--quick] [--messages N] [--peers NAME,...]
                [--links NAME,...] [--json FILE]

A link is named after its round trip and loss, like "250ms" or "600ms-1%", or
"loopback". A program that would take very long gets fewer messages, and its
seconds are scaled: they are shown with a ~. The NAMEs of --peers may be
shortened.
"""
import collections
import os
import shlex
import shutil

import link as links
import peers as everybody
from server import (Server, directory, end_on_signals, letters,
                    parse_arguments, write_json)

MESSAGES = 1000
LOOPBACK_RUNS = 5    # these are short, and the middle one counts
QUICK_LOOPBACK_RUNS = 3
BUSY = 1.0      # load from others that is worth a word
# what one message costs fetchmail, in round trips, more or less
FETCHMAIL_ROUND_TRIPS = 5
FETCHMAIL_SECONDS = 40
# one lost in a hundred holds up congestion control that goes by loss
LOSS_BASED_PART = 10


class Cell:
    """One link and how congestion is controlled on it."""

    def __init__(self, rtt_ms, loss=0.0, congestion=(), part=1,
                 loopback=False):
        self.rtt_ms, self.loss, self.loopback = rtt_ms, loss, loopback
        self.congestion = congestion
        self.part = part        # every so many of the messages
        self.name = "loopback" if loopback else f"{rtt_ms}ms" + (
            f"-{loss * 100:g}%" if loss else "")


def cells(default, quick):
    """@param default the congestion control of this machine"""
    loopback = Cell(0, congestion=(default,), loopback=True)
    if quick:
        return [loopback, Cell(250, congestion=(default,))]
    lossless = [Cell(rtt, congestion=(default,))
                for rtt in (0, 50, 250, 600)]
    lossy = [Cell(rtt, .01, ("bbr",)) for rtt in (0, 50, 250, 600)]
    slow = [Cell(rtt, .01, links.LOSS_BASED, LOSS_BASED_PART)
            for rtt in (0, 50, 250, 600)]
    return [loopback, *lossless, *lossy, *slow]


def enough(peer, cell, count):
    """How many of count messages tell how long all would take?"""
    if not isinstance(peer, everybody.Fetchmail):
        return count
    one = .04 + FETCHMAIL_ROUND_TRIPS * cell.rtt_ms / 1000
    return min(count, max(10, int(FETCHMAIL_SECONDS / one)))


class Run:
    """All that is measured, in one run."""

    def __init__(self, link, server, client_postfix, scratch, arguments):
        self.link, self.server, self.scratch = link, server, scratch
        self.arguments = arguments
        self.rows, self.measures = [], {}
        self.letters = {}
        self.peers = [
            everybody.RawTcp(), everybody.Rsync(), everybody.Restante(),
            everybody.Etrn(client_postfix), everybody.Mbsync()]
        if not arguments.quick:
            self.peers.append(everybody.Fetchmail(client_postfix))
        if arguments.peers:
            wanted = [name.lower() for name in arguments.peers.split(",")]
            # a measure of the others is always there
            self.peers = self.peers[:1] + [
                peer for peer in self.peers[1:]
                if any(name in peer.name.lower() for name in wanted)]

        for peer in self.peers:
            if peer.program and not shutil.which(peer.program):
                print(f"{peer.name}: not here; see packaging/deps --bench")
        self.peers = [peer for peer in self.peers
                      if not peer.program or shutil.which(peer.program)]

    def mail(self, count):
        if count not in self.letters:
            self.letters[count] = letters(count)
        return self.letters[count]

    def set_link(self, cell, congestion):
        used = self.link.congestion(*congestion)
        if not cell.loopback:
            self.link.set(cell.rtt_ms, loss=cell.loss)
        return used

    def drain(self, peer, place, cell, congestion, count):
        """@return what the drain did, and how many messages it had"""
        some = enough(peer, cell, count)
        mail = self.mail(some)
        peer.prepare(place, mail)
        self.set_link(cell, (congestion,))
        return (*peer.drain(place, mail), some)

    def measure(self, cell, congestion, count):
        """@return name and seconds of what the others are compared with"""
        key = (cell.name, congestion, count)
        if key not in self.measures:
            # a peer has chosen a control of its own: raw TCP with the same
            raw = self.peers[0]
            seconds = self.drain(raw, self.place(cell), cell, congestion,
                                 count)[0]
            self.measures[key] = (raw.name, seconds)
        return self.measures[key]

    def place(self, cell):
        return everybody.Place(self.link, self.server, self.scratch,
                               cell.loopback)

    def cell(self, cell):
        # loading is no part of it, and goes over loopback
        try:
            used = self.set_link(cell, cell.congestion)
        except OSError as error:
            print(f"{cell.name}: left out: {error}", flush=True)
            return
        count = max(10, self.arguments.messages // cell.part)
        laps = QUICK_LOOPBACK_RUNS if self.arguments.quick \
            else LOOPBACK_RUNS
        last = laps - 1 if cell.loopback else 0
        runs, place = collections.defaultdict(list), self.place(cell)
        # in turns, as what others do here comes and goes
        for lap in range(last + 1):
            for peer in self.peers:
                if peer.only_loopback and not cell.loopback:
                    continue
                if peer.slow and lap < last:
                    continue
                runs[peer].append(self.drain(peer, place, cell, used, count))
                if lap == last:
                    self.row(cell, peer, used, count, runs[peer])
        place.clean()

    def row(self, cell, peer, used, count, runs):
        runs.sort(key=lambda run: run[0])
        seconds, command, more, some = runs[len(runs) // 2]
        octets = sum(map(len, self.mail(some)))
        scaled = seconds * sum(map(len, self.mail(count))) / octets
        if peer.is_measure:
            self.measures[cell.name, used, count] = (peer.name, seconds)
        # a socket may have been told to do better than the system
        control = more.get("congestion", used)
        measure, measure_seconds = self.measure(cell, control, count)
        if isinstance(command, list):
            command = shlex.join(map(str, command))
        row = {"link": cell.name, "congestion": control, "peer": peer.name,
               "tls": peer.tls, "messages": some, "octets": octets,
               "seconds": round(seconds, 3), "of": count,
               "scaled_seconds": round(scaled, 3),
               "runs_seconds": [round(run[0], 3) for run in runs],
               "measure": measure,
               "ratio": round(scaled / measure_seconds, 3),
               "command": command, **more}
        self.rows.append(row)
        print_row(row)


def print_row(row):
    about = "~" if row["messages"] != row["of"] else " "
    more = "".join(f"  {key[:-2].replace('_', ' ')} {row[key]:.2f}"
                   for key in ("signed_in_s", "first_stored_s") if key in row)
    print(f"{row['link']:10} {row['congestion']:6} {row['peer']:15}"
          f"{'TLS' if row['tls'] else '':4}{row['messages']:5}/{row['of']:<5}"
          f"{about}{row['scaled_seconds']:9.2f} s "
          f"{about}{row['ratio']:7.2f} x {row['measure']}{more}", flush=True)


def print_commands(rows):
    seen = set()
    print("commands:")
    for row in rows:
        if row["peer"] not in seen:
            seen.add(row["peer"])
            print(f"  {row['peer']}: {row['command']}")


def say_load():
    load = os.getloadavg()[0]
    print(f"load before: {load:.2f} on {os.cpu_count()} processors"
          + (": others are busy here, look at ratios only"
             if load > BUSY else ""), flush=True)
    return load


def measure(arguments):
    default = links.CONGESTION.read_text().strip()
    with directory() as scratch, links.Link(arguments.build) as link:
        link.enter("server")
        chosen = cells(default, arguments.quick)
        if arguments.links:
            names = arguments.links.split(",")
            chosen = [cell for cell in cells(default, False)
                      if cell.name in names]
        count = arguments.messages
        counts = {count, *(enough(everybody.Fetchmail(None), cell,
                                  max(10, count // cell.part))
                           for cell in chosen),
                  *(max(10, count // cell.part) for cell in chosen)}
        people = [f"{name}{n}" for name in ("mbsync", "fetchmail")
                  for n in counts]
        with Server(scratch / "s", arguments.build, people) as server:
            run = Run(link, server, everybody.ClientPostfix(scratch / "p"),
                      scratch, arguments)
            for cell in chosen:
                run.cell(cell)
    return run.rows


def main():
    arguments = parse_arguments(__doc__, messages=int, peers=str, links=str)
    if arguments.messages is None:
        arguments.messages = 100 if arguments.quick else MESSAGES
    end_on_signals()
    load = say_load()
    rows = measure(arguments)
    print_commands(rows)
    write_json({"drain": rows, "load_before": load}, arguments.json)


if __name__ == "__main__":
    main()
