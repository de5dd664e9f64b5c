"""Commands whose first word is a step by its name, or what the main step works on."""

import click


def steps(main: str, usage: str) -> type[click.Group]:
    """A kind of group in which a first word that names no step belongs to the step `main`.

    Args:
        main: name of that step.
        usage: what follows the group's name where it is left out.
    """

    class Steps(click.Group):
        def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
            """Put the name of the main step before words that begin with no name."""
            if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
                args = [main, *args]
            return super().parse_args(ctx, args)

        def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            """Both ways to call it."""
            formatter.write_usage(ctx.command_path, usage)
            formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...", prefix="       ")

    return Steps
