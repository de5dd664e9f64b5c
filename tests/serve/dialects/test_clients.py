"""The clients that people have, unmodified, against a real server; values equal the engine's own.

A test is skipped where its client is not installed; `make clients` installs all of them, and names them in
CLIPWORKS_TEST_CLIENTS, which makes a missing one a failure.
"""

import base64
import gc
import importlib.util
import io
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import uvicorn
from PIL import Image

from clipworks.model.engine import Engine
from clipworks.model.loading import load
from clipworks.search.answer import search_vector
from clipworks.search.opening import open_index
from clipworks.serve.app import create_app
from clipworks.serve.outputs import to_dtype
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import data_uri, picture

# Warnings of the clients themselves are not ours to mend.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "clients.md"
GALLERY = ROOT / "clipworks" / "gallery" / "index"
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
    app = create_app(ServeSettings(), {MODEL: engine}, open_index(GALLERY))
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


def library(name: str) -> Any:
    """A client's package; the test that asks for it is skipped, or fails, where it is not installed."""
    if name in os.environ.get("CLIPWORKS_TEST_CLIENTS", "").split():
        return importlib.import_module(name)
    return pytest.importorskip(name, reason=f"{name} is not installed; `make clients` drives it")


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
    openai = library("openai")
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
    langchain_openai = library("langchain_openai")
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
    litellm = library("litellm")
    answer = litellm.embedding(
        model=f"{prefix}/{MODEL}", input=items, api_base=served.address + path, api_key="x", max_retries=0
    )
    rows = [row["embedding"] for row in answer.data]
    served.check(rows, *(RED if item == URI else item for item in items))


def test_litellm_reranks(served: Served) -> None:
    litellm = library("litellm")
    answer = litellm.rerank(
        model=f"jina_ai/{MODEL}",
        query=TEXTS[0],
        documents=TEXTS,
        api_base=f"{served.address}/v1/rerank",
        api_key="x",
    )
    assert answer.results[0]["index"] == 0 and answer.results[0]["relevance_score"] > 0.99


def test_cohere(served: Served) -> None:
    cohere = library("cohere")
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
    cohere = library("cohere")
    client = cohere.Client(api_key="x", base_url=served.address)
    answer = client.embed(texts=TEXTS, model=MODEL, input_type="search_document")
    served.check(answer.embeddings, *TEXTS)
    answer = client.embed(texts=TEXTS, model=MODEL, input_type="search_query", embedding_types=["float"])
    served.check(answer.embeddings.float_, *TEXTS)


@pytest.mark.parametrize("dtype", ["float", "int8", "ubinary"])
def test_voyageai(served: Served, dtype: str) -> None:
    voyageai = library("voyageai")
    client = voyageai.Client(api_key="x", base_url=f"{served.address}/v1", max_retries=0)
    flat = Image.open(io.BytesIO(RED))
    answer = client.multimodal_embed(inputs=[[TEXTS[0]], [flat]], model=MODEL)
    served.check(answer.embeddings, TEXTS[0], RED)
    texts = client.embed(TEXTS, model=MODEL, input_type="document", output_dtype=dtype).embeddings
    exact = served.engine.embed_texts(TEXTS)
    assert np.abs(np.asarray(texts) - to_dtype(exact, dtype)).max() <= (1 if dtype == "int8" else 2e-3)


def test_infinity_client(served: Served) -> None:
    infinity = library("infinity_client")
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
    hub = library("huggingface_hub")
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


def test_clip_retrieval(served: Served, tmp_path: Path) -> None:
    """Its client is one file that needs `requests` only; the package around it does not install beside us."""
    package = library_folder("clip_retrieval")
    spec = importlib.util.spec_from_file_location("clip_client", package / "clip_client.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    client = module.ClipClient(
        url=f"{served.address}/knn-service", indice_name="gallery", aesthetic_weight=0.0, num_images=3
    )
    (tmp_path / "red.png").write_bytes(RED)
    vector = served.engine.embed_images([RED])[0]
    by_file = client.query(image=str(tmp_path / "red.png"))
    by_vector = client.query(embedding_input=vector.tolist())
    assert [row["id"] for row in by_file] == [row["id"] for row in by_vector] and len(by_file) == 3
    (best,) = search_vector(open_index(GALLERY), vector, "image", 1).hits
    assert by_vector[0]["id"] == best.id and by_vector[0]["similarity"] == pytest.approx(best.score, abs=2e-3)
    assert len(client.query(text=TEXTS[0])) == 3


