"""The ceiling for `benchmarks/serving.py`: Starlette and an engine with a queue between, and nothing else.

No limits, no checks, no errors, no processes: what a page of code reaches. Arguments: a checkpoint
folder, a precision and a port.
"""

import asyncio
import base64
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clipworks.model.loading import Precision, load

BATCH = 32


def main() -> None:
    folder, precision, port = sys.argv[1:4]
    engine = load(folder, precision=cast(Precision, precision))
    side = engine.image_size
    for count in (1, BATCH):
        engine.embed_pixels(np.zeros((count, side, side, 3), dtype=np.uint8))
    decoders, model = ThreadPoolExecutor(2), ThreadPoolExecutor(1)
    waiting: asyncio.Queue[tuple[Any, asyncio.Future[Any]]] = asyncio.Queue()

    def decode(body: bytes) -> Any:
        text = json.loads(body)["input"][0]
        return engine.prepare_image(base64.b64decode(text[text.index(",") + 1 :]), compiled=True)

    def embed_batch(pixels: list[Any]) -> Any:
        return engine.embed_pixels(np.stack(pixels))

    async def work() -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await waiting.get()]
            while len(batch) < BATCH and not waiting.empty():
                batch.append(waiting.get_nowait())
            vectors = await loop.run_in_executor(model, embed_batch, [one[0] for one in batch])
            for (_, future), vector in zip(batch, vectors, strict=True):
                future.set_result(vector)

    async def embed(request: Request) -> Response:
        loop = asyncio.get_running_loop()
        pixels = await loop.run_in_executor(decoders, decode, await request.body())
        future = loop.create_future()
        waiting.put_nowait((pixels, future))
        vector = base64.b64encode((await future).tobytes()).decode()
        return JSONResponse({"data": [{"embedding": vector}]})

    app = Starlette(routes=[Route("/v1/embeddings", embed, methods=["POST"])])
    tasks: list[asyncio.Task[None]] = []

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            tasks.append(asyncio.create_task(work()))
            await super().startup(sockets)

    Server(uvicorn.Config(app, port=int(port), log_level="warning")).run()


if __name__ == "__main__":
    main()
