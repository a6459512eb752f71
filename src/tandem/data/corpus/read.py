"""Files to texts: Markdown, plain text, HTML, PDF. It cuts nothing and stores nothing.

What comes out is the text as a reader sees it, with its headings and pages; all offsets of chunks count in it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import PurePosixPath

from tandem.core.errors import Invalid
from tandem.data.corpus.chunk import Heading, Text

CHARACTERS = 20_000_000
"""The longest text of one document."""
PAGES = 20_000
"""The most pages of one document."""
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$")
_UNDERLINE = re.compile(r"^ {0,3}(=+|-+)[ \t]*$")
_SPACE = re.compile(r"[ \t\f\v\r\n ]+")
_MARK = re.compile(r"[*_`]+|\[([^\]]*)\]\([^)]*\)")


def read(name: str, data: bytes) -> Text:
    """The text of a file; its ending says its format.

    Raises:
        Invalid: it is of no known format, is broken, holds no text, or too much; the message names the file.
    """
    reader = READERS.get(PurePosixPath(name).suffix.lower())
    if reader is None:
        raise Invalid(f"'{name}' is of no format that is read.", hint=f"Known are {', '.join(READERS)}.", field=name)
    found = reader(name, data)
    if len(found.text) > CHARACTERS:
        raise Invalid(f"'{name}' holds {len(found.text):,} characters, more than {CHARACTERS:,}.", hint="Split it.", field=name)
    if not found.text.strip():
        why = "it may be scanned pictures" if name.lower().endswith(".pdf") else "it is empty"
        raise Invalid(f"'{name}' holds no text: {why}.", hint="Leave it out, or add a version with text.", field=name)
    return found


def _decoded(name: str, data: bytes) -> str:
    """The file as text: UTF-8, or UTF-16 with its mark; line ends as `\\n`."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Invalid(f"'{name}' is no UTF-8 text: byte {error.start} is wrong.", hint="Save it as UTF-8.", field=name) from None
    if "\0" in text:
        raise Invalid(f"'{name}' is no text: it holds zero bytes.", hint="Only text files may end like that.", field=name)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _plain(name: str, data: bytes) -> Text:
    text = _decoded(name, data)
    return Text(text=text, title=PurePosixPath(name).stem)


def _markdown(name: str, data: bytes) -> Text:
    """Markdown stays as it was written; headings are found by CommonMark's rules for `#` and underlines."""
    text = _decoded(name, data)
    headings: list[Heading] = []
    at, fence, above = 0, "", ""
    above_at = 0
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\n")
        mark = _FENCE.match(bare)
        if mark is not None and (not fence or bare.strip().startswith(fence)):
            fence = "" if fence else mark[1]
        elif not fence:
            atx, under = _ATX.match(bare), _UNDERLINE.match(bare)
            if atx is not None:
                headings.append(Heading(at=at, level=len(atx[1]), text=_shown(atx[2])))
            elif under is not None and above.strip() and not above.lstrip().startswith(("-", "*", ">", "|", "#")):
                headings.append(Heading(at=above_at, level=1 if under[1][0] == "=" else 2, text=_shown(above.strip())))
        above, above_at = ("" if fence else bare), at
        at += len(line)
    title = next((heading.text for heading in headings if heading.level == 1), PurePosixPath(name).stem)
    return Text(text=text, title=title, headings=tuple(headings))


def _shown(text: str) -> str:
    """A line of Markdown without its marks."""
    return _MARK.sub(lambda match: match[1] or "", text).strip()


