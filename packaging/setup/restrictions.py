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


def is_conditional(word):
    """${name?{permit}:{reject}}, say: nobody knows here what it is."""
    return (word.startswith(("${", "$(")) and not reference(word)
            and bool(TERMINAL & set(re.findall(r"\w+", word))))


def terminal_at(found, value_of, classes, depth=0):
    """Of words, the index of the first one after which nothing is looked at; it
    may be a $reference or a restriction class. None: there is none."""
    for i, word in enumerate(found):
        name = reference(word) or (word if word in classes else None)
        if name and depth < 20 and terminal_at(
                words(value_of(name)), value_of, classes, depth + 1) is not None:
            return i
        if (word in TERMINAL or is_conditional(word)) and (
                i == 0 or found[i - 1] != "warn_if_reject"):
            return i
    return None


def insert(text, ours, value_of, classes=()):
    """Puts ours at the end of a list, before the first permit or reject that
    ends it. Where that stands in the value of a $reference, this is written out;
    in a restriction class, ours comes before the class. None: nobody knows
    whether ours is reached, because of ${name?value}."""
    for _ in range(20):
        places = split(text)
        found = [text[start:end] for start, end in places]
        if not found:
            return ours
        at = terminal_at(found, value_of, classes)
        name = at is not None and reference(found[at])
        if not name:
            break
        start, end = places[at]
        text = text[:start] + value_of(name) + text[end:]
    plain = re.sub(r"\{[^{}]*\}", "", text)
    comma = ", " if "," in plain else " "
    if at is None:
        end = places[-1][1]
        return text[:end] + comma + ours
    if is_conditional(found[at]):
        return None
    start = places[at][0]
    return text[:start] + ours + comma + text[start:]


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
