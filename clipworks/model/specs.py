"""Everything known of a model in one plain value, for pages, tables and programs; no network, no weights.

Joins the catalogue's row with `facts.py`, `scores.py`, `costs.py` and what is on this machine; of a
checkpoint that the catalogue does not know, what `outline.py` finds. Laying it out is the caller's work.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from clipworks.model.catalogue import CatalogueRow, find
from clipworks.model.config import ClipConfig
from clipworks.model.costs import operation_count, parameter_count
from clipworks.model.facts import facts_of
from clipworks.model.outline import Outline, outline
from clipworks.model.pull import BUILTIN, cached_folder, known_row
from clipworks.model.scores import headline, scores_of

TASK = "zero-shot image classification; image and text embeddings"

Specs = dict[str, Any]
"""JSON-able; the keys of `describe`."""


def describe(name: str) -> Specs:
    """What is known of a model by its catalogue name, or of a checkpoint by its path.

    Names go before paths for built-in models and after them for others, as in `pull.resolve`.

    Raises:
        ConfigError: no such name and no such path; the three nearest names are in the remedy.
        CheckpointError: the path holds no model, or a damaged one.
    """
    row = known_row(name)
    if row is not None and (row.source == "builtin" or not Path(name).exists()):
        return describe_row(row)
    if Path(name).exists():
        return describe_outline(outline(Path(name)))
    return describe_row(find(name))


def describe_row(row: CatalogueRow) -> Specs:
    """Everything that is known of a model of the catalogue.

    Returns:
        The keys of `describe_outline`, and: `short_names`, `title`, `architecture`, `tag`, `training_data`,
        `training`, `licence`, `licence_note`, `commercial_use`, `use`, `limits`, `traps`, `files`,
        `original` (None where no hash of an original file is known), `imagenet` and `average_of_38`
        (0..1 or None) and `scores`.
    """
    facts = asdict(facts_of(row.id))
    folder = BUILTIN / row.id if row.source == "builtin" else cached_folder(row.id)
    config, fingerprint = row.config, None
    if row.source == "builtin":
        assert folder is not None
        found = outline(folder)
        config, fingerprint = found.config, found.fingerprint
    assert config is not None
    imagenet, average = headline(row.id)
    return {
        "id": row.id,
        "short_names": list(row.short_names),
        "title": row.title,
        "source": row.source,
        "task": TASK,
        "architecture": row.architecture,
        "tag": row.tag,
        **_shape(config),
        "activation": config.activation,
        "training_data": row.training_data,
        "training": facts.pop("training"),
        "licence": row.licence,
        **facts,
        "folder": None if folder is None else str(folder),
        "fingerprint": fingerprint,
        "imagenet": imagenet,
        "average_of_38": average,
        "scores": [asdict(score) for score in scores_of(row.id)],
    }


def describe_outline(found: Outline) -> Specs:
    """What is known of a checkpoint on disk.

    Returns:
        `id` (the path), `source` (`local`), `task`, the model's shape and costs (see `_shape`; absent if no
        file tells them), `activation` (None where not stated), `family`, `folder`, `weights_file`,
        `weights_bytes` and `fingerprint` (None where the weights must be read for it).
    """
    weights = found.weights
    return {
        "id": str(found.path),
        "source": "local",
        "task": TASK,
        **({} if found.config is None else _shape(found.config)),
        "activation": found.activation,
        "family": found.family,
        "folder": str(found.path if found.path.is_dir() else found.path.parent),
        "weights_file": None if weights is None else weights.name,
        "weights_bytes": None if weights is None else weights.stat().st_size,
        "fingerprint": found.fingerprint,
    }


def _shape(config: ClipConfig) -> Specs:
    """Shape and costs of a model as plain numbers.

    Operations are of one forward pass, in units of 10^9, a text having the full context length.
    """
    parameters, operations = parameter_count(config), operation_count(config)
    vision, text = config.vision, config.text
    return {
        "parameters": {
            "image": parameters.image,
            "text": parameters.text,
            "total": parameters.total,
        },
        "gflops": {
            "image": round(operations.image / 1e9, 2),
            "text": round(operations.text / 1e9, 2),
            "pair": round(operations.pair / 1e9, 2),
        },
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "image_tokens": vision.tokens,
        "context_length": text.context_length,
        "vocab_size": text.vocab_size,
        "dim": config.embed_dim,
        "image_tower": {name: getattr(vision, name) for name in ("width", "layers", "heads", "mlp_width")},
        "text_tower": {name: getattr(text, name) for name in ("width", "layers", "heads", "mlp_width")},
        "mean": list(config.preprocess.mean),
        "std": list(config.preprocess.std),
    }
