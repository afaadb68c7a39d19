#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The link of link.c, and a test that its delay, rate and loss are as set.

usage: link.py BUILD
"""
import contextlib
import ctypes
import os
import pathlib
import select
import socket
import statistics
import subprocess
import sys
import threading
import time

SERVER, CLIENT = "10.77.0.1", "10.77.0.2"
ADDRESS = {"server": SERVER, "client": CLIENT}
CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33
CONGESTION = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")
LOSS_BASED = ("cubic", "reno")
RATE = 10_000_000
PACKET = 1500
LIBC = ctypes.CDLL(None, use_errno=True)


def _setns(fd):
    """For this thread, and for the processes that it starts."""
    if LIBC.setns(fd, CLONE_NEWNET) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")


class Link:
    """Two namespaces and the link between them; use it with `with`."""

    def __init__(self, build):
        program = pathlib.Path(build) / "tests" / "bench" / "link"
        self.process = subprocess.Popen(
            [program, SERVER, CLIENT], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        words = self.process.stdout.readline().split()
        if words[:1] != ["ready"]:
            raise OSError(f"{program} did not start; it needs to be root")
        self.ends = {
            name: os.open(f"/proc/{self.process.pid}/fd/{fd}",
                          os.O_RDONLY | os.O_CLOEXEC)
            for name, fd in zip(ADDRESS, words[1:])}
        self.ends["outside"] = os.open("/proc/self/ns/net",
                                       os.O_RDONLY | os.O_CLOEXEC)
        self.here = threading.local()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.enter("outside")
        self.process.stdin.close()
        self.process.wait(10)
        for fd in self.ends.values():
            os.close(fd)

    def enter(self, end):
        """From now on this thread's sockets and programs are at that end."""
        _setns(self.ends[end])
        self.here.end = end

    @contextlib.contextmanager
    def at(self, end):
        before = getattr(self.here, "end", "outside")
        self.enter(end)
        try:
            yield
        finally:
            self.enter(before)

    def set(self, rtt_ms=0, rate=RATE, loss=0.0, seed=1, queue=None):
        """Change it; the packets on it are gone.

        The queue is the product of bandwidth and delay, and at least 100
        packets.  Loss is the part that each direction loses.
        @return per direction (to the client, to the server) what has been:
                carried, lost, dropped
        """
        if queue is None:
            queue = max(100, int(rate * rtt_ms / 1000 / 8 / PACKET))
        self.process.stdin.write(f"{int(rtt_ms * 500)} {int(rate)} {queue} "
                                 f"{round(loss * 1e6)} {seed}\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], 10)[0]:
            raise OSError("the link does not answer")
        numbers = [int(n) for n in self.process.stdout.readline().split()]
        names = ("carried", "lost", "dropped")
        return (dict(zip(names, numbers[:3])), dict(zip(names, numbers[3:])))

    def congestion(self, *names):
        """How TCP at both ends controls congestion, unless told otherwise.

        Of names the first that the kernel lets a namespace have: one that is
        not in tcp_allowed_congestion_control is refused, even cubic.
        @return which
        """
        for name in names:
            try:
                for end in ADDRESS:
                    with self.at(end):
                        CONGESTION.write_text(name)
                return name
            except OSError:
                pass
        raise OSError(f"none of {names} can be used")


def raw_tcp(link, octets, client="client", address=SERVER):
    """@return seconds from the client's connect to the last octet"""
    with socket.create_server((address, 0)) as server:

        def serve():
            conn, _ = server.accept()
            with conn:
                conn.sendall(octets)

        # it is where this thread is: at the server's end
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with link.at(client):
            sock = socket.socket()
        start = time.monotonic()
        with sock:
            sock.connect((address, server.getsockname()[1]))
            room = bytearray(1 << 18)
            left = len(octets)
            while left > 0:
                n = sock.recv_into(room)
                assert n > 0, f"{left} octets are missing"
                left -= n
            seconds = time.monotonic() - start
        thread.join()
    return seconds


# -- the test

class Datagrams:
    """A socket at each end; what comes to the server is counted."""

    def __init__(self, link):
        self.server = socket.socket(type=socket.SOCK_DGRAM)
        self.server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE,
                               64 << 20)
        self.server.bind((SERVER, 0))
        with link.at("client"):
            self.client = socket.socket(type=socket.SOCK_DGRAM)
        self.client.connect(self.server.getsockname())

    def round_trip_ms(self):
        start = time.monotonic()
        self.client.send(b"ping")
        octets, address = self.server.recvfrom(64)
        self.server.sendto(octets, address)
        self.client.recv(64)
        return (time.monotonic() - start) * 1000

    def arrive(self, count, size=100, burst=50, pause=.0005, settle=.3):
        """Send count datagrams, a burst at a time; how many arrive?"""
        for n in range(count):
            self.client.send(bytes(size))
            if n % burst == burst - 1:
                time.sleep(pause)
        time.sleep(settle)
        arrived = 0
        while select.select([self.server], [], [], 0)[0]:
            self.server.recv(2048)
            arrived += 1
        return arrived

    def close(self):
        self.server.close()
        self.client.close()


def test(link):
    """@return lines of (what, wanted, measured, whether it is well)"""
    results = []

    def check(what, low, high, value):
        results.append((what, f"{low:g} to {high:g}", round(value, 3),
                        low <= value <= high))

    link.enter("server")
    datagrams = Datagrams(link)
    for rtt_ms in (0, 50, 250, 600):
        link.set(rtt_ms)
        times = [datagrams.round_trip_ms() for _ in range(5)]
        check(f"round trip of {rtt_ms} ms", rtt_ms, rtt_ms + 1.5,
              statistics.median(times))
    counts = []
    for seed in (1, 1, 2):
        link.set(rate=0, loss=.01, seed=seed)
        counts.append(datagrams.arrive(20000))
    # four standard deviations
    for count in counts[1:]:
        check("lost of 20,000 at 1 %", 144, 256, 20000 - count)
    check("the same loss with the same seed", 0, 0, counts[0] - counts[1])
    link.set(queue=100)
    # one is being sent, and some more while the burst goes on
    check("of 400 at once, with a queue of 100", 101, 125,
          datagrams.arrive(400, size=1000, burst=400))
    datagrams.close()
    link.congestion(*LOSS_BASED)
    link.set(10)
    size = 3_000_000
    check("Mbit/s of TCP at 10 Mbit/s with headers", 9.2, 10 * 1448 / 1500,
          size * 8 / raw_tcp(link, bytes(size)) / 1e6)
    link.set(0, rate=0)
    size = 100_000_000
    check("Mbit/s of TCP without limits", 300, 1e6,
          size * 8 / raw_tcp(link, bytes(size)) / 1e6)
    link.enter("outside")
    return results


def main():
    with Link(sys.argv[1]) as link:
        results = test(link)
    for what, wanted, value, well in results:
        print(f"{'ok' if well else 'BAD':4}{what}: {value} ({wanted})")
    sys.exit(not all(line[3] for line in results))


if __name__ == "__main__":
    main()
