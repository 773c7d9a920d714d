"""Pictures as files, and rows that name them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.prompt_files import written

COLUMNS = {"source_image": "picture"}


def png(colour: str = "red", size: tuple[int, int] = (8, 6), kind: str = "PNG", **how: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind, **how)
    return file.getvalue()


def id_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def lines(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    return written(folder / "p.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


RED, BLUE = png(), png("blue")
