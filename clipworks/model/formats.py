"""Names and layouts of CLIP weights: three published families and the package's own.

Every family is one literal table of rows; each row is read in both directions. Conversion is
strict: a tensor that is missing, left over or of another shape is an error that names it.
Config files are the work of `published.py`, files on disk that of `weights.py`.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import CheckpointError, ConfigError
from clipworks.model.config import HEAD_WIDTH, Activation, ClipConfig, TextConfig, VisionConfig

Family = Literal["native", "openai", "open_clip", "hf"]
"""Who wrote the names: this package, OpenAI's release, open_clip, or transformers' CLIPModel."""

Array = NDArray[Any]
Tensors = dict[str, NDArray[np.float32]]

OPENAI_SCALARS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's files carry as tensors; they mark the family and hold no weights."""

_TOGETHER = "Put the weights and the config of one and the same model together."

_WIDEST_64 = 1024
"""Wider image towers (H, g, bigG) have heads of 80, 88 or 104 channels, also where 64 would divide them."""

_WRAPPER_PREFIXES = ("state_dict.", "model.", "module.")
_PARTS = ("weight", "bias")
_QKV = ("q", "k", "v")

# A row is (our name, their name, layout). `*` stands for weight and bias, `N` for every block,
# `?` for q, k and v. Layouts: same; transpose, for projections kept as [width, embed]; split, for
# the fused attention input that transformers keeps as three tensors.
_OPEN_CLIP_ROWS = (
    ("logit_scale", "logit_scale", "same"),
    ("vision.class_embedding", "visual.class_embedding", "same"),
    ("vision.patch_embedding.weight", "visual.conv1.weight", "same"),
    ("vision.position_embedding", "visual.positional_embedding", "same"),
    ("vision.ln_pre.*", "visual.ln_pre.*", "same"),
    ("vision.blocks.N.ln_1.*", "visual.transformer.resblocks.N.ln_1.*", "same"),
    ("vision.blocks.N.qkv.*", "visual.transformer.resblocks.N.attn.in_proj_*", "same"),
    ("vision.blocks.N.out.*", "visual.transformer.resblocks.N.attn.out_proj.*", "same"),
    ("vision.blocks.N.ln_2.*", "visual.transformer.resblocks.N.ln_2.*", "same"),
    ("vision.blocks.N.up.*", "visual.transformer.resblocks.N.mlp.c_fc.*", "same"),
    ("vision.blocks.N.down.*", "visual.transformer.resblocks.N.mlp.c_proj.*", "same"),
    ("vision.ln_post.*", "visual.ln_post.*", "same"),
    ("vision.projection.weight", "visual.proj", "transpose"),
    ("text.token_embedding.weight", "token_embedding.weight", "same"),
    ("text.position_embedding", "positional_embedding", "same"),
    ("text.blocks.N.ln_1.*", "transformer.resblocks.N.ln_1.*", "same"),
    ("text.blocks.N.qkv.*", "transformer.resblocks.N.attn.in_proj_*", "same"),
    ("text.blocks.N.out.*", "transformer.resblocks.N.attn.out_proj.*", "same"),
    ("text.blocks.N.ln_2.*", "transformer.resblocks.N.ln_2.*", "same"),
    ("text.blocks.N.up.*", "transformer.resblocks.N.mlp.c_fc.*", "same"),
    ("text.blocks.N.down.*", "transformer.resblocks.N.mlp.c_proj.*", "same"),
    ("text.ln_final.*", "ln_final.*", "same"),
    ("text.projection.weight", "text_projection", "transpose"),
)

