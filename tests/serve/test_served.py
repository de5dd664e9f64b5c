"""How others wait for a change of a model."""

import asyncio

from clipworks.serve.fleet import Fleet
from clipworks.serve.roster import ModelSpec
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ColourEngine
from tests.serve.workers import HeldWorker


def test_a_change_between_the_call_and_the_waiting_is_not_missed() -> None:
    def make(spec: ModelSpec) -> HeldWorker:
        return HeldWorker(ColourEngine(spec.id))

    async def story() -> None:
        model = Fleet(ServeSettings(), [ModelSpec(id="a")], make).models["a"]
        waits = asyncio.ensure_future(model.changed())
        model.notify()
        async with asyncio.timeout(5):
            await waits

    asyncio.run(story())
