"""An engine of arithmetic instead of weights: colours are its concepts, so right answers are known."""

import base64
import hashlib
import io
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipworks.model.config import ClipConfig, TextConfig, VisionConfig
from clipworks.model.preprocess import prepare
from clipworks.model.tokenizer import decode, tokenize
from clipworks.search.library import Library
from clipworks.search.opening import open_index
from clipworks.search.snapshot import stamp_of, write_index
from clipworks.search.store import IndexHeader, Item, Relevance

Vectors = npt.NDArray[np.float32]

ADDRESS = "http://127.0.0.1:8000"
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "black": (5, 5, 5)}


class ColourEngine:
    """The contract of `clipworks.Engine`: embeds mean colours, and texts by the colours they name."""

    def __init__(self, name: str = "colours") -> None:
        tower = {"width": 64, "layers": 1, "heads": 1, "mlp_width": 64}
        self.config = ClipConfig(
            vision=VisionConfig(image_size=8, patch_size=4, **tower),
            text=TextConfig(**tower),
            embed_dim=8,
            activation="gelu",
        )
        self.name = name
        self.dim = 8
        self.logit_scale = 20.0
        self.fingerprint = hashlib.sha256(name.encode()).hexdigest()
        self.precision = "f32"
        self.preprocess = "standard"
        self.image_size = 8
        self.calls: list[tuple[str, int]] = []
        self.failure: Exception | None = None
        self.gate: threading.Event | None = None
        """Where set, calls wait until it opens."""

    def prepare_image(self, image: Any, name: str = "", *, compiled: bool = False) -> npt.NDArray[np.uint8]:
        return prepare(image, self.image_size, mode="standard", name=name)

    def embed_pixels(self, pixels: npt.NDArray[np.uint8]) -> Vectors:
        self._note("images", len(pixels))
        colours = pixels.reshape(len(pixels), -1, 3).mean(axis=1, dtype=np.float64)
        return np.stack([_vector(colour) for colour in colours])

    def embed_patches(self, pixels: npt.NDArray[np.uint8]) -> Vectors:
        """float32 [N, 2, 2, 8]: the mean colour of each quarter."""
        self._note("patches", len(pixels))
        quarters = pixels.reshape(len(pixels), 2, 4, 2, 4, 3).mean(axis=(2, 4), dtype=np.float64)
        return np.stack([_vector(colour) for colour in quarters.reshape(-1, 3)]).reshape(-1, 2, 2, 8)

    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 64) -> Vectors:
        self._note("texts", len(texts))
        return np.stack([_text_vector(text) for text in texts])

    def embed_tokens(self, tokens: npt.NDArray[np.int64], *, batch_size: int = 64) -> Vectors:
        return self.embed_texts([decode(row.tolist()) for row in tokens])

    def label_head(self, labels: Sequence[str], templates: Sequence[str] | None = None) -> Vectors:
        rows = []
        for label in labels:
            mean = np.mean([_text_vector(t.replace("{}", label)) for t in templates or ["{}"]], axis=0)
            rows.append(mean / np.linalg.norm(mean))
        return np.stack(rows).astype(np.float32)

    def probabilities(self, cosines: Vectors) -> Vectors:
        weights = np.exp(self.logit_scale * (cosines - cosines.max(axis=-1, keepdims=True)))
        scores: Vectors = weights / weights.sum(axis=-1, keepdims=True)
        return scores

    def _note(self, kind: str, count: int) -> None:
        if self.gate is not None:
            self.gate.wait(60)
        if self.failure is not None:
            raise self.failure
        self.calls.append((kind, count))


def _vector(colour: npt.NDArray[np.float64] | Sequence[float]) -> Vectors:
    vector = np.zeros(8)
    vector[:3] = np.asarray(colour) / 255 - 0.35
    vector[7] = 0.05
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _text_vector(text: str) -> Vectors:
    named = [colour for name, colour in COLOURS.items() if name in text]
    if named:
        return _vector(np.mean(named, axis=0))
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest()[:5], dtype=np.uint8).astype(np.float64)
    vector = np.concatenate([np.zeros(3), digest + 1])
    unit: Vectors = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit


def picture(colour: str | tuple[int, int, int] = "red", extension: str = "PNG", side: int = 12) -> bytes:
    """A one-coloured picture file."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), COLOURS[colour] if isinstance(colour, str) else colour).save(
        file, extension
    )
    return file.getvalue()


def write_gallery(folder: Path, engine: ColourEngine) -> Library:
    """Four one-coloured pictures and their index, in a folder; the caption of one tries to be markup."""
    pictures = folder / "pictures"
    pictures.mkdir()
    entries = []
    for name in COLOURS:
        path = pictures / f"{name} one.png"
        path.write_bytes(picture(name))
        caption = "<script>alert(1)</script>" if name == "black" else f"a {name} square"
        source = "javascript:alert(1)" if name == "black" else "https://example.org/?a=1&b=2"
        item = Item(
            id=path.name, path=str(path), caption=caption, licence="CC0-1.0", author="A & B", source=source
        )
        entries.append((item, stamp_of(path)))
    pixels = np.stack([engine.prepare_image(Path(item.path)) for item, _ in entries])
    header = IndexHeader(
        model=engine.name,
        fingerprint=engine.fingerprint,
        precision="f32",
        preprocess="standard",
        dim=engine.dim,
        root="../pictures",
        relevance=Relevance(text_threshold=0.5, image_threshold=0.5),
    )
    write_index(folder / "index", header, entries, engine.embed_pixels(pixels))
    engine.calls.clear()
    return open_index(folder / "index")


def vectors_of(engine: ColourEngine, *items: str | bytes) -> Vectors:
    """What the engine itself gives for texts and picture files, float32 [N, 8]."""
    return np.concatenate(
        [
            engine.embed_tokens(tokenize([item], context_length=engine.config.text.context_length))
            if isinstance(item, str)
            else engine.embed_pixels(engine.prepare_image(item)[None])
            for item in items
        ]
    )


def data_uri(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def scope_of(method: str, path: str) -> dict[str, Any]:
    """An ASGI request as it stands, its path not tidied up by any client."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json"), (b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }


async def _nothing() -> AsyncIterator[dict[str, Any]]:
    yield {"type": "http.request", "body": b"", "more_body": False}


async def talk(
    app: Any, method: str, path: str, incoming: AsyncIterator[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """One request against the application inside its lifespan; the messages that it sent."""
    messages = incoming if incoming is not None else _nothing()
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return await anext(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    async with app.router.lifespan_context(app):
        await app(scope_of(method, path), receive, send)
    return sent


def refusal(answer: Any, status: int, code: str, param: str | None) -> str:
    """Assert that an answer is an error object with these values; its message."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param), error
    assert answer.headers["x-request-id"]
    return str(error["message"])
