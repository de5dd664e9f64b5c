"""What a request asks for: texts, labels and pictures, read from a payload and limited before any work.

A picture stays encoded here (file bytes, or base64 text); `file_bytes` undoes the base64 in the decode
pool. Every complaint names the place in the request, such as `input[3].image`.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clipworks.addresses import parse_address
from clipworks.errors import NetError
from clipworks.serve.problems import RequestError, nearest, shown
from clipworks.serve.settings import ServeSettings

Payload = dict[str, Any]
"""Field name -> JSON value, `bytes` of a picture, or a list of these."""

ITEM_FIELDS = ("text", "image", "image_url", "image_base64", "content", "type", "uuid", "detail")
"""Fields of an object that is a text, a picture or several parts; of the last two nothing depends."""

DATA_IMAGE = "data:image/"
_SPACES = str.maketrans("", "", " \t\r\n")
_ADDRESS = re.compile(r"(https?|ftp|file)://", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture as the client sent it."""

    data: bytes | str
    """The file's bytes, their base64 text, or where to fetch them."""
    param: str
    """Where it stands in the request."""
    is_address: bool = False
    """Whether `data` is an address on the web, to be fetched before the picture is decoded."""


def file_bytes(picture: Picture) -> bytes:
    """The picture file's bytes.

    Raises:
        RequestError: the base64 text is damaged.
    """
    assert not picture.is_address, "fetched before it is decoded"
    if isinstance(picture.data, bytes):
        return picture.data
    try:
        # Most texts are clean; taking spaces out of 80 kB costs more than decoding it.
        return binascii.a2b_base64(picture.data, strict_mode=True)
    except (binascii.Error, ValueError):
        text = picture.data.translate(_SPACES)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(
            f"{picture.param} must be a picture and is not base64: {shown(picture.data)}.",
            "Send the file's bytes in standard base64, or as data:image/png;base64,….",
            code="invalid_image",
            param=picture.param,
        ) from error


def read_pictures(payload: Payload, field: str, settings: ServeSettings) -> list[Picture]:
    """A field that holds one picture or a list of them.

    Raises:
        RequestError: the field is missing, empty or too long, or an item is no picture.
    """
    value = required(payload, field)
    values = value if isinstance(value, list) else [value]
    check_count(len(values), 1, settings.max_images, field, "pictures")
    if not isinstance(value, list):
        return [read_picture(value, field, settings)]
    return [read_picture(one, f"{field}[{i}]", settings) for i, one in enumerate(values)]


