# SPDX-License-Identifier: MIT
"""The table: one row for each configuration of Postfix and Dovecot."""
from dataclasses import dataclass, field

import dovecot
import looks
import peers
import rights

# What a log may say at every site: Postfix does without policyd while a test
# has stopped it.
QUIET = (r"policy\.sock|overriding earlier entry|problem talking to server"
         r"|Global setting mail_plugins|SIGHUP received")


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
    hop: object = peers.lmtp   # Postfix's way to Dovecot
    prepare: object = None    # a function that makes files beforehand
    peers: tuple = ()         # functions that start other programs
    recipient: object = str   # what senders say for an address
    extra: object = None      # a function that looks at more
    quiet: str = QUIET        # what logs may say
    # {regex: reason}: what a peer's own fault makes it log. The same must come
    # without the plugin, at a delivery or at `doveadm user '*'`.
    peer_noise: dict = field(default_factory=dict)
    # (reason, proof): a peer's own fault, by which nothing works at this site.
    # proof(site) fails unless the same happens without the plugin.
    peer_fault: tuple = ()
    only: str = ""            # the Dovecot that has it: 2.3 or 2.4
    always: bool = False      # in each share that packaging/check runs

    @property
    def left_out(self):
        """Why this machine cannot run it, if it cannot."""
        return rights.NO_MOUNTS if self.userdb == "system" else ""


def plugins(names, settings="", where="lmtp lda imap"):
    """A plugin that is loaded everywhere but for the protocol restante, which
    the packaged example forbids to load any."""
    return (f"mail_plugins = $mail_plugins {names}\n" + "".join(
        f"protocol {protocol} {{\n  mail_plugins = $mail_plugins {names}\n}}\n"
        for protocol in where.split())
        + (f"plugin {{\n{settings}\n}}\n" if settings else ""))


MAILDIR = "mail_location = maildir:~/mail\n"

QUOTA = ("  quota = {}:User quota\n  quota_grace = 0\n  quota_vsizes = yes\n"
         "  quota_rule = *:storage=%{{if;%n;eq;traveller7;40K;10M}}")
RULE = "\n  quota_rule2 = Restante/*:ignore"


def quota(backend, rule):
    return plugins("quota", QUOTA.format(backend) + rule)


XAPIAN = """
  fts = xapian
  fts_xapian = partial=3 full=20
  fts_autoindex = yes
  fts_enforced = yes
  restante_hold_plugin_settings = fts_xapian"""
# 1.9 says so of each new mailbox
XAPIAN_QUIET = QUIET + "|FTS Xapian: .* does not exist. Creating it"

INJECT = """
@PORT3@ inet n - n - - smtpd
 -o content_filter=
 -o smtpd_proxy_filter=
 -o smtpd_milters=
 -o smtpd_recipient_restrictions=permit
 -o smtpd_authorized_xforward_hosts=127.0.0.0/8
 -o receive_override_options=no_unknown_recipient_checks
"""

NO_LIST = {"userdb list: User listing returned failure"
           "|auth.*: Error: .*(iterate|Iterate)":
           "Dovecot logs it as an error when it is asked for all users and "
           "cannot say; policyd asks at its start"}

