import gc

import pyarrow as pa
import pytest

from clipworks.collect.thrift import GC_THRESHOLD, give_memory_back, saving_memory


def test_what_is_set_for_a_fetch_is_set_back_after_it() -> None:
    before = gc.get_threshold(), pa.default_memory_pool().backend_name
    with pytest.raises(KeyError), saving_memory():
        assert gc.get_threshold()[0] == GC_THRESHOLD
        assert pa.default_memory_pool().backend_name == "system"
        raise KeyError
    assert (gc.get_threshold(), pa.default_memory_pool().backend_name) == before


def test_memory_is_given_back_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    assert give_memory_back() in (True, False)
    monkeypatch.setattr("clipworks.collect.thrift.ctypes.CDLL", lambda _: object())
    assert give_memory_back() is False
    with saving_memory():
        pass