def read_picture(value: Any, param: str, settings: ServeSettings) -> Picture:
    """One picture: bytes, a data URI, base64 text, {"image": ...} or {"type": "image_url", ...}.

    Raises:
        RequestError: it is an address and none is fetched (403), too large, or none of these forms.
    """
    if isinstance(value, dict):
        inner, param = _picture_member(value, param)
        if isinstance(inner, dict):
            raise RequestError(f"{param} is an object; it must be text.", param=param)
        return read_picture(inner, param, settings)
    if isinstance(value, bytes):
        return _sized(value, len(value), param, settings)
    if not isinstance(value, str):
        raise RequestError(
            f"{param} is {shown(value)}; a picture is base64 text or a data URI.",
            code="invalid_image",
            param=param,
        )
    if _ADDRESS.match(value):
        return _picture_at(value, param, settings)
    text = _strip_data_uri(value, param)
    if not text:
        raise RequestError(f"{param} is empty.", code="invalid_image", param=param)
    return _sized(text, len(text) * 3 // 4, param, settings)


def read_texts(payload: Payload, field: str, settings: ServeSettings) -> list[str]:
    """A field that holds a list of texts.

    Raises:
        RequestError: it is missing, empty or too long, or an item is no usable text.
    """
    values = required_list(payload, field)
    check_count(len(values), 1, settings.max_texts, field, "texts")
    limit = settings.max_text_characters
    return [read_text(one, f"{field}[{i}]", limit) for i, one in enumerate(values)]


def read_labels(
    payload: Payload, settings: ServeSettings, field: str = "labels"
) -> tuple[list[str], list[str] | None]:
    """The fields `labels` and `templates` (optional) of a classification.

    Args:
        field: another name of the field of the labels.

    Raises:
        RequestError: no label, too many, one that is blank or too long, or a template without one {}.
    """
    values = required_list(payload, field)
    check_count(len(values), 1, settings.max_labels, field)
    limit = settings.max_label_characters
    labels = [read_text(one, f"{field}[{i}]", limit) for i, one in enumerate(values)]
    if not payload.get("templates"):
        return labels, None
    given = required_list(payload, "templates")
    check_count(len(given) * len(labels), 1, settings.max_prompts, "templates", f"{field} times templates")
    templates = [read_text(one, f"templates[{i}]", limit) for i, one in enumerate(given)]
    for place, template in enumerate(templates):
        if template.count("{}") != 1:
            raise RequestError(
                f"templates[{place}] is {shown(template)}; it must hold {{}} once, where the label goes.",
                'For example: "a photo of a {}."',
                param=f"templates[{place}]",
            )
    return labels, templates


def read_text(value: Any, param: str, max_characters: int) -> str:
    """One text that is not blank and not longer than allowed.

    Raises:
        RequestError: it is no text, blank, too long, or holds half a character.
    """
    if not isinstance(value, str):
        raise RequestError(f"{param} is {shown(value)}; it must be text.", param=param)
    if not value.strip():
        raise RequestError(f"{param} is empty.", param=param)
    if len(value) > max_characters:
        raise RequestError(
            f"{param} has {len(value):,} characters; at most {max_characters:,} are taken.", param=param
        )
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise RequestError(f"{param} holds half of a surrogate pair, which is no character.", param=param)
    return value


def read_count(payload: Payload, field: str, default: int, most: int) -> int:
    """A whole number from 1 to `most`; digits count too, as forms and queries send them.

    Raises:
        RequestError: it is no such number.
    """
    value = payload.get(field)
    if value is None:
        return default
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise RequestError(
            f"{field} is {shown(value)}; it must be a whole number from 1 to {most}.", param=field
        )
    return value


def read_choice(payload: Payload, field: str, choices: tuple[str, ...]) -> str | None:
    """One of a few words; None where the field is missing or null.

    Raises:
        RequestError: it is none of them.
    """
    value = payload.get(field)
    if value is None or (isinstance(value, str) and value in choices):
        return value
    raise RequestError(f"{field} is {shown(value)}; it must be {' or '.join(choices)}.", param=field)


def read_flag(payload: Payload, field: str) -> bool | None:
    """true or false, also as the words that forms and queries send; None where the field is missing.

    Raises:
        RequestError: it is neither.
    """
    value = payload.get(field)
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower(), value)
    if value is None or isinstance(value, bool):
        return value
    raise RequestError(f"{field} is {shown(payload[field])}; it must be true or false.", param=field)


def check_fields(value: dict[str, Any], known: Sequence[str], place: str) -> None:
    """Whether an object inside a request has known fields only.

    Raises:
        RequestError: it has another one; the nearest are named.
    """
    for name in value:
        if name not in known:
            raise RequestError(
                f"There is no field {shown(name)} in {place}.",
                nearest(name, list(known)),
                param=f"{place}.{name[:80]}",
            )


def required(payload: Payload, field: str) -> Any:
    """The value of a field that must be there.

    Raises:
        RequestError: it is missing or null.
    """
    if payload.get(field) is None:
        raise RequestError(f"The field {field!r} is missing.", code="missing_field", param=field)
    return payload[field]


def required_list(payload: Payload, field: str) -> list[Any]:
    """The value of a field that must be there and a list.

    Raises:
        RequestError: it is missing, null or no list.
    """
    value = required(payload, field)
    if not isinstance(value, list):
        raise RequestError(f"{field} is {shown(value)}; it must be a list of texts.", param=field)
    return value


def check_count(count: int, least: int, most: int, param: str, what: str = "items") -> None:
    """Whether a list is as long as it may be.

    Raises:
        RequestError: it is empty where it may not be, or too long.
    """
    if count < least:
        raise RequestError(f"{param} is an empty list; at least {least} is needed.", param=param)
    if count > most:
        raise RequestError(
            f"{param} has {count:,} {what}; at most {most:,} are taken in one request.",
            "Send them in several requests.",
            code="too_many_inputs",
            param=param,
        )


