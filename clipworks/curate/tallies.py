"""What each rule of a curation saw and kept."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clipworks.curate.expressions import Top, rules_of, words_of
from clipworks.curate.filters import read_filter
from clipworks.curate.pool import Pool
from clipworks.curate.settings import FilterConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One rule of one step."""

    step: int = 0
    """Number of the step, from 1."""
    rule: str
    """The rule as a filter writes it, or what the step asks."""
    unit: str
    """`rows`, `texts` or `pictures`."""
    seen: int
    kept: int


def rows_rule(words: str, manifest: Mapping[str, Any]) -> Rule:
    """What a stage that keeps rows counted."""
    counts = manifest["counts"]
    seen, kept = counts.get("rows in", 0), counts.get("rows kept", 0)
    return Rule(rule=words, unit="rows", seen=seen, kept=kept)


def filter_rules(pool: Pool, settings: FilterConfig, manifest: Mapping[str, Any], unit: str) -> list[Rule]:
    """What each rule of a filter counted, in the order of the filter."""
    counts = manifest["counts"]
    rules = []
    for rule in dict.fromkeys(rules_of(read_filter(pool, settings))):
        name = shown = words_of(rule)
        if isinstance(rule, Top):
            name = f"{rule.name} >= {manifest['config']['thresholds'][shown]}"
            shown = f"{shown}: {name}"
        seen, kept = counts.get(f"{name} in", 0), counts.get(f"{name} kept", 0)
        rules.append(Rule(rule=shown, unit=unit, seen=seen, kept=kept))
    return rules


def rules_as_json(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """Rules as JSON values."""
    return [asdict(rule) for rule in rules]
