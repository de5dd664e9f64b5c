import asyncio
import os
import signal

import pytest
from picture_web import picture

from clipworks.collect import workshop as workshops
from clipworks.collect.images import ImageRules, Kept
from clipworks.collect.workshop import DIED, Workshop


def keep_or_die(data: bytes, rules: ImageRules) -> str:
    """Stands for a decoder: some pictures kill its process."""
    if data == b"deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return data.decode()


def test_pictures_are_made_in_other_processes() -> None:
    async def play() -> None:
        workshop = Workshop(ImageRules(image_size=32), 1)
        found = await asyncio.gather(*[workshop.keep(picture(i)) for i in range(5)])
        assert all(isinstance(one, Kept) and one.height == 32 for one in found)
        assert await workshop.keep(b"nothing") == "Image decoding error: no format that is read"
        workshop.close()

    asyncio.run(play())


@pytest.mark.slow
def test_when_all_is_given_up_no_further_batch_begins() -> None:
    async def play() -> None:
        workshop = Workshop(ImageRules(image_size=32), 1)
        waiting = [asyncio.create_task(workshop.keep(picture(1))) for _ in range(5 * workshops.MAX_PICTURES)]
        await asyncio.sleep(0)
        workshop.drop_waiting()
        for task in waiting:
            task.cancel()
        batches = asyncio.all_tasks() - {*waiting, asyncio.current_task()}
        await asyncio.gather(*waiting, *batches, return_exceptions=True)
        assert len(batches) == 2 and asyncio.all_tasks() == {asyncio.current_task()}
        workshop.close()

    asyncio.run(play())


@pytest.mark.slow
def test_a_picture_that_kills_its_decoder_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshops, "keep_image", keep_or_die)

    async def play() -> None:
        workshop = Workshop(ImageRules(), 1)
        data = [b"one", b"deadly", b"two", b"three"]
        found = await asyncio.gather(*[workshop.keep(one) for one in data])
        assert found == ["one", DIED, "two", "three"]
        assert await workshop.keep(b"later") == "later"
        workshop.close()

    asyncio.run(play())
