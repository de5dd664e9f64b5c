import numpy as np
import pytest
from tiny_clip import FAMILIES, TinyClip

from clipworks.errors import CheckpointError
from clipworks.model.catalogue import rows
from clipworks.model.formats import (
    OPENAI_SCALARS,
    Family,
    detect,
    from_native,
    infer_config,
    native_shapes,
    to_native,
    unwrap,
)

# Names and shapes of a published file, written out by hand, as a guard against a table that is
# wrong in both directions.
OPEN_CLIP_SHAPES = {
    "visual.proj": (128, 32),
    "text_projection": (64, 32),
    "visual.transformer.resblocks.1.attn.in_proj_weight": (384, 128),
    "visual.transformer.resblocks.0.mlp.c_fc.weight": (512, 128),
    "transformer.resblocks.1.attn.out_proj.bias": (64,),
    "positional_embedding": (77, 64),
    "visual.conv1.weight": (128, 3, 8, 8),
    "logit_scale": (),
}
HF_SHAPES = {
    "visual_projection.weight": (32, 128),
    "text_projection.weight": (32, 64),
    "vision_model.pre_layrnorm.weight": (128,),
    "vision_model.encoder.layers.1.self_attn.k_proj.weight": (128, 128),
    "text_model.encoder.layers.0.self_attn.v_proj.bias": (64,),
    "text_model.embeddings.position_embedding.weight": (77, 64),
    "text_model.final_layer_norm.bias": (64,),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_goes_there_and_back_without_a_change(tiny_clip: TinyClip, family: Family) -> None:
    foreign = from_native(tiny_clip.weights, tiny_clip.config, family)
    back = to_native(foreign, family, tiny_clip.config)
    assert back.keys() == tiny_clip.weights.keys()
    assert all(np.array_equal(back[name], tiny_clip.weights[name]) for name in back)


@pytest.mark.parametrize(("family", "count"), [("native", 62), ("openai", 62), ("open_clip", 62), ("hf", 78)])
def test_the_number_of_tensors_is_that_of_the_published_files(
    tiny_clip: TinyClip, family: Family, count: int
) -> None:
    assert len(from_native(tiny_clip.weights, tiny_clip.config, family)) == count


@pytest.mark.parametrize(("family", "shapes"), [("open_clip", OPEN_CLIP_SHAPES), ("hf", HF_SHAPES)])
def test_names_and_shapes_are_the_published_ones(
    tiny_clip: TinyClip, family: Family, shapes: dict[str, tuple[int, ...]]
) -> None:
    foreign = from_native(tiny_clip.weights, tiny_clip.config, family)
    assert {name: foreign[name].shape for name in shapes} == shapes


def test_the_fused_attention_input_is_cut_in_the_order_q_k_v(tiny_clip: TinyClip) -> None:
    hf = from_native(tiny_clip.weights, tiny_clip.config, "hf")
    fused = tiny_clip.weights["text.blocks.0.qkv.weight"]
    for i, part in enumerate("qkv"):
        name = f"text_model.encoder.layers.0.self_attn.{part}_proj.weight"
        assert np.array_equal(hf[name], fused[64 * i : 64 * (i + 1)])


def test_projections_are_transposed_for_open_clip_and_not_for_transformers(tiny_clip: TinyClip) -> None:
    ours = tiny_clip.weights["vision.projection.weight"]
    assert np.array_equal(
        from_native(tiny_clip.weights, tiny_clip.config, "open_clip")["visual.proj"], ours.T
    )
    hf = from_native(tiny_clip.weights, tiny_clip.config, "hf")
    assert np.array_equal(hf["visual_projection.weight"], ours)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_known_by_its_names(tiny_clip: TinyClip, family: Family) -> None:
    names = set(from_native(tiny_clip.weights, tiny_clip.config, family))
    if family == "openai":
        names |= set(OPENAI_SCALARS)
    assert detect(names) == family


def test_names_of_no_family_are_refused() -> None:
    with pytest.raises(CheckpointError, match="3 tensor names are of no known CLIP family: a, b, c"):
        detect(["a", "b", "c"])


def test_scalars_of_openai_and_buffers_of_transformers_are_dropped(tiny_clip: TinyClip) -> None:
    extra = {"openai": list(OPENAI_SCALARS), "hf": ["vision_model.embeddings.position_ids"]}
    families: tuple[Family, ...] = ("openai", "hf")
    for family in families:
        foreign = dict(from_native(tiny_clip.weights, tiny_clip.config, family))
        foreign |= {name: np.zeros(1, dtype=np.float32) for name in extra[family]}
        assert to_native(foreign, family, tiny_clip.config).keys() == tiny_clip.weights.keys()


def test_a_missing_and_a_superfluous_tensor_are_both_named(tiny_clip: TinyClip) -> None:
    foreign = from_native(tiny_clip.weights, tiny_clip.config, "hf")
    foreign["logit_bias"] = foreign.pop("text_model.final_layer_norm.bias")
    with pytest.raises(CheckpointError) as caught:
        to_native(foreign, "hf", tiny_clip.config)
    assert "1 tensor missing: text_model.final_layer_norm.bias" in caught.value.message
    assert "1 tensor too many: logit_bias" in caught.value.message


def test_a_tensor_of_another_shape_is_named_with_both_shapes(tiny_clip: TinyClip) -> None:
    foreign = from_native(tiny_clip.weights, tiny_clip.config, "open_clip")
    foreign["visual.proj"] = np.ascontiguousarray(foreign["visual.proj"].T)
    with pytest.raises(CheckpointError) as caught:
        to_native(foreign, "open_clip", tiny_clip.config)
    assert "visual.proj is [32, 128] instead of [128, 32]" in caught.value.message


def test_long_lists_of_names_are_cut(tiny_clip: TinyClip) -> None:
    foreign = {"visual.conv1.weight": np.zeros((128, 3, 8, 8), dtype=np.float32)}
    with pytest.raises(CheckpointError, match="61 tensors missing: .* and 56 more"):
        to_native(foreign, "open_clip", tiny_clip.config)


def test_a_logit_scale_kept_as_a_vector_of_one_becomes_a_number(tiny_clip: TinyClip) -> None:
    foreign = from_native(tiny_clip.weights, tiny_clip.config, "open_clip")
    foreign["logit_scale"] = foreign["logit_scale"].reshape(1)
    assert to_native(foreign, "open_clip", tiny_clip.config)["logit_scale"].shape == ()


def test_half_precision_becomes_float32(tiny_clip: TinyClip) -> None:
    foreign = from_native(tiny_clip.weights, tiny_clip.config, "open_clip")
    halves = {name: array.astype(np.float16) for name, array in foreign.items()}
    assert {array.dtype.name for array in to_native(halves, "open_clip", tiny_clip.config).values()} == {
        "float32"
    }


@pytest.mark.parametrize(
    "wrap",
    ["module.{}", "_orig_mod.{}", "module._orig_mod.{}", "_orig_mod.module.{}", "state_dict.module.model.{}"],
)
def test_marks_of_training_wrappers_are_taken_off(tiny_clip: TinyClip, wrap: str) -> None:
    foreign = from_native(tiny_clip.weights, tiny_clip.config, "open_clip")
    assert unwrap({wrap.format(name): array for name, array in foreign.items()}).keys() == foreign.keys()


def test_custom_text_names_of_open_clip_are_the_plain_ones(tiny_clip: TinyClip) -> None:
    foreign = from_native(tiny_clip.weights, tiny_clip.config, "open_clip")
    custom = {
        name if name.startswith(("visual.", "logit_scale")) else f"text.{name}": array
        for name, array in foreign.items()
    }
    assert unwrap(custom).keys() == foreign.keys()


def test_native_names_keep_their_text_prefix(tiny_clip: TinyClip) -> None:
    assert unwrap(tiny_clip.weights).keys() == tiny_clip.weights.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shape_is_read_off_the_tensors(tiny_clip: TinyClip, family: Family) -> None:
    foreign = from_native(tiny_clip.weights, tiny_clip.config, family)
    assert infer_config(foreign, family, activation="gelu") == tiny_clip.config


def test_a_width_that_hides_the_number_of_heads_is_refused(tiny_clip: TinyClip) -> None:
    foreign = {
        name: array[:100] if name == "visual.conv1.weight" else array
        for name, array in from_native(tiny_clip.weights, tiny_clip.config, "open_clip").items()
    }
    with pytest.raises(CheckpointError, match="100 channels wide, which is no multiple of 64"):
        infer_config(foreign, "open_clip", activation="gelu")


@pytest.mark.parametrize("width", [1280, 1408, 1664])
def test_a_width_whose_heads_are_not_64_wide_is_not_guessed(tiny_clip: TinyClip, width: int) -> None:
    foreign = from_native(tiny_clip.weights, tiny_clip.config, "open_clip")
    foreign["visual.conv1.weight"] = np.zeros((width, 3, 8, 8), dtype=np.float32)
    with pytest.raises(CheckpointError, match=f"{width} channels wide, which is more than 1024") as caught:
        infer_config(foreign, "open_clip", activation="gelu")
    assert "config file" in caught.value.remedy


@pytest.mark.parametrize(
    ("architecture", "total"),
    [("ViT-B-32", 151_277_313), ("ViT-B-16-quickgelu", 149_620_737), ("ViT-L-14", 427_616_513)],
)
def test_published_shapes_have_the_published_number_of_parameters(architecture: str, total: int) -> None:
    config = next(row.config for row in rows() if row.architecture == architecture)
    assert config is not None
    assert sum(int(np.prod(shape)) for shape in native_shapes(config).values()) == total
