"""Frames of a video: those where a scene begins, one every few seconds, or the one at a second.

Scenes are looked for among the key frames, which encoders put where the picture changes and every few
seconds; only these are decoded. A frame begins a scene where it differs from the one that began the last.
Videos come from anywhere: FFmpeg reads them through an open file and may open nothing else (playlists name
other files and addresses), and no frame above the limit of pictures is decoded. The owner of PyAV.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version as package_version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clipworks.errors import InputError, MissingExtraError
from clipworks.model.decoder import MAX_PIXELS
from clipworks.model.preprocess import as_png
from clipworks.search.exif import PictureFacts, read_time
from clipworks.search.videos import Sampling, clock, file_of

MAX_FRAMES = 1000
"""Of one video in an index; a longer one gives fewer of each minute."""
FRAME_SIDE = 1080
"""Pixels of the short side of a frame that is looked at; a smaller one stays as it is."""
MAX_DECODED = 500_000
"""Frames that are decoded of one video; hours of it, where all are looked at."""

_SCENE = 0.1
"""Mean difference of two frames in 16 x 16 pixels, 0..1, from which on they are of two scenes."""
_SIGNATURE_SIDE = 16
_SHORTEST_SCENE = 1.0
"""Seconds."""
_FEW_KEYS = 20.0
"""Seconds between key frames above which all frames are looked at."""
_MISSING_SECONDS = 1.0
"""Of a video that is cut off, at least; sound may be longer than pictures."""
_MISSING_SHARE = 0.05
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg"
_MAKER = ("com.apple.quicktime.make", "com.apple.quicktime.model")
_PLACES = ("com.apple.quicktime.location.iso6709", "location")

Pixels = npt.NDArray[np.uint8]
"""uint8 [H, W, 3] RGB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """A frame of a video."""

    second: float
    scene: int
    """Which scene of the video it is of, from 0."""
    pixels: Pixels


class CutOffError(InputError):
    """A video that cannot be read to its end; the frames before were given."""


@cache
def reads_videos() -> bool:
    """Whether videos are opened: where the extra `video` is installed."""
    return find_spec("av") is not None


def reader_version() -> str:
    """Changes where videos that could not be read before may be now; empty without the extra."""
    return f" PyAV {package_version('av')}" if reads_videos() else ""


def read_video_facts(path: Path) -> PictureFacts:
    """What a video says of itself.

    Raises:
        InputError: it cannot be read.
        MissingExtraError: PyAV is not installed.
    """
    with _opened(path) as container:
        said = {name.lower(): value for name, value in container.metadata.items()}
        stream = container.streams.video[0]
        maker, model = (said.get(name, "") for name in _MAKER)
        latitude, longitude = _position(next((said[name] for name in _PLACES if name in said), ""))
        return PictureFacts(
            width=stream.width,
            height=stream.height,
            taken=read_time(said.get("com.apple.quicktime.creationdate") or said.get("creation_time")),
            camera=f"{maker} {model}".strip()[:200],
            latitude=latitude,
            longitude=longitude,
            caption=" ".join(said.get("title", "").split())[:500],
        )


def read_frames(path: Path, sampling: Sampling, side: int) -> Iterator[Frame]:
    """The frames of a video that stand for it, in order, at most MAX_FRAMES.

    Args:
        path: of the video.
        sampling: which frames.
        side: pixels that the short side keeps, where it has so many.

    Raises:
        InputError: it is no video, or not one frame can be read.
        CutOffError: it is damaged behind the frames that were given.
        MissingExtraError: PyAV is not installed.
    """
    with _opened(path) as container:
        seconds = _declared_seconds(container)
        num_keys, end = _packets(container)
    takes_all = sampling.seconds is not None or seconds > _FEW_KEYS * num_keys
    gap = max(sampling.seconds or _SHORTEST_SCENE, seconds / MAX_FRAMES)
    last: Frame | None = None
    signature, scene, given = None, -1, 0
    with _opened(path) as container:
        for second, frame in _decoded(container, path, only_keys=not takes_all):
            if last is not None and second < last.second + gap - 1e-6:
                continue
            own = _signature(frame)
            is_new = signature is None or float(np.abs(own - signature).mean()) > _SCENE
            if is_new:
                signature, scene = own, scene + 1
            if is_new or sampling.seconds is not None:
                last = Frame(second=second, scene=scene, pixels=_pixels(frame, side))
                yield last
                given += 1
            if given >= MAX_FRAMES:
                return
    if last is None:
        raise InputError(f"Video {str(path)!r} has no frame that can be read.", "Export it again.")
    if seconds - end > max(_MISSING_SECONDS, _MISSING_SHARE * seconds):
        raise _cut_off(path, end)  # FFmpeg takes the end of the file for that of the video


def frame_at(path: Path, second: float, side: int) -> Pixels:
    """The frame that is shown at a second; the last one before, where it is cut off.

    Raises:
        InputError: it cannot be read.
        MissingExtraError: PyAV is not installed.
    """
    found = None
    with _opened(path) as container:
        try:
            container.seek(int(second * 1_000_000), backward=True)
            for moment, frame in _decoded(container, path, only_keys=False):
                if found is not None and moment > second + 1e-3:
                    break
                found = frame
                if moment >= second - 1e-3:
                    break
        except CutOffError:
            pass
        except _av().error.FFmpegError as error:
            raise _damaged(path) from error
        if found is None:
            raise InputError(f"Video {str(path)!r} has no frame at {clock(second)}.", "Index it again.")
        return _pixels(found, side)


