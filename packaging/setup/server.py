# SPDX-License-Identifier: MIT
"""Postfix, Dovecot and restante-policyd of this machine, together."""
from . import plugins
from .delivery import dial_lmtp
from .dovecot import CANNOT_CHECK, Dovecot
from .policyd import AFTER_RELOAD, AFTER_RESTART, Policyd, errors_of
from .postfix import Postfix
from .system import Failed, wait_for


class Server:
    def __init__(self, options):
        self.postfix = Postfix(options["postfix_config"])
        self.dovecot = Dovecot(options["dovecot_config"])
        self.policyd = Policyd(options["policyd_config"])

    def looks(self, targets):
        """Everything is dialled, by those who know how. targets: of LMTP,
        (setting, target)"""
        lines = self.policyd.try_settings(self.postfix) + self.dovecot.check()
        for value, target in targets:
            problem = dial_lmtp(self.postfix, target)
            lines.append(f"error {value}: {target} as Postfix's user: "
                         f"{problem}" if problem else
                         f"ok {value}: LMTP answers Postfix's user")
        return lines

    def need_dovecot(self):
        problem = self.dovecot.problem()
        if problem:
            raise Failed(f"doveconf -n: {problem}")

    def need_sound_files(self, plugins_before):
        """As far as can be said before anything is reloaded."""
        self.postfix.check()
        self.need_dovecot()
        if not self.dovecot.is_loaded():
            raise Failed("mail_plugins of protocol lmtp are set once more after "
                         f"{self.dovecot.snippet} is read: add restante there, "
                         "or let this file be included last")
        lost = plugins.lost(self.dovecot, plugins_before)
        if lost:
            raise Failed(f"with {self.dovecot.snippet}, " + ", ".join(
                f"protocol {protocol} is without the plugin {name}"
                for protocol, name in lost)
                + ": set mail_plugins in a file that is read before it")
        running = self.policyd.state()[0]
        wrong = errors_of(self.policyd.try_settings(self.postfix),
                          AFTER_RELOAD | (AFTER_RESTART if running else set()))
        wrong += [line for line in self.dovecot.check()
                  if line.startswith(CANNOT_CHECK)]
        if wrong:
            raise Failed("\n".join(wrong))

    def need_answers(self, targets):
        """All has its time to come up."""
        lines = []

        def problem():
            lines[:] = self.looks(targets)
            return errors_of(lines)
        wrong = wait_for(problem)
        if wrong:
            raise Failed("\n".join(wrong))
        for line in lines:
            if line.startswith("warning"):
                print(line)

    def put_back(self, policyd_state, conf_changed):
        """What the files say now is done."""
        if self.dovecot.is_running():
            self.dovecot.reload()
        self.policyd.put_back(policyd_state, conf_changed)
        if self.postfix.is_running():
            self.postfix.reload()
