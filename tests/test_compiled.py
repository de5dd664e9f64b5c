import subprocess
import sys
import threading
from pathlib import Path

import numba
import pytest

from clipworks.compiled import compiled, keep_machine_code
from clipworks.files import cache_folder

PROGRAM = """
from clipworks.compiled import compiled, keep_machine_code
from clipworks.files import cache_folder

@compiled
def double(number):
    return 2 * number

keep_machine_code(cache_folder, double)
print(double(21), sum(double.stats.cache_hits.values()))
"""


def run(folder: Path, cache: Path) -> str:
    (folder / "program.py").write_text(PROGRAM)
    environment = {"CLIPWORKS_CACHE": str(cache), "PYTHONPATH": ":".join(sys.path), "PATH": ""}
    ran = subprocess.run(
        [sys.executable, str(folder / "program.py")],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return ran.stdout.strip()


@pytest.mark.slow
def test_the_second_process_compiles_nothing_and_the_package_is_not_written(tmp_path: Path) -> None:
    assert run(tmp_path, tmp_path / "cache") == "42 0"
    assert run(tmp_path, tmp_path / "cache") == "42 1"
    assert list((tmp_path / "cache").glob("numba-*/*/*.nbc"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "program.py"]


@pytest.mark.slow
def test_without_a_place_to_keep_it_each_process_compiles(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run(tmp_path, tmp_path / "file" / "cache") == "42 0"
    assert run(tmp_path, tmp_path / "file" / "cache") == "42 0"


def test_the_folder_is_named_by_all_files_that_the_code_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path))
    files = []
    for name in ("a", "b"):
        files.append(tmp_path / f"{name}.py")
        files[-1].write_text(f"def {name}(x):\n    return x\n")

    def functions() -> list[object]:
        found: dict[str, object] = {}
        for file in files:
            exec(compile(file.read_text(), str(file), "exec"), found)
        return [compiled(found[name]) for name in "ab"]  # type: ignore[type-var]

    keep_machine_code(cache_folder, *functions())  # type: ignore[arg-type]
    files[1].write_text("def b(x):\n    return x + 1\n")
    keep_machine_code(cache_folder, *functions())  # type: ignore[arg-type]
    assert len(list(tmp_path.glob("numba-*"))) == 2


def test_threads_that_come_at_once_all_keep_it_in_the_folder(tmp_path: Path) -> None:
    seen = list[str]()
    second_is_near = threading.Event()

    class Slow:
        py_func = staticmethod(keep_machine_code.__wrapped__)

        def enable_caching(self) -> None:
            second_is_near.wait(10)
            seen.append(numba.core.config.CACHE_DIR)

    def place_and_tell() -> Path:
        second_is_near.set()
        return tmp_path

    before = numba.core.config.CACHE_DIR
    first = threading.Thread(target=keep_machine_code, args=(lambda: tmp_path, Slow()))
    second = threading.Thread(target=keep_machine_code, args=(place_and_tell, Slow()))
    first.start()
    second.start()
    first.join()
    second.join()
    assert len(seen) == 2 and all(Path(one).parent == tmp_path for one in seen)
    assert before == numba.core.config.CACHE_DIR