def read_item(value: Any, place: str, settings: ServeSettings, modality: str | None) -> str | Picture:
    """A text or a picture, told apart by its form.

    Args:
        place: where it stands in the request.
        modality: what a plain string is: `text`, `image`, or by its beginning where None.

    Raises:
        RequestError: it is neither, or cannot be used.
    """
    if isinstance(value, dict):
        check_fields(value, ITEM_FIELDS, place)
    if isinstance(value, dict) and "text" in value and value.get("type", "text") == "text":
        return read_text(value["text"], f"{place}.text", settings.max_text_characters)
    is_picture = modality == "image" or (
        modality is None and isinstance(value, str) and value[: len(DATA_IMAGE)].lower() == DATA_IMAGE
    )
    if isinstance(value, str) and not is_picture:
        if modality is None and _ADDRESS.match(value) and not re.search(r"\s", value):
            is_off = settings.url_mode == "off"
            raise RequestError(
                f"{place} is an address, and this server fetches nothing."
                if is_off
                else f"{place} is an address, which may be meant as a picture or as a text.",
                'Send the picture itself; to embed the address as a text, say "modality": "text".'
                if is_off
                else 'Send {"image": "<address>"}, or say "modality": "image" or "text".',
                code="url_fetch_disabled" if is_off else "invalid_value",
                param=place,
            )
        return read_text(value, place, settings.max_text_characters)
    if isinstance(value, dict | bytes | str):
        return read_picture(value, place, settings)
    raise RequestError(
        f"{place} is {shown(value)}; it must be a text or a picture.",
        'A picture is a data URI, {"image": "<base64>"} or {"type": "image_url", "image_url": {"url": …}}.',
        param=place,
    )


def _picture_at(address: str, param: str, settings: ServeSettings) -> Picture:
    if settings.url_mode == "off":
        raise RequestError(
            f"{param} is an address, and this server fetches nothing.",
            "Send the picture itself, as base64 or a data URI.",
            code="url_fetch_disabled",
            param=param,
        )
    try:
        parse_address(address)
    except NetError as error:
        raise RequestError(
            f"{param}: {error.message}", error.remedy, code="url_not_fetched", param=param
        ) from error
    return Picture(data=address, param=param, is_address=True)


def _picture_member(value: dict[str, Any], param: str) -> tuple[Any, str]:
    check_fields(value, ITEM_FIELDS, param)
    if "image" in value:
        return value["image"], f"{param}.image"
    if "image_url" in value:
        inner = value["image_url"]
        if isinstance(inner, dict):
            check_fields(inner, ("url", "detail", "uuid"), f"{param}.image_url")
            return inner.get("url"), f"{param}.image_url.url"
        return inner, f"{param}.image_url"
    raise RequestError(
        f"{param} is an object with the fields {shown(sorted(value)[:5])} and without a picture.",
        'Send {"image": "<base64>"} or {"type": "image_url", "image_url": {"url": "data:…"}}.',
        param=param,
    )


def _strip_data_uri(value: str, param: str) -> str:
    if value[:5].lower() != "data:":
        return value
    head, comma, text = value.partition(",")
    words = head[5:].lower().split(";")
    if not comma or words[-1] != "base64":
        raise RequestError(
            f"{param} is a data URI that is not base64: {shown(head)}.",
            "Write data:image/png;base64,….",
            code="invalid_image",
            param=param,
        )
    if words[0] not in ("", "base64") and not words[0].startswith("image/"):
        raise RequestError(
            f"{param} is a data URI of the type {shown(words[0])}; it must be image/*.",
            code="unsupported_image_format",
            param=param,
        )
    return text


def _sized(data: bytes | str, num_bytes: int, param: str, settings: ServeSettings) -> Picture:
    if not data:
        raise RequestError(f"{param} is empty.", code="invalid_image", param=param)
    if num_bytes > settings.max_image_bytes:
        raise RequestError(
            f"{param} has {num_bytes:,} bytes; at most {settings.max_image_bytes:,} are taken.",
            "Send a smaller picture; the model reads it at a few hundred pixels.",
            code="image_too_large",
            param=param,
        )
    return Picture(data=data, param=param)
