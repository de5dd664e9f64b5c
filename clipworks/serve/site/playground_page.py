"""The page `/playground`: pictures against words, as bars, as a matrix and as heat maps.

The scripts in `static/` ask the API itself. Without them the page's form is answered here, by the same
functions as the API's routes, and charged in the same way. A link to the page holds everything but
pictures that were uploaded.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from clipworks.errors import ClipworksError
from clipworks.model.heads import Vectors
from clipworks.search.store import Item
from clipworks.serve.call import Call
from clipworks.serve.classify import item_cosines, label_cosines
from clipworks.serve.edge import log_failure, request_id
from clipworks.serve.endpoints import work_endpoint
from clipworks.serve.heatmap import patch_cosines
from clipworks.serve.inputs import Picture, read_labels, read_picture, read_texts
from clipworks.serve.pictures import picture_address
from clipworks.serve.problems import RequestError, UnavailableError, message_of, shown, status_and_code
from clipworks.serve.questions import picture_path
from clipworks.serve.site.layout import Layout, say_when, viewer_of
from clipworks.serve.site.trial import ALL_MODELS, FIELDS, MAX_PICTURES, Trial, read_trial
from clipworks.serve.traces import current_trace
from clipworks.serve.visitors import TOKEN_FIELD, check_form_of

if TYPE_CHECKING:
    from clipworks.serve.served import ServedModel
    from clipworks.serve.service import Service

NUM_SAMPLES = 8
MAX_BARS = 12
"""Labels shown of a picture; the others are counted."""
MAX_MAPS = 8
"""Heat maps shown of a picture."""

Samples = Callable[[], Awaitable[Sequence[Item]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A picture on the page without scripts."""

    name: str
    address: str = ""
    """Where the page can show it from; empty for what was sent, which is never sent back."""


