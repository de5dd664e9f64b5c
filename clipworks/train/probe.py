"""Linear probes: how well a model's features tell one's own classes apart, from one picture of each to all.

What decides anything (C, the tap) is decided on validation; the test part is looked at once, at the end.
PyTorch is not needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import ConfigError
from clipworks.files import atomic_write, read_json, write_json, write_manifest
from clipworks.model.engine import Engine
from clipworks.model.heads import check_prompts
from clipworks.model.linear import TAPS, LinearHead, Tap, write_head
from clipworks.model.logistic import Fit, fit_logistic
from clipworks.model.sweep import Part, Sweep, search_c
from clipworks.model.tallies import accuracy_of, mean_of, share_of, tally
from clipworks.plots import Line, draw_lines
from clipworks.train.examples import TEMPLATES, Example, digest_of
from clipworks.train.folders import RESULT, begun, refuse_other
from clipworks.train.splits import Parts, Places, contradiction_words, cut_parts, draw_shots, labels_of
from clipworks.train.vectors import Readings, read_features

HEAD = "head.safetensors"
CURVE = "curve.svg"
SETTINGS = "probe.json"

OVERFITTING_GAP = 0.1
"""Training accuracy above validation accuracy by more than this is said in words."""

ShowProgress = Callable[[int, int, str], None]
"""Done, in all, what."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeConfig:
    """Everything that decides a probe beside the model and the pictures."""

    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Pictures per class of the few-shot curve, rising, each at least 1; empty for no curve."""
    templates: tuple[str, ...] = TEMPLATES
    """Sentences with `{}` for the class, for the zero-shot line."""
    draws: int = 5
    """Draws of the few pictures, each a fit of its own, 1 to 10."""
    seed: int = 0
    """Of the parts that are cut off and of the draws, 0 or more."""
    max_iterations: int = 1000
    """Steps of L-BFGS at most, 1 or more."""

    def __post_init__(self) -> None:
        if list(self.shots) != sorted(set(self.shots)) or any(shots < 1 for shots in self.shots):
            raise ConfigError(f"shots is {list(self.shots)}; they must rise and be at least 1.")
        for name, low, high in (("draws", 1, 10), ("seed", 0, None), ("max_iterations", 1, None)):
            value = getattr(self, name)
            if value < low or (high is not None and value > high):
                bound = f"at least {low}" if high is None else f"from {low} to {high}"
                raise ConfigError(f"{name} is {value}; it must be {bound}.")


def probe(
    engine: Engine,
    projection: NDArray[np.float32],
    examples: Sequence[Example],
    out: Path,
    config: ProbeConfig,
    *,
    on_progress: ShowProgress | None = None,
) -> dict[str, Any]:
    """Fit linear heads on a model's features and write what they reach.

    Args:
        engine: the model.
        projection: float32 [dim, image width], the model's `vision.projection.weight`.
        examples: pictures with labels; see `examples.read_examples`.
        out: gets `result.json`, `curve.svg`, `head.safetensors`, `probe.json` and the manifest; left
            alone where it is complete.
        config: what to do.
        on_progress: called as features and fits are done.

    Returns:
        The content of `result.json`.

    Raises:
        DataError: the pictures cannot be used, or `out` holds something else.
        InputError: a template has no `{}`.
    """
    check_prompts(labels_of(examples)[0], config.templates)  # said before minutes go into features
    settings = {**asdict(config), "fingerprint": engine.fingerprint, "preprocess": engine.preprocess}
    refuse_other(out, SETTINGS, settings)
    show = on_progress or (lambda done, total, what: None)
    readings = read_features(
        engine, projection, examples, on_progress=lambda done, total: show(done, total, "pictures")
    )
    classes, labels = labels_of(readings.examples)
    parts = cut_parts(readings.examples, readings.hashes, seed=config.seed)
    data_sha256 = digest_of(readings.examples, readings.hashes)
    settings["data_sha256"] = data_sha256
    with begun(out, SETTINGS, settings) as is_complete:
        if is_complete:
            result: dict[str, Any] = read_json(out / RESULT)
            return result
        result = _measure(engine, readings, labels, parts, config, show)
        result["words"] += _words_on_data(readings, labels, parts, config)
        result["data"] = _describe_data(readings, parts, classes, data_sha256)
        tap: Tap = result["head"]["tap"]
        head = LinearHead(
            classes=classes,
            weight=result["head"].pop("weight").astype(np.float32),
            bias=result["head"].pop("bias").astype(np.float32),
            tap=tap,
            model=engine.name,
            fingerprint=engine.fingerprint,
        )
        _write(out, result, head)
        return result


def _measure(
    engine: Engine,
    readings: Readings,
    labels: NDArray[np.int64],
    parts: Parts,
    config: ProbeConfig,
    show: ShowProgress,
) -> dict[str, Any]:
    """The numbers of a probe, and the weights of its head under `head`."""
    classes = labels_of(readings.examples)[0]
    zero_shot = readings.after @ engine.label_head(classes, config.templates).T
    taps, fits = _probe_taps(readings, labels, parts, len(classes), config, show)
    best: Tap = max(TAPS, key=lambda tap: (taps[tap]["full"]["val"]["value"], tap == "after"))
    logits = readings.at(best) @ fits[best].weight.T + fits[best].bias
    result: dict[str, Any] = {
        "format": "clipworks probe 1",
        "model": engine.name,
        "fingerprint": engine.fingerprint,
        "precision": engine.precision,
        "preprocess": engine.preprocess,
        "zero_shot": {
            "templates": list(config.templates),
            "val": share_of(_hits(zero_shot, labels, parts.val), len(parts.val)),
            "test": tally(zero_shot[parts.test], labels[parts.test], classes),
        },
        "taps": taps,
        "head": {
            "tap": best,
            "c": taps[best]["full"]["c"],
            "test": tally(logits[parts.test], labels[parts.test], classes),
            "weight": fits[best].weight,
            "bias": fits[best].bias,
        },
    }
    return {**result, "words": _words(result)}


def _probe_taps(
    readings: Readings,
    labels: NDArray[np.int64],
    parts: Parts,
    num_classes: int,
    config: ProbeConfig,
    show: ShowProgress,
) -> tuple[dict[Tap, dict[str, Any]], dict[Tap, Fit]]:
    """The curve and the whole fit of both taps."""
    shots = _possible_shots(labels[parts.train], config)
    total = len(TAPS) * (1 + len(shots) * config.draws)
    done = 0
    taps: dict[Tap, dict[str, Any]] = {}
    fits: dict[Tap, Fit] = {}
    for tap in TAPS:
        features = readings.at(tap)

        def part_of(places: Places, features: NDArray[np.float32] = features) -> Part:
            return Part(features=features[places], labels=labels[places])

        curve: list[dict[str, Any]] = []
        for count in shots:
            accuracies, cs = [], []
            for draw in range(config.draws):
                rng = np.random.default_rng([config.seed, count, draw])
                few = _few(labels, parts, count, rng)
                sweep = search_c(
                    part_of(few[0]), part_of(few[1]), num_classes, max_iterations=config.max_iterations
                )
                accuracies.append(_accuracy(sweep.fit, part_of(parts.test)))
                cs.append(sweep.best.c)
                done += 1
                show(done, total, f"fits, {count} pictures per class")
            curve.append({"shots": count, **mean_of(accuracies), "c": [float(f"{c:.4g}") for c in cs]})
        sweep = search_c(
            part_of(parts.train), part_of(parts.val), num_classes, max_iterations=config.max_iterations
        )
        both = np.sort(np.concatenate([parts.train, parts.val]))
        fits[tap] = fit_logistic(
            features[both],
            labels[both],
            num_classes,
            c=sweep.best.c,
            start=sweep.fit,
            max_iterations=config.max_iterations,
        )
        done += 1
        show(done, total, "fits, all pictures")
        taps[tap] = {
            "width": features.shape[1],
            "few": curve,
            "full": _describe_full(
                sweep, fits[tap], part_of(parts.train), part_of(parts.val), part_of(parts.test)
            ),
        }
    return taps, fits


def _possible_shots(train_labels: NDArray[np.int64], config: ProbeConfig) -> list[int]:
    """The shots of which every class has as many pictures to train on."""
    least = int(np.bincount(train_labels).min())
    return [shots for shots in config.shots if shots <= least]


def _few(
    labels: NDArray[np.int64], parts: Parts, count: int, rng: np.random.Generator
) -> tuple[Places, Places]:
    """`count` training pictures per class, and as many of validation at most: few are few for both."""
    train = draw_shots(labels[parts.train], count, rng)
    val = draw_shots(labels[parts.val], count, rng, is_strict=False)
    assert train is not None and val is not None
    return parts.train[train], parts.val[val]


def _describe_full(sweep: Sweep, fit: Fit, train: Part, val: Part, test: Part) -> dict[str, Any]:
    hits = round(_accuracy(fit, test) * len(test.labels))
    return {
        "c": float(f"{sweep.best.c:.6g}"),
        "train": {"value": round(_accuracy(sweep.fit, train), 4), "n": len(train.labels)},
        "val": share_of(round(sweep.best.accuracy * len(val.labels)), len(val.labels)),
        "test": share_of(hits, len(test.labels)),
        "iterations": fit.iterations,
        "is_converged": fit.is_converged,
        "sweep": [
            {"c": float(f"{t.c:.6g}"), "val": round(t.accuracy, 4), "val_loss": round(t.loss, 4)}
            for t in sweep.trials
        ],
    }


def _describe_data(
    readings: Readings, parts: Parts, classes: Sequence[str], data_sha256: str
) -> dict[str, Any]:
    return {
        "sha256": data_sha256,
        "classes": list(classes),
        "train": len(parts.train),
        "val": len(parts.val),
        "test": len(parts.test),
        "is_val_cut": parts.is_val_cut,
        "is_test_cut": parts.is_test_cut,
        "copies_left_out": parts.num_copies,
        "skipped": [asdict(one) for one in readings.skipped],
    }


def _words(result: Mapping[str, Any]) -> list[str]:
    """What a reader of the numbers should be told."""
    full = result["taps"][result["head"]["tap"]]["full"]
    train, val, zero = full["train"]["value"], full["val"]["value"], result["zero_shot"]["val"]["value"]
    words: list[str] = []
    if train - val > OVERFITTING_GAP:
        words.append(
            f"It overfits: {train:.1%} of its own training pictures are right and {val:.1%} of the "
            "validation pictures, at the C that is best there; more pictures would help, less "
            "regularisation would not."
        )
    if val <= zero:
        words.append(
            f"The probe is no better than the class names alone ({val:.1%} and {zero:.1%} of the "
            "validation pictures): classify with --labels instead."
        )
    if not full["is_converged"]:
        words.append(f"L-BFGS stopped after {full['iterations']} steps before it converged.")
    return words


def _words_on_data(
    readings: Readings, labels: NDArray[np.int64], parts: Parts, config: ProbeConfig
) -> list[str]:
    words = [contradiction_words(readings.examples, readings.hashes)]
    possible = _possible_shots(labels[parts.train], config)
    dropped = [str(shots) for shots in config.shots if shots not in possible]
    if dropped:
        least = int(np.bincount(labels[parts.train]).min())
        words.append(
            f"Left out of the curve: {', '.join(dropped)} pictures per class, as a class has {least} to "
            "train on."
        )
    return [sentence for sentence in words if sentence]


def _write(out: Path, result: dict[str, Any], head: LinearHead) -> None:
    write_head(out / HEAD, head)
    with atomic_write(out / CURVE) as file:
        file.write(_draw(result).encode())
    write_json(out / RESULT, result)
    write_manifest(out, {"kind": "probe", "fingerprint": result["fingerprint"]})


def _draw(result: Mapping[str, Any]) -> str:
    lines: list[Line] = []
    most = max(1, result["data"]["train"] // len(result["data"]["classes"]))
    for tap, found in result["taps"].items():
        points = [(row["shots"], row, row.get("interval_95")) for row in found["few"]]
        points.append((most, found["full"]["test"], found["full"]["test"]["interval_95"]))
        points.sort(key=lambda point: point[0])
        lines.append(
            Line(
                label=f"{tap} the projection",
                xs=[x for x, _, _ in points],
                ys=[100 * row["value"] for _, row, _ in points],
                lows=[100 * (ends or [row["value"]])[0] for _, row, ends in points],
                highs=[100 * (ends or [row["value"]])[-1] for _, row, ends in points],
            )
        )
    zero = 100 * result["zero_shot"]["test"]["top1"]["value"]
    lines.append(Line(label="zero-shot", xs=lines[0].xs, ys=[zero] * len(lines[0].xs), is_dashed=True))
    return draw_lines(
        lines,
        title=f"Linear probe of {result['model']}, {len(result['data']['classes'])} classes",
        x_label="training pictures per class (the last point: all, the mean)",
        y_label="right on the test part, %",
        x_scale="doublings",
    )


def _hits(logits: NDArray[np.float32], labels: NDArray[np.int64], places: Places) -> int:
    return int((logits[places].argmax(axis=1) == labels[places]).sum())


def _accuracy(fit: Fit, part: Part) -> float:
    return accuracy_of(part.features @ fit.weight.T + fit.bias, part.labels)
