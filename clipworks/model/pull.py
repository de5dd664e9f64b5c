"""A model's name -> its files on this machine: built in, at a path, or fetched from the Hub once.

Fetched files stay in the cache of huggingface_hub, which obeys HF_HOME, HF_ENDPOINT, HF_TOKEN and
HF_HUB_OFFLINE; what is in the cache is used without asking the network. Reading the files is the
work of `weights.py`. This file owns huggingface_hub.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub

from clipworks.errors import CheckpointError
from clipworks.model.catalogue import CatalogueRow, find, rows
from clipworks.model.published import CONFIG_FILES
from clipworks.model.sources import WEIGHT_FILES, WEIGHT_INDEX, shards_of

BUILTIN = Path(__file__).parent / "builtin"
"""Where the models that come with the package are, one folder each."""

logger = logging.getLogger(__name__)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

# Beside a model's weights: what says its shape, and what says that its tokenizer is CLIP's.
_SMALL_FILES = (*CONFIG_FILES, "vocab.json")


def resolve(name: str) -> Path:
    """Find a model's files; fetch them from the Hugging Face Hub if they are there and not here.

    Args:
        name: a built-in model, then whatever exists at this path, then a name of the catalogue or a
            Hugging Face id, each with `@` and a branch, tag or commit where another than `main` is meant.

    Returns:
        A folder or a weights file for `weights.read_checkpoint`.

    Raises:
        ConfigError: the name is none of these; the nearest known ones are named.
        CheckpointError: the Hub has no such model or revision, cannot be reached, or its files are no
            CLIP's.
    """
    row = known_row(name)
    if row is not None and row.source == "builtin":
        return BUILTIN / row.id
    if Path(name).exists():
        return Path(name)
    base, _, revision = name.partition("@")
    if row is not None:
        return _fetch(row.id, revision or None)
    if _HUB_ID.fullmatch(base):
        return _fetch(base, revision or None)
    if name.startswith((".", "/", "~")):
        raise CheckpointError(
            f"There is no model at {name}.", "Give a folder, a weights file or a known name."
        )
    return BUILTIN / find(name).id


def public_name(name: str) -> str:
    """What a model that was loaded as `name` is called: its id, or the name of its folder or file."""
    row = known_row(name)
    if row is not None and (row.source == "builtin" or not Path(name).exists()):
        return row.id
    return Path(name).resolve().name if Path(name).exists() else name


def known_row(name: str) -> CatalogueRow | None:
    """The catalogue's row of an id or short name, or None; a revision behind `@` makes no difference."""
    base = name.partition("@")[0]
    known = {alias.lower() for row in rows() for alias in (row.id, *row.short_names)}
    return find(base) if base.lower() in known else None


def cached_folder(repository: str) -> Path | None:
    """Where the files of a Hub repository lie on this machine; None if its weights do not."""
    for name in WEIGHT_FILES:
        cached = _cached(repository, name, None)
        if cached is not None and _is_whole(cached):
            return cached.parent
    return None


def _fetch(repository: str, revision: str | None) -> Path:
    """The local folder or index of a repository: from the cache, or fetched with its best weights."""
    with _explained(repository, revision):
        for name in WEIGHT_FILES:
            cached = _cached(repository, name, revision)
            if cached is not None and _is_whole(cached):
                _complete(repository, revision)
                return cached if name.endswith(WEIGHT_INDEX) else cached.parent
        for name in _SMALL_FILES:
            _fetch_file(repository, name, revision)
        for name in WEIGHT_FILES:
            path = _fetch_file(repository, name, revision)
            if path is not None:
                for shard in shards_of(path) if name.endswith(WEIGHT_INDEX) else ():
                    _fetch_file(repository, shard, revision)
                return path if name.endswith(WEIGHT_INDEX) else path.parent
    raise CheckpointError(f"{repository} has none of the files {', '.join(WEIGHT_FILES)}.")


@contextmanager
def _explained(repository: str, revision: str | None) -> Iterator[None]:
    """Turn the errors of huggingface_hub into ours."""
    at = f" at {revision!r}" if revision else ""
    try:
        yield
    except huggingface_hub.errors.LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{repository}{at} is not on this machine and the Hub cannot be reached.",
            "Fetch it once with a network, or load('pictogram'), which needs none.",
        ) from error
    except huggingface_hub.errors.GatedRepoError as error:
        raise CheckpointError(
            f"{repository} asks for an account's consent before it can be fetched.",
            "Accept its terms on the Hub and set HF_TOKEN.",
        ) from error
    except huggingface_hub.errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"{repository} has no branch, tag or commit {revision!r}.", "Leave @ and what follows out."
        ) from error
    except huggingface_hub.errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"The Hub has no public model {repository!r}.", "See `clipworks models`, or set HF_TOKEN."
        ) from error
    except _fetch_errors() as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{repository}{at} could not be fetched: {reason}.",
            "Try again: what has arrived is kept, and nothing half-fetched is ever read.",
        ) from error


def _cached(repository: str, name: str, revision: str | None) -> Path | None:
    """A file that is in the cache whole; huggingface_hub moves a file there when all of it has arrived."""
    found = huggingface_hub.try_to_load_from_cache(repository, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _is_whole(file: Path) -> bool:
    """Whether all parts are here, of an index; any other file is whole."""
    return not file.name.endswith(WEIGHT_INDEX) or all(
        file.with_name(name).exists() for name in shards_of(file)
    )


def _complete(repository: str, revision: str | None) -> None:
    """Fetch the small files that another program left out when it fetched the weights.

    Without a network the model is used as it is: what a missing file could still say is the pixel
    normalisation, and the log names it.
    """
    unknown = []
    for name in _SMALL_FILES:
        if huggingface_hub.try_to_load_from_cache(repository, name, revision=revision) is None:
            try:
                _fetch_file(repository, name, revision)
            except _fetch_errors():
                unknown.append(name)
    if unknown:
        logger.warning(
            "It is not known whether %s has %s; it is used without.", repository, ", ".join(unknown)
        )


def _fetch_errors() -> tuple[type[Exception], ...]:
    """What a broken connection or a wrong id raises; the HTTP client's errors are bases of the Hub's own."""
    errors = huggingface_hub.errors
    return (OSError, errors.HFValidationError, *errors.HfHubHTTPError.__bases__)


def _fetch_file(repository: str, name: str, revision: str | None) -> Path | None:
    """One file's local path, or None if the repository does not have it."""
    try:
        return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision))
    except huggingface_hub.errors.LocalEntryNotFoundError:
        raise
    except huggingface_hub.errors.EntryNotFoundError:
        return None
