from hashlib import md5, sha224, sha256
from pathlib import Path

import pytest

from clipworks.addresses import parse_address
from clipworks.collect.blocklists import Blocklist, read_blocklist
from clipworks.errors import DataError

URL = "http://pictures.example/cat one.png".replace(" ", "%20")


def blocklist(folder: Path, text: str) -> Blocklist:
    path = folder / "list.txt"
    path.write_text(text, encoding="utf-8")
    return read_blocklist([path])


@pytest.mark.parametrize(
    ("entry", "is_listed"),
    [
        ("pictures.example", True),
        ("*.example", True),
        ("EXAMPLE.", True),
        ("ictures.example", False),
        ("www.pictures.example", False),
        (URL, True),
        (URL + "?size=2", False),
        (sha256(URL.encode()).hexdigest(), True),
        (md5(URL.encode()).hexdigest().upper(), True),
        (sha224(URL.encode()).hexdigest()[:24], True),
        (sha224(URL.encode()).hexdigest()[8:32], False),
        ("# pictures.example", False),
    ],
)
def test_an_address_is_listed_by_its_host_itself_or_its_hash(
    tmp_path: Path, entry: str, is_listed: bool
) -> None:
    listed = blocklist(tmp_path, f"# a comment\n\n{entry}  # of somebody\n")
    assert listed.has_address(URL, parse_address(URL)) is is_listed


def test_an_address_is_found_however_it_is_written(tmp_path: Path) -> None:
    listed = blocklist(tmp_path, "http://pictures.example/cat.png")
    for text in ("http://PICTURES.example:80/cat.png#top", "HTTP://pictures.example./cat.png"):
        assert listed.has_address(text, parse_address(text))


def test_a_picture_is_listed_by_md5_or_sha256_of_its_file(tmp_path: Path) -> None:
    data = b"a picture"
    hashes = md5(data).hexdigest(), sha256(data).hexdigest()
    assert not blocklist(tmp_path, "pictures.example").has_picture(*hashes)
    for hash_ in hashes:
        assert blocklist(tmp_path, hash_).has_picture(*hashes)


@pytest.mark.parametrize("line", ["two words", "0xyz/", "http://user@host.example/", "a..b"])
def test_a_line_that_is_no_entry_is_an_error_with_its_place(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match="line 2"):
        blocklist(tmp_path, f"pictures.example\n{line}\n")


def test_a_list_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_blocklist([tmp_path / "missing.txt"])
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_blocklist([tmp_path / "bytes.txt"])
