"""Settings that lie beside a LoRA are found where its weights are: in a folder, in the hub's cache and on the hub."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.beside import Unreached, _on_hub, beside_lora
from models.embedded import WEIGHTS
from models.recommended import recommended
from models.spec import Lora

COMMIT = "0123456789abcdef0123456789abcdef01234567"
USUAL = "pytorch_lora_weights"


@pytest.fixture(params=["folder", "cache", "hub"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """The path of a LoRA in one of the places where one may be, and the folder of its files."""
    if request.param == "folder":
        return str(tmp_path / "ink"), tmp_path / "ink"
    _on_hub.cache_clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", request.param == "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--owner--ink"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    snapshot = cached / "snapshots" / COMMIT

    def model_info(self: Any, repository: str, **asked: Any) -> Any:
        assert repository == "owner/ink"
        names = [path.relative_to(snapshot).as_posix() for path in sorted(snapshot.rglob("*")) if path.is_file()]
        return SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename=name) for name in names])

    def download(repository: str, file: str, *, revision: str) -> str:
        assert (repository, revision) == ("owner/ink", COMMIT)
        return str(snapshot / file)

    if request.param == "hub":  # a file that is downloaded lies in the cache after that
        monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
        monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return "owner/ink", snapshot


@pytest.mark.parametrize(
    ("files", "weight_name", "found"),
    [
        (["a.safetensors", "a.toml"], "", "a.toml"),
        (["a.safetensors", "a.toml", "b.toml"], "", "a.toml"),
        (["a.safetensors", "b.safetensors", "a.toml"], "", None),  # nobody knows which of them is loaded
        (["a.safetensors", "b.safetensors", "a.toml", "b.toml"], "b.safetensors", "b.toml"),
        (["a.safetensors", "b.safetensors", "a.toml"], "b.safetensors", None),
        (["a.safetensors", f"{USUAL}.safetensors", "a.toml", f"{USUAL}.toml"], "", f"{USUAL}.toml"),
        (["fast/a.safetensors", "b.safetensors", "fast/a.toml"], "fast/a.safetensors", "fast/a.toml"),
        (["a.safetensors"], "", None),
    ],
)
def test_the_file_is_that_of_the_weights_that_are_loaded(
    place: tuple[str, Path], files: list[str], weight_name: str, found: str | None
) -> None:
    path, folder = place
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("[sampling]\nsteps = 8\n")
    lora = Lora(name="ink", path=path, weight_name=weight_name)
    assert beside_lora(lora) == (folder / found if found else None)
    assert recommended("owner/model", [lora]).sampling == ({"steps": 8} if found else {})


@pytest.mark.parametrize("path", ["owner/gone", "there/is/no/such.safetensors"])
def test_where_nothing_is_there_nothing_is_found(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    lora = Lora(name="ink", path=path)
    if path == "owner/gone":  # a hub that does not answer may have it
        with pytest.raises(Unreached):
            beside_lora(lora)
    else:
        assert beside_lora(lora) is None
    assert (path in recommended(str(WEIGHTS / "pipeline"), [lora]).warning) == (path == "owner/gone")