class PlaygroundPage:
    """The page.

    Args:
        service: answers.
        layout: the frame.
        samples: pictures of the gallery to begin with.
    """

    def __init__(self, service: "Service", layout: Layout, samples: Samples) -> None:
        self._service = service
        self._layout = layout
        self._samples = samples

    async def show(self, request: Request) -> Response:
        """GET /playground: filled in as the link says; nothing is computed."""
        given = request.query_params
        trial = Trial()
        try:
            trial = read_trial({name: given.getlist(name) for name in given})
            if trial.model not in ("", ALL_MODELS):
                self._service.named(trial.model)
        except RequestError as error:
            return await self._refuse(request, trial, error)
        return await self._render(request, trial, {})

    async def answer(self, request: Request) -> Response:
        """POST /playground: the form, answered on the page, for browsers without scripts."""
        trial = Trial()

        async def work(call: Call) -> Response:
            nonlocal trial
            trial = read_trial(call.payload)
            check_form_of(request, call.payload.get(TOKEN_FIELD))
            outcomes = await self._outcomes(call, trial)
            return await self._render(request, trial, {"outcomes": outcomes})

        try:
            return await work_endpoint(self._service, work, FIELDS)(request)
        except ClipworksError as error:
            return await self._refuse(request, trial, error)

    async def _refuse(self, request: Request, trial: Trial, error: ClipworksError) -> Response:
        status, current_trace().code = status_and_code(error)
        if status >= 500 and not isinstance(error, UnavailableError):
            log_failure(error, request_id(request))
        message = message_of(error, status, request_id(request))
        answer = await self._render(request, trial, {"message": message}, status)
        say_when(answer, error)
        return answer

    async def _outcomes(self, call: Call, trial: Trial) -> list[dict[str, Any]]:
        """What each model that was asked says, in words for the template."""
        needs_pictures = trial.mode != "matrix" or trial.against != "texts"
        pictures, seen = await self._read_pictures(call, trial) if needs_pictures else ([], [])
        if needs_pictures and not pictures:
            raise RequestError("Choose a picture first.", code="missing_field", param="file")
        outcomes = []
        for model in self._chosen(trial):
            started = time.monotonic()
            answer = {"classify": self._bars, "matrix": self._matrix, "heat": self._maps}[trial.mode]
            outcome = await answer(call, model, trial, pictures, seen)
            outcome |= {"model": model.name, "logit_scale": model.engine.logit_scale}
            outcomes.append(outcome | {"milliseconds": round((time.monotonic() - started) * 1000)})
        return outcomes

    async def _bars(
        self, call: Call, model: "ServedModel", trial: Trial, pictures: list[Picture], seen: list[Shown]
    ) -> dict[str, Any]:
        labels, templates = read_labels(
            {"labels": trial.labels, "templates": trial.templates}, self._service.settings
        )
        cosines_NL, usage = await label_cosines(call, model, pictures, labels, templates)
        scores_NL = model.engine.probabilities(cosines_NL)
        rows = []
        for picture, scores, cosines in zip(seen, scores_NL.tolist(), cosines_NL.tolist(), strict=True):
            ranked = sorted(zip(labels, scores, cosines, strict=True), key=lambda one: -one[2])
            rows.append({"picture": picture, "labels": ranked[:MAX_BARS], "rest": len(ranked[MAX_BARS:])})
        return {"kind": "bars", "rows": rows, "usage": usage}

    async def _matrix(
        self, call: Call, model: "ServedModel", trial: Trial, pictures: list[Picture], seen: list[Shown]
    ) -> dict[str, Any]:
        texts = []
        if trial.against != "pictures":
            texts = read_texts({"texts": trial.labels}, "texts", self._service.settings)
        cosines, usage = await item_cosines(call, model, pictures, texts)
        words = [Shown(name=text) for text in texts]
        heads = {"rows": seen or words, "columns": words or seen}
        return {"kind": "matrix", **heads, "cosines": cosines.tolist(), "usage": usage}

    async def _maps(
        self, call: Call, model: "ServedModel", trial: Trial, pictures: list[Picture], seen: list[Shown]
    ) -> dict[str, Any]:
        labels, templates = read_labels(
            {"labels": trial.labels[:MAX_MAPS], "templates": trial.templates}, self._service.settings
        )
        maps_NLRC, usage = await patch_cosines(call, model, pictures, labels, templates)
        rows = [
            {"picture": picture, "maps": _drawn(labels, grids)}
            for picture, grids in zip(seen, maps_NLRC, strict=True)
        ]
        return {"kind": "maps", "rows": rows, "usage": usage}

    def _chosen(self, trial: Trial) -> "list[ServedModel]":
        if trial.model == ALL_MODELS:
            return [model for model in self._service.models.values() if model.status == "live"]
        return [self._service.model({"model": trial.model or self._first()})]

    def _first(self) -> str:
        return next(iter(self._service.fleet.served_names()), "")

    async def _read_pictures(self, call: Call, trial: Trial) -> tuple[list[Picture], list[Shown]]:
        """Uploads first, then the gallery's, then those on the web."""
        settings, given = self._service.settings, call.payload.get("file", [])
        files = [data for data in (given if isinstance(given, list) else [given]) if data]  # none chosen: b""
        names = [f"Picture {place}" for place in range(1, len(files) + 1)]
        pictures = [read_picture(data, name, settings) for data, name in zip(files, names, strict=True)]
        seen = [Shown(name=name) for name in names]
        captions = self._captions(trial.pictures)
        for identity in trial.pictures:
            data = await asyncio.to_thread(picture_path(self._service, identity).read_bytes)
            pictures.append(Picture(data=data, param=identity))
            seen.append(Shown(name=captions[identity], address=picture_address(identity)))
        for address in trial.addresses:
            pictures.append(read_picture(address, shorten(address), settings))
            seen.append(Shown(name=shorten(address)))
        if len(pictures) > MAX_PICTURES:
            raise RequestError(f"At most {MAX_PICTURES} pictures fit into the playground.", param="file")
        return pictures, seen

    def _captions(self, identities: Sequence[str]) -> dict[str, str]:
        """What the pictures are called that the gallery has."""
        gallery = self._service.gallery
        items = [gallery.get(identity) for identity in identities] if gallery is not None else []
        return {item.id: item.caption or item.id for item in items if item is not None}

    async def _render(
        self, request: Request, trial: Trial, results: dict[str, Any], status: int = 200
    ) -> Response:
        settings = self._service.settings
        may_run = not settings.require_keys or viewer_of(request) is not None
        samples = list(await self._samples())[:NUM_SAMPLES] if may_run and status < 500 else []
        known = {item.id: item.caption or item.id for item in samples}
        chosen = self._captions(trial.pictures) if may_run else {}
        lacking = [shown(one) for one in trial.pictures if one not in chosen and may_run]
        is_told = bool(lacking) and not results.get("message")
        models = [self._service.models[name] for name in self._service.fleet.served_names()]
        content = {
            "trial": replace(trial, model=trial.model or self._first()),
            "results": {"message": "", "outcomes": [], **results},
            "gallery": known | chosen,
            "missing": f"The gallery has no picture {', '.join(lacking)}." if is_told else "",
            "models": models,
            "num_live": sum(model.status == "live" for model in models),
            "takes_addresses": settings.url_mode != "off",
            "may_run": may_run,
            "is_charged": settings.require_keys,
            "max_pictures": MAX_PICTURES,
            "max_bars": MAX_BARS,
        }
        return self._layout.page(request, "playground.html", content, status)


def shorten(address: str) -> str:
    """The end of an address, as the name of the picture there."""
    return re.split(r"[?#]", address)[0].rstrip("/").rsplit("/", 1)[-1][:60] or address[:60]


def _drawn(labels: list[str], maps_LRC: Vectors) -> list[dict[str, Any]]:
    """Heat maps as squares of a strength in 0..1, from the lowest cosine of all maps to the highest."""
    low, high = float(maps_LRC.min()), float(maps_LRC.max())
    drawn = []
    for label, grid_RC in zip(labels, maps_LRC, strict=True):
        strengths = ((grid_RC - low) / max(high - low, 1e-9)).round(3).tolist()
        squares = [(x, y, strength) for y, row in enumerate(strengths) for x, strength in enumerate(row)]
        figures = {"low": float(grid_RC.min()), "high": float(grid_RC.max())}
        drawn.append({"label": label, **figures, "size": len(strengths), "squares": squares})
    return drawn
