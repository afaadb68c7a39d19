#!/bin/sh
# SPDX-License-Identifier: MIT
# The arrows between the parts and their folders, and circles of files.
#
#   plugin | policyd | client  -->  include/restante  <--  lib
#   policyd:  main, check  -->  core | worker  -->  common
#   plugin:   deliver | service | doveadm  -->  fallback --> hold --> common
#
# lib does no I/O; plugin knows Dovecot and not libevent; policyd and client
# the other way round; OpenSSL stays in each program's tls files. The clock and
# the log lines of policyd and client are headers, which lib and plugin do not
# include.
#
# A file depends on the headers that it includes, and on the .c file of its
# part, or of lib, that defines a function that it names. Files that depend on
# each other in a circle are one module that pretends to be several.
#
# usage: check-includes.sh    from the top, or with srcdir set
cd "${srcdir:-.}" || exit 99
failed=0

# forbid PATTERN REASON FILE...: no #include of PATTERN in these files
forbid() {
	pattern=$1 reason=$2
	shift 2
	found=$(grep -nE "^[ \t]*#[ \t]*include[ \t]*[<\"]($pattern)" "$@" \
		/dev/null)
	[ -z "$found" ] && return
	printf '%s\n-- %s\n' "$found" "$reason" >&2
	failed=1
}

forbid_other() {
	found=$(grep -nE "^[ \t]*#[ \t]*include" "$@" /dev/null |
		grep -vE '#[ \t]*include[ \t]*("[^"]+"|<[^>]+>)[ \t]*(/\*.*\*/)?$')
	[ -z "$found" ] && return
	printf '%s\n-- %s\n' "$found" 'an #include names one header' >&2
	failed=1
}

# forbid_text PATTERN REASON FILE...
forbid_text() {
	pattern=$1 reason=$2
	shift 2
	found=$(grep -nE "$pattern" "$@" /dev/null)
	[ -z "$found" ] && return
	printf '%s\n-- %s\n' "$found" "$reason" >&2
	failed=1
}

# forbid_word PATTERN REASON FILE...: no call of these functions
forbid_word() {
	word=$1
	shift
	forbid_text "(^|[^A-Za-z0-9_])($word)\(" "$@"
}

existing() {
	find "$@" \( -name '*.c' -o -name '*.h' \) 2>/dev/null
}

# shellcheck disable=SC2046 # file names have no blanks here
{
	# arpa/inet.h is for inet_pton(), stdio.h for snprintf()
	forbid 'event|openssl/|confuse|dovecot|sys/[^qt]|sys/time|netinet|net/|unistd|fcntl|poll|signal|dirent|spawn|syslog|pthread|threads|time\.h' \
		'lib/ does no I/O and keeps no clock' \
		$(existing lib include | grep -v '/restante/\(clock\|log\)\.h$')
	forbid 'restante/(clock|log)\.h' \
		'the clock and the log are for policyd/ and client/' \
		$(existing lib include plugin | grep -v '/restante/log\.h$')
	forbid '[^">]*\.\.?/|(plugin|policyd|client)/' \
		'parts include each other only through include/restante' \
		$(existing lib include client plugin policyd)
	# not one name: a macro, a comment, a line that goes on
	forbid_other $(existing lib include client plugin policyd)
	# lib/ formats text and opens nothing
	forbid_word 'fopen|fdopen|freopen|tmpfile|printf|fprintf|vprintf|puts|getenv|getline|popen|system|clock_gettime' \
		'lib/ does no I/O and keeps no clock' \
		$(existing lib)
	forbid 'event2?/|confuse|restante-config' \
		'plugin/ knows Dovecot, not libevent and not our config header' \
		$(existing plugin)
	forbid_text 'DOVECOT_VERSION_|RST_DOVECOT_24' \
		'only the compat files know which Dovecot this is' \
		$(existing plugin tests/unit |
			grep -v '^plugin/common/dove\(cot\|adm\)-compat\.[ch]$')
	forbid '(mail-|istream|ostream|master-service|ioloop|lib\.h)' \
		'policyd/ and client/ know no Dovecot header' \
		$(existing policyd client)
	forbid 'openssl/' 'OpenSSL stays in tls.c and tls-memory.c' \
		$(existing policyd client | grep -v '/tls\(-memory\)\?\.c$')
}

# shellcheck disable=SC2046
awk '
function folder(file) { # policyd/core/conf.c -> policyd/core; policyd for main
	sub(/\/[^\/]*$/, "", file)
	return file
}

function part(file) {
	sub(/\/.*/, "", file)
	return file == "include" ? "lib" : file
}

