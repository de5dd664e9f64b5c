"""Where the server shows the pictures of its gallery."""

from urllib.parse import quote


def picture_address(item_id: str) -> str:
    """Path of a gallery picture on this server."""
    return "/gallery/" + quote(item_id)
