"""The CLIP network in PyTorch: the executor for training and for graphics cards.

Shape letters: B batch, H W pixels, C channels, T tokens, D width of a tower, E shared space.
Parameter names are the package's own ("native") names; `formats.py` maps the published families
onto them. Both towers follow Radford et al. 2021 (arXiv:2103.00020), section 2.4.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from clipworks.errors import ConfigError
from clipworks.model.config import Activation, ClipConfig, TextConfig, VisionConfig
from clipworks.model.readings import Reading

LAYER_NORM_EPS = 1e-5
INITIAL_LOGIT_SCALE = math.log(1 / 0.07)


class Block(nn.Module):
    """A pre-norm transformer block: attention and MLP, each added to the residual stream."""

    def __init__(self, width: int, heads: int, mlp_width: int, activation: Activation) -> None:
        super().__init__()
        self.heads = heads
        self.activation = activation
        self.ln_1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.ln_2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.up = nn.Linear(width, mlp_width)
        self.down = nn.Linear(mlp_width, width)

    def forward(self, x_BTD: Tensor, *, causal: bool, places_B: Tensor | None = None) -> Tensor:
        """One block over a sequence.

        Args:
            x_BTD: float [B, T, D].
            causal: hides later tokens from earlier ones.
            places_B: int64 [B], the one place of each row whose result is wanted, as it is of a tower's
                last block; only keys and values are then made of the others.

        Returns:
            Float [B, T, D]; [B, 1, D] where places are given.
        """
        if places_B is None:
            q, k, v = self._split(self.qkv(self.ln_1(x_BTD))).unbind(dim=-3)
            attended = _attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), causal=causal)
        else:
            x_BTD, attended = self._attend_at(x_BTD, places_B, causal=causal)
        x_BTD = x_BTD + self.out(attended.transpose(1, 2).flatten(-2))
        down_BTD: Tensor = self.down(_activate(self.up(self.ln_2(x_BTD)), self.activation))
        return x_BTD + down_BTD

    def values(self, x_BTD: Tensor) -> Tensor:
        """What the attention would give if each row attended to itself alone, float [B, T, D]."""
        start = 2 * x_BTD.shape[-1]
        v_BTD = F.linear(self.ln_1(x_BTD), self.qkv.weight[start:], self.qkv.bias[start:])
        own_BTD: Tensor = self.out(v_BTD)
        return own_BTD

    def _attend_at(self, x_BTD: Tensor, places_B: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
        """The rows at the places, float [B, 1, D], and what they attend to, float [B, heads, 1, C]."""
        normed_BTD = self.ln_1(x_BTD)
        index_B1D = places_B[:, None, None].expand(-1, 1, x_BTD.shape[-1])
        width = x_BTD.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        q = self._split(F.linear(normed_BTD.gather(1, index_B1D), weight[:width], bias[:width]))
        k, v = self._split(F.linear(normed_BTD, weight[width:], bias[width:])).unbind(dim=-3)
        scores = (q[:, :, 0] * q.shape[-1] ** -0.5).transpose(1, 2) @ k.permute(0, 2, 3, 1)
        if causal:
            hidden = torch.arange(x_BTD.shape[1], device=x_BTD.device) > places_B[:, None]
            scores = scores.masked_fill(hidden[:, None, None], float("-inf"))
        attended = scores.float().softmax(dim=-1).to(v.dtype) @ v.transpose(1, 2)
        return x_BTD.gather(1, index_B1D), attended

    def _split(self, x_BTX: Tensor) -> Tensor:
        """Float [B, T, n * D] -> [B, T, n, heads, C]."""
        return x_BTX.reshape(*x_BTX.shape[:2], -1, self.heads, self.out.in_features // self.heads)


class VisionTower(nn.Module):
    """A vision transformer that is read at its class token."""

    def __init__(self, config: VisionConfig, embed_dim: int, activation: Activation) -> None:
        super().__init__()
        width = config.width
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(
            3, width, kernel_size=config.patch_size, stride=config.patch_size, bias=False
        )
        self.position_embedding = nn.Parameter(torch.empty(config.tokens, width))
        self.ln_pre = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.mlp_width, activation) for _ in range(config.layers)
        )
        self.ln_post = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.projection = nn.Linear(width, embed_dim, bias=False)

    def forward(self, images_BCHW: Tensor, kept_BT: Tensor | None = None) -> Tensor:
        """Features of pictures, not of unit length.

        Args:
            images_BCHW: normalised pixels, float [B, 3, H, W].
            kept_BT: int64 [B, T], the patches to look at, 0 at the top left; None for all.

        Returns:
            float [B, E].
        """
        x_BTD = self._rows(images_BCHW, kept_BT)
        firsts_B = torch.zeros(x_BTD.shape[0], dtype=torch.int64, device=x_BTD.device)
        for number, block in enumerate(self.blocks, start=1):
            x_BTD = block(x_BTD, causal=False, places_B=firsts_B if number == len(self.blocks) else None)
        features: Tensor = self.projection(self.ln_post(x_BTD[:, 0]))
        return features

    def read(self, images_BCHW: Tensor, reading: Reading) -> Tensor:
        """Normalised pixels, float [B, 3, H, W] -> float [B, T, D], or [B, D] where pooled."""
        x_BTD = self._rows(images_BCHW, None)
        for block in self.blocks[: reading.layer - reading.is_by_values]:
            x_BTD = block(x_BTD, causal=False)
        if reading.is_by_values:
            last = self.blocks[reading.layer - 1]
            assert isinstance(last, Block)
            x_BTD = last.values(x_BTD)
        x_BTD = x_BTD[:, 0] if reading.is_pooled else x_BTD
        return _finish(x_BTD, reading, self.ln_post, self.projection)

    def _rows(self, images_BCHW: Tensor, kept_BT: Tensor | None) -> Tensor:
        """What goes into the first block, float [B, 1 + patches, D]."""
        patches_BTD = self.patch_embedding(images_BCHW).flatten(2).transpose(1, 2)
        patches_BTD = patches_BTD + self.position_embedding[1:]
        if kept_BT is not None:
            patches_BTD = patches_BTD.take_along_dim(kept_BT[:, :, None], dim=1)
        class_D = self.class_embedding + self.position_embedding[0]
        x_BTD = torch.cat([class_D.expand(patches_BTD.shape[0], 1, -1), patches_BTD], dim=1)
        rows_BTD: Tensor = self.ln_pre(x_BTD)
        return rows_BTD


class TextTower(nn.Module):
    """A causal transformer that is read at its end-of-text token."""

    def __init__(self, config: TextConfig, embed_dim: int, activation: Activation) -> None:
        super().__init__()
        width = config.width
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.position_embedding = nn.Parameter(torch.empty(config.context_length, width))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.mlp_width, activation) for _ in range(config.layers)
        )
        self.ln_final = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.projection = nn.Linear(width, embed_dim, bias=False)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Token ids, int64 [B, T], T up to the context length -> features, float [B, E].

        The end-of-text token is the largest id of the vocabulary, so its first place is the
        argmax of a row. Attention is causal: what stands behind that place has no influence, and
        rows may be cut at the longest one of a batch without changing any result.
        """
        x_BTD = self.token_embedding(tokens_BT) + self.position_embedding[: tokens_BT.shape[1]]
        ends_B = tokens_BT.argmax(dim=1)
        for number, block in enumerate(self.blocks, start=1):
            x_BTD = block(x_BTD, causal=True, places_B=ends_B if number == len(self.blocks) else None)
        features: Tensor = self.projection(self.ln_final(x_BTD[:, 0]))
        return features

    def read(self, tokens_BT: Tensor, reading: Reading) -> Tensor:
        """Token ids, int64 [B, T] -> float [B, T, D], or [B, D] where pooled."""
        x_BTD = self.token_embedding(tokens_BT) + self.position_embedding[: tokens_BT.shape[1]]
        for block in self.blocks[: reading.layer]:
            x_BTD = block(x_BTD, causal=True)
        if reading.is_pooled:
            x_BTD = x_BTD[torch.arange(x_BTD.shape[0], device=x_BTD.device), tokens_BT.argmax(dim=1)]
        return _finish(x_BTD, reading, self.ln_final, self.projection)


