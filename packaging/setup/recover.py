# SPDX-License-Identifier: MIT
"""Puts back what was before, after a step that failed or was killed."""
import os
import signal

from .postfix import edited, value_in
from .server import Server
from .system import (TEMPORARY, Failed, read, remove_directories, say_error,
                     write)


def put_back(path, ours, wanted, values, say):
    """Puts wanted in place of what is ours. A file of Postfix that somebody has
    changed since is put back value by value; others are left alone."""
    now = read(path)
    if now == wanted:
        return
    if now in ours:
        write(path, wanted)
        return
    mine = [each for each in values if each[0] == os.path.basename(path)]
    if not mine:
        say(f"left alone {path}: it was changed since; its former content is "
            "not put back")
    for each in mine:
        put_back_value(path, *each, say)


def put_back_value(path, file, name, old, ours, say):
    now = value_in(path, name)
    if now == ours:
        write(path, edited(os.path.dirname(path), [(file, name, old)])[path])
    elif now != old:
        before = "it was not set" if old is None else f"it was: {old}"
        cure = ("; take check_policy_service for restante out of it"
                if now and "restante" in now else "")
        say(f"left alone {name} in {path}: it was changed since, to: {now}; "
            f"{before}{cure}")


def recover(journal):
    """Puts back what an apply has changed that did not come to its end."""
    pending = journal.get("pending")
    if not pending:
        return
    state = journal.get("state")
    if state and state["id"] == pending["id"]:
        journal.put("pending", None)
        return
    for path, (old, new) in pending["files"].items():
        put_back(path, [new], old, pending["values"], say_error)
        write(path + TEMPORARY, None)
    server = Server(pending["options"])
    server.put_back(pending["policyd"], server.policyd.conf in pending["files"])
    remove_directories(pending["directories"])
    journal.put("pending", None)


def signals(action):
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, action)


def give_up(error, put_all_back):
    """Never returns; a second signal does not disturb. put_all_back() is false
    when what was changed stands."""
    signals(lambda *_: None)
    reason = str(error) or "interrupted"
    try:
        is_back = put_all_back()
    except (Failed, OSError) as second:
        raise Failed(f"{reason}\nand not everything could be put back: "
                     f"{second}\nrestante-setup undo tries again") from None
    raise Failed(reason + "\n" + (
        "everything is as it was before" if is_back else
        "the changes are made and stand; restante-setup undo takes them back")
    ) from error
