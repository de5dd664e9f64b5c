"""Spans of days that a request asks for, UTC, both ends included."""

from datetime import UTC, date, datetime, timedelta

from starlette.requests import Request

from clipworks.serve.problems import RequestError, shown

DAYS_SHOWN = 30
MAX_DAYS = 731


def read_days(request: Request) -> tuple[str, str]:
    """The first and the last day that a request's `from` and `to` name, or the last 30.

    Raises:
        RequestError: one is no day, or they are no span.
    """
    last = read_day(request, "to", datetime.now(UTC).date())
    first = read_day(request, "from", _first_day(last))
    if not 0 <= (last - first).days < MAX_DAYS:
        raise RequestError(
            f"from {first} to {last} is no span of 1 to {MAX_DAYS} days.", "Ask for less.", param="from"
        )
    return first.isoformat(), last.isoformat()


def last_days() -> tuple[str, str]:
    """The first and the last of the last 30 days."""
    today = datetime.now(UTC).date()
    return _first_day(today).isoformat(), today.isoformat()


def read_day(request: Request, name: str, default: date | None = None) -> date:
    """The day that a parameter of a request names.

    Args:
        default: what a missing one stands for.

    Raises:
        RequestError: it is no day, or missing without a default.
    """
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    text = text or ""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = date.min
    if day.year < 1970 or len(text) != 10:
        raise RequestError(f"{name} is {shown(text)}; it must be a day such as 2026-11-22.", param=name)
    return day


def _first_day(last: date) -> date:
    return max(last - timedelta(days=DAYS_SHOWN - 1), date(1970, 1, 1))
