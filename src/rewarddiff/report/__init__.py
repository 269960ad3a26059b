"""Results → one self-contained HTML page, and tables for the terminal.

Importing this package is cheap: matplotlib, jinja2 and rich load when a function that needs them is
called.
"""

from rewarddiff.report.page import render
from rewarddiff.report.text import terminal_designs, terminal_evaluation, terminal_table

__all__ = ["render", "terminal_designs", "terminal_evaluation", "terminal_table"]
