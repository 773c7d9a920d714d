"""The endpoint behind a prefix, as a proxy gives it one: `root_path` of ASGI."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from pipelines.serve.answers import ImagesDesk
from pipelines.serve.door import Door
from pipelines.serve.keys import Keys
from pipelines.serve.settings import ServeArgs
from pipelines.serve.several import models_of
from pipelines.serve.web import create_app
from tests.support.served import BrokenEngine


@pytest.mark.parametrize("prefix", ["", "/studio"])
def test_a_wrong_field_of_an_edit_is_told_those_of_edits(prefix: str) -> None:
    models = models_of(ServeArgs(scoring="ViT-B-32/openai", allow_anonymous=True), [BrokenEngine()])
    client = TestClient(create_app(models, ImagesDesk(models), Keys(), Door()), root_path=prefix)
    answer = client.post(f"{prefix}/v1/images/edits", json={"prompt": "a red star", "imag": "x"})
    assert answer.status_code == 400
    assert "did you mean 'image'" in answer.json()["error"]["message"]
