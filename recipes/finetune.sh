#!/usr/bin/env bash
# A model for one's own classes, in small: probe, fine-tuning and LoRA of the built-in model on pictures of the
# package, then the result classifies, converts and embeds like any checkpoint.
#
#   recipes/finetune.sh [WORK_FOLDER] [DATA] [EPOCHS]      default: build/finetune, pictures of the gallery, 6
#
# DATA is whatever `--data` of probe and finetune takes. Two that were measured (docs/finetune.md):
#   apt-get download dataset-fashion-mnist
#   python -m recipes.fashion_shards dataset-fashion-mnist_*.deb build/fashion
#   recipes/finetune.sh build/finetune-fashion build/fashion
# Needs pip install ".[train]". Steps that are done already are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-build/finetune}
data=${2:-$work/pictures}
epochs=${3:-6}
python=${PYTHON:-python3}

if [ "$data" = "$work/pictures" ]; then
    "$python" -m recipes.finetune_pictures clipworks/gallery "$data"
fi
"$python" -m clipworks probe pictogram --data "$data" --out "$work/probe" --shots 1,2,4 --set draws=3
"$python" -m clipworks finetune pictogram --data "$data" --out "$work/run" --set "epochs=$epochs" --set batch_size=32
"$python" -m clipworks finetune pictogram --data "$data" --out "$work/lora" --lora 8 --set "epochs=$epochs" \
    --set batch_size=32
"$python" -m clipworks classify examples/pictures/fox.png --model "$work/run" --head "$work/run/head.safetensors"
if [ ! -d "$work/hf" ]; then
    "$python" -m clipworks convert "$work/run" "$work/hf" --to hf
fi
"$python" -m clipworks classify examples/pictures/fox.png --model "$work/hf" --labels "a fox,a guitar" --json
