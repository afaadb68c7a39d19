# shellcheck shell=bash disable=SC2154,SC2015 # variables of stock.sh; fail ends
# SPDX-License-Identifier: MIT
# What the packages' own scripts do on a stock server, for packaging/trial-packages:
# in each state Dovecot and Postfix go on working, and Dovecot is reloaded, never
# restarted. Each cell begins where the one before has ended.

plugin=/usr/lib/dovecot/modules/lib95_restante_plugin.so
snippet=/etc/dovecot/conf.d/90-restante.conf
holders=/var/lib/restante/holders
second="/etc/dovecot b" # of a Dovecot that does not run

# The packages' scripts may reload and start here, in a network of its own.
allow_services() {
	printf '#!/bin/sh\nexit 0\n' >/usr/sbin/policy-rc.d
}

begin() {
	allow_services
	start_daemons
	note_dovecot
}

note_dovecot() {
	until_ok "Dovecot's number" test -s /run/dovecot/master.pid
	dovecot_pid=$(cat /run/dovecot/master.pid)
	log_size=$(stat -c %s /var/log/mail.log)
}

reloads() {
	tail -c +"$((log_size + 1))" /var/log/mail.log | grep -c 'SIGHUP received'
}

was_reloaded() {
	until_ok "Dovecot's reload" reloads >/dev/null
	[ "$(cat /run/dovecot/master.pid)" = "$dovecot_pid" ] &&
		kill -0 "$dovecot_pid" || fail "Dovecot was restarted"
	log_size=$(stat -c %s /var/log/mail.log)
	echo "Dovecot was reloaded, and is the same process"
}

restart_dovecot() {
	doveadm stop
	until_ok "Dovecot's end" sh -c "! kill -0 $dovecot_pid"
	dovecot
	until_ok "imap" tcp_open 143
	note_dovecot
	echo "Dovecot starts anew"
}

apt() { # apt COMMAND PACKAGE...: what it says is in /tmp/apt.log, too
	apt-get "$1" -y --no-install-recommends "${@:2}" 2>&1 |
		tee /tmp/apt.log
	[ "${PIPESTATUS[0]}" = 0 ] || fail "apt-get $1"
}

install_debs() { # install_debs DIR
	local list
	mapfile -t list < <(debs "$1")
	apt install "${list[@]}"
}

held_octets() { # of traveller0's messages
	mail hash "/var/vmail/$domain/traveller0" | grep '/u\.'
}

state_is() { # state_is WANTED: of the package of the plugin
	[ "$(dpkg-query -W -f '${db:Status-Status}' dovecot-restante 2>/dev/null ||
		echo none)" = "$1" ] || fail "dovecot-restante is not $1"
}

is_aside() { # is_aside SNIPPET
	[ -e "$1.removed" ] && [ ! -e "$1" ] || fail "$1 is not aside"
}

is_back() { # is_back SNIPPET
	[ -e "$1" ] && [ ! -e "$1.removed" ] || fail "$1 is not back"
}

without_restante() {
	doveconf -n >/dev/null || fail "doveconf"
	! doveconf -n | grep -v '^#' | grep restante || fail "restante is configured"
}

enable() {
	restante-setup apply --certificate "$tls/cert.pem" --key "$tls/key.pem"
	touch "$notes/enabled"
}

# Restante is enabled there as well.
add_second_dovecot() {
	cp -a /etc/dovecot "$second"
	echo "base_dir = /run/dovecot-b" >>"$second/local.conf"
	mkdir /var/lib/restante/setup-b
	sed "s,/etc/dovecot/,$second/,g" /var/lib/restante/setup/state \
		>/var/lib/restante/setup-b/state
}

second_is_sound() {
	doveconf -n -c "$second/dovecot.conf" >/dev/null || fail "doveconf of $second"
}

remove_second_dovecot() {
	rm -r "$second" /var/lib/restante/setup-b
}

