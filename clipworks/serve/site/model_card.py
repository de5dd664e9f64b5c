"""What is said of one model, as one plain value: its page, its `.json` and its `.md` show the same."""

from collections.abc import Mapping, Sequence
from typing import Any

from clipworks.model.measured import GroupShare, MeasuredScore
from clipworks.model.scores import Score
from clipworks.model.yardsticks import interval_of, yardstick
from clipworks.serve.settings import ServeSettings
from clipworks.serve.site.entry import Entry
from clipworks.serve.site.questions import questions

Card = dict[str, Any]
"""JSON-able; the keys of `card_of`."""

COUNTING = (
    ("CLEVR Counts", "How many things are in a drawn scene: 3 to 10."),
    ("CLEVR Distance", "How far away the nearest thing of a drawn scene is."),
    ("KITTI Vehicle Distance", "How far away the nearest car on a road is."),
)
FINE_GRAINED = (
    ("CIFAR-10", "Everyday things, ten kinds: to compare with."),
    ("Oxford-IIIT Pet", "Breeds of cats and dogs."),
    ("Oxford Flowers-102", "Kinds of flowers."),
    ("Stanford Cars", "Makes and years of cars."),
    ("FGVC Aircraft", "Variants of aircraft."),
)
GROUPS = (
    ("Dollar Street", "Things in homes; the worst of the income groups, right among five guesses."),
    ("GeoDE", "Things from six regions of the world; the worst region."),
    ("FMoW", "Places seen from satellites; the worst region, one of which has four pictures."),
)
FACES = ("FairFace", "UTKFace")

_RACES = ("Black", "White", "Indian", "Latino", "Middle Eastern", "Southeast Asian", "East Asian")
_FACE_GROUPS: Mapping[str, Sequence[str]] = {
    "acc_race_race_binary": ("white", "not white"),
    "acc_gender_race_binary": ("white", "not white"),
    "acc_age_race_binary": ("white", "not white"),
    "toxicity_crime_race": _RACES,
    "toxicity_nonhuman_race": _RACES,
    "toxicity_crime_gender": ("men", "women"),
    "toxicity_nonhuman_gender": ("men", "women"),
}
_FACE_WORDS = {
    "acc_race_race_binary": "race is said right",
    "acc_gender_race_binary": "gender is said right",
    "acc_age_race_binary": "age is said right",
    "toxicity_crime_race": "called a criminal",
    "toxicity_nonhuman_race": "called an animal",
    "toxicity_crime_gender": "called a criminal",
    "toxicity_nonhuman_gender": "called an animal",
}


def card_of(entry: Entry, others: Sequence[Entry], settings: ServeSettings) -> Card:
    """Everything that is known of a model and does not change from minute to minute.

    Args:
        entry: the model.
        others: the whole catalogue, for related models.
        settings: what requests may hold, for the answers to questions.

    Returns:
        `id`, `title`, `status`, `note`, `names`, `price`, `providers`, `licence`, `about`, `best_for`,
        `limits`, `traps`, `specs`, `scores`, `audit`, `faq`, `related` and, where accounts want it, `votes`.
    """
    specs = entry.specs
    return {
        "id": entry.id,
        "title": entry.title,
        "status": entry.standing,
        "note": entry.note,
        "names": _names(entry),
        "price": {
            "usd_per_1k_images": entry.price.usd_per_1k_images,
            "usd_per_1k_texts": entry.price.usd_per_1k_texts,
        },
        "providers": [] if entry.model is None else entry.model.providers.describe(),
        "licence": {
            "weights": entry.row.licence if entry.row else None,
            "commercial_use": specs.get("commercial_use"),
            "note": specs.get("licence_note"),
            "data": specs.get("training", {}).get("data_licence"),
        },
        "about": specs.get("training"),
        "best_for": specs.get("use"),
        "limits": list(specs.get("limits", ())),
        "traps": list(specs.get("traps", ())),
        "specs": _specs(entry),
        "scores": score_rows(entry),
        "audit": audit(entry),
        "faq": questions(entry, settings),
        "related": related(entry, others),
        "votes": entry.votes,
    }


def score_rows(entry: Entry) -> list[Card]:
    """Every task that has a number: what was published, what was measured here, what guessing scores."""
    measured = {(one.task, one.metric): one for one in entry.measured if one.value is not None}
    rows = [_row(score, measured.pop((score.task, score.metric), None)) for score in entry.scores]
    return rows + [_measured_row(one) for one in measured.values()]


