"""The page at /: one static file that loads nothing from elsewhere and runs under its own policy."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

HTML = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")


def _digests(tag: str) -> str:
    parts = re.findall(rf"<{tag}>(.*?)</{tag}>", HTML, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(p.encode()).digest()).decode()}'" for p in parts)


POLICY = (
    f"default-src 'none'; script-src {_digests('script')}; style-src {_digests('style')}; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of the page: its own script and style by digest, images as data, calls to this server."""
