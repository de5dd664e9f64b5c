"""POST /v1/search and the gallery's picture files: a question in, gallery pictures out."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import FileResponse, JSONResponse, Response

from clipworks.model.decoder import count_pixels
from clipworks.search.frames import picture_bytes
from clipworks.search.store import Hit, Result
from clipworks.search.thumbnails import SIDES, is_small, thumbnail
from clipworks.search.videos import is_video
from clipworks.serve.call import Call
from clipworks.serve.pictures import picture_address
from clipworks.serve.preparing import BYTES_PER_PIXEL
from clipworks.serve.questions import charged_find, picture_path, read_question

if TYPE_CHECKING:
    from clipworks.serve.service import Service


async def search(call: Call) -> Response:
    """The gallery's pictures nearest to a question.

    Raises:
        RequestError: there is no gallery, or a field of the request cannot be used.
        BusyError: a queue is full.
    """
    question = read_question(call.service, call.payload)
    found, cost_usd = await charged_find(call, question)
    assert call.service.gallery_model is not None
    usage = {"images": question.num_images, "texts": question.num_texts, "cost_usd": cost_usd}
    return JSONResponse(
        {
            "object": "list",
            "model": call.service.gallery_model.name,
            "is_relevant": found.is_relevant,
            "threshold": found.threshold,
            "data": [describe(hit, place, found) for place, hit in enumerate(found.hits)],
            "usage": usage,
        }
    )


def describe(hit: Hit, place: int, found: Result) -> dict[str, Any]:
    """One hit as JSON; `path` is the place below the gallery, never one of the server's disk."""
    return {
        "object": "hit",
        "index": place,
        "path": hit.id,
        "score": hit.score,
        "is_relevant": found.counts(hit),
        "caption": hit.caption,
        "licence": hit.licence,
        "author": hit.author,
        "source": hit.source,
        "taken": hit.taken,
        "camera": hit.camera,
        "place": hit.place,
        "tags": list(hit.tags),
        "width": hit.width,
        "height": hit.height,
        "explained": hit.explained,
        "alike": list(hit.alike),
        "url": picture_address(hit.id),
    }


async def gallery_picture(service: "Service", item_id: str, side: int | None) -> Response:
    """GET /gallery/{file}: the file, or with a `side` a picture that fits into a square of so many pixels.

    Of a frame of a video, the file is the video, and the picture the frame.

    Raises:
        RequestError: the gallery has no such picture, or it cannot be read any more.
    """
    path = picture_path(service, item_id)
    # Where it takes a key or a session to see it, no cache that others share may keep it.
    kept = {"cache-control": f"{'private' if service.settings.require_keys else 'public'}, max-age=86400"}
    side = None if side is None else next((one for one in SIDES if one >= side), SIDES[-1])
    if side is None or (not is_video(path.name) and is_small(path, side)):
        return FileResponse(path, headers=kept)
    work = partial(_smaller, service, path, item_id, side)
    ((content, kind),) = await service.fleet.preparing.answer([work])
    return Response(content, media_type=kind, headers=kept)


def _smaller(service: "Service", path: Path, item_id: str, side: int) -> tuple[bytes, str]:
    content = picture_bytes(path, item_id)
    with service.fleet.room.taken(count_pixels(content) * BYTES_PER_PIXEL):
        return thumbnail(content, side, path.name)