# an #include as the compiler resolves it; "" if it is not ours
function resolve(from, name,    path) {
	path = folder(from) "/" name
	if (path in known)
		return path
	path = part(from) "/" name
	if (path in known)
		return path
	path = "include/" name
	return path in known ? path : ""
}

# without comments, strings and characters
function code(line,    at, out) {
	out = ""
	while (line != "") {
		if (in_comment) {
			at = index(line, "*/")
			if (at == 0)
				return out
			line = substr(line, at + 2)
			in_comment = 0
		} else if (match(line, /"([^"\\]|\\.)*"|\047([^\047\\]|\\.)*\047|\/\*|\/\/.*/)) {
			out = out substr(line, 1, RSTART - 1) " "
			in_comment = substr(line, RSTART, 2) == "/*"
			line = substr(line, RSTART + RLENGTH)
		} else {
			return out line
		}
	}
	return out
}

function depend(from, on, why) {
	if (on == "" || on == from || (from, on) in edge)
		return
	edge[from, on] = why
	out_degree[from]++
	in_degree[on]++
}

# A definition begins in the first column and has its { in a line of its own.
function look_for_definition(line) {
	if (line ~ /^[A-Za-z_].*\(/ && line !~ /;[ \t]*$/) {
		candidate = line
		sub(/\(.*/, "", candidate)
		sub(/.*[ *]/, "", candidate)
		is_static = line ~ /^static /
	} else if (line == "{" && candidate != "") {
		if (is_static)
			own[FILENAME, candidate] = 1
		else
			defined[part(FILENAME), candidate] = FILENAME
		candidate = ""
	} else if (line ~ /[;}]/) {
		candidate = ""
	}
}

function name_tokens(line,    n, i, words) {
	gsub(/[^A-Za-z0-9_]+/, " ", line)
	n = split(line, words, " ")
	for (i = 1; i <= n; i++)
		names[FILENAME, words[i]] = 1
}

function forbidden(from, on,    a, b) {
	if (on ~ /^include\/restante\/(log|clock)\.h$/ &&
	    from ~ /^(lib|include|plugin)\// && from !~ /\/restante\/log\.h$/)
		return "the clock and the log are for policyd/ and client/"
	a = folder(from)
	b = folder(on)
	if (a == b || part(a) != part(b))
		return ""
	if (part(a) == "policyd") {
		if (a == "policyd")
			return ""
		if (b != "policyd/common")
			return a " must not depend on " b
	}
	if (part(a) == "plugin" && level[a] <= level[b])
		return a " must not depend on " b
	return ""
}

BEGIN {
	level["plugin/common"] = 1
	level["plugin/hold"] = 2
	level["plugin/fallback"] = 3
	level["plugin/deliver"] = level["plugin/service"] = 4
	level["plugin/doveadm"] = 4
	for (i = 1; i < ARGC; i++)
		known[ARGV[i]] = 1
}

FNR == 1 { in_comment = 0; candidate = "" }

/^[ \t]*#[ \t]*include[ \t]*"/ {
	name = $0
	sub(/^[^"]*"/, "", name)
	sub(/".*/, "", name)
	path = resolve(FILENAME, name)
	if (path == "" && part(FILENAME) != "plugin" && name != "restante-config.h") {
		print FILENAME " includes \"" name "\"\n-- no header of ours has this name"
		status = 1
	}
	depend(FILENAME, path, "includes")
	next
}

FILENAME ~ /\.c$/ {
	line = code($0)
	look_for_definition(line)
	name_tokens(line)
}

END {
	for (key in names) {
		split(key, at, SUBSEP)
		from = at[1]
		if ((part(from), at[2]) in defined && !(key in own))
			depend(from, defined[part(from), at[2]], "names " at[2])
	}
	for (key in edge) {
		split(key, at, SUBSEP)
		reason = forbidden(at[1], at[2])
		if (reason != "") {
			print at[1] " " edge[key] " -> " at[2] "\n-- " reason
			status = 1
		}
	}
	# what nothing depends on, or depends on nothing, is in no circle
	do {
		left = 0
		changed = 0
		for (file in known) {
			if (out_degree[file] > 0 && in_degree[file] > 0) {
				left++
				continue
			}
			for (key in edge) {
				split(key, at, SUBSEP)
				if (at[1] != file && at[2] != file)
					continue
				out_degree[at[1]]--
				in_degree[at[2]]--
				delete edge[key]
				changed = 1
			}
		}
	} while (changed)
	for (key in edge) {
		split(key, at, SUBSEP)
		print at[1] " " edge[key] " -> " at[2]
	}
	if (left > 0) {
		print "-- files in circles, or on the way between two: " left
		status = 1
	}
	exit status
}
' $(existing lib include client plugin policyd | sort) >&2 || failed=1
exit $failed
