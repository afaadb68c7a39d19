# SPDX-License-Identifier: MIT
"""What is remembered of the changes, durably.

Order on disk. "pending" has what each file is before and after, and is durable
before the first change. Each file is replaced as a whole. When all is seen to
work, "state" is written, which knows the first originals, and "pending" is
removed. Whoever finds "pending" puts back what is before.
"""
import fcntl
import json
import os

from .system import TEMPORARY, Failed, is_root, read, sync_directory, write


class Journal:
    def __init__(self, directory):
        self.directory = directory or "/var/lib/restante/setup"
        self.fd = None
        self.path = {name: os.path.join(self.directory, name)
                     for name in ("state", "pending")}
        self.state = self.get("state")

    def lock(self):
        if not is_root():
            raise Failed("run this as root")
        os.makedirs(os.path.dirname(self.directory), 0o755, exist_ok=True)
        os.makedirs(self.directory, 0o700, exist_ok=True)
        fd = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed("another restante-setup is running") from None
        self.fd = fd
        sync_directory(os.path.dirname(self.directory))
        for path in self.path.values():
            write(path + TEMPORARY, None)
        self.state = self.get("state")

    def get(self, name):
        try:
            text = read(self.path[name])
        except OSError:
            return None
        try:
            return text and json.loads(text)
        except ValueError:
            raise Failed(f"{self.path[name]} cannot be understood; it was made "
                         "by restante-setup, who changed it?") from None

    def put(self, name, value):
        """value None: there is none."""
        write(self.path[name], value and json.dumps(value, indent=1), 0o600)

    def leave(self):
        """Where nothing is kept, nothing is left."""
        if self.fd is None:
            return
        for path in (self.directory, os.path.dirname(self.directory)):
            try:
                os.rmdir(path)
            except OSError:
                return

    def keep(self):
        """The first originals stay, however often apply runs."""
        pending = self.get("pending")
        before = self.state or {"files": {}, "values": [], "directories": [],
                                "policyd": pending["policyd"]}
        files = dict(before["files"])
        for path, (old, new) in pending["files"].items():
            record = files.get(path, {"old": old, "ours": []})
            # a removal of the plugin's package takes it away
            known = old in (None, record["old"], *record["ours"])
            # somebody has changed it: as a whole it cannot be put back
            files[path] = {"old": record["old"],
                           "ours": [*record["ours"], new] if known else []}
        values = {each[1]: each for each in before["values"]}
        for file, name, old, new in pending["values"]:
            known = values.get(name)
            if known and known[3] == old:  # it was ours
                old = known[2]
            values[name] = [file, name, old, new]
        self.put("state", {
            **pending, "files": files, "policyd": before["policyd"],
            "directories": before["directories"] + pending["directories"],
            "values": list(values.values())})
        self.put("pending", None)
