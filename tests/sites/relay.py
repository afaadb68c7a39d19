#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A filter between two SMTP servers, as a virus scanner is one: what one side
says goes to the other, and each message gets a header field on top.

usage: relay.py ADDRESS PORT TO_PORT
"""
import socket
import sys
import threading


def copy(source, sink, added=None):
    """Until the source ends. `added` goes in front of what the client sends
    after the line DATA, which it may do only when it has the server's 354."""
    last_line = b""
    with source, sink:
        while octets := source.recv(65536):
            if added and last_line.upper() == b"DATA\r\n":
                octets = added + octets
            last_line = (last_line + octets).rsplit(b"\r\n", 2)[-2:]
            last_line = (last_line[0][-100:] + b"\r\n"
                         if last_line[-1] == b"" else b"")
            sink.sendall(octets)
        sink.shutdown(socket.SHUT_WR)


def main(address, port, to_port):
    with socket.create_server((address, int(port))) as listener:
        while True:
            client, _ = listener.accept()
            server = socket.create_connection((address, int(to_port)))
            for arguments in ((client, server, b"X-Relay: looked at\r\n"),
                              (server, client.dup())):
                threading.Thread(target=copy, args=arguments,
                                 daemon=True).start()


main(*sys.argv[1:])
