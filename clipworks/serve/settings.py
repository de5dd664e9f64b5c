"""Every setting of the server: name, default, unit and range, in one frozen table.

Flags of `clipworks serve` and `CLIPWORKS_*` variables fill the same fields; nothing is read from
the environment anywhere else in `serve/`.
"""

import dataclasses
import ipaddress
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from clipworks.errors import ConfigError

VARIABLE_PREFIX = "CLIPWORKS_"
CHOICES = {
    "url_mode": ("off", "allowlist", "public"),
    "log_format": ("text", "json"),
    "workers": ("process", "thread", "ray"),
}
"""Settings that are one of a few words."""

MAY_BE_ZERO = (
    *("port", "memory_budget_bytes", "metrics_port", "signup_credit_usd", "signups_per_day"),
    "replica_threads",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeSettings:
    """How the server listens and how much it takes on at once."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback unless `insecure` is set."""
    port: int = 8000
    """TCP port, 0..65535; 0 lets the system choose one."""
    insecure: bool = False
    """Whether to listen on an address that other machines reach, although nobody is asked for a key."""
    require_keys: bool = False
    """Whether every request needs a key, whose account pays for it; then any address may be listened on."""
    database: str = "sqlite:///~/.local/share/clipworks/accounts.db"
    """Where accounts, keys and the ledger are: an SQLAlchemy address of SQLite or PostgreSQL."""
    prices: str = ""
    """CSV file with prices of your own: columns model, usd_per_1k_images, usd_per_1k_texts."""
    results: str = ""
    """Folder of what `clipworks evaluate` wrote: its numbers stand on the pages of models."""
    signup_credit_usd: float = 1.0
    """Credit of a new account, US dollars, where none is named."""
    signups_per_day: int = 3
    """New accounts that one network address may make in a day on the page; 0 switches signing up off."""
    session_hours: float = 336.0
    """How long a browser stays signed in."""
    public_url: str = ""
    """The address that people know, such as https://clip.example.org, where a proxy stands in front."""
    oidc_issuer: str = ""
    """An issuer of OpenID Connect that people may sign in with, such as https://id.example.org."""
    oidc_client_id: str = ""
    """What the issuer calls this server."""
    oidc_client_secret: str = dataclasses.field(default="", repr=False)
    """The secret that the issuer gave this server; empty where it gave none."""
    oidc_name: str = "single sign-on"
    """What the button says after "Sign in with"."""
    oidc_private: bool = False
    """Whether the issuer may be an address of a private network, and speak plain http."""
    reservation_seconds: float = 120.0
    """When a charge in work may be taken for abandoned; longer than any request works."""
    idempotency_hours: float = 24.0
    """How long an `Idempotency-Key` is remembered."""
    idempotency_bytes: int = 1 << 20
    """Largest answer that is kept for its `Idempotency-Key`, bytes; a larger one is computed again, free."""
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
    max_decoded_bytes: int = 1 << 30
    """Memory for pictures that are being decoded, of all models together, bytes; estimated by their size."""
    body_seconds: float = 60.0
    """How long a client may take to send its request."""
    request_seconds: float = 60.0
    """How long work on a request may take; `x-request-timeout-ms` in its header may ask for less."""
    workers: str = "process"
    """Where models compute: `process`, each in one of its own that is replaced if it dies; `thread`, in the
    server's own; or `ray`, in replicas of the whole server by Ray Serve."""
    worker_seconds: float = 60.0
    """How long a worker may take for one batch before it is replaced."""
    load_seconds: float = 900.0
    """How long loading a model may take."""
    memory_budget_bytes: int = 0
    """Memory of all workers, bytes; models not used for longest are unloaded beyond it; 0 is no limit."""
    shutdown_seconds: float = 10.0
    """How long requests in work may take to finish when the server stops."""
    drain_seconds: float = 1.0
    """How long the server still answers after SIGTERM while `/readyz` already says 503."""
    url_mode: str = "off"
    """Pictures by address: `off`, `allowlist` (from `url_hosts`) or `public` (from any public address)."""
    url_hosts: str = ""
    """Names for `allowlist`, separated by commas; `*.example.org` stands for all names below it."""
    url_ports: str = "80,443"
    """Ports that addresses may name, separated by commas."""
    url_seconds: float = 10.0
    """How long the pictures of one request may take to be fetched."""
    url_max_fetches: int = 32
    """Pictures fetched at the same time."""
    url_max_fetches_per_caller: int = 8
    """Pictures fetched at the same time on behalf of one key, or of one peer without a key."""
    metrics_port: int = 0
    """Port on 127.0.0.1 for `/metrics` alone, without a key; 0 has it among the other routes."""
    log_format: str = "text"
    """Lines of the log: `text`, or `json` with one object per line."""
    tracing: bool = False
    """Whether spans go to OpenTelemetry; needs the extra `otel` and its OTEL_* variables."""
    ray_address: str = ""
    """A Ray cluster that runs already, as its own tools name it; empty for a Ray of this machine alone."""
    min_replicas: int = 1
    """Replicas that always run, with workers=ray."""
    max_replicas: int = 2
    """Replicas that run when there is work for them, with workers=ray."""
    ongoing_per_replica: float = 8.0
    """Requests in work per replica above which another one is started, and below which one is stopped."""
    replica_threads: int = 0
    """Cores of one replica; 0 is an equal share of the machine's."""
    upscale_seconds: float = 10.0
    """How long there must be more work before a replica is started."""
    downscale_seconds: float = 120.0
    """How long there must be less work before a replica is stopped."""

    def __post_init__(self) -> None:
        try:
            self._check()
        except ConfigError as error:
            named = [field.name for field in fields(self) if re.search(rf"\b{field.name}\b", error.message)]
            variables = " and ".join(VARIABLE_PREFIX + name.upper() for name in named)
            remedy = f"{error.remedy} Variables: {variables}.".strip()
            raise ConfigError(error.message, remedy) from error

    def _check(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}; it must be from 0 to 65535.")
        self._check_each()
        self._check_people()
        if self.memory_budget_bytes and self.workers != "process":
            raise ConfigError(
                f"memory_budget_bytes is set, and with workers={self.workers} models share one memory.",
                "Use workers=process.",
            )
        self.ports()
        if self.workers == "ray":
            self._check_replicas()
        if self.require_keys and self.reservation_seconds <= self.request_seconds:
            raise ConfigError(
                f"reservation_seconds is {self.reservation_seconds:g}, not above request_seconds "
                f"({self.request_seconds:g}): a charge would be given back while its request is in work."
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
        if not self.insecure and not self.require_keys and not _is_loopback(self.host):
            raise ConfigError(
                f"host is {self.host!r}, which other machines can reach, and no key is asked for.",
                "Listen on 127.0.0.1, ask for keys with --require-keys, "
                "or add --insecure to serve without keys on purpose.",
            )

    def ports(self) -> tuple[int, ...]:
        """The ports of `url_ports`.

        Raises:
            ConfigError: one is no port.
        """
        words = [word.strip() for word in self.url_ports.split(",") if word.strip()]
        if not words or not all(word.isascii() and word.isdigit() and len(word) < 6 for word in words):
            raise ConfigError(f"url_ports is {self.url_ports!r}; it must be numbers such as 80,443.")
        return tuple(int(word) for word in words)

    def host_names(self) -> frozenset[str] | None:
        """Names under which requests may address the server, in lower case; None for any."""
        if self.insecure or self.require_keys:
            return None  # a page of another site has no key to send
        return frozenset({"localhost", "127.0.0.1", "::1", self.host.lower()})

    def _check_replicas(self) -> None:
        if self.min_replicas > self.max_replicas:
            raise ConfigError(
                f"min_replicas is {self.min_replicas}, more than max_replicas ({self.max_replicas})."
            )
        if self.metrics_port:
            raise ConfigError(
                "metrics_port is set, and replicas cannot share one port for figures.",
                "Leave it out; /metrics answers for one replica at a time.",
            )
        if self.require_keys and self.max_replicas > 1 and self.database.startswith("sqlite"):
            raise ConfigError(
                f"database is SQLite, which one process writes at a time, and max_replicas is "
                f"{self.max_replicas}.",
                "Name a PostgreSQL: CLIPWORKS_DATABASE=postgresql+psycopg://user@host/name.",
            )

    def _check_people(self) -> None:
        if not 0 <= self.signups_per_day <= 1_000_000:
            raise ConfigError(f"signups_per_day is {self.signups_per_day}; it must be from 0 to 1,000,000.")
        if round(self.signup_credit_usd, 6) != self.signup_credit_usd:
            raise ConfigError(
                f"signup_credit_usd is {self.signup_credit_usd}; a US dollar has six decimals here."
            )
        if self.public_url and not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+", self.public_url):
            raise ConfigError(
                f"public_url is {self.public_url!r}; it must be scheme and host, such as "
                "https://clip.example.org."
            )
        if bool(self.oidc_issuer) != bool(self.oidc_client_id):
            raise ConfigError("oidc_issuer and oidc_client_id go together: one of them is missing.")

    def _check_each(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in (int, float) and field.name not in MAY_BE_ZERO and not 0 < value < math.inf:
                raise ConfigError(f"{field.name} is {value}; it must be above 0 and finite.")
        if not 0 <= self.signup_credit_usd <= 1e6:
            raise ConfigError(
                f"signup_credit_usd is {self.signup_credit_usd}; it must be from 0 to 1,000,000."
            )
        if not 0 <= self.metrics_port <= 65535:
            raise ConfigError(f"metrics_port is {self.metrics_port}; it must be from 0 to 65535.")
        if self.metrics_port and self.metrics_port == self.port:
            raise ConfigError(
                f"metrics_port and port are both {self.port}; figures and requests need a port each.",
                "Change CLIPWORKS_METRICS_PORT or --port.",
            )
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be {' or '.join(choices)}.")


def read_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings given as `CLIPWORKS_*` variables, ready for `ServeSettings(**values)`.

    Args:
        environ: usually `os.environ`; `CLIPWORKS_PORT=9000` sets `port`, and so on.

    Raises:
        ConfigError: a value is not of its field's type.
    """
    values: dict[str, Any] = {}
    for field in fields(ServeSettings):
        variable = VARIABLE_PREFIX + field.name.upper()
        if variable in environ:
            assert isinstance(field.type, type)
            values[field.name] = _parse(variable, environ[variable], field.type)
    return values


def misspelt_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that look like a setting and are none -> the setting that may be meant."""
    known = [field.name.upper() for field in fields(ServeSettings)]
    given = [
        name.removeprefix(VARIABLE_PREFIX) for name in sorted(environ) if name.startswith(VARIABLE_PREFIX)
    ]
    near = {name: get_close_matches(name, known, 1, 0.8) for name in given if name not in known}
    return {VARIABLE_PREFIX + name: VARIABLE_PREFIX + found[0] for name, found in near.items() if found}


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
