"""Which store finds candidates in a library: chosen by a name or an address, filled from the library.

A store can be thrown away and made anew at any time; the library's vectors are never touched.
"""

from clipworks.errors import ConfigError
from clipworks.search.library import Library

EXACT = "exact"


def use_chosen_store(library: Library) -> None:
    """Let a library find candidates with the store that was chosen for it.

    Raises:
        ConfigError: its address cannot be understood.
    """
    chosen = library.settings().get("store", EXACT)
    if chosen != EXACT:
        raise ConfigError(f"There is no store {chosen!r}.", f"Choose {EXACT}.")
