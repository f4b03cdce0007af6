#!/bin/sh
# Builds the executable of the version before, from this repository's own history, for the test
# of a rolling upgrade. ops/tests/version-before names the commit. Done once per commit.
#
# It shares the target folder, so that the crates which both versions use are built once. Cargo
# tells the members of two workspaces apart by their paths below the workspace's root, so the old
# one is moved one folder down, and no artifact of one can pass for the other's. Only the
# executable has one name: it is copied out, and ours is linked again by the next build.
set -eu
cd "$(dirname "$0")/.."

read -r version revision <<END
$(grep -v '^#' ops/tests/version-before)
END
target=${CARGO_TARGET_DIR:-$PWD/target}
folder=$target/version-before
if [ -x "$folder/malleposte" ] && [ "$(cat "$folder/revision" 2>/dev/null)" = "$revision" ]; then
    exit 0
fi
# A tree without history cannot build it: the test says so, loudly, and the others go on.
if ! git cat-file -e "$revision^{commit}" 2>/dev/null && ! git fetch --quiet --unshallow 2>/dev/null; then
    echo "version-before.sh: NOT BUILT: commit $revision (version $version) is not in the history" \
        "that is here; use a full clone" >&2
    exit 0
fi
echo "version-before.sh: building $version, once" >&2
rm -rf "$folder"
mkdir -p "$folder/src"
git archive "$revision" | tar -x -C "$folder/src"
mv "$folder/src/Cargo.lock" "$folder/Cargo.lock"
sed -e 's|path = "|path = "src/|' -e '/^members = /,/]/s|"\([^"]*\)"|"src/\1"|g' \
    "$folder/src/Cargo.toml" >"$folder/Cargo.toml"
rm "$folder/src/Cargo.toml"
# It shall only run: the members themselves are built the fast way.
for member in $(sed -n '/^members = /,/]/s|.*"src/\([^"]*\)".*|\1|p' "$folder/Cargo.toml"); do
    printf '\n[profile.dev.package.%s]\nopt-level = 0\ndebug = false\n' "$member"
done >>"$folder/Cargo.toml"
# All members, though one executable is asked for: with them come the features of the crates that
# they share, and a crate with other features would have to be built again.
(cd "$folder" && CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=$target cargo build --locked --workspace --bin malleposte)
# Another name, so that the next build cannot write through it.
cp "$target/debug/malleposte" "$folder/malleposte.new"
mv "$folder/malleposte.new" "$folder/malleposte"
# Ours is to be built again, whatever the times of the files say.
rm -f "$target/debug/malleposte"
echo "$revision" >"$folder/revision"
