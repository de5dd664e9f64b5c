"""`clipworks demo`: the built-in model with the gallery that comes with the package."""

from functools import partial
from importlib.resources import files
from pathlib import Path

import click

from clipworks.cli.output import SETTINGS, note
from clipworks.cli.serve import make_fleet, read_settings, require_serve_extra, run_and_leave
from clipworks.errors import ConfigError

PORTS_TRIED = 50

WELCOME = """
  {address}

  Open it in a browser: find pictures by words, classify a picture of your own.
  The same from another terminal:

    curl {address}/v1/embeddings -H 'Content-Type: application/json' \\
         -d '{{"model": "pictogram", "input": ["a dog"]}}'

    python -c "import openai; print(openai.OpenAI(base_url='{address}/v1', api_key='x')\\
    .embeddings.create(model='pictogram', input=['a dog']).data[0].embedding[:4])"

  The built-in model is small: best on drawings and symbols, weak on photographs. A large one:

    clipworks serve --model laion/CLIP-ViT-B-32-laion2B-s34B-b79K

  Ctrl-C stops it.
"""


@click.command(context_settings=SETTINGS)
@click.option("--port", type=int, help="Port, or the next free one.  [default: 8000]")
def demo(port: int | None) -> None:
    """Serve the built-in model and a gallery of real pictures on this machine.

    \b
    Example:
      clipworks demo
    """
    require_serve_extra()
    from clipworks.search.opening import open_index
    from clipworks.serve.app import run
    from clipworks.serve.settings import ServeSettings

    given = read_settings({"port": port})
    wanted = ServeSettings(**given)
    chosen = _free_port(wanted.host, wanted.port)
    if chosen != wanted.port:
        note(f"Port {wanted.port} is taken; using {chosen}.")
    # One small model, and the first start counts: a process of its own would cost half a second of it.
    settings = ServeSettings(**{"workers": "thread", **given, "port": chosen})
    store = open_index(Path(str(files("clipworks"))) / "gallery" / "index")
    fleet = make_fleet(settings, ("pictogram",))
    run_and_leave(fleet, partial(run, settings, fleet, store, on_ready=_welcome))


def _welcome(address: str) -> None:
    click.echo(WELCOME.format(address=address))


def _free_port(host: str, port: int) -> int:
    """The first port from `port` on that nobody listens on; `port` itself where none is found."""
    from clipworks.serve.server import listen

    for candidate in range(port, min(port + PORTS_TRIED, 65536)):
        try:
            listen(host, candidate).close()
        except ConfigError:
            continue
        return candidate
    return port
