"""Label sets and template sets that have a name: OpenAI's class names and prompts for ImageNet-1k.

Each is a text file of `prompt_sets/`, read when it is first asked for. `Engine.label_head` and
`Engine.classify` take what these functions give.
"""

from difflib import get_close_matches
from functools import cache
from importlib import resources

from clipworks.errors import ConfigError

LABEL_SETS = {"imagenet": "imagenet_names.txt"}
"""Name -> file with one label a line."""

TEMPLATE_SETS = {"imagenet": "imagenet_templates.txt", "simple": "simple_templates.txt"}
"""Name -> file with one template a line, `{}` where the label goes."""


def label_set(name: str) -> tuple[str, ...]:
    """Labels by the name of their set.

    Args:
        name: `imagenet`, the 1,000 class names of ImageNet-1k as cleaned by OpenAI, in the order of
            the data set's label numbers. Two pairs are equal, and so are their scores: 657 and 744
            ("missile"), 836 and 837 ("sunglasses").

    Raises:
        ConfigError: an unknown name.
    """
    return _read_lines(_find(name, LABEL_SETS, "label set"))


def template_set(name: str) -> tuple[str, ...]:
    """Templates by the name of their set, each a sentence with one `{}` for the label.

    Args:
        name: `imagenet`, the 80 of Radford et al. 2021 (arXiv:2103.00020) that published zero-shot
            scores use, or `simple`, the seven of them that do nearly as well.

    Raises:
        ConfigError: an unknown name.
    """
    return _read_lines(_find(name, TEMPLATE_SETS, "template set"))


def _find(name: str, files: dict[str, str], what: str) -> str:
    if name not in files:
        near = get_close_matches(name, files, n=3, cutoff=0.0)
        raise ConfigError(f"There is no {what} {name!r}.", f"Nearest: {', '.join(near)}.")
    return files[name]


@cache
def _read_lines(file: str) -> tuple[str, ...]:
    text = resources.files("clipworks.model").joinpath("prompt_sets", file).read_text(encoding="utf-8")
    return tuple(text.splitlines())
