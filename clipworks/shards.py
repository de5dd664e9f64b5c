"""Image-text pairs in numbered tar files, the webdataset layout.

A sample KEY is up to three neighbouring members: `KEY.png` (or jpg, webp), `KEY.txt` with its
caption and `KEY.json` with all captions and details. open_clip and DataComp tools read these
files, and files of theirs are read here. A folder of shards ends with its `manifest.json`.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from clipworks.errors import ConfigError, DataError
from clipworks.files import MANIFEST, STAGE, atomic_write, is_complete, read_json, sha256_file, write_manifest
from clipworks.tars import has_end

IMAGE_EXTENSIONS = ("png", "jpg", "jpeg", "webp")
SHARD_NAME = "{:05d}.tar"
FORMAT_NAME = "clipworks shards"
FORMAT = f"{FORMAT_NAME} 1"

UNFINISHED = "unfinished"
"""File that marks a folder of ours from its first write until its manifest is there."""

_NAME = re.compile(r"(?:\./)*(?P<key>(?:.*/)?[^./]+)\.(?P<extension>[^/]*)", re.DOTALL)
_WRITE_AGAIN = "Copy the folder again, or delete it and repeat the command that writes it."


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One picture with its captions."""

    key: str
    """Name within the data set; in shards of ours it has no dot, slash or space."""
    image: bytes
    """The encoded picture."""
    extension: str
    """How `image` is encoded: png, jpg, jpeg or webp."""
    texts: tuple[str, ...]
    """Captions, the most exact first; at least one."""
    details: dict[str, Any] = field(default_factory=dict)
    """Whatever else is known: source, licence, weight."""

    def __post_init__(self) -> None:
        if not self.key:
            raise ConfigError("A sample has an empty key.")
        if self.extension not in IMAGE_EXTENSIONS:
            raise ConfigError(
                f"Sample {self.key} has the extension {self.extension!r}; "
                f"it must be one of {', '.join(IMAGE_EXTENSIONS)}."
            )
        if not self.texts:
            raise ConfigError(f"Sample {self.key} has no caption; it needs at least one.")


