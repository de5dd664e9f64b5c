"""What a search of the gallery asks for: texts, pictures and gallery pictures, for and against; as vectors.

`read_question` reads it from a request, `find` embeds what must be embedded and searches. The terms of `plus`
and `minus` are those of the command line (`search/query.py`), but for files, which nobody may name here.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from clipworks.errors import ClipworksError, ConfigError, InputError
from clipworks.model.decoder import count_pixels
from clipworks.model.heads import Vectors
from clipworks.model.preprocess import Region, as_png, prepare_region
from clipworks.search.answer import MAX_PARTS, Ask, Part, answer, joined_ask, part_like
from clipworks.search.filters import read_filter
from clipworks.search.frames import picture_bytes
from clipworks.search.store import Result
from clipworks.search.terms import Term, ids_of, read_region, read_term, words_of
from clipworks.serve.call import Call
from clipworks.serve.inputs import (
    Payload,
    Picture,
    file_bytes,
    read_choice,
    read_count,
    read_flag,
    read_picture,
    read_text,
)
from clipworks.serve.preparing import BYTES_PER_PIXEL
from clipworks.serve.problems import RequestError, UnavailableError

if TYPE_CHECKING:
    from clipworks.search.library import Library
    from clipworks.serve.served import ServedModel
    from clipworks.serve.service import Service

FIELDS = (
    *("image", "text", "like", "region", "plus", "minus", "model", "limit"),
    *("where", "sort", "relevant_only", "fold"),
)
"""Fields of a search; files and raw picture bodies become the first one."""

DEFAULT_LIMIT = 10
MAX_LIMIT = 100
MAX_CONDITIONS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A search as it was asked."""

    terms: tuple[Term, ...]
    """Without `image`, for which `picture` stands."""
    ask: Ask
    picture: Picture | None = None
    """A picture that is not of the gallery; it counts once, for."""
    region: Region | None = None
    """The part of `picture` that counts."""

    @property
    def num_texts(self) -> int:
        """Texts to embed."""
        return sum(term.text is not None for term in self.terms)

    @property
    def num_images(self) -> int:
        """Pictures to embed."""
        return (self.picture is not None) + sum(term.region is not None for term in self.terms)


def read_question(service: "Service", payload: Payload) -> Question:
    """The fields of a search.

    Raises:
        RequestError: there is no gallery, another model is asked for, or a field cannot be used.
    """
    require_gallery(service)
    if payload.get("model") is not None and service.named(payload["model"]) is not service.gallery_model:
        assert service.gallery_model is not None
        raise RequestError(
            f"The gallery is searched with {service.gallery_model.name}, which made its vectors.",
            "Name that model or none.",
            param="model",
        )
    ask = read_ask(payload)
    text, image, like = (payload.get(name) for name in ("text", "image", "like"))
    given = [name for name in ("text", "image", "like") if payload.get(name) is not None]
    terms = [*_terms(service, payload, "plus", 1), *_terms(service, payload, "minus", -1)]
    if len(given) > 1 or not (given or terms or ask.filters):
        raise RequestError(
            "A search takes one of 'text', 'image' and 'like'; or 'plus', or 'where' alone.",
            'For example {"text": "a red apple"}.',
            code="missing_field" if not given else "invalid_value",
            param="text",
        )
    region = _region(payload)
    if region is not None and (text is not None or not given):
        raise RequestError("region goes with 'image' or 'like'.", param="region")
    if text is not None:
        text = read_text(text, "text", service.settings.max_text_characters)
        return Question(terms=(Term(text=text), *terms), ask=ask)
    if like is not None:
        if not isinstance(like, str):
            raise RequestError("like takes the id of a gallery picture, a text.", param="like")
        return Question(terms=(Term(like=like, region=region), *terms), ask=ask)
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    picture = None if image is None else read_picture(image, "image", service.settings)
    if picture is not None and picture.is_address and region is not None:
        raise RequestError("A region of a picture that is given by address cannot be cut.", param="region")
    return Question(terms=tuple(terms), ask=ask, picture=picture, region=region)


def read_ask(payload: Payload) -> Ask:
    """The fields `limit`, `where`, `sort`, `relevant_only` and `fold` of a search.

    Raises:
        RequestError: one cannot be used.
    """
    limit = read_count(payload, "limit", DEFAULT_LIMIT, MAX_LIMIT)
    given = payload.get("where")
    conditions = given if isinstance(given, list) else [] if given is None else [given]
    if len(conditions) > MAX_CONDITIONS or not all(isinstance(one, str) for one in conditions):
        raise RequestError(f"where takes up to {MAX_CONDITIONS} conditions, texts.", param="where")
    sort = read_choice(payload, "sort", ("score", "newest", "oldest")) or "score"
    try:
        return Ask(
            limit=limit,
            filters=tuple(read_filter(one) for one in conditions),
            sort=sort,  # type: ignore[arg-type]
            is_cut=bool(read_flag(payload, "relevant_only")),
            is_folded=bool(read_flag(payload, "fold")),
        )
    except ConfigError as error:
        raise RequestError(error.message, error.remedy, param="where") from error


