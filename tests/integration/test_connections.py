# SPDX-License-Identifier: MIT
"""The number of clients that policyd takes."""
import os
import pathlib
import re
import resource
import signal
import socket
import ssl

import pytest

from test_worker import workers_of

MAX = 4


@pytest.fixture
def sandbox(make_sandbox):
    sandbox = make_sandbox()
    sandbox.stop("policyd")
    with open(sandbox.env["POLICYD_CONF"], "a") as conf:
        conf.write(f"workers = 2\nmax_connections = {MAX}\n")
    sandbox.start("policyd")
    return sandbox


def client(sandbox):
    context = ssl.create_default_context(cafile=sandbox.env["CA_FILE"])
    raw = socket.create_connection(
        ("127.0.0.1", int(sandbox.env["TLS_PORT"])), timeout=10)
    tls = context.wrap_socket(raw, server_hostname="mx.example.test")
    assert tls.recv(4096).startswith(b"220 ")
    return tls


def test_one_worker_has_them_all(sandbox):
    """The kernel gives connections to the worker that is quickest."""
    stopped = workers_of(sandbox)[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        clients = [client(sandbox) for _ in range(MAX)]
        for tls in clients:
            tls.sendall(b"NOOP\r\n")
            assert tls.recv(4096).startswith(b"250 ")
            tls.close()
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert "as many as are allowed" not in sandbox.log("policyd")


def restart_with(sandbox, descriptors, connections):
    """@return policyd's log lines about its descriptors"""
    before = len(sandbox.log("policyd"))
    sandbox.stop("policyd")
    path = pathlib.Path(sandbox.env["POLICYD_CONF"])
    path.write_text(re.sub("max_connections = .*",
                           f"max_connections = {connections}",
                           path.read_text()))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, limits[1]))
    try:
        sandbox.start("policyd")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    return re.search("descriptor limit.*", sandbox.log("policyd")[before:])[0]


def test_descriptors(sandbox):
    """policyd raises the limit as far as it can; when there are too few, it
    says so."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert restart_with(sandbox, 256, 10) == \
        f"descriptor limit: descriptors={hard}"
    if hard >= 1000000:
        pytest.skip("no limit of descriptors to speak of")
    assert restart_with(sandbox, 256, hard) == \
        "descriptor limit is too low for max_connections: " \
        f"descriptors={hard} wanted={hard + 256} max_connections={hard}"
