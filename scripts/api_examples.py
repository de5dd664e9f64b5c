"""Ask a server of its own for every example of the API reference; write clipworks/serve/examples.json.

    python -m scripts.api_examples

Vectors, long texts and lists are shortened in the answers, secrets are blanked. Run it when an answer has
another shape; a test compares the shapes.
"""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

import clipworks
from clipworks.search.opening import open_index
from clipworks.serve import accounts, keys
from clipworks.serve.app import create_app
from clipworks.serve.database import open_database
from clipworks.serve.keys import KeyTerms
from clipworks.serve.settings import ServeSettings

PACKAGE = Path(clipworks.__file__).parent
TARGET = PACKAGE / "serve" / "examples.json"
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mO4IycHAALyAR"
    "lNudhnAAAAAElFTkSuQmCC"
)
"""One red pixel."""
MODEL = "pictogram"
VISIBLE = {"numbers": 3, "items": 2, "characters": 48}

REQUESTS: dict[str, Any] = {
    "GET /v1/models": None,
    "GET /v1/models/{id}": None,
    "POST /v1/embeddings": {"model": MODEL, "input": ["a fox", {"image": PICTURE}]},
    "POST /v1/classify": {"model": MODEL, "input": [PICTURE], "labels": ["red", "green"]},
    "POST /v1/similarity": {"model": MODEL, "images": [PICTURE], "texts": ["red", "a fox"]},
    "POST /v1/heatmap": {"model": MODEL, "image": PICTURE, "text": "a fox"},
    "POST /v1/search": {"text": "a guitar", "limit": 1},
    "GET /livez": None,
    "GET /readyz": None,
    "GET /health": None,
    "POST /embeddings": {"model": MODEL, "input": "a fox", "modality": "text"},
    "POST /pooling": {"model": MODEL, "input": ["a fox"]},
    "POST /classify": {"model": MODEL, "input": PICTURE, "labels": ["red", "green"]},
    "POST /score": {"model": MODEL, "queries": "red", "documents": ["a red fox", "a guitar"]},
    "POST /v1/score": {"model": MODEL, "queries": "red", "documents": ["a red fox", "a guitar"]},
    "POST /rerank": {"model": MODEL, "query": "red", "documents": ["a red fox", "a guitar"]},
    "POST /v1/rerank": {"model": MODEL, "query": "red", "documents": ["a red fox", "a guitar"]},
    "POST /v2/rerank": {"model": MODEL, "query": "red", "documents": ["a red fox", "a guitar"]},
    "POST /v1/embed": {"model": MODEL, "texts": ["a fox"]},
    "POST /v2/embed": {"model": MODEL, "texts": ["a fox"], "embedding_types": ["float"]},
    "POST /v1/multimodalembeddings": {
        "model": MODEL,
        "inputs": [{"content": [{"type": "text", "text": "a fox"}]}],
    },
    "POST /embed": {"inputs": ["a fox"]},
    "POST /similarity": {"inputs": {"source_sentence": "a fox", "sentences": ["a wolf", "a guitar"]}},
    "POST /models/{model}": {"inputs": PICTURE, "parameters": {"candidate_labels": ["red", "green"]}},
    "POST /hf/{model}/{task}": {"inputs": "a fox"},
    "POST /knn-service": {"text": "a guitar", "modality": "image", "num_images": 1, "indice_name": "gallery"},
    "POST /metadata": {"ids": ["images/emoji-1f600.webp"], "indice_name": "gallery"},
    "GET /info": None,
    "GET /indices-list": None,
}
"""Operation -> its body, on a server without keys."""

PAID: dict[str, Any] = {
    "POST /v1/admin/accounts": {"name": "The Museum", "credit_usd": "25"},
    "GET /v1/admin/accounts": None,
    "GET /v1/admin/accounts/{id}": None,
    "POST /v1/admin/accounts/{id}/grants": {"amount_usd": "10", "note": "second invoice"},
    "POST /v1/admin/accounts/{id}/adjustments": {"amount_usd": "-2.50", "note": "granted twice"},
    "POST /v1/admin/keys": {
        "name": "app",
        "account": "The Museum",
        "budget_usd": "2",
        "budget_period": "day",
    },
    "GET /v1/admin/keys": None,
    "GET /v1/admin/keys/{id}": None,
    "GET /v1/usage": None,
    "GET /v1/credits": None,
    "GET /v1/key": None,
    "POST /v1/admin/keys/{id}/rotate": {"grace_seconds": 3600},
    "DELETE /v1/admin/keys/{id}": None,
}
"""Operation -> its body, in this order, on a server with keys."""


def main() -> None:
    engine = clipworks.load(MODEL)
    gallery = open_index(PACKAGE / "gallery" / "index")
    with TestClient(
        create_app(ServeSettings(), {MODEL: engine}, gallery), base_url="http://127.0.0.1"
    ) as open_to_all:
        described = open_to_all.get("/openapi.json").json()["paths"]
        answers = examples(
            open_to_all, {name: body for name, body in REQUESTS.items() if exists(described, name)}, {}
        )
    with tempfile.TemporaryDirectory() as folder:
        settings = ServeSettings(require_keys=True, database=f"sqlite:///{folder}/accounts.db")
        headers = {"authorization": f"Bearer {first_key(settings)}"}
        with TestClient(create_app(settings, {MODEL: engine}), base_url="http://127.0.0.1") as paid:
            paid.post("/v1/embeddings", json={"input": "a fox"}, headers=headers)
            answers |= examples(paid, PAID, headers)
    TARGET.write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(answers)} examples in {TARGET.name}, {TARGET.stat().st_size:,} bytes")


def exists(described: dict[str, Any], name: str) -> bool:
    method, path = name.split(" ")
    return method.lower() in described.get(path, {})


def first_key(settings: ServeSettings) -> str:
    """The secret of a key that may do everything, of a first account."""
    database = open_database(settings.database)
    with database.write() as connection:
        account = accounts.create_account(connection, "operator", credit_micro_usd=5_000_000)
        terms = KeyTerms(name="boss", scopes=("inference", "usage", "admin"))
        _, secret = keys.create_key(connection, account.id, terms)
    database.close()
    return secret


def examples(client: TestClient, requests: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    """Operation -> request and answer."""
    found: dict[str, Any] = {}
    for name, body in requests.items():
        method, path = name.split(" ")
        key_id = found.get("POST /v1/admin/keys", {}).get("answer", {}).get("id", "")
        known = {
            "{id}": key_id if "/keys/" in path else "The Museum" if "/accounts/" in path else MODEL,
            "{model}": MODEL,
            "{task}": "feature-extraction",
        }
        for variable, value in known.items():
            path = path.replace(variable, value)
        answer = client.request(method, path, json=body, headers=headers)
        assert answer.is_success, f"{name}: {answer.text}"
        found[name] = {"answer": shortened(answer.json())}
        if body is not None:
            found[name]["request"] = body
    return found


def shortened(value: Any) -> Any:
    """An answer as a page can show it."""
    if isinstance(value, dict):
        return {name: shortened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        most = VISIBLE["numbers" if value and isinstance(value[0], int | float) else "items"]
        return [shortened(inner) for inner in value[:most]]
    if isinstance(value, float):
        return float(f"{value:.4g}") if value < 1e9 else value
    if isinstance(value, str):
        value = re.sub(r"cw_[0-9a-zA-Z]{10,}", "cw_…", value)
        return value if len(value) <= VISIBLE["characters"] else value[: VISIBLE["characters"]] + "…"
    return value


if __name__ == "__main__":
    main()
