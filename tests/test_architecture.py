"""The rules of CONTRIBUTING.md that a program can check. Everything but the last two tests only reads source.

Most rules are one table and one test; a failure names the file, the line and the rule.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "clipworks"

MAY_IMPORT: dict[str, set[str]] = {
    "": {""},
    "model": {"", "model"},
    "collect": {"", "collect"},
    "curate": {"", "model", "curate"},
    "train": {"", "model", "train"},
    "evaluate": {"", "model", "evaluate"},
    "search": {"", "model", "search"},
    "serve": {"", "model", "search", "serve"},
    "cli": {"", "model", "collect", "curate", "train", "evaluate", "search", "serve", "cli"},
}
"""Package -> packages it may import; "" stands for the modules directly under clipworks/."""

SQL_FILES = (
    *("serve/accounts.py", "serve/admin.py", "serve/audit.py", "serve/billing.py", "serve/books.py"),
    *("serve/closing.py", "serve/database.py", "serve/keys.py", "serve/ledger.py", "serve/logins.py"),
    *("serve/migrations/", "serve/model_tables.py", "serve/model_terms.py", "serve/postgres.py"),
    *("serve/repeats.py", "serve/sessions.py", "serve/shelf.py", "serve/signing_up.py", "serve/site/"),
    *("serve/tables.py", "serve/tallies.py", "serve/usage.py", "serve/visitors.py", "serve/wishes.py"),
    "cli/",
)

OWNERS: dict[str, tuple[str, ...]] = {
    "ada_url": ("collect/links.py",),
    "aiodns": ("names.py",),
    "PIL": (
        *("collect/drawings.py", "collect/images.py", "curate/faces.py", "curate/hashes.py"),
        *("model/decoder.py", "model/preprocess.py", "search/exif.py", "search/thumbnails.py"),
    ),
    "alembic": ("serve/database.py", "serve/migrations/"),
    "argon2": ("serve/passwords.py",),
    "av": ("search/frames.py",),
    "click": ("cli/",),
    "daachorse": ("curate/match.py",),
    "daft": ("curate/frame.py",),
    "faiss": ("search/ivf.py",),
    "fasttext": ("curate/languages.py",),
    "ftfy": ("model/tokenizer.py",),
    "h11": ("net.py", "origins.py"),
    "httptools": ("exchange.py",),
    "deflate": ("collect/records.py",),
    "huggingface_hub": ("evaluate/hub.py", "model/pull.py"),
    "isal": ("collect/records.py", "collect/responses.py"),
    "jinja2": ("serve/",),
    "joserfc": ("serve/oidc.py",),
    "llvmlite": ("compiled.py",),
    "markdown_it": ("serve/site/prose.py",),
    "numba": ("compiled.py",),
    "numpy": ("",),
    "opentelemetry": ("serve/telemetry.py",),
    "openvino": ("model/executor.py", "model/graph.py"),
    "orjson": ("collect/wat.py",),
    "prometheus_client": ("serve/metrics.py",),
    "protego": ("collect/consent.py",),
    "pygments": ("serve/site/prose.py",),
    "pyarrow": ("collect/", "curate/", "search/parquet.py", "tables.py"),
    "resvg_py": ("collect/drawings.py",),
    "ray": ("curate/cluster.py", "serve/replicas.py"),
    "psycopg": ("search/pgvectors.py", "serve/postgres.py"),
    "qdrant_client": ("search/qdrant.py",),
    "regex": ("model/tokenizer.py",),
    "rich": ("cli/",),
    "safetensors": ("model/tensorfiles.py", "train/states.py"),
    "selectolax": ("collect/pages.py",),
    "sqlalchemy": SQL_FILES,
    "starlette": ("serve/",),
    "torch": ("model/network.py", "train/"),
    "uvicorn": ("serve/",),
}
"""Third-party package -> the files or folders that may import it; "" means any."""

LOCAL_IMPORTS = ("__init__.py", "cli/", "model/loading.py", "serve/database.py", "serve/oidc.py")
"""Where a function may import: what must not load before it is needed."""

BANNED_NAMES = {"base", "common", "handler", "helper", "helpers", "manager", "misc", "util", "utils"}

EFFECTS_AT_IMPORT = ("__main__.py", "model/graph.py", "serve/migrations/env.py")
"""Files that may call something when imported; graph.py hides OpenVINO's reporter of usage from it, and
env.py is run by Alembic and imported by nobody."""

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_IMPORT_DEPTH = 7
"""Imports in the longest chain of modules."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def sources() -> dict[str, ast.Module]:
    """Every module of the package: path below clipworks/ -> syntax tree."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"), str(path))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def module_name(path: str) -> str:
    return ".".join(["clipworks", *Path(path).with_suffix("").parts]).removesuffix(".__init__")


@cache
def package_of(module: str) -> str:
    """`clipworks.model.graph` -> `model`; a module directly under clipworks/ -> ""."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""


