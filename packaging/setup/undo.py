# SPDX-License-Identifier: MIT
"""Puts back what apply has changed."""
import os
import tempfile

from .dovecot import Dovecot
from .examples import MARK, bypass
from .recover import give_up, put_back, recover
from .restrictions import RECIPIENT
from .server import Server
from .system import (Failed, diff, read, remove_directories, rights, run,
                     wait_for, write)

DELIVERY_SECS = 60


def undo(journal, options):
    journal.lock()
    recover(journal)
    if not journal.state:
        return nothing_to_undo(journal, options)
    if options["dry_run"]:
        return show(journal.state)
    return Undo(journal, options).run()


def nothing_to_undo(journal, options):
    snippet = Dovecot(options["dovecot_config"]).snippet
    if MARK in (read(snippet) or ""):
        raise Failed(f"{journal.path['state']} is gone: what was before is not "
                     f"known; remove {snippet} and check_policy_service in "
                     f"{RECIPIENT} by hand: restante-plugin(7), The way out")
    print("nothing of restante-setup is there: nothing is to be undone")
    return 0


def show(state):
    for path, record in state["files"].items():
        now = read(path)
        print(diff(path, now, record["old"]), end="")
        if now not in (record["old"], *record["ours"]):
            print(f"# {path} was changed since: only what is still as "
                  "restante-setup made it is put back")
    return 0


