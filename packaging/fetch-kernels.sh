#!/bin/bash
# Fetches the kernels that `make test-kernels` boots into a folder, as vmlinuz-6.1 and so on, and
# keeps them there. They are Debian's, unpacked and never installed.
set -euo pipefail

folder=${1:?the folder to put the kernels into}
series="6.1 6.12"

# The newest package of a series; "signed" are those without a suffix.
newest() {
    apt-cache pkgnames "linux-image-$1." |
        grep -E "^linux-image-${1//./\\.}\.[0-9].*-cloud-amd64\$" | sort -V | tail -n 1
}

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
for version in $series; do
    kernel=$folder/vmlinuz-$version
    [ ! -e "$kernel" ] || continue
    if ! command -v apt-get >/dev/null; then
        echo "Linux $version comes from Debian, and there is no apt-get here" >&2
        exit 1
    fi
    package=$(newest "$version" || true)
    if [ -z "$package" ]; then
        echo "apt knows no linux-image-$version.*-cloud-amd64" >&2
        exit 1
    fi
    echo "Fetching $package"
    unpacked=$(mktemp -d "$folder/XXXXXX")
    trap 'rm -rf "$unpacked"' EXIT
    (cd "$unpacked" && apt-get download -qq -o APT::Sandbox::User=root "$package" &&
        dpkg -x ./*.deb .)
    mv "$unpacked"/boot/vmlinuz-* "$kernel"
    rm -rf "$unpacked"
done
