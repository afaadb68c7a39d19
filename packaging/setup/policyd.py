# SPDX-License-Identifier: MIT
"""restante-policyd: its file of settings, and the daemon."""
import os
import re
import shutil
import signal

from .system import Failed, must, processes, run, wait_for

DEFAULTS = {
    "user": "restante", "hostname": "",
    "tls_certificate": "", "tls_key": "", "recipient_delimiter": "+",
    "policy_socket": "/var/spool/postfix/private/restante",
    "auth_socket": "/run/dovecot/restante-auth",
    "userdb_socket": "/run/dovecot/restante-userdb",
    "hold_socket": "/run/dovecot/restante-hold",
    "holders_directory": "/var/lib/restante/holders",
    "control_socket": "/run/restante/control"}
# what restante-policyd -t cannot find before Dovecot is reloaded
AFTER_RELOAD = {"auth_socket", "userdb_socket", "hold_socket"}
# ... and while the daemon runs with the configuration before
AFTER_RESTART = {"policy_socket", "listen", "control_socket",
                 "holders_directory"}


def conf_get(text, name):
    found = re.findall(rf'(?m)^[ \t]*{name}[ \t]*=[ \t]*(?:"([^"\n]*)"|'
                       rf'([^\s#]+))', text or "")
    return (found[-1][0] or found[-1][1]) if found else None


def conf_set(text, name, value):
    """In place of the line that has it, or after the one that has it commented
    out, or at the end."""
    line = f'{name} = "{value}"'
    new, count = re.subn(rf"(?m)^[ \t]*{name}[ \t]*=.*$",
                         lambda _: line, text)
    if count:
        return new
    new, count = re.subn(rf"(?m)^#{name}[ \t]*=.*$",
                         lambda match: match[0] + "\n" + line, text, count=1)
    return new if count else text + line + "\n"


class Policyd:
    def __init__(self, conf):
        self.conf = conf or "/etc/restante/restante-policyd.conf"
        self.is_default = conf is None
        self.systemd = os.path.isdir("/run/systemd/system") and self.is_default
        self.there = shutil.which("restante-policyd") is not None

    def has_unit(self):
        return run("systemctl", "cat", "restante-policyd").returncode == 0

    def pids(self):
        """Of the daemon with this configuration; not of its workers."""
        found = {each.pid: each.parent for each in processes()
                 if os.path.basename(each.argv[0]) == "restante-policyd"
                 and not {"-t", "--worker"} & set(each.argv)
                 and (self.conf in each.argv
                      or (self.is_default and "-c" not in each.argv))}
        return [pid for pid, parent in found.items() if parent not in found]

    def state(self):
        """(it runs, it is started at boot)"""
        if not self.systemd:
            return [bool(self.pids()), False]
        return [run("systemctl", "is-active", "restante-policyd"
                    ).returncode == 0,
                run("systemctl", "is-enabled", "restante-policyd"
                    ).returncode == 0]

    def start(self):
        if self.systemd:
            must("systemctl", "enable", "restante-policyd")
            must("systemctl", "restart", "restante-policyd")
            return
        self.stop()
        must("restante-policyd", "-c", self.conf)

    def stop(self):
        if self.systemd:
            must("systemctl", "stop", "restante-policyd")
            return
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        if wait_for(self.pids):
            raise Failed("restante-policyd does not end")

    def put_back(self, state, changed):
        """As it was; changed: its configuration is another one now."""
        running, enabled = self.state()
        if state[0] and (changed or not running):
            self.start()
        elif running and not state[0]:
            self.stop()
        if enabled and not state[1]:
            must("systemctl", "disable", "restante-policyd")

    def try_settings(self, postfix):
        """Lines such as "error SETTING VALUE: ..."."""
        result = run("restante-policyd", "-t", "-c", self.conf,
                     env=postfix.env)
        lines = result.stdout.splitlines()
        if result.returncode != 0 and not errors_of(lines):
            lines += [f"error - -: {line}"
                      for line in result.stderr.strip().splitlines()]
        return lines


def errors_of(lines, but=()):
    return [line for line in lines if line.startswith("error ")
            and line.split()[1] not in but]
