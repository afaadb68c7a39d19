# SPDX-License-Identifier: MIT
"""Postfix's lists of restrictions, as text."""
import re

RECIPIENT = "smtpd_recipient_restrictions"
TERMINAL = {"permit", "reject", "defer"}
UNAUTH = {"reject_unauth_destination", "defer_unauth_destination"}


def split(text):
    """Where the words are; what stands in braces belongs to its word."""
    found, i = [], 0
    while i < len(text):
        if text[i] in " \t\r\n,":
            i += 1
            continue
        start, depth = i, 0
        while i < len(text) and (depth > 0 or text[i] not in " \t\r\n,"):
            depth += (text[i] == "{") - (text[i] == "}")
            i += 1
        found.append((start, i))
    return found


def words(text):
    return [text[start:end] for start, end in split(text)]


def reference(word):
    """The name in $name, ${name} or $(name)."""
    match = re.fullmatch(r"\$(?:(\w+)|\{(\w+)\}|\((\w+)\))", word)
    return match and (match[1] or match[2] or match[3])


def is_terminal(word, value_of, depth=0):
    """Is nothing after this word looked at?"""
    name = reference(word)
    if name and depth < 20:
        inner = words(value_of(name))
        return bool(inner) and is_terminal(inner[-1], value_of, depth + 1)
    return word in TERMINAL


def insert(text, ours, value_of):
    """Puts ours at the end of a list, before a final permit or reject; that may
    stand in the value of a $reference, which is then written out."""
    for _ in range(20):
        places = split(text)
        if not places:
            return ours
        start, end = places[-1]
        name = reference(text[start:end])
        if not name or not is_terminal(text[start:end], value_of):
            break
        text = text[:start] + value_of(name) + text[end:]
    plain = re.sub(r"\{[^{}]*\}", "", text)
    comma = ", " if "," in plain else " "
    if text[start:end] in TERMINAL:
        return text[:start] + ours + comma + text[start:end]
    return text[:end] + comma + ours


def asks_at(text, sockets):
    """Is one of the sockets already asked?"""
    found = words(text)
    return any(word == "check_policy_service"
               and set(words(service.strip("{}"))) & sockets
               for word, service in zip(found, found[1:]))


def as_one_word(text):
    """postconf -P takes no blanks: commas stand for them. None: there is no
    such list."""
    out = []
    for word in words(text):
        if word.startswith("{"):
            word = "{" + ",".join(words(word[1:-1])) + "}"
        if re.search(r"\s", word):
            return None
        out.append(word)
    return ",".join(out)
