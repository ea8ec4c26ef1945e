#!/bin/bash
# Makes the pictures of the README, docs/listing.png and docs/page.png, of what the demo records.
# `make screenshots` installs and builds what that needs.
set -euo pipefail

export SSLREC=${SSLREC:-sslrec} SSLANALYZE=${SSLANALYZE:-sslanalyze}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

OUT=$work "$root/packaging/demo.sh"
capture=$work/capture.pcapng
"$SSLANALYZE" --color always "$capture" >"$work/listing.txt"
"$SSLANALYZE" html "$capture" --output "$work/capture.html"
mkdir -p "$root/docs"
node "$root/testdata/tools/screenshots.js" "$work" "$root/docs"
ls -l "$root/docs"/*.png
