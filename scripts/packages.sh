#!/usr/bin/env bash
# Builds the Debian packages of the module and of agg in target/package, including the manual, completions and
# configuration.
#
#   scripts/packages.sh           from target/release
#   scripts/packages.sh --dist    also a release in target/dist: archives for other systems, the source, the Python client,
#                                 SBOMs (CycloneDX) and the checksums of all
#   scripts/packages.sh --debug   with the agg of target/debug, to test the packages
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO_DEB=3.8.0
tools=$PWD/target/tools
out=$PWD/target/package
dist=$PWD/target/dist
agg=target/release/agg
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
# Files in archives are as old as their source, so that the same source gives the same archive.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}

usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

have_cargo_deb() { [ "$("$tools/bin/cargo-deb" --version 2>/dev/null)" = "cargo-deb $CARGO_DEB" ]; }

make_contents() {
    rm -rf "$out"
    mkdir -p "$out/man" "$out/redis-aggregator" "$out/agg"
    packaging/module/users.sh redis.conf.example "$out"
    "$agg" man --dir "$out/man"
    gzip -9n "$out"/man/*.1
    "$agg" completions bash >"$out/agg.bash"
    "$agg" completions zsh >"$out/_agg"
    "$agg" completions fish >"$out/agg.fish"
    # Debian's own changelog describes the packaging; changelog.gz is that of the project.
    for package in redis-aggregator agg; do
        scripts/third-party.py "${package/redis-/}" | gzip -9n >"$out/$package/third-party.txt.gz"
        gzip -9nc CHANGELOG.md >"$out/$package/changelog.gz"
        cat >"$out/$package/changelog" <<END
$package ($version-1) unstable; urgency=medium

  * See changelog.gz.

 -- The aggregator's developers <root@localhost>  $(date -R -u -d "@$SOURCE_DATE_EPOCH")
END
    done
}

make_packages() {
    if ! have_cargo_deb; then
        echo "building cargo-deb $CARGO_DEB" >&2
        CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
            cargo install cargo-deb --quiet --version "$CARGO_DEB" --locked --root "$tools"
    fi
    local build=(--no-build --strip --output "$out/")
    "$tools/bin/cargo-deb" --quiet "${build[@]}" --package aggregator >/dev/null
    [ "$agg" = target/release/agg ] || build+=(--profile dev)
    "$tools/bin/cargo-deb" --quiet "${build[@]}" --package agg >/dev/null
}

# Packs the same files into the same archive, on any machine.
archive() { # NAME DIRECTORY
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$2" -c "$1" |
        gzip -9n >"$dist/$1.tar.gz"
}

make_dist() {
    rm -rf "$dist" target/python/dist
    mkdir -p "$dist"
    local name
    name=aggregator-$version-$(uname -m)-linux-gnu
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/$name"/{bin,lib,etc/agg,etc/redis-aggregator,man/man1,completions,systemd,licenses}
    strip --strip-unneeded -o "$work/$name/lib/libaggregator.so" target/release/libaggregator.so
    strip -o "$work/$name/bin/agg" "$agg"
    cp README.md CHANGELOG.md SECURITY.md redis.conf.example "$work/$name/"
    cp "$out/aggregator.conf" "$out/users.acl" "$work/$name/etc/redis-aggregator/"
    cp packaging/agg/*.toml packaging/agg/*.env "$work/$name/etc/agg/"
    cp LICENSE-* "$work/$name/licenses/"
    for package in redis-aggregator agg; do
        cp "$out/$package/third-party.txt.gz" "$work/$name/licenses/third-party-$package.txt.gz"
    done
    cp crates/agg/examples/poller.toml "$work/$name/poller.toml.example"
    cp crates/agg/examples/listen.toml "$work/$name/listen.toml.example"
    cp -r crates/agg/examples/sinks "$work/$name/sinks.example"
    cp -r docs "$work/$name/"
    cp "$out"/man/* "$work/$name/man/man1/"
    cp "$out/agg.bash" "$out/_agg" "$out/agg.fish" "$work/$name/completions/"
    cp packaging/*/*.service "$work/$name/systemd/"
    chmod -R u=rwX,go=rX "$work/$name"
    archive "$name" "$work"
    git archive --format=tar --prefix="aggregator-$version/" HEAD | gzip -9n >"$dist/aggregator-$version.tar.gz"
    cp "$out"/*.deb "$dist/"
    for package in aggregator agg; do
        scripts/sbom.py "$package" >"$dist/$package-$version.cdx.json"
    done
    scripts/python.sh wheel >&2
    cp target/python/dist/* "$dist/"
    (cd "$dist" && sha256sum -- * >SHA256SUMS && sha256sum --check --quiet SHA256SUMS)
}

case "${1:-}" in
"" | --dist) ;;
--debug) agg=target/debug/agg ;;
-h | --help) usage && exit ;;
*) usage >&2 && exit 2 ;;
esac
if [ "${1:-}" = --dist ] && ! git diff --quiet HEAD; then
    echo "a release is made of the last commit: commit or undo the changes first" >&2
    exit 1
fi
make_contents
make_packages
if [ "${1:-}" = --dist ]; then
    make_dist
    ls "$dist"
else
    ls "$out"/*.deb
fi
