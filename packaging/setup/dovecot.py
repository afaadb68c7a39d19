# SPDX-License-Identifier: MIT
"""Dovecot, as doveconf and doveadm show it."""
import contextlib
import fnmatch
import glob
import os
import re
import signal
import subprocess

from .system import must, processes, read, run, wait_for

CANNOT_CHECK = "error - doveadm restante check: "


class Dovecot:
    def __init__(self, conf):
        self.there = run("doveconf", "-a", "-c", "/dev/null").returncode != 127
        self.conf = conf or "/etc/dovecot/dovecot.conf"
        self.snippet = os.path.join(os.path.dirname(self.conf), "conf.d",
                                    "90-restante.conf")
        if self.there:
            self.version = run("dovecot", "--version").stdout.split("-")[0]
            self.is_24 = self.version.startswith("2.4")

    def problem(self):
        """What doveconf says of a configuration that it does not take."""
        result = run("doveconf", "-n", "-c", self.conf)
        if result.returncode == 0:
            return None
        return (result.stderr.strip() or "doveconf fails").splitlines()[-1]

    def get(self, name, protocol="lmtp"):
        """A value; of a list its words, as 2.4 shows it in several lines."""
        result = run("doveconf", "-c", self.conf, "-f",
                     f"protocol={protocol}", name)
        members = []
        for line in result.stdout.splitlines():
            key, equal, value = (part.strip() for part in line.partition("="))
            if equal and key in (name, name.split("/")[-1]):
                return value
            if equal and value == "yes":
                members.append(key)
        return " ".join(members)

    def of_plugin(self, name):
        """A setting of Restante's plugin, without "restante_"."""
        return self.get(("" if self.is_24 else "plugin/") + "restante_" + name)

    def certificate(self):
        """[certificate, key]; empty where there is none"""
        if not self.is_24:
            return [self.get(name, "imap").lstrip("<")
                    for name in ("ssl_cert", "ssl_key")]
        # 2.4.1 and 2.4.2 show different things of it when it is named
        text = run("doveconf", "-c", self.conf, "-n", "-P").stdout
        block = re.search(r"(?ms)^ssl_server \{$(.*?)^\}", text)
        found = dict(re.findall(r"(?m)^ +(cert|key)_file = (.+)$",
                                block[1] if block else ""))
        found.update(re.findall(r"(?m)^ssl_server_(cert|key)_file = (.+)$",
                                text))
        return [found.get(name, "") for name in ("cert", "key")]

    def includes(self, target, path=None, depth=0):
        """Does the configuration take this file? Unreadable: it does not."""
        path = path or self.conf
        try:
            text = read(path) or ""
        except OSError:
            text = ""
        for match in re.finditer(r"(?m)^\s*!include(?:_try)?\s+(\S+)", text):
            pattern = os.path.normpath(os.path.join(
                os.path.dirname(path), match[1].strip("\"'")))
            if (os.path.dirname(pattern) == os.path.dirname(target)
                    and fnmatch.fnmatch(target, pattern)):
                return True
            if depth < 10 and any(self.includes(target, each, depth + 1)
                                  for each in glob.glob(pattern)):
                return True
        return False

    def is_loaded(self):
        return ("restante" in self.get("mail_plugins").replace(",", " ").split()
                and "restante-hold" in self.get("service/restante-hold/"
                                                "executable"))

    def master(self):
        """The process that its file names; 0: there is no file."""
        return int(read(self.get("base_dir") + "/master.pid") or 0)

    def is_running(self):
        try:
            pid = self.master()
            return pid > 0 and os.path.exists(f"/proc/{pid}")
        except (OSError, ValueError):
            return False

    def pids(self, name):
        """Of the master's processes, those of this program. (Their first
        argument depends on instance_name.)"""
        master = self.master()
        return {each.pid for each in processes()
                if each.parent == master and each.program == name}

    def deliveries(self):
        """The processes that deliver, or delivered before a reload."""
        return self.pids("lmtp") | {each.pid for each in processes()
                                    if each.program == "dovecot-lda"}

    def renew_config(self):
        """2.4's config process outlives a reload, and knows no module of
        settings that was installed since it began. The master starts another
        one when it needs one. (Of "doveadm service stop config" the master of
        2.4.1 panics.) One that is just ending may not be asked."""
        old = self.pids("config") if self.is_24 else set()
        for pid in old:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        wait_for(lambda: old & self.pids("config"))

    def doveadm(self, *arguments, **more):
        return run("doveadm", "-c", self.conf, *arguments, **more)

    def reload(self):
        must("doveadm", "-c", self.conf, "reload")

    def users(self, count):
        """The first users, if the userdb lists them at all."""
        listing = subprocess.Popen(
            ["doveadm", "-c", self.conf, "user", "*"], text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL)
        with listing:
            found = [line.strip()
                     for _, line in zip(range(count), listing.stdout)]
            listing.kill()
        return found

    def status(self, *whom):
        """doveadm restante status: (a dict for each user, what is wrong)"""
        command = ("restante", "status", *whom)
        result = self.doveadm("-f", "tab", *command, timeout=None)
        problem = result.returncode != 0 and (
            f"doveadm {' '.join(command)}: " + result.stderr.strip()[-500:])
        rows = [line.split("\t") for line in result.stdout.splitlines()]
        return [dict(zip(map(str.lower, rows[0]), row))
                for row in rows[1:]], problem

    def may_hold(self):
        """Is mail held, as far as the holders directory knows? It may be, where
        that cannot be said."""
        found, problem = self.status("-A")
        return problem or any(each["messages"] != "0" for each in found)

    def homeless(self):
        """One of the first users, who has no home; None: nobody is seen."""
        if self.get("mail_home"):
            return None
        for user in self.users(3):
            if not self.doveadm("user", "-f", "home", user).stdout.strip():
                return user
        return None

    def check(self, *whom):
        """The lines of doveadm restante check."""
        result = self.doveadm("restante", "check", *whom)
        lines = [line for line in result.stdout.splitlines()
                 if re.match("(ok|warning|error) ", line)]
        if not lines:
            reason = (result.stderr.strip().splitlines() or ["no answer"])[0]
            lines = [f"{CANNOT_CHECK}{reason}"]
        return lines
