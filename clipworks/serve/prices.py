"""What the work costs: a table of prices, and money as whole millionths of a US dollar.

A price is a decimal text such as "0.047" and never a binary fraction; the cost of a request is
rounded once, up to the next millionth, so that no work is free because it is small.
"""

import csv
import io
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from importlib.resources import files
from pathlib import Path

from clipworks.errors import ConfigError

ANY_MODEL = "*"
MICRO = 1_000_000
MAX_USD = Decimal(1_000_000_000)
_MAX_CHARACTERS = 40
_COLUMNS = ("model", "usd_per_1k_images", "usd_per_1k_texts")


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What one model costs."""

    model: str
    """Id of the model, or `*` for every model without a row of its own."""
    usd_per_1k_images: str
    """US dollars for 1,000 pictures, a decimal number."""
    usd_per_1k_texts: str
    """US dollars for 1,000 texts, a decimal number."""

    def __post_init__(self) -> None:
        for name in _COLUMNS[1:]:
            _decimal(getattr(self, name), f"{name} of {self.model}")

    def cost_micro_usd(self, *, images: int, texts: int) -> int:
        """The cost of a request, millionths of a US dollar, rounded up."""
        per_1k = Decimal(self.usd_per_1k_images) * images + Decimal(self.usd_per_1k_texts) * texts
        return int((per_1k * (MICRO // 1000)).to_integral_value(ROUND_CEILING))


class Prices:
    """The prices of a server."""

    def __init__(self, rows: dict[str, Price]) -> None:
        self._rows = rows
        self._overrides: dict[str, Price] = {}

    def of(self, model: str) -> Price:
        """The price of a model: what was set last, its own row, or that of any other model."""
        return self._overrides.get(model) or self._rows.get(model) or self._rows[ANY_MODEL]

    def override(self, model: str, price: Price | None) -> None:
        """Set a model's price from the next request on; None for that of the rows."""
        if price is None:
            self._overrides.pop(model, None)
        else:
            self._overrides[model] = price


def read_prices(path: Path | None = None) -> Prices:
    """The prices that come with the package, with the rows of a file over them.

    Args:
        path: CSV with the columns model, usd_per_1k_images and usd_per_1k_texts; others are left alone.

    Raises:
        ConfigError: the file cannot be read, has no such columns, or a price is no number from 0 up.
    """
    rows = _read((files("clipworks.serve") / "prices.csv").read_text(encoding="utf-8"), "prices.csv")
    if path is not None:
        try:
            text = path.expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            words = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigError(
                f"The prices {path} cannot be read: {words}.", "Check CLIPWORKS_PRICES."
            ) from error
        rows |= _read(text, str(path))
    return Prices(rows)


def parse_usd(text: str, name: str, *, may_be_negative: bool = False) -> int:
    """An amount such as "5" or "0.25" in millionths of a US dollar.

    Raises:
        ConfigError: it is no decimal number, too fine, too large, or below 0.
    """
    amount = _decimal(text.strip().removeprefix("$"), name, may_be_negative=may_be_negative) * MICRO
    if amount != amount.to_integral_value():
        raise ConfigError(f"{name} is {text[:40]!r}; a US dollar has six decimals here.")
    return int(amount)


def show_usd(micro_usd: int) -> str:
    """Millionths of a US dollar as a decimal text with six decimals, such as "0.000047"."""
    sign = "-" if micro_usd < 0 else ""
    return f"{sign}{abs(micro_usd) // MICRO}.{abs(micro_usd) % MICRO:06d}"


def _read(text: str, place: str) -> dict[str, Price]:
    table = csv.DictReader(io.StringIO(text))
    missing = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
    if missing:
        raise ConfigError(
            f"{place} has no column {missing[0]}.", f"Its first line must name {', '.join(_COLUMNS)}."
        )
    rows = ({name: (row[name] or "").strip() for name in _COLUMNS} for row in table)
    return {row["model"]: Price(**row) for row in rows}


def _decimal(text: str, name: str, *, may_be_negative: bool = False) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    is_long = len(text) > _MAX_CHARACTERS  # a ledger keeps a price as it is written
    if is_long or not value.is_finite() or abs(value) > MAX_USD or (value < 0 and not may_be_negative):
        kind = "a decimal number" if may_be_negative else "a decimal number from 0 up"
        raise ConfigError(f"{name} is {text[:40]!r}; it must be {kind}, such as 0.047.")
    return value
