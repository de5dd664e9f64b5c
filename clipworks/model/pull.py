"""A model's name -> its files on this machine: built in, at a path, or fetched from the Hub once.

Fetched files stay in the cache of huggingface_hub, which obeys HF_HOME, HF_ENDPOINT, HF_TOKEN and
HF_HUB_OFFLINE; what is in the cache is used without asking the network. Reading the files is the
work of `weights.py`. This file owns huggingface_hub.
"""

import re
from pathlib import Path

import huggingface_hub

from clipworks.errors import CheckpointError
from clipworks.model.catalogue import CatalogueRow, find, rows
from clipworks.model.published import CONFIG_FILES
from clipworks.model.sources import WEIGHT_FILES

BUILTIN = Path(__file__).parent / "builtin"
"""Where the models that come with the package are, one folder each."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def resolve(name: str) -> Path:
    """Find a model's files; fetch them from the Hugging Face Hub if they are there and not here.

    Args:
        name: a built-in model, then whatever exists at this path, then a name of the catalogue or a
            Hugging Face id.

    Returns:
        A folder or a weights file for `weights.read_checkpoint`.

    Raises:
        ConfigError: the name is none of these; the nearest known ones are named.
        CheckpointError: the Hub has no such model, cannot be reached, or its files are no CLIP's.
    """
    row = known_row(name)
    if row is not None and row.source == "builtin":
        return BUILTIN / row.id
    if Path(name).exists():
        return Path(name)
    if row is not None:
        return _fetch(row.id)
    if _HUB_ID.fullmatch(name):
        return _fetch(name)
    return BUILTIN / find(name).id


def public_name(name: str) -> str:
    """What a model that was loaded as `name` is called: its id, or the name of its folder or file."""
    row = known_row(name)
    if row is not None and (row.source == "builtin" or not Path(name).exists()):
        return row.id
    return Path(name).resolve().name if Path(name).exists() else name


def known_row(name: str) -> CatalogueRow | None:
    """The catalogue's row of an id or short name, or None."""
    known = {alias.lower() for row in rows() for alias in (row.id, *row.short_names)}
    return find(name) if name.lower() in known else None


def _fetch(repository: str) -> Path:
    """The local folder of a repository: from the cache, or fetched with its best weights file."""
    for name in WEIGHT_FILES:
        cached = huggingface_hub.try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Path(cached).parent
    try:
        for name in CONFIG_FILES:
            _fetch_file(repository, name)
        for name in WEIGHT_FILES:
            path = _fetch_file(repository, name)
            if path is not None:
                return path.parent
    except huggingface_hub.errors.LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{repository} is not on this machine and the Hub cannot be reached.",
            "Fetch it once with a network, or load('pictogram'), which needs none.",
        ) from error
    except huggingface_hub.errors.GatedRepoError as error:
        raise CheckpointError(
            f"{repository} asks for an account's consent before it can be fetched.",
            "Accept its terms on the Hub and set HF_TOKEN.",
        ) from error
    except huggingface_hub.errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"The Hub has no public model {repository!r}.", "See `clipworks models`, or set HF_TOKEN."
        ) from error
    except (OSError, huggingface_hub.errors.HFValidationError) as error:
        raise CheckpointError(f"{repository} could not be fetched: {error}.") from error
    raise CheckpointError(f"{repository} has none of the files {', '.join(WEIGHT_FILES)}.")


def _fetch_file(repository: str, name: str) -> Path | None:
    """One file's local path, or None if the repository does not have it."""
    try:
        return Path(huggingface_hub.hf_hub_download(repository, name))
    except huggingface_hub.errors.LocalEntryNotFoundError:
        raise
    except huggingface_hub.errors.EntryNotFoundError:
        return None
