# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# A server as the distribution ships it, for tests/systems/inside: Postfix, with
# smtpd in its chroot, hands virtual users' mail to Dovecot by LMTP; Maildir below
# /var/vmail, users in a passwd-file, Sieve, quota. In a root of its own only.

domain=example.test
notes=/var/lib/restante-trial # what was seen earlier
password=secret
tls=/etc/ssl/mail

say() {
	echo "== $*"
}

fail() {
	echo "FAILED: $*" >&2
	exit 1
}

# until_ok WHAT COMMAND...
until_ok() {
	local what=$1
	shift
	for _ in $(seq 200); do
		if "$@" 2>/dev/null; then
			return 0
		fi
		sleep 0.1
	done
	fail "$what: not within 20 s"
}

is_2_4() {
	[[ $(dovecot --version) == 2.4.* ]]
}

# ---- made once

stock_packages=(postfix dovecot-core dovecot-imapd dovecot-lmtpd dovecot-sieve
	openssl procps python3)

install_stock() {
	echo "postfix postfix/main_mailer_type select Internet Site
postfix postfix/mailname string mx.$domain" | debconf-set-selections
	apt-get install -y --no-install-recommends "${stock_packages[@]}"
}

configure_stock() {
	mkdir -p "$notes"
	printf '127.0.0.1\tlocalhost mx.%s mx\n' "$domain" >/etc/hosts
	groupadd --system --gid 5000 vmail
	useradd --system --uid 5000 --gid vmail --home-dir /var/vmail \
		--create-home vmail
	chmod 0770 /var/vmail
	make_certificate
	write_accounts
	write_dovecot >/etc/dovecot/local.conf
	sed -i 's/^!include auth-system/#&/' /etc/dovecot/conf.d/10-auth.conf
	postconf -e "myhostname=mx.$domain" "virtual_mailbox_domains=$domain" \
		"mydestination=localhost" inet_protocols=ipv4 \
		"virtual_transport=lmtp:unix:private/dovecot-lmtp" \
		"smtpd_tls_cert_file=$tls/cert.pem" "smtpd_tls_key_file=$tls/key.pem" \
		"virtual_mailbox_maps=$(postconf -h default_database_type):/etc/postfix/vmailbox"
	sed "s/:.*/ yes/" /etc/dovecot/users >/etc/postfix/vmailbox
	postmap /etc/postfix/vmailbox
}

make_certificate() {
	mkdir -p "$tls"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
		-keyout "$tls/ca-key.pem" -out "$tls/ca.pem" -days 30 \
		-subj "/CN=Trial CA" -addext "keyUsage=critical,keyCertSign"
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
		-keyout "$tls/key.pem" -out "$tls/request.pem" -subj "/CN=mx.$domain"
	printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n%s\n%s\n' \
		"subjectAltName=DNS:mx.$domain,IP:127.0.0.1" \
		"authorityKeyIdentifier=keyid" >"$tls/server.ext"
	openssl x509 -req -in "$tls/request.pem" -CA "$tls/ca.pem" \
		-CAkey "$tls/ca-key.pem" -CAcreateserial -days 30 \
		-extfile "$tls/server.ext" -out "$tls/cert.pem"
	chmod 0600 "$tls/key.pem" "$tls/ca-key.pem"
}

write_accounts() {
	local name
	for name in traveller{0..3} resident; do
		printf '%s@%s:{PLAIN}%s:5000:5000::/var/vmail/%s/%s::\n' "$name" \
			"$domain" "$password" "$domain" "$name"
	done >/etc/dovecot/users
	chown root:dovecot /etc/dovecot/users
	chmod 0640 /etc/dovecot/users
	echo "$password" >"$notes/password"
}

write_dovecot() {
	cat <<-END
		ssl = yes
		auth_failure_delay = 0
		service lmtp {
		  unix_listener /var/spool/postfix/private/dovecot-lmtp {
		    mode = 0600
		    user = postfix
		    group = postfix
		  }
		}
	END
	if is_2_4; then write_dovecot_2.4; else write_dovecot_2.3; fi
}