class Clip(nn.Module):
    """Two towers and a temperature."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.vision = VisionTower(config.vision, config.embed_dim, config.activation)
        self.text = TextTower(config.text, config.embed_dim, config.activation)
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))

    def forward(
        self, images_BCHW: Tensor, tokens_BT: Tensor, kept_BT: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Unit image features and unit text features, both float32 [B, E]."""
        image_BE = F.normalize(self.vision(images_BCHW, kept_BT).float(), dim=-1)
        text_BE = F.normalize(self.text(tokens_BT).float(), dim=-1)
        return image_BE, text_BE


class NetworkExecutor:
    """Both towers in PyTorch, for inference; calls from several threads are safe."""

    def __init__(
        self,
        config: ClipConfig,
        weights: Mapping[str, NDArray[np.float32]],
        *,
        device: str,
        precision: Literal["f32", "bf16"],
        is_compiled: bool = False,
    ) -> None:
        """Take a config and native float32 weights to a device.

        Args:
            config: shape of the model.
            weights: float32 arrays named as in `Clip`'s state dict.
            device: as PyTorch names it: `cuda`, `cuda:1`, `cpu`.
            precision: bf16 computes the matrix products in bfloat16 and keeps their weights so; layer
                norms, softmax and sums stay in float32.
            is_compiled: whether `torch.compile` fuses the towers; the first call of each kind of shape
                then takes up to a minute.

        Raises:
            ConfigError: PyTorch does not know the device or cannot reach it.
        """
        try:
            self._device = torch.device(device)
            torch.empty(0, device=self._device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"The device {device!r} cannot be used: {error}.") from error
        with torch.device("meta"):
            self._model = Clip(config)
        tensors = {name: torch.tensor(array, device=self._device) for name, array in weights.items()}
        self._model.load_state_dict(tensors, assign=True)
        self._model.eval()
        self._is_bf16 = precision == "bf16"
        self._lock = threading.Lock()
        if self._is_bf16:
            _cast_products(self._model)
        self._vision, self._text = (
            torch.compile(tower) if is_compiled else tower for tower in (self._model.vision, self._model.text)
        )
        pixels = ([255 * value for value in config.preprocess.mean], [255 * v for v in config.preprocess.std])
        self._mean, self._std = (torch.tensor(x, device=self._device).view(1, 3, 1, 1) for x in pixels)

    def encode_images(self, pixels_BSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [B, S, S, 3] RGB -> features, float32 [B, E], not of unit length."""
        return self._run(self._vision, self._normalise(pixels_BSSC))

    def encode_texts(self, tokens_BT: NDArray[np.int64]) -> NDArray[np.float32]:
        """Token ids, int64 [B, T], T up to the context length -> features, float32 [B, E]."""
        return self._run(self._text, torch.from_numpy(tokens_BT).to(self._device))

    def encode_text_batches(self, batches: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Several batches as in `encode_texts` -> their features, in order."""
        return [self.encode_texts(batch) for batch in batches]

    def read(self, reading: Reading, batch: NDArray[Any]) -> NDArray[np.float32]:
        """uint8 [B, S, S, 3] RGB or int64 [B, T] -> float32 [B, T, D], or [B, D] where pooled."""
        if reading.tower == "vision":
            return self._run(lambda x: self._model.vision.read(x, reading), self._normalise(batch))
        tokens_BT = torch.from_numpy(batch).to(self._device)
        return self._run(lambda x: self._model.text.read(x, reading), tokens_BT)

    def _normalise(self, pixels_BSSC: NDArray[np.uint8]) -> Tensor:
        images_BCHW = torch.from_numpy(pixels_BSSC).to(self._device).permute(0, 3, 1, 2)
        return (images_BCHW - self._mean) / self._std

    def _run(self, tower: Callable[[Tensor], Tensor], batch: Tensor) -> NDArray[np.float32]:
        # TF32 would cut the patch embedding of f32 models to 10 bits on graphics cards.
        with (
            torch.inference_mode(),
            self._lock,  # cuDNN's flags are the process's
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
            torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_bf16),
        ):
            features: NDArray[np.float32] = tower(batch).float().cpu().numpy()
        return features


