import datetime
from pathlib import Path

import pytest

from clipworks.errors import ConfigError
from clipworks.serve.metrics import Metrics
from clipworks.serve.roster import ModelSpec, ProviderSpec, check_names, read_models
from clipworks.serve.router import ProviderRouter

GOOD = """
[models.pictogram]
aliases = ["default", "small"]

[models."team/large"]
source = "/models/large"
preload = false
memory_bytes = 1000

[models.old]
status = "deprecated"
shutdown_date = 2030-01-31

[models.next]
status = "coming_soon"
"""


def test_a_file_of_models_is_read(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(GOOD)
    first, large, old, coming = read_models(tmp_path / "models.toml")
    assert (first.id, first.aliases, first.preload) == ("pictogram", ("default", "small"), True)
    assert (large.source, large.preload, large.memory_bytes) == ("/models/large", False, 1000)
    assert old.shutdown_date == datetime.date(2030, 1, 31) and coming.status == "coming_soon"
    assert not old.is_over(datetime.date(2030, 1, 30)) and old.is_over(datetime.date(2030, 1, 31))
    check_names([first, large, old, coming])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must hold tables"),
        ("models = 3", "must hold tables"),
        ("[models]\n[other]", "must hold tables"),
        ("[models.a", "cannot be read"),
        ("[models]\na = 3", "models.a is no table"),
        ("[models.a]\nsauce = 'x'", "Nearest: source"),
        ("[models.a]\nstatus = 'dead'", "live, coming_soon, deprecated"),
        ("[models.a]\npreload = 'yes'", "preload is 'yes'; it must be of the type bool"),
        ("[models.a]\nmemory_bytes = true", "memory_bytes is True"),
        ("[models.a]\nmemory_bytes = -1", "must not be below 0"),
        ("[models.a]\nshutdown_date = 2030-01-01", "not deprecated"),
        ("[models.a]\nstatus = 'deprecated'\nshutdown_date = 2030-01-01T00:00:00", "of the type date"),
        ("[models.a]\naliases = [3]", "list of names"),
        ("[models.'']\n", "no id"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_place(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "models.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_models(tmp_path / "models.toml")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_models(tmp_path / "none.toml")


def test_a_name_stands_for_one_model_only() -> None:
    with pytest.raises(ConfigError, match="'x' is served already"):
        check_names([ModelSpec(id="x"), ModelSpec(id="y", aliases=("x",))])


PROVIDERS = """
[models.a]
routing = "price"
providers = [
    { name = "local" },
    { name = "east", url = "https://a.example/v1", key_variable = "EAST", usd_per_1k_images = 0.05 },
    { name = "west", url = "http://10.0.0.7/v1", private = true, key_file = "west.key", model = "b" },
]
"""


def test_providers_are_read_with_their_keys_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(PROVIDERS)
    (tmp_path / "west.key").write_text("cw_west\n")
    (model,) = read_models(tmp_path / "models.toml", {"EAST": "sk-east"})
    local, east, west = model.providers
    assert model.is_local and model.routing == "price" and not local.url
    assert (east.key, east.usd_per_1k_images, east.private) == ("sk-east", "0.05", False)
    assert (west.key, west.model, west.private) == ("cw_west", "b", True)
    assert "sk-east" not in repr(model) and "cw_west" not in repr(model)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{ url = 'https://a.example' }", "has no name"),
        ("{ name = 'east' }", "has no url"),
        ("{ name = 'local', url = 'https://a.example' }", "has an url"),
        ("{ name = 'a b', url = 'https://a.example' }", "letters, digits"),
        ("{ name = 'east', url = 'https://a.example', key = 'sk-1' }", "key_variable or a key_file"),
        ("{ name = 'east', url = 'https://a.example', key_variable = 'NONE' }", "NONE holds no key"),
        ("{ name = 'east', url = 'https://a.example', key_file = 'none' }", "none cannot be read"),
        ("{ name = 'east', url = 'https://a.example', key_file = 'a', key_variable = 'b' }", "one of them"),
        ("{ name = 'east', url = 'https://a.example', key_variable = 'BAD' }", "characters that no key has"),
        ("{ name = 'east', url = 'https://a.example', timeout_seconds = 0 }", "above 0"),
        ("{ name = 'east', url = 'https://a.example', timeout_seconds = true }", "of the type number"),
        ("{ name = 'east', url = 'https://a.example', usd_per_1k_images = -1 }", "from 0 up"),
        ("{ name = 'east', url = 'https://a.example', prise = 1 }", "has no field 'prise'"),
        ("{ name = 'local' }, { name = 'local' }", "two providers have the same name"),
        ("3", "is no table"),
    ],
)
def test_a_provider_that_cannot_be_used_is_refused_with_the_place(
    tmp_path: Path, row: str, words: str
) -> None:
    (tmp_path / "models.toml").write_text(f"[models.a]\nproviders = [{row}]\n")
    with pytest.raises(ConfigError, match=words):
        read_models(tmp_path / "models.toml", {"BAD": "a\u00e9b"})


@pytest.mark.parametrize(
    ("url", "words"), [("http://a.example/v1", "private = true"), ("ftp://a.example", "The provider east")]
)
def test_an_address_of_a_provider_is_checked_before_anything_starts(url: str, words: str) -> None:
    spec = ModelSpec(id="a", providers=(ProviderSpec(name="east", url=url),))
    with pytest.raises(ConfigError, match=words):
        ProviderRouter(spec, Metrics())


def test_routing_is_one_of_three_words() -> None:
    with pytest.raises(ConfigError, match="health, price, latency"):
        ModelSpec(id="a", routing="random")  # type: ignore[arg-type]
