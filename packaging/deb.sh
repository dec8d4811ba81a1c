#!/usr/bin/env bash
# Packs the programs: two packages for Debian and Ubuntu, and a tarball of the same files for everybody else. The same commit gives the
# same bytes, wherever and whenever. `make deb`. For trying: FLYTT_PROGRAMS is a directory with programs that are packed as they are,
# FLYTT_INTO where the packages go, FLYTT_VERSION what they call themselves, and FLYTT_PACK=none packs in a moment.
set -euo pipefail
cd "$(dirname "$0")/.."

# Ubuntu 18.04 has 2.27; Debian 10 and RHEL 8 have 2.28.
GLIBC=2.27
triple=x86_64-unknown-linux-gnu
target=${CARGO_TARGET_DIR:-$PWD/target}
built=${FLYTT_PROGRAMS:-}
[ -n "$built" ] || built=$(packaging/programs.sh $GLIBC)
into=${FLYTT_INTO:-$target/packages}
version=${FLYTT_VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)}
maintainer=$(git log -1 --format='%an <%ae>')
ledger=$(sed -n 's/^const VERSION: u32 = \([0-9]*\);/\1/p' agent/src/ledger.rs)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
# More threads cut the stream elsewhere, and so make other bytes.
export DPKG_DEB_THREADS_MAX=1

mkdir -p "$into"
work=$(mktemp -d "$into/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
cargo metadata --locked --format-version 1 --filter-platform $triple >"$work/metadata.json"

files() { # PACKAGE ROOT: what both kinds of package have
    local name=$1 root=$2 page shell doc=$2/usr/share/doc/$1
    install -Dm 755 "$built/$name" "$root/usr/bin/$name"
    # Names of functions are for debuggers; what a panic says has its file and line all the same.
    strip --strip-unneeded --remove-section=.comment "$root/usr/bin/$name"
    for page in packaging/man/"$name".1 packaging/man/"$name"-*.1; do
        # The other program's are called the same at their beginning.
        [[ $name == flytt && $page == */flytt-agent* ]] || install -Dm 644 "$page" "$root/usr/share/man/man1/${page##*/}"
    done
    gzip -9n "$root"/usr/share/man/man1/*.1
    install -Dm 644 "packaging/completions/$name.bash" "$root/usr/share/bash-completion/completions/$name"
    install -Dm 644 "packaging/completions/_$name" "$root/usr/share/zsh/vendor-completions/_$name"
    install -Dm 644 "packaging/completions/$name.fish" "$root/usr/share/fish/vendor_completions.d/$name.fish"
    mkdir -p "$doc"
    packaging/crates.py "$name" "$work/metadata.json" Cargo.lock "$doc"
    gzip -9n "$doc/third-party" "$doc/$name.cdx.json"
    gzip -9nc CHANGELOG.md >"$doc/NEWS.md.gz"
    if [ "$name" = flytt ]; then
        install -Dm 644 -t "$doc" docs/runbook.md docs/migration-toml.md docs/errors.md docs/exit-codes.md
        gzip -9n "$doc"/{runbook,migration-toml,errors}.md
    else
        install -Dm 644 'packaging/flytt-agent@.service' "$root/usr/lib/systemd/system/flytt-agent@.service"
        install -Dm 644 packaging/flytt-agent.tmpfiles "$root/usr/lib/tmpfiles.d/flytt-agent.conf"
        install -Dm 644 -t "$doc/examples" packaging/agent.toml packaging/50-flytt.rules
        install -Dm 644 packaging/debian/README "$doc/README.Debian"
        install -dm 755 "$root/etc/flytt"
    fi
}

settle() { # ROOT: whatever the umask and the clock of this machine are
    find "$1" -type d -exec chmod 755 {} +
    find "$1" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
}

deb() {
    local name=$1 root=$work/$1 script
    files "$name" "$root"
    printf 'flytt (%s) unstable; urgency=medium\n\n  * What has changed stands in NEWS.md.gz.\n\n -- %s  %s\n' "$version" "$maintainer" \
        "$(LC_ALL=C date --utc --rfc-email --date "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$root/usr/share/doc/$name/changelog.gz"
    if [ -e "packaging/debian/$name/lintian-overrides" ]; then
        install -Dm 644 "packaging/debian/$name/lintian-overrides" "$root/usr/share/lintian/overrides/$name"
    fi
    mkdir "$root/DEBIAN"
    (cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs md5sum >DEBIAN/md5sums)
    sed -e "s/@version@/$version/; s/@glibc@/$GLIBC/; s/@maintainer@/$maintainer/" \
        -e "s/@size@/$(du --summarize --apparent-size --block-size=1024 "$root" | cut -f1)/" "packaging/debian/$name/control" >"$root/DEBIAN/control"
    for script in preinst postinst prerm postrm; do
        [ -e "packaging/debian/$name/$script" ] || continue
        sed "s/@ledger@/$ledger/" "packaging/debian/$name/$script" >"$root/DEBIAN/$script"
        chmod 755 "$root/DEBIAN/$script"
    done
    settle "$root"
    dpkg-deb --root-owner-group -Z"${FLYTT_PACK:-xz}" --build "$root" "$into/${name}_${version}_amd64.deb" >/dev/null
    rm -r "$root/DEBIAN"
    # The tarball has the files of both.
    mkdir -p "$work/flytt-$version"
    cp -a "$root/." "$work/flytt-$version/"
}

tarball() {
    rm -rf "$work/flytt-$version/usr/share/lintian"
    install -m 644 LICENSE README.md "$work/flytt-$version/"
    settle "$work/flytt-$version"
    tar --create --directory="$work" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner "flytt-$version" |
        xz -6 --threads=1 >"$into/flytt-$version-x86_64.tar.xz"
}

deb flytt-agent
deb flytt
[ "${FLYTT_PACK:-}" != none ] || exit 0
tarball
(cd "$into" && sha256sum "flytt-agent_${version}_amd64.deb" "flytt_${version}_amd64.deb" "flytt-$version-x86_64.tar.xz" | tee SHA256SUMS)
