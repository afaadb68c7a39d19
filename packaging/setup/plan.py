# SPDX-License-Identifier: MIT
"""What there is, and what is to be changed."""
import os
import pwd
import re

from . import plugins
from .delivery import deliveries
from .examples import MARK, example, lmtp_protocol, lmtp_service, snippet
from .policyd import AFTER_RELOAD, DEFAULTS, conf_get, conf_set
from .postfix import edited, setting, value_in
from .restrictions import (RECIPIENT, TERMINAL, UNAUTH, as_one_word, asks_at,
                           insert, words)
from .server import Server
from .system import diff, is_root, read

RELAY = "smtpd_relay_restrictions"
CLASSES = "smtpd_restriction_classes"
SUBMISSION = {"submission", "submissions", "smtps", "587", "465"}


class Plan:
    def __init__(self, options, state):
        self.options, self.state = options, state
        self.server = Server(options)
        self.postfix = self.server.postfix
        self.dovecot = self.server.dovecot
        self.policyd = self.server.policyd
        self.lines = []    # (word, what, text)
        self.files = {}    # path: (old, new, mode, owner)
        self.plugins = {}  # protocol: those of delivery before
        self.values = []   # (file, name, old, new), of main.cf and master.cf
        self.targets = []  # (setting, target), of LMTP
        self.look()

    def say(self, word, what, text):
        self.lines.append((word, what, text))

    def is_blocked(self):
        return any(word == "you" for word, _, _ in self.lines)

    def change(self, path, new, mode=0o644, owner=None):
        old = read(path)
        if old != new:
            self.files[path] = (old, new, mode, owner)

    def look(self):
        for program, name, by in (
                (self.postfix, "Postfix", ": there is no postconf"),
                (self.dovecot, "Dovecot", ": there is no doveconf"),
                (self.policyd, "restante-policyd", "")):
            if not program.there:
                self.say("you", name, "is not installed" + by)
        if self.is_blocked():
            return
        problem = self.dovecot.problem()
        if problem:
            self.say("you", "Dovecot", f"mend its configuration: {problem}")
            return
        self.look_at_programs()
        self.look_at_policyd()
        self.look_at_dovecot()
        self.look_at_delivery()
        self.look_at_questions()
        self.plan_postfix()

    # -- policyd and its file

    def conf(self, name):
        value = conf_get(self.conf_text, name)
        return DEFAULTS[name] if value is None else value

    def look_at_programs(self):
        version = self.postfix.get("mail_version")
        self.say("ok", "Postfix", f"{version}, {self.postfix.directory}")
        self.say("ok", "Dovecot",
                 f"{self.dovecot.version.strip()}, {self.dovecot.conf}")
        others = self.postfix.get("multi_instance_directories")
        if others:
            self.say("note", "Postfix", f"other instances are left alone: "
                     f"{others}; for each: restante-setup --postfix-config "
                     "DIR --policyd-config FILE --state DIR")
        if is_root():
            for program in (self.postfix, self.dovecot):
                if not program.is_running():
                    self.say("you", type(program).__name__,
                             "is not running: start it")
        plugin = (self.dovecot.get("mail_plugin_dir")
                  + "/lib95_restante_plugin.so")
        libexec = self.dovecot.get("libexec_dir")
        for path, what in ((plugin, "Restante's plugin"),
                           (libexec + "/restante-hold", "Restante's service"),
                           (libexec + "/lmtp", "Dovecot's LMTP server "
                            "(package dovecot-lmtpd)")):
            if not os.path.exists(path):
                self.say("you", "Dovecot", f"{what} is not installed: {path}")

    def certificate(self):
        """The files of Dovecot, or else of Postfix."""
        yield self.dovecot.certificate()
        cert = self.postfix.get("smtpd_tls_cert_file")
        yield [cert, self.postfix.get("smtpd_tls_key_file") or cert]

    def look_at_policyd(self):
        path = self.policyd.conf
        template = example("restante-policyd.conf")
        try:
            old = read(path)
        except PermissionError:
            self.say("note", path, "cannot be read: run this as root")
            self.conf_text = template
            return
        self.conf_text = old or template
        text = self.certificates(self.conf_text)
        for name, value in self.wanted_settings().items():
            if value is not None and value != self.conf(name):
                text = conf_set(text, name, value)
        user = self.conf("user")
        if not account(user):
            self.say("you", "account", f"make it: adduser --system --group "
                     f"--no-create-home {user}")
        if self.policyd.systemd and not self.policyd.has_unit():
            self.say("you", "systemd", "has no unit restante-policyd: install "
                     "restante-policyd.service, systemctl daemon-reload")
        self.conf_text = text
        group = account(user)
        owner = (0, group.pw_gid) if group and is_root() else None
        if old != text:
            self.files[path] = (old, text, 0o640, owner)
        self.say("apply" if old != text else "ok", path,
                 "settings of restante-policyd")

    def certificates(self, text):
        given = [self.options["certificate"], self.options["key"]]
        have = [self.conf("tls_certificate"), self.conf("tls_key")]
        missing = [path for path in filter(None, given)
                   if is_root() and not os.path.exists(path)]
        if missing:
            self.say("you", "tls_certificate", "there is no "
                     + ", no ".join(missing))
            return text
        if not all(given):
            given = None
        if given is None and not is_root():
            if not os.path.exists(have[0]):
                self.say("note", "tls_certificate", f"{have[0]} is not there; "
                         "apply takes the one of Dovecot or Postfix")
            return text
        if given is None and all(map(os.path.exists, have)):
            return text
        for pair in [given] if given else self.certificate():
            if all(each and os.path.exists(each) for each in pair):
                text = conf_set(text, "tls_certificate", pair[0])
                return conf_set(text, "tls_key", pair[1])
        self.say("you", "tls_certificate", "neither Dovecot nor Postfix has "
                 "one: name it, apply --certificate FILE --key FILE")
        return text

    def wanted_settings(self):
        """What the defaults do not fit."""
        base = self.dovecot.get("base_dir")
        wanted = {"hostname": self.options["hostname"]}
        if not self.conf("hostname"):
            wanted["hostname"] = wanted["hostname"] or self.postfix.get(
                "myhostname")
        if self.conf_is_ours("policy_socket"):
            wanted["policy_socket"] = self.postfix.queue + "/private/restante"
        if os.path.realpath(base) != "/run/dovecot":
            wanted.update({
                name: f"{base}/{os.path.basename(DEFAULTS[name])}"
                for name in sorted(AFTER_RELOAD) if self.conf_is_ours(name)})
        if self.conf_is_ours("recipient_delimiter"):
            wanted["recipient_delimiter"] = self.postfix.get(
                "recipient_delimiter")
        return wanted

    def conf_is_ours(self, name):
        return conf_get(self.conf_text, name) is None

    # -- Dovecot

    def snippet_text(self):
        is_24 = self.dovecot.is_24
        text = snippet(is_24, self.conf, self.options["enrol"],
                       self.options["hold_path"])
        if self.options["lmtp"]:
            ours = lmtp_protocol(is_24)
            text += lmtp_service(self.postfix.queue)
            if (ours in (read(self.dovecot.snippet) or "") or "lmtp" not in
                    self.dovecot.get("protocols").split()):
                text += ours
        return text

    def look_at_dovecot(self):
        path = self.dovecot.snippet
        old = read(path)
        loaded = self.dovecot.is_loaded()
        active = old and re.search(r"(?m)^\s*[^#\s]", old)
        if active and MARK not in old:
            self.say("ok" if loaded else "you", path, "made by hand: left "
                     "alone" + ("" if loaded else "; it does not load the "
                                "plugin: see 90-restante.conf"))
        elif loaded and not active:
            self.say("ok", "Dovecot", "loads the plugin, as was configured by "
                     "hand: left alone")
        elif not self.dovecot.includes(path):
            self.say("you", self.dovecot.conf, f"does not include {path}: "
                     f"add as its last line: !include_try {path}")
        else:
            self.plan_snippet(path, old)
        self.look_at_users()

    def plan_snippet(self, path, old):
        record = self.state and self.state["files"].get(path)
        if old and MARK in old and not (record and old in record["ours"]):
            self.say("note", path, "was changed after restante-setup made it"
                     + ("" if is_root() else ", as far as can be seen without "
                        "root's rights") + ": left alone")
            return
        if (record and self.options["hold_path"] !=
                self.state["options"]["hold_path"] and is_root()
                and self.dovecot.may_hold()):
            self.say("you", "--hold-path", "mail is held in the place of "
                     "before, and would not be seen any more: first doveadm "
                     "restante release -A --all, or let it be collected")
        self.plugins = plugins.without(self.dovecot)
        new, named = plugins.fit(self.dovecot, self.snippet_text(),
                                 self.plugins)
        for protocol in named:
            self.say("note", f"mail_plugins of protocol {protocol}",
                     "global ones are named there, too, as a file that is read "
                     "later sets them: apply again when they change")
        self.change(path, new)
        self.say("apply" if old != new else "ok", path, "the plugin, for lmtp "
                 "and dovecot-lda; restante-hold, lmtp-release; listeners of "
                 "auth for restante-policyd")

    def look_at_users(self):
        enrolled = self.options["enrol"] == "all"
        self.say("note", "enrolled", "everybody" if enrolled else
                 "nobody, unless the userdb says restante=yes: "
                 "restante-setup(8)")
        if not is_root() or not self.dovecot.is_running():
            return
        user = self.dovecot.homeless()
        if user and not self.options["hold_path"]:
            self.say("you" if enrolled else "note", "userdb",
                     f"{user} has no home, and mail can be held for those "
                     "only who have one: apply --hold-path DIR, such as "
                     "/var/vmail/restante, which the owner of the mail makes")

    # -- Postfix

    def look_at_delivery(self):
        kinds = set()
        for each in deliveries(self.postfix):
            value = f"{each.setting} = {each.value}".strip()
            kinds.add(each.kind)
            if each.kind == "lmtp":
                self.targets.append((value, each.target))
                self.say("ok", value, "mail goes to Dovecot by LMTP")
                if ("lmtp" not in self.dovecot.get("protocols").split()
                        and not self.options["lmtp"]):
                    self.say("you", "Dovecot", "protocols is without lmtp: "
                             + ("protocols { lmtp = yes }" if
                                self.dovecot.is_24 else
                                "protocols = $protocols lmtp"))
            elif each.kind == "lda":
                self.look_at_lda(each, value)
            else:
                self.say("note", value, f"{each.kind}: nothing is held of this "
                         "mail; to hold it, write "
                         + ("virtual_transport" if each.setting ==
                            "virtual_transport" else "mailbox_transport")
                         + " = lmtp:unix:private/dovecot-lmtp")
        for name in ("transport_maps", "mailbox_transport_maps",
                     "mailbox_command_maps"):
            value = self.postfix.get(name)
            if value:
                kinds.add("lmtp")
                self.say("note", f"{name} = {value}", "goes first: what it "
                         "sends elsewhere than to Dovecot (lmtp:... or "
                         "dovecot-lda) is not held")
        if not kinds & {"lmtp", "lda"}:
            self.say("you", "delivery", "no mail goes to Dovecot: write "
                     "virtual_transport (for virtual_mailbox_domains) or "
                     "mailbox_transport (for mydestination) = "
                     "lmtp:unix:private/dovecot-lmtp, and give Dovecot's "
                     "service lmtp that listener")

    def look_at_lda(self, each, value):
        if each.setting == "virtual_transport" and self.options["lmtp"]:
            self.set_value("main.cf", "virtual_transport",
                           "lmtp:unix:private/dovecot-lmtp")
            self.targets.append(("virtual_transport", self.postfix.queue
                                 + "/private/dovecot-lmtp"))
            self.say("apply", value, "lmtp:unix:private/dovecot-lmtp takes its "
                     "place: look whether its options matter to you")
            self.plan_smtputf8()
            return
        self.say("note", value, "dovecot-lda: its mail is held as well, if it "
                 "runs as the owner of the user's mail, who must reach "
                 "Dovecot's auth-userdb, as it has to now, and "
                 f"{self.conf('holders_directory')}, which is open; by LMTP, "
                 "one process serves many messages"
                 + (": plan --lmtp shows the change"
                    if each.setting == "virtual_transport" else
                    ": mailbox_transport = lmtp:unix:private/dovecot-lmtp, "
                    "with auth_username_format for names without a domain"))

    def plan_smtputf8(self):
        """LMTP offers no SMTPUTF8, pipe(8) needs none."""
        for service in self.postfix.services:
            name = f"{service}/smtputf8_enable"
            if self.postfix.command(service) == "cleanup":
                self.set_value("master.cf", name, "no")

    def set_value(self, file, name, new):
        old = value_in(os.path.join(self.postfix.directory, file), name)
        if old != new:
            self.values.append((file, name, old, new))

    def policy_service(self):
        """As Postfix names policyd's socket."""
        path, queue = self.conf("policy_socket"), self.postfix.queue + "/"
        return "unix:" + (path[len(queue):] if path.startswith(queue)
                          else path)

    def asked_elsewhere(self):
        """The list of another name, or class, that has our service."""
        for line in (self.postfix.postconf("-n")
                     + self.postfix.postconf("-P")).splitlines():
            name, value = setting(line)
            if (name.split("/")[-1] != RECIPIENT
                    and asks_at(value, self.sockets())):
                return name
        return None

    def sockets(self):
        return {self.policy_service(), "unix:" + self.conf("policy_socket")}

    def look_at_questions(self):
        name = self.asked_elsewhere()
        if name:
            self.say("ok", name, f"asks at {self.policy_service()}")
            return
        inherits = False
        for service in self.postfix.services:
            if self.postfix.command(service) != "smtpd":
                continue
            port = service.split("/")[0].rsplit(":", 1)[-1]
            own = f"{service}/{RECIPIENT}" in self.postfix.overrides
            if port in SUBMISSION:
                self.say("note", service, "submission: left alone" + (
                    "" if own else f"; it has main.cf's {RECIPIENT}, so "
                    "restante-policyd is asked there as well, and lets pass"))
            elif not own:
                inherits = True
            elif port in ("smtp", "25") or service.endswith("/pass"):
                self.plan_question(service)
            else:
                self.say("note", service, f"has a {RECIPIENT} of its own: left "
                         "alone")
        if inherits:
            self.plan_question(None)

    def plan_question(self, service):
        """The service's own list, or main.cf's."""
        postfix = self.postfix
        if self.policy_service().startswith("unix:/") and any(
                postfix.command(each) == "smtpd" and postfix.is_chrooted(each)
                for each in postfix.services):
            self.say("you", "policy_socket", "smtpd is chrooted and cannot "
                     f"reach {self.conf('policy_socket')}: in "
                     f"{self.policyd.conf}, take one below {postfix.queue}")
            return
        ours = (f"check_policy_service {{ {self.policy_service()}, "
                "timeout=5s, default_action=DUNNO }")

        def value_of(name):
            return (postfix.of_service(service, name) if service
                    else postfix.raw(name))
        name = f"{service}/{RECIPIENT}" if service else RECIPIENT
        old, relay = value_of(RECIPIENT), words(postfix.expand(value_of(RELAY)))
        if asks_at(postfix.expand(old), self.sockets()):
            self.say("ok", name, f"asks at {self.policy_service()}")
            return
        relay_first = postfix.get(
            "smtpd_relay_before_recipient_restrictions") != "no"
        if not (UNAUTH & set(words(postfix.expand(old))) or (
                relay_first and (UNAUTH | TERMINAL) & set(relay))):
            if not (UNAUTH | TERMINAL) & set(relay):
                self.say("you", name, "has no reject_unauth_destination, nor "
                         f"has {RELAY}: write it, and after it {ours}")
                return
            # later in Postfix's own order: the same answers, before ours
            ours = f"${RELAY} {ours}"
        new = insert(old, ours, value_of, words(postfix.get(CLASSES)))
        if new is None:
            self.say("you", name, "a ${name?value} in it may end the list: put "
                     f"into it, before that and after what rejects: {ours}")
            return
        if service:
            new = as_one_word(new)
        if new is None:
            self.say("you", name, "postconf cannot write such a list into "
                     f"master.cf: put into it, at the end: {ours}")
            return
        self.set_value("master.cf" if service else "main.cf", name, new)
        self.say("apply", name, f"restante-policyd is asked at "
                 f"{self.policy_service()}, last")

    def plan_postfix(self):
        if self.values:
            for path, text in edited(self.postfix.directory, [
                    (file, name, new)
                    for file, name, _, new in self.values]).items():
                self.change(path, text)

    # -- for people

    def tell(self, prefix="", only=None):
        for word, what, text in self.lines:
            if only is None or word in only:
                print(f"{prefix}{word} {what}: {text}")

    def show(self):
        self.tell("# ")
        for path, (old, new, _, _) in self.files.items():
            print(diff(path, old, new), end="")
        if not self.files:
            print("# nothing is to be changed")
        return 1 if self.is_blocked() else 0


def account(name):
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
