"""A picture of a request as pixels for the model: what runs in the preparing lane, before any queue."""

from typing import TYPE_CHECKING

from clipworks.errors import InputError
from clipworks.model.decoder import count_pixels
from clipworks.serve.inputs import Picture, file_bytes
from clipworks.serve.problems import RequestError
from clipworks.serve.room import Room

if TYPE_CHECKING:
    from clipworks.serve.worker import EngineFacts, Pixels

BYTES_PER_PIXEL = 12
"""Of a picture with transparency while it is turned and put on white: two copies and the result."""


def prepare_picture(
    facts: "EngineFacts", room: Room, picture: Picture, *, refuses: bool
) -> "Pixels | RequestError":
    """uint8 [S, S, 3]; the memory for decoding is taken from `room` meanwhile.

    Args:
        refuses: whether what cannot be used is raised; else it is given in place of the pixels.

    Raises:
        RequestError: the picture cannot be used.
    """
    try:
        data = file_bytes(picture)
        with room.taken(count_pixels(data) * BYTES_PER_PIXEL):
            return facts.prepare_image(data, name=picture.param)
    except InputError as error:
        refusal = error if isinstance(error, RequestError) else _about(error, picture)
        if refuses:
            raise refusal from error
        return refusal


def _about(error: InputError, picture: Picture) -> RequestError:
    return RequestError(error.message, error.remedy, code=error.code, param=picture.param)
