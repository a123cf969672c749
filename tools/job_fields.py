"""The fields of fine-tuning requests in docs/serving.md, from the tables that validate requests (`serve.openai.job_fields`).

python tools/job_fields.py            prints the tables
python tools/job_fields.py --write    puts them into docs/serving.md, between <!-- job fields --> and <!-- /job fields -->
python tools/job_fields.py --check    exit 1 if docs/serving.md has others (CI)
"""

import sys
from collections.abc import Iterator, Sequence

from pellucid.serve.openai.job_fields import FINE_TUNE_FIELDS, JOB_FIELDS, JobField


def rows(fields: Sequence[JobField], within: str = "") -> Iterator[str]:
    """The rows of a table; fields of an object after it, by their path."""
    for row in fields:
        here = f"{row.treatment}: {row.help}" if row.treatment != "supported" else row.help
        required = "required" if row.required else ""
        cells = [f"`{within}{row.name}`", row.requirement, required, here, row.openai]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        yield from rows(row.inner, f"{within}{row.name}.")


def tables() -> str:
    """Both tables in Markdown."""
    lines = []
    for title, fields in (
        ("`POST /v1/fine_tuning/jobs`:", JOB_FIELDS),
        ("`POST /v1/fine-tunes` (2021 to 2023):", FINE_TUNE_FIELDS),
    ):
        lines += ["", title, "", "| field | is | | here | OpenAI |", "|---|---|---|---|---|", *rows(fields)]
    return "\n".join([*lines[1:], ""])


if __name__ == "__main__":
    from page_section import run

    sys.exit(run(__doc__, "serving.md", "job fields", tables()))
