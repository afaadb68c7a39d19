#!/bin/sh
# SPDX-License-Identifier: MIT
# The arrows between the parts:
#   plugin | policyd | client  -->  include/restante  <--  lib
# lib does no I/O; plugin knows Dovecot and not libevent; policyd and client
# the other way round; OpenSSL stays in each program's tls.c.
# usage: check-includes.sh    from the top, or with srcdir set
cd "${srcdir:-.}" || exit 99
failed=0

# forbid DIR-FILES... -- PATTERN REASON: no #include of PATTERN there
forbid() {
	pattern=$1 reason=$2
	shift 2
	found=$(grep -nE "^#[ \t]*include[ \t]*[<\"]($pattern)" "$@" /dev/null)
	[ -z "$found" ] && return
	printf '%s\n-- %s\n' "$found" "$reason" >&2
	failed=1
}

existing() {
	find "$@" \( -name '*.c' -o -name '*.h' \) 2>/dev/null
}

# shellcheck disable=SC2046 # file names have no blanks here
{
	forbid 'event|openssl/|confuse|dovecot|sys/(socket|stat|epoll)|netinet|unistd|fcntl|syslog|pthread|time\.h' \
		'lib/ and include/ do no I/O and keep no clock' \
		$(existing lib include)
	forbid '\.\./|(plugin|policyd|client)/' \
		'parts include each other only through include/restante' \
		$(existing lib include plugin policyd client)
	forbid 'event2?/|confuse|restante-config' \
		'plugin/ knows Dovecot, not libevent and not our config header' \
		$(existing plugin)
	forbid '(mail-|istream|ostream|master-service|ioloop|lib\.h)' \
		'policyd/ and client/ know no Dovecot header' \
		$(existing policyd client)
	forbid 'openssl/' 'OpenSSL stays in tls.c' \
		$(existing policyd client | grep -v '/tls\.c$')
}
exit $failed