def _cast_products(model: Clip) -> None:
    """Weights of matrix products to bfloat16, once, as autocast would at every call."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.to(torch.bfloat16)


def initialise(model: Clip, seed: int) -> None:
    """Fill every parameter in place from `seed`, as in OpenAI's release of CLIP.

    Widths w and depth n of a tower set the spread: attention w^-0.5, residual outputs
    w^-0.5 (2n)^-0.5, MLP inputs (2w)^-0.5; token table 0.02, text positions 0.01. One difference:
    the places of patches begin as waves along both axes (arXiv:2205.01580), not as noise, so that
    a short training need not discover the grid.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: Tensor, std: float) -> None:
        nn.init.normal_(tensor, std=std, generator=generator)

    towers: tuple[VisionTower | TextTower, ...] = (model.vision, model.text)
    with torch.no_grad():
        for tower in towers:
            width = tower.position_embedding.shape[1]
            residual_std = width**-0.5 * (2 * len(tower.blocks)) ** -0.5
            for block in tower.blocks:
                assert isinstance(block, Block)
                for linear, std in (
                    (block.qkv, width**-0.5),
                    (block.out, residual_std),
                    (block.up, (2 * width) ** -0.5),
                    (block.down, residual_std),
                ):
                    normal(linear.weight, std)
                    nn.init.zeros_(linear.bias)
            normal(tower.projection.weight, width**-0.5)
        vision_width = model.vision.class_embedding.shape[0]
        normal(model.vision.class_embedding, vision_width**-0.5)
        normal(model.vision.position_embedding[0], vision_width**-0.5)
        model.vision.position_embedding[1:] = _waves(model.vision.position_embedding[1:].shape)
        normal(model.vision.patch_embedding.weight, model.vision.patch_embedding.weight[0].numel() ** -0.5)
        normal(model.text.token_embedding.weight, 0.02)
        normal(model.text.position_embedding, 0.01)
        model.logit_scale.fill_(INITIAL_LOGIT_SCALE)


