"""The models that are known by name: the built-in one and five published checkpoints.

One literal table of names and shapes. What is known beside them is in `facts.py` and `scores.py`, all of it
together in `specs.py`; fetching a row's files is the work of `pull.py`.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from clipworks.errors import ConfigError
from clipworks.model.config import Activation, ClipConfig, TextConfig, VisionConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueRow:
    """One model: what it is called, where it comes from and what is known of it."""

    id: str
    """What answers call it; for published models the Hugging Face id."""
    short_names: tuple[str, ...]
    """Other names that `load` accepts."""
    source: Literal["builtin", "hub"]
    """In this package, or on the Hugging Face Hub under `id`."""
    title: str
    """One line for people."""
    architecture: str
    """open_clip's name of the architecture, or a short description."""
    tag: str | None
    """open_clip's name of the weights; None for models that it does not have."""
    config: ClipConfig | None
    """Shape and activation of a published model; None where the files always say it."""
    training_data: str
    """What it was trained on."""
    licence: str
    """SPDX id of the weights' licence, or what its authors say in place of one."""


def _config(image: tuple[int, int, int, int], text: tuple[int, int], activation: Activation) -> ClipConfig:
    """A published shape: image = (patch, width, layers, embed), text = (width, layers)."""
    patch, width, layers, embed = image
    text_width, text_layers = text
    return ClipConfig(
        vision=VisionConfig(
            image_size=224,
            patch_size=patch,
            width=width,
            layers=layers,
            heads=width // 64,
            mlp_width=4 * width,
        ),
        text=TextConfig(
            width=text_width, layers=text_layers, heads=text_width // 64, mlp_width=4 * text_width
        ),
        embed_dim=embed,
        activation=activation,
    )


def rows() -> tuple[CatalogueRow, ...]:
    """Every known model, the built-in one first."""
    return (
        CatalogueRow(
            id="pictogram",
            short_names=("builtin",),
            source="builtin",
            title="Built in: icons, emoji and clip art; weak on photographs",
            architecture="small ViT",
            tag=None,
            config=None,
            training_data="openly licensed icon, emoji and clip-art packages",
            licence="Apache-2.0",
        ),
        CatalogueRow(
            id="facebook/metaclip-b16-fullcc2.5b",
            short_names=("metaclip-b16", "ViT-B-16-quickgelu/metaclip_fullcc", "ViT-B-16/metaclip_fullcc"),
            source="hub",
            title="MetaCLIP ViT-B/16, 2.5 billion pairs",
            architecture="ViT-B-16-quickgelu",
            tag="metaclip_fullcc",
            config=_config((16, 768, 12, 512), (512, 12), "quick_gelu"),
            training_data="MetaCLIP, 2.5 billion pairs of CommonCrawl",
            licence="CC-BY-NC-4.0",
        ),
        CatalogueRow(
            id="laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
            short_names=("datacomp-b32", "ViT-B-32/datacomp_xl_s13b_b90k"),
            source="hub",
            title="DataComp ViT-B/32",
            architecture="ViT-B-32",
            tag="datacomp_xl_s13b_b90k",
            config=_config((32, 768, 12, 512), (512, 12), "gelu"),
            training_data="DataComp-1B, 1.4 billion pairs",
            licence="MIT",
        ),
        CatalogueRow(
            id="laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
            short_names=("datacomp-l14", "ViT-L-14/datacomp_xl_s13b_b90k"),
            source="hub",
            title="DataComp ViT-L/14",
            architecture="ViT-L-14",
            tag="datacomp_xl_s13b_b90k",
            config=_config((14, 1024, 24, 768), (768, 12), "gelu"),
            training_data="DataComp-1B, 1.4 billion pairs",
            licence="MIT",
        ),
        CatalogueRow(
            id="openai/clip-vit-base-patch16",
            short_names=("openai-b16", "ViT-B-16-quickgelu/openai", "ViT-B-16/openai"),
            source="hub",
            title="OpenAI CLIP ViT-B/16",
            architecture="ViT-B-16-quickgelu",
            tag="openai",
            config=_config((16, 768, 12, 512), (512, 12), "quick_gelu"),
            training_data="WIT-400M, not public",
            licence="none stated for the weights; the code is MIT",
        ),
        CatalogueRow(
            id="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
            short_names=("laion2b-b32", "ViT-B-32/laion2b_s34b_b79k"),
            source="hub",
            title="LAION-2B ViT-B/32",
            architecture="ViT-B-32",
            tag="laion2b_s34b_b79k",
            config=_config((32, 768, 12, 512), (512, 12), "gelu"),
            training_data="LAION-2B-en, 2.17 billion pairs",
            licence="MIT",
        ),
    )


def find(name: str) -> CatalogueRow:
    """The row of an id or short name; upper and lower case are the same.

    Raises:
        ConfigError: no row has this name; the three nearest are named.
    """
    by_name = {known.lower(): row for row in rows() for known in (row.id, *row.short_names)}
    row = by_name.get(name.lower())
    if row is None:
        near = get_close_matches(name.lower(), by_name, n=len(by_name), cutoff=0.0)
        ids = list(dict.fromkeys(by_name[match].id for match in near))[:3]
        raise ConfigError(
            f"There is no model named {name!r}.",
            f"Nearest: {', '.join(ids)}; or give the path of a checkpoint.",
        )
    return row
