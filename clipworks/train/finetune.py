"""A published model made better at one's own pictures, without forgetting the rest: the whole stage.

Epochs with validation (`tuner.py`), the way back to the model before (`interpolation.py`), and a checkpoint
folder like any other, with a classifier beside it where pictures were classified.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.files import atomic_write, read_json, write_json
from clipworks.model.heads import check_prompts
from clipworks.model.linear import LinearHead, write_head
from clipworks.model.tallies import share_of, tally
from clipworks.model.tokenizer import tokenize
from clipworks.model.weights import Checkpoint, fingerprint, write_checkpoint
from clipworks.plots import Line, draw_lines
from clipworks.train.examples import TEMPLATES, Example, digest_of
from clipworks.train.folders import RESULT, begun, refuse_other
from clipworks.train.interpolation import Score, Tensors, alphas_of, between, choose, walk
from clipworks.train.kept import read_kept
from clipworks.train.material import Material, read_captions, read_material
from clipworks.train.signals import catch_signals
from clipworks.train.splits import contradiction_words, cut_parts, labels_of
from clipworks.train.tuned import (
    HEAD,
    TOKEN_TABLE,
    Tuned,
    class_head,
    image_vectors,
    prepare_training,
    text_vectors,
)
from clipworks.train.tuner import (
    STATE,
    Job,
    Progress,
    measure,
    overfitting_words,
    tune_model,
)
from clipworks.train.tuning import TuneConfig

SETTINGS = "finetune.json"
HEAD_FILE = "head.safetensors"
INTERPOLATION = "interpolation.svg"
LEARNING = "epochs.svg"

ShowProgress = Callable[[int, int, str], None]
"""Done, in all, words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """What is settled before the first step."""

    checkpoint: Checkpoint
    """The model before."""
    material: Material
    """The pictures."""
    job: Job
    """What is trained, and how."""
    before: Tensors
    """The weights as they are trained: with the classifier, or with the token rows that occur."""
    classes: tuple[str, ...]
    """For classification."""
    rows: NDArray[np.int64] | None
    """Which rows of the token table are trained, for the contrastive objective."""

    def whole(self, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """The weights of a checkpoint: the token table at its full height, no classifier."""
        weights = {name: array for name, array in tensors.items() if name != HEAD}
        if self.rows is not None:
            table = self.checkpoint.tensors[TOKEN_TABLE].copy()
            table[self.rows] = tensors[TOKEN_TABLE]
            weights[TOKEN_TABLE] = table
        return weights


def finetune(
    checkpoint: Checkpoint,
    examples: Sequence[Example],
    out: Path,
    tune: TuneConfig,
    *,
    name: str,
    templates: Sequence[str] = TEMPLATES,
    on_progress: ShowProgress | None = None,
) -> dict[str, Any]:
    """Fine-tune a model on one's own pictures.

    Args:
        checkpoint: the model before.
        examples: pictures with labels or captions; see `examples.read_examples`.
        out: run folder; becomes a checkpoint. Resumed where it is unfinished, left alone where complete.
        tune: how.
        name: what the model before is called.
        templates: sentences with `{}` for the class, from which the classifier begins.
        on_progress: called after every step.

    Returns:
        The content of `result.json`.

    Raises:
        DataError: the pictures cannot be used, `out` holds something else, or the learning rate destroys
            the model.
        ConfigError: the LoRA rank is above the width of a tower.
        InputError: a template has no `{}`.
        KeyboardInterrupt: after Ctrl-C, with the last whole step saved.
        SystemExit: after SIGTERM, likewise; the code is 143.
    """
    show = on_progress or (lambda done, total, words: None)
    if tune.objective == "classification":
        check_prompts(labels_of(examples)[0], templates)  # said before pictures are decoded
    settings = {**tune.to_json(), "templates": list(templates), "fingerprint": checkpoint.fingerprint}
    refuse_other(out, SETTINGS, settings)
    material = read_material(
        examples, checkpoint.config, on_progress=lambda done, total: show(done, total, "pictures read")
    )
    # Whatever can be refused is refused before the folder is begun.
    run = _prepare(checkpoint, material, tune, templates)
    tuned = Tuned(run.job.config, run.before)
    prepare_training(tuned, tune)
    settings["data_sha256"] = digest_of(material.examples, material.hashes)
    with begun(out, SETTINGS, settings) as is_complete:
        if is_complete:
            result: dict[str, Any] = read_json(out / RESULT)
            return result
        with catch_signals() as caught:
            progress, after = tune_model(tuned, run.job, out, caught, show)
        return _finish(out, run, name, progress, after)


def _prepare(checkpoint: Checkpoint, material: Material, tune: TuneConfig, templates: Sequence[str]) -> _Run:
    config = checkpoint.config
    parts = cut_parts(material.examples, material.hashes, seed=tune.seed)
    weights = dict(checkpoint.tensors)
    classes: tuple[str, ...] = ()
    labels = captions = rows = None
    if tune.objective == "classification":
        classes, labels = labels_of(material.examples)
        prompts = [template.replace("{}", one) for one in classes for template in templates]
        tokens = tokenize(prompts, context_length=config.text.context_length)
        vectors = text_vectors(Tuned(config, weights), tokens, "f32")
        weights[HEAD] = class_head(vectors, len(templates), float(np.exp(weights["logit_scale"])))
    else:
        captions = read_captions(material.examples, config)
        # Only the rows of tokens that occur are trained; the end-of-text token stays the largest.
        rows, places = np.unique(captions.tokens, return_inverse=True)
        captions = replace(captions, tokens=places.reshape(captions.tokens.shape))
        weights[TOKEN_TABLE] = weights[TOKEN_TABLE][rows]
        config = replace(config, text=replace(config.text, vocab_size=len(rows)))
    job = Job(config=config, tune=tune, pixels=material.pixels, parts=parts, labels=labels, captions=captions)
    return _Run(checkpoint=checkpoint, material=material, job=job, before=weights, classes=classes, rows=rows)


def _finish(out: Path, run: _Run, name: str, progress: Progress, after: Tensors) -> dict[str, Any]:
    """Interpolate, choose on validation, look at the test part once, and write the checkpoint."""
    kept = read_kept(run.checkpoint.config)

    def score(tensors: Tensors) -> tuple[float, float, float]:
        right, loss = measure(Tuned(run.job.config, tensors), run.job, run.job.parts.val)
        return float(right.mean()), loss, kept.measure(Tuned(run.checkpoint.config, run.whole(tensors)))

    scores = walk(run.before, after, alphas_of(run.job.tune.num_alphas), score)
    chosen = choose(scores)
    exported = between(run.before, after, chosen.alpha)
    tensors = run.whole(exported)
    print_ = fingerprint(run.checkpoint.config, tensors)
    tests = _tests(run, after, exported, chosen.alpha)
    words = [
        *_words(progress, scores, chosen),
        worse_words(tests, scores[0], chosen, len(run.job.parts.val)),
        contradiction_words(run.material.examples, run.material.hashes) if run.classes else "",
    ]
    result = {
        "format": "clipworks finetune 1",
        "objective": run.job.tune.objective,
        "model": name,
        "source_fingerprint": run.checkpoint.fingerprint,
        "fingerprint": print_,
        "data": _describe(run),
        "learning_rate": run.job.tune.rate(run.job.config.vision.width),
        "epochs": [asdict(row) for row in progress.epochs],
        "kept_epoch": progress.kept.epoch,
        "interpolation": [asdict(one) for one in scores],
        "alpha": chosen.alpha,
        "kept_pictures": len(kept.pixels),
        "test": tests,
        "words": [sentence for sentence in words if sentence],
    }
    if HEAD in exported:
        head = LinearHead(
            classes=run.classes,
            weight=exported[HEAD],
            bias=np.zeros(len(run.classes), dtype=np.float32),
            tap="after",
            model=str(out),
            fingerprint=print_,
        )
        write_head(out / HEAD_FILE, head)
    for file_name, drawing in ((INTERPOLATION, _draw_scores(scores)), (LEARNING, _draw_epochs(progress))):
        with atomic_write(out / file_name) as file:
            file.write(drawing.encode())
    write_json(out / RESULT, result)
    write_checkpoint(out, run.checkpoint.config, tensors)
    (out / STATE).unlink(missing_ok=True)
    return result


def _tests(run: _Run, after: Tensors, exported: Tensors, alpha: float) -> dict[str, Any]:
    """What the models reach on the test part: before, tuned, exported, and exported with class names."""
    known: dict[float, dict[str, Any]] = {}
    for place, weights in ((0.0, run.before), (1.0, after), (alpha, exported)):
        if place not in known:
            known[place] = _test(weights, run)
    tests = {"before": known[0.0], "tuned": known[1.0], "exported": known[alpha]}
    if HEAD in exported and run.job.tune.is_head_trained and alpha:
        # What a server says that is given the class names and has no head.
        tests["exported_by_names"] = _test({**exported, HEAD: run.before[HEAD]}, run)
    return tests


def _test(weights: Tensors, run: _Run) -> dict[str, Any]:
    job, places = run.job, run.job.parts.test
    tuned = Tuned(job.config, weights)
    if job.labels is not None:
        vectors = image_vectors(tuned, job.config, job.pixels[places], job.tune.precision).numpy()
        return tally(vectors @ weights[HEAD].T, job.labels[places], run.classes)
    right, loss = measure(tuned, job, places)
    texts, pictures = right[: len(places)], right[len(places) :]
    return {
        "text_found_first": share_of(int(texts.sum()), len(texts)),
        "picture_found_first": share_of(int(pictures.sum()), len(pictures)),
        "loss": round(loss, 4),
    }


def _describe(run: _Run) -> dict[str, Any]:
    parts = run.job.parts
    return {
        "sha256": digest_of(run.material.examples, run.material.hashes),
        "classes": list(run.classes),
        "train": len(parts.train),
        "val": len(parts.val),
        "test": len(parts.test),
        "is_val_cut": parts.is_val_cut,
        "is_test_cut": parts.is_test_cut,
        "copies_left_out": parts.num_copies,
        "skipped": [asdict(one) for one in run.material.skipped],
    }


def _words(progress: Progress, scores: Sequence[Score], chosen: Score) -> list[str]:
    """What a reader of the numbers should be told."""
    words = [overfitting_words(progress.epochs, progress.kept)]
    if chosen.alpha == 0:
        words.append(
            "No model on the way is better on validation than the one before, which is what was exported: "
            "give more pictures, or a lower learning_rate."
        )
    first = scores[0]
    if chosen.kept < first.kept - 0.1:
        words.append(
            f"It forgets: of the package's gallery {first.kept:.1%} of captions were found first before, "
            f"{chosen.kept:.1%} are now; use --lora, a lower learning_rate or fewer epochs."
        )
    return words


def worse_words(tests: Mapping[str, Any], first: Score, chosen: Score, num_val: int) -> str:
    """That the exported model is worse on the test part than the one before, in a sentence; else empty."""
    before, after = (_right(tests[name]) for name in ("before", "exported"))
    if after >= before:
        return ""
    num_test = next(found["n"] for found in tests["before"].values() if isinstance(found, dict))
    return (
        f"It is worse on the test part than the model before: {after:.1%} of {num_test:,} are right, before "
        f"{before:.1%}; on the {num_val:,} of validation, which chose it, {chosen.score:.1%}, before "
        f"{first.score:.1%}. One of both is luck: give more pictures, or keep the model before."
    )


def _right(test: dict[str, Any]) -> float:
    """The share that is right of what `_test` gives, pictures and texts together."""
    names = ("top1",) if "top1" in test else ("text_found_first", "picture_found_first")
    return sum(float(test[name]["value"]) for name in names) / len(names)


def _draw_scores(scores: Sequence[Score]) -> str:
    xs = [one.alpha for one in scores]
    return draw_lines(
        [
            Line(label="validation", xs=xs, ys=[100 * one.score for one in scores]),
            Line(label="package's gallery", xs=xs, ys=[100 * one.kept for one in scores]),
        ],
        title="Between the model before (0) and the tuned one (1)",
        x_label="alpha",
        y_label="right, %",
        x_scale="points",
    )


def _draw_epochs(progress: Progress) -> str:
    rows = progress.epochs
    return draw_lines(
        [
            Line(
                label="training", xs=[r.epoch for r in rows[1:]], ys=[100 * r.train_score for r in rows[1:]]
            ),
            Line(label="validation", xs=[r.epoch for r in rows], ys=[100 * r.val_score for r in rows]),
        ],
        title="Epochs of the fine-tuning",
        x_label="epoch (0 is the model before)",
        y_label="right, %",
        x_scale="points",
    )
