"""The inside of a worker process: load a model, then answer batches until the server is gone.

Started by `worker.ProcessWorker` with four open files: three sockets (orders, pictures, texts) and the
memory that pictures come through. It ends when the first socket is closed, however the server ended,
and takes no notice of Ctrl-C or SIGTERM: the server says when it is over.
"""

import mmap
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np

from clipworks.errors import ClipworksError
from clipworks.model.heads import Vectors
from clipworks.serve.filling import fill_up, filled_size
from clipworks.serve.heap import limit_freed_memory
from clipworks.serve.worker import facts_of, warm


def main() -> None:
    """Run until the server closes the first socket; the arguments are numbers of open files."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    limit_freed_memory()
    orders, images, texts = (Connection(int(number)) for number in sys.argv[1:4])
    memory = int(sys.argv[4])
    load, image_batch, text_batch, warms = pickle.loads(orders.recv_bytes())  # noqa: S301 - the server wrote it
    try:
        engine = load()
        if warms:
            warm(engine, image_batch, text_batch)
    except ClipworksError as error:
        orders.send_bytes(pickle.dumps((error.message, error.remedy)))
        return
    except Exception as error:  # noqa: BLE001 - the edge of the process: said to the server, and in the log
        traceback.print_exc()
        orders.send_bytes(pickle.dumps((f"Loading failed: {type(error).__name__}: {error}", "")))
        return
    side = engine.image_size
    os.ftruncate(memory, image_batch * side * side * 3)
    pixels = np.frombuffer(mmap.mmap(memory, 0), dtype=np.uint8).reshape(image_batch, side, side, 3)

    def embed_images(message: bytes) -> Vectors:
        embed = engine.embed_patches if message[:1] == b"p" else engine.embed_pixels
        count = int.from_bytes(message[1:], "little")
        vectors: Vectors = embed(pixels[: filled_size(count, image_batch)])
        return vectors[:count]

    def embed_texts(message: bytes) -> Vectors:
        rows = np.frombuffer(message, dtype="<u2").reshape(-1, engine.config.text.context_length)
        vectors: Vectors = engine.embed_tokens(fill_up(rows, text_batch).astype(np.int64))
        return vectors[: len(rows)]

    for channel, answer in ((images, embed_images), (texts, embed_texts)):
        threading.Thread(target=_serve, args=(channel, answer), daemon=True).start()
    orders.send_bytes(pickle.dumps(facts_of(engine)))
    try:
        orders.recv_bytes()
    except (EOFError, OSError):
        pass
    os._exit(0)  # without waiting for a call in work, which nobody reads


def _serve(channel: Connection, answer: Callable[[bytes], Vectors]) -> None:
    """Answer one message after another: four bytes and float32 rows, or "e" and what went wrong."""
    while True:
        try:
            message = channel.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            reply = b"okay" + np.ascontiguousarray(answer(message), dtype=np.float32).tobytes()
        except Exception:  # noqa: BLE001 - the edge of the process: every failure is an answer
            reply = b"e" + traceback.format_exc().encode()
        try:
            channel.send_bytes(reply)
        except OSError:
            return
