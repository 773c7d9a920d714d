"""The commands that the documentation tells a reader to type."""

from __future__ import annotations

import re

from tests.conftest import ROOT

GUIDES = {
    name: (ROOT / name).read_text()
    for name in (
        "README.md",
        "pipelines/README.md",
        "pipelines/serve/README.md",
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


def blocks(text: str, language: str) -> list[str]:
    """What stands between fences that name this language."""
    return [body for named, body in _FENCED.findall(text) if named == language]


def plain_blocks(text: str) -> list[str]:
    """What stands between fences that name no language."""
    return blocks(text, "")