def _waves(shape: torch.Size) -> Tensor:
    """Sines and cosines of row and column at frequencies from 1 to 1/10000, float32 [patches, width]."""
    patches, width = shape
    grid = math.isqrt(patches)
    frequencies = 10000.0 ** -torch.linspace(0, 1, -(-width // 4))
    row, column = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    angles = torch.cat([place.flatten()[:, None] * frequencies for place in (row, column)], dim=1)
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]


def _finish(x: Tensor, reading: Reading, norm: nn.Module, projection: nn.Module) -> Tensor:
    """The last layer norm and the projection, where the reading asks for them."""
    x = norm(x) if reading.is_normed else x
    return projection(x) if reading.is_projected else x


def _attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    """Scaled dot-product attention, [B, heads, T, C] each.

    On a CPU the products are written out: PyTorch's fused kernel needs 170 ms for one backward pass
    at [256, 4, 65, 64] in bfloat16, more than the rest of a training step (docs/log.md).
    """
    if q.device.type != "cpu":
        fused: Tensor = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return fused
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(hidden, float("-inf"))
    # In float32 as the fused kernels do: autocast would leave the softmax and its gradient in bfloat16.
    attended: Tensor = scores.float().softmax(dim=-1).to(v.dtype) @ v
    return attended


def _activate(x: Tensor, activation: Activation) -> Tensor:
    if activation == "quick_gelu":
        return x * torch.sigmoid(1.702 * x)
    exact: Tensor = F.gelu(x)
    return exact
