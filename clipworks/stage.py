"""A stage of the road from a crawl to shards: sources in, a folder of parts out, whatever dies on the way.

`stage.json` says what the folder is made with, before the first part. A part is one or several files and
`NAME.part.json`, which is written after them and names them with their hashes: a part without it does
not exist. `manifest.json` ends the folder. Whoever repeats the command goes on with the parts that are
missing, failed, or of a source that has changed; parts do not depend on each other, on their order or on who
makes them, so that the bytes of a finished folder are those of an undisturbed run. A folder that holds parts
of anything else is refused.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import Any, Protocol

from clipworks.errors import ConfigError, DataError, reason_of
from clipworks.files import (
    MANIFEST,
    STAGE,
    atomic_write,
    exclusive_lock,
    is_complete,
    read_json,
    read_manifest,
    sha256_file,
    write_json,
    write_manifest,
)
from clipworks.processes import Processes

PART_SUFFIX = ".part.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What one part is made of."""

    name: str
    """Name of the part: letters, digits, dots, dashes and underscores; unique in the folder."""
    path: str
    """Where the input is, a path or an address."""
    digest: str
    """Changes when the input does: its sha256, or what else is known of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What became of one source."""

    rows: int
    """Rows in the part."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """How often what happened, by reason; summed in the manifest."""
    files: Sequence[str] = ()
    """The part's files, relative to the folder."""
    failure: str = ""
    """Why the source could not be read; the part then has no rows and counts as failed."""


Work = Callable[[Source, Path], Made]
"""Makes the files of a part in the folder given; picklable, and the same for the same source."""


class Workers(Protocol):
    """Where work is done."""

    def run(self, make: Callable[[Source], None], sources: Sequence[Source]) -> Iterator[tuple[Source, str]]:
        """Make each source's part; each source as it is done, with why it was given up, or "".

        Raises what `make` raises.
        """


ShowProgress = Callable[[int, int, str], None]
"""Parts done, parts in all, words."""


