"""The command `clipworks`: parse, call the library, print; no logic of its own.

A command's file is read when the command is called or listed, and what is slow to import (numpy,
the engine, the server) only inside the function that needs it. Errors of ours become one sentence
on stderr and status 1, wrong usage is status 2, Ctrl-C is 130.
"""

import importlib
import signal
from typing import Any

import click

from clipworks import __version__
from clipworks.errors import ClipworksError

COMMANDS = (
    *("accounts", "classify", "collect", "convert", "curate", "demo", "embed", "evaluate", "finetune"),
    *("index", "keys", "models", "probe", "pull", "report", "search", "serve", "train"),
)
"""A command X is the function `X` in `clipworks/cli/X.py`."""


class _Commands(click.Group):
    """The group: finds commands by name and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, or None."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"clipworks.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; our errors end in status 1, an interruption in 130."""
        try:
            return super().invoke(ctx)
        except ClipworksError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(1)
        except BrokenPipeError:
            raise  # click ends quietly: `clipworks models | head`
        except OSError as error:
            place = f": {error.filename}" if error.filename else ""
            click.echo(f"Error: {error.strerror or error}{place}.", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)
        except SystemExit as error:
            if error.code == 128 + signal.SIGTERM:
                click.echo("Stopped by SIGTERM.", err=True)
            raise


@click.group(cls=_Commands, context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="clipworks")
def main() -> None:
    """Open CLIP models: classify, embed and search pictures, serve them, train your own.

    Every option can also be given as a variable, --model as CLIPWORKS_MODEL and so on.
    """
