"""Named training runs: functions that return a configuration.

The published ones have the numbers of the paper, code or model card that their docstrings name; what
decides how fast, and not what, is left to the machine.
"""

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches

from clipworks.errors import ConfigError
from clipworks.model import catalogue
from clipworks.model.config import ClipConfig, TextConfig, VisionConfig
from clipworks.train.config import TrainConfig


def tiny() -> TrainConfig:
    """Seconds on one core: shows that every part works, learns next to nothing."""
    return TrainConfig(
        model=ClipConfig(
            vision=VisionConfig(image_size=32, patch_size=8, width=64, layers=2, heads=1, mlp_width=128),
            text=TextConfig(width=64, layers=2, heads=1, mlp_width=128),
            embed_dim=64,
            activation="gelu",
        ),
        steps=20,
        batch_size=32,
        warmup_steps=2,
        save_every_steps=10,
    )


def pictogram() -> TrainConfig:
    """The built-in model: 64-pixel drawings, an hour and a half on two cores."""
    return TrainConfig(
        model=_pictogram_model(),
        steps=4000,
        batch_size=256,
        matrix_learning_rate=2e-3,
        warmup_steps=100,
        patch_dropout=0.5,
        unmasked_steps=300,
        first_text_prob=0.7,
        zoom=0.2,
        shift=0.1,
        jitter=0.2,
        precision="bf16",
        save_every_steps=200,
    )


def datacomp_small() -> TrainConfig:
    """DataComp's small scale: 12.8 M samples seen, ViT-B/32 (arXiv:2304.14108, table 14).

    Batch, rate, warm-up and beta2 by mlfoundations/datacomp `scale_configs.py`; the rest by its
    `train.py`, which leaves weight decay 0.2, betas, epsilon and the crop of 0.9 to 1 to open_clip.
    """
    return _published(
        model=_model("laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K"),
        samples=12_800_000,
        batch_size=4096,
        learning_rate=5e-4,
        warmup_steps=500,
    )


def datacomp_medium() -> TrainConfig:
    """DataComp's medium scale: 128 M samples seen; else as small."""
    return replace(datacomp_small(), steps=128_000_000 // 4096)


def datacomp_large() -> TrainConfig:
    """DataComp's large scale: 1.28 B samples seen, ViT-B/16, batch 8192; sources as small."""
    model = _model("facebook/metaclip-b16-fullcc2.5b")
    return _published(
        model=replace(model, activation="gelu"),
        samples=1_280_000_000,
        batch_size=8192,
        learning_rate=5e-4,
        warmup_steps=500,
    )


def datacomp_xlarge() -> TrainConfig:
    """DataComp's xlarge scale: 12.8 B samples seen, ViT-L/14, beta2 0.95, bfloat16; sources as small.

    In 16-bit floats with a scaled loss the result is markedly worse at this scale (their README).
    """
    large = _published(
        model=_model("laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"),
        samples=12_800_000_000,
        batch_size=90_112,
        learning_rate=1e-3,
        warmup_steps=10_000,
    )
    return replace(large, beta2=0.95, precision="bf16")


def metaclip_b16_400m() -> TrainConfig:
    """MetaCLIP ViT-B/16 on 400 M pairs: facebookresearch/MetaCLIP `configs/metaclip_v1.py`, b16_400m.

    32 passes; 64 cards with 512 pairs each; 5e-4 is that code's rate for every B model.
    """
    return replace(
        _published(
            model=_model("facebook/metaclip-b16-fullcc2.5b"),
            samples=32 * 400_000_000,
            batch_size=32_768,
            learning_rate=5e-4,
            warmup_steps=2000,
        ),
        resampled=False,
    )


def metaclip_b16_25b() -> TrainConfig:
    """MetaCLIP ViT-B/16 on 2.5 B pairs: the same file, b16_fullcc; as many samples seen as with 400 M."""
    return metaclip_b16_400m()


def laion2b_b32() -> TrainConfig:
    """laion/CLIP-ViT-B-32-laion2B-s34B-b79K: 256 checkpoints of 135,646,078 samples (model card).

    The batch of "79k" is 224 cards with 352 pairs each (the run named in open_clip's discussion 848).
    Warm-up as in the authors' other runs at 1e-3 on LAION-2B (arXiv:2212.07143): the card has none.
    """
    run = _published(
        model=_model("laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
        samples=256 * 135_646_078,
        batch_size=224 * 352,
        learning_rate=1e-3,
        warmup_steps=10_000,
    )
    return replace(run, precision="bf16")


def openai_b16() -> TrainConfig:
    """OpenAI's ViT-B/16: arXiv:2103.00020, tables 18 and 19.

    32 passes over 400 M pairs; their crop is a random square of the resized picture, for which the
    crop of 0.9 to 1 stands here, as in open_clip.
    """
    run = _published(
        model=_model("openai/clip-vit-base-patch16"),
        samples=32 * 400_000_000,
        batch_size=32_768,
        learning_rate=5e-4,
        warmup_steps=2000,
    )
    return replace(run, resampled=False)


def finetune() -> TrainConfig:
    """On from a checkpoint with pairs of one's own; `--from` names another than the built-in one.

    Rate, decay and clipping as for full fine-tuning in arXiv:2109.01903 (3e-5, 0.1, 1.0).
    """
    return TrainConfig(
        model=_pictogram_model(),
        start="pictogram",
        steps=500,
        batch_size=128,
        learning_rate=3e-5,
        warmup_steps=50,
        weight_decay=0.1,
        reading="stream",
        resampled=False,
        recolour=False,
        save_every_steps=100,
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "tiny": tiny,
    "pictogram": pictogram,
    "datacomp-small": datacomp_small,
    "datacomp-medium": datacomp_medium,
    "datacomp-large": datacomp_large,
    "datacomp-xlarge": datacomp_xlarge,
    "metaclip-b16-400m": metaclip_b16_400m,
    "metaclip-b16-2.5b": metaclip_b16_25b,
    "laion2b-b32": laion2b_b32,
    "openai-b16": openai_b16,
    "finetune": finetune,
}
"""Every name that `--recipe` takes."""


def find(name: str) -> TrainConfig:
    """The configuration of a named recipe.

    Raises:
        ConfigError: there is no recipe of that name; the nearest names are given.
    """
    if name not in RECIPES:
        near = ", ".join(get_close_matches(name, RECIPES, n=3, cutoff=0.0))
        raise ConfigError(f"There is no training recipe {name!r}.", f"Nearest: {near}.")
    return RECIPES[name]()


def _published(
    *, model: ClipConfig, samples: int, batch_size: int, learning_rate: float, warmup_steps: int
) -> TrainConfig:
    """What open_clip's trainer does unless told otherwise, and all published runs here share."""
    return TrainConfig(
        model=model,
        steps=-(-samples // batch_size),
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        weight_decay=0.2,
        beta1=0.9,
        beta2=0.98,
        epsilon=1e-6,
        clip_norm=None,
        precision="fp16",
        recompute=True,
        reading="stream",
        resampled=True,
        recolour=False,
        first_text_prob=1.0,
        shared_captions="negative",
        save_every_steps=1000,
    )


def _model(name: str) -> ClipConfig:
    config = catalogue.find(name).config
    assert config is not None
    return config


def _pictogram_model() -> ClipConfig:
    return ClipConfig(
        vision=VisionConfig(image_size=64, patch_size=8, width=256, layers=6, heads=4, mlp_width=1024),
        text=TextConfig(width=256, layers=4, heads=4, mlp_width=1024),
        embed_dim=256,
        activation="gelu",
    )