def picture_bytes(path: Path, item_id: str) -> bytes:
    """A picture of an index as a file: its own, or a frame as a PNG.

    Raises:
        InputError: it is a frame and its video cannot be read.
        MissingExtraError: it is a frame and PyAV is not installed.
        OSError: the file cannot be read.
    """
    second = file_of(item_id)[1]
    return path.read_bytes() if second is None else as_png(frame_at(path, second, FRAME_SIDE))


def turned(pixels: Pixels, degrees: int) -> Pixels:
    """A frame as it is to be looked at; cameras say how they were held, in degrees against the clock."""
    return np.ascontiguousarray(np.rot90(pixels, k=round(degrees / 90) % 4))


def _av() -> Any:
    if not reads_videos():
        raise MissingExtraError("av", "video")
    return import_module("av")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    av = _av()
    try:
        with path.open("rb") as file:
            # Nothing but this file is opened: without protocols, and without formats that name other files.
            options = {"protocol_whitelist": "none", "format_whitelist": _CONTAINERS}
            try:
                container = av.open(file, options=options, metadata_errors="replace")
            except (av.error.FFmpegError, ValueError) as error:
                raise _damaged(path) from error
            with container:
                _require_video(container, path)
                yield container
    except OSError as error:
        reason = f"Video {str(path)!r} cannot be read: {error.strerror}."
        raise InputError(reason, code="not_found") from error


def _require_video(container: Any, path: Path) -> None:
    if not container.streams.video:
        raise InputError(f"Video {str(path)!r} has no pictures in it.", "It may be sound only.")
    stream = container.streams.video[0]
    context = stream.codec_context
    if context is None:
        raise InputError(f"Video {str(path)!r} is in a form that cannot be decoded.", "Export it as H.264.")
    _require_size(stream.width, stream.height, path)
    # One thread each: several would decode as many frames at once, each of up to the limit.
    context.thread_count = 1
    context.options = {"max_pixels": str(MAX_PIXELS)}


def _require_size(width: int, height: int, path: Path) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(
            f"Video {str(path)!r} is {width}x{height}; the limit is {MAX_PIXELS // 10**6} million pixels.",
            code="image_too_large",
        )


def _declared_seconds(container: Any) -> float:
    """How long the pictures last, by the container's words; 0 where it does not say."""
    stream = container.streams.video[0]
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1_000_000


def _packets(container: Any) -> tuple[int, float]:
    """How many key frames there are, and up to which second; nothing is decoded."""
    keys, end = 0, 0.0
    try:
        for packet in container.demux(container.streams.video[0]):
            if packet.size and packet.pts is not None:
                keys += bool(packet.is_keyframe)
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    except _av().error.FFmpegError:
        return keys, end  # the frames before can be read
    return keys, end


def _decoded(container: Any, path: Path, *, only_keys: bool) -> Iterator[tuple[float, Any]]:
    """Frames with their seconds, which rise."""
    av, stream, last = _av(), container.streams.video[0], -1.0
    if only_keys:
        stream.codec_context.skip_frame = "NONKEY"
    frames = container.decode(stream)
    for _ in range(MAX_DECODED):
        try:
            frame = next(frames, None)
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            if last < 0:
                raise _damaged(path) from error
            raise _cut_off(path, last) from error
        if frame is None:
            return
        _require_size(frame.width, frame.height, path)
        if frame.time is not None and frame.time > last and not frame.is_corrupt:
            last = float(frame.time)
            yield last, frame


def _signature(frame: Any) -> npt.NDArray[np.float32]:
    small = frame.reformat(width=_SIGNATURE_SIDE, height=_SIGNATURE_SIDE, format="rgb24")
    found: npt.NDArray[np.float32] = small.to_ndarray().astype(np.float32) / 255
    return found


def _pixels(frame: Any, side: int) -> Pixels:
    short = min(frame.width, frame.height)
    factor = min(1.0, 2 * side / short)  # the rest is left to the same resize as for pictures
    width, height = (max(1, round(length * factor)) for length in (frame.width, frame.height))
    return turned(frame.reformat(width=width, height=height, format="rgb24").to_ndarray(), frame.rotation)


def _cut_off(path: Path, second: float) -> CutOffError:
    return CutOffError(
        f"Video {str(path)!r} is cut off or damaged after {clock(second)}; the index has what comes before.",
        "Export or download it again.",
    )


def _damaged(path: Path) -> InputError:
    return InputError(
        f"Video {str(path)!r} is damaged, incomplete or in a form that is not opened.", "Export it as MP4."
    )


def _position(text: str) -> tuple[float | None, float | None]:
    """`+48.2082+016.3738+151/`, as phones write it."""
    signs = [place for place, sign in enumerate(text) if sign in "+-/"]
    try:
        spans = zip(signs[:2], signs[1:3], strict=True)
        latitude, longitude = (float(text[first:end]) for first, end in spans)
    except ValueError:
        return None, None
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else (None, None)
