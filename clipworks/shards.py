"""Image-text pairs in numbered tar files, the webdataset layout.

A sample KEY is up to three neighbouring members: `KEY.png` (or jpg, webp), `KEY.txt` with its
caption and `KEY.json` with all captions and details. open_clip and DataComp tools read these
files, and files of theirs are read here. A folder of shards ends with its `manifest.json`.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from clipworks.errors import ConfigError, DataError
from clipworks.files import atomic_write, is_complete, sha256_file, write_manifest

IMAGE_EXTENSIONS = ("png", "jpg", "jpeg", "webp")
SHARD_NAME = "{:05d}.tar"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One picture with its captions."""

    key: str
    """Name within the data set: no dot, no slash, no space."""
    image: bytes
    """The encoded picture."""
    extension: str
    """How `image` is encoded: png, jpg, jpeg or webp."""
    texts: tuple[str, ...]
    """Captions, the most exact first; at least one."""
    details: dict[str, Any] = field(default_factory=dict)
    """Whatever else is known: source, licence, weight."""

    def __post_init__(self) -> None:
        if not self.key or set(self.key) & set("./ \\"):
            raise ConfigError(f"The sample key {self.key!r} is empty or has a dot, slash or space.")
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
        ConfigError: `samples_per_shard` out of range.
        DataError: the folder is complete already, there is no sample, or two neighbours share a key.
    """
    if samples_per_shard < 1:
        raise ConfigError(f"samples_per_shard is {samples_per_shard}; it must be at least 1.")
    if is_complete(folder):
        raise DataError(f"{folder} holds a complete set of shards already.", "Choose another folder.")
    shards = list[dict[str, Any]]()
    for number, group in enumerate(_groups(samples, samples_per_shard)):
        path = folder / SHARD_NAME.format(number)
        _write_tar(path, group)
        shards.append({"name": path.name, "samples": len(group), "sha256": sha256_file(path)})
    if not shards:
        raise DataError(f"No sample was given for {folder}.")
    manifest = {
        "format": "clipworks shards 1",
        "samples": sum(shard["samples"] for shard in shards),
        "shards": shards,
        **(details or {}),
    }
    write_manifest(folder, manifest)
    return manifest


def list_shards(folder: Path) -> list[Path]:
    """The tar files of a folder in reading order.

    A folder of other tools has no manifest and is read as it is; one of ours must be complete.

    Raises:
        DataError: the folder does not exist, holds no tar file, or is one of ours and unfinished.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of shards: it does not exist.")
    paths = sorted(folder.glob("*.tar"))
    if not paths:
        raise DataError(f"{folder} holds no .tar file.", "Give a folder of webdataset shards.")
    return paths


def read_shards(folder: Path) -> Iterator[Sample]:
    """Every sample of a folder of shards, in order; see `read_shard`."""
    for path in list_shards(folder):
        yield from read_shard(path)


def read_shard(path: Path) -> Iterator[Sample]:
    """The samples of one tar file, in order. Members that are no picture, txt or json are passed over.

    Raises:
        DataError: the file is not a tar or is cut short, or a sample lacks its picture or captions.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            key, parts = "", dict[str, bytes]()
            for member in tar:
                if not member.isfile():
                    continue
                member_key, _, extension = member.name.partition(".")
                if member_key != key:
                    if parts:
                        yield _sample(path, key, parts)
                    key, parts = member_key, {}
                file = tar.extractfile(member)
                assert file is not None
                parts[extension.lower()] = file.read()
            if parts:
                yield _sample(path, key, parts)
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
        texts = tuple(details.pop("texts", ())) or (parts["txt"].decode(),)
    except KeyError as error:
        raise DataError(f"Sample {key} in {path} has no caption (.txt, or texts in .json).") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"Sample {key} in {path} has a caption that cannot be read: {error}.") from error
    return Sample(
        key=key.replace("/", "_"), image=parts[extension], extension=extension, texts=texts, details=details
    )
