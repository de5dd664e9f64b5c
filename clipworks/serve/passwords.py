"""Passwords of people: what may be one, and Argon2id, slow and large on purpose, off the event loop.

The cost is OWASP's first choice for Argon2id (19 MiB, two passes, one lane). It stands in each digest, so a
later version may raise it: a digest of another cost is renewed when its owner signs in.
"""

import asyncio
import secrets
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from clipworks.errors import BusyError
from clipworks.serve.problems import RequestError

MIN_CHARACTERS = 10
MAX_CHARACTERS = 200
_MIN_DIFFERENT = 5
_COMMON = (
    *("1234567890", "12345678910", "123456789a", "0123456789", "0987654321", "password12", "password123"),
    *("passw0rd123", "qwertyuiop", "qwerty12345", "1q2w3e4r5t", "1qaz2wsx3edc", "iloveyou123", "letmein123"),
    *("administrator", "welcome123", "changeme123", "football123", "correct horse battery staple"),
)
"""Those of ten characters and more that are tried first."""

_AT_ONCE = 2
_MAX_WAITING = 32


class Passwords:
    """Makes and checks digests, a few at a time."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._decoy = ""
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._num_waiting = 0

    async def digest(self, password: str) -> str:
        """What is kept of a password.

        Raises:
            BusyError: too many wait.
        """
        return await self._slowly(password, None)

    async def is_right(self, password: str, digest: str | None) -> bool:
        """Whether a password is the one of a digest; as slow where there is no digest, and then False.

        Raises:
            BusyError: too many wait.
        """
        if not self._decoy:
            self._decoy = await self._slowly(secrets.token_hex(16), None)
        return bool(await self._slowly(password, digest or self._decoy)) and digest is not None

    def is_outdated(self, digest: str) -> bool:
        """Whether a digest was made at another cost."""
        return self._hasher.check_needs_rehash(digest)

    async def _slowly(self, password: str, digest: str | None) -> str:
        if self._num_waiting >= _MAX_WAITING:
            raise BusyError("Many people sign in just now.", "Try again later.", retry_after_seconds=2.0)
        self._num_waiting += 1
        try:
            async with self._places:
                return await asyncio.to_thread(self._work, password, digest)
        finally:
            self._num_waiting -= 1

    def _work(self, password: str, digest: str | None) -> str:
        if digest is None:
            return self._hasher.hash(_normal(password))
        try:
            return digest if self._hasher.verify(digest, _normal(password)) else ""
        except (VerificationError, InvalidHashError):
            return ""


def digest_now(password: str) -> str:
    """What is kept of a password, made at once: for the command line."""
    return asyncio.run(Passwords().digest(password))


def check_password(password: str, name: str) -> None:
    """Whether a password may be chosen by who signs in with a name.

    Raises:
        RequestError: it is too short, too long, too simple, or the name itself.
    """
    words = ""
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        words = f"A password has from {MIN_CHARACTERS} to {MAX_CHARACTERS} characters."
    elif len(set(password)) < _MIN_DIFFERENT or password.lower() in _COMMON:
        words = "This password is among the first that are tried."
    elif len(password.casefold().replace(name.casefold(), "")) < _MIN_DIFFERENT:
        words = "The password is hardly more than the name."
    if words:
        raise RequestError(words, "Choose another: some words that do not belong together.", param="password")


def _normal(password: str) -> bytes:
    """The same bytes for the same signs, however a keyboard writes them."""
    return unicodedata.normalize("NFC", password).encode(errors="surrogatepass")
