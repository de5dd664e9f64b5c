#!/bin/sh
# Make the built-in model `pictogram`: pool -> training in two parts -> mean of both -> names in other languages and
# phrases, by the text tower -> all captions at once, by the image tower -> eight bits -> scores ->
# clipworks/model/builtin/pictogram.
#
# Each step is skipped if its output is there, even one of an earlier version of this recipe, and training goes on
# where it stopped. Needs npm, apt-get, dpkg-deb, rsvg-convert (librsvg2-bin) and pip install "clipworks[train,curate]".
# About eight hours on two cores, by the seconds of a step; never run from end to end in one go.
#
#   recipes/pictogram.sh [WORK_FOLDER]          default: build/pictogram
#   PHOTOS=DIR recipes/pictogram.sh             with a folder of photographs (metadata.jsonl)
#   PACKAGES=DIR                                packages that are there already; default: WORK_FOLDER/packages
set -eu
cd "$(dirname "$0")/.."
work=$(realpath -m "${1:-build/pictogram}")
PACKAGES=$(realpath -m "${PACKAGES:-$work/packages}")
python=${PYTHON:-python3}
export PACKAGES PYTHON="$python"

[ -f "$work/ATTRIBUTION.md" ] || recipes/pool.sh "$work"

# Keep large temporaries mapped: without these, page faults take most of a step (docs/log.md).
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=20000000000 MALLOC_TOP_PAD_=500000000 THP_MEM_ALLOC_ENABLE=1
train() { "$python" -m clipworks train --recipe pictogram --data "$work/shards" "$@"; }
[ -f "$work/first/manifest.json" ] || train --out "$work/first"
# On from there at half the rate, a quarter of the patches shown: twice the steps for the time.
[ -f "$work/run/manifest.json" ] || train --from "$work/first" --out "$work/run" --set steps=1100 \
    --set warmup_steps=40 --set learning_rate=5e-4 --set matrix_learning_rate=1e-3 --set check_rate=false \
    --set patch_dropout=0.75 --set unmasked_steps=50

# A mean with the weights before keeps more of what they knew.
mix() { [ -f "$3/manifest.json" ] || "$python" -m recipes.pictogram_mix "$1" "$2" "$3" --share "$4"; }
mix "$work/first" "$work/run" "$work/mixed" 0.6
if [ ! -f "$work/languages/manifest.json" ]; then
    "$python" -m recipes.pictogram_languages "$work/mixed" "$work/languages" --tables "$work/shards" \
        --emojibase "$PACKAGES/emojibase-data" --wordnet "$PACKAGES/wordnet/usr/share/wordnet"
fi
mix "$work/mixed" "$work/languages" "$work/taught" 0.9
see() { [ -f "$2/manifest.json" ] || "$python" -m recipes.pictogram_pictures "$@" --data "$work/shards"; }
see "$work/taught" "$work/seen" --steps 3000
see "$work/seen" "$work/seen-more" --steps 4400 --seed 1
mix "$work/seen" "$work/seen-more" "$work/last" 0.8

# The package carries weights in eight bits; what is scored is what is shipped.
if [ ! -f "$work/pictogram/manifest.json" ]; then
    "$python" -m recipes.pictogram_export "$work/last" "$work/pictogram"
fi

if [ ! -f "$work/pictogram/scores.json" ]; then
    "$python" -m benchmarks.pictogram --model "$work/pictogram" --emoji "$PACKAGES/fluent-emoji-3d" \
        --clip-art "$PACKAGES/openclipart" --fashion "$PACKAGES/fashion-mnist" \
        --emojibase "$PACKAGES/emojibase-data" ${PHOTOS:+--photos "$PHOTOS"}
    cp benchmarks/results/pictogram.json "$work/pictogram/scores.json"
fi

builtin=clipworks/model/builtin/pictogram
mkdir -p "$builtin"
for file in config.json model.safetensors scores.json manifest.json; do
    cp "$work/pictogram/$file" "$builtin/"
done
cp "$work/run/train.json" "$builtin/"
awk 'NR % 20 == 1' "$work/run/metrics.jsonl" >"$builtin/metrics.jsonl" # every twentieth step draws the same curve
cp "$work/data_manifest.json" "$work/ATTRIBUTION.md" "$builtin/"
echo "The model is in $builtin."
