#!/bin/sh
# Make the pool that the built-in model is trained on: packages -> lists -> pictures -> curated shards, a data card
# and the credits. Every step is a command of clipworks but the lists, and is skipped if its output is there.
#
# Needs npm, apt-get, dpkg-deb and pip install "clipworks[curate]"; rsvg-convert (librsvg2-bin) draws some 60 more
# pictures. Half an hour on two cores, 6 GB of disk.
#
#   recipes/pool.sh [WORK_FOLDER]               default: build/pool
#   PHOTOS=DIR recipes/pool.sh                  with a folder of photographs (metadata.jsonl)
#   PACKAGES=DIR                                packages that are there already; default: WORK_FOLDER/packages
#   SIDE=64 LOCALES=all WEIGHTS=hand DISTANCE=2 WORKERS=2   pixels, languages of emoji names (or none), weights by
#                                               kind (or none), bits up to which pictures count as one, processes
#   PART=90000                                  only so many one-colour glyphs
set -eu
cd "$(dirname "$0")/.."
work=$(realpath -m "${1:-build/pool}")
packages=$(realpath -m "${PACKAGES:-$work/packages}")
python=${PYTHON:-python3}
clipworks() { "$python" -m clipworks "$@"; }

recipes/packages.sh "$packages"
wordnet=$packages/wordnet/usr/share/wordnet

if [ ! -f "$work/lists/lists.json" ]; then
    "$python" -m recipes.pool_lists --packages "$packages" --wordnet "$wordnet" ${PHOTOS:+--photos "$PHOTOS"} \
        --locales "$(echo "${LOCALES:-all}" | sed 's/^none$//')" --weights "${WEIGHTS:-hand}" \
        ${PART:+--glyphs "$PART"} --out "$work/lists"
fi

# The pictures that models are scored on, and what they look like: nothing like them may be in the pool.
clipworks collect pictures "$work/lists/held_out/evaluation.jsonl" --out "$work/held_out" --set side="${SIDE:-64}"
[ -f "$work/held_out.npy" ] || clipworks curate hashes "$work/held_out" --out "$work/held_out.npy"

clipworks collect pictures "$work/lists" --out "$work/pictures" --set side="${SIDE:-64}" --workers "${WORKERS:-2}"
clipworks curate "$work/pictures" --recipe small --set keep=everything --set "texts=chars >= 1" --set unique=uid \
    --set phash_distance="${DISTANCE:-2}" --set evaluation="$work/held_out.npy" --set samples_per_shard=5000 \
    --out "$work/shards" --workers "${WORKERS:-2}"

"$python" -m recipes.pool_card "$work" "$packages"
echo "The pool is in $work/shards, its card in $work/pool.md, its credits in $work/ATTRIBUTION.md."
