"""Ask an index with words, with pictures, or with several of both that count for and against.

`answer.py` does the searching; here questions become vectors, by the checkpoint that made the index.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipworks.errors import ConfigError, DataError, InputError
from clipworks.model.engine import Engine
from clipworks.model.preprocess import ImageInput, prepare_part
from clipworks.search.answer import Ask, Part, answer
from clipworks.search.exact import unit
from clipworks.search.library import Library
from clipworks.search.store import Result, Vectors

Region = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of width and height, 0..1."""

_REGION = re.compile(r"(.*)\[([-\d.,\s]+,[-\d.,\s]+)\]", re.DOTALL)
_WEIGHT = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*[*x]\s*(.+)", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One part of a question; exactly one of text, image, like and words is given."""

    text: str | None = None
    """Words."""
    image: ImageInput | None = None
    """A picture that is not of the index."""
    like: str | None = None
    """Id of a picture of the index."""
    words: str | None = None
    """Words that a picture gains by `weight` for having them in its name, caption, tags or place."""
    weight: float = 1.0
    """Negative: what shall not be in the pictures."""
    region: Region | None = None
    """The part of a picture that counts; None is all of it."""

    def needs_model(self) -> bool:
        """Whether it must be embedded."""
        return self.words is None and (self.like is None or self.region is not None)


def search(
    store: Library,
    engine: Engine,
    *,
    text: str | None = None,
    image: ImageInput | None = None,
    limit: int = 10,
) -> Result:
    """The pictures of an index nearest to a text or to a picture.

    Args:
        store: the index.
        engine: the checkpoint that made the index.
        text: what to look for, in words; this or `image`.
        image: a picture to find similar ones to; this or `text`.
        limit: how many hits, 1..10,000.

    Raises:
        ConfigError: both or neither of text and image, or limit out of range.
        InputError: the text is blank or the picture cannot be read.
        DataError: the index was made by another checkpoint.
    """
    if (text is None) == (image is None):
        raise ConfigError("A search needs either a text or a picture.", "Give one of the two.")
    return search_terms(store, engine, [Term(text=text, image=image)], Ask(limit=limit))


def search_terms(store: Library, engine: Engine | None, terms: Sequence[Term], ask: Ask) -> Result:
    """Search with several terms, or with none: then what the filters let through is listed.

    Args:
        store: the index.
        engine: the checkpoint that made the index; None where every term is `like` one of its pictures.
        terms: parts of the question.
        ask: filters, order and what else is wanted.

    Raises:
        ConfigError: a term has none or several of text, image and like, or a filter cannot be used.
        InputError: a text is blank, a picture cannot be read, or an id is not in the index.
        DataError: the index was made by another checkpoint.
    """
    if engine is not None:
        require_same_checkpoint(store, engine)
    parts = [_part(store, engine, term) for term in terms if term.words is None]
    return answer(store, parts, asked_of(terms, ask))


def asked_of(terms: Sequence[Term], ask: Ask) -> Ask:
    """What is wanted, with what the terms say of it: words that count, and pictures that are no hits."""
    by_words = [term for term in terms if term.words is not None]
    if by_words:
        ask = replace(
            ask,
            words=" ".join(str(term.words) for term in by_words),
            words_weight=max(term.weight for term in by_words),
        )
    own = tuple(term.like for term in terms if term.like is not None and term.region is None)
    return replace(ask, except_ids=(*ask.except_ids, *own))


def read_term(text: str, sign: int = 1) -> Term:
    """`horse`, `0.5*stripes`, `@dog.jpg`, `id:rome/1.jpg[0,0,0.5,1]` and `0.1*words:party`.

    Raises:
        ConfigError: a region is not one.
    """
    found = _WEIGHT.fullmatch(text)
    weight, rest = (sign * float(found.group(1)), found.group(2)) if found else (float(sign), text)
    if rest.startswith("words:"):
        return Term(words=rest[6:], weight=weight)
    if not rest.startswith(("@", "id:")):
        return Term(text=rest, weight=weight)
    cut = _REGION.fullmatch(rest)
    region = read_region(cut.group(2)) if cut else None
    name = cut.group(1) if cut else rest
    if name.startswith("@"):
        return Term(image=Path(name[1:]), weight=weight, region=region)
    return Term(like=name[3:], weight=weight, region=region)


