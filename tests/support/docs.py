"""The commands that the documentation tells a reader to type."""

from __future__ import annotations

import contextlib
import re
import runpy
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb

from tests.conftest import ROOT

GUIDES = {
    name: (ROOT / name).read_text()
    for name in (
        "README.md",
        "pipelines/README.md",
        "pipelines/dataset/README.md",
        "pipelines/prompts/README.md",
        "pipelines/serve/README.md",
        "pipelines/export/README.md",
        "pipelines/quota/README.md",
        "models/README.md",
        "tests/README.md",
        "infra/README.md",
        "infra/CONTRIBUTING.md",
        "infra/CHANGELOG.md",
    )
}
"""What people read: path -> text."""
README, INFRA = GUIDES["README.md"], GUIDES["infra/README.md"]
BLOCK = re.compile(r"<!-- (test|needs): (.+?) -->\n```\n(.+?)```\n<!-- end -->", re.DOTALL)
"""Of infra/README.md: how it is tested or what it needs, in a word and in words, and its lines."""
JOB = re.compile(r"python jobs/(\w+)\.py((?: +[^\s#`]+)*)")
"""The name of a job and its arguments."""
_FENCED = re.compile(r"^```(\w*)\n(.+?)^```$", re.DOTALL | re.MULTILINE)


_IMPORTED = re.compile(r"^(?:import|from) (\w+)", re.MULTILINE)


def run_blocks(text: str, folder: Path) -> list[Any]:
    """Run the Python and the SQL of a document as they stand, in their order, where a person would run them.

    text: the document.
    folder: the working directory.

    Returns what each block gave: the names that Python has set, the rows of a query; None for Python that needs a
    package that is not installed here.
    """
    given: list[Any] = []
    with contextlib.chdir(folder), tempfile.TemporaryDirectory() as files:
        for language, body in _FENCED.findall(text):
            if language == "sql":
                given.append(duckdb.connect().execute(body).fetchall())
            elif language == "python" and all(map(find_spec, _IMPORTED.findall(body))):
                file = Path(files) / f"{len(given)}.py"
                file.write_text(body)
                given.append(runpy.run_path(str(file)))
            elif language == "python":
                given.append(None)
    return given


def blocks(text: str, language: str) -> list[str]:
    """What stands between fences that name this language."""
    return [body for named, body in _FENCED.findall(text) if named == language]


def plain_blocks(text: str) -> list[str]:
    """What stands between fences that name no language."""
    return blocks(text, "")
