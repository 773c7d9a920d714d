"""The web process holds requests and no model: nothing that it does needs torch, which takes 700 MB."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

CODE = """
import sys
import pipelines.serve.app
from pipelines.serve.answers import ImagesDesk
from pipelines.serve.door import Door
from pipelines.serve.keys import Keys
from pipelines.serve.settings import ServeArgs
from pipelines.serve.several import models_of
from pipelines.serve.web import create_app
from starlette.testclient import TestClient
from tests.support.served import BrokenEngine

args = ServeArgs(scoring="ViT-B-32/openai", allow_anonymous=True)
models = models_of(args, [BrokenEngine()])
client = TestClient(create_app(models, ImagesDesk(models), Keys(), Door()))
asked = {"prompt": "a red star", "tora": {"sigma": 1.2}, "repulsion": True, "partial_images": 1, "stream": True}
statuses = [client.post("/v1/images/generations", json=asked).status_code, client.get("/").status_code]
print(statuses, [name for name in ("torch", "diffusers", "transformers", "open_clip") if name in sys.modules])
"""


def test_the_web_process_does_without_torch() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[500, 200] []"
