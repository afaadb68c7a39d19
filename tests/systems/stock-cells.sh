# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# The cells of packaging/systems on a stock server, in their order; each begins
# where the one before has ended. The packages are in /debs.

packages=(restante-policyd dovecot-restante restante)

debs() { # debs DIR
	local package
	for package in "${packages[@]}"; do
		echo "$1/$package"_*.deb
	done
}

# With the network, before anything is installed: the archives of all that will be,
# and systemd, if wanted.
cell_fetch() { # cell_fetch [PACKAGE...]
	apt-get update
	[ $# = 0 ] || apt-get install -y --no-install-recommends "$@"
	apt-get install -y --no-install-recommends --download-only \
		"${stock_packages[@]}"
	# shellcheck disable=SC2046 # a list of words
	apt-get install -y --no-install-recommends --download-only $(debs /debs)
	download_dovecot
}

# ... and a system that is booted, where daemons start as they do on a server
cell_fetch_systemd() {
	cell_fetch systemd systemd-sysv dbus
	rm -f /usr/sbin/policy-rc.d
}

cell_stock() {
	install_stock
	configure_stock
	if has_systemd; then
		systemctl restart dovecot postfix
	fi
}

# Not a message is held, and nothing is otherwise, until somebody enables it.
cell_install() {
	start_daemons
	delivers resident before-1
	delivers traveller0 before-2
	settings >"$notes/settings.before"
	# shellcheck disable=SC2046 # a list of words
	apt-get install -y --no-install-recommends $(debs /debs)
	unchanged before
	delivers resident installed-1
	delivers traveller0 installed-2
	restante --version
	stop_daemons
}

# Enable, enrol, register: the first message is held and pushed, and another one
# while the client is online.
cell_steps() {
	start_daemons
	restante-setup plan
	restante-setup apply --certificate "$tls/cert.pem" --key "$tls/key.pem"
	touch "$notes/enabled"
	sed -i '/^traveller/s/$/userdb_restante=yes/' /etc/dovecot/users
	touch -d '2 seconds' /etc/dovecot/users # Dovecot reads it again
	delivers resident enabled-1
	until_enrolled
	mail send "traveller0@$domain" first
	until_ok "the first message held" is_held traveller0 1
	doveadm restante list -u "traveller0@$domain"
	begin_client traveller0
	until_ok "the first message at the client" client_has traveller0 1
	mail send "traveller0@$domain" second
	until_ok "the second message at the client" client_has traveller0 2
	end_client
	doveadm restante check -u "traveller0@$domain" || fail "doveadm restante check"
	restante-policyd -t || fail "restante-policyd -t"
	stop_daemons
}

until_enrolled() {
	until_ok "traveller0 enrolled" sh -c \
		"doveadm user traveller0@$domain | grep -q 'restante.*yes'"
}

cell_job() {
	local box=/var/lib/restante-trial/job user=traveller2@$domain
	start_daemons
	rm -rf "$box"
	mkdir -p "$box/bin" "$box/log" "$box/mail"
	ln -s "$(command -v doveadm)" "$(command -v restante)" "$box/bin/"
	ln -s "/var/vmail/$domain/traveller2" "$box/mail/$user"
	mkdir -p "/var/vmail/$domain/traveller2"
	chown vmail: "/var/vmail/$domain" "/var/vmail/$domain/traveller2"
	cat >"$box/env" <<-END
		SMTP_PORT=25
		IMAP_PORT=143
		TLS_PORT=8463
		CA_FILE=$tls/ca.pem
		PASSWORD_FILE=$notes/password
		BIN_DIR=$box/bin
	END
	sed -i '/^traveller2@/s/$/ userdb_restante_hold_time=8s/' /etc/dovecot/users
	touch -d '4 seconds' /etc/dovecot/users
	/usr/bin/python3 /restante/packaging/main-job.py "$box" "$user"
	stop_daemons
}

begin_client() { # begin_client USER [OPTION...]
	restante register "$1@$domain" --server "mx.$domain:8463" \
		--ca-file "$tls/ca.pem" --password-file "$notes/password" \
		--maildir "$notes/$1" "${@:2}" >>"$notes/client.log" 2>&1 </dev/null &
	client=$!
}

end_client() {
	kill -TERM "$client"
	wait "$client" || :
}

# A restarted policyd tells clients to come later until it has found Dovecot.
collect() { # collect USER: all that is held
	local status
	for _ in $(seq 10); do
		status=0
		begin_client "$1" --once
		wait "$client" || status=$?
		[ "$status" = 75 ] || break
		sleep 1
	done
	[ "$status" = 0 ] || fail "the client ended with $status"
}

client_has() { # client_has USER NUMBER
	[ "$(find "$notes/$1/new" -type f | wc -l)" = "$2" ]
}

# Of what is held for USER: the octets of each file of a message, and the list.
snapshot() { # snapshot USER
	mail hash "/var/vmail/$domain/$1" | grep -v 'Maildir/' | grep '/u\.'
	doveadm -f tab restante list -u "$1@$domain"
}

# The same packages under a higher version, with other remarks in the configuration
newer_debs() { # newer_debs DIR
	local deb work shipped=usr/share/dovecot-restante/90-restante.conf
	work=$(mktemp -d)
	for deb in $(debs /debs); do
		rm -rf "$work/x"
		dpkg-deb -R "$deb" "$work/x"
		sed -i 's/^Version: .*/&+1/' "$work/x/DEBIAN/control"
		[ ! -e "$work/x/$shipped" ] || echo '# newer' >>"$work/x/$shipped"
		dpkg-deb --root-owner-group -b "$work/x" "$1" >/dev/null
	done
	rm -rf "$work"
}

# Dovecot 2.4 puts off the eleventh delivery at a time to one user, and Postfix
# waits five minutes then, unless told.
until_all_held() { # until_all_held USER NUMBER
	for _ in $(seq 60); do
		if is_held "$1" "$2"; then
			return
		fi
		postqueue -f
		sleep 3
	done
	fail "$2 messages held: only $(held "$1")"
}

cell_upgrade() {
	start_daemons
	mail send "traveller1@$domain" held 1000
	until_all_held traveller1 1000
	snapshot traveller1 >"$notes/held.before"
	mkdir -p "$notes/newer"
	newer_debs "$notes/newer"
	# shellcheck disable=SC2046 # a list of words
	apt-get install -y --no-install-recommends \
		$(debs "$notes/newer")
	after_upgrade
	snapshot traveller1 >"$notes/held.after"
	grep -c '/u\.' "$notes/held.before"
	sha256sum "$notes/held.before" "$notes/held.after"
	cmp "$notes/held.before" "$notes/held.after"
	delivers resident upgraded-1
	mail send "traveller0@$domain" upgraded-2
	until_ok "a message held by the new version" is_held traveller0 1
	collect traveller1
	mail compare "$notes/traveller1" held 1000
	is_held traveller1 0 || fail "still held: $(held traveller1)"
	stop_daemons
}

# What the packages' scripts do where systemd runs
after_upgrade() {
	dpkg-query -W "${packages[@]}"
	if has_systemd; then
		return
	fi
	doveadm reload
	pkill -TERM -x restante-policy
	until_ok "policyd's end" sh -c '! pgrep -x restante-policy >/dev/null'
	restante-policyd
	until_ok "policyd" tcp_open 8463
}

# With a message held: it stays on disk, and mail flows to the mailbox.
cell_remove() {
	local count
	start_daemons
	count=$(held traveller0)
	mail send "traveller0@$domain" left
	until_ok "a message held" is_held traveller0 $((count + 1))
	snapshot traveller0 | grep '/u\.' >"$notes/left.before"
	restante-setup undo --leave
	rm -f "$notes/enabled"
	unchanged before
	delivers traveller0 undone-1
	apt-get remove -y "${packages[@]}"
	unchanged before
	doveadm reload || has_systemd
	delivers traveller0 removed-1
	delivers resident removed-2
	stop_daemons
}

cell_purge() {
	local path
	start_daemons
	apt-get purge -y "${packages[@]}"
	unchanged before
	delivers traveller0 purged-1
	mail hash "/var/vmail/$domain/traveller0" | grep '/u\.' |
		diff "$notes/left.before" - || fail "held mail is not as it was"
	for path in /etc/restante /var/lib/restante/setup \
		/etc/dovecot/conf.d/90-restante.conf /usr/sbin/restante-policyd; do
		[ ! -e "$path" ] || fail "left behind: $path"
	done
	stop_daemons
}
