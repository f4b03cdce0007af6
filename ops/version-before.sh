#!/usr/bin/env bash
# Builds the executable of the version before, from this repository's own history, for the test
# of a rolling upgrade. ops/tests/version-before names the commit. Done once per commit and lock.
#
# Its own code runs with the crates of others that ours runs with, by our Cargo.lock and with all
# features that any member of ours asks for: then each of them is built once, for both. But where
# a crate that writes records has changed since, or the old code does not build with ours, it is
# built with its own: slowly, and as it was released.
#
# Both share the target folder. Cargo tells the members of two workspaces apart by their paths
# below the workspace's root, so the old ones are moved one folder down, and no artifact of one can
# pass for the other's. Only the executable has one name: it is copied out, and ours is linked
# again by the next build.
#
# It reads manifests line by line: a dependency is one line, `name = …`, or in a member
# `name.workspace = true` or `name = { workspace = true, features = […] }`.
set -euo pipefail
cd "$(dirname "$0")/.."

# The crates that what lies in the queue is written with.
records='rmp|rmp-serde|serde|serde_core|serde_json|zstd|zstd-safe|zstd-sys'

read -r version revision < <(grep -v '^#' ops/tests/version-before)
mkdir -p "${CARGO_TARGET_DIR:-target}"
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
folder=$target/version-before
built="$revision $(cksum <Cargo.lock)"
if [ -x "$folder/malleposte" ] && [ "$(cat "$folder/built" 2>/dev/null)" = "$built" ]; then
    exit 0
fi
# A tree without history cannot build it: the test says so, loudly, and the others go on.
if ! git cat-file -e "$revision^{commit}" 2>/dev/null && ! git fetch --quiet --unshallow 2>/dev/null; then
    echo "version-before.sh: NOT BUILT: commit $revision (version $version) is not in the history" \
        "that is here; use a full clone" >&2
    exit 0
fi
echo "version-before.sh: building $version" >&2
rm -rf "$folder"
mkdir -p "$folder/src" "$folder/shared"
git archive "$revision" | tar -x -C "$folder/src"
mv "$folder/src/Cargo.toml" "$folder/old.toml"
mv "$folder/src/Cargo.lock" "$folder/old.lock"

# Paths and members of a manifest, one folder down.
moved() {
    sed -e 's|path = "|path = "src/|' -e '/^members = /,/]/s|"\([^"]*\)"|"src/\1"|g' "$1"
}

# It shall only run: the members themselves are built the fast way.
quick_members() {
    sed -n '/^\[package\]/,/^\[/s|^name = "\(.*\)"|\1|p' "$folder"/src/*/Cargo.toml | while read -r name; do
        grep -q "^\[profile.dev.package.$name\]" "$1" ||
            printf '\n[profile.dev.package.%s]\nopt-level = 0\ndebug = false\n' "$name"
    done
}

# The old manifest with our versions of what both use, and with our profiles.
manifest_with_ours() {
    moved "$folder/old.toml" | sed 's|^members = \[|&"shared", |' >"$folder/moved.toml"
    awk '
        FNR == 1 { file++ }
        /^\[/ { section = $1 }
        { dependency = section == "[workspace.dependencies]" && / = / }
        file == 1 && dependency && !/ path = / { ours[$1] = $0 }
        file == 1 && section ~ /^\[profile/ { profiles = profiles $0 "\n" }
        file == 2 && section !~ /^\[profile/ && !(dependency && $1 in ours) { print }
        file == 2 && /^\[workspace.dependencies\]/ { for (name in ours) print ours[name] }
        END { printf "%s", profiles }
    ' Cargo.toml "$folder/moved.toml"
}

# A member of no code that asks for all that our members ask for.
shared_member() {
    printf '[package]\nname = "shared"\nedition = "2024"\n\n[lib]\npath = "lib.rs"\n\n[dependencies]\n'
    awk '
        FNR == 1 { file++ }
        /^\[/ { section = $1 }
        file == 1 && section == "[workspace.dependencies]" && / = / && !/ path = / { features[$1] = "" }
        file > 1 && $1 in features && / workspace = true, features = / {
            asked = $0
            gsub(/.*features = \[|\].*/, "", asked)
            features[$1] = features[$1] asked ", "
        }
        END { for (name in features) printf "%s = { workspace = true, features = [%s] }\n", name, features[name] }
    ' Cargo.toml ./*/Cargo.toml
}

# Packages of locks, one to a line: name, version and where it comes from.
packages() {
    awk 'BEGIN { RS = "" } /\nsource = / { print $4, $7, $10 }' "$@" | sort -u
}

# Our lock, and what it lacks of the old one.
lock_with_ours() {
    awk '
        BEGIN { RS = ""; ORS = "\n\n" }
        FNR == 1 { file++ }
        file == 1 { locked[$4] }
        file == 1 || ($1 == "[[package]]" && !($4 in locked))
    ' Cargo.lock "$folder/old.lock"
}

# All members, though one executable is asked for: with them come the features of the crates that
# they share.
build() {
    rm -f "$target/debug/malleposte"
    (cd "$folder" && CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=$target cargo build "$@" --workspace --bin malleposte)
}

build_with_ours() {
    local strange
    if ! diff <(packages "$folder/old.lock" | grep -E "^\"($records)\" ") \
        <(packages Cargo.lock | grep -E "^\"($records)\" ") >&2; then
        echo "version-before.sh: what writes records is another one than then" >&2
        return 1
    fi
    manifest_with_ours >"$folder/Cargo.toml"
    quick_members Cargo.toml >>"$folder/Cargo.toml"
    shared_member >"$folder/shared/Cargo.toml"
    : >"$folder/shared/lib.rs"
    lock_with_ours >"$folder/Cargo.lock"
    # Not `--locked`: what nobody uses is taken out of the lock. But nothing may come in.
    (cd "$folder" && cargo update --quiet --workspace) || return 1
    strange=$(packages "$folder/Cargo.lock" | comm -23 - <(packages Cargo.lock "$folder/old.lock"))
    if [ -n "$strange" ]; then
        echo "version-before.sh: neither lock has $strange" >&2
        return 1
    fi
    build --locked
}

build_with_its_own() {
    moved "$folder/old.toml" >"$folder/Cargo.toml"
    quick_members "$folder/old.toml" >>"$folder/Cargo.toml"
    cp "$folder/old.lock" "$folder/Cargo.lock"
    build --locked
}

build_with_ours || {
    echo "version-before.sh: it does not go with our crates; it is built with its own" >&2
    build_with_its_own
}
# Another name, so that the next build cannot write through it.
cp "$target/debug/malleposte" "$folder/malleposte.new"
mv "$folder/malleposte.new" "$folder/malleposte"
# Ours is to be built again, whatever the times of the files say.
rm -f "$target/debug/malleposte"
echo "$built" >"$folder/built"
