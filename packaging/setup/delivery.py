# SPDX-License-Identifier: MIT
"""Where Postfix takes mail to, and whether LMTP answers there."""
import collections
import os
import pwd
import re
import sys

from .system import is_root, run


# kind: lmtp, lda, or another one, in words; target: of lmtp
Delivery = collections.namedtuple(
    "Delivery", ["setting", "value", "kind", "target"], defaults=[None])


def lmtp_target(postfix, service, nexthop):
    """unix:PATH as a path of this machine, HOST:PORT as a pair."""
    if nexthop.startswith("unix:"):
        path = nexthop[len("unix:"):]
        if not path.startswith("/") or postfix.is_chrooted(service):
            path = postfix.queue + "/" + path.lstrip("/")
        return path
    match = re.fullmatch(r"(?:inet:)?\[?([^\]]*?)\]?(?::(\w+))?", nexthop)
    return match and (match[1], match[2] or postfix.get("lmtp_tcp_port"))


def is_lda(text):
    return re.search(r"(?:^|[\s/=])(dovecot-lda|deliver)(\s|$)", text)


def delivery(postfix, setting, value):
    name, _, nexthop = value.partition(":")
    service = f"{name}/unix"
    if service not in postfix.services:
        return Delivery(setting, value, "a transport that master.cf has not")
    command = postfix.command(service)
    if command == "lmtp":
        return Delivery(setting, value, "lmtp",
                        lmtp_target(postfix, service, nexthop))
    if command == "pipe" and is_lda(postfix.services[service][7]):
        return Delivery(setting, value, "lda")
    if command == "local":
        return local_delivery(postfix)
    return Delivery(setting, value, f"{command}(8), which goes past Dovecot")


def local_delivery(postfix):
    transport = postfix.get("mailbox_transport")
    command = postfix.get("mailbox_command")
    if transport:
        return delivery(postfix, "mailbox_transport", transport)
    if is_lda(command):
        return Delivery("mailbox_command", command, "lda")
    return Delivery("mailbox_transport", "",
                    "local(8), which writes mailboxes itself")


def deliveries(postfix):
    found = []
    if postfix.get("virtual_mailbox_domains"):
        found.append(delivery(postfix, "virtual_transport",
                              postfix.get("virtual_transport")))
    if postfix.get("mydestination"):
        found.append(delivery(postfix, "local_transport",
                              postfix.get("local_transport")))
    relay = postfix.get("relay_transport")
    if postfix.get("relay_domains") and relay:
        to = delivery(postfix, "relay_transport", relay)
        found += [to] if to.kind in ("lmtp", "lda") else []
    return found


DIAL = """
import socket, sys
if len(sys.argv) == 2:
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(5)
    s.connect(sys.argv[1])
else:
    s = socket.create_connection(sys.argv[1:], 5)
s.settimeout(5)
answer = s.recv(512)
if not answer.startswith(b"220"):
    sys.exit("the answer is %r" % answer)
"""


def dial_lmtp(postfix, target):
    """As Postfix's user. @return what is wrong"""
    more = {}
    if is_root():
        user = pwd.getpwnam(postfix.get("mail_owner"))
        more = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups":
                os.getgrouplist(user.pw_name, user.pw_gid)}
    target = [target] if isinstance(target, str) else list(target)
    result = run(sys.executable, "-c", DIAL, *target, cwd="/", **more)
    if result.returncode == 0:
        return None
    return (result.stderr.strip().splitlines() or ["no answer"])[-1]