def imports(tree: ast.AST, *, top_level_only: bool = False) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each import; `from a import b` gives `a.b` where that is a module of ours."""
    for node in runtime_nodes(tree) if top_level_only else all_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports inside the package are written in full"
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield node.lineno, inner if is_ours(inner) else str(node.module)


@cache
def all_nodes(tree: ast.AST) -> list[ast.AST]:
    return list(ast.walk(tree))


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: no function bodies, no `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        is_type_checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not is_type_checking and not isinstance(node, Function | ast.Lambda):
            yield node
            yield from runtime_nodes(node)


@cache
def own_modules() -> frozenset[str]:
    return frozenset(module_name(path) for path in sources())


def is_ours(module: str) -> bool:
    return module in own_modules()


def functions() -> Iterator[tuple[str, Function]]:
    for path, tree in sources().items():
        yield from ((path, node) for node in all_nodes(tree) if isinstance(node, Function))


def test_packages_import_only_what_stands_below_them() -> None:
    wrong = [
        f"clipworks/{path}:{line} imports {name}"
        for path, tree in sources().items()
        for line, name in imports(tree)
        if name.split(".")[0] == "clipworks"
        and path not in ("__init__.py", "__main__.py")
        and package_of(name) not in MAY_IMPORT[package_of(module_name(path))]
    ]
    assert not wrong


def test_each_third_party_package_is_imported_by_its_owners_only() -> None:
    wrong = []
    for path, tree in sources().items():
        for line, name in imports(tree):
            package = name.split(".")[0]
            if package in sys.stdlib_module_names or package == "clipworks":
                continue
            if not path.startswith(OWNERS.get(package, ())):
                wrong.append(
                    f"clipworks/{path}:{line} imports {package}, which belongs to {OWNERS.get(package)}"
                )
    assert not wrong


def test_functions_import_only_in_the_command_line_and_where_executors_start() -> None:
    wrong = [
        f"clipworks/{path}:{line} imports {name} inside {function.name}()"
        for path, function in functions()
        if not path.startswith(LOCAL_IMPORTS)
        for line, name in imports(function)
    ]
    assert not wrong


def test_imports_form_no_cycle_and_no_long_chain() -> None:
    graph = {
        module_name(path): {n for _, n in imports(tree, top_level_only=True) if is_ours(n)}
        - {module_name(path)}
        for path, tree in sources().items()
    }

    chains: dict[str, tuple[str, ...]] = {}
    for module in TopologicalSorter(graph).static_order():  # raises CycleError, which names the cycle
        below = (chains[name] for name in graph[module])
        chains[module] = (module, *max(below, key=len, default=()))
    longest = max(chains.values(), key=len)
    assert len(longest) - 1 <= MAX_IMPORT_DEPTH, " -> ".join(longest)


def test_files_fit_in_400_lines() -> None:
    folders = ["clipworks", "tests", "scripts", "benchmarks", "examples"]
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {path: lines for path, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_functions_fit_in_60_lines_unless_they_only_return_a_table() -> None:
    lengths = {
        f"clipworks/{path}:{f.lineno} {f.name}()": (f.end_lineno or 0) - f.lineno + 1
        for path, f in functions()
        if not (isinstance(f.body[-1], ast.Return) and len(f.body) <= 2)
    }
    assert {place: lines for place, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == {}


def test_no_function_takes_arbitrary_keywords() -> None:
    assert [
        f"clipworks/{path}:{f.lineno} {f.name}(**{f.args.kwarg.arg})"
        for path, f in functions()
        if f.args.kwarg
    ] == []


def test_modules_are_named_after_what_they_hold() -> None:
    names = {path: Path(path).stem for path in sources()}
    taken = BANNED_NAMES | set(OWNERS) | set(sys.stdlib_module_names) - {"__init__", "__main__"}
    assert {path: name for path, name in names.items() if name in taken} == {}


def test_nothing_is_called_for_its_effect_when_a_module_is_imported() -> None:
    wrong = [
        f"clipworks/{path}:{node.lineno}"
        for path, tree in sources().items()
        for node in tree.body
        if path not in EFFECTS_AT_IMPORT and isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    assert not wrong


def test_dataclasses_are_frozen_keyword_only_and_slotted() -> None:
    wanted = {"frozen=True", "kw_only=True", "slots=True"}
    wrong = [
        f"clipworks/{path}:{node.lineno} {node.name}"
        for path, tree in sources().items()
        for node in all_nodes(tree)
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        if "dataclass" in ast.unparse(decorator)
        and not (
            isinstance(decorator, ast.Call)
            and wanted <= {ast.unparse(keyword) for keyword in decorator.keywords}
        )
    ]
    assert not wrong


def loaded_modules(statement: str) -> set[str]:
    """Top-level modules in memory after `statement` ran in a fresh interpreter."""
    program = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "statement",
    ["import clipworks", "from clipworks.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"],
    ids=["import clipworks", "clipworks --help"],
)
def test_start_loads_no_engine_and_no_web_framework(statement: str) -> None:
    heavy = {"torch", "openvino", "starlette", "uvicorn", "jinja2", "huggingface_hub", "PIL", "ftfy"}
    assert loaded_modules(statement) & heavy == set()


def test_serving_loads_no_torch() -> None:
    assert "torch" not in loaded_modules(
        "import clipworks.serve.app, clipworks.model.engine, clipworks.search.query"
    )