class Undo:
    def __init__(self, journal, options):
        self.journal, self.options = journal, options
        self.state = journal.state
        self.files = self.state["files"]
        self.server = Server(self.state["options"])
        self.postfix = self.server.postfix
        self.dovecot = self.server.dovecot
        self.policyd = self.server.policyd

    def run(self):
        missing = [name for name, program in (
            ("Postfix", self.postfix), ("Dovecot", self.dovecot))
            if not program.there]
        if missing:
            return self.without(" and ".join(missing))
        if (self.held() and not self.options["release"]
                and not self.options["leave"]):
            raise Failed(
                "nothing was changed: mail is held. Say --release, and it is "
                "delivered to the normal mailboxes first, or --leave, and it "
                "stays where it is, unseen, until restante-setup apply")
        before = {path: (read(path), *rights(path)) for path in self.files}
        running = self.policyd.state()
        try:
            held = self.change()
        except BaseException as error:
            give_up(error, lambda: self.redo(before, running))
        self.say_what_is_left(held)
        print("undone")
        return 0

    def without(self, missing):
        """The files that are left are put back, and held mail stays."""
        if not self.options["leave"]:
            raise Failed(f"nothing was changed: {missing} is not installed, and "
                         "it cannot be seen whose mail is held; install it, or "
                         "say --leave: the files that are left are put back")
        for path, record in self.files.items():
            if os.path.isdir(os.path.dirname(path)):
                put_back(path, record["ours"], record["old"], [], print)
        if self.dovecot.there and self.dovecot.is_running():
            self.dovecot.reload()
        if self.postfix.there and self.postfix.is_running():
            self.postfix.reload()
        self.policyd.put_back(self.state["policyd"], False)
        remove_directories(self.state["directories"])
        self.journal.put("state", None)
        print(f"undone without {missing}")
        return 0

    def held(self):
        """Whose mail is held, in lines; also says so. The holders directory may
        not know of somebody who has nothing but overflow mail."""
        found = self.status("-A")
        if self.dovecot.users(1):
            found.update(self.status("-u", "*"))
            print("looked at all users")
        else:
            print("looked at those in the holders directory, as the userdb "
                  "does not list its users: overflow mail of others is not "
                  "seen")
        place = self.dovecot.of_plugin(
            "hold_path" if self.dovecot.is_24 else "hold_location")
        for user, each in sorted(found.items()):
            print(f"held {user}: {each['messages']} messages, "
                  f"{each['octets']} octets, due {each['due']}; overflow "
                  f"{each['overflow']}, incomplete {each['incomplete']}; in "
                  f"{place or '~/restante'}")
        if found:
            print("messages are released by: doveadm restante release -u USER "
                  "--all; overflow mail is moved as restante-plugin(7) says")
        return found

    def status(self, *whom):
        """{user: what is held} of those who have any that IMAP does not see"""
        found, problem = self.dovecot.status(*whom)
        if problem and not self.options["leave"]:
            raise Failed("nothing was changed: it cannot be seen whose mail is "
                         f"held: {problem}\nmend that, or say --leave")
        unseen = {"messages", "incomplete"}
        if not self.dovecot.of_plugin("overflow_mailbox"):
            unseen.add("overflow")
        return {each["username"]: each for each in found
                if any(each[name] != "0" for name in unseen)}

    def change(self):
        """@return whose mail is left"""
        self.stop_holding()
        held = self.held()
        if held and self.options["release"]:
            held = self.release(held)
        if held and not self.options["leave"]:
            raise Failed("mail is held, see above: make room and say --release "
                         "once more, release an incomplete message by its "
                         "identifier, move overflow mail as restante-plugin(7) "
                         "says, or say --leave")
        self.save_changed_snippet()
        for path, record in self.files.items():
            if path not in self.postfix.files:
                put_back(path, record["ours"], record["old"], [], print)
        self.server.need_dovecot()
        self.policyd.put_back(self.state["policyd"],
                              self.policyd.conf in self.files)
        if self.dovecot.is_running():
            self.dovecot.reload()
        remove_directories(self.state["directories"])
        self.journal.put("state", None)
        return held

    def stop_holding(self):
        """No message is held from now on, and what Postfix has is put back. A
        delivery that began before the reload goes on as before."""
        before = self.dovecot.deliveries()
        snippet = self.dovecot.snippet
        now = read(snippet)
        record = self.files.get(snippet)
        if record and now in record["ours"]:
            with_bypass = bypass(now, self.dovecot.is_24)
            if with_bypass != now:
                record["ours"].append(with_bypass)
                self.journal.put("state", self.state)
                write(snippet, with_bypass)
        if self.dovecot.is_running():
            self.dovecot.reload()
        if not self.put_back_postfix():
            self.postfix.check()
        if self.postfix.is_running():
            self.postfix.reload()
        working = wait_for(lambda: before & self.dovecot.deliveries(),
                           DELIVERY_SECS)
        if working:
            text = ("a delivery that began before has not ended, and may hold "
                    "mail: processes " + " ".join(map(str, sorted(working))))
            if not self.options["leave"]:
                raise Failed(text)
            print(text)

    def put_back_postfix(self):
        """@return whether the files are, to the octet, those of before"""
        records = {path: self.files[path] for path in self.postfix.files
                   if path in self.files}
        for path, record in records.items():
            put_back(path, record["ours"], record["old"],
                     self.state["values"], print)
        return all(read(path) == record["old"]
                   for path, record in records.items())

    def release(self, users):
        """No client empties a hold meanwhile. @return whose mail is left"""
        self.policyd.stop()
        with tempfile.NamedTemporaryFile("w") as file:
            file.writelines(user + "\n" for user in users)
            file.flush()
            result = self.dovecot.doveadm("restante", "release", "-F",
                                          file.name, "--all", timeout=None)
        print(result.stdout + result.stderr, end="")
        return self.held()

    def save_changed_snippet(self):
        """Dovecot may not go on with half of Restante: a changed one is moved
        away."""
        path = self.dovecot.snippet
        record = self.files.get(path)
        if not record:
            return
        now = read(path)
        if now not in (None, record["old"], *record["ours"]):
            write(path + ".saved", now)
            print(f"left alone {path}: it was changed since; it is now "
                  f"{path}.saved")
            write(path, record["old"])
        # a removal of the plugin's package has put it aside
        if read(path + ".removed") in record["ours"]:
            write(path + ".removed", None)
            if now is None:
                write(path, record["old"])

    def redo(self, before, running):
        """What was put back comes again. @return true: all is as before"""
        for path, (text, *mode_and_owner) in before.items():
            if read(path) != text:
                write(path, text, *mode_and_owner)
        if not self.journal.get("state"):
            self.journal.put("state", self.state)
        self.server.put_back(running, True)
        return True

    def say_what_is_left(self, held):
        if held:
            print("held mail stays where it is; to release it: restante-setup "
                  "apply, then doveadm restante release -A --all")
        for program, text in (
                ("doveconf", run("doveconf", "-n", "-c", self.dovecot.conf)),
                ("postconf", run("postconf", "-c", self.postfix.directory,
                                 "-n"))):
            for line in text.stdout.splitlines():
                if "restante" in line and not line.startswith("#"):
                    print(f"note {program} -n still has: {line.strip()}")
