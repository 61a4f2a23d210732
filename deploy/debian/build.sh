#!/bin/sh
# Makes a Debian package of a binary: deploy/debian/build.sh BINARY [FOLDER]; prints the path of the package.
# The same binary gives the same bytes. SOURCE_DATE_EPOCH: time of all files (default: the last commit);
# COMPRESSION: of dpkg-deb (default: xz).
set -eu
[ $# -ge 1 ] || { echo "usage: build.sh BINARY [FOLDER]" >&2; exit 2; }
binary=$(realpath "$1")
out=$(realpath "${2:-.}")
here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
architecture=$(dpkg --print-architecture)
umask 022

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
put() { # put MODE FILE PLACE
    install -D -m "$1" "$2" "$tree$3"
}
mkdir -p "$tree/usr/bin"
# Lines of code in a backtrace are worth less than 200 MB.
strip --strip-debug -o "$tree/usr/bin/obs" "$binary"
chmod 755 "$tree/usr/bin/obs"
put 644 "$here/obs.yml" /etc/obs/obs.yml
put 644 "$here/agent.yml" /etc/obs/agent.yml
put 644 "$here/obs.default" /etc/default/obs
put 644 "$here/obs-agent.default" /etc/default/obs-agent
for unit in obs obs-agent; do
    put 644 "$here/../systemd/$unit.service" "/lib/systemd/system/$unit.service"
done
put 644 "$here/copyright" /usr/share/doc/obs/copyright
for page in agent configuration deploy operations; do
    put 644 "$root/docs/$page.md" "/usr/share/doc/obs/$page.md"
done
(cd "$root" && python3 "$here/../sbom.py") >"$tree/usr/share/doc/obs/sbom.cdx.json"
for place in bash:/usr/share/bash-completion/completions/obs zsh:/usr/share/zsh/vendor-completions/_obs \
    fish:/usr/share/fish/vendor_completions.d/obs.fish; do
    mkdir -p "$tree$(dirname "${place#*:}")"
    "$binary" completions "${place%%:*}" >"$tree${place#*:}"
    chmod 644 "$tree${place#*:}"
done

# The newest version of the C library whose symbols are asked for.
libc=$(objdump -T "$binary" | sed -n 's/.*(\{0,1\}GLIBC_\([0-9.]*\)).*/\1/p' | sort -V | tail -n 1)
mkdir "$tree/DEBIAN"
size=$(du -k --apparent-size -s "$tree" | cut -f 1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@SIZE@/$size/" \
    -e "s/@LIBC@/${libc:-2.31}/" "$here/control.in" >"$tree/DEBIAN/control"
for script in postinst prerm postrm; do
    install -m 755 "$here/$script" "$tree/DEBIAN/$script"
done
(cd "$tree" && find etc -type f | sort | sed 's|^|/|') >"$tree/DEBIAN/conffiles"
(cd "$tree" && find usr lib -type f | LC_ALL=C sort | xargs md5sum) >"$tree/DEBIAN/md5sums"
chmod 644 "$tree"/DEBIAN/control "$tree"/DEBIAN/conffiles "$tree"/DEBIAN/md5sums
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Z"${COMPRESSION:-xz}" --build "$tree" "$out/obs_${version}_$architecture.deb" >/dev/null
echo "$out/obs_${version}_$architecture.deb"
