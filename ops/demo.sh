#!/bin/sh
# From a fresh clone to a campaign delivered on this machine: installs what is missing,
# builds, and runs `malleposte demo` with the arguments given here.
#
#   ops/demo.sh
#   ops/demo.sh --recipients 2000 --json
set -eu
cd "$(dirname "$0")/.."
ops/install.sh
cargo build --release --locked --package ops --bin malleposte
exec cargo run --quiet --release --locked --package ops --bin malleposte -- demo "$@"
