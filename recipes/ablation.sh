#!/bin/sh
# A DataComp of our own, small enough to rerun: one pool, one model, one number of samples seen, one training recipe,
# five suites; the entries differ in what `clipworks curate` keeps. Three seeds each. docs/ablation.md says what came out.
#
# Needs what recipes/pool.sh needs, pip install "clipworks[train]", and a folder of photographs. Some three hours of
# one core besides the pool. Runs that are there are not repeated.
#
#   PHOTOS=DIR recipes/ablation.sh [WORK_FOLDER]    default: build/ablation
#   ENTRIES="none balance-20" SEEDS="0 1 2" STEPS=900 TABLE=no   some entries, seeds, another length, no report
set -eu
cd "$(dirname "$0")/.."
: "${PHOTOS:?is not set: give the folder of photographs that the suites are scored on}"
work=$(realpath -m "${1:-build/ablation}")
python=${PYTHON:-python3}
packages=$(realpath -m "${PACKAGES:-$work/packages}")
export PYTHON="$python" PACKAGES="$packages"
clipworks() { "$python" -m clipworks "$@"; }
# As in recipes/pictogram.sh: keep large temporaries mapped.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=20000000000 MALLOC_TOP_PAD_=500000000 THP_MEM_ALLOC_ENABLE=1

# The pool as it comes, at the size of the model: no weights, English, all duplicates; what looks like a picture of
# the suites is out.
SIDE=48 LOCALES=none WEIGHTS=none DISTANCE=-1 PART=90000 recipes/pool.sh "$work/pool"
pool=$work/pool/shards
[ -f "$work/entries.json" ] ||
    clipworks curate metadata --wordnet "$packages/wordnet/usr/share/wordnet" --out "$work/entries.json"
if [ ! -d "$work/tables" ]; then # entries are chosen by tables alone: their pictures are decoded once for all
    mkdir -p "$work/tables.part"
    cp "$pool"/*.parquet "$work/tables.part"
    mv "$work/tables.part" "$work/tables"
fi
[ -f "$work/pictures.npy" ] || "$python" -m recipes.ablation pictures "$pool" "$work"
[ -f "$work/suites.pickle" ] || "$python" -m recipes.ablation suites --emoji "$packages/fluent-emoji-3d" \
    --clip-art "$packages/openclipart" --photos "$PHOTOS" --fashion "$packages/fashion-mnist" "$work"

all="texts=chars >= 1"
# name, folder of tables, recipe, settings
entry() {
    name=$1 tables=$2 recipe=$3
    shift 3
    case " ${ENTRIES:-$name} " in *" $name "*) ;; *) return 0 ;; esac
    clipworks curate "$tables" --recipe "$recipe" --set unique=uid "$@" --out "$work/entries/$name"
    train_and_score "$name" "$work/entries/$name"
}

# name, folder of tables, weights by kind or none
train_and_score() {
    # shellcheck disable=SC2046
    "$python" -m recipes.ablation run "$1" --tables "$2" $(printf -- '--seed %s ' ${SEEDS:-0 1 2}) \
        --steps "${STEPS:-900}" --weights "${3:-none}" "$work"
}

plain="--set keep=everything --set phash_distance=-1"
# shellcheck disable=SC2086
entry none "$work/tables" small $plain --set "$all"
# shellcheck disable=SC2086
entry basic "$work/tables" small $plain --set "texts=english and words > 2 and chars > 5"
entry dedup "$work/tables" small --set keep=everything --set "$all" --set phash_distance=2
for t in 5 20 100; do
    entry "balance-$t" "$work/tables" metaclip --set metadata="$work/entries.json" --set "$all" --set t=$t
done
entry balance-6pc "$work/tables" metaclip --set metadata="$work/entries.json" --set "$all" # t by the tail's share
entry dedup-balance-20 "$work/tables" metaclip --set metadata="$work/entries.json" --set "$all" --set t=20 \
    --set phash_distance=2
# The best 30 % by the score of the shipped model, which is computed once and needs the pictures.
entry score-30 "$pool" datacomp-clip-score --set "keep=top(b32, 0.3)" --set model=pictogram --set "$all"
if [ -f "$work/entries/score-30/manifest.json" ] && [ ! -d "$work/tables-score-30" ]; then
    mkdir -p "$work/tables-score-30.part"
    cp "$work/entries/score-30"/*.parquet "$work/tables-score-30.part"
    mv "$work/tables-score-30.part" "$work/tables-score-30"
fi
entry score-30-balance-20 "$work/tables-score-30" metaclip --set metadata="$work/entries.json" --set "$all" --set t=20
case " ${ENTRIES:-hand} " in *" hand "*) train_and_score hand "$work/entries/none" hand ;; esac

[ "${TABLE:-yes}" = no ] || "$python" -m recipes.ablation table "$work"
