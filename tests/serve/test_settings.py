import math

import pytest

from clipworks.errors import ConfigError
from clipworks.serve.app import run
from clipworks.serve.fetching import rules_of
from clipworks.serve.fleet import fleet_of_engines
from clipworks.serve.settings import ServeSettings, misspelt_variables, read_variables
from tests.serve.colours import ColourEngine


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_addresses_need_nothing(host: str) -> None:
    assert ServeSettings(host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "", "example.org", "localhost.example.org"])
def test_an_address_that_others_reach_must_be_asked_for(host: str) -> None:
    with pytest.raises(ConfigError, match="--insecure"):
        ServeSettings(host=host)
    assert ServeSettings(host=host, insecure=True).host == host


@pytest.mark.parametrize(
    "values",
    [
        *({"port": -1}, {"port": 65536}, {"max_images": 0}, {"body_seconds": 0.0}, {"max_text_queue": 10}),
        *({"signup_credit_usd": 0.0000001}, {"signup_credit_usd": -1.0}),
        *({"body_seconds": math.inf}, {"idempotency_hours": math.nan}),
        {"reservation_seconds": 60.0, "request_seconds": 60.0, "require_keys": True},
    ],
)
def test_values_out_of_range_are_refused_by_name(values: dict[str, float]) -> None:
    name = next(iter(values))
    with pytest.raises(ConfigError, match=f"{name}.* CLIPWORKS_{name.upper()}"):
        ServeSettings(**values)  # type: ignore[arg-type]


def test_an_allowlist_without_hosts_says_which_variable_lists_them() -> None:
    with pytest.raises(ConfigError, match="no host is listed.*CLIPWORKS_URL_HOSTS"):
        rules_of(ServeSettings(url_mode="allowlist"))


def test_variables_fill_the_same_fields() -> None:
    variables = {
        "CLIPWORKS_PORT": "9000",
        "CLIPWORKS_INSECURE": "1",
        "CLIPWORKS_BODY_SECONDS": "2.5",
        "PORT": "1",
    }
    values = read_variables(variables)
    assert values == {"port": 9000, "insecure": True, "body_seconds": 2.5}
    assert ServeSettings(**values).port == 9000


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("CLIPWORKS_PORT", "many", "whole number"),
        ("CLIPWORKS_INSECURE", "perhaps", "true or false"),
        ("CLIPWORKS_REQUIRE_KEYS", "often", "true or false"),
    ],
)
def test_variables_that_cannot_be_used_are_refused_by_name(name: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*{words}"):
        read_variables({name: value})


def test_a_port_that_is_taken_is_said_to_be_taken() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Cannot listen on 127.0.0.1 port {port}: .*--port"):
            settings = ServeSettings(port=port)
            run(settings, fleet_of_engines(settings, {"colours": ColourEngine()}))  # type: ignore[dict-item]


def test_a_variable_that_looks_like_a_setting_and_is_none_is_named_with_what_may_be_meant() -> None:
    names = ("MAX_IMAGE", "MAX_IMAGES", "CACHE", "MODEL", "URL", "LABELS")
    found = misspelt_variables({f"CLIPWORKS_{name}": "1" for name in names} | {"MAX_TEXT": "1"})
    assert found == {"CLIPWORKS_MAX_IMAGE": "CLIPWORKS_MAX_IMAGES"}
