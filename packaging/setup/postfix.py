# SPDX-License-Identifier: MIT
"""Postfix, as postconf shows it."""
import os
import shutil
import tempfile

from .restrictions import reference, words
from .system import must, read, run

FILES = ("main.cf", "master.cf")


def setting(line):
    """(name, value), as postconf shows them."""
    name, _, value = line.partition(" =")
    return name.strip(), value.strip()


class Postfix:
    def __init__(self, directory):
        self.there = run("postconf", "-h", "mail_version").returncode != 127
        self.directory = directory or "/etc/postfix"
        if self.there and not directory:
            self.directory = must("postconf", "-h", "config_directory").strip()
        self.env = {"MAIL_CONFIG": self.directory}
        self.files = [os.path.join(self.directory, file) for file in FILES]
        if not self.there:
            return
        self.queue = self.get("queue_directory")
        self.services = {}
        for line in self.postconf("-M").splitlines():
            fields = line.split(None, 7)
            if len(fields) == 8:
                self.services[f"{fields[0]}/{fields[1]}"] = fields
        self.overrides = {}
        for line in self.postconf("-P").splitlines():
            name, value = setting(line)
            self.overrides[name] = value

    def postconf(self, *arguments):
        return must("postconf", "-c", self.directory, *arguments)

    def get(self, name, options="-xh"):
        return self.postconf(options, name).rstrip("\n")

    def raw(self, name):
        """With its $references; empty for one that does not exist."""
        return self.get(name, "-h")

    def command(self, service):
        return self.services[service][7].split()[0]

    def of_service(self, service, name):
        """As this service has it, with $references."""
        return self.overrides.get(f"{service}/{name}", self.raw(name))

    def expand(self, text):
        for _ in range(20):
            if not any(map(reference, words(text))):
                break
            text = " ".join(self.raw(reference(word)) if reference(word)
                            else word for word in words(text))
        return text

    def is_chrooted(self, service):
        flag = self.services[service][4]
        level = self.get("compatibility_level").split(".")[0]
        return flag == "y" or (flag == "-" and int(level or 0) < 1)

    def is_running(self):
        return run("postfix", "-c", self.directory, "status").returncode == 0

    def reload(self):
        must("postfix", "-c", self.directory, "reload")

    def check(self):
        must("postfix", "-c", self.directory, "check")


def value_in(path, name):
    """None: the file does not have it."""
    shown = must("postconf", "-c", os.path.dirname(path),
                 "-P" if path.endswith("master.cf") else "-n", name)
    return setting(shown)[1] if shown else None


def edited(directory, values):
    """{path: text} with values of (file, name, value or None). postconf edits
    copies."""
    with tempfile.TemporaryDirectory() as copy:
        for file in FILES:
            shutil.copyfile(os.path.join(directory, file),
                            os.path.join(copy, file))
        for file, name, value in values:
            # it waits for a main.cf that was written just now
            for each in FILES:
                os.utime(os.path.join(copy, each), (0, 0))
            flag = "P" if file == "master.cf" else ""
            must("postconf", "-c", copy, *(
                ["-" + flag + "X", name] if value is None
                else ["-" + (flag or "e"), f"{name}={value}"]))
        return {os.path.join(directory, file): read(os.path.join(copy, file))
                for file in FILES}
