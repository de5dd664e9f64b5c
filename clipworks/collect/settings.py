"""What `collect fetch` can be told: one group of settings for each part of the work."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args

from clipworks.collect.consent import ConsentRules
from clipworks.collect.hosts import HostRules
from clipworks.collect.images import ImageRules
from clipworks.collect.layout import ROW_DIGITS
from clipworks.collect.lists import Retry
from clipworks.collect.visits import VisitRules
from clipworks.crawler import CrawlRules
from clipworks.errors import ConfigError
from clipworks.options import with_settings

Verify = Literal["none", "md5", "sha256"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchConfig:
    """All settings of fetching; the names of all groups are different."""

    rows_per_shard: int = 10_000
    parallel_requests: int = 4096
    """Hosts that are asked at the same time, all shards together; as many as the system allows files."""
    shards_at_once: int = 4
    """Shards in work at the same time: while one waits for its last hosts, the next begins."""
    shard_seconds: float = 1800.0
    """After that, rows of a shard that are not done are marked `deadline`, to be retried."""
    web: bool = True
    """Ask the web for what no archive holds."""
    verify: Verify = "none"
    """A column of the input that holds this hash of the file; what differs is not kept."""
    retry: Retry = "temporary"
    """Which failures --retry-failed is about."""
    images: ImageRules = field(default_factory=ImageRules)
    visits: VisitRules = field(default_factory=VisitRules)
    hosts: HostRules = field(default_factory=HostRules)
    consent: ConsentRules = field(default_factory=ConsentRules)
    crawl: CrawlRules = field(default_factory=CrawlRules)

    def __post_init__(self) -> None:
        if not 1 <= self.rows_per_shard <= 10**ROW_DIGITS:
            raise ConfigError(
                f"rows_per_shard is {self.rows_per_shard}; it must be from 1 to {10**ROW_DIGITS}."
            )
        if not 1 <= self.parallel_requests <= 20_000 or not 1 <= self.shards_at_once <= 64:
            raise ConfigError("parallel_requests must be from 1 to 20000, and shards_at_once from 1 to 64.")
        if self.shard_seconds <= 0:
            raise ConfigError(f"shard_seconds is {self.shard_seconds}; it must be above 0.")
        for name, kind in (("verify", Verify), ("retry", Retry)):
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(get_args(kind))}."
                )

    def result(self) -> dict[str, Any]:
        """What changes the bytes of a shard, as JSON values; the rest may differ when a run is resumed."""
        return {
            "rows_per_shard": self.rows_per_shard,
            "web": self.web,
            "verify": self.verify,
            **asdict(self.images),
            **asdict(self.consent),
        }


def with_fetch_settings(config: FetchConfig, settings: Iterable[str]) -> FetchConfig:
    """A copy with `name=value` settings applied, whatever group the name is in.

    Raises:
        ConfigError: as `with_settings`.
    """
    for setting in settings:
        name = setting.partition("=")[0]
        group = next((one for one in _groups(config) if name in _names(getattr(config, one))), None)
        if group is None:
            config = with_settings(config, [setting])
        else:
            config = replace(config, **{group: with_settings(getattr(config, group), [setting])})
    return config


def _groups(config: FetchConfig) -> list[str]:
    return [one.name for one in fields(config) if is_dataclass(getattr(config, one.name))]


def _names(group: Any) -> set[str]:
    return {one.name for one in fields(group)}
