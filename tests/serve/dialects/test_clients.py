"""The clients that people have, unmodified, against a real server; values equal the engine's own.

Each test is skipped where its client is not installed: pip install -c constraints.txt "clipworks[clients]".
"""

import base64
import gc
import io
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image

from clipworks.model.engine import Engine
from clipworks.model.loading import load
from clipworks.serve.app import create_app
from clipworks.serve.outputs import to_dtype
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import data_uri, picture

# Warnings of the clients themselves are not ours to mend.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

PAGE = Path(__file__).parents[3] / "docs" / "clients.md"
MODEL = "pictogram"
RED = picture("red", side=40)
URI = data_uri(RED)
RAW = base64.b64encode(RED).decode()
TEXTS = ["a dog", "a fox in the snow"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """A running server and the engine inside it."""

    address: str
    engine: Engine

    def check(self, rows: Any, *items: str | bytes) -> None:
        """Assert that vectors are those of the engine."""
        wanted = [
            self.engine.embed_texts([item])[0]
            if isinstance(item, str)
            else self.engine.embed_images([item])[0]
            for item in items
        ]
        np.testing.assert_allclose(np.asarray(rows, dtype=np.float32), np.stack(wanted), atol=2e-3)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    engine = load(MODEL)
    app = create_app(ServeSettings(), {MODEL: engine})
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Served(address=f"http://127.0.0.1:{port}", engine=engine)
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(autouse=True)
def no_calls_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clients that would report or fetch something are told not to; what they leave open is closed here."""
    for name, value in {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    yield
    gc.collect()


def test_openai(served: Served) -> None:
    openai = pytest.importorskip("openai")
    for base in (f"{served.address}/v1", served.address):
        with openai.OpenAI(base_url=base, api_key="x", max_retries=0) as client:
            mixed = [TEXTS[0], URI, {"image": RAW}, {"text": TEXTS[1]}]
            answer = client.embeddings.create(model=MODEL, input=mixed, user="u")
            served.check([row.embedding for row in answer.data], TEXTS[0], RED, RED, TEXTS[1])
            assert answer.usage.images == 2
            part = {"type": "image_url", "image_url": {"url": URI}}
            answer = client.embeddings.create(model=MODEL, input=[part], encoding_format="float")
            served.check([row.embedding for row in answer.data], RED)
            answer = client.embeddings.create(model=MODEL, input=[RAW], extra_body={"modality": "image"})
            served.check([row.embedding for row in answer.data], RED)
            body = {
                "model": MODEL,
                "messages": [{"role": "user", "content": [part]}],
                "encoding_format": "float",
            }
            chat: Any = client.post("/embeddings", body=body, cast_to=object)
            served.check([row["embedding"] for row in chat["data"]], RED)
            assert [model.id for model in client.models.list()] == [MODEL]
            with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
                client.embeddings.create(model=MODEL, input=[[64, 65]])
            with pytest.raises(openai.BadRequestError, match="matryoshka"):
                client.embeddings.create(model=MODEL, input="a", dimensions=3)


def test_langchain_openai(served: Served) -> None:
    langchain_openai = pytest.importorskip("langchain_openai")
    model = langchain_openai.OpenAIEmbeddings(
        model=MODEL, base_url=f"{served.address}/v1", api_key="x", check_embedding_ctx_length=False
    )
    served.check(model.embed_documents(TEXTS), *TEXTS)
    served.check([model.embed_query(TEXTS[1])], TEXTS[1])


@pytest.mark.parametrize(
    ("prefix", "path", "items"),
    [
        ("openai", "/v1", TEXTS),
        ("hosted_vllm", "/v1", TEXTS),
        ("infinity", "", TEXTS),
        ("voyage", "/v1/embeddings", TEXTS),
        ("jina_ai", "/v1", [URI]),
        ("cohere", "/v1/embed", [URI]),
    ],
)
def test_litellm(served: Served, monkeypatch: pytest.MonkeyPatch, prefix: str, path: str, items: Any) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = pytest.importorskip("litellm")
    answer = litellm.embedding(
        model=f"{prefix}/{MODEL}", input=items, api_base=served.address + path, api_key="x", max_retries=0
    )
    rows = [row["embedding"] for row in answer.data]
    served.check(rows, *(RED if item == URI else item for item in items))


def test_litellm_reranks(served: Served) -> None:
    litellm = pytest.importorskip("litellm")
    answer = litellm.rerank(
        model=f"jina_ai/{MODEL}",
        query=TEXTS[0],
        documents=TEXTS,
        api_base=f"{served.address}/v1/rerank",
        api_key="x",
    )
    assert answer.results[0]["index"] == 0 and answer.results[0]["relevance_score"] > 0.99


def test_cohere(served: Served) -> None:
    cohere = pytest.importorskip("cohere")
    client = cohere.ClientV2(api_key="x", base_url=served.address)
    types = ["float", "int8", "uint8", "binary", "ubinary"]
    answer = client.embed(model=MODEL, input_type="image", images=[URI], embedding_types=types)
    served.check(answer.embeddings.float_, RED)
    exact = np.asarray(answer.embeddings.float_, dtype=np.float32)
    for name in types[1:]:
        np.testing.assert_array_equal(getattr(answer.embeddings, name), to_dtype(exact, name))
    content = [{"type": "image_url", "image_url": {"url": URI}}]
    inputs = [{"content": [{"type": "text", "text": TEXTS[0]}]}, {"content": content}]
    answer = client.embed(model=MODEL, input_type="search_document", inputs=inputs, embedding_types=["float"])
    served.check(answer.embeddings.float_, TEXTS[0], RED)
    ranked = client.rerank(model=MODEL, query=TEXTS[1], documents=TEXTS, top_n=1)
    assert ranked.results[0].index == 1
    with pytest.raises(cohere.BadRequestError) as refused:
        client.embed(model=MODEL, input_type="image", images=["AAAA"], embedding_types=["float"])
    assert "images[0]" in str(refused.value.body)


def test_cohere_version_1(served: Served) -> None:
    cohere = pytest.importorskip("cohere")
    client = cohere.Client(api_key="x", base_url=served.address)
    answer = client.embed(texts=TEXTS, model=MODEL, input_type="search_document")
    served.check(answer.embeddings, *TEXTS)
    answer = client.embed(texts=TEXTS, model=MODEL, input_type="search_query", embedding_types=["float"])
    served.check(answer.embeddings.float_, *TEXTS)


@pytest.mark.parametrize("dtype", ["float", "int8", "ubinary"])
def test_voyageai(served: Served, dtype: str) -> None:
    voyageai = pytest.importorskip("voyageai")
    client = voyageai.Client(api_key="x", base_url=f"{served.address}/v1", max_retries=0)
    flat = Image.open(io.BytesIO(RED))
    answer = client.multimodal_embed(inputs=[[TEXTS[0]], [flat]], model=MODEL)
    served.check(answer.embeddings, TEXTS[0], RED)
    texts = client.embed(TEXTS, model=MODEL, input_type="document", output_dtype=dtype).embeddings
    exact = served.engine.embed_texts(TEXTS)
    assert np.abs(np.asarray(texts) - to_dtype(exact, dtype)).max() <= (1 if dtype == "int8" else 2e-3)


def test_infinity_client(served: Served) -> None:
    infinity = pytest.importorskip("infinity_client")
    from infinity_client import models as shapes
    from infinity_client.api.default import embeddings, health, models

    client = infinity.Client(base_url=served.address)
    (row,) = models.sync(client=client).data
    assert row.id == MODEL and row.stats["queue_absolute"] == 0 and "image_embed" in row.capabilities
    assert health.sync(client=client)["unix"] > 0
    for kind, item, wanted in (
        (shapes.OpenAIEmbeddingInputText, TEXTS[0], TEXTS[0]),
        (shapes.OpenAIEmbeddingInputImage, URI, RED),
    ):
        body = kind.from_dict({"input": [item], "model": MODEL, "modality": kind.__name__[20:].lower()})
        answer = embeddings.sync(client=client, body=body)
        served.check([answer.data[0].embedding], wanted)


def test_huggingface_hub(served: Served) -> None:
    hub = pytest.importorskip("huggingface_hub")
    labels = ["a dog", "a red square", "a fox"]
    head = served.engine.label_head(labels, ["a photo of {}"])
    wanted = served.engine.probabilities(served.engine.embed_images([RED]) @ head.T)[0]
    for path in (f"/models/{MODEL}", f"/hf/{MODEL}/zero-shot-image-classification"):
        client = hub.InferenceClient(model=served.address + path)
        rows = client.zero_shot_image_classification(RED, labels, hypothesis_template="a photo of {}")
        scores = {row.label: row.score for row in rows}
        assert [scores[label] for label in labels] == pytest.approx(wanted, abs=2e-3)
        assert [row.score for row in rows] == sorted(scores.values(), reverse=True)
    for path in (f"/models/{MODEL}", "/embed", f"/hf/{MODEL}/feature-extraction"):
        client = hub.InferenceClient(model=served.address + path)
        served.check(client.feature_extraction(TEXTS[0]), TEXTS[0])
        served.check(client.feature_extraction(TEXTS[0], normalize=True, truncate=True), TEXTS[0])
    client = hub.InferenceClient(model=f"{served.address}/similarity")
    same, other = client.sentence_similarity(TEXTS[0], other_sentences=TEXTS)
    assert same == pytest.approx(1, abs=1e-3) and other < 0.99
    with pytest.raises(hub.errors.HfHubHTTPError, match="inputs"):
        hub.InferenceClient(model=f"{served.address}/models/{MODEL}").zero_shot_image_classification(
            b"no picture", labels
        )


def programs() -> list[tuple[str, str]]:
    """The client and the text of each program on the page."""
    page = PAGE.read_text(encoding="utf-8")
    return re.findall(r"^```python (\w+)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("client", "program"), programs(), ids=lambda text: text.split("\n")[0])
def test_the_programs_on_the_page_run(served: Served, client: str, program: str) -> None:
    pytest.importorskip(client)
    names = {
        "picture": Image.open(io.BytesIO(RED)),
        "picture_bytes": RED,
        "picture_base64": RAW,
        "picture_data_uri": URI,
    }
    exec(program.replace("http://127.0.0.1:8000", served.address), names)
