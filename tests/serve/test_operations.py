"""The OpenAPI document in words: nothing without a description, every error explained, every example true."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from clipworks.serve import admin, embeddings, operations
from clipworks.serve.dialects import cohere, huggingface, knn, rerank, tei, vllm, voyage
from clipworks.serve.keys import KeyTerms
from clipworks.serve.openapi import document
from clipworks.serve.operations import CAUSES, GROUPS, STATUS_BY_ERROR
from clipworks.serve.settings import ServeSettings
from tests.serve.cluster import new_sqlite
from tests.serve.paying import bearer, new_key, paid_server

DESCRIBED = document(ServeSettings())
EXAMPLES: dict[str, Any] = json.loads((Path(operations.__file__).parent / "examples.json").read_text())


def all_operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DESCRIBED["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def shape(value: Any) -> Any:
    """The names and kinds of an answer; of a list, those of its first item."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


def agrees(one: Any, other: Any) -> bool:
    """Whether two shapes may be of the same answer: a list may be empty, a value null."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(agrees(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return not one or not other or agrees(one[0], other[0])
    return one == other or "NoneType" in (one, other)


def test_each_operation_stands_in_a_group_and_is_summed_up() -> None:
    wrong = [name for name, one in all_operations() if one["tags"][0] not in GROUPS or not one["summary"]]
    assert wrong == []


def test_each_field_and_parameter_is_described() -> None:
    silent = []
    for name, operation in all_operations():
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        fields = content.get("schema", {}).get("properties", {})
        silent += [f"{name}: {field}" for field, said in fields.items() if not said.get("description")]
        given = operation.get("parameters", ())
        silent += [f"{name}: {one['name']}" for one in given if not one.get("description")]
    assert silent == []


def test_each_body_of_work_names_its_fields() -> None:
    for name, operation in all_operations():
        if operation["tags"][0] in ("Work", "Other clients' addresses", "Administration"):
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            assert content is None or content["schema"].get("properties"), name


def test_the_fields_are_those_that_the_readers_of_the_bodies_take() -> None:
    assert {
        **dict.fromkeys(("/embeddings", "/pooling"), embeddings.FIELDS),
        "/classify": vllm.CLASSIFY_FIELDS,
        **dict.fromkeys(("/score", "/v1/score"), rerank.SCORE_FIELDS),
        **dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), rerank.FIELDS),
        **dict.fromkeys(("/v1/embed", "/v2/embed"), cohere.FIELDS),
        "/v1/multimodalembeddings": voyage.FIELDS,
        "/embed": tei.EMBED_FIELDS,
        "/similarity": tei.SIMILARITY_FIELDS,
        **dict.fromkeys(("/models/{model}", "/hf/{model}/{task}"), huggingface.FIELDS),
        "/knn-service": knn.KNN_FIELDS,
        "/metadata": knn.METADATA_FIELDS,
        "/v1/admin/accounts": admin.ACCOUNT_FIELDS,
        "/v1/admin/accounts/{id}/grants": admin.MONEY_FIELDS,
        "/v1/admin/accounts/{id}/adjustments": admin.MONEY_FIELDS,
        "/v1/admin/keys": admin.KEY_FIELDS,
        "/v1/admin/keys/{id}/rotate": admin.ROTATE_FIELDS,
    } == operations.FIELDS


def test_each_error_code_is_explained_and_stands_at_some_operation() -> None:
    assert set(STATUS_BY_ERROR) <= set(CAUSES)
    assert set(DESCRIBED["x-errors"]) == set(STATUS_BY_ERROR)
    listed = {
        code
        for _, operation in all_operations()
        for answer in operation["responses"].values()
        for code in answer.get("x-codes", ())
    }
    of_every_address = {"method_not_allowed"}
    of_forms = {"foreign_form", "pages_key_ended", "wrong_password", "not_recognised"}
    assert set(STATUS_BY_ERROR) - listed <= of_every_address | of_forms


def test_each_code_in_the_source_is_known() -> None:
    source = "".join(path.read_text() for path in Path(operations.__file__).parent.rglob("*.py"))
    assert set(re.findall(r'\bcode="([a-z_]+)"', source)) <= set(STATUS_BY_ERROR)


def test_each_route_of_work_has_an_example() -> None:
    wanted = {
        name
        for name, one in all_operations()
        if one["tags"][0] != "Pages"
        and any(
            "application/json" in one["responses"].get(good, {}).get("content", {}) for good in ("200", "201")
        )
    }
    assert wanted - set(EXAMPLES) <= {"GET /openapi.json", "GET /models", "GET /models.json"}
    assert set(EXAMPLES) <= {name for name, _ in all_operations()}


KEYLESS = [name for name in EXAMPLES if not re.search("/v1/(admin|usage|credits|key)", name)]


@pytest.mark.parametrize("name", KEYLESS)
def test_an_example_is_answered_as_it_says(shared_client: TestClient, name: str) -> None:
    method, path = name.split(" ")
    body = EXAMPLES[name].get("request")
    if name == "POST /metadata":
        body = {**body, "ids": ["red one.png"]}
    if body is not None:
        body = json.loads(json.dumps(body).replace('"pictogram"', '"colours"').replace("a guitar", "red"))
    path = (
        path.replace("{id}", "colours").replace("{model}", "colours").replace("{task}", "feature-extraction")
    )
    path += "?model=colours" if path == "/info" else ""
    if path in ("/embed", "/similarity"):
        body["model"] = "colours"
    answer = shared_client.request(method, path, json=body)
    assert answer.status_code == 200, answer.text
    documented, given = shape(EXAMPLES[name]["answer"]), shape(answer.json())
    if name == "GET /readyz":
        documented["models"] = given["models"]
    assert agrees(documented, given), f"{documented}\n{given}"


def test_the_examples_of_accounts_and_keys_are_answered_as_they_say(tmp_path: Path) -> None:
    with paid_server(new_sqlite(tmp_path)) as (client, database):
        terms = KeyTerms(name="boss", scopes=("inference", "usage", "admin"))
        headers = bearer(new_key(database, "operator", terms=terms)[1])
        client.post("/v1/embeddings", json={"input": "red", "model": "colours"}, headers=headers)
        key_id = ""
        for name in (name for name in EXAMPLES if name not in KEYLESS):
            method, path = name.split(" ")
            path = path.replace("keys/{id}", f"keys/{key_id}").replace("{id}", "The Museum")
            answer = client.request(method, path, json=EXAMPLES[name].get("request"), headers=headers)
            assert answer.is_success, f"{name}: {answer.text}"
            assert agrees(shape(EXAMPLES[name]["answer"]), shape(answer.json())), name
            if name == "POST /v1/admin/keys":
                key_id = answer.json()["id"]
