"""Make tests/golden/full_width.*: features and logits of the five published models at full width.

Run it by hand, in an environment that has `transformers` and `open_clip_torch` beside clipworks:

    python scripts/golden_full_width.py

Each package builds the model in its own way (open_clip from its own table of architectures) and gets the
weights of tests/full_width.py under the names of `formats.from_native`. What it then saves, open_clip as
safetensors and as a training checkpoint, transformers as a folder, must be read here as the model that went
in. The features go to full_width.npz, all else to full_width.json.
"""

import gc
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import transformers
from numpy.typing import NDArray
from open_clip.push_to_hf_hub import save_config_for_hf
from PIL import Image
from safetensors.torch import save_file

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"

sys.path.insert(0, str(ROOT / "tests"))

from full_width import (  # noqa: E402
    CAPTIONS,
    SEED,
    checksum,
    full_width_pixels,
    full_width_weights,
    published_rows,
)

from clipworks.files import write_json  # noqa: E402
from clipworks.model.catalogue import CatalogueRow  # noqa: E402
from clipworks.model.config import ClipConfig  # noqa: E402
from clipworks.model.formats import Tensors, from_native  # noqa: E402
from clipworks.model.published import (  # noqa: E402
    OPEN_CLIP_CONFIG,
    open_clip_config,
    to_hf_config,
    to_hf_processor,
)
from clipworks.model.tokenizer import tokenize  # noqa: E402
from clipworks.model.weights import fingerprint, read_checkpoint  # noqa: E402

Array = NDArray[np.float32]
Results = dict[str, Array]
"""`images` [4, E] and `texts` [6, E], of unit length, and `logits` [4, 6]; all float32."""

DIGITS = 4
"""Of a logit, behind the point."""


def main() -> None:
    """Go through the five models, one in memory at a time."""
    versions = f"open_clip {open_clip.__version__}, transformers {transformers.__version__}"
    torch_version = torch.__version__.partition("+")[0]
    told: dict[str, Any] = {
        "made_by": f"scripts/golden_full_width.py, {versions}, torch {torch_version}, seed {SEED}",
        "models": {},
    }
    features: dict[str, Array] = {}
    for row in published_rows():
        assert row.config is not None
        weights = full_width_weights(row.config, row.id)
        found = {"open_clip": of_open_clip(row, weights), "transformers": of_transformers(row, weights)}
        told["models"][row.id] = {
            "checksum": checksum(weights),
            "activation": row.config.activation,
            "logits": {package: shown(results["logits"]) for package, results in found.items()},
        }
        for package, results in found.items():
            features |= {f"{row.id}/{package}/{kind}": results[kind] for kind in ("images", "texts")}
        report(row, found)
        del weights
        gc.collect()
    write_json(GOLDEN / "full_width.json", told)
    with (GOLDEN / "full_width.npz").open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **features)


def of_open_clip(row: CatalogueRow, weights: Tensors) -> Results:
    """What open_clip's model of this architecture computes."""
    assert row.config is not None
    own = {"model_cfg": open_clip.get_model_config(row.architecture)}
    require(open_clip_config(own, row.architecture) == row.config, f"open_clip's {row.architecture} differs")
    model, _, preprocess = open_clip.create_model_and_transforms(row.architecture)
    load(model, from_native(weights, row.config, "open_clip"))
    images = torch.stack([preprocess(Image.fromarray(pixels)) for pixels in full_width_pixels()])
    tokenizer = open_clip.get_tokenizer(row.architecture)
    tokens = tokenizer(list(CAPTIONS))
    require(np.array_equal(tokens.numpy(), tokenize(list(CAPTIONS))), "the captions' token ids differ")
    with torch.inference_mode():
        image_BE, text_BE, scale = model(images, tokens)
        logits, _ = model.get_logits(images, tokens)
    require(torch.equal(logits, scale * image_BE @ text_BE.T), "open_clip's logits are not its features'")

    def save_safetensors(folder: Path) -> None:
        save_config_for_hf(model, folder / OPEN_CLIP_CONFIG, model_config=own["model_cfg"])
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")

    def save_training_checkpoint(folder: Path) -> None:
        save_config_for_hf(model, folder / OPEN_CLIP_CONFIG, model_config=own["model_cfg"])
        state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
        values = {"epoch": 32, "name": row.architecture, "state_dict": state}
        torch.save(values, folder / "open_clip_pytorch_model.bin")

    require_readable(save_safetensors, row.config, weights)
    require_readable(save_training_checkpoint, row.config, weights)
    return {"images": image_BE.numpy(), "texts": text_BE.numpy(), "logits": logits.numpy()}


def of_transformers(row: CatalogueRow, weights: Tensors) -> Results:
    """What transformers' CLIPModel computes."""
    assert row.config is not None
    model = transformers.CLIPModel(transformers.CLIPConfig(**to_hf_config(row.config)))
    load(model, from_native(weights, row.config, "hf"))
    processor = transformers.CLIPImageProcessor(**to_hf_processor(row.config))
    images = processor(list(full_width_pixels()), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        out = model(input_ids=torch.from_numpy(tokenize(list(CAPTIONS))), pixel_values=images)

    def save(folder: Path) -> None:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)

    require_readable(save, row.config, weights)
    return {
        "images": out.image_embeds.numpy(),
        "texts": out.text_embeds.numpy(),
        "logits": out.logits_per_image.numpy(),
    }


def load(model: torch.nn.Module, tensors: Tensors) -> None:
    """Put weights into a model of another package; every name must fit."""
    model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    model.eval()


def require_readable(save: Callable[[Path], None], config: ClipConfig, weights: Tensors) -> None:
    """What the package saves is read as the very model that it was given."""
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder))
        back = read_checkpoint(Path(folder), keep_copy=False)
    require(back.config == config, f"{back.path.name} was read with another config")
    require(back.fingerprint == fingerprint(config, weights), f"{back.path.name} was read as another model")


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(f"{otherwise}; nothing was written.")


def shown(logits: Array) -> list[list[float]]:
    return [[round(value, DIGITS) for value in row] for row in logits.astype(float).tolist()]


def report(row: CatalogueRow, found: dict[str, Results]) -> None:
    """How far the two packages are from each other."""
    one, other = found["open_clip"], found["transformers"]
    differences = {kind: float(np.abs(one[kind] - other[kind]).max()) for kind in one}
    print(f"{row.id}: " + ", ".join(f"{kind} {value:.1e}" for kind, value in differences.items()), flush=True)


if __name__ == "__main__":
    with warnings.catch_warnings(action="ignore"):
        main()
