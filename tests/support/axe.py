"""What axe-core, the checker of accessibility, finds wrong with a page."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

WIDTHS = (1280, 390, 320)
"""Of a desk, of a phone, and of a page that is enlarged four times (WCAG 1.4.10)."""


def faults(page: Page) -> list[str]:
    """The rules that the page breaks seriously or critically, each with the first element that does."""
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {rule['nodes'][0]['html'][:200]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]


def faults_at_all_widths(page: Page) -> list[str]:
    """`faults` of the page at each width, in light colours and once in dark ones, and where it is wider than that."""
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        found += [f"{width}: {fault}" for fault in faults(page)]
        if page.evaluate("() => document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{width}: wider than the screen")
    page.emulate_media(color_scheme="dark")
    found += [f"dark: {fault}" for fault in faults(page)]
    page.emulate_media(color_scheme="light")
    return found
