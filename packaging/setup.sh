#!/usr/bin/env bash
# Sees to what flytt is built with and tested against: a C compiler, PostgreSQL, MariaDB, HAProxy, a few common tools. As root on
# Debian or Ubuntu it installs what is missing, from the distribution alone; elsewhere it says what is missing. It starts no
# service. Where all is there, it says no more than which MySQL there is. Its arguments are programs that are wanted, too.
set -euo pipefail
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:$HOME/.cargo/bin"

have() { command -v "$1" >/dev/null 2>&1; }

# PostgreSQL's server programs stand outside PATH on Debian, one directory for each version; any version will do.
have_postgres() {
    local bin
    for bin in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
        [ -x "$bin/postgres" ] && [ -x "$bin/pg_basebackup" ] && return 0
    done
    have postgres && have pg_basebackup
}

# What is looked for is the program, not the package: it may have come another way.
look() {
    missing=()
    { have cc && have make; } || missing+=(build-essential)
    have_postgres || missing+=(postgresql)
    # The core packages make no data directory and start nothing.
    { have mariadbd && have mariadb-install-db; } || missing+=(mariadb-server-core)
    have mariadb || missing+=(mariadb-client-core)
    have mariadb-backup || missing+=(mariadb-backup)
    have haproxy || missing+=(haproxy)
    have sqlite3 || missing+=(sqlite3)
    have openssl || missing+=(openssl)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] || missing+=(ca-certificates)
    have ps || missing+=(procps)
    have ip || missing+=(iproute2)
    have iostat || missing+=(sysstat)
    have fio || missing+=(fio)
    { have losetup && have mkfs.ext4; } || missing+=(mount e2fsprogs)
    { have setsid && have runuser; } || missing+=(util-linux)
    # Disks of their own for the tests.
    { have mount && have losetup; } || missing+=(mount)
    have mkfs.ext4 || missing+=(e2fsprogs)
    { have mkfs.xfs && have xfs_io; } || missing+=(xfsprogs)
    have perl || missing+=(perl-base)
    # What a target of make needs beyond that, by the name of the program; most packages are called the same.
    local more
    for more in "$@"; do
        case $more in
        # Debian has Python without it.
        ensurepip) python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv) && continue ;;
        esac
        have "$more" && continue
        case $more in
        objdump) missing+=(binutils) ;;
        dpkg-deb) missing+=(dpkg) ;;
        mariadb-dump) missing+=(mariadb-client) ;;
        systemd-nspawn) missing+=(systemd-container) ;;
        mksquashfs) missing+=(squashfs-tools) ;;
        pt-table-checksum) missing+=(percona-toolkit) ;;
        nft) missing+=(nftables) ;;
        *) missing+=("$more") ;;
        esac
    done
}

say() { printf 'setup: %s\n' "$*" >&2; }

install() {
    local archives policy=/usr/sbin/policy-rc.d made_policy=
    archives=$(mktemp -d)
    # Debian starts a service as soon as it is installed, unless this file says no.
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made_policy=$policy
    fi
    # shellcheck disable=SC2064 # the names as they are now
    trap "rm -rf '$archives' ${made_policy:+'$made_policy'}" EXIT

    # A directory of our own: an `apt-get update` elsewhere empties the usual one under a running install.
    chmod 755 "$archives"
    mkdir "$archives/partial"
    local apt=(apt-get -q -o "Dir::Cache::archives=$archives" -o DPkg::Lock::Timeout=300)
    export DEBIAN_FRONTEND=noninteractive
    "${apt[@]}" update >&2 || { sleep 5 && "${apt[@]}" update >&2; } || say "apt-get update fails; going on with the lists at hand"
    "${apt[@]}" install -y --no-install-recommends "$@" >&2
}

look "$@"
if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && have apt-get; then
    say "installing ${missing[*]}"
    install "${missing[@]}"
    hash -r
    look "$@"
fi
if [ ${#missing[@]} -gt 0 ]; then
    say "missing: ${missing[*]} (Debian's names)"
    if have apt-get; then
        say "run this as root: apt-get install --no-install-recommends ${missing[*]}"
    else
        say "install them with this system's package tool, then try again"
    fi
    exit 1
fi

# For the tests of one engine alone: without it, all else is built and tested all the same.
"$(dirname "$0")/mysql.sh" || true

if ! have cargo; then
    say "missing: cargo, Rust's build tool, 1.95 or later"
    say "install it from https://rustup.rs, open a new shell, then try again"
    exit 1
fi
