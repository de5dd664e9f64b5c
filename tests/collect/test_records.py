"""Archives are read to their end, whatever is in them."""

import zlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from web_archive import gzipped, record

from clipworks.collect import records
from clipworks.collect.records import read_record_at, read_records
from clipworks.errors import DataError

PARTS = [record("response", f"https://a.example/{i}", bytes([65 + i]) * (300 * i)) for i in range(6)]
BODIES = [bytes([65 + i]) * (300 * i) for i in range(6)]


def read(path: Path, data: bytes) -> tuple[list[bytes], Counter[str]]:
    path.write_bytes(data)
    counts: Counter[str] = Counter()
    return [one.block for one in read_records(path, counts)], counts


@pytest.mark.parametrize("data", [gzipped(PARTS), b"".join(PARTS), zlib.compress(b"".join(PARTS), 6, 31)])
def test_records_are_read_gzipped_one_by_one_or_together_or_plain(tmp_path: Path, data: bytes) -> None:
    assert read(tmp_path / "a", data) == (BODIES, Counter())


@pytest.mark.parametrize("data", [gzipped(PARTS), b"".join(PARTS)])
def test_a_record_is_found_again_by_its_offset(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    for one in read_records(path, Counter()):
        assert read_record_at(path, one.offset) == one
    with pytest.raises(DataError, match="no whole record at byte 3"):
        read_record_at(path, 3)


def test_fields_are_found_whatever_their_case(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(
        record("response", "https://a.example/Ä b", b"x").replace(b"Target", b"TARGET")
    )
    (one,) = read_records(tmp_path / "a", Counter())
    assert one.field(b"warc-target-uri").decode() == "https://a.example/Ä b"
    assert (one.kind, one.field(b"warc-ip-address")) == (b"response", b"")


@pytest.mark.parametrize("number", range(6))
def test_a_damaged_gzip_member_costs_its_own_record_only(tmp_path: Path, number: int) -> None:
    members = [gzipped([part]) for part in PARTS]
    damaged = bytearray(members[number])
    damaged[12:20] = b"\xff" * 8
    data = b"".join([*members[:number], bytes(damaged), *members[number + 1 :]])
    assert read(tmp_path / "a", data) == (
        BODIES[:number] + BODIES[number + 1 :],
        Counter(damaged_records=1),
    )


def test_a_wrong_checksum_is_damage(tmp_path: Path) -> None:
    members = [gzipped([part]) for part in PARTS]
    members[2] = members[2][:-8] + b"\0\1\2\3" + members[2][-4:]
    assert read(tmp_path / "a", b"".join(members)) == (BODIES[:2] + BODIES[3:], Counter(damaged_records=1))


@pytest.mark.parametrize("length", ["999999", "3", "-1", "x", "9" * 30])
def test_a_wrong_length_costs_one_record_of_a_plain_archive(tmp_path: Path, length: str) -> None:
    parts = list(PARTS)
    parts[3] = parts[3].replace(b"Content-Length: 900", f"Content-Length: {length}".encode())
    bodies, counts = read(tmp_path / "a", b"".join(parts))
    assert bodies == BODIES[:3] + BODIES[4:]
    assert counts == Counter(damaged_records=1)


def test_rubbish_between_records_is_passed_over(tmp_path: Path) -> None:
    plain = PARTS[1] + b"rubbish \r\n" * 200_000 + PARTS[2]
    assert read(tmp_path / "a", plain) == (BODIES[1:3], Counter(damaged_records=1))
    packed = gzipped(PARTS[:2]) + b"\0" * 100 + gzipped([b"no record"]) + b"rubbish" * 99 + gzipped(PARTS[2:])
    bodies, counts = read(tmp_path / "b", packed)
    assert (bodies, counts) == (BODIES, Counter(damaged_records=2))


def test_a_record_above_the_limit_is_counted_and_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 1000)
    monkeypatch.setattr(records, "_PIECE_BYTES", 256)
    monkeypatch.setattr(records, "_WINDOW_BYTES", 512)
    wanted = (BODIES[:4], Counter(oversized_records=2))
    assert read(tmp_path / "a", b"".join(PARTS)) == wanted
    assert read(tmp_path / "b", gzipped(PARTS)) == wanted
    assert read(tmp_path / "c", zlib.compress(b"".join(PARTS), 6, 31)) == wanted


@given(st.integers(0, 4000))
@settings(max_examples=60, deadline=None)
def test_a_cut_archive_gives_the_records_before_the_cut(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    for name, data in (("gz", gzipped(PARTS)), ("plain", b"".join(PARTS))):
        bodies, counts = read(tmp_path_factory.getbasetemp() / f"cut-{name}", data[: cut % len(data)])
        assert bodies == BODIES[: len(bodies)]
        assert counts["damaged_records"] <= 1


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_overwritten_bytes_never_stop_the_reading(
    tmp_path_factory: pytest.TempPathFactory, place: int, noise: bytes
) -> None:
    members = [gzipped([part]) for part in PARTS]
    data = bytearray(b"".join(members))
    place %= len(data)
    data[place : place + len(noise)] = noise
    bodies, _ = read(tmp_path_factory.getbasetemp() / "noise", bytes(data[: len(b"".join(members))]))
    at, untouched = 0, []
    for member, body in zip(members, BODIES, strict=True):
        if at + len(member) <= place or at >= place + len(noise):
            untouched.append(body)
        at += len(member)
    assert [body for body in bodies if body in untouched] == untouched


def test_what_is_no_archive_has_no_records(tmp_path: Path) -> None:
    assert read(tmp_path / "a", b"") == ([], Counter())
    assert read(tmp_path / "b", b"hello") == ([], Counter(damaged_records=1))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_records(tmp_path, Counter()))
    with pytest.raises(DataError, match="cannot be read"):
        read_record_at(tmp_path, 0)


@pytest.mark.parametrize("digits", ["9" * 25, "9" * 5000, "0x10", "-5"])
@pytest.mark.parametrize("is_gzipped", [True, False])
def test_a_length_that_cannot_be_right_is_damage(tmp_path: Path, digits: str, is_gzipped: bool) -> None:
    wrong = f"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: {digits}\r\n\r\nabc\r\n\r\n".encode()
    parts = [PARTS[1], wrong, PARTS[2]]
    data = gzipped(parts) if is_gzipped else b"".join(parts)
    assert read(tmp_path / "a", data) == ([BODIES[1], BODIES[2]], Counter(damaged_records=1))
