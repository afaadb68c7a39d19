#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The accounts of a site, in each of the databases that Dovecot can ask.

As a program, `userdbs.py KIND` is packaging/sandbox's --users COMMAND: it makes
the database and prints Dovecot's passdb and userdb sections. As a module it
takes users off the list of those who are enrolled, as an admin would do it.
"""
import os
import pathlib
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]
                       / "integration"))

import dovecot  # noqa: E402

NAMES = [f"traveller{n}" for n in range(10)] + ["resident"]
ENROLLED = NAMES[:-1]
FIRST_UID = 20000  # of the system users


def wait_for(what, condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.02)


class Userdb:
    """One kind. A subclass has create(), which gives the sections, and
    unenrol_names()."""

    full_names = True  # accounts are user@domain, and not user

    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.etc = self.dir / "dovecot"

    @property
    def addresses(self):
        return [f"{name}@{domain}" for domain in os.environ["DOMAINS"].split()
                for name in NAMES]

    def home(self, account):
        return f"{self.dir}/mail/{account}"

    def write(self, name, text):
        """A file that Dovecot's auth may read."""
        path = self.etc / name
        path.write_text(text)
        shutil.chown(path, "root", "dovecot")
        path.chmod(0o640)
        return path

    def unenrol(self, site, *users):
        self.unenrol_names(site, [site.login(user) for user in users])


class PasswdFile(Userdb):
    """Home, uid and the field in the passwd-file."""

    has_home = True

    def create(self):
        ids = f"{os.environ['MAIL_UID']}:{os.environ['MAIL_GID']}"
        users = self.write("users", "".join(
            f"{user}:{{PLAIN}}{os.environ['PASSWORD']}:{ids}::"
            f"{self.home(user) if self.has_home else ''}::"
            f"{'' if user.startswith('resident') else 'userdb_restante=yes'}\n"
            for user in self.addresses))
        return dovecot.conf(passwd_file("passdb", users)
                            + passwd_file("userdb", users))

    def unenrol_names(self, site, names):
        path = self.etc / "users"
        take_from_lines(path, names, " *userdb_restante=yes")
        wait_until_not_enrolled(site, path, names)


class NoHome(PasswdFile):
    """A userdb without homes: all mail below an absolute mail_location."""

    has_home = False


class Static(Userdb):
    """userdb static. It cannot list its users."""

    def sections(self, enrolled):
        pattern = "^(" + "|".join(enrolled) + ")$"
        field = f"restante=%{{if;%u;~;{pattern};yes;no}}"
        return dovecot.conf(f"""
{passwd_file("passdb", self.etc / "users")}
userdb {{
  driver = static
  args = uid=mail gid=mail home={self.dir}/mail/%u {field}
}}
""")

    def create(self):
        self.write("users", "".join(
            f"{user}:{{PLAIN}}{os.environ['PASSWORD']}\n"
            for user in self.addresses))
        return self.sections([user for user in self.addresses
                              if not user.startswith("resident")])

    def unenrol_names(self, site, names):
        path = self.etc / "auth.conf"
        enrolled = re.search(r"\^\((.*?)\)\$", path.read_text()).group(1)
        path.write_text(self.sections(
            [name for name in enrolled.split("|") if name not in names]))
        site.doveadm("reload")


class Sqlite(Userdb):
    """dovecot-sqlite, which lists its users."""

    listing = "SELECT name AS user FROM users"

    def create(self):
        path = self.etc / "users.sqlite"
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE users (name TEXT PRIMARY KEY, "
                       "password TEXT, home TEXT, restante TEXT)")
            db.executemany("INSERT INTO users VALUES (?, ?, ?, ?)", [
                (user, "{PLAIN}" + os.environ["PASSWORD"], self.home(user),
                 "no" if user.startswith("resident") else "yes")
                for user in self.addresses])
        shutil.chown(path, "root", "dovecot")
        path.chmod(0o640)
        ids = (f"{os.environ['MAIL_UID']} AS uid, "
               f"{os.environ['MAIL_GID']} AS gid")
        return dovecot.sqlite(
            self.write, path,
            "SELECT name AS user, password FROM users WHERE name = '%u'",
            f"SELECT home, {ids}, restante FROM users WHERE name = '%u'",
            self.listing)

    def unenrol_names(self, site, names):
        with sqlite3.connect(self.etc / "users.sqlite") as db:
            db.executemany("UPDATE users SET restante = 'no' WHERE name = ?",
                           [(name,) for name in names])


class SqliteNoIterate(Sqlite):
    """The query that lists the users is wrong for the table, as where nobody
    ever ran doveadm -A."""

    listing = "SELECT nobody AS user FROM nowhere"


