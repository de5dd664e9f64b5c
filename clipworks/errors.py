"""Every error that clipworks raises on purpose.

ClipworksError
├── ConfigError          a setting or argument is out of range, unknown or contradictory
├── CheckpointError      a model file is missing, damaged, ambiguous or of an unknown form
├── InputError           one picture, text or label that a user gave cannot be used
├── DataError            a shard, index or run folder is unfinished, damaged or of another version
├── BusyError            the server's queue is full; try again later
├── NetError             something on the web could not or must not be fetched
└── MissingExtraError    an optional dependency is not installed

An error is a sentence with the value and the place; `remedy` says what to do about it.
The command line prints both and exits with 1, the server answers with an OpenAI error object.
"""


class ClipworksError(Exception):
    """Root of every error of this package: a message and, where there is one, a remedy."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


def reason_of(error: BaseException) -> str:
    """What an error says, of the system or of a library: its first line, without the full stop."""
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(text).splitlines()[0].rstrip(".")


class ConfigError(ClipworksError):
    """A setting or argument is out of range, unknown or contradictory."""


class CheckpointError(ClipworksError):
    """A model file is missing, damaged, ambiguous or of an unknown form."""


class InputError(ClipworksError):
    """One picture, text or label cannot be used.

    `code` names the cause for programs: `invalid_image`, `unsupported_image_format`,
    `image_too_large`, `invalid_value`, `too_many_inputs` or `not_found`.
    """

    def __init__(self, message: str, remedy: str = "", *, code: str = "invalid_value") -> None:
        super().__init__(message, remedy)
        self.code = code


class DataError(ClipworksError):
    """A shard, index or run folder is unfinished, damaged or of another version."""


class BusyError(ClipworksError):
    """The queue in front of the model is full; `retry_after_seconds` says when to come back."""

    def __init__(self, message: str, remedy: str = "", *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message, remedy)
        self.retry_after_seconds = retry_after_seconds


class NetError(ClipworksError):
    """An address on the web was not fetched.

    The message is for whoever gave the address and does not tell what is blocked from what does not
    answer. `reason` is for our own logs and tables: `off`, `malformed`, `blocked`, `unreachable`,
    `timeout`, `status`, `redirect`, `too_large`, `unwanted` or `damaged`.
    """

    def __init__(self, message: str, remedy: str = "", *, reason: str, status: int | None = None) -> None:
        super().__init__(message, remedy)
        self.reason = reason
        self.status = status


class MissingExtraError(ClipworksError):
    """An optional dependency is not installed; the remedy is the exact command."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"This needs the package {package!r}, which is not installed.",
            f'Run: pip install "clipworks[{extra}]"',
        )
