"""What each precision costs `pictogram` on the pictures of `benchmarks/pictogram.py`.

Per precision: every score of that benchmark, the cosine of each emoji's vector to f32 (smallest and
mean), and the share of emoji whose best class is the same as in f32. Writes
benchmarks/results/precision.json. Run: python -m benchmarks.precision [--photos FOLDER]
"""

import argparse
import json
from pathlib import Path
from typing import Any

import clipworks
from benchmarks import pictogram
from benchmarks.machine import write_result
from benchmarks.suites import photograph_suite, score_suite
from clipworks.model.fidelity import agreement, compare
from clipworks.model.loading import Precision

PRECISIONS: tuple[Precision, ...] = ("f32", "bf16", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Score pictogram in each precision.")
    parser.add_argument("--model", default="pictogram", help="name or folder of a model")
    parser.add_argument("--photos", type=Path, help="folder of photographs with metadata.jsonl")
    arguments = parser.parse_args()
    emoji, clip_art = pictogram.fetch_emoji(), pictogram.fetch_clip_art()
    rows = [json.loads(line) for line in pictogram.EMOJI3D.read_text(encoding="utf-8").splitlines()]
    read = pictogram.read_emoji(emoji, [row["code"] for row in rows])
    pictures = [read[row["code"]] for row in rows]
    classes = sorted({row["class"] for row in rows})
    results: dict[str, Any] = {"model": arguments.model}
    exact: Any = None
    for precision in PRECISIONS:
        engine = clipworks.load(arguments.model, precision=precision)
        scores = pictogram.score_emoji3d(engine, emoji)
        if clip_art is not None:
            scores |= pictogram.score_clip_art(engine, clip_art)
        if arguments.photos is not None:
            scores |= score_suite(engine, photograph_suite(arguments.photos))
        vectors = engine.embed_images(pictures)
        cosines = vectors @ engine.label_head(classes, list(pictogram.CLASS_TEMPLATES)).T
        exact = (vectors, cosines) if exact is None else exact
        results[precision] = {
            "plan": engine.precision_note,
            "cosine_to_f32": compare(vectors, exact[0]).to_json(),
            "top1_agreement": round(agreement(cosines, exact[1]), 4),
            "scores": scores,
        }
    write_result("precision", results)


if __name__ == "__main__":
    main()
