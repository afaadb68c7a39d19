# SPDX-License-Identifier: MIT
"""A password for one device, as packaging/dovecot/90-restante.conf advises."""
import imaplib
import os
import pathlib
import re
import tempfile

import pytest

from conftest import DOMAIN, TOP
from dovecot import EXAMPLE
from test_sign_in import Peer

USER = f"traveller0@{DOMAIN}"


@pytest.fixture(scope="module")
def sandbox(make_sandbox):
    example = (TOP / "packaging/dovecot" / EXAMPLE).read_text()
    block = re.search(r"^#(protocol restante \{\n(?:#  .*\n)+#\})", example,
                      re.M)[1].replace("\n#", "\n")
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:
        os.chmod(scratch, 0o755)
        extra, devices = (pathlib.Path(scratch) / name
                          for name in ("extra.conf", "devices"))
        extra.write_text(block.replace("/etc/dovecot/restante-devices",
                                       str(devices)) + "\n")
        devices.write_text(f"{USER}:{{PLAIN}}of-the-laptop\n")
        sandbox = make_sandbox("--extra-dovecot", str(extra))
        yield sandbox
        sandbox.down()


@pytest.mark.parametrize("password,code", [
    ("of-the-laptop", 235), (None, 235), ("wrong", 535)])
def test_sign_in(sandbox, password, code):
    peer = Peer(sandbox)
    peer.ehlo()
    assert peer.plain(USER, password or sandbox.password)[0] == code
    peer.close()


def test_good_for_nothing_else(sandbox):
    imap = imaplib.IMAP4("127.0.0.1", int(sandbox.env["IMAP_PORT"]))
    with pytest.raises(imaplib.IMAP4.error):
        imap.login(USER, "of-the-laptop")
    imap.login(USER, sandbox.password)
    imap.logout()


def test_of_this_user_only(sandbox):
    peer = Peer(sandbox)
    peer.ehlo()
    assert peer.plain(f"traveller1@{DOMAIN}", "of-the-laptop")[0] == 535
    peer.close()
