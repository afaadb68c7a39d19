# SPDX-License-Identifier: MIT
"""mail_plugins of delivery: with the snippet, lmtp and dovecot-lda load what
they load without it, and restante.

Which file comes first matters. In Dovecot 2.3 a setting of protocol lmtp hides
the global one, also where the latter is in a file that is read later. So
doveconf is asked, with the snippet as it would be, in a copy of the directory.
2.4 adds what a protocol has to what is global.
"""
import contextlib
import os
import re
import tempfile

from .dovecot import Dovecot
from .examples import MARK
from .system import read

PROTOCOLS = ("lmtp", "lda")


def create(path, text):
    with open(path, "w", encoding="utf-8", errors="surrogateescape",
              newline="") as file:
        file.write(text)


def link(source, target, above, copy):
    """A file with an absolute path of the directory is one with the copy's."""
    if not os.path.isfile(source):
        return
    try:
        text = read(source) or ""
    except OSError:
        text = ""
    changed = re.sub(rf"(?m)^(\s*!include(?:_try)?\s+[\"']?){re.escape(above)}/",
                     rf"\g<1>{copy}/", text)
    if changed == text:
        os.symlink(source, target)
        return
    create(target, changed)


@contextlib.contextmanager
def changed(dovecot, text):
    """A Dovecot whose snippet is text; only good for asking doveconf."""
    above = os.path.dirname(dovecot.conf)
    with tempfile.TemporaryDirectory() as copy:
        for folder, _, names in os.walk(above, followlinks=True):
            inside = os.path.join(copy, os.path.relpath(folder, above))
            os.makedirs(inside, exist_ok=True)
            for name in names:
                if os.path.join(folder, name) != dovecot.snippet:
                    link(os.path.join(folder, name),
                         os.path.join(inside, name), above, copy)
        other = Dovecot(os.path.join(copy, os.path.basename(dovecot.conf)))
        os.makedirs(os.path.dirname(other.snippet), exist_ok=True)
        create(other.snippet, text)
        yield other


def plugins(dovecot, protocol):
    return dovecot.get("mail_plugins", protocol).replace(",", " ").split()


def plugins_with(dovecot, text, protocol):
    with changed(dovecot, text) as other:
        return plugins(other, protocol)


def with_value(text, protocol, value):
    return re.sub(rf"(?m)^(protocol {protocol} \{{\n  mail_plugins = ).*$",
                  lambda match: match[1] + value, text)


def without(dovecot):
    """{protocol: plugins}, as they are without the snippet"""
    if dovecot.is_24:
        return {}
    if MARK not in (read(dovecot.snippet) or ""):
        return {each: plugins(dovecot, each) for each in PROTOCOLS}
    return {each: plugins_with(dovecot, "#\n", each) for each in PROTOCOLS}


def missing(dovecot, text, protocol, before):
    now = plugins_with(dovecot, text, protocol)
    return [name for name in [*before, "restante"] if name not in now]


def fit(dovecot, text, before):
    """before: of without()
    @return the snippet, and the protocols in which it has to name plugins that
    are not ours"""
    named = []
    for protocol, names in before.items():
        if not missing(dovecot, text, protocol, names):
            continue
        # what a later file adds is not to be there twice
        alone = with_value(text, protocol, "restante")
        value = missing(dovecot, alone, protocol, names) + ["restante"]
        tried = with_value(text, protocol, " ".join(value))
        if not missing(dovecot, tried, protocol, names):
            text = tried
            named.append(protocol)
    return text, named


def lost(dovecot, before):
    """(protocol, plugin) that are not loaded any more."""
    found = []
    for protocol, names in before.items():
        now = plugins(dovecot, protocol)
        found += [(protocol, name) for name in names if name not in now]
    return found
