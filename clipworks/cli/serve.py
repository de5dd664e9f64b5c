"""`clipworks serve`: models and an index behind HTTP."""

import os
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from clipworks.cli.output import SETTINGS, note
from clipworks.errors import MissingExtraError

if TYPE_CHECKING:
    from clipworks.model.engine import Engine
    from clipworks.serve.fleet import Fleet
    from clipworks.serve.settings import ServeSettings
    from clipworks.serve.traces import SpanSink


@click.command(context_settings=SETTINGS)
@click.option(
    "--model",
    "models",
    multiple=True,
    envvar="CLIPWORKS_MODEL",
    default=("pictogram",),
    show_default=True,
    metavar="MODEL",
    help="Model to serve; may be given several times.",
)
@click.option("--index", type=click.Path(path_type=Path), help="Index of pictures to search at /v1/search.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [default: 8000]")
@click.option(
    "--insecure", is_flag=True, default=None, help="Serve other machines too, although no key is asked for."
)
@click.option(
    "--require-keys", is_flag=True, default=None, help="Ask every request for a key; see `clipworks keys`."
)
@click.option(
    "--models",
    "roster",
    type=click.Path(path_type=Path),
    help="File that lists models with aliases and status, in place of --model; see docs/serve.md.",
)
@click.option(
    "--workers",
    type=click.Choice(["process", "thread", "ray"]),
    help="Where models compute: each in a process of its own, in the server's, or as --ray says.  "
    "[default: process]",
)
@click.option(
    "--ray",
    is_flag=True,
    help="Run replicas of the whole server with Ray Serve; see docs/scale.md.",
)
def serve(  # noqa: PLR0913 (one per flag)
    models: tuple[str, ...],
    index: Path | None,
    host: str | None,
    port: int | None,
    insecure: bool | None,
    require_keys: bool | None,
    roster: Path | None,
    workers: str | None,
    ray: bool,
) -> None:
    """Serve models over HTTP, with OpenAI's API for embeddings.

    Limits of the server are CLIPWORKS_* variables; docs/serve.md lists them.

    \b
    Example:
      clipworks serve --model pictogram --port 8000
    """
    named_by = click.get_current_context().get_parameter_source("models")
    if roster is not None and named_by is ParameterSource.COMMANDLINE:
        raise click.UsageError("--models takes the place of --model: give one of them.")
    if ray and workers not in (None, "ray"):
        raise click.UsageError(f"--ray says where models compute, and so does --workers {workers}: give one.")
    require_serve_extra()
    from clipworks.serve.app import run
    from clipworks.serve.settings import ServeSettings

    flags = {
        "host": host,
        "port": port,
        "insecure": insecure,
        "require_keys": require_keys,
        "workers": "ray" if ray else workers,
    }
    settings = ServeSettings(**read_settings(flags))
    if settings.workers == "ray":
        serve_replicas(settings, models, index, roster)
        return
    from clipworks.search.opening import open_index
    from clipworks.search.stores import use_chosen_store

    store = open_index(index) if index is not None else None
    if store is not None:
        use_chosen_store(store)
    spans = open_spans() if settings.tracing else None
    fleet = make_fleet(settings, models, roster)
    run_and_leave(
        fleet,
        lambda: run(
            settings,
            fleet,
            store,
            on_ready=lambda address: click.echo(f"Serving {', '.join(fleet.served_names())} on {address}"),
            spans=spans,
        ),
    )


def run_and_leave(fleet: "Fleet", run: Callable[[], None]) -> None:
    """Run a server, then end this process without waiting for anything that hangs in it."""
    from clipworks.serve.ending import leave

    status = 0
    try:
        run()
    except KeyboardInterrupt:
        note("Interrupted.")
        status = 130
    leave(fleet.abandoned, status)