DATABASES = [
    Row("static", "userdb static, which cannot list its users",
        userdb="static", peer_noise=NO_LIST, always=True),
    Row("system-users", "userdb passwd, auth_username_format = %n, "
        "mailbox_transport", userdb="system", always=True,
        dovecot=MAILDIR + "auth_username_format = %n\n"
        "service auth {\n  user = root\n}\n",
        postfix="""
virtual_mailbox_domains =
mydestination = example.test
local_recipient_maps = unix:passwd.byname
mailbox_transport = lmtp:unix:@DIR@/run/lmtp.sock
mailbox_size_limit = 0
""", master="local unix - n n - - local\n"),
    Row("sqlite", "dovecot-sqlite", userdb="sqlite"),
    Row("sqlite-no-list", "dovecot-sqlite whose users cannot be listed",
        userdb="sqlite-no-iterate", peer_noise=NO_LIST),
    Row("ldap", "slapd", userdb="ldap"),
    Row("ldap-no-list", "slapd whose users cannot be listed",
        userdb="ldap-no-iterate"),
    Row("no-home", "a userdb without homes, mail_location absolute",
        userdb="no-home", dovecot="mail_location = sdbox:@DIR@/mail/%u\n"
        # 2.4's Sieve asks for a home where that directory is missing
        "plugin {\n  sieve = file:@DIR@/mail;active=@DIR@/mail/sieve-%u\n}\n",
        options={"--hold-location": "sdbox:@DIR@/mail/held/%d/%n"},
        peer_noise={"duplicate db: User .* doesn't have home dir set":
                    "Dovecot's Sieve wants a home for its duplicate database"},
        always=True),
    Row("domains", "the same names in several domains",
        domains=("example.test", "other.test", "third.test"),
        extra=looks.other_domain),
]

FORMATS = [
    Row("maildir", "INBOX maildir, hold sdbox", dovecot=MAILDIR),
    Row("mdbox", "INBOX mdbox, hold sdbox",
        dovecot="mail_location = mdbox:~/mail\n"),
    Row("maildir-hold", "all maildir, mail_fsync = always",
        dovecot="mail_fsync = always\n", options={"--format": "maildir"}),
    Row("mdbox-hold", "all mdbox", options={"--format": "mdbox"}),
    Row("maildir-layouts", "LAYOUT=fs, INDEX and CONTROL elsewhere",
        dovecot="mail_location = maildir:~/mail:LAYOUT=fs:"
        "INDEX=@DIR@/mail/index-%u:CONTROL=@DIR@/mail/control-%u\n"),
    Row("mbox", "Debian's default: mbox, INBOX in a spool directory",
        dovecot="mail_location = mbox:~/mail:INBOX=@DIR@/mail/spool-%u\n"),
    Row("shared-disk", "as for NFS: no mmap, dotlocks",
        dovecot="mmap_disable = yes\nmail_fsync = always\n"
        "mail_nfs_storage = yes\nmail_nfs_index = yes\n"
        "lock_method = dotlock\n"),
    Row("crlf", "mail_save_crlf", dovecot="mail_save_crlf = yes\n"),
    Row("attachments", "mail_attachment_dir",
        dovecot="mail_attachment_dir = @DIR@/mail/attachments\n"
        "mail_attachment_min_size = 1k\n", extra=looks.attachment),
]

