"""`clipworks finetune`: a model made better at one's own pictures."""

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
from clipworks.errors import MissingExtraError

if TYPE_CHECKING:
    from clipworks.train.examples import Example
    from clipworks.train.tuning import TuneConfig

_ENDS = {
    "before": "the model before",
    "tuned": "tuned",
    "exported": "exported",
    "exported_by_names": "exported, by class names",
}


@click.command(context_settings=SETTINGS)
@click.argument("model")
@own_data_option("metadata.jsonl, captions.jsonl")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Run folder; becomes a checkpoint."
)
@click.option(
    "--objective",
    type=click.Choice(("auto", "classification", "contrastive")),
    default="auto",
    show_default=True,
    help="auto: classification where every picture has a label, else contrastive on captions.",
)
@click.option(
    "--lora",
    type=click.IntRange(1),
    metavar="RANK",
    help="Train low-rank updates of q, k, v and out only, of this rank; 8 is usual.",
)
@template_option("where it starts")
@settings_option(" (docs/finetune.md)")
@click.option("--dry-run", is_flag=True, help="Read the list of pictures, print the plan, and stop.")
@json_option("the content of OUT/result.json")
def finetune(  # noqa: PLR0913  # an argument for each option
    model: str,
    data: Path,
    out: Path,
    objective: str,
    lora: int | None,
    templates: tuple[str, ...],
    settings: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Fine-tune MODEL on your own pictures, with labels or captions.

    OUT becomes a checkpoint that loads, converts and serves like any other: the best on validation between
    MODEL and the tuned model. With labels it also gets head.safetensors for `clipworks classify --head`.
    Ctrl-C saves; the same command goes on; a complete OUT is left alone.

    \b
    Example:
      clipworks finetune pictogram --data my-pictures --out runs/mine --lora 8
      clipworks classify new.jpg --model runs/mine --head runs/mine/head.safetensors
    """
    from importlib.util import find_spec

    from clipworks.train.examples import read_examples

    if find_spec("torch") is None:
        raise MissingExtraError("torch", "train")
    examples = read_examples(data)
    tune = _configured(examples, objective, lora, settings)
    if dry_run:
        _print_plan(model, examples, tune, as_json)
        return
    result = _finetune(model, examples, out, tune, templates)
    if as_json:
        print_json(result)
    else:
        print_table(["on the test part", "right", "95 % interval", "n", "validation", "n"], _rows(result))
    note_result(result)
    note(f"{out} is a checkpoint (alpha {result['alpha']:g}, fingerprint {result['fingerprint'][:12]}…).")


def _configured(
    examples: list["Example"], objective: str, lora: int | None, settings: tuple[str, ...]
) -> "TuneConfig":
    from clipworks.options import with_settings
    from clipworks.train.tuning import TuneConfig

    if objective == "auto":
        is_labelled = all(example.label for example in examples)
        objective = "classification" if is_labelled else "contrastive"
    named = [f"objective={objective}", f"lora_rank={lora or 0}"]
    return with_settings(TuneConfig(), [*named, *settings])


def _finetune(
    model: str, examples: list["Example"], out: Path, tune: "TuneConfig", templates: tuple[str, ...]
) -> dict[str, Any]:
    from clipworks.model.loading import open_checkpoint
    from clipworks.model.pull import public_name
    from clipworks.train.examples import TEMPLATES
    from clipworks.train.finetune import finetune as run

    checkpoint = open_checkpoint(model)
    with progress_bar("Fine-tuning", "steps") as show:
        return run(
            checkpoint,
            examples,
            out,
            tune,
            name=public_name(model),
            templates=templates or TEMPLATES,
            on_progress=show,
        )


def _print_plan(model: str, examples: list["Example"], tune: "TuneConfig", as_json: bool) -> None:
    from collections import Counter

    from clipworks.train.tuning import LORA_GAIN, PUBLISHED_RATE, PUBLISHED_WIDTH

    settings = tune.to_json()
    if tune.learning_rate is None:
        gain = f" * {LORA_GAIN:g}" if tune.lora_rank else ""
        settings["learning_rate"] = f"{PUBLISHED_RATE:g} * {PUBLISHED_WIDTH} / width{gain}"
    plan = {
        "model": model,
        "pictures": len(examples),
        "classes": len({example.label for example in examples if example.label}),
        "stated_splits": dict(Counter(example.split or "none" for example in examples)),
        "steps_at_most": tune.epochs * -(-len(examples) // tune.batch_size),
        "settings": settings,
    }
    print_plan(plan, as_json, len(examples))


def _rows(result: dict[str, Any]) -> list[list[str]]:
    rows: list[list[str]] = []
    scores = {one["alpha"]: one["score"] for one in result["interpolation"]}
    alphas = {"before": 0.0, "tuned": 1.0, "exported": result["alpha"]}
    for end, found in result["test"].items():
        shares = (
            {"": found["top1"]}
            if "top1" in found
            else {
                ", text by picture": found["text_found_first"],
                ", picture by text": found["picture_found_first"],
            }
        )
        for what, share in shares.items():
            low, high = share["interval_95"]
            interval = f"{low:.1%} to {high:.1%}"
            right = [_ENDS[end] + what, f"{share['value']:.1%}", interval, f"{share['n']:,}"]
            chosen_by = ["-", "-"]
            if end in alphas:
                chosen_by = [f"{scores[alphas[end]]:.1%}", f"{result['data']['val']:,}"]
            rows.append([*right, *chosen_by])
    return rows
