"""Vectors of texts and pictures from a running server, through OpenAI's own client.

Start one first with `make demo` or `clipworks serve`; CLIPWORKS_URL names another address.
"""

import base64
import os
from pathlib import Path

import openai

fox = base64.b64encode((Path(__file__).parent / "pictures" / "fox.png").read_bytes()).decode()
client = openai.OpenAI(base_url=os.environ.get("CLIPWORKS_URL", "http://127.0.0.1:8000") + "/v1", api_key="x")
answer = client.embeddings.create(model="pictogram", input=["a fox", f"data:image/png;base64,{fox}"])
text, image = (row.embedding for row in answer.data)
print(len(text), "numbers; cosine", round(sum(a * b for a, b in zip(text, image, strict=True)), 3))
