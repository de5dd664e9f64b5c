"""What stands in the playground: words, model and mode, as a link says them or a form without scripts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from clipworks.serve.inputs import Payload
from clipworks.serve.problems import RequestError, shown

Mode = Literal["classify", "matrix", "heat"]
Show = Literal["score", "cosine"]
Against = Literal["both", "pictures", "texts"]

ALL_MODELS = "*"
"""In place of a model's id: every model that is live."""

FIELDS = ("file", "picture", "url", "label", "template", "model", "mode", "show", "against", "form_token")
"""Fields of the form; uploaded files become the first. All but it and the token may stand in a link."""

EXAMPLE_LABELS = "apple\nboat\ncat\nfish\nguitar\nmountain"

MAX_PICTURES = 8
"""Pictures in the playground at the same time."""
MAX_CHARACTERS = 100_000
"""Characters of labels, or of templates; what a request may hold is checked when it is asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One setting of the playground, without pictures that were uploaded."""

    mode: Mode = "classify"
    """Labels with scores, a matrix of similarities, or heat maps."""
    label: str = EXAMPLE_LABELS
    """The labels as they were written: one per line, or separated by commas where there is one line."""
    template: str = ""
    """The templates, one per line."""
    model: str = ""
    """Id of a model; ALL_MODELS; the first model where it is empty."""
    show: Show = "score"
    """Whether bars show the softmax over the labels or the cosines themselves."""
    against: Against = "both"
    """What the matrix compares: pictures with texts, or one kind with itself."""
    pictures: tuple[str, ...] = ()
    """Ids of gallery pictures."""
    addresses: tuple[str, ...] = ()
    """Pictures on the web."""

    @property
    def labels(self) -> list[str]:
        """The labels, one by one."""
        lines = re.split(r"\r\n|\r|\n", self.label)
        parts = lines if len(lines) > 1 else self.label.split(",")
        return [label for part in parts if (label := part.strip().removesuffix(",").strip())]

    @property
    def templates(self) -> list[str] | None:
        """The templates, one by one; None where there is none."""
        return [line.strip() for line in re.split(r"[\r\n]+", self.template) if line.strip()] or None


def read_trial(values: Payload) -> Trial:
    """What a link or a form says.

    Args:
        values: a text by its name, or several.

    Raises:
        RequestError: a choice is none that there is, a text is too long, or there are too many pictures.
    """
    pictures, addresses = _texts(values, "picture"), _texts(values, "url")
    if len(pictures) + len(addresses) > MAX_PICTURES:
        raise RequestError(f"At most {MAX_PICTURES} pictures fit into the playground.", param="picture")
    return Trial(
        mode=cast(Mode, _choice(values, "mode", get_args(Mode))),
        label=_text(values, "label", EXAMPLE_LABELS),
        template=_text(values, "template", ""),
        model=_text(values, "model", "")[:500],
        show=cast(Show, _choice(values, "show", get_args(Show))),
        against=cast(Against, _choice(values, "against", get_args(Against))),
        pictures=pictures,
        addresses=addresses,
    )


def _choice(values: Payload, name: str, choices: Sequence[str]) -> str:
    value = _text(values, name, choices[0])
    if value not in choices:
        raise RequestError(f"{name} is {shown(value)}; it must be {', '.join(choices)}.", param=name)
    return value


def _text(values: Payload, name: str, default: str) -> str:
    value: Any = values.get(name, default)
    value = value[-1] if isinstance(value, list) and value else value
    if not isinstance(value, str) or len(value) > MAX_CHARACTERS:
        raise RequestError(f"{name} must be a text of at most {MAX_CHARACTERS:,} characters.", param=name)
    return value


def _texts(values: Payload, name: str) -> tuple[str, ...]:
    value = values.get(name, [])
    texts = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(text for text in texts if isinstance(text, str) and text.strip()))
