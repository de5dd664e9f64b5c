"""`clipworks probe`: how well a model tells one's own classes apart, and a head that does."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipworks.cli.output import (
    SETTINGS,
    json_option,
    note,
    note_result,
    own_data_option,
    print_json,
    print_plan,
    print_table,
    progress_bar,
    settings_option,
    template_option,
)
from clipworks.errors import ConfigError

if TYPE_CHECKING:
    from clipworks.train.examples import Example
    from clipworks.train.probe import ProbeConfig


@click.command(context_settings=SETTINGS)
@click.argument("model")
@own_data_option("metadata.jsonl, labels.jsonl")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option(
    "--shots",
    default="1,2,4,8,16",
    show_default=True,
    metavar="N,N,...",
    help="Pictures per class of the few-shot curve; all of them come last anyway. Empty for none.",
)
@template_option("for the zero-shot line")
@settings_option(": draws, seed, max_iterations")
@click.option("--dry-run", is_flag=True, help="Read the data, print the plan, and stop.")
@json_option("the content of OUT/result.json")
def probe(
    model: str,
    data: Path,
    out: Path,
    shots: str,
    templates: tuple[str, ...],
    settings: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Fit linear heads on the features of MODEL and say how many test pictures they get right.

    Features are read before and after the projection and kept in the cache; the regularisation is chosen on
    validation. OUT gets result.json, curve.svg and head.safetensors, which `clipworks classify --head` reads.
    A complete OUT is left alone.

    \b
    Example:
      clipworks probe pictogram --data my-pictures --out probes/mine
      clipworks classify new.jpg --head probes/mine/head.safetensors
    """
    from clipworks.options import with_settings
    from clipworks.train.examples import TEMPLATES, read_examples
    from clipworks.train.probe import ProbeConfig

    asked = ProbeConfig(shots=_numbers(shots), templates=templates or TEMPLATES)
    config = with_settings(asked, settings)
    examples = read_examples(data)
    if dry_run:
        _print_plan(model, examples, config, as_json)
        return
    result = _probe(model, examples, out, config)
    if as_json:
        print_json(result)
    else:
        print_table(["where", *_columns(result)], _rows(result))
    note_result(result)
    note(f"{out} holds result.json, curve.svg and head.safetensors ({result['head']['tap']} the projection).")


def _probe(model: str, examples: list["Example"], out: Path, config: "ProbeConfig") -> dict[str, Any]:
    from clipworks.model.loading import load, open_checkpoint
    from clipworks.train.probe import probe as run

    projection = open_checkpoint(model).tensors["vision.projection.weight"]
    engine = load(model, precision="f32")
    with progress_bar("Probing", "pictures") as show:
        return run(engine, projection, examples, out, config, on_progress=show)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(",") if number.strip())
    except ValueError as error:
        raise ConfigError(f"--shots is {text!r}; it must be whole numbers such as 1,2,4.") from error


def _print_plan(model: str, examples: list["Example"], config: "ProbeConfig", as_json: bool) -> None:
    from collections import Counter

    from clipworks.train.splits import labels_of

    classes, _ = labels_of(examples)
    counts = Counter(example.label for example in examples)
    plan = {
        "model": model,
        "pictures": len(examples),
        "classes": len(classes),
        "least_pictures_of_a_class": min(counts.values()),
        "stated_splits": dict(Counter(example.split or "none" for example in examples)),
        "fits": 2 * 15 * (1 + len(config.shots) * config.draws),
    }
    print_plan(plan, as_json, len(examples))


def _columns(result: dict[str, Any]) -> list[str]:
    return [*(str(row["shots"]) for row in result["taps"]["after"]["few"]), "all", "95 % interval", "n"]


def _rows(result: dict[str, Any]) -> list[list[str]]:
    def row(name: str, few: list[str], share: dict[str, Any]) -> list[str]:
        low, high = share["interval_95"]
        return [name, *few, f"{share['value']:.1%}", f"{low:.1%} to {high:.1%}", f"{share['n']:,}"]

    dashes = ["-"] * len(result["taps"]["after"]["few"])
    rows = [row("zero-shot", dashes, result["zero_shot"]["test"]["top1"])]
    for tap, found in result["taps"].items():
        few = [f"{one['value']:.1%}" for one in found["few"]]
        rows.append(row(f"{tap} the projection", few, found["full"]["test"]))
    return rows
