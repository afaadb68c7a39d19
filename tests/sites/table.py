# SPDX-License-Identifier: MIT
"""The table: one row for each configuration of Postfix and Dovecot."""
from dataclasses import dataclass, field

# What a log may say at every site: Postfix does without policyd while a test
# has stopped it.
QUIET = (r"policy\.sock|overriding earlier entry|private/policy"
         r"|problem talking to server")


def itself(address):
    return address


@dataclass
class Row:
    name: str
    about: str                # what is special, in a few words
    dovecot: str = ""         # goes to the end of dovecot.conf
    postfix: str = ""         # of main.cf
    master: str = ""          # of master.cf
    options: dict = field(default_factory=dict)  # packaging/sandbox's
    userdb: str = "passwd-file"                  # of userdbs.py
    domains: tuple = ("example.test",)
    port: str = ""            # where senders dial, PORT1 or the like
    peers: tuple = ()         # functions that start other programs
    recipient: object = itself  # what senders say for a user
    extra: object = None      # a function that looks at more
    quiet: str = QUIET        # what logs may say
    # {cell: (reason, proof)}: the peer's own fault. proof(site) fails unless
    # the same happens without the plugin.
    peer_faults: dict = field(default_factory=dict)
    always: bool = False      # in each share that packaging/check runs


ROWS = [
    Row("plain", "sdbox, passwd-file, LMTP", always=True),
    Row("static", "userdb static: nobody can list the users",
        userdb="static", always=True),
]
