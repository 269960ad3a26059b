"""The JSON Schema of results.json, from the dataclasses that write and read it.

python docs/results_schema.py     # writes docs/results.schema.json
"""

from __future__ import annotations

import json
from pathlib import Path

from rewarddiff.results import Results, adapter

FILE = Path(__file__).parent / "results.schema.json"


def text() -> str:
    """Return the schema as it stands in the file."""
    schema = adapter(Results).json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "results.json"
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