class Ldap(Userdb):
    """slapd, on a socket of its own below the site's directory."""

    listing = {"iterate_attrs": "mail=user",
               "iterate_filter": "(objectClass=inetOrgPerson)"}

    @property
    def url(self):
        return "ldapi://" + f"{self.dir}/run/ldapi".replace("/", "%2F")

    def create(self):
        self.start_slapd()
        entries = ["dn: dc=test\nobjectClass: dcObject\n"
                   "objectClass: organization\no: test\ndc: test\n"]
        for user in self.addresses:
            entries.append(
                f"dn: mail={user},dc=test\nobjectClass: inetOrgPerson\n"
                f"cn: {user}\nsn: {user}\nmail: {user}\n"
                f"userPassword: {os.environ['PASSWORD']}\n"
                f"initials: {'no' if user.startswith('resident') else 'yes'}\n")
        self.ldap("ldapadd", "\n".join(entries))
        return dovecot.ldap(
            self.write, uris=self.url, dn="cn=admin,dc=test", dnpass="secret",
            base="dc=test", scope="onelevel",
            pass_attrs="mail=user, userPassword=password",
            pass_filter="(mail=%u)",
            user_attrs=f"=home={self.dir}/mail/%u, =uid=mail, =gid=mail, "
            "initials=restante", user_filter="(mail=%u)",
            default_pass_scheme="PLAIN", **self.listing)

    def start_slapd(self):
        base = self.dir / "slapd"
        (base / "db").mkdir(parents=True)
        (base / "slapd.conf").write_text(f"""
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {self.dir}/run/slapd.pid
database mdb
maxsize 10485760
suffix dc=test
rootdn cn=admin,dc=test
rootpw secret
directory {base}/db
""")
        log = open(self.dir / "log" / "slapd.out", "wb")
        # it forks by itself
        subprocess.run(["/usr/sbin/slapd", "-f", base / "slapd.conf",
                        "-h", self.url], check=True, stdout=log, stderr=log,
                       stdin=subprocess.DEVNULL)
        path = self.dir / "run" / "ldapi"

        def answers():
            with socket.socket(socket.AF_UNIX) as probe:
                return probe.connect_ex(str(path)) == 0
        wait_for("slapd", answers)
        path.chmod(0o777)

    def ldap(self, program, text):
        with open(self.dir / "log" / "slapd.out", "ab") as log:
            subprocess.run(
                [program, "-H", self.url, "-x", "-D", "cn=admin,dc=test",
                 "-w", "secret"], input=text.encode(), check=True, stdout=log,
                stderr=log)

    def unenrol_names(self, site, names):
        self.ldap("ldapmodify", "\n".join(
            f"dn: mail={name},dc=test\nchangetype: modify\n"
            f"replace: initials\ninitials: no\n" for name in names))


class LdapNoIterate(Ldap):
    """A filter for listing that the administrator never set for this tree."""

    listing = {"iterate_filter": "(objectClass=posixAccount)"}


class System(Userdb):
    """System users of a private /etc. userdb passwd has no room for a field of
    ours: a passwd-file after it names those who are enrolled."""

    full_names = False

    def create(self):
        etc = self.dir / "etc"
        etc.mkdir()
        for name in ("passwd", "group"):
            shutil.copy(f"/etc/{name}", etc / name)
        hashed = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"], check=True,
            input=os.environ["PASSWORD"] + "\n", capture_output=True,
            text=True).stdout.strip()
        shadow = etc / "shadow"
        with (etc / "passwd").open("a") as passwd, shadow.open("w") as secret:
            for uid, name in enumerate(NAMES, FIRST_UID):
                passwd.write(f"{name}:x:{uid}:8::{self.home(name)}:/bin/sh\n")
                secret.write(f"{name}:{hashed}:19000:0:99999:7:::\n")
                home = pathlib.Path(self.home(name))
                home.mkdir()
                os.chown(home, uid, 8)
                home.chmod(0o700)
        shadow.chmod(0o600)
        enrolled = self.write("enrolled", "".join(
            f"{name}:::::::userdb_restante=yes\n" for name in ENROLLED))
        # 2.4 has no shadow, and PAM takes plaintext passwords only
        passdb = ("passdb {\n  driver = pam\n}\nauth_mechanisms = plain\n"
                  if dovecot.IS_24 else "passdb {\n  driver = shadow\n}\n")
        return dovecot.conf(passdb + f"""
# as Debian has it: the accounts of programs are no users
first_valid_uid = {FIRST_UID}
userdb {{
  driver = passwd
  result_success = continue-ok
}}
userdb {{
  driver = passwd-file
  args = username_format=%n {enrolled}
  skip = notfound
}}
""")

    def unenrol_names(self, site, names):
        path = self.etc / "enrolled"
        take_from_lines(path, names, "userdb_restante=yes")
        wait_until_not_enrolled(site, path, names)


def passwd_file(what, path):
    return (f"{what} {{\n  driver = passwd-file\n"
            f"  args = username_format=%u {path}\n}}\n")


def take_from_lines(path, names, pattern):
    path.write_text("".join(
        re.sub(pattern, "", line) if line.split(":")[0] in names else line
        for line in path.read_text().splitlines(keepends=True)))


def wait_until_not_enrolled(site, path, names):
    """Dovecot goes by the file's time, in whole seconds."""
    def seen():
        os.utime(path)
        return all("yes" not in site.doveadm(
            "user", "-f", "restante", name, check=False).stdout
            for name in names)
    wait_for("Dovecot to see that they are not enrolled", seen)


KINDS = {"passwd-file": PasswdFile, "no-home": NoHome, "static": Static,
         "sqlite": Sqlite, "sqlite-no-iterate": SqliteNoIterate,
         "ldap": Ldap, "ldap-no-iterate": LdapNoIterate, "system": System}

if __name__ == "__main__":
    print(KINDS[sys.argv[1]](os.environ["DIR"]).create())
