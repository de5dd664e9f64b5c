"""What each step of a plan does: a stage, and what it counted by rule."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clipworks.curate.balance import BalanceConfig, balance_pairs
from clipworks.curate.captions import choose_captions
from clipworks.curate.contamination import ContaminationConfig, find_contaminated, holds_hashes
from clipworks.curate.dedup import DedupConfig, dedup
from clipworks.curate.expressions import rules_of, words_of
from clipworks.curate.filters import read_filter, run_filter
from clipworks.curate.frame import join_columns, keep_one_of_each
from clipworks.curate.kept import collect_rows, write_kept
from clipworks.curate.matches import count_matches, match_pairs
from clipworks.curate.packing import ReshardConfig
from clipworks.curate.plan import Input, Step, metadata_of
from clipworks.curate.pool import Pool, with_scores
from clipworks.curate.recipes import CurateConfig, rows_filter, texts_filter
from clipworks.curate.report import write_report
from clipworks.curate.reshard import list_tars, pack_shards
from clipworks.curate.scores import ScoreConfig, score_pool
from clipworks.curate.settings import FilterConfig
from clipworks.stage import ShowProgress, Workers

REPORT = "report"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What a rule saw and kept."""

    step: int
    """Number of the step, from 1."""
    rule: str
    """The rule as a filter writes it, or what the step asks."""
    unit: str
    """`rows`, `texts` or `pictures`."""
    seen: int
    kept: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What stays the same from step to step."""

    place: Input
    config: CurateConfig
    details: Mapping[str, Any]
    """What the last manifest says of the recipe."""
    workers: int
    cluster: Workers | None
    on_ray: bool
    show: ShowProgress | None


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """Where the steps that are done have come to."""

    pool: Pool
    """Its `within` is the last step that dropped rows."""
    last: Path | None = None
    """Folder of the last step."""
    texts: Path | None = None
    """Folder of the texts that are left."""
    contaminated: Path | None = None
    """Subset file of ids."""
    rules: tuple[Rule, ...] = ()


def run_step(step: Step, number: int, job: Job, state: State, folder: Path) -> State:
    """Do a step, or see that it is done, and say where things stand then.

    Raises:
        ConfigError: a setting is wrong, or the folder was begun with something else.
        DataError: nothing can be read, or the folder cannot be written.
    """
    after, rules = STEPS[step.kind](step, job, state, folder)
    told = tuple(replace(rule, step=number) for rule in rules)
    return replace(after, last=folder, rules=(*state.rules, *told))


Done = tuple[State, Iterable[Rule]]


def _uid(step: Step, job: Job, state: State, folder: Path) -> Done:
    manifest = keep_one_of_each(
        state.pool, folder, on_ray=job.on_ray, workers=job.workers, cluster=job.cluster, show=job.show
    )
    return _within(state, folder), [_rows_rule(step.title, manifest)]


def _columns(step: Step, job: Job, state: State, folder: Path) -> Done:
    manifest = join_columns(state.pool, Path(step.what), folder, on_ray=job.on_ray, show=job.show)
    counts = manifest["counts"]
    rule = _rule("joined", "rows", counts.get("rows in", 0), counts.get("joined", 0))
    return replace(state, pool=with_scores(state.pool, [folder])), [rule]


def _filter(step: Step, job: Job, state: State, folder: Path) -> Done:
    settings = replace(rows_filter(job.config), keep=step.what)
    if state.contaminated is not None:
        settings = replace(settings, evaluation=str(state.contaminated))
    manifest = run_filter(
        state.pool, settings, folder, workers=job.workers, cluster=job.cluster, show=job.show
    )
    return _within(state, folder), _filter_rules(state.pool, settings, manifest, "rows")


def _scores(step: Step, job: Job, state: State, folder: Path) -> Done:
    config = ScoreConfig(
        model=job.config.model if step.what else "",
        prefix=step.what or "b32",
        precision=job.config.precision,
    )
    manifest = score_pool(
        state.pool, config, folder, workers=job.workers, cluster=job.cluster, show=job.show
    )
    counts = manifest["counts"]
    scored = counts.get("scored", 0)
    rule = _rule("pictures that can be read", "pictures", scored + counts.get("without_picture", 0), scored)
    return replace(state, pool=with_scores(state.pool, [folder])), [rule]


def _contamination(step: Step, job: Job, state: State, folder: Path) -> Done:
    config = job.config
    references = Path(config.evaluation)
    settings = ContaminationConfig(
        references=config.evaluation,
        column="phash" if holds_hashes(references) else config.features,
        distance=config.evaluation_distance,
        threshold=config.evaluation_cosine,
    )
    find_contaminated(
        state.pool, settings, folder, workers=job.workers, cluster=job.cluster, show=job.show
    )
    subset = folder.with_suffix(".npy")
    write_kept(folder, subset)
    return replace(state, contaminated=subset), []


def _same(step: Step, job: Job, state: State, folder: Path) -> Done:
    return _dedup(step, DedupConfig(column=step.what), job, state, folder)


def _near(step: Step, job: Job, state: State, folder: Path) -> Done:
    config = DedupConfig(kind="near", column="phash", distance=job.config.phash_distance)
    return _dedup(step, config, job, state, folder)


def _cosine(step: Step, job: Job, state: State, folder: Path) -> Done:
    config = DedupConfig(
        kind="cosine",
        column=job.config.features,
        threshold=job.config.cosine,
        centroids=job.config.centroids,
    )
    return _dedup(step, config, job, state, folder)


def _dedup(step: Step, config: DedupConfig, job: Job, state: State, folder: Path) -> Done:
    manifest = dedup(
        state.pool, config, folder, workers=job.workers, cluster=job.cluster, show=job.show
    )
    return _within(state, folder), [_rows_rule(step.title, manifest)]


def _captions(step: Step, job: Job, state: State, folder: Path) -> Done:
    settings = texts_filter(job.config)
    manifest = choose_captions(
        state.pool,
        settings,
        folder,
        with_languages=len(metadata_of(job.config)) > 1,
        workers=job.workers,
        cluster=job.cluster,
        show=job.show,
    )
    rules = [*_filter_rules(state.pool, settings, manifest, "texts"), _rows_rule("rows with a text", manifest)]
    return replace(_within(state, folder), texts=folder), rules


def _match(step: Step, job: Job, state: State, folder: Path) -> Done:
    assert state.texts is not None
    manifest = match_pairs(
        state.texts,
        folder,
        metadata=metadata_of(job.config),
        mode=job.config.mode,
        workers=job.workers,
        cluster=job.cluster,
        show=job.show,
    )
    counts = manifest["counts"]
    return state, [_rule(step.title, "texts", counts["texts"], counts["matched_texts"])]


def _balance(step: Step, job: Job, state: State, folder: Path) -> Done:
    assert state.texts is not None and state.last is not None
    config, matches, counts = job.config, state.last, folder / "counts"
    count_matches(matches, counts)
    manifest = balance_pairs(
        state.texts,
        matches,
        counts,
        folder / "pairs",
        config=BalanceConfig(
            t=config.t,
            tail_share=config.tail_share,
            anchor=config.anchor,
            texts=config.pick,
            seed=config.seed,
        ),
        workers=job.workers,
        cluster=job.cluster,
        show=job.show,
    )
    write_report(counts, folder / "pairs", folder / REPORT, metadata=metadata_of(config))
    told = manifest["counts"]
    rules = [
        _rule(step.title, "texts", told.get("matched_texts", 0), told.get("kept_texts", 0)),
        _rule("rows with a text", "rows", told.get("pairs", 0), manifest["rows"]),
    ]
    return replace(state, texts=folder / "pairs"), rules


def _rows(step: Step, job: Job, state: State, folder: Path) -> Done:
    is_last = job.place.tars is None
    collect_rows(
        state.pool,
        folder,
        texts=state.texts,
        details={**job.details, "rules": as_json(state.rules)} if is_last else None,
        workers=job.workers,
        cluster=job.cluster,
        show=job.show,
    )
    return state, []


def _list(step: Step, job: Job, state: State, folder: Path) -> Done:
    assert state.last is not None and job.place.tars is not None
    subset = folder.with_suffix(".npy")
    write_kept(state.last, subset)
    list_tars(
        job.place.tars,
        subset,
        folder,
        chosen=state.last if job.place.are_beside else None,
        wants_faces=job.config.blur_faces,
        workers=job.workers,
        cluster=job.cluster,
        show=job.show,
    )
    return state, []


def _pack(step: Step, job: Job, state: State, folder: Path) -> Done:
    assert state.last is not None
    config = ReshardConfig(
        samples_per_shard=job.config.samples_per_shard,
        shuffle=job.config.shuffle,
        seed=job.config.seed,
        blur_faces=job.config.blur_faces,
    )
    pack_shards(
        state.last,
        state.last.with_suffix(".npy"),
        folder,
        config,
        details={**job.details, "rules": as_json(state.rules)},
        workers=job.workers,
        cluster=job.cluster,
        show=job.show,
    )
    return state, []


STEPS: dict[str, Callable[[Step, Job, State, Path], Done]] = {
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


def _within(state: State, folder: Path) -> State:
    return replace(state, pool=replace(state.pool, within=folder))


def _rule(words: str, unit: str, seen: int, kept: int) -> Rule:
    return Rule(step=0, rule=words, unit=unit, seen=seen, kept=kept)


def _rows_rule(words: str, manifest: Mapping[str, Any]) -> Rule:
    counts = manifest["counts"]
    return _rule(words, "rows", counts.get("rows in", 0), counts.get("rows kept", 0))


def _filter_rules(
    pool: Pool, settings: FilterConfig, manifest: Mapping[str, Any], unit: str
) -> Iterable[Rule]:
    """What each rule of a filter saw and kept, in the order of the filter."""
    counts = manifest["counts"]
    words = dict.fromkeys(words_of(rule) for rule in rules_of(read_filter(pool, settings)))
    settled = manifest["config"].get("thresholds", {})
    for rule in words:
        name = rule if f"{rule} in" in counts or rule not in settled else _settled(rule, settled[rule])
        shown = rule if name == rule else f"{rule}: {name}"
        yield _rule(shown, unit, counts.get(f"{name} in", 0), counts.get(f"{name} kept", 0))


def _settled(rule: str, threshold: str) -> str:
    """`top(l14, 0.3)` as the comparison that stands for it in the counts."""
    return f"{rule.removeprefix('top(').partition(',')[0]} >= {threshold}"


def as_json(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """Rules as JSON values."""
    return [
        {"step": one.step, "rule": one.rule, "unit": one.unit, "seen": one.seen, "kept": one.kept}
        for one in rules
    ]
