# SPDX-License-Identifier: MIT
"""The servers that the client believes: to others it says nothing."""
import base64
import os
import socket
import ssl
import subprocess
import threading

import pytest

from conftest import BUILD

# that of the command; Python's ssl may have another one
VERSION = tuple(map(int, subprocess.run(
    ["openssl", "version"], capture_output=True,
    text=True).stdout.split()[1].split(".")[:2]))
CLIENT = BUILD / "stage" / "usr" / "bin" / "restante"


def openssl(*arguments, **options):
    subprocess.run(["openssl", *map(str, arguments)], check=True,
                   capture_output=True, timeout=30, **options)


class Certificates:
    def __init__(self, directory):
        self.dir = directory
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-out", self.key)
        for name in ("ca", "other"):
            openssl("req", "-x509", "-key", self.key, "-days", 10, "-subj",
                    f"/CN={name}", "-out", self.path(name))
        self.make("middle", "CN=middle", "basicConstraints=critical,CA:TRUE")

    @property
    def key(self):
        return self.dir / "key.pem"

    def path(self, name):
        return self.dir / f"{name}.pem"

    def make(self, name, subject, extensions, signer="ca", days=10):
        request = self.dir / "request.pem"
        openssl("req", "-new", "-key", self.key, "-subj", f"/{subject}",
                "-out", request)
        # OpenSSL 3.4 takes no negative days, and earlier ones no dates
        if days < 0 and VERSION >= (3, 4):
            validity = ["-not_before", "20200101000000Z",
                        "-not_after", "20200102000000Z"]
        else:
            validity = ["-days", days]
        openssl("x509", "-req", "-in", request, "-CA", self.path(signer),
                "-CAkey", self.key, "-CAcreateserial", *validity,
                "-extfile", "/dev/stdin", "-out", self.path(name),
                input=extensions.encode())
        return self.path(name)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


class Server:
    """Shows a certificate, and records the lines that the client says under
    it."""

    def __init__(self, certificates, chain, protocols=("restante",)):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain, certificates.key)
        if protocols:
            self.context.set_alpn_protocols(list(protocols))
        self.greets = not protocols
        self.context.sni_callback = self.on_name
        self.names, self.heard, self.alpn = [], b"", None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def on_name(self, _socket, name, _context):
        self.names.append(name)

    def run(self):
        try:
            raw, _ = self.listener.accept()
            raw.settimeout(10)
            with self.context.wrap_socket(raw, server_side=True) as tls:
                self.alpn = tls.selected_alpn_protocol()
                if self.greets:
                    tls.sendall(b"220 mx ESMTP\r\n")
                self.heard = tls.recv(1000)
                if b"ATRN\r\n" in self.heard \
                        and b"XRESTANTE" not in self.heard:
                    self.heard += tls.recv(1000)
        except OSError:
            pass

    def close(self):
        self.listener.close()
        self.thread.join(20)


# name, extensions, signed by, days, dialled, what the client says
CASES = [
    ("name", "subjectAltName=DNS:localhost", "ca", 10, "localhost", None),
    ("wildcard", "subjectAltName=DNS:*.localhost", "ca", 10, "localhost",
     "hostname mismatch"),
    ("address", "subjectAltName=IP:127.0.0.1", "ca", 10, "127.0.0.1", None),
    ("chain", "subjectAltName=DNS:localhost", "middle", 10, "localhost", None),
    ("other name", "subjectAltName=DNS:mx.example.test", "ca", 10, "localhost",
     "hostname mismatch"),
    ("name for address", "subjectAltName=DNS:127.0.0.1", "ca", 10,
     "127.0.0.1", "IP address mismatch"),
    ("other address", "subjectAltName=IP:127.0.0.2", "ca", 10, "127.0.0.1",
     "IP address mismatch"),
    ("other authority", "subjectAltName=DNS:localhost", "other", 10,
     "localhost", "certificate: "),
    ("expired", "subjectAltName=DNS:localhost", "ca", -1, "localhost",
     "expired"),
    ("not for servers",
     "subjectAltName=DNS:localhost\nextendedKeyUsage=clientAuth", "ca", 10,
     "localhost", "certificate: "),
]


def dial(certificates, tmp_path, host, server):
    password = tmp_path / "password"
    password.write_text("secret\r\n")
    result = subprocess.run(
        [CLIENT, "register", "me@example.test", "--once", "--server",
         f"{host}:{server.port}", "--ca-file", certificates.path("ca"),
         "--password-file", password, "--maildir", tmp_path / "Maildir",
         "--hostname", "laptop"],
        capture_output=True, text=True, timeout=30,
        env=dict(os.environ, HOME=str(tmp_path)))
    server.close()
    assert result.returncode == 75, result.stderr
    return result


def test_server_of_another_make(certificates, tmp_path):
    """To a server without our ALPN protocol the client says one command at a
    time."""
    leaf = certificates.make("leaf", "CN=leaf", "subjectAltName=DNS:localhost",
                             "ca", 10)
    server = Server(certificates, leaf, protocols=())
    dial(certificates, tmp_path, "localhost", server)
    assert server.alpn is None
    assert server.heard == b"EHLO laptop\r\n"


@pytest.mark.parametrize("name,extensions,signer,days,host,said", CASES,
                         ids=[case[0] for case in CASES])
def test_certificate(certificates, tmp_path, name, extensions, signer, days,
                     host, said):
    leaf = certificates.make("leaf", "CN=leaf", extensions, signer, days)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(leaf.read_bytes() + (
        certificates.path("middle").read_bytes()
        if signer == "middle" else b""))
    server = Server(certificates, chain)
    result = dial(certificates, tmp_path, host, server)
    if said is None:
        # the whole sign-in, in one round trip: the greeting never came; and
        # all that the server needs to push
        token = base64.b64encode(b"\0me@example.test\0secret")
        sign_in = b"EHLO laptop\r\nAUTH PLAIN " + token + b"\r\nATRN\r\n"
        assert server.heard.startswith(sign_in + b"220 "), result.stderr
        assert server.heard.endswith(b"\r\n250 XRESTANTE\r\n")
        assert server.alpn == "restante"
        assert server.names == [None if host[0] == "1" else host]
    else:
        assert server.heard == b""
        assert said in result.stderr
    assert "others may read the password" in result.stderr
    assert "secret" not in result.stderr
