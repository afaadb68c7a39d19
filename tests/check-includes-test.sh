#!/bin/sh
# SPDX-License-Identifier: MIT
# check-includes.sh passes on a copy of the tree, and fails, naming the file,
# when the copy has one fault of each kind.
#
# usage: check-includes-test.sh    from the top, or with srcdir set
top=$(cd "${srcdir:-.}" && pwd) || exit 99
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' HUP INT TERM
failed=0

fresh_copy() {
	rm -rf "$dir/tree"
	mkdir "$dir/tree"
	cp -r "$top/include" "$top/lib" "$top/client" "$top/plugin" \
		"$top/policyd" "$dir/tree"
	# of an earlier make distcheck the copy is read-only
	chmod -R u+w "$dir/tree"
}

check() {
	srcdir="$dir/tree" sh "$top/tests/check-includes.sh" >"$dir/out" 2>&1
}

complain() {
	printf '%s\n' "$1" >&2
	sed 's/^/  /' "$dir/out" >&2
	failed=1
}

# expect WHAT FILE: the fault that was planted in FILE of the copy is found
expect() {
	if check; then
		complain "not found: $1"
	elif ! grep -q "$2" "$dir/out"; then
		complain "$1: found, and $2 is not named"
	fi
	fresh_copy
}

# include LINE FILE: as the first line, which also suits a new file
include() {
	touch "$dir/tree/$2"
	printf '%s\n' "#include $1" | cat - "$dir/tree/$2" >"$dir/new"
	mv "$dir/new" "$dir/tree/$2"
}

# add TEXT FILE: at the end
add() {
	printf '%s\n' "$1" >>"$dir/tree/$2"
}

fresh_copy
check || complain "it fails on the tree as it is"

# two files that call each other, behind a private header
cat >"$dir/tree/lib/planted-private.h" <<-'END'
	int rst_planted_one(int n);
	int rst_planted_two(int n);
END
cat >"$dir/tree/lib/planted-one.c" <<-'END'
	#include "planted-private.h"

	int rst_planted_one(int n)
	{
		return n == 0 ? 0 : rst_planted_two(n - 1);
	}
END
sed 's/one/three/; s/two/one/; s/three/two/' "$dir/tree/lib/planted-one.c" \
	>"$dir/tree/lib/planted-two.c"
expect "a circle of two .c files" lib/planted-one.c

include '"worker/drain.h"' policyd/core/dial.c
expect "core -> worker" policyd/core/dial.c

include '"core/conf.h"' policyd/worker/worker.c
expect "worker -> core" policyd/worker/worker.c

include '"core/conf.h"' policyd/common/listen.c
expect "common -> core" policyd/common/listen.c

include '"fallback/fallback.h"' plugin/hold/save.c
expect "hold -> fallback" plugin/hold/save.c

include '"service/marks.h"' plugin/deliver/hook.c
expect "deliver -> service" plugin/deliver/hook.c

include '"mail-storage.h"' policyd/core/core.c
expect "a Dovecot header in policyd" policyd/core/core.c

include '<event2/event.h>' plugin/service/scan.c
expect "libevent in the plugin" plugin/service/scan.c

include '<openssl/ssl.h>' client/store.c
expect "OpenSSL outside of the tls files" client/store.c

include '<time.h>' lib/smtp.c
expect "a clock in lib" lib/smtp.c

include '<poll.h>' lib/smtp.c
expect "a descriptor in lib" lib/smtp.c

include '"log.h"' include/restante/smtp.h
expect "the log in lib" include/restante/smtp.h

add 'FILE *rst_planted(void) { return fopen("x", "r"); }' lib/smtp.c
expect "a file in lib" lib/smtp.c

include '"restante/clock.h"' plugin/hold/dates.c
expect "the clock in the plugin" plugin/hold/dates.c

include '"restante-config.h"' plugin/hold/dates.c
expect "our config header in the plugin" plugin/hold/dates.c

include '"ioloop.h"' client/store.c
expect "a Dovecot header in the client" client/store.c

include '"service/scan.h"' plugin/doveadm/commands.c
expect "doveadm -> service" plugin/doveadm/commands.c

include '"../policyd/common/log.h"' client/main.c
expect "a file of another part" client/main.c

# other ways to say the same
include '"core/../worker/drain.h"' policyd/core/dial.c
expect "an include by .." policyd/core/dial.c

add ' # include "worker/drain.h"' policyd/core/dial.c
expect "an include with blanks" policyd/core/dial.c

add '#define PLANTED "worker/drain.h"
#include PLANTED' policyd/core/dial.c
expect "an include by a macro" policyd/core/dial.c

include '"nosuch.h"' client/store.c
expect "a header that is not there" client/store.c

add 'int planted(void) { return drain_ended(0); }' policyd/core/dial.c
expect "core -> worker by a name" policyd/core/dial.c

add '#if RST_DOVECOT_24' plugin/hold/key.c
expect "the version of Dovecot outside of the compat files" plugin/hold/key.c

# a static function may have the name of a function of another folder
add 'static int drain_ended(int n)
{
	return n;
}' policyd/core/dial.c
check || complain "a static function is taken for an arrow"
fresh_copy

exit $failed
