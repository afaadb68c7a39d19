# SPDX-License-Identifier: MIT
"""The command line."""
import argparse
import os
import sys

from .apply import apply
from .journal import Journal
from .plan import Plan
from .policyd import errors_of
from .recover import signals
from .system import Failed, is_root, say_error
from .undo import undo


def parse():
    parser = argparse.ArgumentParser(
        prog="restante-setup", description="See restante-setup(8).")
    parser.add_argument("command", choices=["check", "plan", "apply", "undo"])
    add = parser.add_argument
    add("--dry-run", action="store_true", help="as plan")
    add("--postfix-config", metavar="DIR")
    add("--dovecot-config", metavar="FILE")
    add("--policyd-config", metavar="FILE")
    add("--state", metavar="DIR", help="in place of /var/lib/restante/setup")
    add("--enrol", choices=["none", "all"])
    add("--hostname", metavar="NAME", help="that clients use")
    add("--certificate", metavar="FILE")
    add("--key", metavar="FILE")
    add("--hold-path", metavar="DIR", help="where users have no homes")
    add("--lmtp", action="store_true", default=None,
        help="LMTP in place of dovecot-lda by pipe(8)")
    add("--release", action="store_true", help="held mail, at undo")
    add("--leave", action="store_true", help="held mail, at undo")
    options = vars(parser.parse_args())
    if bool(options["certificate"]) != bool(options["key"]):
        parser.error("--certificate and --key go together")
    return options


def check(journal, options):
    plan = Plan(options, journal.state)
    pending = journal.get("pending")
    if pending:
        print("apply interrupted: a restante-setup did not come to its end: "
              "apply or undo finishes it")
    plan.tell()
    lines = []
    if is_root() and not plan.is_blocked() and not plan.files:
        lines = plan.server.looks(plan.targets)
        print("\n".join(lines))
    elif not is_root():
        print("note root: only root sees whether the programs run and reach "
              "each other")
    return 1 if (plan.files or pending or plan.is_blocked()
                 or errors_of(lines)) else 0


def interrupted(number, frame):
    raise KeyboardInterrupt


def command(options):
    journal = Journal(options["state"])
    if journal.state:
        for name, value in journal.state["options"].items():
            if options[name] is None:
                options[name] = value
    options["enrol"] = options["enrol"] or "none"
    name = options["command"]
    if options["dry_run"] and name == "apply":
        name = "plan"
    try:
        if name == "check":
            return check(journal, options)
        if name == "plan":
            return Plan(options, journal.state).show()
        return (apply if name == "apply" else undo)(journal, options)
    finally:
        journal.leave()


def main(directory):
    """directory: of the program itself, and perhaps of others of ours"""
    options = parse()
    os.environ["PATH"] = (os.environ.get("PATH", "/usr/bin:/bin") + ":"
                          + directory + ":/usr/local/sbin:/usr/sbin:/sbin")
    signals(interrupted)
    sys.stdout.reconfigure(errors="surrogateescape")  # a file's octets
    try:
        return command(options)
    except (Failed, OSError) as reason:
        say_error(f"restante-setup: {reason}")
    except KeyboardInterrupt:
        say_error("restante-setup: interrupted")
    return 1
