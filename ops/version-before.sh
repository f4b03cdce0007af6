#!/bin/sh
# Builds the executable of the version before, from this repository's own history, for the test
# of a rolling upgrade. ops/tests/version-before names the commit. Done once per commit.
#
# What is tested is our own code against our own records, so it is built with the crates of others
# that ours is built with: by our Cargo.lock, with all features that any member of ours asks for. In
# the same target folder each of them is then built once, for both. Cargo tells the members of two
# workspaces apart by their paths below the workspace's root, so the old ones are moved one folder
# down, and no artifact of one can pass for the other's. Only the executable has one name: it is
# copied out, and ours is linked again by the next build.
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
mkdir -p "$folder/src" "$folder/shared"
git archive "$revision" | tar -x -C "$folder/src"
mv "$folder/src/Cargo.toml" "$folder/old.toml"
# Our lock, and what it lacks from the old one.
awk '
    BEGIN { RS = ""; ORS = "\n\n" }
    FNR == 1 { file++ }
    file == 1 { locked[$4] }
    file == 1 || ($1 == "[[package]]" && !($4 in locked))
' Cargo.lock "$folder/src/Cargo.lock" >"$folder/Cargo.lock"

# Its manifest, one folder up, with our versions of what both use, and our profiles.
awk '
    FNR == 1 { file++ }
    /^\[/ { section = $1 }
    { dependency = section == "[workspace.dependencies]" && / = / }
    file == 1 && dependency && !/ path = / { ours[$1] = $0 }
    file == 1 && section ~ /^\[profile/ { profiles = profiles $0 "\n" }
    file == 2 && section !~ /^\[profile/ && !(dependency && $1 in ours) { print }
    file == 2 && /^\[workspace.dependencies\]/ { for (name in ours) print ours[name] }
    END { printf "%s", profiles }
' Cargo.toml "$folder/old.toml" |
    sed -e 's|path = "|path = "src/|' -e '/^members = /,/]/s|"\([^"]*\)"|"src/\1"|g' \
        -e 's|^members = \[|&"shared", |' >"$folder/Cargo.toml"
# It shall only run: the members themselves are built the fast way.
for member in $(sed -n '/^members = /,/]/s|.*"src/\([^"]*\)".*|\1|p' "$folder/Cargo.toml"); do
    printf '\n[profile.dev.package.%s]\nopt-level = 0\ndebug = false\n' "$member"
done >>"$folder/Cargo.toml"
# A member of no code that asks for all that our members ask for.
{
    printf '[package]\nname = "shared"\nedition = "2024"\n\n[lib]\npath = "lib.rs"\n\n[dependencies]\n'
    awk '
        FNR == NR && /^\[/ { section = $1 }
        FNR == NR && section == "[workspace.dependencies]" && / = / && !/ path = / { features[$1] = "" }
        FNR != NR && $1 in features && / workspace = true, features = / {
            asked = $0
            gsub(/.*features = \[|\].*/, "", asked)
            features[$1] = features[$1] asked ", "
        }
        END { for (name in features) printf "%s = { workspace = true, features = [%s] }\n", name, features[name] }
    ' Cargo.toml ./*/Cargo.toml
} >"$folder/shared/Cargo.toml"
: >"$folder/shared/lib.rs"
# All members, though one executable is asked for: with them come the features of the crates that
# they share. Not `--locked`: what nobody uses is taken out of the lock.
(cd "$folder" && CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=$target cargo build --workspace --bin malleposte)
# Another name, so that the next build cannot write through it.
cp "$target/debug/malleposte" "$folder/malleposte.new"
mv "$folder/malleposte.new" "$folder/malleposte"
# Ours is to be built again, whatever the times of the files say.
rm -f "$target/debug/malleposte"
echo "$revision" >"$folder/revision"
