# SPDX-License-Identifier: MIT
"""Makes the changes, and tries everything."""
import time

from .plan import Plan
from .recover import give_up, recover, signals
from .system import Failed, make_directories, missing_directories, write


def apply(journal, options):
    journal.lock()
    recover(journal)
    plan = Plan(options, journal.state)
    if plan.is_blocked():
        plan.tell(only=("you",))
        raise Failed("nothing was changed: do the above first")
    if not plan.files and plan.policyd.state()[0]:
        plan.server.need_answers(plan.targets)
        plan.tell(only=("note",))
        print("nothing is to be changed, and everything answers")
        return 0
    number = time.time_ns()

    def put_all_back():
        recover(journal)
        state = journal.get("state")
        return not state or state["id"] != number
    try:
        begin(journal, plan, number)
        change(plan)
        signals(lambda *_: None)
        journal.keep()
    except BaseException as error:
        give_up(error, put_all_back)
    plan.tell(only=("apply", "note"))
    warn_of_users(plan)
    if not plan.policyd.systemd:
        print("note restante-policyd: no unit of systemd's starts it: let it be "
              "started at boot, and anew after an upgrade: restante-policyd -c "
              f"{plan.policyd.conf}")
    print("enabled, and everything answers")
    return 0


def warn_of_users(plan):
    """Where mail is to be held of everybody, or in a place of ours: of the first
    user, as far as the userdb lists them."""
    if plan.options["enrol"] != "all" and not plan.options["hold_path"]:
        return
    for user in plan.dovecot.users(1):
        for line in plan.dovecot.check("-u", user):
            if line.startswith("error "):
                print(f"warning: mail of {user} cannot be held: {line}")


def begin(journal, plan, number):
    """What is before, durably, and then nothing else than what is said."""
    directories = missing_directories(plan.files)
    options = {name: plan.options[name] for name in (
        "enrol", "lmtp", "hold_path", "policyd_config")}
    journal.put("pending", {
        "id": number,
        "options": {**options, "postfix_config": plan.postfix.directory,
                    "dovecot_config": plan.dovecot.conf},
        "files": {path: [old, new]
                  for path, (old, new, _, _) in plan.files.items()},
        "values": plan.values, "directories": directories,
        "policyd": plan.policyd.state()})
    make_directories(directories)


def change(plan):
    for path, (_, new, mode, owner) in plan.files.items():
        write(path, new, mode, owner)
    plan.server.need_sound_files(plan.plugins)
    plan.dovecot.renew_config()
    plan.dovecot.reload()
    if plan.policyd.conf in plan.files or not plan.policyd.state()[0]:
        plan.policyd.start()
    if set(plan.postfix.files) & set(plan.files):
        plan.postfix.reload()
    plan.server.need_answers(plan.targets)
