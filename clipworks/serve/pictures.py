"""Where the server shows the pictures of its gallery."""

from urllib.parse import quote


def picture_address(item_id: str, side: int | None = None) -> str:
    """Path of a gallery picture on this server; with a side, made to fit into a square of so many pixels."""
    return "/gallery/" + quote(item_id) + (f"?side={side}" if side is not None else "")
