"""Config files of the three published families, read into ClipConfig and written from it.

Reading is strict where a setting changes the numbers a model gives: what this package does not
compute is refused by name. Settings that only concern training or file handling are passed over.
Weights are the work of `formats.py`.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipworks.errors import CheckpointError, ConfigError, DataError
from clipworks.files import read_json
from clipworks.model.config import (
    HEAD_WIDTH,
    OPENAI_MEAN,
    OPENAI_STD,
    Activation,
    ClipConfig,
    PreprocessConfig,
    TextConfig,
    VisionConfig,
)

CONFIG = "config.json"
OPEN_CLIP_CONFIG = "open_clip_config.json"
HF_PROCESSOR = "preprocessor_config.json"
CONFIG_FILES = (CONFIG, OPEN_CLIP_CONFIG, HF_PROCESSOR)

NATIVE_FORMAT = "clipworks"
NATIVE_VERSION = 1
_LAYER_NORM_EPS = 1e-5
_BICUBIC = 3
"""Pillow's number for the bicubic filter, as transformers writes it."""

# The defaults of CLIPTextConfig and CLIPVisionConfig in transformers: files leave them out.
_HF_DEFAULTS = {"num_hidden_layers": 12, "hidden_act": "quick_gelu", "layer_norm_eps": _LAYER_NORM_EPS}
_HF_TEXT_DEFAULTS = {
    **_HF_DEFAULTS,
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
}
_HF_VISION_DEFAULTS = {
    **_HF_DEFAULTS,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
}

# open_clip settings that must have this value where they are given at all.
_OPEN_CLIP_MODEL_FIXED = {"init_logit_bias": None, "multimodal_cfg": None, "audio_cfg": None}
_ABSENT = (
    "ls_init_value norm_kwargs act_kwargs timm_model_name hf_model_name hf_tokenizer_name tokenizer_kwargs"
)
_SWITCHED_OFF = (
    "final_ln_after_pool attentional_pool no_ln_pre global_average_pool embed_cls no_causal_mask proj_bias "
    "qk_norm scaled_cosine_attn scale_heads scale_attn_inner scale_attn scale_fc"
)
_OPEN_CLIP_TOWER_FIXED = {
    **dict.fromkeys(_ABSENT.split()),
    **dict.fromkeys(_SWITCHED_OFF.split(), False),
    "attn_pooler_heads": 8,
    "pos_embed_type": "learnable",
    "proj_type": "linear",
    "pad_id": 0,
}
_OPEN_CLIP_POOLS = {"vision_cfg": "tok", "text_cfg": "argmax"}
_OPEN_CLIP_PREPROCESS_FIXED = {"interpolation": "bicubic", "resize_mode": "shortest", "mode": "RGB"}


def read_config(folder: Path) -> ClipConfig | None:
    """What the config files in a checkpoint folder say, of whatever family they are.

    Returns:
        None if there is no config file.

    Raises:
        CheckpointError: a file is damaged, asks for something that this package does not compute,
            or there are two files that contradict each other.
    """
    found: dict[str, ClipConfig] = {}
    for name in (CONFIG, OPEN_CLIP_CONFIG):
        path = folder / name
        if path.is_file():
            try:
                config = _read_file(path)
                found |= {} if config is None else {name: config}
            except DataError as error:
                raise CheckpointError(error.message) from error
            except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
                raise CheckpointError(f"{path} is damaged: {error}.") from error
    if len(found) == 2 and found[CONFIG] != found[OPEN_CLIP_CONFIG]:
        raise CheckpointError(
            f"{CONFIG} and {OPEN_CLIP_CONFIG} in {folder} contradict each other: "
            f"{differences(found[CONFIG], found[OPEN_CLIP_CONFIG])}.",
            "Remove the wrong one.",
        )
    return next(iter(found.values()), None)


def differences(one: ClipConfig, other: ClipConfig) -> str:
    """The fields in which two configs differ, as `vision.width 512 or 768, ...`."""
    left, right = _flat(one.to_json()), _flat(other.to_json())
    return ", ".join(f"{name} {left[name]} or {right[name]}" for name in left if left[name] != right[name])


def native_config(values: Mapping[str, Any], where: str) -> ClipConfig:
    """Read the `config.json` that this package writes.

    Raises:
        CheckpointError: another version, or a field that is missing, unknown or out of range.
    """
    if values.get("version") != NATIVE_VERSION:
        raise CheckpointError(
            f"{where} is of version {values.get('version')!r}; this clipworks reads {NATIVE_VERSION}.",
            "Install a newer clipworks.",
        )
    fields = {name: value for name, value in values.items() if name not in ("format", "version")}
    try:
        return ClipConfig.from_json(fields)
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error.message}") from error


