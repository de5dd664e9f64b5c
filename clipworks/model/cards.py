"""The model card that goes with converted weights: what they are, where from, and how to load them."""

import math
import re

from clipworks.model.config import ClipConfig
from clipworks.model.formats import Family, native_shapes
from clipworks.model.weights import Dtype

CARD = "README.md"

_LIBRARIES: dict[Family, str] = {
    "native": "clipworks",
    "openai": "clip",
    "open_clip": "open_clip",
    "hf": "transformers",
}

_LOADING: dict[Family, str] = {
    "native": """import clipworks

engine = clipworks.load("FOLDER")""",
    "openai": """import clip  # github.com/openai/CLIP

model, preprocess = clip.load("FOLDER/model.pt", device="cpu", jit=False)""",
    "open_clip": """import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")
model.eval()""",
    "hf": """from transformers import CLIPModel, CLIPProcessor

model = CLIPModel.from_pretrained("FOLDER").eval()
processor = CLIPProcessor.from_pretrained("FOLDER")""",
}

_NOTES: dict[Family, str] = {
    "openai": "This form has no config file. OpenAI's code computes quick_gelu always; other programs must\n"
    "be told the activation above: `clipworks.load(FOLDER, activation=...)`.\n",
    "hf": "transformers does not repair texts as OpenAI's and open_clip's tokenizers do (HTML escapes,\n"
    "curly quotes, damaged encodings): such texts get other ids there.\n",
}


def model_card(
    config: ClipConfig, *, family: Family, dtype: Dtype, source: str, licence: str | None, fingerprint: str
) -> str:
    """The text of a README.md for a converted model.

    Args:
        config: shape of the model.
        family: whose form it has.
        dtype: how its numbers are stored.
        source: what it was made of.
        licence: of the weights; None where nobody states it.
        fingerprint: of the model as it is stored, 64 hex characters.
    """
    vision, text = config.vision, config.text
    rows = [
        ("image tower", _tower(vision.layers, vision.width, vision.heads, vision.mlp_width)),
        ("pictures", f"{vision.image_size} x {vision.image_size} pixels, patches of {vision.patch_size}"),
        ("text tower", _tower(text.layers, text.width, text.heads, text.mlp_width)),
        ("texts", f"{text.context_length} tokens of a vocabulary of {text.vocab_size:,}"),
        ("shared space", f"{config.embed_dim} dimensions"),
        ("parameters", f"{sum(math.prod(shape) for shape in native_shapes(config).values()):,}"),
        ("activation", f"`{config.activation}`"),
        ("pixels", f"mean {list(config.preprocess.mean)}, std {list(config.preprocess.std)}"),
        ("stored as", dtype),
        ("made of", f"`{source}`"),
        ("licence of the weights", licence or "not known here; that of the source holds"),
        ("fingerprint", f"`{fingerprint}`"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    note = f"\n{_NOTES[family]}" if family in _NOTES else ""
    return (
        f"{_front_matter(family, licence)}\n# {source.rpartition('/')[2]}\n\n"
        f"A CLIP model in the form of {_LIBRARIES[family]}, written by `clipworks convert`.\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        "The fingerprint is the sha256 of shape, weights and pixel normalisation; `clipworks` prints the\n"
        "same one for the same model in any form.\n\n"
        f"## Load it\n\n```python\n{_LOADING[family]}\n```\n{note}"
    )


def _tower(layers: int, width: int, heads: int, mlp_width: int) -> str:
    return f"{layers} layers, width {width}, {heads} heads, MLP {mlp_width}"


def _front_matter(family: Family, licence: str | None) -> str:
    lines = [f"library_name: {_LIBRARIES[family]}", "pipeline_tag: zero-shot-image-classification"]
    lines += ["tags:", "- clip"]
    if licence and re.fullmatch(r"[A-Za-z0-9.-]+", licence):
        lines.append(f"license: {licence.lower()}")
    return "\n".join(["---", *lines, "---", ""])
