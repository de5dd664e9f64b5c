"""The runner: a folder of pictures, a recipe, a folder of curated shards.

The steps of the plan are stages in `.steps` below the new folder, each with a manifest that counts what its
rules saw and kept; the shards come last, and their manifest holds the recipe and all the counts. A step
whose manifest is there is not done again, so a run that was killed goes on where it stopped and a finished
one does nothing; the bytes are those of an undisturbed run.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Any

from clipworks.curate.balance import BalanceConfig, balance_pairs
from clipworks.curate.captions import choose_captions
from clipworks.curate.clusters import read_hashes
from clipworks.curate.contamination import ContaminationConfig, find_contaminated
from clipworks.curate.dedup import DedupConfig, dedup
from clipworks.curate.filters import run_filter
from clipworks.curate.frame import join_columns, keep_one_of_each
from clipworks.curate.kept import collect_rows, write_kept
from clipworks.curate.matches import count_matches, match_pairs
from clipworks.curate.packing import ReshardConfig
from clipworks.curate.plan import Input, Step, find_input, make_plan, metadata_of
from clipworks.curate.pool import Pool, sources_of, with_scores
from clipworks.curate.recipes import CurateConfig, rows_filter, texts_filter
from clipworks.curate.report import PAGE, write_report
from clipworks.curate.reshard import TABLES, list_tars, pack_shards
from clipworks.curate.scores import ScoreConfig, check_model, score_pool
from clipworks.curate.subsets import read_subset
from clipworks.curate.tallies import Rule, filter_rules, rows_rule, rules_as_json
from clipworks.errors import ConfigError
from clipworks.files import MANIFEST, atomic_write, read_json, read_manifest, write_json
from clipworks.stage import PART_SUFFIX, ShowProgress, Workers, forget, held
from clipworks.tars import DAMAGED

STEPS_FOLDER = ".steps"
BEGUN = "recipe.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What stays the same from step to step."""

    place: Input
    config: CurateConfig
    details: Mapping[str, Any]
    """What the last manifest says of the recipe."""
    workers: int
    cluster: Workers | None
    show: ShowProgress | None

    def by(self, stage: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        """A stage done by the workers of this job."""
        return partial(stage, workers=self.workers, cluster=self.cluster, show=self.show)


@dataclass(frozen=True, kw_only=True, slots=True)
class _State:
    """Where the steps that are done have come to."""

    pool: Pool
    """Its `within` is the last step that dropped rows."""
    last: Path
    """Folder of the last step."""
    texts: Path | None = None
    """Folder of the texts that are left."""
    contaminated: str = ""
    """Subset file of ids."""
    report: str = ""
    """Page on the balancing."""
    rules: tuple[Rule, ...] = ()

    def within(self, folder: Path) -> "_State":
        """Where things stand when a step has dropped rows."""
        return replace(self, pool=replace(self.pool, within=folder))


def curate(
    folder: Path,
    out: Path,
    config: CurateConfig,
    *,
    recipe: str = "",
    workers: int = 1,
    cluster: Workers | None = None,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Curate a folder of fetched shards, or of metadata alone, into a new folder.

    Args:
        folder: shards of `collect fetch`, img2dataset or DataComp; or tables without shards, of which the
            rows that stay are written.
        out: NNNNNNNN.tar, .parquet and _stats.json, and the manifest; resumed if it was begun.
        config: what is kept; a recipe's, or one's own.
        recipe: its name, for the manifest.
        workers: processes.
        cluster: a Ray cluster that this program is connected to, where all work is done instead; its
            machines share both folders.
        show: told when a part of a step is done; the words name the step.

    Returns:
        `out`, `rows` (of the input), `pictures` (packed, or rows that were written), `failed_tables`,
        `damaged_tars` (not read to the end; the steps' manifests say which), `report` (of balancing, or
        empty) and `rules`: step, rule, unit, seen and kept of each.

    Raises:
        ConfigError: a setting is wrong, or the folder was begun with other settings or another input.
        DataError: the input cannot be read, another process writes the folder, or the disk is full.
        MissingExtraError: a package is not installed.
    """
    place = find_input(folder)
    plan = make_plan(place, config)
    with held(out, f"{STEPS_FOLDER}/.lock"):
        if config.model and any(step.kind == "scores" and step.what for step in plan):
            check_model(config.model)
        details = {"recipe": recipe, "settings": asdict(config)}
        _begin(out / STEPS_FOLDER, details | {"input": _digest_of(place)})
        job = _Job(place=place, config=config, details=details, workers=workers, cluster=cluster, show=show)
        return _run(plan, job, out)


def _run(plan: Sequence[Step], job: _Job, out: Path) -> dict[str, Any]:
    state, chain = _State(pool=replace(job.place.pool, copies_rows=False), last=out), ""
    for number, step in enumerate(plan, start=1):
        is_last = number == len(plan)
        folder = out if is_last else out / STEPS_FOLDER / f"{number:02d}-{step.kind}"
        details = {**job.details, "rules": rules_as_json(state.rules)} if is_last else {}
        words = f"{step.title} (step {number} of {len(plan)})"
        show = None if job.show is None else partial(_show, job.show, words)
        _forget_unless_of(chain, folder, out / STEPS_FOLDER / f"{number:02d}.of", is_last=is_last)
        after, rules = STEPS[step.kind](step, replace(job, details=details, show=show), state, folder)
        chain = sha256(chain.encode() + _manifest_of(folder)).hexdigest()
        told = tuple(replace(rule, step=number) for rule in rules)
        state = replace(after, last=folder, rules=(*state.rules, *told))
    manifests = [read_json(path) for path in (out / STEPS_FOLDER).glob(f"*/{MANIFEST}")]
    parts = [part for manifest in manifests for part in manifest["parts"]]
    return {
        "out": str(out),
        "rows": job.place.rows,
        "pictures": read_manifest(out)["rows"],
        "failed_tables": len({part["name"] for part in parts if "failure" in part}),
        "damaged_tars": len({part["name"] for part in parts if part["counts"].get(DAMAGED)}),
        "report": state.report,
        "rules": rules_as_json(state.rules),
    }


def _manifest_of(folder: Path) -> bytes:
    """Of a step; that of a balancing is one folder down."""
    return b"".join(
        path.read_bytes() for path in (folder / MANIFEST, folder / "pairs" / MANIFEST) if path.exists()
    )


def _forget_unless_of(chain: str, folder: Path, record: Path, *, is_last: bool) -> None:
    """Take away what a step has made of earlier ones that have changed: what failed in them may not again.

    Args:
        chain: hash of the manifests of all earlier steps.
        folder: the step's.
        record: file beside the steps that says what `folder` was made of.
        is_last: the folder is that of the shards.
    """
    if record.exists() and record.read_text() == chain:
        return
    if record.exists() and is_last:
        forget(folder)
        for name in TABLES:
            (folder / name).unlink(missing_ok=True)
    elif record.exists():
        rmtree(folder, ignore_errors=True)
        folder.with_suffix(".npy").unlink(missing_ok=True)
    with atomic_write(record) as file:
        file.write(chain.encode())


def _show(show: ShowProgress, words: str, done: int, total: int, _: str) -> None:
    show(done, total, words)


def _begin(steps: Path, job: Mapping[str, Any]) -> None:
    """Say what the run is begun with, or see that it is the same.

    Raises:
        ConfigError: it was begun with something else.
    """
    wanted = json.loads(json.dumps(job))
    if not (steps / BEGUN).exists() or not any(steps.rglob(f"*{PART_SUFFIX}")):  # nothing made, no claim
        write_json(steps / BEGUN, wanted)
        return
    old = read_json(steps / BEGUN)
    for name, value in {**wanted, **wanted["settings"]}.items():
        before = {**old, **old["settings"]}.get(name)
        if name == "settings" or before == value:
            continue
        words = "another input" if name == "input" else f"{name} {before!r}, not {value!r}"
        raise ConfigError(
            f"{steps.parent} was begun with {words}.",
            "Use the same, choose another --out, or delete that folder.",
        )


def _digest_of(place: Input) -> str:
    return sha256(" ".join(source.digest for source in sources_of(place.pool)).encode()).hexdigest()


Done = tuple[_State, Iterable[Rule]]


def _uid(step: Step, job: _Job, state: _State, folder: Path) -> Done:
    manifest = job.by(keep_one_of_each)(state.pool, folder, on_ray=job.cluster is not None)
    return state.within(folder), [rows_rule(step.title, manifest)]


def _columns(step: Step, job: _Job, state: _State, folder: Path) -> Done:
    on_ray = job.cluster is not None
    manifest = join_columns(state.pool, Path(step.what), folder, on_ray=on_ray, show=job.show)
    seen, kept = (manifest["counts"].get(name, 0) for name in ("rows in", "joined"))
    rule = Rule(rule=step.title, unit="rows", seen=seen, kept=kept)
    return replace(state, pool=with_scores(state.pool, [folder])), [rule]


def _filter(step: Step, job: _Job, state: _State, folder: Path) -> Done:
    settings = replace(rows_filter(job.config), keep=step.what, evaluation=state.contaminated)
    manifest = job.by(run_filter)(state.pool, settings, folder)
    return state.within(folder), filter_rules(state.pool, settings, manifest, "rows")


def _scores(step: Step, job: _Job, state: _State, folder: Path) -> Done:
    config = ScoreConfig(model=job.config.model if step.what else "", prefix=step.what or "b32")
    counts = job.by(score_pool)(state.pool, config, folder)["counts"]
    seen = counts.get("scored", 0) + counts.get("without_picture", 0)
    rule = Rule(rule="pictures that can be read", unit="rows", seen=seen, kept=counts.get("scored", 0))
    return replace(state, pool=with_scores(state.pool, [folder])).within(folder), [rule]


def _contamination(step: Step, job: _Job, state: _State, folder: Path) -> Done:
    config, subset = job.config, folder.with_suffix(".npy")
    is_hashed = read_hashes(Path(config.evaluation)) is not None
    settings = ContaminationConfig(
        references=config.evaluation,
        column="phash" if is_hashed else config.features,
        distance=config.evaluation_distance,
        threshold=config.evaluation_cosine,
    )
    job.by(find_contaminated)(state.pool, settings, folder)
    write_kept(folder, subset)
    return replace(state, contaminated=str(subset)), []


def _dedup(config: DedupConfig, step: Step, job: _Job, state: _State, folder: Path) -> Done:
    manifest = job.by(dedup)(state.pool, config, folder)
    return state.within(folder), [rows_rule(step.title, manifest)]


def _same(step: Step, job: _Job, state: _State, folder: Path) -> Done:
    return _dedup(DedupConfig(column=step.what), step, job, state, folder)


def _near(step: Step, job: _Job, state: _State, folder: Path) -> Done:
    config = DedupConfig(kind="near", column="phash", distance=job.config.phash_distance)
    return _dedup(config, step, job, state, folder)


def _cosine(step: Step, job: _Job, state: _State, folder: Path) -> Done:
    config = DedupConfig(kind="cosine", column=job.config.features, threshold=job.config.cosine)
    return _dedup(config, step, job, state, folder)


def _captions(step: Step, job: _Job, state: _State, folder: Path) -> Done:
    settings, several = texts_filter(job.config), len(metadata_of(job.config)) > 1
    manifest = job.by(choose_captions)(state.pool, settings, folder, with_languages=several)
    rules = filter_rules(state.pool, settings, manifest, "texts")
    return replace(state.within(folder), texts=folder), [*rules, rows_rule("rows with a text", manifest)]


def _match(step: Step, job: _Job, state: _State, folder: Path) -> Done:
    lists, mode = metadata_of(job.config), job.config.mode
    counts = job.by(match_pairs)(state.texts, folder, metadata=lists, mode=mode)["counts"]
    return state, [Rule(rule=step.title, unit="texts", seen=counts["texts"], kept=counts["matched_texts"])]


def _balance(step: Step, job: _Job, state: _State, folder: Path) -> Done:
    config = job.config
    settings = BalanceConfig(
        t=config.t,
        tail_share=config.tail_share,
        anchor=config.anchor,
        texts=config.pick,
        seed=config.seed,
    )
    places = (state.texts, state.last, folder / "counts", folder / "pairs")
    count_matches(state.last, folder / "counts")
    manifest = job.by(balance_pairs)(*places, config=settings)
    write_report(folder / "counts", folder / "pairs", folder / "report", metadata=metadata_of(config))
    counts = manifest["counts"]
    seen, kept = (counts.get(name, 0) for name in ("matched_texts", "kept_texts"))
    rules = [
        Rule(rule=step.title, unit="texts", seen=seen, kept=kept),
        Rule(rule="rows with a text", unit="rows", seen=counts.get("pairs", 0), kept=manifest["rows"]),
    ]
    return replace(state, texts=folder / "pairs", report=str(folder / "report" / PAGE)), rules


def _rows(step: Step, job: _Job, state: _State, folder: Path) -> Done:
    job.by(collect_rows)(state.pool, folder, texts=state.texts, details=job.details)
    return state, []


def _list(step: Step, job: _Job, state: _State, folder: Path) -> Done:
    subset = folder.with_suffix(".npy")
    if not subset.exists():
        write_kept(state.last, subset)
    chosen = state.last if job.place.are_beside else None
    found = job.by(list_tars)(
        job.place.tars, subset, folder, chosen=chosen, wants_faces=job.config.blur_faces
    )
    seen, kept = len(read_subset(subset)), int(found["counts"].get("copies", 0))
    rule = Rule(rule="pictures found in the tars", unit="rows", seen=seen, kept=kept)
    return state, [rule] * (seen != kept)


def _pack(step: Step, job: _Job, state: _State, folder: Path) -> Done:
    config = ReshardConfig(
        samples_per_shard=job.config.samples_per_shard,
        shuffle=job.config.shuffle,
        seed=job.config.seed,
        blur_faces=job.config.blur_faces,
    )
    subset = state.last.with_suffix(".npy")
    job.by(pack_shards)(state.last, subset, folder, config, details=job.details)
    return state, []


STEPS: dict[str, Callable[[Step, _Job, _State, Path], Done]] = {
    "uid": _uid,
    "columns": _columns,
    "filter": _filter,
    "scores": _scores,
    "contamination": _contamination,
    "same": _same,
    "near": _near,
    "cosine": _cosine,
    "captions": _captions,
    "match": _match,
    "balance": _balance,
    "rows": _rows,
    "list": _list,
    "pack": _pack,
}
"""Every kind of step."""
