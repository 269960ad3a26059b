"""Results → one self-contained HTML page, tables for the terminal and for Markdown.

Importing this package is cheap: matplotlib, jinja2 and rich load when a function that needs them is
called.
"""

from rewarddiff.report.page import render
from rewarddiff.report.text import markdown_tables, terminal_designs, terminal_table

__all__ = ["markdown_tables", "render", "terminal_designs", "terminal_table"]
