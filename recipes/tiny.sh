#!/usr/bin/env bash
# The whole road in small, on a CPU: pictures -> shards -> 20 training steps -> checkpoint -> classify.
#
#   recipes/tiny.sh [WORK_FOLDER]          default: build/tiny
#
# What it trains knows nothing yet; it shows that each stage reads what the one before it wrote.
# Needs pip install ".[train]". Steps that are done already are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-build/tiny}
python=${PYTHON:-python3}

if [ ! -f "$work/shards/manifest.json" ]; then
    "$python" -m recipes.tiny_shards clipworks/gallery "$work/shards"
fi
"$python" -m clipworks train --recipe tiny --data "$work/shards" --out "$work/run"
"$python" -m clipworks classify examples/pictures/fox.png --labels "a fox,a guitar" --model "$work/run" --json
