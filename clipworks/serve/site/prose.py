"""Markdown as the pages of `docs/` use it: to HTML, with its headings, its links and its words apart.

HTML inside of Markdown is shown as text, and comments are left out, so nothing that a file says becomes
markup which this module did not write. Addresses in links are the reader's choice, by a function.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

_FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_UNCOLOURED = re.compile(r'<span class="t-(?:err|gp|go|l|n|na|nn|nx|o|p|pi|w)">([^<]*)</span>')
"""Most of a coloured text: what keeps the colour of the text around it."""
_UNSPOKEN = re.compile(r"[^\w\- ]")

AddressOf = Callable[[str], str | None]
"""What a link or a picture in a file leads to -> its address on the site; None where that is not served."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A heading and what stands below it, up to the next heading."""

    level: int
    """1 for the title of the page."""
    title: str
    """The heading as plain words."""
    anchor: str
    """Its place on the page, without `#`."""
    words: str
    """The text below it as plain words, code included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Article:
    """One file of Markdown."""

    title: str
    """The first heading."""
    html: str
    """All of it, safe to stand in a page."""
    sections: Sequence[Section]
    """Its headings in order, each with its words."""
    links: Sequence[str]
    """Where its links lead, as they stand in `html`."""


def read_article(markdown: str, address_of: AddressOf) -> Article:
    """Render one file.

    Args:
        markdown: the file's text: CommonMark and tables.
        address_of: asked for every link and picture that is no address of the web.
    """
    parser = _parser()
    tokens = parser.parse(_without_comments(markdown))
    sections = _sections(tokens)
    links = [link for token in tokens for link in _placed_links(token.children or [], address_of)]
    _drop_dead_links(tokens)
    html = parser.renderer.render(tokens, parser.options, {})
    title = sections[0].title if sections else ""
    return Article(title=title, html=html, sections=sections, links=links)


def read_sections(markdown: str) -> list[Section]:
    """Only the headings of a file and the words below them, in a fifth of the time."""
    return _sections(_parser().parse(_without_comments(markdown)))


def read_line(markdown: str) -> str:
    """One line as HTML, without a paragraph around it."""
    html: str = _parser().renderInline(markdown)
    return html


def highlighted(code: str, language: str) -> str:
    """Code as HTML whose parts have classes `t-…`; plain and escaped where the language is not known."""
    try:
        lexer = get_lexer_by_name(language, ensurenl=False) if language else None
    except ClassNotFound:
        lexer = None
    if lexer is None:
        return escape(code)
    html = highlight(code, lexer, HtmlFormatter(nowrap=True, classprefix="t-"))
    return _UNCOLOURED.sub(r"\1", html)


class _Renderer(RendererHTML):
    """HTML with boxes around what may be too wide, and marks that the site's style and scripts know."""

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A block of code that can be copied."""
        language = tokens[idx].info.split(maxsplit=1)[0] if tokens[idx].info.strip() else ""
        return _code_block(tokens[idx].content, language)

    def code_block(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """The same, written by indenting it."""
        return _code_block(tokens[idx].content, "")

    def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A table scrolls by itself where it is wider than the page."""
        return '<div class="table-box" tabindex="0" role="region" aria-label="Table">\n<table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """The end of both."""
        return "</table>\n</div>\n"

    def heading_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Every heading below the title can be linked to."""
        opened = tokens[idx - 2]
        anchor, tag = escape(str(opened.attrGet("id") or "")), tokens[idx].tag
        words = escape(_plain(tokens[idx - 1]))
        mark = f' <a class="anchor" href="#{anchor}" aria-label="Link to “{words}”">#</a>'
        return f"{mark if tag != 'h1' else ''}</{tag}>\n"


def _code_block(code: str, language: str) -> str:
    inner = highlighted(code.rstrip("\n"), language)
    return f'<pre class="copyable" tabindex="0"><code>{inner}</code></pre>\n'


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable(
        ["table", "strikethrough"]
    )


def _without_comments(markdown: str) -> str:
    """Comments stand around measured numbers and generated tables; inside of code they are code."""
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_COMMENT.sub("", markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _COMMENT.sub("", markdown[end:])])


def _sections(tokens: list[Token]) -> list[Section]:
    """Give every heading its anchor, as GitHub makes it, and collect what stands below each."""
    used: dict[str, int] = {}
    headings: list[tuple[int, str, str]] = []
    words: list[list[str]] = []
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "inline" and before is not None and before.type == "heading_open":
            title = _plain(token)
            anchor = _UNSPOKEN.sub("", title.lower()).strip().replace(" ", "-") or "section"
            count = used[anchor] = used.get(anchor, -1) + 1
            anchor = f"{anchor}-{count}" if count else anchor
            before.attrSet("id", anchor)
            headings.append((int(before.tag[1]), title, anchor))
            words.append([])
        elif words and token.type in ("inline", "fence", "code_block"):
            words[-1].append(_plain(token))
    return [
        Section(level=level, title=title, anchor=anchor, words=" ".join(below))
        for (level, title, anchor), below in zip(headings, words, strict=True)
    ]


def _plain(token: Token) -> str:
    if token.type in ("fence", "code_block", "text", "code_inline"):
        return token.content
    if token.type in ("softbreak", "hardbreak"):
        return " "
    return "".join(_plain(child) for child in token.children or ())


def _placed_links(tokens: list[Token], address_of: AddressOf) -> Iterator[str]:
    """Put the site's addresses into links and pictures; those that lead nowhere are marked."""
    for token in tokens:
        name = {"link_open": "href", "image": "src"}.get(token.type)
        given = str(token.attrGet(name) or "") if name else ""
        if name is None:
            continue
        if given.startswith(("https://", "http://")):
            token.attrSet("rel", "noreferrer noopener")
            yield given
            continue
        address = given if given.startswith("#") else address_of(given)
        token.meta["is_dead"] = address is None
        if address is not None:
            token.attrSet(name, address)
            yield address


def _drop_dead_links(tokens: list[Token]) -> None:
    """What is not on the site keeps its words and loses its link."""
    for token in tokens:
        kept, is_dropping = [], False
        for child in token.children or ():
            if child.type == "link_open" and child.meta.get("is_dead"):
                is_dropping = True
            elif child.type == "link_close" and is_dropping:
                is_dropping = False
            elif not child.meta.get("is_dead"):
                kept.append(child)
        if token.children is not None:
            token.children = kept
