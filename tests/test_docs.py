"""The documentation is true: what it names exists, what exists is named, its programs run."""

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import click
import pytest

import clipworks
from clipworks.serve.settings import ServeSettings

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
GENERATED = {"cli.md", "api.md"}
WRITTEN = [ROOT / "README.md", *(page for page in PAGES if page.name not in GENERATED)]
EXAMPLES = sorted([*(ROOT / "examples").glob("*.py"), *(ROOT / "examples").glob("*.sh")])


def script(name: str) -> ModuleType:
    """A program of scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMMANDS: dict[str, click.Command] = script("generate_docs").commands()


def text_of(pages: list[Path]) -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def shell_commands(page: Path) -> list[list[str]]:
    """The words of each line in a shell block that begins with `clipworks`, continued lines joined."""
    lines = "\n".join(code_blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("clipworks")]


def test_the_generated_pages_are_up_to_date() -> None:
    for name, text in script("generate_docs").render().items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text, (
            f"run scripts/generate_docs.py for {name}"
        )


def test_the_numbers_on_the_pages_are_the_measured_ones() -> None:
    numbers = script("readme_numbers")
    for page in WRITTEN:
        text = page.read_text(encoding="utf-8")
        assert numbers.fill(text) == text, f"run scripts/readme_numbers.py for {page.name}"


def test_the_costed_plan_is_that_of_the_measured_rates() -> None:
    costed = script("costed_plan")
    text = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    assert costed.fill(text) == text, "run scripts/costed_plan.py"


def test_a_plan_of_twice_the_files_takes_twice_of_everything() -> None:
    costed = script("costed_plan")
    rates, given = costed.measured_rates(), costed.Assumptions()
    one, two = (costed.plan(files, "warc", rates, given) for files in (1, 2))
    for name in ("rows_out", "core_hours", "read_tb", "written_tb", "requests", "dollars"):
        assert getattr(two[-1], name) == pytest.approx(2 * getattr(one[-1], name))
        assert name == "rows_out" or getattr(one[-1], name) == pytest.approx(
            sum(getattr(step, name) for step in one[:-1])
        )
    assert one[0].core_hours == pytest.approx(given.warc_gb * 1e9 / rates["warc_bytes"] / 3600)
    assert [step.rows_in for step in one[1:-1]] == [step.rows_out for step in one[:-2]]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "clipworks"])
def test_each_command_has_help_and_stands_on_a_written_page(name: str) -> None:
    assert COMMANDS[name].help
    assert re.search(rf"{name}\b", text_of(WRITTEN))


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_of_a_command_has_help(name: str) -> None:
    options = [option for option in COMMANDS[name].params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help and not option.hidden] == []


def test_each_option_named_on_a_written_page_exists() -> None:
    known = {flag for command in COMMANDS.values() for option in command.params for flag in option.opts}
    known |= {
        flag for command in COMMANDS.values() for option in command.params for flag in option.secondary_opts
    }
    named = {
        flag
        for page in WRITTEN
        for flag in re.findall(r"`(--[a-z][a-z-]*)", page.read_text(encoding="utf-8"))
    }
    others = {"--max-restarts", "--signal"}  # of torchrun and of sbatch
    assert named - known - others - {"--help", "--version", "--check"} == set()


@pytest.mark.parametrize(
    ("page", "words"),
    [(page, words) for page in WRITTEN for words in shell_commands(page)],
    ids=lambda value: value.name if isinstance(value, Path) else " ".join(value),
)
def test_each_shell_example_is_a_command_that_parses(page: Path, words: list[str]) -> None:
    context = click.Context(COMMANDS["clipworks"], info_name="clipworks")
    name = f"clipworks {words[1]}" if words[1:] and not words[1].startswith("-") else "clipworks"
    assert name in COMMANDS, f"{page.name}: {shlex.join(words)}"
    rest = [word for word in words[1 if name == "clipworks" else 2 :] if word not in {"&", "--help"}]
    COMMANDS[name].make_parser(context).parse_args(list(rest))


def routes() -> list[str]:
    """Every path of the application, such as `/v1/models/{id}`, read off its two lists."""
    sources = [ROOT / "clipworks" / "serve" / name for name in ("app.py", "state.py")]
    trees = [ast.parse(source.read_text(encoding="utf-8")) for source in sources]
    calls = [
        node
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Route", "Mount"}
    ]
    assert calls
    return sorted({re.sub(r":\w+}", "}", ast.literal_eval(call.args[0])) for call in calls})


def test_the_pages_on_the_server_name_each_route_and_no_other() -> None:
    pages = text_of([ROOT / "docs" / f"{name}.md" for name in ("serve", "clients", "accounts")])
    named = set(re.findall(r"`(?:GET |POST\s)?(/[a-z0-9/{}._-]*)`", pages)) - {"/v1/"}
    assert named == set(routes())


def test_the_server_page_names_each_setting_and_no_other() -> None:
    page = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`CLIPWORKS_(\w+)`", page)) == {f.name.upper() for f in fields(ServeSettings)}


def test_each_error_class_is_in_the_api_page() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    tree = ast.parse((ROOT / "clipworks" / "errors.py").read_text(encoding="utf-8"))
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    assert set(names) <= set(clipworks.__all__)
    assert [name for name in names if f"clipworks.{name}" not in page] == []


def test_each_recipe_is_named_on_the_training_page() -> None:
    page = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")
    names = [path.name for path in (ROOT / "recipes").glob("*.sh")]
    assert [name for name in names if name not in page] == []


@pytest.mark.parametrize(
    "page", [*WRITTEN, ROOT / "CONTRIBUTING.md", ROOT / "THIRD_PARTY.md"], ids=lambda p: p.name
)
def test_each_relative_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_each_page_is_linked_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if page.name != "index.md" and f"({page.name})" not in index] == []


def test_each_line_of_the_tree_in_the_readme_is_a_file_or_folder() -> None:
    (tree,) = code_blocks(ROOT / "README.md", "tree")
    folders: list[str] = []
    for line in tree.splitlines():
        indent = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        path = "/".join([*folders[:indent], name.rstrip("/")])
        assert (ROOT / path).exists(), f"README's tree names {path}"
        if name.endswith("/"):
            folders[indent:] = [path.rsplit("/", 1)[-1]]


def test_version_is_the_same_everywhere() -> None:
    project = re.search(
        r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    changelog = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert project is not None and changelog is not None
    assert project[1] == changelog[1] == clipworks.__version__


@pytest.fixture(scope="module")
def server_address() -> Iterator[str]:
    """A running `clipworks serve` with the built-in model, for the examples that ask one."""
    command = [sys.executable, "-m", "clipworks", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        addresses = (re.search(r"^Serving .* on (http:\S+)", line) for line in process.stdout)
        found = next(filter(None, addresses), None)
        assert found is not None, f"the server ended with status {process.wait()}"
        yield found[1]
        process.terminate()
        process.stdout.read()


@pytest.mark.slow
@pytest.mark.parametrize("program", EXAMPLES, ids=lambda path: path.name)
def test_each_example_runs(program: Path, server_address: str) -> None:
    interpreter = sys.executable if program.suffix == ".py" else "bash"
    environment = {**os.environ, "CLIPWORKS_URL": server_address, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [interpreter, program], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in WRITTEN if code_blocks(page, "python")], ids=lambda p: p.name
)
def test_the_python_on_each_page_runs(
    page: Path, server_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for block in code_blocks(page, "python"):
        exec(block.replace("http://127.0.0.1:8000", server_address), {})
