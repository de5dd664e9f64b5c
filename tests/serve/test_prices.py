"""Prices: decimal texts, a row for each model of the catalogue, costs rounded up once."""

from pathlib import Path

import pytest

from clipworks.errors import ConfigError
from clipworks.model import catalogue
from clipworks.serve.prices import Price, parse_usd, read_prices, show_usd


def test_every_model_of_the_catalogue_has_a_price_in_the_band() -> None:
    prices = read_prices()
    for row in catalogue.rows():
        price = prices.of(row.id)
        assert price.model == row.id
        assert 0.01 <= float(price.usd_per_1k_images) <= 0.06
        assert 0 < float(price.usd_per_1k_texts) < float(price.usd_per_1k_images)
    assert prices.of("laion/CLIP-ViT-B-32-laion2B-s34B-b79K").usd_per_1k_images == "0.047"


def test_a_model_without_a_row_costs_what_any_model_costs() -> None:
    assert read_prices().of("my-own").model == "*"


def test_a_file_of_ones_own_stands_over_the_rows_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("usd_per_1k_texts,model,usd_per_1k_images\n0,mine, 1.5 \n")
    prices = read_prices(tmp_path / "prices.csv")
    assert prices.of("mine").cost_micro_usd(images=2, texts=9) == 3000
    assert prices.of("pictogram").usd_per_1k_images == "0.010"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model,price\n", "no column usd_per_1k_images"),
        ("", "no column model"),
        ("model,usd_per_1k_images,usd_per_1k_texts\na,much,0\n", "usd_per_1k_images of a is 'much'"),
        ("model,usd_per_1k_images,usd_per_1k_texts\na,1,-1\n", "usd_per_1k_texts of a is '-1'"),
        ("model,usd_per_1k_images,usd_per_1k_texts\na,1\n", "usd_per_1k_texts of a is ''"),
        ("model,usd_per_1k_images,usd_per_1k_texts\na,NaN,1\n", "NaN"),
        (f"model,usd_per_1k_images,usd_per_1k_texts\na,0.{'0' * 40}1,1\n", "must be a decimal number"),
    ],
)
def test_a_file_that_is_no_table_of_prices_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "prices.csv").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_prices(tmp_path / "prices.csv")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none.csv cannot be read: No such file"):
        read_prices(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_prices(tmp_path / "bytes.csv")


def test_a_cost_is_exact_and_rounded_up_once() -> None:
    price = Price(model="m", usd_per_1k_images="0.047", usd_per_1k_texts="0.0001")
    assert price.cost_micro_usd(images=1000, texts=0) == 47_000
    assert price.cost_micro_usd(images=0, texts=1) == 1
    assert price.cost_micro_usd(images=0, texts=11) == 2
    assert price.cost_micro_usd(images=0, texts=0) == 0


@pytest.mark.parametrize(
    ("text", "micro_usd"), [("5", 5_000_000), ("0.000001", 1), ("$2.50", 2_500_000), ("1e-3", 1000)]
)
def test_amounts_are_read_and_shown_exactly(text: str, micro_usd: int) -> None:
    assert parse_usd(text, "x") == micro_usd
    assert parse_usd(show_usd(micro_usd), "x") == micro_usd


def test_amounts_below_0_are_shown_and_read_where_they_are_allowed() -> None:
    assert show_usd(-1_500_000) == "-1.500000" and show_usd(-1) == "-0.000001"
    assert parse_usd("-1.5", "x", may_be_negative=True) == -1_500_000


@pytest.mark.parametrize("text", ["", "five", "0.0000001", "-1", "inf", "nan", "1e30"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="x is"):
        parse_usd(text, "x")
