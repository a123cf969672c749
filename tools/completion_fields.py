"""The fields of a completion request in docs/serving.md, from the table that validates requests (`serve.openai.fields`).

    python tools/completion_fields.py            prints the table
    python tools/completion_fields.py --write    puts it into docs/serving.md, between <!-- fields --> and <!-- /fields -->
    python tools/completion_fields.py --check    exit 1 if docs/serving.md has another (CI)
"""

import json
import sys

from pellucid.serve.openai.fields import COMPLETION_FIELDS, CompletionField


def default_of(row: CompletionField) -> str:
    """A field's default, in the page's words."""
    if row.required:
        return "required"
    return "" if row.default in (None, ()) else f"`{json.dumps(row.default)}`"


def table() -> str:
    """The table in Markdown."""
    lines = ["| field | is | default | here | OpenAI, 2023 | vLLM | llama-server |", "|---|---|---|---|---|---|---|"]
    for row in COMPLETION_FIELDS:
        here = f"{row.treatment}: {row.help}" if row.treatment != "supported" else row.help
        cells = [f"`{row.name}`", row.requirement, default_of(row), here, row.openai, row.vllm, row.llama]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    from page_section import run

    sys.exit(run(__doc__, "serving.md", "fields", table()))
