#!/bin/sh
# Builds the executable of the version before, from this repository's own history, for the test
# of a rolling upgrade. ops/tests/version-before names the commit. Done once per commit.
#
# It shares the target folder, so that the crates which both versions use are built once. The
# two have members of the same names: cargo builds those of the one that is asked for last, so
# the executable is copied out, and this runs before the tests are built, not after.
set -eu
cd "$(dirname "$0")/.."

die() {
    echo "version-before.sh: $*" >&2
    exit 1
}

read -r version revision <<END
$(grep -v '^#' ops/tests/version-before)
END
target=${CARGO_TARGET_DIR:-$PWD/target}
folder=$target/version-before
if [ -x "$folder/malleposte" ] && [ "$(cat "$folder/revision" 2>/dev/null)" = "$revision" ]; then
    exit 0
fi
git rev-parse --git-dir >/dev/null 2>&1 ||
    die "this is no clone: the version before ($version) is built from the history; clone the repository"
if ! git cat-file -e "$revision^{commit}" 2>/dev/null; then
    die "commit $revision (version $version) is not in this clone; get it with: git fetch --unshallow"
fi
echo "version-before.sh: building $version, once" >&2
rm -rf "$folder"
mkdir -p "$folder/src"
git archive "$revision" | tar -x -C "$folder/src"
(cd "$folder/src" && CARGO_TARGET_DIR=$target cargo build --locked --package ops --bin malleposte)
# Another name, so that the next build cannot write through it.
cp "$target/debug/malleposte" "$folder/malleposte.new"
mv "$folder/malleposte.new" "$folder/malleposte"
# Ours is to be built again, whatever the times of the files say.
rm -f "$target/debug/malleposte"
echo "$revision" >"$folder/revision"
