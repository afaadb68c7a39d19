#!/bin/sh
# SPDX-License-Identifier: MIT
# packaging/build configures anew when other arguments are given: --enable-werror
# counts in a directory that was built without it. With none, it keeps the last.
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
tree=$(mktemp -d) || exit 1
trap 'rm -rf "$tree"' EXIT

mkdir "$tree/packaging"
cp "$top/packaging/build" "$top/packaging/sandbox-modules.c" "$tree/packaging/"
# a configure that notes its arguments, and a build of nothing
touch "$tree/configure.ac" "$tree/Makefile.am" "$tree/Makefile.in"
cat >"$tree/configure" <<'END'
#!/bin/sh
shift 3
echo "configured: $*" >>notes
touch config.status
printf 'all install:\nclean:\n\techo cleaned >>notes\n' >Makefile
END
chmod +x "$tree/configure"

failed=0
# expect NOTES ARGUMENT...: what packaging/build does with these arguments
expect() {
	wanted=$1
	shift
	rm -f "$tree/build/notes"
	"$tree/packaging/build" "$tree/build" "$@" || failed=1
	got=$(cat "$tree/build/notes" 2>/dev/null)
	if [ "$got" != "$wanted" ]; then
		echo "packaging/build $*: '$got', not '$wanted'" >&2
		failed=1
	fi
}

expect "configured: "
expect ""
expect "cleaned
configured: --enable-werror" --enable-werror
expect "" --enable-werror
expect ""
touch -d '1 minute' "$tree/configure"
expect "configured: --enable-werror"
exit $failed
