"""More out of a model than its vectors: hidden states, pooled features and patch features.

Everything is read before the projection into the shared space, unless asked otherwise, and nothing is
brought to unit length. Docstrings name the tensor of transformers' `CLIPModel` that a result equals
(`v` for its `vision_model`, `t` for its `text_model`), to 1e-5 of its root mean square in f32.
`engine.py` makes these objects.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import ConfigError, InputError
from clipworks.model.config import ClipConfig, Tower
from clipworks.model.pipeline import prepared_batches, require_batch_size, stacked
from clipworks.model.preprocess import ImageInput
from clipworks.model.readings import Reading
from clipworks.model.tokenizer import EOT, VOCAB_SIZE, tokenize


class Reader(Protocol):
    """What computes a reading; both executors have this method."""

    def read(self, reading: Reading, batch: NDArray[Any]) -> NDArray[np.float32]:
        """uint8 [B, S, S, 3] RGB or int64 [B, T] -> float32 [B, T, D], or [B, D] where pooled."""


class Features:
    """The insides of one model; `engine.features`.

    Computed in bf16 where `engine.precision` is `bf16`, and in f32 otherwise, int8 included. The first
    reading of a kind compiles it, for which the model's files are read again.
    """

    def __init__(
        self, reader: Reader, config: ClipConfig, prepare: Callable[[ImageInput, str], NDArray[np.uint8]]
    ) -> None:
        self._reader = reader
        self._config = config
        self._prepare = prepare

    def tokens(self, texts: Sequence[str], *, padding_token: int = EOT) -> NDArray[np.int64]:
        """The rows that `text_hidden_states` reads.

        Args:
            texts: any number of strings; what does not fit into the context length is cut off.
            padding_token: id behind the end-of-text token: 49407 (the end token again) as in
                transformers and Stable Diffusion 1, 0 as in open_clip and Stable Diffusion 2.

        Returns:
            int64 [len(texts), context length]; a row's text ends at its first 49407.

        Raises:
            InputError: an item is not a string or is far too long.
            ConfigError: padding_token is no token id.
        """
        if not 0 <= padding_token < VOCAB_SIZE:
            raise ConfigError(f"padding_token is {padding_token}; it must be in 0..{VOCAB_SIZE - 1}.")
        rows = tokenize(texts, context_length=self._config.text.context_length)
        if len(rows):
            is_behind = np.arange(rows.shape[1]) > rows.argmax(axis=1)[:, None]
            rows[is_behind] = padding_token
        return rows

    def text_hidden_states(
        self,
        texts: Sequence[str],
        *,
        layer: int = -1,
        is_normed: bool = True,
        padding_token: int = EOT,
        batch_size: int = 32,
    ) -> NDArray[np.float32]:
        """What image generators condition on: every token of a text, after any block.

        The result equals `t(input_ids, output_hidden_states=True).hidden_states[layer]` without
        `is_normed`; with it and `layer=-1`, `last_hidden_state`. Stable Diffusion 1 reads
        `last_hidden_state`, Stable Diffusion 2 `layer=-2` with `is_normed`, and SDXL `layer=-2` without
        it from both of its encoders. No attention mask hides what stands behind the end token: these
        rows depend on `padding_token`, those up to the end token do not.

        Args:
            texts: any number of strings; what does not fit into the context length is cut off.
            layer: 0 is the token embeddings with their places, k what leaves block k; negative
                numbers count from the last block, -1.
            is_normed: whether `ln_final` is applied to every row.
            padding_token: as in `tokens`.
            batch_size: texts per forward pass, 1..1024.

        Returns:
            float32 [len(texts), context length, text width].

        Raises:
            InputError: an item is not a string or is far too long.
            ConfigError: no such layer, or batch_size or padding_token out of range.
        """
        reading = Reading(tower="text", layer=self._layer("text", layer), is_normed=is_normed)
        rows = self.tokens(texts, padding_token=padding_token)
        parts = [self._reader.read(reading, rows[places]) for places in _cut(len(rows), batch_size)]
        return _joined(parts, (rows.shape[1], self._config.text.width))

    def pooled_texts(self, texts: Sequence[str], *, batch_size: int = 64) -> NDArray[np.float32]:
        """The end-of-text token after `ln_final`, before the projection: `t(input_ids).pooler_output`.

        Args:
            texts: any number of strings; what does not fit into the context length is cut off.
            batch_size: texts per forward pass, 1..1024.

        Returns:
            float32 [len(texts), text width].

        Raises:
            InputError: an item is not a string or is far too long.
            ConfigError: batch_size out of range.
        """
        require_batch_size(batch_size)
        rows = tokenize(texts, context_length=self._config.text.context_length)
        features = np.empty((len(rows), self._config.text.width), dtype=np.float32)
        lengths = rows.argmax(axis=1) + 1 if len(rows) else np.empty(0, dtype=np.int64)
        # Texts of equal length go together: attention is causal, so rows may be cut at their end.
        for length in np.unique(lengths):
            places = np.flatnonzero(lengths == length)
            for some in _cut(len(places), batch_size):
                cut = np.ascontiguousarray(rows[places[some], :length])
                features[places[some]] = self._reader.read(self._pooled("text"), cut)
        return features

    def image_hidden_states(
        self,
        images: Sequence[ImageInput],
        *,
        layer: int = -1,
        is_normed: bool = False,
        batch_size: int = 32,
    ) -> NDArray[np.float32]:
        """Every token of a picture, the class token first, after any block.

        The result equals `v(pixel_values, output_hidden_states=True).hidden_states[layer]`, and with
        `layer=-1` also `last_hidden_state`, which transformers leaves without the layer norm.

        Args:
            images: any number of paths, bytes of image files, Pillow images or uint8 [H, W, 3] RGB.
            layer: 0 is what leaves `ln_pre`, k what leaves block k; negative numbers count from the
                last block, -1.
            is_normed: whether `ln_post` is applied to every row.
            batch_size: pictures per forward pass, 1..1024.

        Returns:
            float32 [len(images), 1 + patches, image width].

        Raises:
            InputError: a picture cannot be used; the message names it.
            ConfigError: no such layer, or batch_size out of range.
        """
        vision = self._config.vision
        reading = Reading(tower="vision", layer=self._layer("vision", layer), is_normed=is_normed)
        parts = [self._reader.read(reading, pixels) for pixels in self._pixels(images, batch_size)]
        return _joined(parts, (vision.tokens, vision.width))

    def pooled_images(self, images: Sequence[ImageInput], *, batch_size: int = 32) -> NDArray[np.float32]:
        """The class token after `ln_post`, before the projection: `v(pixel_values).pooler_output`.

        OpenAI's linear probes read these features.

        Args:
            images: as in `image_hidden_states`.
            batch_size: pictures per forward pass, 1..1024.

        Returns:
            float32 [len(images), image width].

        Raises:
            InputError: a picture cannot be used; the message names it.
            ConfigError: batch_size out of range.
        """
        reading = self._pooled("vision")
        parts = [self._reader.read(reading, pixels) for pixels in self._pixels(images, batch_size)]
        return _joined(parts, (self._config.vision.width,))

    def patch_features(
        self, images: Sequence[ImageInput], *, is_projected: bool = False, batch_size: int = 32
    ) -> NDArray[np.float32]:
        """The patches of a picture after the last block and `ln_post`, row by row from the top left.

        The result equals `v.post_layernorm(v(pixel_values).last_hidden_state[:, 1:])`; projected, what
        `visual_projection` makes of it.

        Args:
            images: as in `image_hidden_states`.
            is_projected: whether patches are taken into the space of texts, as the class token is. The
                models were trained on the class token alone: cosines of patches are a rough map.
            batch_size: pictures per forward pass, 1..1024.

        Returns:
            float32 [len(images), patches, D]; D is the image width, or `dim` where projected.

        Raises:
            InputError: a picture cannot be used; the message names it.
            ConfigError: batch_size out of range.
        """
        vision = self._config.vision
        reading = Reading(tower="vision", layer=vision.layers, is_normed=True, is_projected=is_projected)
        parts = [self._reader.read(reading, pixels)[:, 1:] for pixels in self._pixels(images, batch_size)]
        width = self._config.embed_dim if is_projected else vision.width
        return _joined(parts, (vision.tokens - 1, width))

    def patch_values(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Patches in the space of texts, each by its own value in the last attention, row by row.

        As dense prediction without training reads them (MaskCLIP, arXiv:2112.01071): a patch's value goes
        through the last attention's output layer, `ln_post` and the projection. The class token's vector is
        made of these values, mixed by attention; what a patch itself says stands here unmixed.

        Args:
            pixels: uint8 [N, image_size, image_size, 3] RGB, from `Engine.prepare_image`.

        Returns:
            float32 [N, patches, dim], not of unit length.
        """
        layers = self._config.vision.layers
        reading = Reading(tower="vision", layer=layers, is_by_values=True, is_normed=True, is_projected=True)
        return self._reader.read(reading, pixels)[:, 1:]

    def _pooled(self, tower: Tower) -> Reading:
        layer = self._config.vision.layers if tower == "vision" else self._config.text.layers
        return Reading(tower=tower, layer=layer, is_normed=True, is_pooled=True)

    def _layer(self, tower: Tower, layer: int) -> int:
        layers = self._config.vision.layers if tower == "vision" else self._config.text.layers
        if not -layers - 1 <= layer <= layers:
            raise ConfigError(f"layer is {layer}; it must be in {-layers - 1}..{layers}.")
        return layer if layer >= 0 else layers + 1 + layer

    def _pixels(self, images: Sequence[ImageInput], batch_size: int) -> Iterator[NDArray[np.uint8]]:
        if isinstance(images, str | bytes | Path):
            raise InputError("images is a single picture.", "Give a list: [picture].")
        named = [(x, "" if isinstance(x, str | Path) else f"images[{i}]") for i, x in enumerate(images)]
        batches = [named[places] for places in _cut(len(named), batch_size)]
        with prepared_batches(batches, lambda x: self._prepare(*x)) as prepared:
            yield from (stacked(batch) for batch in prepared)


def _cut(count: int, size: int) -> list[slice]:
    require_batch_size(size)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _joined(parts: list[NDArray[np.float32]], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.concatenate(parts) if parts else np.empty((0, *shape), dtype=np.float32)