def serve_replicas(
    settings: "ServeSettings", models: tuple[str, ...], index: Path | None, roster: Path | None
) -> None:
    """Serve from replicas that Ray Serve starts and stops.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: the settings do not fit replicas.
    """
    # Ray reads these when it is imported: nothing is reported to anybody, every line of the log is shown, and
    # replicas have the priority of any server (its own choice is the one of background work).
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0", RAY_COLOR_PREFIX="0")
    os.environ.setdefault("RAY_worker_niceness", "0")
    if not settings.ray_address:
        # Ray's processes listen on every address of the machine; only who has the token is heard.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        from clipworks.serve.replicas import run_replicas
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "ray", "ray") from error
    roster, index = (path and path.absolute() for path in (roster, index))
    fleet = make_fleet(settings, models, roster)  # says what is wrong before anything starts
    run_replicas(
        settings,
        partial(make_app, models=models, index=index, roster=roster),
        on_ready=lambda address: click.echo(f"Serving {', '.join(fleet.served_names())} on {address}"),
    )


def make_app(
    settings: "ServeSettings", *, models: tuple[str, ...], index: Path | None, roster: Path | None
) -> Any:
    """The application of one replica, with its models and its index; it finds this function by its name.

    Raises:
        ConfigError: the models or the index cannot be used.
    """
    from clipworks.search.opening import open_index
    from clipworks.search.stores import use_chosen_store
    from clipworks.serve.app import create_service_app
    from clipworks.serve.service import Service

    store = open_index(index) if index is not None else None
    if store is not None:
        use_chosen_store(store)
    service = Service(settings, make_fleet(settings, models, roster), store, loads_first=True)
    return create_service_app(service, spans=open_spans() if settings.tracing else None)


def require_serve_extra() -> None:
    """Say what to install where the server's packages are missing.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    from importlib.util import find_spec

    packages = ("starlette", "uvicorn", "h11", "jinja2", "python_multipart")
    for package in (*packages, "prometheus_client", "sqlalchemy", "alembic"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "serve")


def open_spans() -> "SpanSink":
    """Spans for OpenTelemetry, sent where the OTEL_* variables say.

    Raises:
        MissingExtraError: its packages are not installed.
    """
    try:
        from clipworks.serve.telemetry import Spans
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "opentelemetry", "otel") from error
    return Spans()


def read_settings(flags: dict[str, Any]) -> dict[str, Any]:
    """The server's settings from `CLIPWORKS_*` variables, and from the flags that were given.

    Raises:
        ConfigError: a variable cannot be read.
    """
    from clipworks.serve.settings import misspelt_variables, read_variables

    for given, meant in misspelt_variables(os.environ).items():
        note(f"There is no setting {given}; is {meant} meant?")
    return {
        **read_variables(os.environ),
        **{name: value for name, value in flags.items() if value is not None},
    }


def make_fleet(settings: "ServeSettings", models: tuple[str, ...], roster: Path | None = None) -> "Fleet":
    """The models to serve, by the names that requests will use; none is loaded yet.

    Args:
        models: what `clipworks.load` takes, each once.
        roster: a file that lists models, in place of `models`.

    Raises:
        ConfigError: two of them have the same name, or the file cannot be used.
    """
    from clipworks.model.pull import public_name
    from clipworks.serve.fleet import fleet_of_loaders
    from clipworks.serve.roster import ModelSpec, read_models

    if roster is not None:
        specs = read_models(roster, os.environ)
    else:
        specs = [ModelSpec(id=public_name(one), source=one) for one in dict.fromkeys(models)]
    return fleet_of_loaders(
        settings, specs, lambda spec: partial(load_engine, spec.source or spec.id, spec.precision)
    )


def load_engine(source: str, precision: str) -> "Engine":
    """Load a model; a worker process finds this function by its name.

    Raises:
        ConfigError: the name or the precision is unknown.
        CheckpointError: the checkpoint cannot be read.
    """
    from clipworks.model.loading import Precision, load

    return load(source, precision=cast(Precision, precision))
