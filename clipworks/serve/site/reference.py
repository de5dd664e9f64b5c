"""The OpenAPI document in words, as `/docs/api` shows it; nothing is added that the document does not say."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from clipworks.serve.site.lookup import Passage
from clipworks.serve.site.prose import highlighted

Schema = dict[str, Any]

OTHER = "Others"
"""The group of operations whose group the document does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A field of a body, or a parameter of an address."""

    name: str
    kind: str
    """What it may be, in words."""
    place: str
    """`body`, `path`, `query` or `header`."""
    is_required: bool
    about: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What one status means."""

    status: str
    """`200` or the like; `default` for all others."""
    about: str
    codes: Sequence[str]
    """The error codes that come with it."""
    kinds: Sequence[str]
    """Media types of the body."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """A method of a route."""

    method: str
    path: str
    anchor: str
    summary: str
    about: str
    group: str
    is_open: bool
    """Whether it asks for no key where keys are asked for."""
    fields: Sequence[Field]
    answers: Sequence[Answer]
    request: Any
    """An example of a body; None where there is none."""
    reply: Any
    """The answer to it, shortened; None where there is none."""

    def curl(self, address: str, *, has_keys: bool) -> str:
        """The example as a command, with a key where the server asks for keys."""
        lines = [
            f"curl {shlex.quote(address + self.path)}" if "{" in self.path else f"curl {address}{self.path}"
        ]
        if self.method not in ("get", "post") or (self.method == "post" and self.request is None):
            lines.append(f"-X {self.method.upper()}")
        if has_keys and not self.is_open:
            lines.append('-H "Authorization: Bearer $CLIPWORKS_KEY"')
        if self.request is not None:
            lines += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(json.dumps(self.request))}"]
        return highlighted(" \\\n     ".join(lines), "sh")

    @property
    def reply_text(self) -> str:
        """The answer of the example, laid out."""
        return json.dumps(self.reply, indent=2, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Operations of one kind."""

    name: str
    about: str
    operations: Sequence[Operation]

    @property
    def shared_codes(self) -> Sequence[str]:
        """The error codes that more than half of its operations may answer with."""
        counts = Counter(code for one in self.operations for answer in one.answers for code in answer.codes)
        return [code for code, count in counts.items() if 2 * count > len(self.operations)]


class Reference:
    """The document, read once.

    Args:
        described: an OpenAPI document.
    """

    def __init__(self, described: Schema) -> None:
        self._described = described
        self.operations = [
            _operation(path, method, operation)
            for path, methods in described["paths"].items()
            for method, operation in methods.items()
        ]
        self.schemas = {
            name: (schema.get("description", ""), json.dumps(schema, indent=2))
            for name, schema in described["components"]["schemas"].items()
        }

    @property
    def groups(self) -> list["Group"]:
        """The groups that have operations, in the document's order."""
        about = {tag["name"]: tag.get("description", "") for tag in self._described.get("tags", ())}
        names = list(dict.fromkeys([*about, *(one.group for one in self.operations)]))
        groups = [
            Group(
                name=name,
                about=about.get(name, ""),
                operations=[one for one in self.operations if one.group == name],
            )
            for name in names
        ]
        return [group for group in groups if group.operations]

    @property
    def errors(self) -> Schema:
        """Error code -> status and meaning."""
        errors: Schema = self._described.get("x-errors", {})
        return errors

    def passages(self) -> Iterator[Passage]:
        """What can be found in it."""
        for one in self.operations:
            fields = " ".join(f"{field.name}: {field.about}" for field in one.fields)
            yield Passage(
                address=f"/docs/api#{one.anchor}",
                page="HTTP API",
                title=f"{one.method.upper()} {one.path}",
                words=f"{one.summary} {one.about} {fields}",
            )


def anchor_of(method: str, path: str) -> str:
    """The place of an operation on the page."""
    return re.sub(r"[^a-z0-9]+", "-", f"{method}{path}".lower()).strip("-")


def kind_of(schema: Schema) -> str:
    """What a schema lets through, in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(json.dumps(value) for value in values)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind_of(one) for one in schema["anyOf"]))
    given = schema.get("type")
    kinds = given if isinstance(given, list) else [given] if given else []
    words = [_named_kind(kind, schema) for kind in kinds]
    return " or ".join(words) or "anything"


def _named_kind(kind: str, schema: Schema) -> str:
    if kind == "array":
        inner = kind_of(schema["items"]) if "items" in schema else "anything"
        return f"list of {inner}{_range(schema, 'minItems', 'maxItems', '')}"
    if kind == "object" and schema.get("properties"):
        return "object with " + ", ".join(schema["properties"])
    if kind == "string":
        return f"text{_range(schema, 'minLength', 'maxLength', ' characters')}"
    if kind in ("integer", "number"):
        return ("whole number" if kind == "integer" else kind) + _range(schema, "minimum", "maximum", "")
    return {"null": "null", "boolean": "true or false"}.get(kind, kind)


def _range(schema: Schema, low: str, high: str, unit: str) -> str:
    if high in schema:
        return f" ({schema.get(low, 0):,} to {schema[high]:,}{unit})"
    return f" (from {schema[low]:,}{unit})" if schema.get(low, 0) > 1 else ""


def _operation(path: str, method: str, said: Schema) -> Operation:
    content = said.get("requestBody", {}).get("content", {}).get("application/json", {})
    responses = said.get("responses", {})
    good: Schema = next((answer for status, answer in responses.items() if status.startswith("2")), {})
    return Operation(
        method=method,
        path=path,
        anchor=anchor_of(method, path),
        summary=said.get("summary", ""),
        about=said.get("description", ""),
        group=next(iter(said.get("tags", ())), OTHER),
        is_open=said.get("security") == [],
        fields=[*_parameters(said), *_body_fields(content.get("schema", {}))],
        answers=[_answer(status, answer) for status, answer in responses.items()],
        request=content.get("example"),
        reply=good.get("content", {}).get("application/json", {}).get("example"),
    )


def _parameters(said: Schema) -> Iterator[Field]:
    for given in said.get("parameters", ()):
        yield Field(
            name=given["name"],
            kind=kind_of(given.get("schema", {})),
            place=given["in"],
            is_required=given.get("required", False),
            about=given.get("description", ""),
        )


def _body_fields(schema: Schema) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        yield Field(
            name=name,
            kind=kind_of(inner),
            place="body",
            is_required=name in required,
            about=inner.get("description", ""),
        )


def _answer(status: str, said: Schema) -> Answer:
    return Answer(
        status=status,
        about=said.get("description", ""),
        codes=said.get("x-codes", ()),
        kinds=list(said.get("content", {})),
    )
