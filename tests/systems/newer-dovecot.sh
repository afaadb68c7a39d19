# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# apt full-upgrade brings a Dovecot of another ABI while mail is held. It is the
# distribution's own, packed again with another version and another name of its
# ABI, in the packages' control files and in the strings that its binaries compare.

repository=$notes/newer-dovecot
apt_here=(-o "Dir::Etc::sourcelist=$repository/list"
	-o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0)

# With the network
download_dovecot() {
	mkdir -p "$notes/dovecot"
	(cd "$notes/dovecot" && apt-get download dovecot-core dovecot-imapd \
		dovecot-lmtpd dovecot-sieve)
}

abi() {
	dpkg-query -W -f '${Provides}' dovecot-core |
		sed -n 's/.*dovecot-abi-\([^, ]*\).*/\1/p'
}

other() { # other ABI: a name of the same length
	case $1 in
	*9) echo "${1%?}8" ;;
	*) echo "${1%?}9" ;;
	esac
}

# repack DEB OLD-ABI SED-EXPRESSION...: for another ABI, into the repository; the
# expressions change its control file
repack() {
	local deb=$1 old=$2 new work
	shift 2
	new=$(other "$old")
	work=$(mktemp -d)
	dpkg-deb -R "$deb" "$work/x"
	sed -i "s/dovecot-abi-$old/dovecot-abi-$new/g; $*" "$work/x/DEBIAN/control"
	grep -rlZ "${old/abi/ABI}" "$work/x/usr" |
		xargs -0r sed -i "s/${old/abi/ABI}/${new/abi/ABI}/g"
	dpkg-deb --root-owner-group -b "$work/x" "$repository" >/dev/null
	rm -rf "$work"
}

make_repository() {
	local deb old version
	rm -rf "$repository"
	mkdir -p "$repository/restante"
	old=$(abi)
	for deb in "$notes"/dovecot/*.deb; do
		version=$(dpkg-deb -f "$deb" Version)
		repack "$deb" "$old" "s/$version/$version+newer/g"
	done
	for deb in "$repository"/*.deb; do
		dpkg-deb -f "$deb" | sed '/^$/d'
		echo "Filename: ./${deb##*/}"
		echo "Size: $(stat -c %s "$deb")"
		echo "SHA256: $(sha256sum <"$deb" | cut -d' ' -f1)"
		echo
	done >"$repository/Packages"
	echo "deb [trusted=yes] file:$repository ./" >"$repository/list"
	# the plugin, built for it
	repack "$(debs "$notes/newer" | grep dovecot-restante)" "$old" \
		's/^Version: .*/&+newer/'
	mv "$repository"/dovecot-restante_*.deb "$repository/restante/"
}

# Dovecot may refuse to start: then mail waits.
renew_dovecot() {
	if has_systemd; then
		systemctl reset-failed dovecot || : # it was started often by now
		systemctl restart dovecot || echo "Dovecot does not start"
		return
	fi
	doveadm stop || :
	until_ok "Dovecot's end" sh -c '! pgrep -x dovecot >/dev/null'
	dovecot || echo "Dovecot does not start"
}

# arrived_or_waits NAME: of traveller0 and resident each one message
arrived_or_waits() {
	local name
	for name in resident traveller0; do
		mail send "$name@$domain" "$1-$name"
		until_ok "$1-$name in INBOX, in Postfix's queue or held" is_somewhere \
			"$name" "$1-$name"
	done
}

is_somewhere() { # is_somewhere USER NAME
	if grep -rqs "X-Trial: $2" "/var/vmail/$domain/$1/Maildir/new"; then
		echo "$2: in INBOX"
	elif postqueue -p | grep -q "$2@sender.test" &&
		postqueue -p | grep -A1 "$2@sender.test" | grep '(.*)'; then
		echo "$2: waits in Postfix"
	elif doveadm -f tab restante list -u "$1@$domain" | grep -q "<$2@sender.test>"; then
		echo "$2: held"
	else
		return 1
	fi
}

in_inbox() { # in_inbox NAME...: of traveller0 or resident
	local name
	for name in "$@"; do
		grep -rqs "X-Trial: $name" "/var/vmail/$domain/${name#*-}/Maildir/new" ||
			return 1
	done
}

held_files() {
	mail hash "/var/vmail/$domain/traveller0" | grep -v Maildir/ | grep '/u\.'
}

still_held() {
	! grep -vxFf <(held_files) "$notes/newer.before" || fail "held mail has changed"
	echo "held mail is as before: $(wc -l <"$notes/newer.before") messages"
}

cell_newer() {
	start_daemons
	mail send "traveller0@$domain" newer 20
	until_ok "21 messages held" is_held traveller0 21
	held_files >"$notes/newer.before"
	make_repository

	# apt removes the plugin, or, since 3.0, keeps Dovecot back
	say "apt full-upgrade"
	apt-get update "${apt_here[@]}"
	apt-get full-upgrade -y --no-install-recommends "${apt_here[@]}"
	renew_dovecot
	dpkg-query -W 'dovecot-*' restante-policyd
	still_held
	arrived_or_waits full

	say "the plugin of the old ABI, forced into the new Dovecot"
	dpkg -i --force-depends "$repository"/*.deb \
		"$(debs "$notes/newer" | grep dovecot-restante)" || :
	renew_dovecot
	still_held
	arrived_or_waits forced

	say "the plugin of the new ABI"
	dpkg -i "$repository"/restante/dovecot-restante_*.deb
	renew_dovecot
	still_held
	postqueue -f
	until_ok "mail that waited" in_inbox forced-resident
	collect traveller0
	collected
	stop_daemons
}

# Of traveller0 nothing is lost: 20 at the client, and what came meanwhile at the
# client or in INBOX.
collected() {
	local n name
	for n in $(seq 20); do
		[ "$(grep -rls "X-Trial: newer-$n\$" "$notes/traveller0" | wc -l)" = 1 ] ||
			fail "newer-$n is not once at the client"
	done
	for name in full-traveller0 forced-traveller0; do
		[ "$(grep -rls "X-Trial: $name\$" "$notes/traveller0" \
			"/var/vmail/$domain/traveller0/Maildir" | wc -l)" = 1 ] ||
			fail "$name is not there once"
	done
	is_held traveller0 0 || fail "still held: $(held traveller0)"
}
