"""Every setting of the server: name, default, unit and range, in one frozen table.

Flags of `clipworks serve` and `CLIPWORKS_*` variables fill the same fields; nothing is read from
the environment anywhere else in `serve/`.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from clipworks.errors import ConfigError

VARIABLE_PREFIX = "CLIPWORKS_"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeSettings:
    """How the server listens and how much it takes on at once."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback unless `insecure` is set."""
    port: int = 8000
    """TCP port, 0..65535; 0 lets the system choose one."""
    insecure: bool = False
    """Whether to listen on an address that other machines reach, although nobody is asked for a key."""
    max_body_bytes: int = 32 << 20
    """Largest request body, bytes."""
    max_image_bytes: int = 20 << 20
    """Largest picture file, bytes, after base64 is undone."""
    max_images: int = 64
    """Pictures in one request."""
    max_texts: int = 2048
    """Texts in one request."""
    max_text_characters: int = 10_000
    """Characters in one text; the model reads its first 77 tokens."""
    max_labels: int = 1000
    """Labels in one request."""
    max_label_characters: int = 500
    """Characters in one label or template."""
    max_prompts: int = 8000
    """Labels times templates in one request."""
    max_requests: int = 64
    """Requests worked on at the same time; one more is answered with 429."""
    max_image_queue: int = 256
    """Prepared pictures waiting in front of one model."""
    max_text_queue: int = 4096
    """Texts waiting in front of one model."""
    max_pixel_bytes: int = 256 << 20
    """Bytes of prepared pictures waiting in front of one model."""
    max_bodies_bytes: int = 512 << 20
    """Bytes of all request bodies in memory at the same time."""
    image_batch: int = 32
    """Pictures in one call of the engine."""
    text_batch: int = 64
    """Texts in one call of the engine."""
    decode_threads: int = 2
    """Threads that turn files into pixels."""
    body_seconds: float = 60.0
    """How long a client may take to send its request."""
    request_seconds: float = 60.0
    """How long work on a request may take; `x-request-timeout-ms` in its header may ask for less."""
    workers: str = "process"
    """Where models compute: `process`, each in one of its own that is replaced if it dies, or `thread`."""
    worker_seconds: float = 60.0
    """How long a worker may take for one batch before it is replaced."""
    load_seconds: float = 900.0
    """How long loading a model may take."""
    memory_budget_bytes: int = 0
    """Memory of all workers, bytes; models not used for longest are unloaded beyond it; 0 is no limit."""
    shutdown_seconds: float = 10.0
    """How long requests in work may take to finish when the server stops."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}; it must be from 0 to 65535.")
        for field in fields(self):
            value = getattr(self, field.name)
            least_is_zero = field.name in ("port", "memory_budget_bytes")
            if field.type in (int, float) and (value < 0 or (value == 0 and not least_is_zero)):
                raise ConfigError(f"{field.name} is {value}; it must be above 0.")
        if self.workers not in ("process", "thread"):
            raise ConfigError(f"workers is {self.workers!r}; it must be process or thread.")
        if self.memory_budget_bytes and self.workers == "thread":
            raise ConfigError(
                "memory_budget_bytes is set, and threads share one memory.", "Use workers=process."
            )
        for queue, items in (
            ("max_image_queue", "max_images"),
            ("max_text_queue", "max_texts"),
            ("max_bodies_bytes", "max_body_bytes"),
        ):
            if getattr(self, queue) < getattr(self, items):
                raise ConfigError(
                    f"{queue} is {getattr(self, queue)}, less than {items} ({getattr(self, items)}): "
                    "a full request would never fit."
                )
        if not self.insecure and not _is_loopback(self.host):
            raise ConfigError(
                f"host is {self.host!r}, which other machines can reach, and no key is asked for.",
                "Listen on 127.0.0.1, or add --insecure to serve without keys on purpose.",
            )

    def host_names(self) -> frozenset[str] | None:
        """Names under which requests may address the server, in lower case; None for any."""
        if self.insecure:
            return None
        return frozenset({"localhost", "127.0.0.1", "::1", self.host.lower()})


def read_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings given as `CLIPWORKS_*` variables, ready for `ServeSettings(**values)`.

    Args:
        environ: usually `os.environ`; `CLIPWORKS_PORT=9000` sets `port`, and so on.

    Raises:
        ConfigError: a value is not of its field's type, or keys are required, which needs a later version.
    """
    if environ.get(f"{VARIABLE_PREFIX}REQUIRE_KEYS", "0").lower() not in ("", "0", "false"):
        raise ConfigError(
            "CLIPWORKS_REQUIRE_KEYS is set, and this version has no keys yet.",
            "Unset it to serve on loopback without keys.",
        )
    values: dict[str, Any] = {}
    for field in fields(ServeSettings):
        variable = VARIABLE_PREFIX + field.name.upper()
        if variable in environ:
            assert isinstance(field.type, type)
            values[field.name] = _parse(variable, environ[variable], field.type)
    return values


def _parse(variable: str, text: str, kind: type) -> Any:
    words = {int: "a whole number", float: "a number", bool: "true or false"}
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False, "": False}[text.lower()]
        return kind(text)
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{variable} is {text!r}; it must be {words[kind]}.") from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
