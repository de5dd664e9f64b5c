import random
from hashlib import md5, sha1, sha224, sha256
from pathlib import Path

import numpy as np
import pytest

from clipworks import blocklists
from clipworks.addresses import parse_address
from clipworks.blocklists import Blocklist, read_blocklist
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
        (sha1(URL.encode()).hexdigest(), True),
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
    assert listed.have_addresses(["http://elsewhere.test/", URL, ""]).tolist() == [False, is_listed, False]


def test_an_address_is_found_however_it_is_written(tmp_path: Path) -> None:
    listed = blocklist(tmp_path, "http://pictures.example/cat.png")
    for text in ("http://PICTURES.example:80/cat.png#top", "HTTP://pictures.example./cat.png"):
        assert listed.has_address(text, parse_address(text))


def test_a_host_covers_what_is_below_it_even_of_addresses_that_are_not_quite_ones(tmp_path: Path) -> None:
    listed = blocklist(tmp_path, "bad.example\ncom.\n")
    urls = {
        "http://bad.example/x.jpg": True,
        "https://img.cdn.bad.example:8080/x": True,
        "http://notbad.example/": False,
        "http://BAD.Example./a": True,
        "http://bad.example/two words.jpg": True,
        "http://a.com/": True,
        "data:image/png;base64,xx": False,
        "http://[broken": False,
    }
    assert listed.have_addresses(list(urls)).tolist() == list(urls.values())
    assert listed.have_addresses([]).tolist() == []


def test_a_picture_is_listed_by_md5_or_sha256_of_its_file(tmp_path: Path) -> None:
    data = b"a picture"
    hashes = md5(data).hexdigest(), sha256(data).hexdigest()
    assert not blocklist(tmp_path, "pictures.example").has_picture(*hashes)
    for hash_ in hashes:
        assert blocklist(tmp_path, hash_).has_picture(*hashes)
        assert not blocklist(tmp_path, hash_).has_picture("0" * 32, "0" * 64)
    seen = blocklist(tmp_path, "00ff00ff00ff00ff")
    known = ["00ff00ff00ff00ff", "", "00ff00ff00ff00fe", "00FF00FF00FF00FF"]
    assert seen.have_pictures("phash", known).tolist() == [True, False, False, True]
    assert not seen.have_pictures("md5", [hashes[0]]).any()


@pytest.mark.parametrize("per_run", [7, 1 << 20])
def test_long_lists_are_sorted_by_way_of_runs(
    tmp_path: Path, per_run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(blocklists, "DIGESTS_PER_RUN", per_run)
    chance = random.Random(0)
    digests = [chance.randbytes(16) for _ in range(500)]
    digests += [bytes(16), b"\0" * 15 + b"\1", b"\1" + bytes(15), b"\xff" * 16, b"\xff" * 15 + b"\0"]
    lines = [digest.hex() for digest in digests] + [digests[3].hex().upper()]
    listed = blocklist(tmp_path, "\n".join(lines))
    stored = listed.digests["md5"]
    assert isinstance(stored, np.memmap)
    assert [one.ljust(16, b"\0") for one in stored.tolist()] == sorted(digests)
    assert listed.have_pictures("md5", lines).all()
    others = [chance.randbytes(16).hex() for _ in range(500)]
    assert not listed.have_pictures("md5", others).any()
    assert sorted(
        path.name for path in next((tmp_path / "cache" / "blocklists").glob("[!.]*")).iterdir()
    ) == [
        "manifest.json",
        "md5",
    ]


def test_a_list_is_sorted_once_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "cache"))
    sorted_lists = []
    real = blocklists._sort_lists
    monkeypatch.setattr(blocklists, "_sort_lists", lambda *args: (sorted_lists.append(1), real(*args)))
    for _ in range(2):
        assert blocklist(tmp_path, "pictures.example").has_address(URL, parse_address(URL))
    assert not blocklist(tmp_path, "others.example").has_address(URL, parse_address(URL))
    assert len(sorted_lists) == 2


def test_without_a_cache_a_list_is_sorted_for_the_process_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "file"))
    assert blocklist(tmp_path, "pictures.example").has_address(URL, parse_address(URL))


def test_lists_add_up_and_may_be_a_folder_or_empty(tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    folder.mkdir()
    with pytest.raises(DataError, match="holds no blocklist"):
        read_blocklist([folder])
    (folder / "a.txt").write_text("# nothing yet\n")
    assert not read_blocklist([folder]).have_addresses([URL]).any()
    (folder / "b.txt").write_text("pictures.example\n")
    assert read_blocklist([folder]).have_addresses([URL]).all()
    assert not read_blocklist([]).digests


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
