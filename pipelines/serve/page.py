"""The page at /: it loads nothing from elsewhere and runs under its own policy."""

from __future__ import annotations

from pipelines import pages

_STYLE, _SCRIPT = pages.style("serve.css"), pages.part("serve.js")

HTML = pages.fill("serve.html", style=_STYLE, script=_SCRIPT)

POLICY = (
    f"default-src 'none'; script-src {pages.digest(_SCRIPT)}; style-src {pages.digest(_STYLE)}; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of the page: its own script and style by digest, images as data, calls to this server."""
