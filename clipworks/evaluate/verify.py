"""Measured beside published: averages as they are published, and a verdict for every task of a model.

The pictures are the same as those of the published run, so what a bootstrap says of another draw of pictures
is not the noise here. What moves a number is arithmetic: the anchors' text side in half precision, ties,
another decoder. The tolerance is 0.3 points on 5,000 pictures and more, and grows as their root below.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipworks.errors import DataError
from clipworks.evaluate.tasks import MAIN_SUITE, find_task, suites
from clipworks.model.scores import MAIN_SUITE as PUBLISHED_SUITE
from clipworks.model.scores import scores_of

TOLERANCE = 0.003
_FULL = 5000

GROUPS = {
    "ImageNet": ("imagenet1k",),
    "ImageNet shifts": "imagenet_shifts",
    "VTAB": "vtab13",
    "Retrieval": "retrieval",
}
"""Means that DataComp prints: a suite, or keys."""

_TWINS = "Two pairs of classes share a name; which of them is said moves up to 0.2 points."
REASONS = {
    "imagenet1k": _TWINS,
    "imagenetv2": _TWINS,
    "imagenet_sketch": _TWINS,
    "wilds/fmow": "The published number counts region Other, which has 4 pictures: one of them is 25 points.",
    "imagenet-o": "Its labels are said to be partly wrong (datacomp issue 88); they are counted as they are.",
    "misc/winogavil": "Published with numpy's argsort, which leaves the order of ties open.",
    "retrieval/flickr_1k_test_image_text_retrieval": "DataComp changed its Flickr split once (issue 18).",
    "vtab/svhn": "CLIP_benchmark's table of 2022 says 0.30 where open_clip's says 0.52: open_clip's is used.",
    "wilds/iwildcam": "F1 is over the classes that occur; other code averages over all 182.",
}
"""Key of a task -> why its number may deviate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One task beside its published number."""

    task: str
    """Key."""
    name: str
    measured: float
    published: float
    source: str
    """Table and commit of the published number."""
    words: str
    """`equal`, `equal within noise`, `differs` or `not comparable`."""
    reasons: tuple[str, ...]
    """Why it might deviate; empty where it does not."""


def published_values(model: str) -> dict[str, tuple[float, str]]:
    """Name of a task -> its published main metric and where it stands; empty for an unknown model."""
    return {
        score.task: (score.value, score.source)
        for score in scores_of(model)
        if score.suite == PUBLISHED_SUITE and not score.is_average
    }


def require_published(model: str, names: Iterable[str]) -> None:
    """Refuse to verify where there would be nothing to compare with.

    Args:
        model: its id.
        names: of tasks, as in published tables.

    Raises:
        DataError: the model has no published number of any of them.
    """
    known = published_values(model)
    if not any(name in known for name in names):
        raise DataError(
            f"There is no published number of {model} for these tasks.",
            "Name one of the five published models and tasks of datacomp38.",
        )


def verdicts(results: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """A verdict for every result whose model and task have a published number."""
    found = []
    for result in results:
        known = published_values(result["model"])
        if result["name"] not in known or result["value"] is None:
            continue
        published, source = known[result["name"]]
        words = _words(result, published)
        found.append(
            Verdict(
                task=result["task"],
                name=result["name"],
                measured=result["value"],
                published=published,
                source=source,
                words=words,
                reasons=() if words.startswith("equal") else tuple(_reasons(result)),
            )
        )
    return found


def averages(values: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """The means that DataComp prints, of tasks that are there.

    Args:
        values: key of a task -> its main metric.

    Returns:
        Name -> `value` (None where a task is missing), `tasks` in all and how many are `there`.
    """
    main = [task.key for task in suites()[MAIN_SUITE]]
    members = {
        "Average of 38": main,
        "Average without FMoW": [key for key in main if key != "wilds/fmow"],
        **{
            name: [task.key for task in suites()[group]] if isinstance(group, str) else list(group)
            for name, group in GROUPS.items()
        },
    }
    found: dict[str, dict[str, Any]] = {}
    for name, keys in members.items():
        there = [values[key] for key in keys if key in values]
        value = math.fsum(there) / len(there) if len(there) == len(keys) else None
        found[name] = {"value": value, "tasks": len(keys), "there": len(there)}
    found["Average above chance"] = _above_chance(values, main)
    return found


def _above_chance(values: Mapping[str, float], keys: Sequence[str]) -> dict[str, Any]:
    """The mean of (value - chance) / (1 - chance) over tasks whose chance is stated."""
    told = []
    for key in keys:
        task = find_task(key)
        if key in values and task is not None and task.chance is not None:
            told.append((values[key] - task.chance) / (1 - task.chance))
    wanted = [key for key in keys if (task := find_task(key)) is not None and task.chance is not None]
    value = math.fsum(told) / len(told) if told and len(told) == len(wanted) else None
    return {"value": value, "tasks": len(wanted), "there": len(told)}


def tolerance_of(result: Mapping[str, Any]) -> float:
    """How far arithmetic alone may move a number of so many units; by one of them always."""
    units = _units(result)
    least = TOLERANCE * math.sqrt(max(1.0, _FULL / units))
    return max(least, 1 / units)


def _units(result: Mapping[str, Any]) -> int:
    """What a metric is a share of: everything, or the smallest group where the worst one counts."""
    groups, metric = result.get("groups", {}), result["metric"]
    if not groups or not ("worst" in metric or metric.endswith("_wg")):
        return int(result["n"])
    name = next((name for name in groups if metric.endswith(name)), next(iter(groups)))
    return min(int(row["n"]) for row in groups[name])


def _words(result: Mapping[str, Any], published: float) -> str:
    task = find_task(result["task"])
    if task is not None and task.size and result["n"] != task.size:
        return "not comparable"
    distance = abs(result["value"] - published)
    if distance <= 0.00005 + 1e-9:
        return "equal"
    return "equal within noise" if distance <= tolerance_of(result) else "differs"


def _reasons(result: Mapping[str, Any]) -> list[str]:
    task = find_task(result["task"])
    found = []
    if task is not None and task.size and result["n"] != task.size:
        found.append(f"It has {result['n']:,} units here and {task.size:,} in the published split.")
    if result["precision"] != "f32":
        found.append(f"The towers ran in {result['precision']}; published image towers ran in f32.")
    if result["preprocess"] != "reference":
        found.append(f"Pixels are {result['preprocess']}, not those of the reference.")
    if (result.get("prompts") or {}).get("source") == "folder":
        found.append("The prompts are those of the folder.")
    if result["task"] in REASONS:
        found.append(REASONS[result["task"]])
    if result.get("tied_top1"):
        found.append(f"{result['tied_top1']:,} pictures have a tie for the first place.")
    return found or ["No reason is known: another revision of the data, or another checkpoint."]
