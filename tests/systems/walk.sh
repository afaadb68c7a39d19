# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# packaging/stock-server: from an empty system with systemd to the first message
# that is held and pushed, and back, each command with what it says.

show() { # show COMMAND...: with the time since the boot
	printf '\n[%3d s] # %s\n' "$SECONDS" "$*"
	eval "$*" 2>&1
}

# show_until WHAT COMMAND...
show_until() {
	until_ok "$@"
	printf '[%3d s] %s\n' "$SECONDS" "$1"
}

cell_walk() {
	local user=traveller0@$domain
	show "cat /etc/debian_version; systemctl is-system-running; cat /proc/1/comm"
	show install_stock | grep -v '^Get\|^Selecting\|^Preparing\|^Unpacking\|%'
	printf '\n== Postfix and Dovecot are configured as usual\n'
	configure_stock 2>/dev/null
	show "systemctl restart dovecot postfix; postconf -n; postconf -M smtp/inet"
	show "cat /etc/dovecot/local.conf"
	show_until "smtpd answers" tcp_open 25
	show "delivers resident before-1"
	settings >"$notes/settings.before"

	printf '\n== Restante is installed\n'
	show "apt-get install -y --no-install-recommends $(debs /debs | tr '\n' ' ')" |
		grep -v '^Get\|^Selecting\|^Preparing\|^Unpacking\|%'
	show "systemctl is-active dovecot; systemctl is-active restante-policyd || :"
	unchanged before

	printf '\n== enabled\n'
	show "restante-setup check" || :
	show "restante-setup apply --certificate $tls/cert.pem --key $tls/key.pem"
	show "systemctl is-active restante-policyd; systemctl is-enabled restante-policyd"
	show "sed -i '/^traveller/s/\$/userdb_restante=yes/' /etc/dovecot/users"
	touch -d '2 seconds' /etc/dovecot/users
	show_until "enrolled" until_enrolled

	printf '\n== the first message\n'
	show "mail send $user first"
	show_until "held" is_held traveller0 1
	show "doveadm restante list -u $user"
	begin_client traveller0
	printf '\n[%3d s] # restante register %s --server mx.%s:8463 ... &\n' \
		"$SECONDS" "$user" "$domain"
	show_until "pushed: the first message is at the client" client_has traveller0 1
	show "mail send $user second"
	show_until "pushed at once: the second message" client_has traveller0 2
	show "head -n 12 $notes/traveller0/new/*"
	show "delivers resident enabled-1"
	end_client
	show "systemctl --no-pager --lines=5 status restante-policyd"

	printf '\n== and back\n'
	show "restante-setup undo"
	unchanged before
	show "apt-get purge -y ${packages[*]}" | grep -v '%'
	unchanged before
	printf '\n[%3d s] postconf -n and doveconf -n are as they were\n' "$SECONDS"
	show "delivers traveller0 after-1"
}
