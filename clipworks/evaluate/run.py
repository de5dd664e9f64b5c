"""A model over tasks: what is missing is embedded once for all of them, then every task is counted.

One load of the model, one pass over the pictures, one over the prompts. A result that is there with the same
inputs is left alone; an interrupted run goes on where it stopped.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from clipworks import __version__
from clipworks.errors import ConfigError, DataError
from clipworks.evaluate.answers import answer, check_shard, texts_of
from clipworks.evaluate.embed import Show, Stores, embed_classes, embed_pictures, open_stores
from clipworks.evaluate.examples import write_examples
from clipworks.evaluate.layout import Place, find_place, has_split, other_split, own_place
from clipworks.evaluate.pictures import Pictures
from clipworks.evaluate.probe import probe
from clipworks.evaluate.results import PROTOCOL, json_sha256, read_result, tell, write_result
from clipworks.evaluate.tasks import Task, choose_tasks, find_task, suites
from clipworks.evaluate.wording import Choice, Wording, wording_of
from clipworks.files import exclusive_lock
from clipworks.model.engine import Engine

PROBE = "+probe"
"""End of the key of a linear probe's result."""
_WORDED = ("classification", "multilabel", "faces")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """What decides the numbers beside the model and the data."""

    precision: Literal["f32", "bf16", "int8", "auto"] = "f32"
    """Arithmetic of the towers; logits are f32 always."""
    preprocess: Literal["reference", "standard"] = "reference"
    """Pixels behind published numbers, or those that `clipworks embed` sees."""
    prompts: Choice = "published"
    """`published` refuses a folder whose words differ from the known ones; `folder` uses the folder's."""
    probe: bool = False
    """Whether linear probes are fitted too, for classification tasks whose data have a train split."""
    shots: str = ""
    """Pictures per class of few-shot probes, numbers with commas; empty for none."""
    draws: int = 3
    """How often the few pictures are drawn, 1 to 10."""
    device: str = "cpu"
    """Where the towers run: cpu, cuda, cuda:1 or torch-cpu."""

    def __post_init__(self) -> None:
        for name in ("precision", "preprocess", "prompts"):
            allowed = get_args(get_type_hints(type(self))[name])
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}."
                )
        if self.shots and not all(part.strip().isdecimal() and int(part) for part in self.shots.split(",")):
            raise ConfigError(f"shots is {self.shots!r}; it must be numbers such as 1,4,16.")
        if self.shots and not self.probe:
            raise ConfigError(f"shots is {self.shots!r} and probe is false.", "Add --set probe=true.")
        if not 1 <= self.draws <= 10:
            raise ConfigError(f"draws is {self.draws}; it must be from 1 to 10.")

    @property
    def counts(self) -> list[int]:
        """Shots as numbers."""
        return [int(part) for part in self.shots.split(",") if part.strip()]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A task whose data are here."""

    task: Task
    place: Place
    wording: Wording | None
    """None for tasks without classes."""
    data_sha256: str
    """Of the bytes of all its files."""
    probe: tuple[int, ...] | None = None
    """For a linear probe: the draws and then the shots; None for zero-shot."""

    @property
    def key(self) -> str:
        """Name of the result: the task's, and `+probe` for a probe."""
        return self.task.key if self.probe is None else f"{self.task.key}{PROBE}"

    @property
    def file_name(self) -> str:
        """The key as part of a file's name."""
        return self.key.replace("/", "-")

    def pictures(self) -> Iterator[Pictures]:
        """Of every split that it needs, shard by shard.

        Raises:
            DataError: a shard is missing, damaged, or not what the task needs.
        """
        places = [self.place]
        if self.probe is not None:
            names = [split for split in ("train", "val") if has_split(self.place, split)]
            places += [other_split(self.place, split) for split in names]
        for place in places:
            for shard in place.pictures():
                check_shard(self.task, shard, self.wording)
                yield shard

    def inputs(self, engine: Engine) -> str:
        """What decides the numbers, as one hash."""
        words = self.wording.sha256 if self.wording is not None else ""
        model = [engine.fingerprint, engine.precision, engine.preprocess]
        return json_sha256(
            [PROTOCOL, self.key, self.task.metric, self.data_sha256, words, self.probe, *model]
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run would do."""

    jobs: tuple[Job, ...]
    """Tasks whose data are here, in order."""
    missing: tuple[Task, ...]
    """Tasks whose data are not."""
    unprobed: tuple[str, ...] = ()
    """Keys of tasks that a probe was asked for and that have no split to train on."""


def plan_run(suite: str, data: Path, config: RunConfig) -> Plan:
    """Find the data of every task of a suite and check them, before anything is computed.

    Args:
        suite: names of suites, tasks and folders of one's own in `data`, with commas.
        data: where the data sets are.
        config: which prompts count, and whether there are probes.

    Raises:
        ConfigError: no such suite, task or folder, or an empty name.
        DataError: `data` is no folder, none of the data are there, or some are incomplete.
    """
    if not data.is_dir():
        raise DataError(f"{data} is not a folder.", "Give --data the folder with the data sets.")
    jobs, missing = dict[str, Job](), list[Task]()
    names = [part.strip() for part in suite.split(",")]
    if not all(names):
        raise ConfigError(f"The suites {suite!r} have an empty name.", "Write names with a comma between.")
    for name in names:
        own = own_place(name, data) if find_task(name) is None and name not in suites() else None
        if own is not None:
            jobs |= {job.key: job for job in _jobs(own, config)}
            continue
        tasks = choose_tasks(name, also=[one.name for one in data.iterdir() if (one / "test").is_dir()])
        for task in tasks:
            place = find_place(task, data, is_only=len(names) == len(tasks) == 1)
            if place is None:
                missing.append(task)
            else:
                jobs |= {job.key: job for job in _jobs(place, config)}
    if not jobs:
        raise DataError(
            f"{data} holds none of the {len(missing)} data sets of {suite}.",
            "Name the folder they lie in; docs/evaluate.md says what each is called.",
        )
    asked = [job.key for job in jobs.values() if config.probe and job.task.kind == "classification"]
    unprobed = [key for key in asked if not key.endswith(PROBE) and f"{key}{PROBE}" not in jobs]
    return Plan(jobs=tuple(jobs.values()), missing=tuple(missing), unprobed=tuple(unprobed))


def evaluate(
    engine: Engine,
    plan: Plan,
    out: Path,
    *,
    machine: str,
    show: Show,
    on_result: Callable[[dict[str, Any], bool], None] | None = None,
) -> Path:
    """Evaluate a model on everything that a plan holds.

    Args:
        engine: the model, in the precision and preprocessing that shall count.
        plan: of `plan_run`.
        out: results go into a folder of it that is named after the model's fingerprint.
        machine: one line about the machine, for the results.
        show: told of the progress.
        on_result: told of every result, and whether it was there already.

    Returns:
        The folder with the results.

    Raises:
        DataError: data are damaged, or another process writes the folder.
    """
    folder = out / engine.fingerprint[:16]
    try:
        with exclusive_lock(folder / ".lock", wait=False):
            left = [job for job in plan.jobs if not _is_done(folder, job, engine, on_result)]
            stores = open_stores(engine)
            if left:
                _embed(engine, stores, left, show)
            for job in left:
                result = _measure(engine, stores, job, folder, machine, show)
                if on_result is not None:
                    on_result(result, False)
    except BlockingIOError as error:
        raise DataError(
            f"{folder} is being written by another process.", "Wait for it, or choose another --out."
        ) from error
    return folder


def _jobs(place: Place, config: RunConfig) -> list[Job]:
    """Zero-shot, and a linear probe where one is asked for and there is something to train on."""
    worded = place.task.kind in _WORDED
    wording = wording_of(place.task, place.folder, config.prompts) if worded else None
    hashes = place.hashes()
    jobs = [Job(task=place.task, place=place, wording=wording, data_sha256=json_sha256(hashes))]
    if config.probe and place.task.kind == "classification" and has_split(place, "train"):
        for split in ("train", "val"):
            if has_split(place, split):
                hashes += other_split(place, split).hashes()
        probe = (config.draws, *config.counts)
        jobs.append(replace(jobs[0], data_sha256=json_sha256(hashes), probe=probe))
    return jobs


def _is_done(
    folder: Path, job: Job, engine: Engine, on_result: Callable[[dict[str, Any], bool], None] | None
) -> bool:
    found = read_result(folder / f"{job.file_name}.json")
    if found is None or found.get("inputs") != job.inputs(engine):
        return False
    if on_result is not None:
        on_result(found, True)
    return True


def _embed(engine: Engine, stores: Stores, jobs: Sequence[Job], show: Show) -> None:
    """Everything that the tasks need and the cache lacks."""
    total = sum(len(shard) for shard in _shards(jobs))
    embed_pictures(engine, stores.images, _shards(jobs), total=total, show=show)
    embed_classes(engine, stores.texts, [head for job in jobs for head in texts_of(job.task, job.wording)])


def _shards(jobs: Sequence[Job]) -> Iterator[Pictures]:
    for job in jobs:
        yield from job.pictures()


def _measure(
    engine: Engine, stores: Stores, job: Job, folder: Path, machine: str, show: Show
) -> dict[str, Any]:
    start = time.monotonic()
    task = job.task
    if job.probe is not None and job.wording is not None:
        draws, *shots = job.probe
        measured = probe(stores, job.place, job.wording.classes, shots=shots, draws=draws)
    else:
        measured = answer(engine, stores, job.place, job.wording, show)
    metrics = tell(measured, seed=job.key)
    metric = task.metric if task.metric in metrics or job.probe is None else "acc1"
    main = metrics.get(metric, {})
    content = {
        "task": job.key,
        "name": task.name if job.probe is None else f"{task.name}, linear probe",
        "kind": task.kind,
        "grouping": task.grouping if job.probe is None else "",
        "suites": list(task.suites),
        "metric": metric,
        "value": main.get("value"),
        "interval_95": main.get("interval_95"),
        "n": len(next(iter(measured.units.values()))),
        "unit": measured.unit,
        "chance": task.chance,
        "metrics": metrics,
        **measured.facts,
        "notes": [*notes_of(job), *measured.facts.get("notes", [])],
        "model": engine.name,
        "fingerprint": engine.fingerprint,
        "precision": engine.precision,
        "preprocess": engine.preprocess,
        "data": {
            "sha256": job.data_sha256,
            "source": task.repo,
            "revision": task.revision,
            "split": task.split,
            "licence": task.licence,
            "files": [path.name for path in job.place.files()],
        },
        "prompts": _prompts_of(job.wording),
        "inputs": job.inputs(engine),
        "protocol": PROTOCOL,
        "seconds": round(time.monotonic() - start, 3),
        "version": __version__,
        "machine": machine,
    }
    if "confusion" in measured.facts and job.wording is not None:
        content["examples"] = write_examples(
            engine, job.place.pictures(), measured.units, job.wording.classes, folder, job.file_name
        )
    return write_result(folder, job.file_name, content, measured.units)


def notes_of(job: Job) -> list[str]:
    """What a reader of a number should know of it, sentence by sentence."""
    notes = []
    if job.wording is not None and job.wording.source == "folder" and job.task.prompts:
        notes.append("The prompts are the folder's own, not the published ones.")
    for name, numbers in job.wording.twins if job.wording is not None else []:
        notes.append(
            f"Classes {' and '.join(map(str, numbers))} are both called {name!r}: they tie always, and the "
            "first is said."
        )
    return notes


def _prompts_of(wording: Wording | None) -> dict[str, Any] | None:
    if wording is None:
        return None
    return {
        "sha256": wording.sha256,
        "classes": len(wording.classes),
        "templates": len(wording.templates),
        "source": wording.source,
    }
