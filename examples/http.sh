#!/usr/bin/env bash
# The same with curl: which label fits the picture? (a server runs: `make demo`)
set -euo pipefail
url=${CLIPWORKS_URL:-http://127.0.0.1:8000}
picture=$(base64 -w0 "$(dirname "$0")/pictures/fox.png")
curl --silent --fail "$url/v1/classify" --header "Content-Type: application/json" --data \
    "{\"model\": \"pictogram\", \"input\": [{\"image\": \"$picture\"}], \"labels\": [\"a fox\", \"a guitar\"]}"