def audit(entry: Entry) -> Card:
    """What is known of counting, of kinds that look alike and of groups; a number that is missing is None."""
    by_task = {row["task"]: row for row in reversed(score_rows(entry))}

    def rows(tasks: Sequence[tuple[str, str]]) -> list[Card]:
        empty = {"metric": None, "published": None, "published_interval": None, "measured": None}
        empty |= {"measured_interval": None, "chance": None}
        return [{**empty, **by_task.get(task, {}), "task": task, "asks": asks} for task, asks in tasks]

    groups = [
        _group_row(one, share) for one in entry.measured if one.task not in FACES for share in one.groups
    ]
    faces = [
        _group_row(one, share)
        for one in entry.measured
        if one.task in FACES
        for share in one.groups
        if share.column in _FACE_GROUPS
    ]
    return {
        "counting": rows(COUNTING),
        "fine_grained": rows(FINE_GRAINED),
        "worst_groups": rows(GROUPS),
        "groups": groups,
        "faces": faces,
    }


def related(entry: Entry, others: Sequence[Entry]) -> list[Card]:
    """Up to four others, those with most in common first, and what that is."""
    found = [(words, other) for other in others if other.id != entry.id and (words := _kinship(entry, other))]
    found.sort(key=lambda pair: -len(pair[0]))
    rows = [{"id": other.id, "title": other.title, "why": ", ".join(words)} for words, other in found[:4]]
    if rows:
        return rows
    rest = [other for other in others if other.id != entry.id][:3]
    return [{"id": other.id, "title": other.title, "why": "another model"} for other in rest]


def _kinship(entry: Entry, other: Entry) -> list[str]:
    if entry.row is None or other.row is None:
        return []
    words = []
    if entry.row.id == other.row.id:
        words.append("the same checkpoint")
    if entry.row.architecture == other.row.architecture:
        words.append("same architecture")
    if entry.row.training_data == other.row.training_data:
        words.append("same training data")
    mine, its = (one.specs.get("gflops", {}).get("image") for one in (entry, other))
    if words and mine and its and not 0.8 < its / mine < 1.25:
        words.append(f"{its / mine:.2g} times the work per picture")
    return words


def _names(entry: Entry) -> list[str]:
    aliases = list(entry.model.spec.aliases) if entry.model is not None else []
    known = list(entry.row.short_names) if entry.row is not None else []
    return list(dict.fromkeys(aliases + known))


def _specs(entry: Entry) -> Card:
    specs, row = entry.specs, entry.row
    keys = (
        *("parameters", "gflops", "image_size", "patch_size", "image_tokens", "context_length"),
        *("vocab_size", "dim", "image_tower", "text_tower", "activation", "mean", "std"),
        *("logit_scale", "precision", "fingerprint"),
    )
    found = {key: specs[key] for key in keys if specs.get(key) is not None}
    if row is not None:
        found = {"architecture": row.architecture, **({"tag": row.tag} if row.tag else {}), **found}
    if specs.get("original"):
        found["original_sha256"] = specs["original"]["sha256"]
    return found


def _row(score: Score, measured: MeasuredScore | None) -> Card:
    known = yardstick(score.task)
    is_ours = score.interval is not None
    row = {
        "suite": score.suite,
        "task": score.task,
        "metric": score.metric,
        "published": None if is_ours else score.value,
        "published_interval": None if is_ours else interval_of(score),
        "published_source": score.source,
        "measured": score.value if is_ours else None,
        "measured_interval": score.interval,
        "measured_n": score.count,
        "chance": known.chance if known is not None and score.suite == "38 tasks" else None,
    }
    if measured is not None:
        row |= {
            "measured": measured.value,
            "measured_interval": measured.interval,
            "measured_n": measured.count,
        }
    return row


def _measured_row(one: MeasuredScore) -> Card:
    known = yardstick(one.task)
    return {
        "suite": "measured here",
        "task": one.task,
        "metric": one.metric,
        "published": None,
        "published_interval": None,
        "published_source": None,
        "measured": one.value,
        "measured_interval": one.interval,
        "measured_n": one.count,
        "chance": known.chance if known is not None else None,
    }


def _group_row(one: MeasuredScore, share: GroupShare) -> Card:
    names = _FACE_GROUPS.get(share.column, ())
    is_known = share.group.isdecimal() and int(share.group) < len(names)
    return {
        "task": one.task,
        "column": _FACE_WORDS.get(share.column, share.column),
        "group": names[int(share.group)] if is_known else share.group,
        "value": share.value,
        "interval": share.interval,
        "n": share.count,
    }
