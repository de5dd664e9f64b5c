"""What gets a vector: the items of a request, each a text, a picture, or parts that are fused into one.

The families write an item in their own ways: a plain string, {"image": ...}, a content part, a list of
parts, a chat message. All of them become an `Item` here; `embeddings.py` embeds them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clipworks.serve.inputs import (
    ITEM_FIELDS,
    Payload,
    Picture,
    check_count,
    check_fields,
    read_choice,
    read_item,
    required,
    required_list,
)
from clipworks.serve.problems import RequestError, shown
from clipworks.serve.settings import ServeSettings

_PART_FIELDS = ("text", "image", "image_url", "image_base64")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fused:
    """Texts and pictures that give one vector: the mean of theirs, at unit length."""

    parts: tuple[str | Picture, ...]
    """At least two."""


Item = str | Picture | Fused | RequestError
"""What gives one vector; or an error, where the request goes on without the item that it is about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """How the items of one request are read."""

    settings: ServeSettings
    """Limits of texts and pictures."""
    modality: str | None = None
    """What a plain string is: `text`, `image`, or by its beginning where None."""
    is_fused: bool = False
    """Whether an item of several parts is taken, as their mean."""
    goes_on: bool = False
    """Whether an item that cannot be used is kept as its error."""

    def read_all(self, values: Sequence[Any], field: str) -> list[Item]:
        """Read the items of a list; they are counted before anything is made of them.

        Args:
            field: where the list stands in the request.

        Raises:
            RequestError: there are too few or too many, or one cannot be used.
        """
        settings = self.settings
        _refuse_token_ids(values, field)
        check_count(len(values), 1, max(settings.max_texts, settings.max_images), field)
        items = [self.read(value, f"{field}[{i}]") for i, value in enumerate(values)]
        _check_amounts(items, settings, field)
        return items

    def read_only(self, value: Any, field: str) -> list[Item]:
        """A field that is one item and no list of them.

        Raises:
            RequestError: it cannot be used.
        """
        _refuse_token_ids([value], field)
        items = [self.read(value, field)]
        _check_amounts(items, self.settings, field)
        return items

    def read(self, value: Any, place: str) -> Item:
        """One item.

        Raises:
            RequestError: it cannot be used.
        """
        try:
            return self._read(value, place)
        except RequestError as error:
            if self.goes_on:
                return error
            raise

    def fuse(self, values: Sequence[Any], places: Sequence[str], place: str) -> Item:
        """One item of one part or of several.

        Args:
            places: where each of the parts stands in the request.
            place: where the item stands.

        Raises:
            RequestError: a part cannot be used, or there are several and the request does not ask for a mean.
        """
        parts = [self._part(value, where) for value, where in zip(values, places, strict=True)]
        if len(parts) == 1:
            return parts[0]
        if not self.is_fused:
            raise RequestError(
                f"{place} has {len(parts)} parts, and CLIP has no vector for several together.",
                'Send them as items of their own, or say "fusion": "mean" for the mean of their vectors.',
                param=place,
            )
        return Fused(parts=tuple(parts))

    def _read(self, value: Any, place: str) -> Item:
        if not isinstance(value, dict):
            return read_item(value, place, self.settings, self.modality)
        check_fields(value, ITEM_FIELDS, place)
        if "content" in value:
            return self.fuse(*_content_parts(value["content"], f"{place}.content"), place)
        names = _members(value)
        if len(names) < 2:
            return self._part(value, place)
        return self.fuse([{name: value[name]} for name in names], [place] * len(names), place)

    def _part(self, value: Any, place: str) -> str | Picture:
        if isinstance(value, dict) and len(_members(value)) > 1:
            raise RequestError(f"{place} has a text and a picture; a part is one of the two.", param=place)
        if isinstance(value, dict) and "image_base64" in value:
            value = {"image": value["image_base64"]}
        return read_item(value, place, self.settings, self.modality)


def reader(payload: Payload, settings: ServeSettings) -> Reader:
    """How a request wants its items read: the fields `modality`, `fusion` and `on_error`.

    Raises:
        RequestError: one of them has a value that does not exist.
    """
    return Reader(
        settings=settings,
        modality=read_choice(payload, "modality", ("text", "image")),
        is_fused=read_choice(payload, "fusion", ("mean",)) is not None,
        goes_on=read_choice(payload, "on_error", ("null", "fail")) == "null",
    )


def read_input(payload: Payload, settings: ServeSettings, field: str = "input") -> list[Item]:
    """A field that holds one item or a list of them, in order.

    Raises:
        RequestError: an item is neither text nor picture, the list is empty or too long, or it holds token
            ids.
    """
    value = required(payload, field)
    read = reader(payload, settings)
    return read.read_all(value, field) if isinstance(value, list) else read.read_only(value, field)


def read_messages(payload: Payload, settings: ServeSettings) -> list[Item]:
    """The field `messages`, a chat, as one item: the parts of all its messages.

    Raises:
        RequestError: a message is not well formed, or there are several parts and no `fusion`.
    """
    messages = required_list(payload, "messages")
    check_count(len(messages), 1, settings.max_texts, "messages")
    parts: list[Any] = []
    places: list[str] = []
    for i, message in enumerate(messages):
        if not isinstance(message, dict) or "content" not in message:
            raise RequestError(
                f"messages[{i}] is {shown(message)}; it must be an object with a content.",
                'For example {"role": "user", "content": [{"type": "text", "text": "a fox"}]}.',
                param=f"messages[{i}]",
            )
        check_fields(message, ("role", "content", "name"), f"messages[{i}]")
        more, where = _content_parts(message["content"], f"messages[{i}].content")
        parts += more
        places += where
    items = [reader(payload, settings).fuse(parts, places, "messages")]
    _check_amounts(items, settings, "messages")
    return items


def parts_of(item: Item) -> tuple[str | Picture, ...]:
    """The texts and pictures that an item is made of; none for one that cannot be used."""
    if isinstance(item, Fused):
        return item.parts
    return () if isinstance(item, RequestError) else (item,)


def _members(value: dict[str, Any]) -> list[str]:
    """The names under which an object holds a text or a picture."""
    return [name for name in _PART_FIELDS if value.get(name) is not None]


def _check_amounts(items: Sequence[Item], settings: ServeSettings, param: str) -> None:
    parts = [part for item in items for part in parts_of(item)]
    num_pictures = sum(isinstance(part, Picture) for part in parts)
    check_count(num_pictures, 0, settings.max_images, param, "pictures")
    check_count(len(parts) - num_pictures, 0, settings.max_texts, param, "texts")


def _content_parts(content: Any, place: str) -> tuple[list[Any], list[str]]:
    """The parts of a content, and where they stand."""
    if not isinstance(content, list):
        return [content], [place]
    check_count(len(content), 1, 1000, place, "parts")
    return content, [f"{place}[{i}]" for i in range(len(content))]


def _refuse_token_ids(values: Sequence[Any], param: str) -> None:
    for value in values[:1]:
        row = value[:100] if isinstance(value, list) else [value]
        if row and all(isinstance(token, int) and not isinstance(token, bool) for token in row):
            raise RequestError(
                f"{param} holds token ids; they belong to another model's vocabulary.",
                "Send text. With langchain: OpenAIEmbeddings(..., check_embedding_ctx_length=False).",
                param=param,
            )