def write_shards(
    samples: Iterable[Sample],
    folder: Path,
    *,
    samples_per_shard: int = 5000,
    details: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write samples to `00000.tar`, `00001.tar` … and the manifest last.

    The same samples give the same bytes: times and owners in the tar files are zero.

    Args:
        samples: in the order they shall be read; held in memory one shard at a time.
        folder: made if needed; left alone if it is complete already.
        samples_per_shard: upper bound, 1 or more.
        details: more entries for the manifest.

    Returns:
        The manifest: format, samples, shards with name, samples and sha256.

    Raises:
        ConfigError: `samples_per_shard` out of range, or a key has a dot, slash or space.
        DataError: the folder is complete already or holds shards of another tool, there is no sample,
            or two neighbours share a key.
    """
    if samples_per_shard < 1:
        raise ConfigError(f"samples_per_shard is {samples_per_shard}; it must be at least 1.")
    _start(folder)
    shards = list[dict[str, Any]]()
    for number, group in enumerate(_groups(samples, samples_per_shard)):
        path = folder / SHARD_NAME.format(number)
        _write_tar(path, group)
        shards.append({"name": path.name, "samples": len(group), "sha256": sha256_file(path)})
    if not shards:
        raise DataError(f"No sample was given for {folder}.")
    count = sum(shard["samples"] for shard in shards)
    manifest = {"format": FORMAT, "samples": count, "shards": shards, **(details or {})}
    write_manifest(folder, manifest)
    (folder / UNFINISHED).unlink(missing_ok=True)
    return manifest


def list_shards(folder: Path) -> list[Path]:
    """The tar files of a folder in reading order: those of its manifest.

    A folder of other tools has no manifest of ours and is read as it is: every tar file, by name.

    Raises:
        DataError: the folder does not exist, holds no tar file, or is one of ours and unfinished,
            lacks a shard or has a damaged manifest.
    """
    return [shard.path for shard in _shards(folder)]


def hash_shards(folder: Path) -> list[str]:
    """The sha256 of every shard, in reading order.

    Raises:
        DataError: as in `list_shards`, or a shard is not the one that the manifest names.
    """
    return [_check_hash(shard) for shard in _shards(folder)]


def count_samples(folder: Path) -> int:
    """How many samples a folder holds, by its manifest or else by the headers in its tar files.

    Raises:
        DataError: as in `list_shards` and `read_shard`.
    """
    return sum(
        sum(1 for _ in _groups_of_members(shard.path, read=False))
        if shard.num_samples is None
        else shard.num_samples
        for shard in _shards(folder)
    )


def read_shards(folder: Path, *, check_hashes: bool = True) -> Iterator[Sample]:
    """Every sample of a folder of shards, in order; see `read_shard`.

    Args:
        folder: of ours, or of webdataset tar files.
        check_hashes: False if `hash_shards` has done it.

    Raises:
        DataError: as in `list_shards`, `hash_shards` and `read_shard`, or the manifest gives another
            number of samples.
    """
    for shard in _shards(folder):
        if check_hashes and shard.sha256 is not None:
            _check_hash(shard)
        found = 0
        for found, sample in enumerate(read_shard(shard.path), start=1):
            if shard.num_samples is not None and found > shard.num_samples:
                break
            yield sample
        if shard.num_samples is not None and found != shard.num_samples:
            raise DataError(
                f"Shard {shard.path} does not hold the {shard.num_samples} samples of its manifest."
            )


def read_shard(path: Path) -> Iterator[Sample]:
    """The samples of one tar file, in order. Members that are no picture, txt or json are passed over.

    As in webdataset, a member's name is split at the first dot behind its last slash, and names
    without a dot there, or with nothing before it, are passed over. A key keeps its folder.

    Raises:
        DataError: the file is not a tar or is cut short, or a sample lacks its picture or captions.
    """
    for key, parts in _groups_of_members(path):
        yield _sample(path, key, parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shard:
    path: Path
    num_samples: int | None
    """None where there is no manifest."""
    sha256: str | None
    """What it must be; None where there is no manifest."""


def _shards(folder: Path) -> list[_Shard]:
    if not folder.is_dir():
        reason = "it is a file" if folder.exists() else "it does not exist"
        raise DataError(f"{folder} is not a folder of shards: {reason}.")
    if is_complete(folder):
        manifest = read_json(folder / MANIFEST)
        if isinstance(manifest, dict) and str(manifest.get("format")).startswith(FORMAT_NAME):
            return _listed_shards(folder, manifest)
    elif (folder / UNFINISHED).exists() or (folder / STAGE).exists():
        raise DataError(f"{folder} is unfinished: its shards were never completed.", _WRITE_AGAIN)
    paths = sorted(folder.glob("*.tar"))
    if not paths:
        raise DataError(f"{folder} holds no .tar file.", "Give a folder of webdataset shards.")
    return [_Shard(path=path, num_samples=None, sha256=None) for path in paths]


def _listed_shards(folder: Path, manifest: dict[str, Any]) -> list[_Shard]:
    if manifest["format"] != FORMAT:
        raise DataError(f"{folder} has the format {manifest['format']!r}, not {FORMAT!r}.", _WRITE_AGAIN)
    try:
        shards = [
            _Shard(path=folder / row["name"], num_samples=int(row["samples"]), sha256=str(row["sha256"]))
            for row in manifest["shards"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder / MANIFEST} is damaged: its list of shards is wrong.", _WRITE_AGAIN
        ) from error
    for shard in shards:
        if not shard.path.is_file():
            raise DataError(f"{folder} lacks the shard {shard.path.name}.", _WRITE_AGAIN)
    return shards


def _check_hash(shard: _Shard) -> str:
    found = sha256_file(shard.path)
    if shard.sha256 not in (None, found):
        raise DataError(
            f"Shard {shard.path} has the sha256 {found[:12]}…, its manifest says {str(shard.sha256)[:12]}….",
            _WRITE_AGAIN,
        )
    return found


def _start(folder: Path) -> None:
    """Mark a folder as ours and unfinished, and remove the shards of a write that was cut short."""
    if is_complete(folder):
        raise DataError(f"{folder} holds a complete set of shards already.", "Choose another folder.")
    old = sorted(folder.glob("*.tar"))
    if old and not (folder / UNFINISHED).exists():
        raise DataError(f"{folder} holds {old[0].name} of another tool.", "Choose another folder.")
    with atomic_write(folder / UNFINISHED) as file:
        file.write(b"The manifest is not written yet.\n")
    for path in old:
        path.unlink()


def _groups_of_members(path: Path, *, read: bool = True) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and parts by extension of each run of members with one key; `read` False leaves the parts empty."""
    try:
        with tarfile.open(path, "r:") as tar:
            key, parts = "", dict[str, bytes]()
            for member in tar:
                name = _NAME.fullmatch(member.name)
                if name is None or not member.isfile():
                    continue
                if name["key"] != key:
                    if key:
                        yield key, parts
                    key, parts = name["key"], {}
                if read:
                    file = tar.extractfile(member)
                    assert file is not None
                    parts[name["extension"].lower()] = file.read()
            if not has_end(tar):
                raise EOFError("unexpected end of data")
            if key:
                yield key, parts
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"Shard {path} cannot be read: {error}.", "Make or copy it again.") from error


