from pathlib import Path

import pyarrow as pa
import pytest

from clipworks.errors import DataError
from clipworks.tables import num_rows, read_batches, read_table, write_table

TABLE = pa.table({"number": range(40_000), "word": [f"w{n % 7}" for n in range(40_000)]})


def test_a_table_is_read_back_whole_and_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "t.parquet"
    write_table(path, TABLE)
    assert read_table(path).equals(TABLE)
    assert num_rows(path) == 40_000
    pieces = list(read_batches(path, ["word"], rows=1000))
    assert max(len(piece) for piece in pieces) == 1000
    assert pa.Table.from_batches(pieces).equals(TABLE.select(["word"]))


def test_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_table(tmp_path / name, pa.concat_tables([TABLE.slice(0, 9), TABLE.slice(9)]))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("read", [read_table, num_rows, lambda path: list(read_batches(path))])
def test_what_is_no_table_is_an_error(tmp_path: Path, read: object) -> None:
    assert callable(read)
    write_table(tmp_path / "t", TABLE)
    data = (tmp_path / "t").read_bytes()
    for name, content in (("cut", data[:-9]), ("empty", b""), ("text", b"hello")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} cannot be read as parquet"):
            read(tmp_path / name)
    for name in ("missing", "text"):
        with pytest.raises(DataError, match=rf"{name} cannot be read as parquet: .*[^.]\.$"):
            read(tmp_path / name)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    write_table(tmp_path / "t", TABLE)
    for read in (read_table, lambda path, columns: list(read_batches(path, columns))):
        with pytest.raises(DataError, match=r"no column 'colour'; it has number, word"):
            read(tmp_path / "t", ["colour"])


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write_table(tmp_path / "file" / "t", TABLE)
