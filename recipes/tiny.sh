#!/usr/bin/env bash
# The whole road in small, on a CPU: a crawl -> pairs -> texts -> pictures -> shards -> 20 training steps ->
# checkpoint -> vectors, classes, search.
#
#   recipes/tiny.sh [WORK_FOLDER [ARCHIVE]]    default: build/tiny, and the largest crawl that is here
#
# The crawl is examples/crawl/scikit.warc.gz, pages under the BSD licence with their pictures in the archive, or
# the mini-crawl beside the checkout where that is. No network: what the archive does not hold is left out.
# What it trains knows next to nothing; it shows that each stage reads what the one before it wrote.
# Needs pip install ".[curate,train,search]". Steps that are done already are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-build/tiny}
mini=../shared/data/crawl/minicrawl.warc.gz
archive=${2:-$([ -f "$mini" ] && echo "$mini" || echo examples/crawl/scikit.warc.gz)}
clipworks() { "${PYTHON:-python3}" -m clipworks "$@"; }

clipworks collect pairs "$archive" --out "$work/pairs"
clipworks curate texts "$work/pairs" --out "$work/texts"
clipworks collect fetch "$work/texts" --archives "$archive" --set web=false --out "$work/images"
clipworks curate "$work/images" --recipe small --out "$work/shards"
# A batch must be smaller than the pool, and the small crawl has some 18 different pictures with a text.
clipworks train --recipe tiny --data "$work/shards" --out "$work/run" --set batch_size=16
clipworks convert "$work/run" "$work/checkpoint" --to hf

if [ ! -d "$work/pictures" ]; then
    mkdir -p "$work/pictures.part"
    for shard in "$work"/shards/*.tar; do tar -xf "$shard" -C "$work/pictures.part"; done
    mv "$work/pictures.part" "$work/pictures"
fi
clipworks embed "$work/pictures" --model "$work/checkpoint" --out "$work/vectors.npz"
clipworks classify "$(ls "$work"/pictures/*.jpg | head -1)" --labels "a plot,a fox" --model "$work/checkpoint" --json
clipworks index "$work/pictures" --model "$work/checkpoint" --out "$work/index"
clipworks search "$work/index" "a plot of points in two colours" --limit 3 --json