async def charged_find(call: Call, question: Question) -> tuple[Result, float]:
    """Charge for a question and search the gallery with it; also the cost, US dollars.

    Raises:
        RequestError: as `find`.
        BusyError: as `find`.
        BatchError: as `find`.
    """
    require_gallery(call.service)
    assert call.service.gallery_model is not None
    name, images, texts = call.service.gallery_model.name, question.num_images, question.num_texts
    cost_usd = await call.charge(name, images=images, texts=texts) if images + texts else 0.0
    return await find(call.service, question), cost_usd


async def find(service: "Service", question: Question) -> Result:
    """Search the gallery.

    Raises:
        RequestError: there is no gallery, or a picture or an id cannot be used.
        BusyError: a queue is full.
        BatchError: the engine failed.
    """
    library, model = require_gallery(service), service.gallery_model
    assert model is not None
    texts = [term.text for term in question.terms if term.text is not None]
    pictures = [] if question.picture is None else [question.picture]
    if question.region is not None or question.num_images > len(pictures):
        (pictures,) = await service.fleet.preparing.answer([partial(_cut, service, model, question)])
    vectors = iter([*(await model.embed_texts(texts) if texts else ())])
    pixels = iter([*(await model.embed_images(pictures) if pictures else ())])
    parts = list(_parts(library, question, vectors, pixels))
    try:
        ask = joined_ask(question.ask, words_of(question.terms), ids_of(question.terms))
        return await asyncio.to_thread(answer, library, parts, ask)
    except (ConfigError, InputError) as error:
        raise _refused(error, "plus") from error


def require_gallery(service: "Service") -> "Library":
    """The gallery that the server was given.

    Raises:
        RequestError: there is none.
        UnavailableError: its model is being loaded.
    """
    if service.gallery is None:
        raise RequestError(
            "This server has no gallery to search.",
            "Start it with one: clipworks serve --index FOLDER.",
            code="no_gallery",
        )
    if service.gallery_model is None:
        raise UnavailableError("The model of the gallery is being loaded.", code="model_loading")
    return service.gallery


def picture_path(service: "Service", item_id: str) -> Path:
    """The file of a gallery picture; only what the index lists can be had.

    Raises:
        RequestError: the gallery has no such picture.
    """
    item = require_gallery(service).get(item_id)
    path = Path(item.path) if item is not None else None
    if path is None or not path.is_file():
        raise RequestError("The gallery has no such picture.", code="not_found")
    return path


def _terms(service: "Service", payload: Payload, field: str, sign: int) -> Iterator[Term]:
    given = payload.get(field)
    texts = given if isinstance(given, list) else [] if given is None else [given]
    if len(texts) >= MAX_PARTS or not all(isinstance(one, str) and one.strip() for one in texts):
        raise RequestError(f"{field} takes up to {MAX_PARTS - 1} terms, texts.", param=field)
    for place, one in enumerate(texts):
        param = f"{field}[{place}]"
        text = read_text(one, param, service.settings.max_text_characters)
        try:
            term = read_term(text, sign)
        except ConfigError as error:
            raise _refused(error, param) from error
        if term.image is not None:
            raise RequestError(
                f"{param} names a file, which only the command line can read.",
                "Send the picture in 'image', or give id:ID for a picture of the gallery.",
                param=param,
            )
        yield term


def _region(payload: Payload) -> Region | None:
    given = payload.get("region")
    if given is None:
        return None
    text = ",".join(map(str, given)) if isinstance(given, list) else str(given)
    try:
        return read_region(text)
    except ConfigError as error:
        raise _refused(error, "region") from error


def _cut(service: "Service", model: "ServedModel", question: Question) -> list[Picture]:
    """What must be embedded: the picture sent, then the regions of gallery pictures in their order."""
    found = []
    if question.picture is not None:
        cut = question.picture
        if question.region is not None:
            data = file_bytes(question.picture)
            cut = _region_of(service, model, data, question.region, question.picture.param)
        found.append(cut)
    for term in question.terms:
        if term.region is not None:
            data = picture_bytes(picture_path(service, str(term.like)), str(term.like))
            found.append(_region_of(service, model, data, term.region, "like"))
    return found


def _region_of(service: "Service", model: "ServedModel", data: bytes, region: Region, param: str) -> Picture:
    """A region as a picture of its own, in the size that the model takes."""
    try:
        with service.fleet.room.taken(count_pixels(data) * BYTES_PER_PIXEL):
            pixels = prepare_region(data, region, model.engine.image_size, name=param)
    except InputError as error:
        raise error if isinstance(error, RequestError) else _refused(error, param) from error
    return Picture(data=as_png(pixels), param=param)


def _parts(
    library: "Library", question: Question, texts: Iterator[Vectors], pictures: Iterator[Vectors]
) -> Iterator[Part]:
    if question.picture is not None:
        yield Part(label="the picture", vector=next(pictures), kind="image")
    for term in question.terms:
        if term.text is not None:
            yield Part(label=term.text, vector=next(texts), kind="text", weight=term.weight)
        elif term.region is not None:
            yield Part(label=str(term.like), vector=next(pictures), kind="image", weight=term.weight)
        elif term.like is not None:
            try:
                yield part_like(library, term.like, term.weight)
            except InputError as error:
                raise _refused(error, "like", "not_found") from error


def _refused(error: ClipworksError, param: str, code: str = "invalid_value") -> RequestError:
    return RequestError(error.message, error.remedy, code=code, param=param)
