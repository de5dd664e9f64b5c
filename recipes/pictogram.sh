#!/bin/sh
# Make the built-in model `pictogram`: packages -> shards -> training -> scores -> clipworks/model/builtin/pictogram.
#
# Each step is skipped if its output is there. Needs npm, apt-get, dpkg-deb, rsvg-convert (librsvg2-bin)
# and pip install "clipworks[train]" resvg-py==0.5.0. About two hours on two cores.
#
#   recipes/pictogram.sh [WORK_FOLDER]          default: build/pictogram
#   PHOTOS=DIR recipes/pictogram.sh             with a folder of photographs (metadata.jsonl)
set -eu
cd "$(dirname "$0")/.."
work=$(realpath -m "${1:-build/pictogram}")
packages=$work/packages
recipes/packages.sh "$packages"

if [ ! -f "$work/shards/manifest.json" ]; then
    python -m recipes.pictogram_shards --packages "$packages" --wordnet "$packages/wordnet/usr/share/wordnet" \
        ${PHOTOS:+--photos "$PHOTOS"} --out "$work/shards"
fi

if [ ! -f "$work/run/manifest.json" ]; then
    # Keep large temporaries mapped: without these, page faults take most of a step (docs/log.md).
    MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=20000000000 MALLOC_TOP_PAD_=500000000 THP_MEM_ALLOC_ENABLE=1 \
        clipworks train --recipe pictogram --data "$work/shards" --out "$work/run"
fi

# The package carries weights in eight bits; what is scored is what is shipped.
if [ ! -f "$work/model/manifest.json" ]; then
    python -m recipes.pictogram_export "$work/run" "$work/model"
fi

if [ ! -f "$work/model/scores.json" ]; then
    python -m benchmarks.pictogram --model "$work/model" --emoji "$packages/fluent-emoji-3d" \
        --clip-art "$packages/openclipart" ${PHOTOS:+--photos "$PHOTOS"}
    cp benchmarks/results/pictogram.json "$work/model/scores.json"
fi

builtin=clipworks/model/builtin/pictogram
mkdir -p "$builtin"
for file in config.json model.safetensors scores.json manifest.json; do
    cp "$work/model/$file" "$builtin/"
done
cp "$work/run/train.json" "$builtin/"
awk 'NR % 10 == 1' "$work/run/metrics.jsonl" >"$builtin/metrics.jsonl" # every tenth step draws the same curve
cp "$work/shards/data_manifest.json" "$work/shards/ATTRIBUTION.md" "$builtin/"
echo "The model is in $builtin."
