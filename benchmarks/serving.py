"""How fast the server answers single pictures, and how it behaves when it gets too much or loses a worker.

Clients are a program of their own on the same cores. Every server gets the same files: JPEG pictures of
640 x 480, one per request, in base64; the model is a ViT-B/32 of random weights. Modes:

    python -m benchmarks.serving              rates at 1, 8 and 32 clients; ours and others in turns
    python -m benchmarks.serving --soak 10    minutes at 1.5 times what it can: answers, memory
    python -m benchmarks.serving --kill       SIGKILL to the worker under load: what fails, and how long

CLIPWORKS_INFINITY_PYTHON names the Python of an environment with infinity_emb[torch,server], aiohttp and a
transformers that it can use; without it there is no peer. Writes benchmarks/results/serving.json, where
each mode has a row of its own.
"""

import argparse
import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.machine import RESULTS, ROOT, describe_commit, write_result

NUM_PICTURES = 24
BATCH = 32
CLIENTS = (1, 8, 32)
ENGINE_PROGRAM = """
import json, sys, time, numpy as np
from pathlib import Path
from clipworks.model.loading import load
engine = load(sys.argv[1], precision=sys.argv[2])
pictures = [Path(name).read_bytes() for name in sys.argv[3:]]
batch = np.stack([engine.prepare_image(data, compiled=True) for data in pictures] * 2)[:32]

def median_ms(call, seconds):
    call()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2] * 1000

print(engine.precision_note, flush=True)
for line in sys.stdin:
    seconds = float(line)
    whole = median_ms(lambda: engine.embed_pixels(batch), seconds)
    result = {"batch32_images_per_second": 32000 / whole,
              "batch1_ms": median_ms(lambda: engine.embed_pixels(batch[:1]), seconds / 3),
              "decode_ms": median_ms(lambda: engine.prepare_image(pictures[0], compiled=True), seconds / 3)}
    print(json.dumps(result), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="of the rates")
    parser.add_argument("--workers", default="process", choices=["process", "thread"])
    parser.add_argument("--folder", type=Path, help="keep model and pictures here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clipworks-serving-") as temporary:
        bench = Bench(given.folder or Path(temporary), given.seconds, given.workers)
        if given.soak:
            keep("soak", bench.soak(given.soak * 60))
        elif given.kill:
            keep("kill", bench.kill())
        else:
            bench.rates(given.rounds)


class Bench:
    """The model and the pictures, and what is asked of servers."""

    def __init__(self, folder: Path, seconds: float, workers: str) -> None:
        self.seconds = seconds
        self.workers = workers
        self.folder = folder
        self.model = folder / "random-b32"
        folder.mkdir(parents=True, exist_ok=True)
        if not (self.model / "manifest.json").exists():
            write_model(self.model)
        self.pictures = write_pictures(folder)
        self.bodies = write_bodies(folder, self.pictures)
        self.roster = folder / "models.toml"
        self.roster.write_text(f'[models.b32]\nsource = "{self.model}"\nprecision = "int8"\n')

    def rates(self, num_rounds: int) -> None:
        """Requests a second of all servers at every number of clients: they take turns, round by round.

        All run at the same time and only one is asked; the engine alone, without a server, has its turn too.
        """
        python = os.environ.get("CLIPWORKS_INFINITY_PYTHON")
        with ExitStack() as running:
            places = {
                "clipworks": (running.enter_context(self.ours())[0], "/v1/embeddings"),
                "bare loop": (running.enter_context(self.bare()), "/v1/embeddings"),
            }
            if python:
                places["infinity"] = (running.enter_context(self.infinity(python)), "/embeddings")
            ask_engine = running.enter_context(self.engine())
            rounds: dict[int, list[dict[str, Any]]] = {count: [] for count in CLIENTS}
            for turn in range(num_rounds):
                for count in CLIENTS:
                    row: dict[str, Any] = {"engine": ask_engine(self.seconds / 3)}
                    for name, (address, path) in places.items():
                        row[name] = self.load(address, path, count)
                    rounds[count].append(row)
                    print(f"round {turn + 1} of {num_rounds}, {count} clients", file=sys.stderr, flush=True)
        keep(
            "rates", {"workers": self.workers} | {f"{n} clients": summary(rows) for n, rows in rounds.items()}
        )

    def load(self, address: str, path: str, count: int, *, rate: float = 0, seconds: float = 0) -> Any:
        plan = {
            "address": address,
            "path": path,
            "bodies": [str(body) for body in self.bodies],
            "concurrency": count,
            "seconds": seconds or self.seconds,
            "warm_seconds": min(3.0, self.seconds / 3),
            "rate": rate,
            "answers": [str(one) for one in sorted(self.folder.glob("answer*.npy"))]
            if rate or seconds
            else [],
        }
        file = self.folder / f"plan-{count}.json"
        file.write_text(json.dumps(plan))
        command = [sys.executable, "-m", "benchmarks.serving_clients", str(file)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
        return rounded(json.loads(done.stdout))

    @contextmanager
    def engine(self) -> Iterator[Callable[[float], Any]]:
        """Measures what the engine does without any server, decoding not counted."""
        command = [sys.executable, "-c", ENGINE_PROGRAM, str(self.model), "int8", *map(str, self.pictures)]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            questions, answers = process.stdin, process.stdout
            answers.readline()

            def ask(seconds: float) -> Any:
                questions.write(f"{seconds}\n")
                questions.flush()
                return json.loads(answers.readline())

            yield ask
            questions.close()

    def soak(self, seconds: float) -> dict[str, Any]:
        """1.5 times what the server can, for a while."""
        with self.ours() as (address, process):
            self.write_answers(address)
            capacity = self.load(address, "/v1/embeddings", 32)["requests_per_second"]
            before = memory_of(process.pid)
            halves = []
            for _ in range(4):
                outcome = self.load(address, "/v1/embeddings", 200, rate=1.5 * capacity, seconds=seconds / 4)
                halves.append({**outcome, "resident_bytes": memory_of(process.pid)})
            assert process.poll() is None
            return {"capacity": capacity, "resident_bytes_before": before, "quarters": halves}

    def kill(self) -> dict[str, Any]:
        """SIGKILL to the worker in the middle of a load of 32 clients."""
        with self.ours() as (address, process):
            self.write_answers(address)
            (worker,) = children_of(process.pid)
            killer = subprocess.Popen(["sh", "-c", f"sleep {3 + self.seconds / 3}; kill -9 {worker}"])
            outcome: dict[str, Any] = self.load(address, "/v1/embeddings", 32, seconds=self.seconds)
            killer.wait()
            return outcome

    def write_answers(self, address: str) -> None:
        """What each picture's answer is when nothing else is asked."""
        for place, body in enumerate(self.bodies):
            request = urllib.request.Request(
                f"{address}/v1/embeddings", body.read_bytes(), {"content-type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=60) as response:
                vector = base64.b64decode(json.load(response)["data"][0]["embedding"])
            np.save(self.folder / f"answer{place:02}.npy", np.frombuffer(vector, dtype="<f4"))

    @contextmanager
    def ours(self) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
        port = free_port()
        command = [sys.executable, "-m", "clipworks", "serve", "--models", str(self.roster)]
        command += ["--port", str(port), "--workers", self.workers]
        with server(command, f"http://127.0.0.1:{port}/readyz") as process:
            yield f"http://127.0.0.1:{port}", process

    @contextmanager
    def bare(self) -> Iterator[str]:
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.serving_bare", str(self.model), "int8", str(port)]
        with server(command, f"http://127.0.0.1:{port}/"):
            yield f"http://127.0.0.1:{port}"

    @contextmanager
    def infinity(self, python: str) -> Iterator[str]:
        port, folder = free_port(), self.folder / "random-b32-hf"
        if not folder.exists():
            write_transformers_folder(self.model, folder)
        program = str(Path(python).with_name("infinity_emb"))
        command = [program, "v2", "--model-id", str(folder), "--engine", "torch"]
        command += ["--served-model-name", "b32", "--port", str(port), "--no-bettertransformer"]
        command += ["--device", "cpu", "--log-level", "error", "--no-model-warmup"]
        with server(command, f"http://127.0.0.1:{port}/health"):
            yield f"http://127.0.0.1:{port}"


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds, and medians of the ratios within a round: the machine's speed drifts."""

    def median(values: list[float]) -> float:
        return round(sorted(values)[len(values) // 2], 3)

    def rate(row: dict[str, Any], name: str) -> float:
        return float(row[name]["batch32_images_per_second" if name == "engine" else "requests_per_second"])

    names = list(rounds[0])
    result: dict[str, Any] = {"rounds": len(rounds)}
    for name in names:
        result[name] = {
            key: median([row[name][key] for row in rounds])
            for key, value in rounds[0][name].items()
            if isinstance(value, int | float)
        }
    ours = [rate(row, "clipworks") for row in rounds]
    for name in names:
        if name != "clipworks":
            ratios = [one / rate(row, name) for one, row in zip(ours, rounds, strict=True) if rate(row, name)]
            result[f"ratio_to_{name.replace(' ', '_')}"] = median(ratios)
            result[f"ratios_to_{name.replace(' ', '_')}"] = sorted(round(one, 3) for one in ratios)
    result["p99_to_p50"] = median([row["clipworks"]["p99_ms"] / row["clipworks"]["p50_ms"] for row in rounds])
    parts = ("batch1_ms", "decode_ms")
    extra = [row["clipworks"]["p50_ms"] - sum(row["engine"][one] for one in parts) for row in rounds]
    result["milliseconds_beside_engine_and_decoding"] = median(extra)
    return result


def keep(name: str, result: Any) -> None:
    """Put one row among those of earlier runs; each says of which commit it is."""
    file = RESULTS / "serving.json"
    before = json.loads(file.read_text())["results"] if file.exists() else {}
    write_result("serving", {**before, name: {"commit": describe_commit(), **result}})


def write_model(folder: Path) -> None:
    from benchmarks.peers import random_weights
    from clipworks.model.catalogue import find
    from clipworks.model.weights import write_checkpoint

    config = find("laion2b-b32").config
    assert config is not None
    write_checkpoint(folder, config, random_weights(config), family="native")


def write_transformers_folder(model: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "clipworks", "convert", str(model), str(folder), "--to", "hf"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def write_pictures(folder: Path) -> list[Path]:
    """Drawn scenes with the grain of a photograph, about 60 kB each."""
    random = np.random.default_rng(3)
    paths = []
    for place in range(NUM_PICTURES):
        coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        scene = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(scene)
        for _ in range(12):
            x, y, size = (int(v) for v in random.integers(0, 400, 3))
            draw.ellipse(
                (x, y, x + size, y + size // 2), fill=tuple(int(v) for v in random.integers(0, 256, 3))
            )
        grain = random.normal(0, 7, (480, 640, 3))
        pixels = np.clip(np.asarray(scene) + grain, 0, 255).astype(np.uint8)
        path = folder / f"picture{place:02}.jpg"
        Image.fromarray(pixels).save(path, "JPEG", quality=80)
        paths.append(path)
    return paths


def write_bodies(folder: Path, pictures: list[Path]) -> list[Path]:
    paths = []
    for picture in pictures:
        text = base64.b64encode(picture.read_bytes()).decode()
        body = {"model": "b32", "input": [f"data:image/jpeg;base64,{text}"]}
        path = folder / f"{picture.stem}.json"
        path.write_text(json.dumps({**body, "modality": "image", "encoding_format": "base64"}))
        paths.append(path)
    return paths


@contextmanager
def server(command: list[str], ready: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A server as a process, from when it answers at `ready` with anything but a failure."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            wait_for(ready, process, log)
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(address: str, process: "subprocess.Popen[bytes]", log: io.BufferedRandom) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        if process.poll() is not None:
            log.seek(0)
            sys.exit(log.read().decode(errors="replace")[-3000:])
        try:
            with urllib.request.urlopen(address, timeout=10):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit(f"{address} does not answer")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def children_of(process_id: int) -> list[int]:
    text = Path(f"/proc/{process_id}/task/{process_id}/children").read_text()
    tasks = Path(f"/proc/{process_id}/task").iterdir()
    return sorted(
        {int(child) for task in tasks for child in (task / "children").read_text().split()}
        | set(map(int, text.split()))
    )


def memory_of(process_id: int) -> int:
    """Resident bytes of a process and its children."""
    total = 0
    for one in (process_id, *children_of(process_id)):
        total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 3) if isinstance(value, float) and abs(value) > 0.01 else value


if __name__ == "__main__":
    main()
