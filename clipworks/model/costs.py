"""What a model of a given shape costs: its parameters and the arithmetic of one forward pass.

Both follow from the config alone. One multiplication and one addition are two operations; what is counted
are convolutions, matrix products and attention, as open_clip's model_profile.csv does. The executors
need less: texts are cut at their end, and the last block is computed for the row that is read.
"""

from dataclasses import dataclass

from clipworks.model.config import ClipConfig, TextConfig, VisionConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterCount:
    """Numbers in the weights."""

    image: int
    """The image tower with its projection."""
    text: int
    """The text tower with its token table and projection."""

    @property
    def total(self) -> int:
        """Both towers and the temperature."""
        return self.image + self.text + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class OperationCount:
    """Floating-point operations of one forward pass."""

    image: int
    """One picture."""
    text: int
    """One text, of as many tokens as were asked for."""

    @property
    def pair(self) -> int:
        """One picture and one text."""
        return self.image + self.text


def parameter_count(config: ClipConfig) -> ParameterCount:
    """The parameters of a model of this shape."""
    vision, text, embed = config.vision, config.text, config.embed_dim
    patches = 3 * vision.patch_size**2 * vision.width
    norms = 2 * 2 * vision.width
    image = patches + vision.width * (1 + vision.tokens) + norms + vision.width * embed
    tables = (text.vocab_size + text.context_length) * text.width
    return ParameterCount(
        image=image + vision.layers * _block_parameters(vision),
        text=tables + 2 * text.width + text.width * embed + text.layers * _block_parameters(text),
    )


def operation_count(
    config: ClipConfig, *, text_tokens: int | None = None, is_last_pooled: bool = False
) -> OperationCount:
    """The arithmetic of one picture and of one text of `text_tokens` tokens (None: the context length).

    Args:
        config: the shape.
        text_tokens: length of the text.
        is_last_pooled: count the last block of each tower only for the row that is read, as the executors
            and training compute it.
    """
    vision, text = config.vision, config.text
    tokens = text.context_length if text_tokens is None else text_tokens
    patches = vision.grid**2 * 3 * vision.patch_size**2 * vision.width
    image = patches + vision.layers * _block_products(vision, vision.tokens)
    words = text.layers * _block_products(text, tokens)
    if is_last_pooled:
        image -= _block_products(vision, vision.tokens) - _pooled_products(vision, vision.tokens)
        words -= _block_products(text, tokens) - _pooled_products(text, tokens)
    return OperationCount(
        image=2 * (image + vision.width * config.embed_dim),
        text=2 * (words + text.width * config.embed_dim),
    )


def _block_parameters(tower: VisionConfig | TextConfig) -> int:
    width, mlp_width = tower.width, tower.mlp_width
    attention = 4 * width * width + 4 * width
    mlp = 2 * width * mlp_width + mlp_width + width
    norms = 2 * 2 * width
    return attention + mlp + norms


def _block_products(tower: VisionConfig | TextConfig, tokens: int) -> int:
    """Multiplications of a block: four attention matrices, two of the MLP, scores and their use."""
    linear = tokens * (4 * tower.width**2 + 2 * tower.width * tower.mlp_width)
    return linear + 2 * tokens**2 * tower.width


def _pooled_products(tower: VisionConfig | TextConfig, tokens: int) -> int:
    """Multiplications of a block of which one row is read: keys and values of all, the rest of one."""
    keys_and_values = 2 * tokens * tower.width**2
    return keys_and_values + 2 * tower.width * (tower.width + tower.mlp_width) + 2 * tokens * tower.width
