"""Recipes: YAML and dotted overrides in, nested frozen dataclasses out, and back again.

Each component keeps its options in a frozen dataclass of its own; a recipe nests them. The
annotations are the rules: an unknown key, a value of another type or a choice that does not exist
is a `UserError` of one line that names the place and the mend. No torch here.

recipe     a recipe, or a dataclass made in Python, checked
plain      no part of a recipe is shared, endless or larger than any
written    YAML in and out; numbers and booleans as YAML 1.2 has them
overrides  dotted.key=value
schema     what the annotations of nested dataclasses say
problems   what is wrong, in words
rules      rules between numbers, for dataclasses to call
"""

from rewarddiff.config.recipe import checked, load_recipe
from rewarddiff.config.rules import at_least, positive
from rewarddiff.config.schema import to_dict
from rewarddiff.config.written import dump_yaml, read_recipe

__all__ = [
    "at_least",
    "checked",
    "dump_yaml",
    "load_recipe",
    "positive",
    "read_recipe",
    "to_dict",
]
