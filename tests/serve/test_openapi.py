"""The document tells the truth about the routes."""

import json
import re
from pathlib import Path
from typing import Any

from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from clipworks.serve.app import (
    CLASSIFY_FIELDS,
    EMBEDDINGS_FIELDS,
    HEATMAP_FIELDS,
    SEARCH_FIELDS,
    SIMILARITY_FIELDS,
    create_app,
)
from clipworks.serve.guard import is_open
from clipworks.serve.openapi import document
from clipworks.serve.settings import ServeSettings
from tests.serve.cluster import new_sqlite
from tests.serve.colours import ColourEngine

FIELDS = {
    "/v1/embeddings": EMBEDDINGS_FIELDS,
    "/v1/classify": CLASSIFY_FIELDS,
    "/v1/similarity": SIMILARITY_FIELDS,
    "/v1/heatmap": HEATMAP_FIELDS,
    "/v1/search": SEARCH_FIELDS,
}


def template(path: str) -> str:
    return re.sub(r":\w+}", "}", path)


def routes(client: TestClient) -> set[tuple[str, str]]:
    found = set()
    for route in client.app.routes:  # type: ignore[attr-defined]
        methods = (route.methods or set()) - {"HEAD"} if isinstance(route, Route) else {"GET"}
        assert isinstance(route, Route | Mount)
        found |= {(template(route.path), method.lower()) for method in methods}
    return found


def test_each_route_is_described_and_no_other(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {(path, method) for path, operations in paths.items() for method in operations} == routes(client)


def test_each_route_of_a_server_with_keys_is_described_too(tmp_path: Path) -> None:
    settings = ServeSettings(require_keys=True, database=new_sqlite(tmp_path))
    app = create_app(settings, {"colours": ColourEngine()})  # type: ignore[dict-item]
    paths = {template(route.path) for route in app.routes if isinstance(route, Route)}
    assert paths - set(document(settings)["paths"]) == set()


def test_the_routes_without_a_key_are_the_open_ones(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    operations = {(path, method): o for path, found in paths.items() for method, o in found.items()}
    keyless = {name for name, operation in operations.items() if operation.get("security") == []}
    assert keyless == {
        (path, method)
        for path, method in operations
        if is_open(method.upper(), path) or is_open(method.upper(), f"{path}/")
    }


def test_the_fields_of_each_body_are_those_that_the_route_takes(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, fields in FIELDS.items():
        schema = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert set(schema["properties"]) == set(fields), path


def test_a_page_and_its_twin_say_the_same_of_their_filters(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    page, twin = (
        {one["name"]: one["description"] for one in paths[path]["get"]["parameters"]}
        for path in ("/models", "/models.json")
    )
    assert page == twin
    assert not [words for words in twin.values() if "without effect" in words or "best first" in words]


def test_each_reference_leads_somewhere(client: TestClient) -> None:
    text = client.get("/openapi.json").text
    schemas: dict[str, Any] = json.loads(text)["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) == set(schemas)


def test_limits_are_those_of_this_server(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()["paths"]["/v1/classify"]["post"]
    body = schema["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["input"]["anyOf"][1]["maxItems"] == 8