PLUGINS = [
    Row("quota-count", "quota count and the rule for the hold",
        dovecot=quota("count", RULE), extra=looks.full),
    Row("quota-count-no-rule", "quota count, no rule",
        dovecot=quota("count", ""), extra=looks.full),
    Row("quota-maildir", "quota maildir++ and the rule for the hold",
        dovecot=MAILDIR + quota("maildir", RULE), extra=looks.full),
    Row("quota-maildir-no-rule", "quota maildir++, no rule",
        dovecot=MAILDIR + quota("maildir", ""), extra=looks.full),
    Row("quota-at-rcpt", "lmtp_rcpt_check_quota",
        dovecot=quota("count", "") + "lmtp_rcpt_check_quota = yes\n",
        extra=looks.full),
    Row("quota-and-cap", "quota count, and a cap on the hold",
        dovecot=quota("count", "\n  restante_hold_quota = 30K"),
        extra=looks.both_full,
        quiet=QUIET + "|to=<traveller7@.*status=deferred|over its quota"),
    Row("zlib", "zlib_save = gz", always=True,
        dovecot=plugins("zlib", "  zlib_save = gz")),
    Row("zlib-maildir", "zlib_save = gz, INBOX maildir",
        dovecot=MAILDIR + plugins("zlib", "  zlib_save = gz")),
    Row("mail-crypt", "mail_crypt with global keys", prepare=peers.keys,
        dovecot=plugins("mail_crypt", """
  mail_crypt_save_version = 2
  mail_crypt_global_private_key = <@BASE@/private.pem
  mail_crypt_global_public_key = <@BASE@/public.pem""")),
    Row("acl", "acl",
        dovecot=plugins("acl", "  acl = vfile\n  acl_shared_dict = "
                        "file:@DIR@/mail/shared.db")),
    Row("lazy-expunge", "lazy_expunge", dovecot=plugins(
        "lazy_expunge", "  lazy_expunge = Expunged"),
        extra=looks.nothing_expunged),
    Row("fts", "fts with xapian", dovecot=plugins(
        "fts fts_xapian", XAPIAN), quiet=XAPIAN_QUIET),
    Row("fts-squat", "fts with squat", dovecot=plugins(
        "fts fts_squat", "  fts = squat\n  fts_squat = partial=4 full=10"),
        only="2.3",
        peer_fault=("Dovecot 2.3.19's fts_squat makes lmtp, imap and doveadm "
                    "die with signal 11 in fts_mailbox_allocated()",
                    looks.lmtp_dies)),
    Row("virtual", "virtual mailboxes", dovecot=plugins("virtual") + """
namespace virtual {
  prefix = Virtual/
  separator = /
  location = virtual:~/virtual
}
"""),
    Row("mail-log", "notify and mail_log", dovecot=plugins(
        "notify mail_log", "  mail_log_events = save copy expunge\n"
        "  mail_log_fields = uid box msgid size")),
    Row("push-notification", "notify and push_notification",
        dovecot=plugins("notify push_notification",
                        "  push_notification_driver = dlog")),
    Row("many-plugins", "zlib, acl, quota, notify, mail_log and fts at once",
        dovecot=MAILDIR + plugins(
            "zlib acl quota notify mail_log fts fts_xapian",
            "  zlib_save = gz\n  acl = vfile\n  quota = count:User quota\n"
            "  quota_rule = *:storage=10M\n  quota_vsizes = yes\n" + XAPIAN),
        quiet=XAPIAN_QUIET, always=True),
]

DELIVERY = [
    Row("detail", "lmtp_save_to_detail_mailbox",
        dovecot="lmtp_save_to_detail_mailbox = yes\n", extra=looks.detail),
    Row("no-received", "lmtp_add_received_header = no",
        dovecot="lmtp_add_received_header = no\n"),
    Row("lda", "dovecot-lda by pipe(8)", always=True,
        dovecot="service auth {\n  unix_listener auth-userdb {\n"
        "    mode = 0600\n    user = mail\n  }\n}\n"
        "service stats {\n  unix_listener stats-writer {\n"
        "    mode = 0666\n  }\n}\n",
        postfix="virtual_transport = dovecot\n"
        "dovecot_destination_recipient_limit = 1\n",
        peers=(peers.open_log,), hop=peers.lda,
        master="dovecot unix - n n - - pipe flags=DRhu user=mail "
        "argv=/usr/lib/dovecot/dovecot-lda -c @DIR@/dovecot/dovecot.conf "
        "-f ${sender} -a ${original_recipient} -d ${user}@${nexthop}\n"),
    Row("one-at-a-time", "one recipient each, long queue ids",
        postfix="lmtp_destination_recipient_limit = 1\n"
        "enable_long_queue_ids = yes\n"),
    Row("verify", "reject_unverified_recipient",
        postfix="smtpd_relay_restrictions = reject_unauth_destination, "
        "reject_unverified_recipient\naddress_verify_map =\n"
        "unverified_recipient_reject_code = 550\n"
        "address_verify_poll_delay = 1s\n", extra=looks.unknown_user,
        quiet=QUIET + "|status=undeliverable"),
    Row("proxy", "a Dovecot in front hands LMTP on to this one",
        dovecot="service lmtp {\n  inet_listener lmtp {\n"
        "    address = 127.0.0.1\n    port = @PORT2@\n  }\n}\n",
        postfix="virtual_transport = lmtp:unix:@DIR@/run/front.sock\n",
        peers=(peers.front,), hop=peers.through_front, always=True),
    Row("ipv6", "IPv6 only", options={"--address": "::1"}),
]

