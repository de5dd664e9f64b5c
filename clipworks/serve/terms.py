"""What a new key may do, read from fields that somebody filled in."""

from collections.abc import Mapping
from typing import Any

from clipworks.errors import ConfigError
from clipworks.serve import keys
from clipworks.serve.keys import KeyTerms
from clipworks.serve.prices import parse_usd
from clipworks.serve.problems import RequestError, shown

LIMIT_FIELDS = ("requests_per_minute", "images_per_minute", "bytes_per_minute")
MAX_DAYS = 3650


def read_terms(given: Mapping[str, Any]) -> KeyTerms:
    """What a new key may do, from the fields of `KEY_FIELDS`.

    Raises:
        RequestError: a field cannot be used.
    """
    budget, days = given.get("budget_usd"), given.get("expires_in_days")
    for name in LIMIT_FIELDS:
        if given.get(name) is not None and (
            isinstance(given[name], bool) or not isinstance(given[name], int)
        ):
            raise RequestError(f"{name} is {shown(given[name])}; it must be a whole number.", param=name)
    if days is not None and (
        isinstance(days, bool) or not isinstance(days, int | float) or not 0 < days <= MAX_DAYS
    ):
        raise RequestError(
            f"expires_in_days is {shown(days)}; it must be above 0 and at most {MAX_DAYS}.",
            param="expires_in_days",
        )
    return KeyTerms(
        name=keys.check_name(given.get("name")),
        scopes=_texts(given, "scopes", keys.DEFAULT_SCOPES),
        models=_texts(given, "models", ()),
        expires_at_ms=None if days is None else keys.now_ms() + round(days * 86_400_000),
        budget_micro_usd=None if budget is None else micro_usd(budget, "budget_usd"),
        budget_period=str(given.get("budget_period") or "total"),
        requests_per_minute=given.get("requests_per_minute"),
        images_per_minute=given.get("images_per_minute"),
        bytes_per_minute=given.get("bytes_per_minute"),
    )


def micro_usd(value: object, name: str) -> int:
    """An amount of US dollars from JSON: a decimal text, or a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RequestError(f'{name} is {shown(value)}; it must be an amount such as "5.00".', param=name)
    try:
        return parse_usd(str(value), name, may_be_negative=True)
    except ConfigError as error:
        raise RequestError(error.message, error.remedy, param=name) from error


def _texts(given: Mapping[str, Any], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    values = given.get(name)
    if values is None:
        return default
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise RequestError(f"{name} must be a list of texts.", param=name)
    return tuple(values)
