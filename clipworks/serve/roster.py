"""Which models a server has, and what is said of each: from flags, or from a file for `--models`.

[models.pictogram]
aliases = ["default"]

[models."laion/CLIP-ViT-B-32-laion2B-s34B-b79K"]
preload = false

[models.my-old-model]
source = "/models/old"
status = "deprecated"
shutdown_date = 2027-01-31

[models.next]
status = "coming_soon"
"""

import datetime
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from clipworks.errors import ConfigError
from clipworks.serve.problems import nearest

Status = Literal["live", "coming_soon", "deprecated"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """One model of a server."""

    id: str
    """What requests call it."""
    source: str = ""
    """What is loaded: a known name, a Hugging Face id or a path; the id where it is empty."""
    precision: str = "auto"
    """Arithmetic of the towers: `auto`, `f32`, `bf16` or `int8`, as in `clipworks.load`."""
    aliases: tuple[str, ...] = ()
    """Other names that requests may use."""
    status: Status = "live"
    """`coming_soon` is listed and not served; `deprecated` is served until its day."""
    shutdown_date: datetime.date | None = None
    """First day on which a deprecated model is no longer served."""
    preload: bool = True
    """Whether it is loaded at start; else on first use."""
    memory_bytes: int = 0
    """What its worker is expected to hold; 0 where only measuring tells."""

    def __post_init__(self) -> None:
        if not self.id.strip():
            raise ConfigError("A model has no id.")
        if self.status not in get_args(Status):
            raise ConfigError(
                f"{self.id}: status is {self.status!r}; it must be one of {', '.join(get_args(Status))}."
            )
        if self.shutdown_date is not None and self.status != "deprecated":
            raise ConfigError(f"{self.id} has a shutdown_date and the status {self.status}, not deprecated.")
        if self.memory_bytes < 0:
            raise ConfigError(f"{self.id}: memory_bytes is {self.memory_bytes}; it must not be below 0.")

    def is_over(self, today: datetime.date) -> bool:
        """Whether it has been shut down."""
        return self.shutdown_date is not None and today >= self.shutdown_date


def read_models(path: Path) -> list[ModelSpec]:
    """The models of a file.

    Raises:
        ConfigError: it cannot be read, or a model, field or value in it cannot be used.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as models: {error}.") from error
    tables = document.pop("models", None)
    if document or not isinstance(tables, dict) or not tables:
        raise ConfigError(f"{path} must hold tables of the form [models.NAME] and nothing else.")
    return [_read_model(path, name, table) for name, table in tables.items()]


def check_names(specs: Sequence[ModelSpec]) -> None:
    """Refuse a name that two models have.

    Raises:
        ConfigError: an id or alias occurs twice.
    """
    seen: dict[str, str] = {}
    for spec in specs:
        for name in (spec.id, *spec.aliases):
            if name in seen:
                raise ConfigError(
                    f"A model of the name {name!r} is served already (as {seen[name]}).",
                    "Rename its folder, or give it another id in the file of --models.",
                )
            seen[name] = spec.id


def _read_model(path: Path, name: str, table: Any) -> ModelSpec:
    place = f"{path}: models.{name}"
    if not isinstance(table, dict):
        raise ConfigError(f"{place} is no table.")
    known = {field.name: field.type for field in fields(ModelSpec) if field.name != "id"}
    for field, value in table.items():
        if field not in known:
            raise ConfigError(f"{place} has no field {field!r}.", nearest(field, list(known)))
        kinds = {"aliases": list, "preload": bool, "memory_bytes": int, "shutdown_date": datetime.date}
        kind = kinds.get(field, str)
        is_other = isinstance(value, bool | datetime.datetime) and kind is not bool
        if not isinstance(value, kind) or is_other:
            raise ConfigError(f"{place}.{field} is {value!r}; it must be of the type {kind.__name__}.")
    aliases = table.pop("aliases", [])
    if not all(isinstance(alias, str) and alias for alias in aliases):
        raise ConfigError(f"{place}.aliases must be a list of names.")
    return ModelSpec(id=name, aliases=tuple(aliases), **table)