def to_native_config(config: ClipConfig) -> dict[str, Any]:
    """Inverse of `native_config`."""
    return {"format": NATIVE_FORMAT, "version": NATIVE_VERSION, **config.to_json()}


def open_clip_config(values: Mapping[str, Any], where: str) -> ClipConfig:
    """Read an `open_clip_config.json`.

    Args:
        values: the whole file; in it, a `quick_gelu` that is left out means exact GELU.
        where: how errors name the file.

    Raises:
        CheckpointError: a field is missing, or asks for something other than a plain CLIP ViT.
    """
    model = _section(values, "model_cfg", where)
    vision, text = (_section(model, name, where) for name in ("vision_cfg", "text_cfg"))
    _require_fixed(model, _OPEN_CLIP_MODEL_FIXED, where)
    for name, section in (("vision_cfg", vision), ("text_cfg", text)):
        fixed = _OPEN_CLIP_TOWER_FIXED | {"pool_type": _OPEN_CLIP_POOLS[name]}
        _require_fixed(section, fixed, f"{where}: {name}")
    preprocess = values.get("preprocess_cfg") or {}
    _require_fixed(preprocess, _OPEN_CLIP_PREPROCESS_FIXED, f"{where}: preprocess_cfg")
    width = _number(vision, "width", where)
    text_width = _number(text, "width", where)
    return _build(
        where,
        vision={
            "image_size": _square(vision, "image_size", where),
            "patch_size": _square(vision, "patch_size", where),
            "width": width,
            "layers": _number(vision, "layers", where),
            "heads": width // int(vision.get("head_width", HEAD_WIDTH)),
            "mlp_width": int(width * float(vision.get("mlp_ratio", 4.0))),
        },
        text={
            "width": text_width,
            "layers": _number(text, "layers", where),
            "heads": _number(text, "heads", where),
            "mlp_width": int(text_width * float(text.get("mlp_ratio", 4.0))),
            "context_length": int(text.get("context_length", 77)),
            "vocab_size": int(text.get("vocab_size", 49408)),
        },
        embed_dim=_number(model, "embed_dim", where),
        activation="quick_gelu" if model.get("quick_gelu", False) else "gelu",
        pixels=(preprocess.get("mean"), preprocess.get("std")),
    )


def to_open_clip_config(config: ClipConfig) -> dict[str, Any]:
    """Inverse of `open_clip_config`."""
    vision, text = config.vision, config.text
    return {
        "model_cfg": {
            "embed_dim": config.embed_dim,
            "quick_gelu": config.activation == "quick_gelu",
            "vision_cfg": {
                "image_size": vision.image_size,
                "layers": vision.layers,
                "width": vision.width,
                "head_width": vision.width // vision.heads,
                "patch_size": vision.patch_size,
                "mlp_ratio": _ratio(vision.mlp_width, vision.width),
            },
            "text_cfg": {
                "context_length": text.context_length,
                "vocab_size": text.vocab_size,
                "width": text.width,
                "heads": text.heads,
                "layers": text.layers,
                "mlp_ratio": _ratio(text.mlp_width, text.width),
            },
        },
        "preprocess_cfg": {
            "mean": list(config.preprocess.mean),
            "std": list(config.preprocess.std),
            **_OPEN_CLIP_PREPROCESS_FIXED,
        },
    }


def hf_config(
    values: Mapping[str, Any], where: str, *, processor: Mapping[str, Any] | None = None
) -> ClipConfig:
    """Read the `config.json` of a transformers CLIPModel.

    Args:
        values: the whole file; what its sub-configs leave out has transformers' defaults, and a
            `text_config_dict` or `vision_config_dict` takes the place of the sub-config.
        where: how errors name the file.
        processor: the `preprocessor_config.json` beside it; without one, OpenAI's mean and std.

    Raises:
        CheckpointError: not a CLIPModel, or a setting that this package does not compute.
    """
    unnamed = "clip" if values.keys() & {"text_config", "vision_config"} else "unknown"
    kind = values.get("model_type", unnamed)
    if kind != "clip":
        raise CheckpointError(f"{where} is of a {kind!r} model, not of a CLIP model.")
    text = _hf_section(values, "text_config", _HF_TEXT_DEFAULTS)
    vision = _hf_section(values, "vision_config", _HF_VISION_DEFAULTS)
    for name, section in (("text_config", text), ("vision_config", vision)):
        _require_fixed(section, {"layer_norm_eps": _LAYER_NORM_EPS}, f"{where}: {name}")
    _require_fixed(vision, {"num_channels": 3}, f"{where}: vision_config")
    if text["hidden_act"] != vision["hidden_act"]:
        raise CheckpointError(
            f"{where} has hidden_act {text['hidden_act']!r} for text but {vision['hidden_act']!r} for images."
        )
    if text["hidden_act"] not in ("gelu", "quick_gelu"):
        raise CheckpointError(f"{where} has hidden_act {text['hidden_act']!r}; known: gelu and quick_gelu.")
    processor = processor or {}
    _require_fixed(processor, {"resample": _BICUBIC}, "preprocessor_config.json")
    return _build(
        where,
        vision={
            "image_size": _square(vision, "image_size", where),
            "patch_size": _square(vision, "patch_size", where),
            "width": vision["hidden_size"],
            "layers": vision["num_hidden_layers"],
            "heads": vision["num_attention_heads"],
            "mlp_width": vision["intermediate_size"],
        },
        text={
            "width": text["hidden_size"],
            "layers": text["num_hidden_layers"],
            "heads": text["num_attention_heads"],
            "mlp_width": text["intermediate_size"],
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
        },
        embed_dim=values.get("projection_dim", 512),
        activation=text["hidden_act"],
        pixels=(processor.get("image_mean"), processor.get("image_std")),
    )


