# SPDX-License-Identifier: MIT
"""The processes of policyd: their descriptors and rights."""
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess

from conftest import wait_for
from rights import capabilities, needs


def core_of(sandbox):
    return int((sandbox.dir / "run" / "policyd.pid").read_text())


def workers_of(sandbox):
    return wait_for("workers", lambda: [
        int(pid) for pid in subprocess.run(
            ["pgrep", "-P", str(core_of(sandbox))], capture_output=True,
            text=True).stdout.split()])


def keeper_of(sandbox):
    """It is no child of the core, and has the core's command line."""
    conf = sandbox.env["POLICYD_CONF"].encode()
    for path in pathlib.Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text() == "policyd-keeper\n" and \
                    conf in path.with_name("cmdline").read_bytes():
                return int(path.parent.name)
        except OSError:
            pass
    return None


def status(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines())


def socket_paths(pid):
    """The names of the Unix sockets that the process has open."""
    names = {}
    for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        names[fields[6]] = fields[7] if len(fields) > 7 else ""
    found = set()
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        match = re.match(r"socket:\[(\d+)\]", os.readlink(fd))
        if match and names.get(match.group(1)):
            found.add(names[match.group(1)])
    return found


def test_rights(sandbox):
    core = status(core_of(sandbox))
    assert "0" not in core["Uid"].split()
    assert "0" not in core["Gid"].split()
    assert int(core["CapEff"], 16) == 0
    for pid in workers_of(sandbox):
        # after it has started
        wait_for("confinement",
                 lambda: status(pid)["Seccomp"].strip() == "2" or None)
        worker = status(pid)
        for name in ("Uid", "Gid", "Groups"):
            assert worker[name].split() == core[name].split()
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(worker[name], 16) == 0, (name, worker[name])
        assert worker["NoNewPrivs"].strip() == "1"


def test_keeper(sandbox):
    """Root's right to read and write files, and no other."""
    keeper = status(keeper_of(sandbox))
    assert keeper["Uid"].split() == ["0"] * 4
    for name in ("CapPrm", "CapEff"):  # DAC_OVERRIDE and DAC_READ_SEARCH
        assert int(keeper[name], 16) == 0b110 & capabilities(), (
            name, keeper[name])


not_dumpable = needs("SYS_PTRACE", "looks into a process that is not dumpable")


@not_dumpable
def test_descriptors_of_the_keeper(sandbox):
    """One socket pair, and nothing else."""
    pid = keeper_of(sandbox)
    links = [os.readlink(fd)
             for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
    assert sorted(link.split(":")[0] for link in links) == \
        ["/dev/null"] * 3 + ["socket"]
    assert socket_paths(pid) == set()


@not_dumpable
def test_descriptors(sandbox):
    """A worker has its listeners and one socket pair with the core: nothing of
    Postfix, of Dovecot, or of the plugin's notes."""
    core = core_of(sandbox)
    assert socket_paths(core), "the core has named sockets"
    for pid in workers_of(sandbox):
        assert socket_paths(pid) == set()
        links = [os.readlink(fd)
                 for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
        assert not [link for link in links if "memfd" in link], links


def resumed(sandbox, context, session):
    """Dial with a session. @return whether it was resumed, the session for
    next time"""
    raw = socket.create_connection(
        ("127.0.0.1", int(sandbox.env["TLS_PORT"])), timeout=20)
    with context.wrap_socket(raw, server_hostname="mx.example.test",
                             session=session) as tls:
        # the ticket comes after the handshake
        assert tls.recv(4096).startswith(b"220 ")
        return tls.session_reused, tls.session


@needs("DAC_READ_SEARCH", "the core reads the key again")
def test_sessions_are_resumed(sandbox):
    """Any worker resumes a session, until a reload."""
    assert len(workers_of(sandbox)) > 1 or os.cpu_count() == 1
    context = ssl.create_default_context(cafile=sandbox.env["CA_FILE"])
    reused, session = resumed(sandbox, context, None)
    assert not reused
    for _ in range(20):
        reused, session = resumed(sandbox, context, session)
        assert reused
    os.kill(core_of(sandbox), signal.SIGHUP)
    wait_for("new keys", lambda: not resumed(sandbox, context, session)[0])