# `pre_layrnorm` is spelt as transformers spells it.
_HF_ROWS = (
    ("logit_scale", "logit_scale", "same"),
    ("vision.class_embedding", "vision_model.embeddings.class_embedding", "same"),
    ("vision.patch_embedding.weight", "vision_model.embeddings.patch_embedding.weight", "same"),
    ("vision.position_embedding", "vision_model.embeddings.position_embedding.weight", "same"),
    ("vision.ln_pre.*", "vision_model.pre_layrnorm.*", "same"),
    ("vision.blocks.N.ln_1.*", "vision_model.encoder.layers.N.layer_norm1.*", "same"),
    ("vision.blocks.N.qkv.*", "vision_model.encoder.layers.N.self_attn.?_proj.*", "split"),
    ("vision.blocks.N.out.*", "vision_model.encoder.layers.N.self_attn.out_proj.*", "same"),
    ("vision.blocks.N.ln_2.*", "vision_model.encoder.layers.N.layer_norm2.*", "same"),
    ("vision.blocks.N.up.*", "vision_model.encoder.layers.N.mlp.fc1.*", "same"),
    ("vision.blocks.N.down.*", "vision_model.encoder.layers.N.mlp.fc2.*", "same"),
    ("vision.ln_post.*", "vision_model.post_layernorm.*", "same"),
    ("vision.projection.weight", "visual_projection.weight", "same"),
    ("text.token_embedding.weight", "text_model.embeddings.token_embedding.weight", "same"),
    ("text.position_embedding", "text_model.embeddings.position_embedding.weight", "same"),
    ("text.blocks.N.ln_1.*", "text_model.encoder.layers.N.layer_norm1.*", "same"),
    ("text.blocks.N.qkv.*", "text_model.encoder.layers.N.self_attn.?_proj.*", "split"),
    ("text.blocks.N.out.*", "text_model.encoder.layers.N.self_attn.out_proj.*", "same"),
    ("text.blocks.N.ln_2.*", "text_model.encoder.layers.N.layer_norm2.*", "same"),
    ("text.blocks.N.up.*", "text_model.encoder.layers.N.mlp.fc1.*", "same"),
    ("text.blocks.N.down.*", "text_model.encoder.layers.N.mlp.fc2.*", "same"),
    ("text.ln_final.*", "text_model.final_layer_norm.*", "same"),
    ("text.projection.weight", "text_projection.weight", "same"),
)

_NATIVE_ROWS = tuple((ours, ours, "same") for ours, _, _ in _OPEN_CLIP_ROWS)

_TABLES = {
    "native": _NATIVE_ROWS,
    "openai": _OPEN_CLIP_ROWS,
    "open_clip": _OPEN_CLIP_ROWS,
    "hf": _HF_ROWS,
}

_HF_BUFFERS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """One tensor of ours and where a family keeps it: one name, or three for a split one."""

    native: str
    foreign: tuple[str, ...]
    is_transposed: bool

    def foreign_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of each foreign tensor, given ours."""
        if self.is_transposed:
            return shape[::-1]
        return (shape[0] // len(self.foreign), *shape[1:]) if len(self.foreign) > 1 else shape


def detect(names: Iterable[str]) -> Family:
    """The family that a set of tensor names belongs to, after `unwrap`.

    Raises:
        CheckpointError: the names are of no known family.
    """
    known = set(names)
    if "vision.patch_embedding.weight" in known:
        return "native"
    if "vision_model.embeddings.patch_embedding.weight" in known:
        return "hf"
    if "visual.conv1.weight" in known:
        return "openai" if known & set(OPENAI_SCALARS) else "open_clip"
    some = ", ".join(sorted(known)[:5]) or "none at all"
    raise CheckpointError(
        f"These {len(known)} tensor names are of no known CLIP family: {some}.",
        "Known are the files of clipworks, OpenAI, open_clip (ViT models) and transformers' CLIPModel.",
    )


def unwrap(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The same tensors with the marks of training wrappers taken off their names.

    Taken off are `state_dict.`, `model.` and `module.` (DistributedDataParallel) in front, in any order,
    `_orig_mod.` (torch.compile) anywhere, and the `text.` that open_clip's CustomTextCLIP puts before
    the names of the text tower.

    Raises:
        CheckpointError: two tensors get the same name.
    """
    names = {name: name.replace("_orig_mod.", "") for name in tensors}
    for prefix in 2 * _WRAPPER_PREFIXES:
        if names and all(name.startswith(prefix) for name in names.values()):
            names = {old: name.removeprefix(prefix) for old, name in names.items()}
    if "visual.conv1.weight" in names.values() and "text.ln_final.weight" in names.values():
        names = {old: name.removeprefix("text.") for old, name in names.items()}
    if len(set(names.values())) < len(names):
        raise CheckpointError("Two tensors of this file have the same name once wrappers are taken off.")
    return {name: tensors[old] for old, name in names.items()}


