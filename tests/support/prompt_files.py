"""Prompt files that are written for a test, and what is read of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.prompts import reading as prompt_reading
from pipelines.prompts.config import Prompts
from pipelines.prompts.rows import Dropped, FailedPrompt, PromptRow


def read(path: Path | str, **wanted: Any) -> list[PromptRow | FailedPrompt]:
    rows = list(prompt_reading.read(Prompts(path=str(path), **wanted)))
    return [row for row in rows if not isinstance(row, Dropped)]


def shown(path: Path | str, **wanted: Any) -> list[str]:
    """Line and prompt of a good row; line and type of the failure of a bad one."""
    said = [
        (row.source, row.prompt if isinstance(row, PromptRow) else row.failure.error_type)
        for row in read(path, **wanted)
    ]
    return [f"{source.rpartition(':')[2]} {word}" for source, word in said]


def written(path: Path, content: bytes | str | pa.Table) -> Path:
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
