"""Every model that the pages know: those of this server, and the known ones that it does not serve yet.

A served model and a row of `clipworks.model.catalogue` are the same where the one was loaded from the other.
What files say of a model is read once, on the first visit; state, price and votes are those of the moment.
"""

import datetime
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipworks.errors import ClipworksError
from clipworks.model.catalogue import CatalogueRow, rows
from clipworks.model.outline import outline
from clipworks.model.pull import known_row
from clipworks.model.scores import scores_of
from clipworks.model.specs import describe_outline, describe_row
from clipworks.serve.problems import RequestError, nearest, shown
from clipworks.serve.site.entry import Entry, Standing, names_of

if TYPE_CHECKING:
    from clipworks.model.measured import MeasuredScore
    from clipworks.serve.prices import Prices
    from clipworks.serve.served import ServedModel
    from clipworks.serve.service import Service

_STANDING_OF_STATE: Mapping[str, Standing] = {
    "live": "live",
    "idle": "live",
    "unloading": "live",
    "loading": "loading",
    "coming_soon": "coming soon",
}

_PRIVATE = ("folder", "weights_file", "id", "source")
"""What the files say of themselves and nobody else needs to know."""


class Catalogue:
    """The models of a server and those that are known by name.

    Args:
        service: the models of this server.
        prices: what each costs.
        measured: every number that was measured here.
    """

    def __init__(
        self, service: "Service", prices: "Prices", measured: "Sequence[MeasuredScore]" = ()
    ) -> None:
        self._service = service
        self._prices = prices
        self._measured = measured
        self._specs: dict[str, Mapping[str, Any]] = {}

    def entries(self, votes: Mapping[str, int] | None = None) -> list[Entry]:
        """All of them: this server's first, in its order, then the known ones that it has not.

        It reads files on the first call, and none later.

        Args:
            votes: id -> accounts that want it.
        """
        votes = votes or {}
        found = [self._served(model, votes) for model in self._service.models.values()]
        have = {entry.row.id for entry in found if entry.row is not None} | {entry.id for entry in found}
        return found + [self._unserved(row, votes) for row in rows() if row.id not in have]

    def entry(self, name: str, votes: Mapping[str, int] | None = None) -> Entry:
        """The model of an id, alias or short name; upper and lower case are the same.

        Raises:
            RequestError: there is none; the nearest ids are named.
        """
        entries = self.entries(votes)
        exact = [entry for entry in entries if entry.id == name]
        folded = [entry for entry in entries if name.lower() in names_of(entry)]
        if found := exact or folded:
            return found[0]
        raise RequestError(
            f"There is no model {shown(name)}.",
            nearest(name, [entry.id for entry in entries]),
            code="model_not_found",
            param="model",
        )

    def nearest(self, name: str) -> list[Entry]:
        """The three whose names look most like a name."""
        known = {alias: entry for entry in self.entries() for alias in names_of(entry)}
        close = get_close_matches(name.lower()[:200], known, n=len(known), cutoff=0.0)
        return list({known[alias].id: known[alias] for alias in close}.values())[:3]

    def _served(self, model: "ServedModel", votes: Mapping[str, int]) -> Entry:
        row = known_row(model.spec.source or model.spec.id)
        specs = _with_facts(self._specs_of(model.name, row, model.spec.source), model)
        return self._entry(model.name, row, specs, _standing_of(model), model=model, votes=votes)

    def _unserved(self, row: CatalogueRow, votes: Mapping[str, int]) -> Entry:
        standing: tuple[Standing, str] = ("coming soon", "This server does not have its weights yet.")
        return self._entry(row.id, row, self._specs_of(row.id, row, ""), standing, model=None, votes=votes)

    def _entry(
        self,
        name: str,
        row: CatalogueRow | None,
        specs: Mapping[str, Any],
        standing: tuple[Standing, str],
        *,
        model: "ServedModel | None",
        votes: Mapping[str, int],
    ) -> Entry:
        fingerprint = specs.get("fingerprint") or ""
        names = {name, *((row.id,) if row is not None else ())}
        title, tagline = _words_of(name, row)
        return Entry(
            id=name,
            title=title,
            tagline=tagline,
            standing=standing[0],
            note=standing[1],
            row=row,
            specs=specs,
            scores=scores_of(row.id) if row is not None else (),
            measured=[
                one
                for one in self._measured
                if (one.fingerprint == fingerprint if fingerprint else one.model in names)
            ],
            model=model,
            price=self._prices.of(name),
            votes=votes.get(name, 0),
            num_requests=0 if model is None else self._service.metrics.minutes.whole(name).num_requests,
        )

    def _specs_of(self, name: str, row: CatalogueRow | None, source: str) -> Mapping[str, Any]:
        if name not in self._specs:
            self._specs[name] = {k: v for k, v in _read(row, source).items() if k not in _PRIVATE}
        return self._specs[name]


def _words_of(name: str, row: CatalogueRow | None) -> tuple[str, str]:
    """Title and one sentence more."""
    if row is None:
        return name, "A model of this server's own."
    if row.source == "builtin":
        return row.id, f"{row.title}."
    return row.title, f"Trained on {row.training_data}."


def _read(row: CatalogueRow | None, source: str) -> Mapping[str, Any]:
    """What is written of a model; a damaged file says nothing here and is refused when it is loaded."""
    if row is not None:
        return describe_row(row)
    if not source or not Path(source).exists():
        return {}
    try:
        return describe_outline(outline(Path(source)))
    except (ClipworksError, OSError):
        return {}


def _with_facts(specs: Mapping[str, Any], model: "ServedModel") -> Mapping[str, Any]:
    facts = model.facts
    if facts is None:
        return specs
    return {
        **specs,
        "dim": facts.dim,
        "image_size": facts.image_size,
        "context_length": facts.context_length,
        "precision": facts.precision,
        "fingerprint": facts.fingerprint,
        "logit_scale": facts.logit_scale,
    }


def _standing_of(model: "ServedModel") -> tuple[Standing, str]:
    spec = model.spec
    if spec.is_over(datetime.date.today()):
        return "shut down", f"It was shut down on {spec.shutdown_date}."
    if spec.status == "coming_soon":
        return "coming soon", "This server is going to have it."
    if spec.status == "deprecated":
        until = f"until {spec.shutdown_date}" if spec.shutdown_date else "for the time being"
        return "deprecated", f"It is served {until}; move to another one."
    note = "It is loaded by the first request." if model.status == "idle" else ""
    return _STANDING_OF_STATE.get(model.status, "not answering"), note
