"""Functions compiled to machine code by numba, and where that code is kept. The owner of numba.

It is kept in our cache folder and never beside the package, which may be read-only or shared.
"""

import os
import threading
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

from llvmlite import ir
from numba import njit, types
from numba.core import config
from numba.extending import intrinsic

_NUMBA_SETTINGS = threading.Lock()
"""Held while numba's settings differ: threads that decode their first pictures at once come here together,
and the machine code of the second one landed in the folder that the program was started in."""

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Machine code for a function, made when it is first called; it runs without the interpreter's lock."""
    return cast(Function, njit(nogil=True)(function))


def inlined(function: Function) -> Function:
    """As `compiled`, and made part of every compiled function that calls it."""
    return cast(Function, njit(nogil=True, inline="always")(function))


def adding_freely(function: Function) -> Function:
    """As `compiled`; sums may be added up in any order, which makes them many times as fast."""
    return cast(Function, njit(nogil=True, fastmath={"reassoc", "contract", "nsz"})(function))


def _convert(context: Any, bits: Any) -> Any:
    """float16, as the uint16 that numba can hold -> float32, one instruction for many of them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


half_as_float = cast(Callable[[Any], Any], intrinsic(_convert))
"""In compiled functions only: float16, as the uint16 of the same bits, to float32."""


@cache
def keep_machine_code(place: Callable[[], Path], *functions: Callable[..., Any]) -> None:
    """Keep what is made of functions, so that only the first process of a machine compiles them.

    Call it before they are called. Where there is none to keep it in, each process compiles.

    Args:
        place: gives the folder, or raises OSError: `clipworks.files.cache_folder`.
        functions: compiled ones. numba looks only at the file of the function that it keeps, but what that
            calls is part of its code: name one of each file.
    """
    files = sorted({cast(Any, one).py_func.__code__.co_filename for one in functions})
    try:
        sources = b"".join(Path(file).read_bytes() for file in files)
        folder = place() / f"numba-{sha256(sources).hexdigest()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    settings: Any = config
    with _NUMBA_SETTINGS:
        before, settings.CACHE_DIR = settings.CACHE_DIR, str(folder)
        try:
            for function in functions:
                cast(Any, function).enable_caching()
        finally:
            settings.CACHE_DIR = before
