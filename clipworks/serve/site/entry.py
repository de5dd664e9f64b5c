"""One model as the pages know it: what it is called, whether it can be used, what is known of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from clipworks.model.catalogue import CatalogueRow
    from clipworks.model.measured import MeasuredScore
    from clipworks.model.scores import Score
    from clipworks.serve.prices import Price
    from clipworks.serve.served import ServedModel

Standing = Literal["live", "loading", "not answering", "coming soon", "deprecated", "shut down"]

STANDINGS: tuple[Standing, ...] = (
    "live",
    "loading",
    "not answering",
    "deprecated",
    "coming soon",
    "shut down",
)
"""In the order in which the catalogue shows them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One model, as its card and its page show it."""

    id: str
    """What requests call it, or would."""
    title: str
    """One line for people."""
    tagline: str
    """One sentence more."""
    standing: Standing
    """Whether it can be used."""
    note: str
    """What else is to be said of that; mostly nothing."""
    row: "CatalogueRow | None"
    """What is known of it by name; None for a model of this server's own."""
    specs: Mapping[str, Any]
    """As `clipworks.model.specs.describe` gives them, less than that where less is known."""
    scores: "Sequence[Score]"
    """Published numbers, or those that come with a built-in model."""
    measured: "Sequence[MeasuredScore]"
    """What was measured here."""
    model: "ServedModel | None"
    """The model behind it; None where this server has none."""
    price: "Price"
    """What it costs, or would."""
    votes: int
    """Accounts that want it."""
    num_requests: int
    """Requests that named it, since the server began and within a day."""

    @property
    def is_usable(self) -> bool:
        """Whether requests are taken."""
        return self.standing in ("live", "loading", "deprecated", "not answering")

    @property
    def num_parameters(self) -> int | None:
        """Of both towers; None where nobody knows."""
        found: int | None = self.specs.get("parameters", {}).get("total")
        return found

    @property
    def tasks(self) -> tuple[str, ...]:
        """What it is for, in the words of the filter."""
        subject = "drawings and icons" if self.row and self.row.source == "builtin" else "photographs"
        return ("classification", "retrieval", "embeddings", *((subject,) if self.row else ()))

    @property
    def licence(self) -> str:
        """Of the weights, short."""
        if self.row is None:
            return "not stated"
        return self.row.licence if len(self.row.licence) < 20 else "none stated"

    @property
    def is_commercial(self) -> bool:
        """Whether the licence of the weights allows commercial use in so many words."""
        return self.specs.get("commercial_use") == "allowed"

    @property
    def usd_per_1k_images(self) -> Decimal:
        """The price as a number, for ordering."""
        return Decimal(self.price.usd_per_1k_images)

    def score(self, task: str, metric: str = "") -> "Score | None":
        """The first score of a task."""
        return next((s for s in self.scores if s.task == task and metric in ("", s.metric)), None)

    def providers(self) -> list[str]:
        """Names of who answers for it."""
        if self.model is None:
            return []
        return [row.name for row in self.model.providers.rows] or ["local"]


def names_of(entry: Entry) -> set[str]:
    """Everything that leads to a model, in small letters."""
    names = {entry.id}
    if entry.row is not None:
        names |= {entry.row.id, *entry.row.short_names}
    if entry.model is not None:
        names |= set(entry.model.spec.aliases)
    return {name.lower() for name in names}
