"""Money as pages show it."""

from clipworks.serve.prices import MICRO


def dollars(micro_usd: int) -> str:
    """An amount for people: `$1.00`, `$0.000012`, `−$2.50`."""
    whole, rest = divmod(abs(micro_usd), MICRO)
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{'−' if micro_usd < 0 else ''}${whole:,}.{decimals}"
