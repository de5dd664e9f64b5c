"""What the published tasks measure with: how many test pictures, and what guessing scores.

Sizes and guesses are those of DataComp's list of tasks (`evaluate/tasks.csv` has the same, which a test
compares). Tables of published numbers give no intervals; a plain share of n pictures has one all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from clipworks.model.tallies import wilson

if TYPE_CHECKING:
    from clipworks.model.scores import Score

PLAIN_SHARE = "top-1"
"""The metric that is a share of pictures and nothing else: only for it their number gives an interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Yardstick:
    """One task of the 38."""

    num_pictures: int
    """Test pictures in the published split."""
    chance: float | None
    """What guessing scores, 0..1; None where nobody states it."""


def yardstick(task: str) -> Yardstick | None:
    """What a task measures with, by its name in the tables of scores; None for a task not among the 38."""
    return _yardsticks().get(task)


def interval_of(score: "Score") -> tuple[float, float] | None:
    """The 95 % interval of a score: its own, or Wilson's where it is a plain share of so many pictures."""
    if score.interval is not None:
        return score.interval
    known = yardstick(score.task) if score.is_of_38 else None
    if known is None or score.metric != PLAIN_SHARE:
        return None
    low, high = wilson(score.value * known.num_pictures, known.num_pictures)
    return max(0.0, low), min(1.0, high)


@cache
def _yardsticks() -> Mapping[str, Yardstick]:
    return {name: Yardstick(num_pictures=size, chance=chance) for name, size, chance in _rows()}


def _rows() -> tuple[tuple[str, int, float | None], ...]:
    return (
        ("Caltech-101", 6085, 0.009804),
        ("CIFAR-10", 10000, 0.1),
        ("CIFAR-100", 10000, 0.01),
        ("CLEVR Counts", 15000, 0.125061),
        ("CLEVR Distance", 15000, 0.19052),
        ("Country211", 21100, 0.004739),
        ("Describable Textures", 1880, 0.021277),
        ("EuroSAT", 5400, 0.101483),
        ("FGVC Aircraft", 3333, 0.01),
        ("Food-101", 25250, 0.009901),
        ("GTSRB", 12630, 0.037604),
        ("ImageNet 1k", 50000, 0.001),
        ("ImageNet Sketch", 50889, 0.001),
        ("ImageNet v2", 10000, 0.001),
        ("ImageNet-A", 7500, 0.008056),
        ("ImageNet-O", 2000, 0.006047),
        ("ImageNet-R", 30000, 0.006163),
        ("KITTI Vehicle Distance", 711, 0.295289),
        ("MNIST", 10000, 0.10035),
        ("ObjectNet", 18574, 0.009481),
        ("Oxford Flowers-102", 6149, 0.009804),
        ("Oxford-IIIT Pet", 3669, 0.027027),
        ("Pascal VOC 2007", 14976, 0.154038),
        ("PatchCamelyon", 32768, 0.5),
        ("Rendered SST2", 1821, 0.500001),
        ("RESISC45", 6300, 0.022342),
        ("Stanford Cars", 8041, 0.00516),
        ("STL-10", 8000, 0.1),
        ("SUN397", 108754, 0.004645),
        ("SVHN", 26032, 0.117897),
        ("Flickr", 1000, None),
        ("MSCOCO", 5000, None),
        ("WinoGAViL", 3563, 0.205),
        ("iWildCam", 42791, 0.143056),
        ("Camelyon17", 85054, 0.5),
        ("FMoW", 22108, 0.027193),
        ("Dollar Street", 3503, None),
        ("GeoDE", 12488, None),
    )
