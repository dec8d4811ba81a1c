#!/usr/bin/env bash
# Builds the programs that are packaged, for hosts as old as GLIBC says, and the same to the byte wherever it runs. Prints the
# directory that they are in. Zig is the C compiler and linker: it brings the stubs of old C libraries, and so needs no old machine.
set -euo pipefail
cd "$(dirname "$0")/.."

GLIBC=${1:?which C library is the oldest?}
triple=x86_64-unknown-linux-gnu
target=${CARGO_TARGET_DIR:-$PWD/target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
tools=$target/packages/tools

say() { printf 'packages: %s\n' "$*" >&2; }

# A directory of their own; another list of tools is another directory.
venv=$tools/$(sha256sum packaging/tools.txt | cut -c1-12)
if [ ! -e "$venv/whole" ]; then
    say "fetching the linker into $venv"
    rm -rf "$venv"
    mkdir -p "$tools"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r packaging/tools.txt >&2
    touch "$venv/whole"
fi

# No path of this machine gets into a program, neither from Rust nor from C, and so two machines make the same.
# The target directory may be below ours: what is named last wins.
rust='' c=''
for map in "$PWD=/flytt" "$target=/target" "${CARGO_HOME:-$HOME/.cargo}/registry/src=/registry"; do
    rust+=${rust:+$'\x1f'}--remap-path-prefix=$map
    c+=${c:+ }-ffile-prefix-map=$map
done
unset RUSTFLAGS
export CARGO_ENCODED_RUSTFLAGS=$rust "CFLAGS_${triple//-/_}=$c" "CXXFLAGS_${triple//-/_}=$c"
export PATH="$venv/bin:$PATH" CARGO_TARGET_DIR=$target XDG_CACHE_HOME=$tools/cache ZIG_GLOBAL_CACHE_DIR=$tools/zig CARGO_INCREMENTAL=0
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

cargo zigbuild --profile dist --workspace --locked --target "$triple.$GLIBC" >&2

# Believed only once it is seen.
built=$target/$triple/dist
for program in flytt flytt-agent; do
    newest=$(objdump -T "$built/$program" | sed -n 's/.*[( ]GLIBC_\([0-9.]*\).*/\1/p' | sort -Vu | tail -1)
    [ "$(printf '%s\n' "$newest" "$GLIBC" | sort -V | tail -1)" = "$GLIBC" ] || {
        say "$program needs the C library $newest, and $GLIBC is the oldest that it is to run with"
        exit 1
    }
    say "$program: $(stat -c %s "$built/$program") bytes, C library $newest"
done
echo "$built"
