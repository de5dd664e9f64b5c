"""What the pages of the known models say beside shape and scores: training, use, limits, files, traps.

One literal table, in our own words. A fact that nobody published is None or left out, never guessed; a
file whose presence could not be confirmed says so. `catalogue.py` joins a row with its facts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

CommercialUse = Literal["allowed", "not allowed", "not stated"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How a model was trained."""

    data: str
    """The pairs of picture and text."""
    num_pairs: int | None
    """How many different pairs, as published; None where it is not."""
    num_seen: int | None
    """Pairs seen in the whole training, repeats counted; rounded as published."""
    batch_size: int | None
    """Pairs in a step; rounded as published."""
    recipe: tuple[str, ...]
    """What else is known of the run."""
    paper: str
    """Where it is described."""
    data_licence: str
    """What holds for the pairs, which is not what holds for the weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RepositoryFile:
    """A file of a model's repository that matters for loading."""

    name: str
    """Its path there."""
    form: str
    """Whose form it has: open_clip, transformers, OpenAI or this package's, weights or config."""
    is_certain: bool = True
    """False where its presence could not be confirmed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Original:
    """The file as its authors first published it, outside of the Hub."""

    name: str
    """Its file name."""
    form: str
    """What it is."""
    sha256: str
    """Hash of the whole file, 64 hex characters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of one model."""

    training: Training
    commercial_use: CommercialUse
    """What the licence of the weights says of it."""
    licence_note: str
    """What to know about the licence."""
    use: str
    """What it is good for."""
    limits: tuple[str, ...]
    """What it is not good for."""
    traps: tuple[str, ...]
    """What has misled people about this very model."""
    files: tuple[RepositoryFile, ...]
    """Weights and configs in its repository; tokenizer files, which are not needed, are left out."""
    original: Original | None
    """None where no hash of an original file is known."""


def facts_of(model_id: str) -> Facts:
    """The facts of a model of the catalogue, by its id."""
    return _facts()[model_id]


_LIMITS = (
    "Counting, distances and relations (left of, inside, not): close to guessing.",
    "Fine-grained kinds (aircraft, cars, species) are mixed up far more than everyday things.",
    "Answers depend on the labels offered and on their wording; what is not among them cannot be said.",
    "Captions were English; other languages score far lower. Texts are cut at 77 tokens.",
    "Writing inside a picture can outweigh what the picture shows.",
    "Learnt from web pages, stereotypes included: errors differ between groups of people. Audit before use.",
    "Out of scope: recognising faces, surveillance, and any decision about a person.",
)

_LAION_LICENCE = (
    "MIT. The card, after OpenAI's, calls deployed use out of scope; test on your own task first."
)

_WEB_USE = (
    "Research and prototypes on photographs: zero-shot classification, retrieval in both directions, vectors "
    "for a linear probe, a start for fine-tuning."
)


def _open_clip_files(*, has_safetensors: bool) -> tuple[RepositoryFile, ...]:
    return (
        RepositoryFile(name="open_clip_config.json", form="open_clip config"),
        RepositoryFile(
            name="open_clip_model.safetensors", form="open_clip weights", is_certain=has_safetensors
        ),
        RepositoryFile(name="open_clip_pytorch_model.bin", form="open_clip weights, pickled"),
    )


_TRANSFORMERS_FILES = (
    RepositoryFile(name="config.json", form="transformers config"),
    RepositoryFile(name="preprocessor_config.json", form="transformers config of the pixels"),
    RepositoryFile(name="pytorch_model.bin", form="transformers weights, pickled"),
    RepositoryFile(name="model.safetensors", form="transformers weights", is_certain=False),
)

_DATACOMP = Training(
    data="DataComp-1B: the 12.8-billion-pair CommonPool filtered by image clusters and by CLIP score",
    num_pairs=1_400_000_000,
    num_seen=12_800_000_000,
    batch_size=90_112,
    recipe=("learning rate 1e-3", "10,000 steps of warm-up", "AdamW, beta2 0.95"),
    paper="arXiv:2304.14108",
    data_licence="Addresses and captions are CC-BY-4.0; each picture keeps its own owner's rights.",
)


def _facts() -> Mapping[str, Facts]:
    return {
        "pictogram": Facts(
            training=Training(
                data="openly licensed icon, emoji and clip-art packages, and a few photographs",
                num_pairs=222_042,
                num_seen=3_200_000,
                batch_size=256,
                recipe=("recipes/pictogram.sh; settings of steps 4,001 to 5,100 of 12,500 in train.json",),
                paper="docs/pictogram.md",
                data_licence="Open licences only; ATTRIBUTION.md names each source and its licence.",
            ),
            commercial_use="allowed",
            licence_note="Apache-2.0 for the weights; ATTRIBUTION.md lists the pictures' own licences.",
            use="Demo, tests and examples without a network; search among icons, emoji and drawings.",
            limits=(
                "Weak on photographs beyond the few dozen kinds of things that it was trained on.",
                "Words that are not in its captions mean little to it. Other languages: names of emoji only.",
                "Out of scope: anything about people.",
            ),
            traps=("Its scores are of other tasks than those of published models: not comparable.",),
            files=(
                RepositoryFile(name="config.json", form="clipworks config"),
                RepositoryFile(name="model.safetensors", form="clipworks weights"),
                RepositoryFile(name="manifest.json", form="clipworks manifest with the fingerprint"),
            ),
            original=None,
        ),
        "facebook/metaclip-b16-fullcc2.5b": Facts(
            training=Training(
                data="MetaCLIP: CommonCrawl pairs that match 500,000 entries, balanced at 170,000 an entry",
                num_pairs=2_500_000_000,
                num_seen=12_800_000_000,
                batch_size=32_768,
                recipe=(
                    "64 V100 with 512 pairs each, fp16 mixed precision, gradient checkpointing",
                    "AdamW, learning rate 5e-4, cosine, 2,000 steps of warm-up",
                    "weight decay 0.2, betas 0.9 and 0.98, epsilon 1e-6",
                    "random crops of 90-100 % of the picture",
                ),
                paper="arXiv:2309.16671",
                data_licence="The pairs were not given out; each picture keeps its own owner's rights.",
            ),
            commercial_use="not allowed",
            licence_note="CC-BY-NC-4.0: research and other non-commercial use, with attribution.",
            use=_WEB_USE,
            limits=_LIMITS,
            traps=(
                "quick_gelu. open_clip's plain ViT-B-16 builds exact GELU for these weights, and only warns.",
                "The repository has no tokenizer.json; tools that insist on one fail. It is not needed here.",
            ),
            files=(
                *_TRANSFORMERS_FILES,
                RepositoryFile(name="metaclip_b16_fullcc2.5b.bin", form="open_clip weights, pickled"),
            ),
            original=Original(
                name="b16_fullcc2.5b.pt",
                form="open_clip-style state dict, pickled",
                sha256="512ea0fb9f2cf88d027e96e4674247a1a91a96af18abc2e2fcdb8008c551e04b",
            ),
        ),
        "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K": Facts(
            training=_DATACOMP,
            commercial_use="allowed",
            licence_note=_LAION_LICENCE,
            use=_WEB_USE,
            limits=_LIMITS,
            traps=(
                "FMoW 0.0000 is real: the worst region counts, and the region 'Other' has four pictures.",
                "72.7 % on ImageNet, on a copy of the card, is ViT-B-32-256's. This model has 69.17 %.",
                "No transformers files: CLIPModel.from_pretrained fails on this repository.",
                "The recipe is that of DataComp's largest scale; it is stated for L/14, not for this size.",
            ),
            files=_open_clip_files(has_safetensors=True),
            original=None,
        ),
        "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K": Facts(
            training=_DATACOMP,
            commercial_use="allowed",
            licence_note=_LAION_LICENCE,
            use=_WEB_USE,
            limits=_LIMITS,
            traps=(
                "No transformers files in the first upload: CLIPModel.from_pretrained may fail.",
                "Another model, LAION-2B's L/14, wants mean and std 0.5; this one has OpenAI's.",
            ),
            files=_open_clip_files(has_safetensors=False),
            original=None,
        ),
        "openai/clip-vit-base-patch16": Facts(
            training=Training(
                data="WIT: 400 million pairs from the web, chosen by 500,000 queries; not public",
                num_pairs=400_000_000,
                num_seen=12_800_000_000,
                batch_size=32_768,
                recipe=(
                    "32 passes, learning rate 5e-4, 2,000 steps of warm-up, weight decay 0.2",
                    "weights released in float16",
                ),
                paper="arXiv:2103.00020",
                data_licence="Not public, and no licence is stated.",
            ),
            commercial_use="not stated",
            licence_note=(
                "The code repository is MIT; the weights carry no licence of their own. The card calls all "
                "deployed use out of scope."
            ),
            use=_WEB_USE,
            limits=_LIMITS,
            traps=(
                "quick_gelu. open_clip's ViT-B-16 with the tag openai builds exact GELU and only warns.",
                "The paper says 68.6 % on ImageNet; the reproduced number is 68.34 %.",
                "The config's token ids (start 0, end 2, padding 1) are wrong: 49406 starts, 49407 ends.",
            ),
            files=_TRANSFORMERS_FILES,
            original=Original(
                name="ViT-B-16.pt",
                form="OpenAI JIT archive, float16",
                sha256="5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
            ),
        ),
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": Facts(
            training=Training(
                data="LAION-2B-en: English pairs of CommonCrawl that OpenAI's CLIP found alike; not curated",
                num_pairs=2_170_000_000,
                num_seen=34_000_000_000,
                batch_size=79_000,
                recipe=("256 virtual epochs of 135.6 million pairs, learning rate 1e-3",),
                paper="arXiv:2210.08402, arXiv:2212.07143",
                data_licence=(
                    "Addresses and captions were CC-BY-4.0 and were withdrawn in December 2023; each "
                    "picture keeps its own owner's rights."
                ),
            ),
            commercial_use="allowed",
            licence_note=_LAION_LICENCE,
            use=_WEB_USE + " Its text tower has guided image generators.",
            limits=(*_LIMITS, "Its training data is uncurated: disturbing and harmful content is in it."),
            traps=("The card says 66.6 % on ImageNet; the table it comes from says 66.56 %.",),
            files=(*_open_clip_files(has_safetensors=False), *_TRANSFORMERS_FILES),
            original=None,
        ),
    }
