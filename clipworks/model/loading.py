"""How a name or a path becomes an Engine: find the files, read them, start what computes.

`graph.py` with OpenVINO and `network.py` with PyTorch are imported only when they are asked for.
"""

from collections.abc import Callable
from typing import Any, Literal, cast, get_args

from clipworks.errors import CheckpointError, ConfigError, MissingExtraError
from clipworks.model import pull
from clipworks.model.config import Activation, ClipConfig
from clipworks.model.engine import Engine, Executor
from clipworks.model.features import Features, Reader
from clipworks.model.preprocess import PreprocessMode
from clipworks.model.published import read_config
from clipworks.model.tokenizer import VOCAB_SIZE
from clipworks.model.weights import Checkpoint, read_checkpoint

Precision = Literal["auto", "f32", "bf16", "int8"]


def load(
    name: str,
    *,
    precision: Precision = "auto",
    device: str = "cpu",
    preprocess: PreprocessMode = "standard",
    config: ClipConfig | None = None,
    activation: Activation | None = None,
    image_size: int | None = None,
) -> Engine:
    """Load a model.

    Args:
        name: `pictogram` (built in), a name of the catalogue, a Hugging Face id, or the path of a
            checkpoint folder or weights file.
        precision: arithmetic of the towers; `auto` is the first of int8, bf16 and f32 that keeps a cosine of
            0.999 to f32 on pictures and captions of the package, measured once per checkpoint and kept.
        device: `cpu` (OpenVINO); `cuda`, `cuda:1`, ... or `torch-cpu` (PyTorch).
        preprocess: `standard`; `reference` for the exact pixels behind published scores; `scaled` to
            decode large JPEG files at a fraction of their size.
        config: only for files that do not come with one.
        activation: only for files that do not say it.
        image_size: side of the pictures in pixels, where it shall be another than the model's own; the
            image tower's table of places is interpolated to it.

    Raises:
        ConfigError: an unknown name, device, precision or preprocess mode, or no multiple of the patch.
        CheckpointError: the files are missing, damaged, ambiguous or not of a CLIP model.
        MissingExtraError: PyTorch is needed and not installed.
    """
    if not isinstance(name, str):
        raise ConfigError(f"name is {name!r}; it must be a model's name or path, as text.")
    if precision not in get_args(Precision):
        raise ConfigError(f"precision is {precision!r}; it must be one of {', '.join(get_args(Precision))}.")
    if preprocess not in get_args(PreprocessMode):
        modes = ", ".join(get_args(PreprocessMode))
        raise ConfigError(f"preprocess is {preprocess!r}; it must be one of {modes}.")
    checkpoint = open_checkpoint(name, config=config, activation=activation, image_size=image_size)
    _require_vocabulary(checkpoint)
    executor, resolved, note = _start_executor(checkpoint, device, precision)
    called = pull.public_name(name)
    engine = Engine(
        checkpoint, executor, name=called, precision=resolved, precision_note=note, preprocess=preprocess
    )
    fingerprint = checkpoint.fingerprint  # the tensors themselves must not be kept

    def reopen() -> Checkpoint:
        again = open_checkpoint(name, config=config, activation=activation, image_size=image_size)
        if again.fingerprint != fingerprint:
            raise CheckpointError(f"{again.path} has changed since it was loaded.", "Load it again.")
        return again

    reader = _start_reader(engine, reopen) if device == "cpu" else cast(Reader, executor)
    engine.features = Features(reader, engine.config, engine.prepare_image)
    return engine


def open_checkpoint(
    name: str,
    *,
    config: ClipConfig | None = None,
    activation: Activation | None = None,
    image_size: int | None = None,
) -> Checkpoint:
    """Find a model's files, fetch them if they are not here, and read them; arguments as in `load`.

    Raises:
        ConfigError: an unknown name, or an image_size that is no multiple of the patch.
        CheckpointError: the files are missing, damaged, ambiguous or not of a CLIP model.
    """
    path = pull.resolve(name)
    row = pull.known_row(name)
    if row is not None and config is None and read_config(path if path.is_dir() else path.parent) is None:
        config = row.config
    return read_checkpoint(path, config=config, activation=activation, image_size=image_size)


def _require_vocabulary(checkpoint: Checkpoint) -> None:
    size = checkpoint.config.text.vocab_size
    if size != VOCAB_SIZE:
        raise CheckpointError(
            f"{checkpoint.path} has a vocabulary of {size} tokens.",
            f"Only CLIP's own of {VOCAB_SIZE} tokens can be read.",
        )


def _start_executor(checkpoint: Checkpoint, device: str, precision: Precision) -> tuple[Executor, str, str]:
    """An executor on `device`, the precision that it has, and what was measured of it."""
    config, tensors = checkpoint.config, checkpoint.tensors
    if device == "cpu":
        from clipworks.model import executor, quantize

        if precision == "f32" or precision == "bf16":
            return executor.GraphExecutor(config, tensors, precision=precision), precision, ""
        plan = quantize.find_plan(config, tensors, checkpoint.fingerprint, precision)
        started = executor.GraphExecutor(config, tensors, precision=plan.precision, scales=plan.scales)
        return started, plan.name, plan.sentence
    if device != "torch-cpu" and not device.startswith("cuda"):
        raise ConfigError(f"device is {device!r}; it must be cpu, cuda, cuda:N or torch-cpu.")
    if precision == "int8":
        raise ConfigError(f"precision='int8' does not run on device={device!r}.", "Use device='cpu'.")
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") else "f32"
    place = device.removeprefix("torch-")
    started = _import_network().NetworkExecutor(
        config, tensors, device=place, precision=precision, is_compiled=place.startswith("cuda")
    )
    return started, precision, ""


def _start_reader(engine: Engine, reopen: Callable[[], Checkpoint]) -> Reader:
    from clipworks.model import executor

    precision: executor.GraphPrecision = "bf16" if engine.precision == "bf16" else "f32"
    return executor.ReadingExecutor(engine.config, lambda: reopen().tensors, precision=precision)


def _import_network() -> Any:
    try:
        from clipworks.model import network
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError("torch", "train") from error
    return network
