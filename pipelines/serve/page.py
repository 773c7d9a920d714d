"""The page at /: it loads nothing from elsewhere and runs under its own policy."""

from __future__ import annotations

from pipelines.pages.fill import Templates, digest

_TEMPLATES = Templates(__file__)
_STYLE, _SCRIPT = _TEMPLATES.style("serve.css"), _TEMPLATES.part("serve.js")

HTML = _TEMPLATES.fill("serve.html", style=_STYLE, script=_SCRIPT)

POLICY = (
    f"default-src 'none'; script-src {digest(_SCRIPT)}; style-src {digest(_STYLE)}; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of the page: its own script and style by digest, images as data, calls to this server."""