# As if systemd ran. A removal stops a daemon that was started directly as well, and
# leaves the unit enabled: so an installation starts it.
like_with_systemd() {
	local fake=/tmp/fake scripts=/var/lib/dpkg/info/restante-policyd
	mkdir -p "$fake" /run/systemd/system
	cat >"$fake/systemctl" <<-'END'
		#!/bin/sh
		echo "$*" >>/tmp/fake/log
		case $* in *is-enabled*) echo enabled ;; esac
	END
	chmod +x "$fake/systemctl"
	PATH=$fake:$PATH sh "$scripts.prerm" remove
	! pgrep -x restante-policy || fail "the daemon still runs"
	PATH=$fake:$PATH sh "$scripts.postinst" configure
	rm -r /run/systemd/system
	grep 'restart restante-policyd.service' "$fake/log" ||
		fail "the unit is not started"
	restante-policyd
}

cell_k_install() {
	begin
	settings >"$notes/settings.before"
	find /etc -newer "$notes" -type f | sort >"$notes/etc.before"
	delivers traveller0 before-1
	install_debs /debs
	was_reloaded
	unchanged before
	[ -L "$plugin" ] && [ -e "$plugin" ] || fail "no $plugin"
	[ -e "$snippet" ] || fail "no $snippet"
	grep -v '^#' "$snippet" && fail "$snippet enables something"
	getent passwd restante || fail "no account"
	! pgrep -x restante-policy || fail "the daemon was started unconfigured"
	[ "$(stat -c %U:%a /etc/restante/restante-policyd.conf)" = root:644 ]
	doveadm restante status -A || fail "doveadm restante"
	restart_dovecot
	delivers traveller0 installed-1
	stop_daemons
}

cell_k_enable() {
	begin
	enable
	sed -i '/^traveller0/s/$/userdb_restante=yes/' /etc/dovecot/users
	touch -d '2 seconds' /etc/dovecot/users # Dovecot reads it again
	until_enrolled
	mail send "traveller0@$domain" held 3
	until_ok "3 messages held" is_held traveller0 3
	held_octets >"$notes/held"
	stop_daemons
}

# As from an apt that brings a newer version
cell_k_upgrade() {
	begin
	settings >"$notes/settings.enabled"
	mkdir -p "$notes/newer"
	newer_debs "$notes/newer"
	install_debs "$notes/newer"
	grep -qF +1 <(dpkg-query -W dovecot-restante) || fail "not upgraded"
	was_reloaded
	unchanged enabled
	! ls "$snippet".ucf-* 2>/dev/null || fail "ucf has asked about new remarks"
	held_octets | diff "$notes/held" -
	is_held traveller0 3 || fail "not held any more"
	mail send "traveller0@$domain" upgraded
	until_ok "a message held by the new version" is_held traveller0 4
	held_octets >"$notes/held"
	delivers resident upgraded-1
	stop_daemons
}

# Without undo, with mail held
cell_k_remove() {
	begin
	apt-get -s remove restante-policyd | grep '^Remv dovecot-restante' ||
		fail "the plugin would stay without the daemon"
	add_second_dovecot
	second_is_sound
	apt remove dovecot-restante
	state_is config-files
	grep -q 'messages held: 4, users: 1' /tmp/apt.log ||
		fail "nothing was said of 4 held messages"
	was_reloaded
	[ ! -L "$plugin" ] || fail "$plugin is left"
	is_aside "$snippet"
	without_restante
	is_aside "$second/conf.d/90-restante.conf"
	second_is_sound
	delivers traveller0 removed-1
	restart_dovecot
	delivers traveller0 removed-2
	delivers resident removed-3
	held_octets | diff "$notes/held" - || fail "held mail is not as it was"
	stop_daemons
}

cell_k_reinstall() {
	begin
	install_debs "$notes/newer"
	was_reloaded
	unchanged enabled
	is_back "$snippet"
	is_back "$second/conf.d/90-restante.conf"
	second_is_sound
	remove_second_dovecot
	like_with_systemd
	is_held traveller0 4 || fail "not 4 messages held"
	mail send "traveller0@$domain" again
	until_ok "5 messages held" is_held traveller0 5
	begin_client traveller0 # dials again until policyd has found Dovecot again
	until_ok "5 messages at the client" client_has traveller0 5
	end_client
	mail send "traveller0@$domain" last
	until_ok "a message held" is_held traveller0 1
	held_octets >"$notes/held"
	stop_daemons
}

