"""What can be read out of a tower beside its vectors; `features.py` asks, the executors answer."""

from dataclasses import dataclass

from clipworks.model.config import Tower


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A place inside a tower: rows float32 [B, T, D], or [B, D] where pooled."""

    tower: Tower
    layer: int
    """Blocks that are run: 0 is what goes into the first one, the tower's depth what leaves the last."""
    is_normed: bool = False
    """Whether the tower's last layer norm follows (ln_post of pictures, ln_final of texts)."""
    is_projected: bool = False
    """Whether the projection into the shared space follows, so that D is the shared dimension."""
    is_by_values: bool = False
    """Whether the last of these blocks gives what each row would pass on if it attended to itself alone: its
    value through the attention's output layer, without the stream that it is added to and without the MLP."""
    is_pooled: bool = False
    """Only the row that stands for the whole: the class token, the end-of-text token; from the last layer."""