def library_folder(name: str) -> Path:
    """As `library`, for a package that cannot be imported as a whole."""
    spec = importlib.util.find_spec(name)
    if spec is None and name not in os.environ.get("CLIPWORKS_TEST_CLIENTS", "").split():
        pytest.skip(f"{name} is not installed; `make clients` drives it")
    assert spec is not None and spec.submodule_search_locations, f"{name} is not installed"
    return Path(spec.submodule_search_locations[0])


def test_jina_as_its_documentation_asks(served: Served) -> None:
    body = {
        "model": MODEL,
        "task": "retrieval.query",
        "normalized": True,
        "embedding_type": "float",
        "input": [{"text": TEXTS[0]}, {"image": RAW}, {"image": URI}, TEXTS[1]],
    }
    said = post(served, "/v1/embeddings", body)
    served.check([row["embedding"] for row in said["data"]], TEXTS[0], RED, RED, TEXTS[1])
    assert said["usage"]["total_tokens"] > 0
    binary = post(served, "/v1/embeddings", {**body, "embedding_type": "ubinary"})
    exact = np.stack([served.engine.embed_texts([TEXTS[0]])[0], served.engine.embed_images([RED])[0]])
    rows = np.asarray([row["embedding"] for row in binary["data"]][:2], dtype=np.uint8)
    assert (
        np.unpackbits(rows ^ to_dtype(exact, "ubinary")).mean() < 0.02
    )  # a number near 0 may change its sign


def test_vllm_as_its_documentation_asks(served: Served) -> None:
    part = {"type": "image_url", "image_url": {"url": URI}}
    texts, (picture_row,) = served.engine.embed_texts(TEXTS), served.engine.embed_images([RED])
    said = post(served, "/score", {"model": MODEL, "queries": TEXTS[0], "documents": TEXTS})
    assert [row["score"] for row in said["data"]] == pytest.approx(texts @ texts[0], abs=2e-3)
    said = post(served, "/score", {"model": MODEL, "queries": TEXTS[0], "documents": [{"content": [part]}]})
    assert said["data"][0]["score"] == pytest.approx(picture_row @ texts[0], abs=2e-3)
    said = post(served, "/rerank", {"model": MODEL, "query": TEXTS[1], "documents": TEXTS, "top_n": 1})
    assert said["results"][0]["index"] == 1
    said = post(served, "/pooling", {"model": MODEL, "input": TEXTS})
    served.check([row["data"] for row in said["data"]], *TEXTS)
    said = post(served, "/classify", {"model": MODEL, "input": [URI], "labels": TEXTS})
    wanted = served.engine.probabilities(picture_row[None] @ served.engine.label_head(TEXTS).T)[0]
    assert said["data"][0]["probs"] == pytest.approx(wanted, abs=2e-3)


def test_text_embeddings_inference_as_its_documentation_asks(served: Served) -> None:
    served.check(post(served, "/embed", {"inputs": TEXTS}), *TEXTS)
    served.check(post(served, "/embed", {"inputs": TEXTS[0], "truncate": True}), TEXTS[0])
    said = httpx2.get(f"{served.address}/info", timeout=60).json()
    assert (said["model_id"], said["model_sha"]) == (MODEL, served.engine.fingerprint)


def post(served: Served, path: str, body: dict[str, Any]) -> Any:
    """What a program without a client library gets."""
    answer = httpx2.post(served.address + path, json=body, headers={"authorization": "Bearer x"}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def programs() -> list[tuple[str, str]]:
    """The client and the text of each program on the page."""
    page = PAGE.read_text(encoding="utf-8")
    return re.findall(r"^```python (\w+)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("client", "program"), programs(), ids=lambda text: text.split("\n")[0])
def test_the_programs_on_the_page_run(served: Served, client: str, program: str) -> None:
    library(client)
    names = {
        "picture": Image.open(io.BytesIO(RED)),
        "picture_bytes": RED,
        "picture_base64": RAW,
        "picture_data_uri": URI,
    }
    exec(program.replace("http://127.0.0.1:8000", served.address), names)
