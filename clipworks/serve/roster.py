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

[models.shared]
routing = "latency"
providers = [
    { name = "local" },
    { name = "east", url = "https://clip.example.org/v1", key_variable = "EAST_KEY" },
]
"""

import datetime
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from clipworks.errors import ConfigError
from clipworks.serve.prices import Price
from clipworks.serve.problems import nearest

Status = Literal["live", "coming_soon", "deprecated"]

Routing = Literal["health", "price", "latency"]

LOCAL = "local"
"""Name of the provider that is the server's own engine."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderSpec:
    """One of the servers behind a model."""

    name: str
    """What answers, figures and the log call it; `local` is the server's own engine."""
    url: str = ""
    """Address of an OpenAI-compatible server, with its `/v1`; empty for `local`."""
    model: str = ""
    """What that server calls the model; the model's own id where it is empty."""
    key: str = field(default="", repr=False)
    """The key that it asks for: never shown, from the variable or the file that the models' file names."""
    usd_per_1k_images: str = "0"
    """What it costs, US dollars for 1,000 pictures, a decimal number; for routing by price."""
    timeout_seconds: float = 30.0
    """How long it may take for one call."""
    private: bool = False
    """Whether it may be at a private address and speak plain http."""
    ca_file: str = ""
    """Authorities for its certificate, in place of the system's."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"A provider has the name {self.name!r}; it must be 1 to 40 letters, digits, dots and dashes."
            )
        if (self.name == LOCAL) == bool(self.url):
            raise ConfigError(
                f"The provider {self.name} has {'an' if self.url else 'no'} url; "
                "`local` is the server's own engine and all others have one."
            )
        if not 0 < self.timeout_seconds <= 3600:
            raise ConfigError(
                f"The provider {self.name} has timeout_seconds {self.timeout_seconds}; "
                "it must be above 0 and at most 3600."
            )
        Price(model=self.name, usd_per_1k_images=self.usd_per_1k_images, usd_per_1k_texts="0")
        if any(not "!" <= letter <= "~" for letter in self.key):
            raise ConfigError(f"The key of the provider {self.name} has characters that no key has.")


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
    providers: tuple[ProviderSpec, ...] = ()
    """Who may answer for it, the first choice first; only the server's own engine where there are none."""
    routing: Routing = "health"
    """Which of the providers is asked: `health` the first that works, `price` or `latency` the least one."""

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
        if self.routing not in get_args(Routing):
            raise ConfigError(
                f"{self.id}: routing is {self.routing!r}; it must be one of {', '.join(get_args(Routing))}."
            )
        names = [provider.name for provider in self.providers]
        if len(set(names)) < len(names):
            raise ConfigError(f"{self.id}: two providers have the same name ({', '.join(names)}).")

    @property
    def is_local(self) -> bool:
        """Whether the server's own engine is among the providers."""
        return not self.providers or any(provider.name == LOCAL for provider in self.providers)

    def is_over(self, today: datetime.date) -> bool:
        """Whether it has been shut down."""
        return self.shutdown_date is not None and today >= self.shutdown_date


def read_models(path: Path, environ: Mapping[str, str] | None = None) -> list[ModelSpec]:
    """The models of a file.

    Args:
        environ: where the keys of providers are looked up, usually `os.environ`.

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
    return [_read_model(path, name, table, environ or {}) for name, table in tables.items()]


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


def _read_model(path: Path, name: str, table: Any, environ: Mapping[str, str]) -> ModelSpec:
    place = f"{path}: models.{name}"
    kinds = {
        "aliases": list,
        "preload": bool,
        "memory_bytes": int,
        "shutdown_date": datetime.date,
        "providers": list,
    }
    _check_table(place, table, [one.name for one in fields(ModelSpec) if one.name != "id"], kinds)
    aliases = table.pop("aliases", [])
    if not all(isinstance(alias, str) and alias for alias in aliases):
        raise ConfigError(f"{place}.aliases must be a list of names.")
    rows = enumerate(table.pop("providers", []))
    providers = [_read_provider(path, f"{place}.providers[{i}]", row, environ) for i, row in rows]
    return ModelSpec(id=name, aliases=tuple(aliases), providers=tuple(providers), **table)


def _read_provider(path: Path, place: str, table: Any, environ: Mapping[str, str]) -> ProviderSpec:
    known = [one.name for one in fields(ProviderSpec) if one.name != "key"]
    kinds = {"timeout_seconds": (int, float), "usd_per_1k_images": (int, float, str), "private": bool}
    if isinstance(table, dict) and "key" in table:
        raise ConfigError(f"{place} holds a key.", "Name a key_variable or a key_file that holds it.")
    _check_table(place, table, [*known, "key_variable", "key_file"], kinds)
    if "name" not in table:
        raise ConfigError(f"{place} has no name.", 'For example name = "local".')
    if "usd_per_1k_images" in table:
        table["usd_per_1k_images"] = str(table["usd_per_1k_images"])
    variable, file, key = table.pop("key_variable", ""), table.pop("key_file", ""), ""
    if variable and file:
        raise ConfigError(f"{place} has a key_variable and a key_file; one of them is enough.")
    if variable:
        key = environ.get(variable, "").strip()
    elif file:
        try:
            key = (path.parent / Path(file).expanduser()).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{place}.key_file {file} cannot be read.") from error
    if (variable or file) and not key:
        raise ConfigError(f"{place}: {variable or file} holds no key.")
    return ProviderSpec(key=key, **table)


def _check_table(place: str, table: Any, known: list[str], kinds: Mapping[str, Any]) -> None:
    """Whether a table has known fields only, each of its type, which is text unless `kinds` says so."""
    if not isinstance(table, dict):
        raise ConfigError(f"{place} is no table.")
    for name, value in table.items():
        if name not in known:
            raise ConfigError(f"{place} has no field {name!r}.", nearest(name, known))
        kind = kinds.get(name, str)
        is_other = isinstance(value, bool | datetime.datetime) and kind is not bool
        if not isinstance(value, kind) or is_other:
            word = kind.__name__ if isinstance(kind, type) else "number"
            raise ConfigError(f"{place}.{name} is {value!r}; it must be of the type {word}.")
