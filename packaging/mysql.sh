#!/usr/bin/env bash
# Brings a MySQL server onto a Debian machine for the tests, below one directory and beside whatever else is installed. Debian has
# MySQL in its development branch (sid) only, built for a newer C library: so the packages are unpacked, not installed, and their
# programs are told to use the libraries that came with them. Asked again, it says which version there is. It starts no service.
set -euo pipefail

into=/opt/flytt-mysql
programs=(usr/sbin/mysqld usr/bin/mysql usr/bin/mysqldump usr/bin/mysqlbinlog usr/bin/mysqladmin)

say() { printf 'setup: %s\n' "$*" >&2; }
cannot() {
    say "no MySQL: $*"
    say "the tests that need a MySQL server are skipped (counted as ignored)"
    exit 1
}
version() { "$into/usr/sbin/mysqld" --no-defaults --version 2>/dev/null | sed -n 's/.* Ver \([^ ]*\) .*/\1/p'; }

found=$(version || true)
if [ -n "$found" ]; then
    say "MySQL $found in $into"
    exit 0
fi
[ "$(id -u)" = 0 ] || cannot "run this as root once"
for needed in apt-get dpkg-deb flock; do
    command -v "$needed" >/dev/null 2>&1 || cannot "$needed is missing"
done

# Two at once would unpack into one another.
exec 9>"/run/lock/flytt-mysql.lock"
flock -w 600 9 || cannot "another setup holds the lock"
found=$(version || true)
[ -z "$found" ] || { say "MySQL $found in $into" && exit 0; }

# Mirror and components are this machine's own: where its release comes from, sid comes from, too.
codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
mirror=$(apt-get indextargets --format '$(CREATED_BY) $(RELEASE) $(REPO_URI) $(COMPONENT)' |
    awk -v release="$codename" '$1 == "Packages" && $2 == release && !n++ { print $3, "sid", $4 }')
[ -n "$mirror" ] || cannot "this machine's apt knows no mirror of its own release"

work=$(mktemp -d)
trap 'rm -rf "$work" "$into.new"' EXIT
mkdir -p "$work"/{lists,archives}/partial
: >"$work/status"
printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s\n' "$mirror" >"$work/sources.list"
# An apt of its own, on a machine where nothing is installed yet: so it fetches every library, the C library included. A mirror of
# sid may be old (its date is not looked at); what is signed is checked all the same.
apt=(apt-get -q -y
    -o "Dir::State=$work" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work" -o "Dir::Cache::archives=$work/archives"
    -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Etc::preferencesparts=-
    -o APT::Sandbox::User=root -o APT::Install-Recommends=false -o Acquire::Languages=none
    -o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false)
say "fetching MySQL from Debian sid"
"${apt[@]}" update >"$work/said" 2>&1 || { cat "$work/said" >&2 && cannot "sid's package lists cannot be had"; }
"${apt[@]}" --download-only install mysql-server-core mysql-client-core patchelf >"$work/said" 2>&1 ||
    { cat "$work/said" >&2 && cannot "sid's packages cannot be had"; }

rm -rf "$into" "$into.new"
for package in "$work"/archives/*.deb; do
    # Perl is for scripts that nobody runs here.
    case ${package##*/} in perl* | libperl*) continue ;; esac
    dpkg-deb --extract "$package" "$into.new"
done
rm -rf "$into.new"/usr/share/{doc,man,locale,lintian}
chmod 755 "$into.new"

# The tool comes with them, and runs like them. DT_RPATH, not DT_RUNPATH: it holds for the libraries' own libraries and for the
# server's plug-ins as well.
loader=$(find "$into.new/usr/lib" -name 'ld-linux*.so.*' -print -quit)
[ -n "$loader" ] || cannot "the packages bring no program loader"
libraries=${loader%/*}
patch=("$loader" --library-path "$libraries" "$into.new/usr/bin/patchelf")
for program in "${programs[@]}"; do
    "${patch[@]}" --set-interpreter "$into${loader#"$into.new"}" --force-rpath --set-rpath "$into${libraries#"$into.new"}" "$into.new/$program"
done
mv "$into.new" "$into"
found=$(version || true)
[ -n "$found" ] || { rm -rf "$into" && cannot "the server that was unpacked does not run here"; }
say "MySQL $found in $into"
