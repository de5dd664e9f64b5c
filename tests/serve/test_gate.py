"""Every route stands behind the gate unless it is listed as open."""

import logging
import re
from typing import Any

import pytest
from starlette.requests import Request
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from clipworks.serve.app import OPEN_ROUTES, create_app
from clipworks.serve.calls import Caller
from clipworks.serve.problems import RequestError
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ADDRESS, ColourEngine, data_uri, picture

SECRET = "cw_verysecretkey0123456789"


class ClosedGate:
    """Lets nobody in, and remembers who asked for what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def admit(self, request: Request, scope: str) -> Caller:
        self.asked.append((request.url.path, scope))
        raise RequestError("No key.", code="host_not_allowed")


def requests_of(app: Any) -> list[tuple[str, str, str]]:
    """Template, method and an address of every route, a body-less request to which must be refused."""
    found = []
    for route in app.routes:
        methods = sorted(route.methods or ()) if isinstance(route, Route) else ["GET", "POST"]
        assert isinstance(route, Route | Mount), f"{route}: say here how it is asked"
        address = re.sub(r"\{.*?\}", "colours", route.path) + (
            "/page.css" if isinstance(route, Mount) else ""
        )
        found += [(route.path, method, address) for method in methods]
    return found


def test_every_route_that_is_not_listed_as_open_asks_the_gate_first() -> None:
    gate = ClosedGate()
    engines: Any = {"colours": ColourEngine()}
    app = create_app(ServeSettings(), engines, gate=gate)
    with TestClient(app, base_url=ADDRESS) as client:
        seen = set()
        for template, method, address in requests_of(app):
            gate.asked.clear()
            answer = client.request(method, address)
            seen.add(template)
            if template in OPEN_ROUTES:
                assert gate.asked == [] and answer.status_code != 403, (method, address)
            else:
                assert len(gate.asked) == 1 and answer.status_code == 403, (method, address)
        assert set(OPEN_ROUTES) <= seen
        # The canaries of /readyz and /health are all that the engine was asked.
        assert engines["colours"].calls == [("images", 1), ("texts", 1)]


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_no_other_site_is_let_in_by_cors(client: TestClient, origin: str) -> None:
    ask = {"origin": origin, "access-control-request-method": "POST"}
    for method, address in (("OPTIONS", "/v1/embeddings"), ("GET", "/v1/models"), ("GET", "/")):
        answer = client.request(method, address, headers=ask)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_secrets_and_query_strings_are_in_no_log_line(
    client: TestClient, engine: ColourEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = {"authorization": f"Bearer {SECRET}"}
    body = {"model": "colours", "input": "a", "user": SECRET}
    assert client.post("/v1/embeddings", json=body, headers=key).status_code == 200
    client.post(f"/v1/embeddings?api_key={SECRET}", json={"input": SECRET, SECRET: 1}, headers=key)
    client.post("/v1/embeddings", json={"model": SECRET, "input": SECRET}, headers=key)
    client.post("/v1/embeddings", json={"model": "colours", "input": [{"image": SECRET}]}, headers=key)
    client.post("/v1/embeddings", json={"input": [{"image": f"https://a.org/?{SECRET}"}]}, headers=key)
    client.post("/v1/embeddings", content=SECRET.encode(), headers={"content-type": SECRET})
    client.get("/", params={"q": SECRET}, headers={"cookie": SECRET})
    client.get("/livez", headers={"x-request-id": f"<{SECRET}>", "host": SECRET})
    engine.failure = RuntimeError("the engine fails")
    client.post("/v1/embeddings", json={**body, "input": [SECRET, data_uri(picture())]}, headers=key)
    ours = [record for record in caplog.records if record.name.startswith(("clipworks", "uvicorn"))]
    formatter = logging.Formatter("%(message)s")
    text = "\n".join(f"{formatter.format(record)} {record.__dict__.get('request')}" for record in ours)
    assert "the engine fails" in text and "POST /v1/embeddings 200" in text
    assert SECRET not in text and "api_key" not in text
