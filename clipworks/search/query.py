"""Ask an index with words, with pictures, or with several of both that count for and against.

`answer.py` does the searching; here questions become vectors, by the checkpoint that made the index.
"""

from collections.abc import Sequence
from pathlib import Path

from clipworks.errors import ConfigError, DataError, InputError
from clipworks.model.engine import Engine
from clipworks.model.preprocess import ImageInput, Region, prepare_region
from clipworks.search.answer import Ask, Part, answer, joined_ask, part_like
from clipworks.search.frames import FRAME_SIDE, frame_at
from clipworks.search.library import Library
from clipworks.search.store import Result, Vectors
from clipworks.search.terms import Term, ids_of, words_of
from clipworks.search.videos import file_of


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
    return answer(store, parts, joined_ask(ask, words_of(terms), ids_of(terms)))


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
        return part_like(store, term.like, term.weight)
    if engine is None:
        raise ConfigError("A text or a picture needs the model that made the index.")
    if term.text is not None:
        return Part(label=term.text, vector=_text_vector(engine, term.text), kind="text", weight=term.weight)
    image = term.image if term.image is not None else _picture_of(store, str(term.like))
    name = str(image) if isinstance(image, str | Path) else term.like or "the query"
    return Part(
        label=name, vector=_image_vector(engine, image, term.region), kind="image", weight=term.weight
    )


def _picture_of(store: Library, item_id: str) -> ImageInput:
    item = store.get(item_id)
    if item is None:
        raise InputError(f"The index has no picture {item_id!r}.", "Give an id that a search has shown.")
    second = file_of(item_id)[1]
    return Path(item.path) if second is None else frame_at(Path(item.path), second, FRAME_SIDE)


def _image_vector(engine: Engine, image: ImageInput, region: Region | None) -> Vectors:
    name = "" if isinstance(image, str | Path) else "the query"
    pixels = (
        engine.prepare_image(image, name)
        if region is None
        else prepare_region(image, region, engine.image_size, name=name)
    )
    vector: Vectors = engine.embed_pixels(pixels[None])[0]
    return vector


def _text_vector(engine: Engine, text: str) -> Vectors:
    if not text.strip():
        raise InputError("The search text is empty.", "Say what to look for.")
    vector: Vectors = engine.embed_texts([text])[0]
    return vector
