#!/bin/sh
# Makes the secrets of docker-compose.yml in a folder, ops/deploy/secrets unless another is
# given. What is there stays: running it again is harmless.
#
# An engine mounts each file as it is, and the services run under their own numbers: so the
# files are readable and the folder is not.
set -eu
cd "$(dirname "$0")"
folder=${1:-secrets}
umask 077
mkdir -p "$folder"
cd "$folder"

# From 32 random octets, in hexadecimal.
random() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# keep FILE: writes standard input there, unless it exists.
keep() {
    [ -e "$1" ] && return
    cat >"$1.new"
    chmod 444 "$1.new"
    mv "$1.new" "$1"
    echo "made $1"
}

echo "a:$(random)" | keep platform.key
random | keep redis.password
password=$(cat redis.password)
printf 'requirepass %s\nmasterauth %s\n' "$password" "$password" | keep redis.conf
printf 'sentinel auth-pass malleposte %s\n' "$password" | keep sentinel.conf
random | keep grafana.password
