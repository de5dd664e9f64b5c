"""Tiny videos, written by PyAV: scenes of one colour each."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from tests.serve.colours import COLOURS

SIZE = (64, 48)
RATE = 10


def write_video(
    path: Path,
    scenes: Sequence[str],
    seconds: float = 2.0,
    *,
    key_every: int = 12,
    said: dict[str, str] | None = None,
) -> Path:
    """Scenes of so many seconds each, ten frames a second, MPEG-4."""
    av = import_module("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Its facts come first, so that a file that is cut off can still be read.
    with av.open(str(path), "w", options={"movflags": "faststart+use_metadata_tags"}) as container:
        container.metadata.update(said or {})
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", key_every
        noise = np.random.default_rng(0)
        for name in scenes:
            for _ in range(round(seconds * RATE)):
                pixels = np.full((SIZE[1], SIZE[0], 3), COLOURS[name], dtype=np.int64)
                pixels += noise.integers(-4, 5, pixels.shape)  # or a frame would take no bytes
                frame = av.VideoFrame.from_ndarray(pixels.clip(0, 255).astype(np.uint8), format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
