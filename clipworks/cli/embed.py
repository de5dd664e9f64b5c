"""`clipworks embed`: pictures or texts to vectors in a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipworks.cli.inputs import find_each, read_lines
from clipworks.cli.output import SETTINGS, count_of, json_option, model_option, note, print_json, progress_bar
from clipworks.errors import ConfigError, DataError, InputError, MissingExtraError

if TYPE_CHECKING:
    from clipworks.model.engine import Engine
    from clipworks.search.store import Vectors

TEXT_FILES = (".txt", ".jsonl")


@click.command(context_settings=SETTINGS)
@click.argument("sources", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="File to write: NAME.npz or NAME.parquet."
)
@model_option()
@json_option("one object with the counts")
def embed(sources: tuple[Path, ...], out: Path, model: str, as_json: bool) -> None:
    """Turn pictures and texts into vectors of unit length, and write them to a file.

    PATH is a picture, a folder, a glob, or a captions file whose texts are embedded: NAME.txt with one
    text a line, or NAME.jsonl with an object a line and the text under "caption".

    \b
    NAME.npz holds `vectors` float32 [N, D], `items` [N] (file name or text), `kinds` [N] ("image" or
    "text"), `model` and `fingerprint`. NAME.parquet holds the same, one row per item.

    \b
    Example:
      clipworks embed examples/pictures --out vectors.npz
    """
    from clipworks.model.engine import load

    _check_target(out)
    texts = [text for source in sources if _is_text_file(source) for text in _read_texts(source)]
    paths, num_skipped = find_each(source for source in sources if not _is_text_file(source))
    if not paths and not texts:
        raise DataError("There is nothing to embed.", "Name pictures, folders or a captions file.")
    engine = load(model)
    items, vectors, num_bad = _embed_pictures(engine, paths)
    if not items and not texts:
        raise DataError(f"None of the {count_of(len(paths), 'file')} could be used.")
    kinds = ["image"] * len(items) + ["text"] * len(texts)
    if texts:
        vectors += list(engine.embed_texts(texts))
    _write(out, {"items": items + texts, "kinds": kinds, "vectors": vectors}, engine)
    num_skipped += num_bad
    if as_json:
        counts = {"images": len(items), "texts": len(texts), "skipped": num_skipped}
        print_json({"out": str(out), **counts, "dim": engine.dim, "fingerprint": engine.fingerprint})
    parts = [count_of(len(items), "picture"), count_of(len(texts), "text")] if texts else []
    what = " and ".join(parts) or count_of(len(items), "picture")
    note(f"{what} embedded into {out}, {num_skipped} skipped.")
    if num_skipped:
        raise click.exceptions.Exit(1)


def _check_target(out: Path) -> None:
    if out.suffix not in (".npz", ".parquet"):
        raise ConfigError(f"--out is {str(out)!r}; its name must end in .npz or .parquet.")
    if out.suffix == ".parquet":
        _import_pyarrow()


def _import_pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "search") from error
    return pyarrow


def _is_text_file(path: Path) -> bool:
    return path.suffix.lower() in TEXT_FILES


def _read_texts(path: Path) -> list[str]:
    if path.suffix.lower() == ".txt":
        return read_lines(path)
    from clipworks.search.pictures import read_caption_file

    if not path.is_file():
        raise InputError(f"{path} does not exist.", "Check the path.", code="not_found")
    return [row["caption"] for row in read_caption_file(path).values() if row["caption"]]


def _embed_pictures(engine: "Engine", paths: list[Path]) -> tuple[list[str], list["Vectors"], int]:
    """Names and vectors of the pictures that can be used, and the number of the others."""
    from clipworks.search.bulk import embed_files

    items: list[str] = []
    vectors: list[Vectors] = []
    with progress_bar("Embedding", "pictures") as show:
        for done, (path, result) in enumerate(embed_files(engine, paths), start=1):
            if isinstance(result, InputError):
                note(f"Skipped: {result}")
            else:
                items.append(str(path))
                vectors.append(result)
            show(done, len(paths))
    return items, vectors, len(paths) - len(items)


def _write(out: Path, columns: dict[str, list[Any]], engine: "Engine") -> None:
    import numpy as np

    from clipworks.files import atomic_write

    with atomic_write(out) as file:
        if out.suffix == ".npz":
            vectors = np.stack(columns["vectors"]).astype(np.float32)
            np.savez(
                file,
                vectors=vectors,
                items=np.array(columns["items"]),
                kinds=np.array(columns["kinds"]),
                model=np.array(engine.name),
                fingerprint=np.array(engine.fingerprint),
            )
        else:
            pyarrow = _import_pyarrow()
            table = pyarrow.table(
                {
                    "item": columns["items"],
                    "kind": columns["kinds"],
                    "vector": pyarrow.array(columns["vectors"], pyarrow.list_(pyarrow.float32(), engine.dim)),
                }
            )
            names = {"model": engine.name, "fingerprint": engine.fingerprint}
            pyarrow.parquet.write_table(table.replace_schema_metadata(names), file)