def read_region(text: str) -> Region:
    """`0,0,0.5,1`: the left half.

    Raises:
        ConfigError: not four shares in order.
    """
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
        is_sound = 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    except ValueError:
        is_sound = False
    if not is_sound:
        raise ConfigError(
            f"The region {text!r} cannot be used.",
            "Give left,top,right,bottom as shares of width and height, for example 0,0,0.5,1.",
        )
    return left, top, right, bottom


def read_part(image: ImageInput, region: Region, image_size: int, name: str = "") -> npt.NDArray[np.uint8]:
    """A region of a picture as model input: uint8 [image_size, image_size, 3], RGB.

    Args:
        image: a path, the bytes of a file, or pixels.
        region: of the upright picture.
        image_size: pixels.
        name: what error messages call the picture.

    Raises:
        InputError: the picture cannot be read.
    """
    left, top, right, bottom = region

    def choose(width: int, height: int) -> tuple[int, int, int, int]:
        first = int(left * width), int(top * height)
        return *first, max(first[0] + 1, round(right * width)), max(first[1] + 1, round(bottom * height))

    return prepare_part(image, image_size, choose, name=name)


def part_like(store: Library, term: Term) -> Part:
    """A picture of the index as part of a question, by the vector that is there.

    Raises:
        InputError: the index has no picture of this id.
    """
    item_id = str(term.like)
    slot = store.slot_of(item_id)
    if slot is None:
        raise InputError(f"The index has no picture {item_id!r}.", "Give an id that a search has shown.")
    vector = unit(store.rows(np.array([slot])))[0]
    return Part(label=item_id, vector=vector, kind="image", weight=term.weight)


def require_same_checkpoint(store: Library, engine: Engine) -> None:
    """Refuse vectors of different checkpoints.

    Raises:
        DataError: the engine is not the one that made the index.
    """
    if store.fingerprint != engine.fingerprint:
        raise DataError(
            f"The index was made by the checkpoint {store.fingerprint[:12]}, "
            f"not by {engine.name} ({engine.fingerprint[:12]}).",
            "Search with the model that made it, or build it anew with `clipworks index`.",
        )


def _part(store: Library, engine: Engine | None, term: Term) -> Part:
    given = [one for one in (term.text, term.image, term.like) if one is not None]
    if len(given) != 1:
        raise ConfigError("A term is a text, a picture or an id: one of them.")
    if term.like is not None and term.region is None:
        return part_like(store, term)
    if engine is None:
        raise ConfigError("A text or a picture needs the model that made the index.")
    if term.text is not None:
        return Part(label=term.text, vector=_text_vector(engine, term.text), kind="text", weight=term.weight)
    image = term.image if term.image is not None else _path_of(store, str(term.like))
    name = str(image) if isinstance(image, str | Path) else "the query"
    return Part(
        label=name, vector=_image_vector(engine, image, term.region), kind="image", weight=term.weight
    )


def _path_of(store: Library, item_id: str) -> Path:
    item = store.get(item_id)
    if item is None:
        raise InputError(f"The index has no picture {item_id!r}.", "Give an id that a search has shown.")
    return Path(item.path)


def _image_vector(engine: Engine, image: ImageInput, region: Region | None) -> Vectors:
    name = "" if isinstance(image, str | Path) else "the query"
    pixels = (
        engine.prepare_image(image, name)
        if region is None
        else read_part(image, region, engine.image_size, name)
    )
    vector: Vectors = engine.embed_pixels(pixels[None])[0]
    return vector


def _text_vector(engine: Engine, text: str) -> Vectors:
    if not text.strip():
        raise InputError("The search text is empty.", "Say what to look for.")
    vector: Vectors = engine.embed_texts([text])[0]
    return vector
