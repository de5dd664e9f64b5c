"""What the catalogue's form asks for: words, conditions and an order; all of it stands in the address."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from clipworks.serve.problems import nearest, shown
from clipworks.serve.site.entry import STANDINGS, Entry

MAX_WORDS = 200

Test = Callable[[Entry], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One condition that the form offers."""

    value: str
    """As it stands in the address."""
    words: str
    """As the form shows it."""
    test: Test
    """Whether a model meets it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """One field of the form."""

    name: str
    """As it stands in the address."""
    words: str
    """As the form shows it."""
    choices: tuple[Choice, ...]
    """What may be chosen; nothing is chosen at first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a form asks for, and the models that meet it."""

    words: str
    """What was searched for."""
    chosen: Mapping[str, str]
    """Name of a filter, or `sort` -> value, where one was chosen."""
    entries: Sequence[Entry]
    """The models, in the order asked for."""
    faults: Sequence[str]
    """What in the address means nothing, in sentences."""


def filters_for(entries: Sequence[Entry]) -> tuple[Filter, ...]:
    """The fields of the form; licences and tasks are those that occur."""
    tasks = list(dict.fromkeys(task for entry in entries for task in entry.tasks))
    licences = sorted({entry.licence for entry in entries})
    standings = [standing for standing in STANDINGS if any(e.standing == standing for e in entries)]
    return (
        Filter(
            name="task",
            words="Task",
            choices=tuple(_choice(task, _has_task(task)) for task in tasks),
        ),
        Filter(
            name="licence",
            words="Licence",
            choices=(
                Choice(value="commercial", words="allows commercial use", test=lambda e: e.is_commercial),
                *(_choice(one, _has_licence(one)) for one in licences),
            ),
        ),
        Filter(name="size", words="Size", choices=_sizes()),
        Filter(
            name="status",
            words="Status",
            choices=tuple(_choice(one, _stands(one)) for one in standings),
        ),
        Filter(name="price", words="Price", choices=_prices()),
    )


def sorts() -> Mapping[str, tuple[str, Callable[[Entry], Any]]]:
    """Name of an order -> its words, and what models are ordered by; what is not known comes last."""
    return {
        "standing": ("what can be used first", lambda entry: STANDINGS.index(entry.standing)),
        "demand": ("most wanted", lambda entry: (-entry.votes, -entry.num_requests)),
        "price": ("cheapest", lambda entry: entry.usd_per_1k_images),
        "imagenet": ("best on ImageNet", lambda entry: _falling(entry.specs.get("imagenet"))),
        "average": ("best on 38 tasks", lambda entry: _falling(entry.specs.get("average_of_38"))),
        "size": ("smallest", lambda entry: entry.num_parameters or float("inf")),
        "speed": (
            "least work per picture",
            lambda entry: entry.specs.get("gflops", {}).get("image") or float("inf"),
        ),
        "name": ("by name", lambda entry: entry.id.lower()),
    }


def narrow(entries: Sequence[Entry], given: Mapping[str, str]) -> Asked:
    """The models that a form asks for. What means nothing is said and left out.

    Args:
        given: the fields of the address; those of other names are left alone.
    """
    words, faults, chosen = given.get("q", "").strip(), list[str](), dict[str, str]()
    if len(words) > MAX_WORDS:
        words = words[:MAX_WORDS]
        faults.append(f"Only the first {MAX_WORDS} characters of the search were used.")
    found = [entry for entry in entries if all(word in _text(entry) for word in words.lower().split())]
    for one in filters_for(entries):
        value = given.get(one.name, "").strip()
        if not value:
            continue
        known = {choice.value: choice for choice in one.choices}
        if value not in known:
            faults.append(f"There is no {one.words.lower()} {shown(value)}. {nearest(value, list(known))}")
            continue
        chosen[one.name] = value
        found = [entry for entry in found if known[value].test(entry)]
    order = given.get("sort", "").strip() or "standing"
    if order not in sorts():
        faults.append(f"There is no order {shown(order)}. {nearest(order, list(sorts()))}")
        order = "standing"
    chosen["sort"] = order
    return Asked(words=words, chosen=chosen, entries=sorted(found, key=sorts()[order][1]), faults=faults)


def _choice(words: str, test: Test) -> Choice:
    return Choice(value=words.replace(" ", "-"), words=words, test=test)


def _has_task(task: str) -> Test:
    return lambda entry: task in entry.tasks


def _has_licence(licence: str) -> Test:
    return lambda entry: entry.licence == licence


def _stands(standing: str) -> Test:
    return lambda entry: entry.standing == standing


def _sizes() -> tuple[Choice, ...]:
    def within(least: float, most: float) -> Test:
        return lambda entry: entry.num_parameters is not None and least <= entry.num_parameters < most

    return (
        Choice(value="small", words="small: below 50 M", test=within(0, 50e6)),
        Choice(value="base", words="base: 50 to 200 M", test=within(50e6, 200e6)),
        Choice(value="large", words="large: 200 M and more", test=within(200e6, float("inf"))),
    )


def _prices() -> tuple[Choice, ...]:
    def below(most: str) -> Test:
        return lambda entry: entry.usd_per_1k_images <= Decimal(most)

    return tuple(
        Choice(value=most, words=f"up to ${most} per 1k pictures", test=below(most))
        for most in ("0.02", "0.05", "0.055", "0.1")
    )


def _text(entry: Entry) -> str:
    """What search words are looked for in."""
    row = entry.row
    parts = [entry.id, entry.title, entry.licence, entry.standing, *entry.tasks]
    if row is not None:
        parts += [*row.short_names, row.architecture, row.training_data]
    if entry.model is not None:
        parts += entry.model.spec.aliases
    return " ".join(parts).lower()


def _falling(value: float | None) -> float:
    return float("inf") if value is None else -value
