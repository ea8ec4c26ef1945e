#!/bin/bash
# Records curl talking to a TLS server on loopback, and lists what was said. Leaves
# capture.pcapng and capture.zst in the current directory.
set -euo pipefail

sslrec=${SSLREC:-sslrec}
sslanalyze=${SSLANALYZE:-sslanalyze}
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-.}

if [ "$(id -u)" -ne 0 ]; then
    echo "Recording needs root. Try: sudo -E make demo" >&2
    exit 1
fi

work=$(mktemp -d)
server=
finish() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null

# The system's interpreter: it writes the port that it got, once it listens.
/usr/bin/python3 "$here/demo_server.py" "$work" &
server=$!
for _ in $(seq 100); do
    [ -s "$work/port" ] && break
    kill -0 "$server" 2>/dev/null || { echo "The demo's server did not start." >&2; exit 1; }
    sleep 0.1
done
[ -s "$work/port" ] || { echo "The demo's server did not start within 10 s." >&2; exit 1; }
export CURL_CA_BUNDLE=$work/cert.pem BASE="https://localhost:$(cat "$work/port")"

echo "Recording a few requests of curl to $BASE ..."
rm -f "$out/capture.pcapng" "$out/capture.zst"
"$sslrec" -w "$out/capture.pcapng" -w "$out/capture.zst" -- sh -ec '
    get() { curl --http1.1 --silent --show-error "$@" >/dev/null; }
    get "$BASE/" "$BASE/api/status?verbose=1"
    get --data-binary "{\"item\":\"teapot\",\"count\":2}" \
        --header "Content-Type: application/json" "$BASE/api/orders"
    get --location "$BASE/old-page"
    get "$BASE/no/such/page"
    get --compressed "$BASE/stream"
'

echo
"$sslanalyze" "$out/capture.pcapng"
echo
echo "Now open it:    wireshark $out/capture.pcapng"
echo "or look again:  $sslanalyze --json --bodies $out/capture.zst"