def run_stage(
    work: Work,
    sources: Sequence[Source],
    folder: Path,
    *,
    stage: str,
    config: Mapping[str, Any],
    workers: int = 1,
    pool: Workers | None = None,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Make all parts that are missing, then the manifest.

    Args:
        work: called in processes of their own where `workers` is above 1. A source for which it tells a
            failure, or on which its process dies again and again, becomes a failed part: it has no
            rows, a reason, and a count. Errors end the stage.
        sources: in the order of the finished table.
        folder: made if needed; resumed if it was begun with the same stage and config. Its parts are kept,
            but for failed ones and those of sources that changed; sources may be added.
        stage: name of the stage, kept in `stage.json`.
        config: everything that changes the result, as JSON values.
        workers: processes of this machine.
        pool: where parts are made instead, for example on a cluster that shares the folder.
        show: told when a part is done.

    Returns:
        The manifest: stage, config, rows, counts (`failed_sources` among them) and parts in order.

    Raises:
        ConfigError: two sources have one name, or the folder was begun with something else.
        DataError: another process is writing the folder, it cannot be written, or a file cannot be read.
    """
    names = Counter(source.name for source in sources)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ConfigError(f"Two sources are called {twice[0]!r}.", "Rename one of the files.")
    with _begun(folder, stage, config):
        stale = _find_stale(folder, sources)
        if is_complete(folder):
            manifest = read_manifest(folder)
            if manifest.get("sources") == _digest_of(sources) and "failed_sources" not in manifest["counts"]:
                return manifest
            (folder / MANIFEST).unlink()
        for part in stale:
            _drop(folder, part)
        missing = [source for source in sources if not is_made(folder, source)]
        done = len(sources) - len(missing)
        if show is not None:
            show(done, len(sources), "")
        for source, failure in (pool or Processes(workers)).run(partial(make_part, work, folder), missing):
            if failure:
                _write_part(folder, source, Made(rows=0, failure=failure))
            done += 1
            if show is not None:
                show(done, len(sources), source.name)
        return _finish(folder, stage, config, sources)


def make_part(work: Work, folder: Path, source: Source) -> None:
    """Do the work on one source and write its part's file. Raises what the work raises."""
    _write_part(folder, source, work(source, folder))


def find_part(folder: Path, source: Source) -> dict[str, Any] | None:
    """What is known of a source's part; None where it is missing, or of another input, or cut."""
    part = _read_part(folder / f"{source.name}{PART_SUFFIX}")
    if part is None or part.get("digest") != source.digest:
        return None
    is_whole = all(_has_bytes(folder / name, file["bytes"]) for name, file in part["files"].items())
    return part if is_whole else None


def is_made(folder: Path, source: Source) -> bool:
    """Whether a source's part is there and did not fail."""
    part = find_part(folder, source)
    return part is not None and not part.get("failure")


def forget(folder: Path) -> None:
    """Take away all that a stage has made in a folder, so that it begins anew."""
    for name in (MANIFEST, STAGE):
        (folder / name).unlink(missing_ok=True)
    for path in list(folder.glob(f"*{PART_SUFFIX}")):
        _drop(folder, path)


def part_files(folder: Path, suffix: str) -> Iterator[Path]:
    """The files of a finished folder's parts whose names end with a suffix, in the order of the sources.

    Raises:
        DataError: the folder is unfinished, or a file is missing.
    """
    manifest = read_manifest(folder)
    for part in manifest.get("parts", ()):
        for name in part["files"]:
            if name.endswith(suffix):
                if not (folder / name).is_file():
                    raise DataError(f"{folder / name} is missing.", "Repeat the command that writes it.")
                yield folder / name


def digest_of_files(paths: Sequence[Path], *names: str) -> str:
    """sha256 over files and words, 64 hex characters: the digest of a source."""
    parts = [sha256_file(path) for path in paths]
    return sha256("\n".join([*parts, *names]).encode()).hexdigest()


@contextmanager
def held(folder: Path, lock: str) -> Iterator[None]:
    """A folder, made if needed, while nobody else holds its lock.

    Args:
        lock: name of the lock's file in it.

    Raises:
        DataError: it is a file, another process holds the lock, or what is done meanwhile meets an OSError.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive_lock(folder / lock, wait=False))
        except FileExistsError as error:
            raise DataError(f"{folder} is a file.", "Choose another --out.") from error
        except BlockingIOError as error:
            raise DataError(
                f"{folder} is being written by another process.", "Wait for it, or choose another --out."
            ) from error
        except OSError as error:
            raise _unwritten(folder, error) from error
        try:
            yield
        except OSError as error:
            raise _unwritten(folder, error) from error


def _unwritten(folder: Path, error: OSError) -> DataError:
    """What an error of the system says: of the file that it names, or of the folder."""
    words = reason_of(error)
    if isinstance(error.filename, str) and folder not in (
        Path(error.filename),
        *Path(error.filename).parents,
    ):
        return DataError(f"{error.filename} cannot be read: {words}.", "Mend it and repeat the command.")
    return DataError(
        f"{folder} cannot be written: {words}.",
        "Make room and repeat the command: it goes on where it stopped.",
    )


@contextmanager
def _begun(folder: Path, stage: str, config: Mapping[str, Any]) -> Iterator[None]:
    """The folder, begun or taken up, while nobody else writes it. What made nothing has no claim on it."""
    job = {"stage": stage, "config": dict(config)}
    with held(folder, ".lock"):
        holds_files = any(path.name != STAGE and not path.name.startswith(".") for path in folder.iterdir())
        if not holds_files:
            write_json(folder / STAGE, job)
        elif (folder / STAGE).exists():
            _check_same(folder, job)
        else:
            raise DataError(f"{folder} holds other files.", "Choose another --out.")
        yield


def _check_same(folder: Path, job: dict[str, Any]) -> None:
    begun = read_json(folder / STAGE)
    old = begun.get("config", {}) if isinstance(begun, dict) else {}
    if not isinstance(begun, dict) or begun.get("stage") != job["stage"]:
        other = begun.get("stage") if isinstance(begun, dict) else None
        raise ConfigError(
            f"{folder} was begun by another stage, {other!r}, not {job['stage']!r}.", "Choose another --out."
        )
    for name in {**old, **job["config"]}:
        if old.get(name) != job["config"].get(name):
            raise ConfigError(
                f"{folder} was begun with {name} {old.get(name)!r}, not {job['config'].get(name)!r}.",
                "Use the same settings, choose another --out, or delete that folder.",
            )


def _find_stale(folder: Path, sources: Sequence[Source]) -> list[Path]:
    """The parts of sources that have changed, or have another name now.

    Raises:
        ConfigError: a part is of something that is not among the sources.
    """
    digests = {source.name: source.digest for source in sources}
    paths = {source.path for source in sources}
    stale = []
    for file in sorted(folder.glob(f"*{PART_SUFFIX}")):
        part, name = _read_part(file), file.name.removesuffix(PART_SUFFIX)
        if part is None and name in digests:
            continue
        if part is not None and part.get("digest") == digests.get(name):
            continue
        if part is None or part.get("source") not in paths:
            path = name if part is None else part.get("source")
            raise ConfigError(
                f"{folder} was begun with another input, {path}.",
                "Use the same, choose another --out, or delete that folder.",
            )
        stale.append(file)
    return stale


def _drop(folder: Path, path: Path) -> None:
    """Remove the files of a part, then what names them."""
    for name in (_read_part(path) or {"files": ()})["files"]:
        (folder / name).unlink(missing_ok=True)
    path.unlink()


def _read_part(path: Path) -> dict[str, Any] | None:
    try:
        part = read_json(path)
    except DataError:
        return None
    return part if isinstance(part, dict) and isinstance(part.get("files"), dict) else None


def _write_part(folder: Path, source: Source, made: Made) -> None:
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_file(folder / name)}
        for name in made.files
    }
    part: dict[str, Any] = {"source": source.path, "digest": source.digest, "rows": made.rows}
    part |= {"counts": dict(sorted(made.counts.items())), "files": files}
    if made.failure:
        part |= {"failure": made.failure, "counts": {"failed_sources": 1}}
    with atomic_write(folder / f"{source.name}{PART_SUFFIX}") as file:
        file.write(dumps(part, indent=1, ensure_ascii=False).encode())


def _finish(folder: Path, stage: str, config: Mapping[str, Any], sources: Sequence[Source]) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    parts = []
    for source in sources:
        part = find_part(folder, source)
        if part is None:
            raise DataError(f"{folder} lacks the part {source.name}.", "Repeat the command.")
        counts.update(part["counts"])
        parts.append({"name": source.name, **part})
    manifest = {
        "format": f"clipworks {stage} 1",
        "stage": stage,
        "config": dict(config),
        "sources": _digest_of(sources),
        "rows": sum(part["rows"] for part in parts),
        "counts": dict(sorted(counts.items())),
        "parts": parts,
    }
    write_manifest(folder, manifest)
    return manifest


def _has_bytes(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _digest_of(sources: Sequence[Source]) -> str:
    return sha256("\n".join(f"{one.name} {one.digest}" for one in sources).encode()).hexdigest()