ADDRESSES = [
    Row("always-bcc", "always_bcc to somebody who is enrolled",
        postfix="always_bcc = traveller9@example.test\n",
        extra=looks.bcc),
    Row("recipient-bcc", "recipient_bcc_maps both ways",
        postfix="recipient_bcc_maps = inline:{ "
        "{ resident@example.test = traveller9@example.test }, "
        "{ traveller8@example.test = resident@example.test } }\n",
        extra=looks.recipient_bcc),
    Row("aliases", "virtual aliases to enrolled and other users",
        postfix="virtual_alias_maps = inline:{ { everybody@example.test = "
        "traveller7@example.test, resident@example.test, "
        "traveller8@example.test } }\n", extra=looks.aliases),
    Row("catch-all", "a catch-all",
        prepare=peers.catch_all_map,
        postfix="virtual_alias_maps = regexp:@BASE@/catch-all\n",
        extra=looks.catch_all),
    Row("delimiters", "recipient_delimiter = +-",
        dovecot="recipient_delimiter = +-\n",
        postfix="recipient_delimiter = +-\n", extra=looks.delimiters),
]

FILTERS = [
    Row("proxy-filter", "smtpd_proxy_filter", port="PORT1",
        peers=(peers.relay,), master="@PORT1@ inet n - n - - smtpd "
        "-o smtpd_proxy_filter=127.0.0.1:@PORT2@\n" + INJECT,
        postfix="smtpd_proxy_options = speed_adjust\n"),
    Row("milter", "opendkim as a milter that signs", peers=(peers.opendkim,),
        postfix="smtpd_milters = inet:127.0.0.1:@PORT2@\n"),
    Row("content-filter", "a filter that hands mail back to Postfix",
        peers=(peers.relay,), master=INJECT
        + "filter unix - - n - - smtp -o smtp_send_xforward_command=yes\n",
        postfix="content_filter = filter:127.0.0.1:@PORT2@\n"),
    Row("postscreen", "postscreen", port="PORT1",
        master="@PORT1@ inet n - n - 1 postscreen\n"
        "smtpd pass - - n - - smtpd\ndnsblog unix - - n - 0 dnsblog\n"
        "tlsproxy unix - - n - 0 tlsproxy\n",
        postfix="postscreen_greet_wait = 1s\n"
        "postscreen_access_list =\n"),
    Row("smtputf8", "SMTPUTF8 as the guide has it", extra=looks.smtputf8,
        always=True, postfix="virtual_mailbox_domains = example.test "
        "b\u00fccher.test xn--bcher-kva.test\n",
        quiet=QUIET + "|Illegal address syntax"),
    Row("no-smtputf8", "smtputf8_enable = no",
        postfix="smtputf8_enable = no\n", extra=looks.no_smtputf8),
]

# Nobody's mail is held here. Only resident and logs may be green.
CONTROL = Row("control", "the plugin is told to hold nothing",
              dovecot="plugin {\n  restante_bypass = yes\n}\n")

ROWS = [row for row in (
        Row("plain", "sdbox, passwd-file, LMTP", always=True),
        Row("due-again", "mail that falls due soon after other mail",
            dovecot="plugin {\n  restante_hold_time = "
            "%{if;%n;~;^traveller[239]$;2s;14d}\n}\n", extra=looks.due_again),
        *DATABASES, *FORMATS, *PLUGINS, *DELIVERY, *ADDRESSES, *FILTERS)
        if dovecot.VERSION.startswith(row.only)]
