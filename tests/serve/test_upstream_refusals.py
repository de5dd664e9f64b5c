"""What a provider says of single items, and what the client hears of it."""

import pytest

from tests.serve.colours import data_uri, picture, refusal
from tests.serve.upstreams import (
    Upstream,
    gateway,
    live,
    provider,
    says,
    upstreams,
    wait_until,
)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("input[1] has 9 words too many.", "has 9 words too many"),
        ("input[1] is at 10.0.0.7.", "cannot be used"),
        ("input[1]: see http://x/.", "cannot be used"),
        ("input[1] and sk-12345.", "cannot be used"),
    ],
)
def test_a_reason_that_another_server_gives_for_one_item_is_passed_on_unless_it_tells_of_that_server(
    said: str, told: str
) -> None:
    east = Upstream()
    with upstreams(east), gateway(provider(east, "east")) as client:
        wait_until(client, live("east"))
        error = {"message": said, "param": "input[1]", "code": "invalid_value"}
        east.fault = says(400, {"error": error})
        answer = client.post("/v1/embeddings", json={"input": ["red", "blue"]})
        message = refusal(answer, 400, "invalid_value", None)
        assert told in message and message.startswith("The text 2 of this request ")
        assert not any(word in message for word in ("10.0", "http", "sk-"))


def test_items_that_an_upstream_refuses_are_left_out_in_few_calls() -> None:
    east = Upstream()
    with upstreams(east), gateway(provider(east, "east")) as client:
        wait_until(client, live("east"))
        before = len(east.headers)
        items = [data_uri(picture()), data_uri(b"\x89PNG torn"), data_uri(picture("blue")), "red", "blue"]
        answer = client.post("/v1/embeddings", json={"input": items, "on_error": "null"})
        rows = answer.json()["data"]
        assert [row["embedding"] is None for row in rows] == [False, True, False, False, False]
        assert rows[1]["error"]["param"] == "input[1]" and rows[1]["error"]["code"] == "invalid_image"
        assert len(east.headers) == before + 3