# Undone while the plugin is not there: it holds nothing when it is installed again.
cell_k_undone() {
	begin
	apt remove dovecot-restante
	restante-setup undo --leave
	rm "$notes/enabled"
	note_dovecot
	install_debs "$notes/newer"
	was_reloaded
	without_restante
	delivers traveller0 undone-1
	held_octets | diff "$notes/held" - || fail "held mail is not as it was"
	enable
	unchanged enabled
	mail send "traveller0@$domain" enabled-again
	until_ok "2 messages held" is_held traveller0 2
	held_octets >"$notes/held"
	stop_daemons
}

# What was put aside is not for this Dovecot, or not all of it was put aside.
cell_k_misfit() {
	begin
	if is_2_4; then
		cp -p /etc/dovecot/local.conf /tmp/local.conf
		echo 'restante_max_size = 10M' >>/etc/dovecot/local.conf
	fi
	apt remove dovecot-restante
	if is_2_4; then
		grep -q 'settings of restante stand in another file' /tmp/apt.log ||
			fail "nothing was said of the setting in local.conf"
		cp -p /tmp/local.conf /etc/dovecot/local.conf
	fi
	cp -p "$snippet.removed" /tmp/snippet
	echo 'bad_setting = x' >>"$snippet.removed"
	install_debs "$notes/newer"
	state_is installed
	grep -q "$snippet.removed is not for this Dovecot" /tmp/apt.log ||
		fail "nothing was said of a file that Dovecot does not take"
	is_aside "$snippet"
	without_restante
	was_reloaded
	delivers traveller0 misfit-1
	mv /tmp/snippet "$snippet.removed"
	/usr/lib/dovecot-restante/snippets back
	/usr/lib/dovecot-restante/snippets reload
	was_reloaded
	unchanged enabled
	is_held traveller0 2 || fail "not 2 messages held"
	stop_daemons
}

# A removal that is not carried out
cell_k_abort() {
	begin
	cp -p /var/lib/dpkg/info/dovecot-restante.prerm /tmp/prerm
	echo 'exit 1' >>/var/lib/dpkg/info/dovecot-restante.prerm
	! apt-get remove -y dovecot-restante || fail "removed all the same"
	cp -p /tmp/prerm /var/lib/dpkg/info/dovecot-restante.prerm
	state_is installed
	unchanged enabled
	[ -e "$plugin" ] || fail "no $plugin"
	is_held traveller0 2 || fail "not held any more"
	stop_daemons
}

# Without undo: Postfix goes on asking nobody.
cell_k_purge() {
	begin
	apt purge "${packages[@]}"
	grep -q 'Postfix still asks' /tmp/apt.log || fail "nothing was said of Postfix"
	was_reloaded
	rm "$notes/enabled"
	! pgrep -x restante-policy || fail "the daemon still runs"
	settings | grep -v restante | diff <(grep -v restante "$notes/settings.before") - ||
		fail "more is otherwise than what names restante"
	without_restante
	delivers traveller0 purged-1
	restart_dovecot
	delivers resident purged-2
	held_octets | diff "$notes/held" - || fail "held mail is not as it was"
	! ls -d /etc/dovecot/conf.d/*restante* /etc/restante /usr/lib/dovecot-restante \
		/usr/lib/dovecot/modules/*restante* 2>/dev/null || fail "left behind"
	[ -e "$holders" ] || fail "it is not known any more whose mail is held"
	purge_with_nothing_held
	stop_daemons
}

# Where dovecot.conf is all of the configuration. The daemon alone goes by force only.
purge_with_nothing_held() {
	cp -p /etc/dovecot/dovecot.conf /tmp/dovecot.conf
	sed -i '/^!include conf\.d/d' /etc/dovecot/dovecot.conf
	mv /etc/dovecot/conf.d /tmp/conf.d
	find "$holders" -type f ! -name '.*' -delete
	[ -e "$holders/.audited" ] || touch "$holders/.audited"
	install_debs /debs
	state_is installed
	doveconf -n >/dev/null || fail "doveconf"
	dpkg --purge --force-depends restante-policyd
	[ -e "$holders" ] || fail "no $holders for the plugin that is left"
	dpkg -i "$(debs /debs | grep /restante-policyd_)"
	apt purge "${packages[@]}"
	[ ! -e /var/lib/restante ] || fail "/var/lib/restante is left behind"
	rm -rf /etc/dovecot/conf.d
	mv /tmp/conf.d /etc/dovecot/conf.d
	mv /tmp/dovecot.conf /etc/dovecot/dovecot.conf
	doveconf -n >/dev/null || fail "doveconf"
}
