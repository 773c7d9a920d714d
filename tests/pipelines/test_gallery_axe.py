"""axe-core finds nothing serious on the gallery."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from pipelines.flows.finish import finish
from tests.support.axe import faults, faults_at_all_widths
from tests.support.toy_run import Toy, write_run


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    finish(write_run(folder, Toy(prompts=2)))
    return folder / "gallery.html"


def test_nothing_is_wrong_with_the_page_and_its_dialog(browser: Browser, gallery: Path) -> None:
    page = browser.new_page()
    page.goto(gallery.as_uri())
    assert faults_at_all_widths(page) == []
    page.locator(".card img").first.click()
    assert faults(page) == []
    page.close()
