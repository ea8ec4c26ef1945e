#!/bin/bash
# Installs what building and the demo need on Debian or Ubuntu, and only what is missing; with
# `test`, `bench` or `kernels`, what the tests, the benchmarks or other kernels need on top. Starts no service: nginx would
# otherwise take port 80 of this machine.
set -euo pipefail

# What must be there -> the package that has it. Headers and libraries are asked for by package.
commands="
gcc gcc
make make
clang clang
llvm-strip llvm
pkg-config pkg-config
bpftool bpftool
tshark tshark
capinfos wireshark-common
nginx nginx-light
curl curl
xz xz-utils
lz4 lz4
bzip2 bzip2
zstd zstd
protoc protobuf-compiler
openssl openssl
readelf binutils
setpriv util-linux
"
packages="libelf-dev zlib1g-dev libssl-dev libc6-dev linux-libc-dev python3 python3-requests"
case "${1:-}" in
test)
    commands+="
apache2 apache2-bin
chromium chromium
dovecot dovecot-imapd
erl erlang-base
go golang-go
h2load nghttp2-client
nghttpd nghttp2-server
node nodejs
npm npm
git git
ip iproute2
keytool default-jre-headless
mandoc mandoc
gnutls-cli gnutls-bin
perl perl
php php-cli
redis-cli redis-tools
redis-server redis-server
ruby ruby
tstclnt libnss3-tools
wget wget
"
    packages+=" erlang-ssl libgnutls28-dev libio-socket-ssl-perl libmbedtls-dev libnss3-dev libnspr4-dev libwolfssl-dev postgresql python3-aiohttp python3-grpcio python3-junitparser python3-protobuf python3-venv python3-websockets python3-yaml"
    ;;
kernels)
    commands+="
go golang-go
qemu-system-x86_64 qemu-system-x86
busybox busybox-static
"
    ;;
bench)
    commands+="
wrk wrk
h2load nghttp2-client
wget wget
"
    ;;
esac

PATH=$PATH:/usr/sbin:/sbin

if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
    rustup component add rustfmt clippy
fi

missing=()
while read -r command package; do
    [ -z "$command" ] || command -v "$command" >/dev/null || missing+=("$package")
done <<<"$commands"

if command -v dpkg-query >/dev/null; then
    for package in $packages; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] || missing+=("$package")
    done
fi

# Installs Debian packages.
install_packages() {
    if ! command -v apt-get >/dev/null; then
        echo "These are missing: $*" >&2
        echo "They are Debian's package names; install what your system calls them." >&2
        exit 1
    fi

    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "Missing: $*. As root: apt-get install $*" >&2
            exit 1
        fi
        as_root=(sudo)
    fi

    # invoke-rc.d asks policy-rc.d whether it may start a service; 101 says no. One that the machine
    # has already is left alone.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 0755 "$policy"
        trap '"${as_root[@]}" rm -f "$policy"' EXIT
    fi

    echo "Installing: $*"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends "$@" >/dev/null
}

# Installs what the tests take from the npm registry and from PyPI, in the versions that are
# written down there, beside these lists and nowhere else.
install_tools() {
    local tools installed
    tools=$(cd "$(dirname "$0")/../testdata/tools" && pwd)
    installed=$(cat "$tools/package-lock.json" "$tools/requirements.txt" | sha256sum)
    if [ "$(cat "$tools/.installed" 2>/dev/null)" = "$installed" ]; then
        return
    fi
    echo "Installing into $tools: $(tr '\n' ' ' <"$tools/requirements.txt")and package-lock.json"
    npm ci --prefix "$tools" --ignore-scripts --no-audit --no-fund --loglevel=error
    /usr/bin/python3 -m venv --clear "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check \
        --requirement "$tools/requirements.txt"
    echo "$installed" >"$tools/.installed"
}

if [ ${#missing[@]} -gt 0 ]; then
    install_packages "${missing[@]}"
fi
if [ "${1:-}" = test ]; then
    install_tools
fi
