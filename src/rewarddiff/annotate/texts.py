"""Texts as safe HTML: as they are written, or formatted as Markdown.

Whatever a text holds stays text: no element, no image, no script comes from it. Links lead to
http(s) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape

from rewarddiff.writing import printable

HIGHEST_HEADING = 3
"""A text's headings lie below those of the page, which end with h2."""


def as_written(text: str) -> Markup:
    """Return a text with every space and line end as it is.

    >>> as_written("1 < 2")
    Markup('<div class="text written" dir="auto">1 &lt; 2</div>')
    """
    return Markup('<div class="text written" dir="auto">{}</div>').format(printable(text))


def formatted(text: str, *, breaks: bool = True) -> Markup:
    """Return a text formatted as Markdown; with `breaks` line ends stay.

    >>> print(formatted("**no** <b>"))
    <div class="text" dir="auto"><p><strong>no</strong> &lt;b&gt;</p>
    </div>
    """
    # markdown-it escapes all that is not its own markup (html=False).
    content = Markup(_markdown(breaks).render(printable(text)))
    return Markup('<div class="text" dir="auto">{}</div>').format(content)


@cache
def _markdown(breaks: bool) -> MarkdownIt:
    options = {"html": False, "breaks": breaks}
    markdown = MarkdownIt("commonmark", options, renderer_cls=_Renderer)
    markdown.enable(["table", "strikethrough"])
    markdown.validateLink = _leads_to_the_web  # type: ignore[method-assign]
    return markdown


def _leads_to_the_web(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


class _Renderer(RendererHTML):
    """HTML of markdown-it without images, with headings below those of the page."""

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Name an image where it would stand: nothing is fetched."""
        token = tokens[idx]
        alt = self.renderInlineAsText(token.children or [], options, env)
        return str(Markup("[image: {} {}]").format(alt, token.attrGet("src") or ""))

    def link_open(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
    ) -> str:
        """Let a link open elsewhere, without saying where it was found."""
        href = tokens[idx].attrGet("href") or ""
        return f'<a href="{escape(href)}" rel="noopener noreferrer nofollow" target="_blank">'

    def heading_open(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
    ) -> str:
        return f"<{_lowered(tokens[idx].tag)}>"

    def heading_close(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
    ) -> str:
        return f"</{_lowered(tokens[idx].tag)}>\n"


def _lowered(tag: str) -> str:
    """Return a heading's tag some levels down.

    >>> _lowered("h1"), _lowered("h5")
    ('h3', 'h6')
    """
    return f"h{min(6, int(tag[1:]) + HIGHEST_HEADING - 1)}"