class _Page(HTMLParser):
    """What a reader of a page sees: text, in blocks, without scripts, styles and navigation."""

    BLOCKS = frozenset(
        {"address", "article", "aside", "blockquote", "body", "br", "caption", "dd", "details", "div", "dl", "dt", "fieldset"}
        | {"figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html", "legend", "li"}
        | {"main", "ol", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "title", "tr", "ul"}
    )
    HIDDEN = frozenset({"script", "style", "template", "noscript", "svg", "math", "nav", "head", "iframe", "object", "select"})
    VOID = frozenset({"br", "hr", "img", "input", "meta", "link", "wbr", "area", "base", "col", "embed", "source", "track"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.length = 0
        self.headings: list[Heading] = []
        self.title = ""
        self._hidden: list[str] = []
        self._in_title = False
        self._heading: tuple[int, int, int] | None = None
        """Where it begins, its level, and how many parts stood before it."""
        self._pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title":
            self._in_title = True
        hidden = tag in self.HIDDEN or any(name == "hidden" or (name, value) == ("aria-hidden", "true") for name, value in attrs)
        if tag not in self.VOID and (hidden or self._hidden):
            self._hidden.append(tag)
        if self._hidden:
            return
        if tag in self.BLOCKS:
            self._break("\n" if tag in ("br", "tr", "li", "td", "th", "dt", "dd") else "\n\n")
        if tag == "pre":
            self._pre += 1
        if len(tag) == 2 and tag[0] == "h" and tag[1] in "123456":
            self._heading = (self.length, int(tag[1]), len(self.parts))

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if self._hidden:
            if tag in self._hidden:  # an unclosed element inside ends with the one around it
                while self._hidden.pop() != tag:
                    pass
            return
        if self._heading is not None and tag == f"h{self._heading[1]}":
            at, level, before = self._heading
            text = _SPACE.sub(" ", "".join(self.parts[before:])).strip()
            if text:
                self.headings.append(Heading(at=at, level=level, text=text))
            self._heading = None
        if tag == "pre":
            self._pre = max(0, self._pre - 1)
        if tag in self.BLOCKS:
            self._break("\n" if tag in ("tr", "li", "td", "th", "dt", "dd") else "\n\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        if self._hidden or self._in_title:
            return
        text = data if self._pre else _SPACE.sub(" ", data)
        if not self._pre and (not self.parts or self.parts[-1][-1:] in ("\n", " ")):
            text = text.lstrip(" ")
        self._add(text)

    def _break(self, lines: str) -> None:
        """At least these line ends before whatever comes next."""
        if not self.parts:
            return
        tail = (self.parts[-2] if len(self.parts) > 1 else "") + self.parts[-1]
        have = len(tail) - len(tail.rstrip("\n"))
        if have < len(lines):
            self._add("\n" * (len(lines) - have))

    def _add(self, text: str) -> None:
        if text:
            self.parts.append(text)
            self.length += len(text)


def _html(name: str, data: bytes) -> Text:
    page = _Page()
    page.feed(_decoded(name, data))
    page.close()
    title = _SPACE.sub(" ", page.title).strip()
    if not title:
        title = page.headings[0].text if page.headings else PurePosixPath(name).stem
    return Text(text="".join(page.parts), title=title, headings=tuple(page.headings))


def _pdf(name: str, data: bytes) -> Text:
    """The text of a PDF page by page; nothing in it is run, and pictures are not read."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Invalid(f"'{name}' is protected by a password.", hint="Save it without one.", field=name)
        count = len(reader.pages)
        if count > PAGES:
            raise Invalid(f"'{name}' has {count:,} pages, more than {PAGES:,}.", hint="Split it.", field=name)
        parts, starts, length = [], [], 0
        for page in reader.pages:
            text = page.extract_text().replace("\0", "").strip() + "\n\n"
            starts.append(length)
            parts.append(text)
            length += len(text)
            if length > CHARACTERS:
                raise Invalid(f"'{name}' holds more than {CHARACTERS:,} characters.", hint="Split it.", field=name)
        title = str((reader.metadata.title if reader.metadata else None) or "").strip()
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, OSError, ArithmeticError) as error:
        # a library that reads whatever people wrote breaks on some of it in every one of these ways
        raise Invalid(
            f"'{name}' cannot be read as PDF: {type(error).__name__}.",
            words=f"{error}.",
            hint="Save or print it anew.",
            field=name,
        ) from None
    return Text(text="".join(parts), title=title or PurePosixPath(name).stem, pages=tuple(starts))


READERS: Mapping[str, Callable[[str, bytes], Text]] = {
    ".md": _markdown,
    ".markdown": _markdown,
    ".txt": _plain,
    ".text": _plain,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
}
"""File ending → what reads it."""
