"""Blind comparison by people: a page that shows two responses without saying whose they are.

samples    data → pairs of responses
project    a folder is begun, or gone on with
assigning  who is asked about what, and which response stands first
votes      the file of the project (schema.sql)
scale      how much better, in five or seven steps
texts      Markdown and plain text as safe HTML
keys       what an annotator has chosen: keys, and how texts are shown
guards     Host, Origin, token, bodies, headers
pages      the templates, filled
app        routes
server     address, start and end
export     votes as files
"""

from importlib.util import find_spec

from rewarddiff.annotate.config import AnnotateConfig
from rewarddiff.errors import UserError

__all__ = ["AnnotateConfig", "require_installed"]


def require_installed() -> None:
    """Raise a UserError where what the page is made of is not installed."""
    for module in ("starlette", "uvicorn", "markdown_it"):
        if find_spec(module) is None:
            raise UserError(
                f"the page needs {module}, which is not installed: "
                "pip install 'rewarddiff[annotate]'"
            )
