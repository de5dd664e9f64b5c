"""Words that try to be markup, a gallery of such captions and file names, and how a page is read."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

import html5lib
import numpy as np

from clipworks.search.library import Library
from clipworks.search.opening import open_index
from clipworks.search.snapshot import stamp_of, write_index
from clipworks.search.store import IndexHeader, Item, Relevance
from tests.serve.colours import COLOURS, ColourEngine, picture

HOSTILE = (
    "<script>hacked()</script>",
    '"><img src=x onerror=hacked()>',
    "' autofocus onfocus='hacked()",
    "</textarea></title><svg onload=hacked()>",
    "javascript:hacked()",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;script&gt;hacked()&#60;/script&#62;",
    "\u202ehacked\u0000\ufeff",
)
"""What a stranger may write wherever a page repeats words."""

SCHEMES = {"", "http", "https", "data", "blob"}


def write_hostile_gallery(folder: Path, engine: ColourEngine) -> Library:
    """Four one-coloured pictures whose names, captions, licences, authors and sources try to be markup."""
    pictures = folder / "pictures"
    pictures.mkdir()
    entries = []
    for place, colour in enumerate(COLOURS):
        words = HOSTILE[place]
        path = pictures / f"{words.replace('/', '∕')} {colour}.png"
        path.write_bytes(picture(colour))
        item = Item(
            id=path.name,
            path=str(path),
            caption=f"{colour} {words}",
            licence=HOSTILE[place + 1],
            author=HOSTILE[place + 2],
            source=("javascript:hacked()", "https://example.org/?a=1&b=<b>", "data:text/html,<b>", "x")[
                place
            ],
        )
        entries.append((item, stamp_of(path)))
    pixels = np.stack([engine.prepare_image(Path(item.path)) for item, _ in entries])
    header = IndexHeader(
        model=engine.name,
        fingerprint=engine.fingerprint,
        precision="f32",
        preprocess="standard",
        dim=engine.dim,
        root="../pictures",
        relevance=Relevance(text_threshold=0.5, image_threshold=0.5),
    )
    write_index(folder / "index", header, entries, engine.embed_pixels(pixels))
    return open_index(folder / "index")


def wrongs(html: str) -> list[str]:
    """What in a page would run or come from elsewhere, as a browser reads it; nothing if all is well."""
    return list(_wrongs(html5lib.parse(html, namespaceHTMLElements=False)))


def _wrongs(page: Element) -> Iterator[str]:
    for element in page.iter():
        tag, given = str(element.tag), element.attrib
        if tag == "script" and ("src" not in given or (element.text or "").strip()):
            yield f"a script in the page: {element.text!r}"
        if tag in ("iframe", "object", "embed", "base", "style"):
            yield f"a <{tag}>"
        for name, value in given.items():
            name = str(name)
            if name.startswith("on") or name == "style":
                yield f'{name}="{value}" on a <{tag}>'
            if name in ("src", "href", "action", "formaction", "srcset", "poster"):
                address = urlsplit(value.strip())
                if address.scheme not in SCHEMES or (address.scheme == "data" and name != "src"):
                    yield f'{name}="{value}" on a <{tag}>'
                if name != "href" and address.netloc:
                    yield f'{name}="{value}" leads to another host'


def words_of(html: str) -> str:
    """Everything that a reader sees or that stands in a form's field, as one text."""
    page = html5lib.parse(html, namespaceHTMLElements=False)
    fields = [value for element in page.iter() for name, value in element.attrib.items() if name == "value"]
    return " ".join([*page.itertext(), *fields])