write_dovecot_2.3() {
	cat <<-END
		ssl_cert = <$tls/cert.pem
		ssl_key = <$tls/key.pem
		mail_location = maildir:~/Maildir
		passdb {
		  driver = passwd-file
		  args = username_format=%u /etc/dovecot/users
		}
		userdb {
		  driver = passwd-file
		  args = username_format=%u /etc/dovecot/users
		}
		mail_plugins = \$mail_plugins quota
		protocol lmtp {
		  mail_plugins = \$mail_plugins sieve
		}
		plugin {
		  sieve_extensions = +editheader
		  quota = maildir:User quota
		  quota_rule = *:storage=100M
		}
	END
}

write_dovecot_2.4() {
	cat <<-END
		ssl_server_cert_file = $tls/cert.pem
		ssl_server_key_file = $tls/key.pem
		mail_driver = maildir
		mail_path = ~/Maildir
		mail_inbox_path = ~/Maildir
		passdb passwd-file {
		  passwd_file_path = /etc/dovecot/users
		}
		userdb passwd-file {
		  passwd_file_path = /etc/dovecot/users
		}
		mail_plugins {
		  quota = yes
		}
		protocol lmtp {
		  auth_username_format = %{user | lower}
		  mail_plugins {
		    sieve = yes
		  }
		}
		sieve_script personal {
		  type = personal
		  path = ~/sieve
		  active_path = ~/.dovecot.sieve
		}
		sieve_extensions {
		  editheader = yes
		}
		quota "User quota" {
		  driver = maildir
		  storage_size = 100M
		}
	END
}

# ---- daemons

has_systemd() {
	[ -d /run/systemd/system ]
}

# Without systemd, by their own commands. What they log is in /var/log/mail.log.
start_daemons() {
	has_systemd || start_by_hand
	until_ok "smtpd" tcp_open 25
	until_ok "imap" tcp_open 143
}

start_by_hand() {
	mkdir -p /run/dovecot /run/restante
	setsid /usr/bin/python3 /restante/tests/systems/mail.py syslog \
		/var/log/mail.log >/dev/null 2>&1 </dev/null &
	until_ok "/dev/log" test -S /dev/log
	postfix start
	dovecot
	if [ -e "$notes/enabled" ]; then
		restante-policyd
	fi
}

stop_daemons() {
	if has_systemd; then
		return
	fi
	postfix stop
	doveadm stop
	pkill -TERM -x restante-policy || : # a name in the kernel has 15 octets
	sleep 1
}

tcp_open() {
	(exec 3<>"/dev/tcp/127.0.0.1/$1")
}

# ---- mail

mail() { # see mail.py
	/usr/bin/python3 /restante/tests/systems/mail.py "$@"
}

inbox() { # inbox USER: files of new mail
	find "/var/vmail/$domain/$1/Maildir/new" -type f 2>/dev/null || :
}

inbox_has() { # inbox_has USER NUMBER
	[ "$(inbox "$1" | wc -l)" = "$2" ]
}

held() { # held USER: prints the number
	doveadm -f tab restante list -u "$1@$domain" | tail -n +2 | wc -l
}

is_held() { # is_held USER NUMBER
	[ "$(held "$1")" = "$2" ]
}

# The settings, less what names processes or times
settings() {
	postconf -n
	postconf -M
	doveconf -n 2>/dev/null | grep -v '^#'
}

unchanged() { # unchanged SINCE
	settings | diff "$notes/settings.$1" - || fail "settings are not as at: $1"
}

# delivers USER NAME: one more message goes to INBOX
delivers() {
	local before
	before=$(inbox "$1" | wc -l)
	mail send "$1@$domain" "$2"
	until_ok "$2 in $1's INBOX" inbox_has "$1" $((before + 1))
	echo "$2: in $1's INBOX"
}