def _groups(samples: Iterable[Sample], size: int) -> Iterator[tuple[Sample, ...]]:
    iterator = iter(samples)
    while group := tuple(islice(iterator, size)):
        yield group


def _write_tar(path: Path, samples: Iterable[Sample]) -> None:
    with atomic_write(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        previous = ""
        for sample in samples:
            if set(sample.key) & set("./ \\"):
                raise ConfigError(f"The sample key {sample.key!r} has a dot, slash or space.")
            if sample.key == previous:
                raise DataError(f"{path} would hold the key {sample.key!r} twice in a row.")
            previous = sample.key
            details = json.dumps(
                {"texts": sample.texts, **sample.details}, ensure_ascii=False, sort_keys=True
            )
            _add(tar, f"{sample.key}.{sample.extension}", sample.image)
            _add(tar, f"{sample.key}.txt", sample.texts[0].encode())
            _add(tar, f"{sample.key}.json", details.encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _sample(path: Path, key: str, parts: dict[str, bytes]) -> Sample:
    extension = next((name for name in IMAGE_EXTENSIONS if name in parts), None)
    if extension is None:
        raise DataError(f"Sample {key} in {path} has no picture ({', '.join(IMAGE_EXTENSIONS)}).")
    try:
        details = json.loads(parts.get("json", b"{}"))
        texts = details.pop("texts", []) or [parts["txt"].decode()]
    except KeyError as error:
        raise DataError(f"Sample {key} in {path} has no caption (.txt, or texts in .json).") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"Sample {key} in {path} has a caption that cannot be read: {error}.") from error
    words = [_words_of(text) for text in texts] if isinstance(texts, list) else [None]
    if any(text is None for text in words):
        raise DataError(
            f"Sample {key} in {path} has the texts {json.dumps(texts)[:60]}.",
            "They must be a list of strings.",
        )
    texts = [text for text in words if text is not None]
    return Sample(key=key, image=parts[extension], extension=extension, texts=tuple(texts), details=details)


def _words_of(text: Any) -> str | None:
    """A caption: a string, or one with the name of where it stood, as `{key, text}` or `[key, text]`."""
    if isinstance(text, dict):
        text = text.get("text")
    elif isinstance(text, list) and len(text) == 2:
        text = text[1]
    return text if isinstance(text, str) else None
