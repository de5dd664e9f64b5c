import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_clip import TinyClip, tiny_config

from clipworks.errors import CheckpointError
from clipworks.model.config import PreprocessConfig, VisionConfig
from clipworks.model.published import (
    hf_config,
    native_config,
    open_clip_config,
    read_config,
    to_hf_config,
    to_hf_processor,
    to_native_config,
    to_open_clip_config,
)

LAION_B32 = {
    "model_cfg": {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
    },
}

OPENAI_B16_SPARSE = {
    "architectures": ["CLIPModel"],
    "model_type": "clip",
    "projection_dim": 512,
    "text_config": {"bos_token_id": 0, "eos_token_id": 2, "model_type": "clip_text_model"},
    "vision_config": {"model_type": "clip_vision_model", "patch_size": 16},
}


def changed(values: dict[str, Any], *path: str, value: Any) -> dict[str, Any]:
    copy = deepcopy(values)
    section = copy
    for name in path[:-1]:
        section = section[name]
    section[path[-1]] = value
    return copy


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_every_family_reads_what_it_writes(activation: Any) -> None:
    pixels = PreprocessConfig(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    config = replace(tiny_config(activation), preprocess=pixels)
    assert native_config(to_native_config(config), "x") == config
    assert open_clip_config(to_open_clip_config(config), "x") == config
    assert hf_config(to_hf_config(config), "x", processor=to_hf_processor(config)) == config


def test_an_open_clip_file_without_quick_gelu_means_exact_gelu() -> None:
    config = open_clip_config(LAION_B32, "x")
    assert config.activation == "gelu"
    assert (config.vision.heads, config.vision.mlp_width, config.text.mlp_width) == (12, 3072, 2048)


def test_a_sparse_transformers_file_has_transformers_defaults() -> None:
    config = hf_config(OPENAI_B16_SPARSE, "x")
    assert config.activation == "quick_gelu"
    assert (config.vision.width, config.vision.patch_size, config.text.width) == (768, 16, 512)


def test_a_text_config_dict_takes_the_place_of_text_config() -> None:
    values = changed(OPENAI_B16_SPARSE, "text_config", "num_hidden_layers", value=3)
    assert hf_config(values, "x").text.layers == 3
    assert hf_config({**values, "text_config_dict": {"hidden_size": 768}}, "x").text.layers == 12
    assert hf_config({**values, "text_config_dict": {"hidden_size": 768}}, "x").text.width == 768


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("model_cfg", "vision_cfg", "timm_model_name"), "vit_base", "timm_model_name = 'vit_base'"),
        (("model_cfg", "text_cfg", "hf_model_name"), "roberta-base", "hf_model_name = 'roberta-base'"),
        (("model_cfg", "text_cfg", "hf_tokenizer_name"), "bert", "hf_tokenizer_name = 'bert'"),
        (("model_cfg", "vision_cfg", "qk_norm"), True, "qk_norm = True"),
        (("model_cfg", "vision_cfg", "layers"), [3, 4, 6, 3], "layers is [3, 4, 6, 3]"),
        (("model_cfg", "text_cfg", "pool_type"), "last", "only 'argmax' can be computed"),
        (("model_cfg", "init_logit_bias"), -10, "init_logit_bias = -10"),
        (("model_cfg", "text_cfg", "heads"), 7, "text.width is 512; it must be a multiple of text.heads (7)"),
        (("preprocess_cfg", "interpolation"), "bilinear", "interpolation = 'bilinear'"),
        (("preprocess_cfg", "resize_mode"), "squash", "resize_mode = 'squash'"),
        (("model_cfg",), 3, "has no section 'model_cfg'"),
    ],
)
def test_what_cannot_be_computed_is_refused_by_name(path: tuple[str, ...], value: Any, said: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        open_clip_config(changed(LAION_B32, *path, value=value), "x")
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("model_type",), "siglip", "of a 'siglip' model"),
        (("text_config", "hidden_act"), "gelu", "hidden_act 'gelu' for text but 'quick_gelu' for images"),
        (("vision_config", "layer_norm_eps"), 1e-6, "layer_norm_eps = 1e-06"),
        (("vision_config", "image_size"), [224, 192], "image_size is [224, 192]"),
    ],
)
def test_a_transformers_file_that_is_no_plain_clip_is_refused(
    path: tuple[str, ...], value: Any, said: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        hf_config(changed(OPENAI_B16_SPARSE, *path, value=value), "x")
    assert said in caught.value.message


TOWERS = {
    # open_clip's model_configs: width, layers, patch, picture, head width, MLP ratio of the image tower
    "ViT-L-14-336": ((1024, 24, 14, 336, None, None), (16, 4096)),
    "ViT-H-14": ((1280, 32, 14, 224, 80, None), (16, 5120)),
    "ViT-g-14": ((1408, 40, 14, 224, 88, 4.3637), (16, 6144)),
    "ViT-bigG-14": ((1664, 48, 14, 224, 104, 4.9231), (16, 8192)),
    "ViT-B-32-256": ((768, 12, 32, 256, None, None), (12, 3072)),
}


@pytest.mark.parametrize("name", TOWERS)
def test_larger_and_smaller_towers_of_the_family_are_read_and_written(name: str) -> None:
    (width, layers, patch, size, head_width, ratio), (heads, mlp_width) = TOWERS[name]
    tower: dict[str, Any] = {"image_size": size, "layers": layers, "width": width, "patch_size": patch}
    tower |= {"head_width": head_width} if head_width else {}
    tower |= {"mlp_ratio": ratio} if ratio else {}
    config = open_clip_config(changed(LAION_B32, "model_cfg", "vision_cfg", value=tower), "x")
    assert (config.vision.heads, config.vision.mlp_width) == (heads, mlp_width)
    assert open_clip_config(to_open_clip_config(config), "x") == config
    assert hf_config(to_hf_config(config), "x") == config


@settings(deadline=None)
@given(st.integers(1, 4096), st.integers(1, 20000))
def test_the_mlp_ratio_that_is_written_gives_the_width_again(width: int, mlp_width: int) -> None:
    vision = VisionConfig(image_size=8, patch_size=8, width=width, layers=1, heads=1, mlp_width=mlp_width)
    config = replace(tiny_config("gelu"), vision=vision)
    assert open_clip_config(to_open_clip_config(config), "x").vision.mlp_width == mlp_width


def test_a_config_of_something_else_beside_open_clips_is_passed_over(tmp_path: Path) -> None:
    config = tiny_config("quick_gelu")
    (tmp_path / "open_clip_config.json").write_text(json.dumps(to_open_clip_config(config)))
    (tmp_path / "config.json").write_text('{"architecture": "vit_base_patch16_clip_224", "num_classes": 512}')
    assert read_config(tmp_path) == config
    (tmp_path / "open_clip_config.json").unlink()
    with pytest.raises(CheckpointError, match="is of a 'unknown' model, not of a CLIP model"):
        read_config(tmp_path)


def test_an_unknown_activation_of_transformers_is_refused() -> None:
    values = changed(OPENAI_B16_SPARSE, "text_config", "hidden_act", value="gelu_new")
    values = changed(values, "vision_config", "hidden_act", value="gelu_new")
    with pytest.raises(CheckpointError, match="hidden_act 'gelu_new'; known: gelu and quick_gelu"):
        hf_config(values, "x")


def test_a_newer_native_version_is_refused() -> None:
    with pytest.raises(CheckpointError, match="is of version 2; this clipworks reads 1"):
        native_config({**to_native_config(tiny_config("gelu")), "version": 2}, "x")


def test_a_folder_without_config_files_says_nothing(tmp_path: Path) -> None:
    assert read_config(tmp_path) is None


def test_the_config_of_each_family_is_found_in_its_folder(any_tiny_clip: TinyClip) -> None:
    folders = any_tiny_clip.folders
    found = {family: read_config(folders[family]) for family in folders}
    assert found == {
        "native": any_tiny_clip.config,
        "open_clip": any_tiny_clip.config,
        "hf": any_tiny_clip.config,
        "openai": None,
    }


def test_two_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(to_hf_config(tiny_config("quick_gelu"))))
    (tmp_path / "open_clip_config.json").write_text(json.dumps(to_open_clip_config(tiny_config("gelu"))))
    with pytest.raises(CheckpointError, match="contradict each other: activation quick_gelu or gelu"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"text_config": 3}', '{"vision_config": {"width": "a"}, "x": 1']
)
def test_a_damaged_config_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_config(tmp_path)
