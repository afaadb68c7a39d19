#!/bin/sh
# SPDX-License-Identifier: MIT
# doc/architecture.md against the tree, both ways: each folder stands in its
# table of folders, and each folder, file and function that the page names
# exists, and how often each way of a message changes file. Of the other pages:
# each file that they name exists.
#
# usage: check-architecture.sh    from the top, or with srcdir set
cd "${srcdir:-.}" || exit 99
page=doc/architecture.md
parts='include|lib|client|plugin|policyd|packaging|doc|tests'
failed=0

complain() {
	printf '%s\n' "$*" >&2
	failed=1
}

# Folders of data, and those that a build or Python leaves behind, do not count.
folders() {
	find include lib client plugin policyd packaging doc tests -type d \
		! -path '*/.*' ! -path '*__pycache__*' ! -path '*/corpus-*' |
		grep -v '^include$'
}

# a build, also that of make distcheck and of Debian's packages, may be in the tree
for folder in */; do
	case $folder in
	build* | _* | autom4te.cache/ | debian/ | obj-*) continue ;;
	esac
	printf '%s\n' "${folder%/}" | grep -qxE "$parts" ||
		complain "$folder is a new part: $page must know it"
done
for folder in $(folders); do
	grep -q "^| \`$folder/\` |" $page ||
		complain "$folder/ has no row among the folders of $page"
done

# paths_in PAGE: whatever looks like a path of ours
paths_in() {
	grep -oE "\b($parts)(/[A-Za-z0-9_.-]+)*/?" "$1" | grep / |
		sed 's/\.$//' | sort -u
}

for path in $(paths_in $page); do
	[ -e "$path" ] || complain "$page names $path"
done
for other in README.md CONTRIBUTING.md NEWS doc/*.md; do
	for path in $(paths_in "$other" | grep -E '\.(c|h|md|py|sh|conf|[1578])$'); do
		[ -e "$path" ] || complain "$other names $path"
	done
done

# "    file: function    remark", of a function that is defined there
pairs=$(sed -nE 's/^    ([a-z][a-zA-Z0-9_/.-]+): ([a-zA-Z0-9_]+).*/\1 \2/p' $page)
[ -n "$pairs" ] || complain "$page shows no way of a message"
printf '%s\n' "$pairs" | sort -u | {
	while read -r file function; do
		[ -e "$file" ] && awk -v function_name="$function" '
			# as in check-includes.sh: it begins in the first
			# column, and its { has a line of its own
			/^[A-Za-z_].*\(/ && !/;[ \t]*$/ {
				candidate = $0
				sub(/\(.*/, "", candidate)
				sub(/.*[ *]/, "", candidate)
				next
			}
			$0 == "{" && candidate == function_name { found = 1 }
			/^\{|;|\}/ { candidate = "" }
			END { exit !found }
		' "$file" || complain "$page names $file: $function"
	done
	exit $failed
} || failed=1

# "N stretches in M files." behind the heading of each way
awk -v page=$page '
	function finish() {
		if (heading != "" && (runs != said_runs || files != said_files)) {
			print page ": " heading ": " runs " stretches in " files " files"
			wrong = 1
		}
		heading = last = ""
		runs = files = said_runs = said_files = 0
		split("", seen)
	}
	/^##/ { finish() }
	/^### / { heading = $0 }
	/^[0-9]+ stretches in [0-9]+ files\.$/ { said_runs = $1; said_files = $4 }
	/^    [a-z]/ && $1 ~ /\.c:$/ {
		if ($1 != last)
			runs++
		if (!($1 in seen))
			files++
		seen[$1] = 1
		last = $1
	}
	END { finish(); exit wrong }
' $page >&2 || failed=1
exit $failed
