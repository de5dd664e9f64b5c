"""Weights files that were released alone, without a config, known by their content.

No tensor says which activation a model was trained with. For the files below their makers say it,
in the code that was published beside them.
"""

from pathlib import Path

from clipworks.files import sha256_file
from clipworks.model.config import Activation

# OpenAI's addresses contain the sha256: github.com/openai/CLIP, clip/clip.py. MetaCLIP's is
# b16_fullcc2.5b.pt of github.com/facebookresearch/MetaCLIP.
ACTIVATIONS: dict[str, Activation] = {
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af": "quick_gelu",  # ViT-B-32.pt
    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f": "quick_gelu",  # ViT-B-16.pt
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "quick_gelu",  # ViT-L-14.pt
    "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02": "quick_gelu",  # ViT-L-14-336px.pt
    "512ea0fb9f2cf88d027e96e4674247a1a91a96af18abc2e2fcdb8008c551e04b": "quick_gelu",  # b16_fullcc2.5b.pt
}


def released_activation(file: Path) -> Activation | None:
    """The activation of a file that is one of these releases, by its sha256; None for any other."""
    return ACTIVATIONS.get(sha256_file(file))
