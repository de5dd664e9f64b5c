"""The published filters by name: every baseline of DataComp with its exact thresholds, and LAION's.

Each is a filter as text, so that it can be read, changed and combined. Which language model, lists and
centroids a baseline needs stands in its settings; give the paths with `--set`.
"""

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches

from clipworks.curate.settings import FilterConfig
from clipworks.errors import ConfigError

_BASIC = "english and words > 2 and chars > 5 and min_side >= 200 and aspect <= 3.0"
_CAPTION = "tokens > 1 and chars > 5 and english"
_LAION = "chars >= 5 and bytes >= 5000 and pixels <= 89478484"
"""89,478,484 pixels are Pillow's bound against decompression bombs."""

BASELINES: Mapping[str, str] = {
    "no_filter": "everything",
    "basic_filter": _BASIC,
    "clip_score": "top(l14, 0.3)",
    "clip_score_b32": "top(b32, 0.3)",
    "laion2b": "english and b32 >= 0.28",
    "text_based": "english and entity",
    "image_based": f"{_CAPTION} and near_target",
    "image_based_intersect_clip_score": f"top(l14, 0.3) and {_CAPTION} and near_target",
    "random": "random < 0.1",
    "image_size": "min_side >= 200",
    "caption_length": "words > 2 and chars > 5",
    "english": "english",
    "laion400m": f"{_LAION} and b32 >= 0.3",
    "laion5b": f"{_LAION} and (english and b32 >= 0.28 or not english and b32 >= 0.26)",
    "laion_safe": "punsafe <= 0.5 and pwatermark <= 0.8",
    "metaclip_texts": "chars >= 1 and english and not blocked and not toxic",
}
"""Name -> filter. `datacomp/baselines.py` names the first eight so, but for clip_score's two arguments."""

GCLD3_BASELINES = ("laion2b", "laion5b")
"""What was published with gcld3 as the model of languages."""


def baseline(name: str, *, config: FilterConfig | None = None) -> FilterConfig:
    """The settings of a published filter.

    Args:
        name: one of BASELINES.
        config: further settings, such as the paths of lists; its `keep` is replaced.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in BASELINES:
        near = get_close_matches(name, BASELINES, n=3, cutoff=0.0)
        raise ConfigError(f"There is no baseline {name!r}.", f"Nearest: {', '.join(near)}.")
    return replace(config or FilterConfig(), keep=BASELINES[name])


def clip_score(*, score: str, fraction: float | None = None, threshold: float | None = None) -> str:
    """The filter of DataComp's clip_score with its arguments, as text.

    Args:
        score: `b32` or `l14`.
        fraction: share of the pool, in [0, 1).
        threshold: instead of a fraction.

    Raises:
        ConfigError: none or both are given.
    """
    if (fraction is None) == (threshold is None):
        raise ConfigError("clip_score takes a fraction or a threshold, one of the two.")
    return f"top({score}, {fraction!r})" if threshold is None else f"{score} >= {threshold!r}"
