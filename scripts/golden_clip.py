"""Make tests/golden/clip_*.json: features of the tiny CLIP as transformers and open_clip compute them.

`features_transformers.json` has what transformers finds inside the towers: hidden states, pooled features.

Run it by hand, in an environment that has `transformers` and `open_clip_torch` beside clipworks:

    python scripts/golden_clip.py

The tests then compare both executors of clipworks with these numbers, without either package.
"""

import json
import sys
from pathlib import Path
from typing import Any

import open_clip
import torch
import transformers

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
SHOWN = 8
"""Leading numbers of each vector that are kept."""

sys.path.insert(0, str(ROOT / "tests"))

from tiny_clip import SEED, tiny_config, tiny_pixels, tiny_tokens, tiny_weights  # noqa: E402

from clipworks.files import write_json  # noqa: E402
from clipworks.model.config import Activation, ClipConfig  # noqa: E402
from clipworks.model.formats import Family, from_native  # noqa: E402
from clipworks.model.published import to_hf_config, to_open_clip_config  # noqa: E402


def main() -> None:
    """Write one file per package."""
    versions = f"torch {torch.__version__.partition('+')[0]}, seed {SEED}"
    activations: tuple[Activation, ...] = ("gelu", "quick_gelu")
    makers = {
        "transformers": (transformers.__version__, transformers_features),
        "open_clip": (open_clip.__version__, open_clip_features),
    }
    for package, (version, make) in makers.items():
        values: dict[str, Any] = {"made_by": f"scripts/golden_clip.py, {package} {version}, {versions}"}
        for activation in activations:
            with torch.inference_mode():
                values[activation] = {
                    name: [shown(row) for row in torch.nn.functional.normalize(features, dim=-1)]
                    for name, features in make(tiny_config(activation)).items()
                }
        write_json(GOLDEN / f"clip_{package}.json", values)
        sys.stdout.write(json.dumps(values["made_by"]) + "\n")
    write_insides(f"scripts/golden_clip.py, transformers {transformers.__version__}, {versions}")


def write_insides(made_by: str) -> None:
    """The leading numbers of rows 0, 1 and the last of each tensor, for inputs 0 and 1; gelu only."""
    config = tiny_config("gelu")
    model = transformers.CLIPModel(transformers.CLIPConfig(**to_hf_config(config)))
    load(model, config, "hf")
    tokens = torch.from_numpy(tiny_tokens())
    padded = torch.where(torch.arange(77) > tokens.argmax(dim=1)[:, None], 49407, tokens)
    found: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        towers = {
            "text_zeros": model.text_model(tokens, output_hidden_states=True),
            "text": model.text_model(padded, output_hidden_states=True),
            "vision": model.vision_model(pixels(config), output_hidden_states=True),
        }
        for tower, outputs in towers.items():
            for layer, states in enumerate(outputs.hidden_states):
                found[f"{tower} hidden {layer}"] = states
            found[f"{tower} last"] = outputs.last_hidden_state
            found[f"{tower} pooled"] = outputs.pooler_output
        found["text penultimate normed"] = model.text_model.final_layer_norm(towers["text"].hidden_states[-2])
        patches = model.vision_model.post_layernorm(towers["vision"].last_hidden_state[:, 1:])
        found["patches"] = patches
        found["patches projected"] = model.visual_projection(patches)
    values: dict[str, Any] = {"made_by": made_by}
    for name, tensor in found.items():
        rows = tensor[:2] if tensor.ndim == 2 else tensor[:2][:, [0, 1, -1]]
        values[name] = {
            "shape": list(tensor.shape),
            "rows": [shown(row) for row in rows.reshape(-1, rows.shape[-1])],
        }
    write_json(GOLDEN / "features_transformers.json", values)


def transformers_features(config: ClipConfig) -> dict[str, torch.Tensor]:
    """float32 [N, 32] of images and texts, from transformers' CLIPModel."""
    model = transformers.CLIPModel(transformers.CLIPConfig(**to_hf_config(config)))
    load(model, config, "hf")
    return {
        "images": model.get_image_features(pixel_values=pixels(config)).pooler_output,
        "texts": model.get_text_features(input_ids=torch.from_numpy(tiny_tokens())).pooler_output,
    }


def open_clip_features(config: ClipConfig) -> dict[str, torch.Tensor]:
    """float32 [N, 32] of images and texts, from open_clip's CLIP."""
    model = open_clip.CLIP(**to_open_clip_config(config)["model_cfg"])
    load(model, config, "open_clip")
    return {
        "images": model.encode_image(pixels(config)),
        "texts": model.encode_text(torch.from_numpy(tiny_tokens())),
    }


def load(model: torch.nn.Module, config: ClipConfig, family: Family) -> None:
    """Put the tiny weights into a model of another package; every name must fit."""
    tensors = from_native(tiny_weights(config), config, family)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    model.eval()


def pixels(config: ClipConfig) -> torch.Tensor:
    """float32 [N, 3, 32, 32], normalised as torchvision does it."""
    images = torch.from_numpy(tiny_pixels()).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (config.preprocess.mean, config.preprocess.std))
    return (images - mean) / std


def shown(row: torch.Tensor) -> list[float]:
    """The leading numbers, with seven digits after the point."""
    return [round(value, 7) for value in row[:SHOWN].tolist()]


if __name__ == "__main__":
    main()