def to_hf_config(config: ClipConfig) -> dict[str, Any]:
    """Inverse of `hf_config`, for `config.json`."""
    vision, text = config.vision, config.text
    shared = {"hidden_act": config.activation, "projection_dim": config.embed_dim}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed_dim,
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": text.vocab_size,
            "hidden_size": text.width,
            "intermediate_size": text.mlp_width,
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "max_position_embeddings": text.context_length,
            "bos_token_id": 49406,
            "eos_token_id": 49407,
            **shared,
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": vision.width,
            "intermediate_size": vision.mlp_width,
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads,
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            **shared,
        },
    }


def to_hf_processor(config: ClipConfig) -> dict[str, Any]:
    """What stands in the `preprocessor_config.json` beside a transformers CLIPModel."""
    size = config.vision.image_size
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": _BICUBIC,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_convert_rgb": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(config.preprocess.mean),
        "image_std": list(config.preprocess.std),
    }


def _read_file(path: Path) -> ClipConfig | None:
    """What a file says; None for a config.json of something else that lies beside open_clip's file."""
    values = read_json(path)
    if path.name == OPEN_CLIP_CONFIG:
        return open_clip_config(values, str(path))
    if values.get("format") == NATIVE_FORMAT:
        return native_config(values, str(path))
    if values.get("model_type") != "clip" and path.with_name(OPEN_CLIP_CONFIG).is_file():
        return None  # timm's copies of OpenAI's and MetaCLIP's models
    processor = path.with_name(HF_PROCESSOR)
    return hf_config(values, str(path), processor=read_json(processor) if processor.is_file() else None)


def _ratio(mlp_width: int, width: int) -> float:
    """A number that open_clip, which cuts off what stands behind the point, turns into `mlp_width` again."""
    ratio = mlp_width / width
    return ratio if int(width * ratio) == mlp_width else math.nextafter(ratio, math.inf)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _build(
    where: str,
    *,
    vision: dict[str, int],
    text: dict[str, int],
    embed_dim: int,
    activation: Activation,
    pixels: tuple[Any, Any],
) -> ClipConfig:
    mean, std = pixels
    try:
        return ClipConfig(
            vision=VisionConfig(**vision),
            text=TextConfig(**text),
            embed_dim=embed_dim,
            activation=activation,
            preprocess=PreprocessConfig(mean=tuple(mean or OPENAI_MEAN), std=tuple(std or OPENAI_STD)),
        )
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error.message}") from error


def _hf_section(values: Mapping[str, Any], name: str, defaults: dict[str, Any]) -> dict[str, Any]:
    override = values.get(f"{name}_dict")
    return {**defaults, **(override if override is not None else values.get(name) or {})}


def _section(values: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    section = values.get(name)
    if not isinstance(section, Mapping):
        raise CheckpointError(f"{where} has no section {name!r}.")
    return section


def _require_fixed(values: Mapping[str, Any], fixed: Mapping[str, Any], where: str) -> None:
    for name, value in fixed.items():
        if name in values and values[name] != value:
            raise CheckpointError(
                f"{where} has {name} = {values[name]!r}; only {value!r} can be computed.",
                "clipworks runs plain CLIP models with two transformer towers.",
            )


def _number(values: Mapping[str, Any], name: str, where: str) -> int:
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise CheckpointError(f"{where}: {name} is {value!r}; it must be a whole number.")
    return value


def _square(values: Mapping[str, Any], name: str, where: str) -> int:
    value = values.get(name)
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    return _number({name: value}, name, where)
