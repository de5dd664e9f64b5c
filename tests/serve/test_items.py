"""Reading items: a list is counted before anything is made of it."""

import tracemalloc

import pytest

from clipworks.serve.items import read_input, reader
from clipworks.serve.problems import RequestError
from clipworks.serve.settings import ServeSettings


class Long(list[str]):
    """A list that says to be long."""

    def __len__(self) -> int:
        return 1_000_000


@pytest.mark.parametrize("value", [Long(["a"]), [list(range(1_000_000))]])
def test_a_list_that_is_too_long_is_refused_before_anything_is_made_of_it(value: list[str]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RequestError):
            read_input({"input": value}, ServeSettings())
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_items_are_named_by_their_place_and_a_single_one_by_its_field() -> None:
    read = reader({}, ServeSettings())
    with pytest.raises(RequestError, match=r"input\[1\] is null"):
        read.read_all(["a", None], "input")
    with pytest.raises(RequestError, match="input is null"):
        read.read_only(None, "input")
