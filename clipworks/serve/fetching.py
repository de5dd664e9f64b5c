"""Pictures that a request gives by address: fetched through `net.py`, then treated as if they were sent."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from clipworks.errors import ConfigError, NetError
from clipworks.model.decoder import begins_like_a_picture
from clipworks.net import Fetcher, FetchRules
from clipworks.serve.metrics import Metrics
from clipworks.serve.problems import RequestError
from clipworks.serve.settings import ServeSettings
from clipworks.serve.traces import current_trace

if TYPE_CHECKING:
    from clipworks.serve.inputs import Picture
    from clipworks.serve.losses import Losses

NOT_FETCHED = "cannot be fetched: the address is not allowed, or does not give a picture in time."
"""The same for what is blocked, what does not answer and what is no picture (no port scan by our hand)."""


class PictureFetcher:
    """Fetches the pictures of requests.

    Args:
        settings: whether, from where and how much.
        metrics: hears of every fetch.
        fetcher: asks the web; one by the settings if None.
    """

    def __init__(self, settings: ServeSettings, metrics: Metrics, fetcher: Fetcher | None = None) -> None:
        self._settings = settings
        self._metrics = metrics
        self._fetcher = fetcher or Fetcher(rules_of(settings))

    def close(self) -> None:
        """As `Fetcher.close`: an application may be started more than once."""
        self._fetcher.close()

    async def filled(
        self, pictures: "Sequence[Picture]", model: str, losses: "Losses | None" = None
    ) -> "Sequence[Picture]":
        """The same pictures, in order, all of them with their files' bytes or base64.

        All addresses of one request are asked at the same time and share one deadline, and what they
        give is limited as the body of a request is.

        Args:
            losses: where given, a picture that cannot be fetched is noted there and stays an address.

        Raises:
            RequestError: one cannot be fetched, or together they are too large; of several the first.
        """
        if not any(picture.is_address for picture in pictures):
            return pictures
        budget = [self._settings.max_body_bytes]
        tasks = [asyncio.ensure_future(self._filled(picture, model, budget)) for picture in pictures]
        started = time.monotonic()
        try:
            if losses is None:
                return [await task for task in tasks]
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            current_trace().took("fetch", time.monotonic() - started)
        filled = list(pictures)
        for place, outcome in enumerate(outcomes):
            if isinstance(outcome, RequestError):
                losses[place] = outcome
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                filled[place] = outcome
        return filled

    async def _filled(self, picture: "Picture", model: str, budget: list[int]) -> "Picture":
        if not picture.is_address:
            return picture
        assert isinstance(picture.data, str)
        started = time.monotonic()
        outcome = "cancelled"
        try:
            found = await self._fetcher.fetch(
                picture.data,
                caller=current_trace().caller,
                is_wanted=begins_like_a_picture,
                max_bytes=self._settings.max_image_bytes,
            )
            outcome = "ok"
        except NetError as error:
            outcome = error.reason
            raise _refusal(error, picture.param, self._settings) from error
        finally:
            self._metrics.fetched(outcome)
            self._metrics.stage("fetch", model, "image", time.monotonic() - started)
        budget[0] -= len(found.data)
        if budget[0] < 0:
            raise RequestError(
                f"The pictures of this request have more than {self._settings.max_body_bytes:,} bytes.",
                "Ask for fewer pictures in one request.",
                code="request_too_large",
                param=picture.param,
            )
        return replace(picture, data=found.data, is_address=False)


def rules_of(settings: ServeSettings) -> FetchRules:
    """The settings of the server as rules of `net.py`.

    Raises:
        ConfigError: they contradict each other.
    """
    try:
        return _rules_of(settings)
    except ConfigError as error:
        variables = "Variables: CLIPWORKS_URL_MODE, CLIPWORKS_URL_HOSTS and CLIPWORKS_URL_PORTS."
        raise ConfigError(error.message, f"{error.remedy} {variables}".strip()) from error


def _rules_of(settings: ServeSettings) -> FetchRules:
    return FetchRules(
        mode=settings.url_mode,  # type: ignore[arg-type]  # the rules check it
        hosts=tuple(host.strip().lower() for host in settings.url_hosts.split(",") if host.strip()),
        ports=settings.ports(),
        max_bytes=settings.max_image_bytes,
        total_seconds=settings.url_seconds,
        max_fetches=settings.url_max_fetches,
        max_fetches_per_caller=settings.url_max_fetches_per_caller,
    )


def _refusal(error: NetError, param: str, settings: ServeSettings) -> RequestError:
    if error.reason == "too_large":
        return RequestError(
            f"{param} leads to more than {settings.max_image_bytes:,} bytes, as many as are taken.",
            "Send a smaller picture; the model reads it at a few hundred pixels.",
            code="image_too_large",
            param=param,
        )
    return RequestError(
        f"{param} {NOT_FETCHED}", "Send the picture itself, as base64.", code="url_not_fetched", param=param
    )