def native_shapes(config: ClipConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a model, as in `network.Clip`'s state dict."""
    vision, text, embed = config.vision, config.text, config.embed_dim
    shapes: dict[str, tuple[int, ...]] = {
        "logit_scale": (),
        "vision.class_embedding": (vision.width,),
        "vision.patch_embedding.weight": (vision.width, 3, vision.patch_size, vision.patch_size),
        "vision.position_embedding": (vision.tokens, vision.width),
        "text.token_embedding.weight": (text.vocab_size, text.width),
        "text.position_embedding": (text.context_length, text.width),
    }
    norms = (("vision.ln_pre", vision), ("vision.ln_post", vision), ("text.ln_final", text))
    for name, tower in norms:
        shapes |= {f"{name}.{part}": (tower.width,) for part in _PARTS}
    for name, tower in (("vision", vision), ("text", text)):
        shapes[f"{name}.projection.weight"] = (embed, tower.width)
        for n in range(tower.layers):
            shapes |= _block_shapes(f"{name}.blocks.{n}", tower.width, tower.mlp_width)
    return shapes


def infer_config(tensors: Mapping[str, Array], family: Family, *, activation: Activation) -> ClipConfig:
    """Read the shape of a model off its tensors; heads are 64 channels wide, as in all towers up to L.

    Args:
        tensors: as they came from `unwrap`.
        family: whose names they have.
        activation: no file says it in its tensors, so the caller must.

    Raises:
        CheckpointError: a tensor needed for this is missing, or the width does not tell the heads.
    """

    def shape(native: str, rank: int) -> tuple[int, ...]:
        found = next(row for row in _rows(family, {}) if row.native == native)
        if found.foreign[0] not in tensors:
            raise CheckpointError(f"The tensor {found.foreign[0]!r} is missing.")
        dims = found.foreign_shape(tensors[found.foreign[0]].shape)
        if len(dims) != rank:
            raise CheckpointError(f"The tensor {found.foreign[0]!r} has {len(dims)} axes instead of {rank}.")
        return dims

    layers = _count_layers(tensors, family)
    width, _, _, patch = shape("vision.patch_embedding.weight", 4)
    grid = math.isqrt(shape("vision.position_embedding", 2)[0] - 1)
    vocab_size, text_width = shape("text.token_embedding.weight", 2)
    try:
        return ClipConfig(
            vision=VisionConfig(
                image_size=grid * patch,
                patch_size=patch,
                width=width,
                layers=layers["vision"],
                heads=_heads(width, widest=_WIDEST_64),
                mlp_width=_mlp_width(tensors, family, "vision"),
            ),
            text=TextConfig(
                width=text_width,
                layers=layers["text"],
                heads=_heads(text_width),
                mlp_width=_mlp_width(tensors, family, "text"),
                context_length=shape("text.position_embedding", 2)[0],
                vocab_size=vocab_size,
            ),
            embed_dim=shape("text.projection.weight", 2)[0],
            activation=activation,
        )
    except ConfigError as error:
        raise CheckpointError(f"No model shape can be read off these tensors: {error.message}") from error


def to_native(tensors: Mapping[str, Array], family: Family, config: ClipConfig) -> Tensors:
    """Rename and re-arrange the tensors of a family into ours.

    Args:
        tensors: as they came from `unwrap`; any float type.
        family: whose names they have.
        config: the shape that the model must have.

    Returns:
        float32 arrays named as in `network.Clip`'s state dict.

    Raises:
        CheckpointError: tensors are missing, left over or of another shape; the message names them.
    """
    shapes = native_shapes(config)
    rows = list(_rows(family, {"vision": config.vision.layers, "text": config.text.layers}))
    expected = {name: row.foreign_shape(shapes[row.native]) for row in rows for name in row.foreign}
    _require_equal_sets(expected.keys(), tensors.keys() - _ignored(family))
    wrong = [
        f"{name} is {list(tensors[name].shape)} instead of {list(shape)}"
        for name, shape in expected.items()
        if tensors[name].shape != shape and not (shape == () and tensors[name].size == 1)
    ]
    if wrong:
        raise CheckpointError(
            f"{_count(wrong, 'tensor')} of another shape than the config says: {_some(wrong)}.", _TOGETHER
        )
    native: Tensors = {}
    for row in rows:
        parts = [np.asarray(tensors[name], dtype=np.float32) for name in row.foreign]
        array = np.concatenate(parts) if len(parts) > 1 else parts[0]
        array = array.T if row.is_transposed else array
        native[row.native] = np.ascontiguousarray(array).reshape(shapes[row.native])
    return native


def from_native(tensors: Mapping[str, NDArray[np.float32]], config: ClipConfig, family: Family) -> Tensors:
    """Inverse of `to_native`; OpenAI's three scalars are not added.

    Raises:
        CheckpointError: `tensors` is not a whole model of shape `config`.
    """
    checked = to_native(tensors, "native", config)
    foreign: Tensors = {}
    for row in _rows(family, {"vision": config.vision.layers, "text": config.text.layers}):
        array = checked[row.native].T if row.is_transposed else checked[row.native]
        parts = np.split(array, len(row.foreign)) if len(row.foreign) > 1 else [array]
        for name, part in zip(row.foreign, parts, strict=True):
            foreign[name] = part.copy(order="C")
    return foreign


def _rows(family: Family, layers: Mapping[str, int]) -> Iterator[_Row]:
    for ours, theirs, layout in _TABLES[family]:
        for n in range(layers.get(ours.partition(".")[0], 0)) if ".N." in ours else (0,):
            for part in _PARTS if "*" in ours else ("",):
                native, foreign = (
                    text.replace(".N.", f".{n}.").replace("*", part) for text in (ours, theirs)
                )
                names = tuple(foreign.replace("?", x) for x in _QKV) if layout == "split" else (foreign,)
                yield _Row(native=native, foreign=names, is_transposed=layout == "transpose")


def _block_shapes(prefix: str, width: int, mlp_width: int) -> dict[str, tuple[int, ...]]:
    linears = {"qkv": (3 * width, width), "out": (width, width), "up": (mlp_width, width)}
    linears["down"] = (width, mlp_width)
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}.{norm}.{part}": (width,) for norm in ("ln_1", "ln_2") for part in _PARTS
    }
    for name, (outputs, inputs) in linears.items():
        shapes |= {f"{prefix}.{name}.weight": (outputs, inputs), f"{prefix}.{name}.bias": (outputs,)}
    return shapes


