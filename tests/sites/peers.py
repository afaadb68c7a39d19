# SPDX-License-Identifier: MIT
"""Programs that a site has beside Postfix and Dovecot."""
import smtplib
import subprocess

import dovecot
from bed import HERE, wait_for


def keys(base):
    """A pair of keys for mail_crypt."""
    private, public = base / "private.pem", base / "public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-out", private],
                   check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out",
                    public], check=True, capture_output=True)


def catch_all_map(base):
    (base / "catch-all").write_text(
        "/^((resident|traveller[0-9])@example.test)$/ $1\n"
        "/@example.test$/ traveller9@example.test\n")


def open_log(site):
    """dovecot-lda runs as the mail user, and logs by itself."""
    (site.dir / "log" / "dovecot.log").chmod(0o666)


def relay(site):
    """relay.py from PORT2 to PORT3."""
    site.start_peer("/usr/bin/python3", HERE / "relay.py", site.address,
                    "@PORT2@", "@PORT3@")
    site.wait_for_port("PORT2")


def opendkim(site):
    """A milter that signs, on PORT2."""
    base = site.dir / "opendkim"
    base.mkdir()
    key = base / "key"
    subprocess.run(["openssl", "genrsa", "-out", key, "1024"], check=True,
                   capture_output=True)
    key.chmod(0o600)
    (base / "conf").write_text(f"""
Socket inet:{site.words['PORT2']}@127.0.0.1
Mode s
Domain remote.test
Selector test
KeyFile {key}
InternalHosts 0.0.0.0/0
RequireSafeKeys no
Background no
PidFile {base}/pid
Syslog no
""")
    site.start_peer("opendkim", "-f", "-x", base / "conf")
    site.wait_for_port("PORT2")


def lmtp(site, user, octets, socket="lmtp.sock"):
    """What Postfix does when it delivers a message."""
    with smtplib.LMTP(str(site.dir / "run" / socket)) as server:
        server.sendmail("sender@remote.test", site.address_of(user),
                        octets.replace(b"\n", b"\r\n"))


def through_front(site, user, octets):
    lmtp(site, user, octets, "front.sock")


def lda(site, user, octets):
    subprocess.run([site.bin("private"), "setpriv", "--reuid", "mail",
                    "--regid", "mail", "--clear-groups",
                    "/usr/lib/dovecot/dovecot-lda",
                    "-c", site.env["DOVECOT_CONF"], "-f", "sender@remote.test",
                    "-d", site.login(user)], input=octets, check=True)


def front(site):
    """Another Dovecot, which has no mail, and hands what it gets by LMTP on to
    this one's LMTP service on PORT2."""
    base, port = site.dir / "front", site.words["PORT2"]
    base.mkdir()
    (base / "dovecot.conf").write_text(dovecot.HEAD + dovecot.conf(f"""
base_dir = {site.dir}/run/front
state_dir = {base}
log_path = {site.dir}/log/front.log
instance_name = front
protocols = lmtp
listen = 127.0.0.1
ssl = no
lmtp_proxy = yes
passdb {{
  driver = static
  args = nopassword=y proxy=y protocol=lmtp host=127.0.0.1 port={port}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail
}}
service lmtp {{
  unix_listener {site.dir}/run/front.sock {{
    mode = 0600
    user = postfix
  }}
}}
"""))
    site.start_peer(site.bin("private"), "dovecot", "-F", "-c",
                    base / "dovecot.conf")
    wait_for("the front", (site.dir / "run" / "front.sock").exists)