def _count_layers(tensors: Mapping[str, Array], family: Family) -> dict[str, int]:
    layers = {}
    for tower in ("vision", "text"):
        theirs = next(name for ours, name, _ in _TABLES[family] if ours == f"{tower}.blocks.N.ln_1.*")
        prefix = theirs.partition(".N.")[0] + "."
        numbers = {name.removeprefix(prefix).partition(".")[0] for name in tensors if name.startswith(prefix)}
        layers[tower] = max((int(n) + 1 for n in numbers if n.isdecimal()), default=0)
    return layers


def _mlp_width(tensors: Mapping[str, Array], family: Family, tower: str) -> int:
    rows = _rows(family, {tower: 1})
    name = next(row.foreign[0] for row in rows if row.native == f"{tower}.blocks.0.up.bias")
    if name not in tensors:
        raise CheckpointError(f"The tensor {name!r} is missing.")
    return int(tensors[name].size)


def _heads(width: int, *, widest: int | None = None) -> int:
    if width % HEAD_WIDTH or (widest is not None and width > widest):
        why = f"no multiple of {HEAD_WIDTH}" if width % HEAD_WIDTH else f"more than {widest}"
        raise CheckpointError(
            f"A tower is {width} channels wide, which is {why}, so its number of attention heads cannot "
            "be inferred.",
            "Put the config file of the model beside its weights, or pass config=ClipConfig(...).",
        )
    return width // HEAD_WIDTH


def _ignored(family: Family) -> set[str]:
    return set({"openai": OPENAI_SCALARS, "hf": _HF_BUFFERS}.get(family, ()))


def _require_equal_sets(expected: Iterable[str], found: Iterable[str]) -> None:
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    problems = [
        f"{_count(names, 'tensor')} {what}: {_some(names)}"
        for names, what in ((missing, "missing"), (extra, "too many"))
        if names
    ]
    if problems:
        raise CheckpointError(f"These weights do not fit their config: {'; '.join(problems)}.", _TOGETHER)


def _count(items: list[str], noun: str) -> str:
    return f"{len(items)} {noun}{'s' if len(items) != 1 else ''}"


def _some(items: list[str], limit: int = 5) -> str:
    rest = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + rest
