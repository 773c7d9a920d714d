"""The file of settings that lies beside a model or a LoRA, here, in the hub's cache or on the hub. Importable without
torch."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath

from models import hub
from models.spec import Lora


class Unreached(Exception):
    """Nobody knows whether there is such a file."""


def beside_model(path: str) -> Path | None:
    """The TOML file of a folder's name beside it; None where there is none.

    path: as `model.path`.
    """
    return _beside_folder(Path(path), "")


def beside_lora(lora: Lora) -> Path | None:
    """The TOML file of the same name beside a LoRA's weights, or beside their folder; None where there is none.

    lora: which one.

    Raises:
        Unreached: the hub does not answer, and has not left the LoRA in its cache.
    """
    at = Path(lora.path)
    if at.is_file():
        return _there(at.with_suffix(".toml"))
    if at.exists():
        return _beside_folder(at, lora.weight_name)
    found = _on_hub(lora.path, lora.weight_name, lora.revision)
    if isinstance(found, Unreached):
        raise found
    return found


def names_of(folder: Path) -> list[Path]:
    """A folder as it was named, where that has a name, and as it is without links."""
    return [at for at in (folder, folder.resolve()) if at.name not in ("", "..")]


def _beside_folder(folder: Path, weight_name: str) -> Path | None:
    if not folder.is_dir():
        return None
    inside = _settings_of([file.name for file in folder.iterdir()], weight_name)
    named = [place.parent / f"{place.name}.toml" for place in names_of(folder)]
    return next(filter(None, map(_there, [*named, *([folder / inside] if inside else [])])), None)


def _there(file: Path) -> Path | None:
    return file if file.is_file() else None


def _settings_of(files: Collection[str], weight_name: str) -> str:
    """The name that the TOML file has where these files lie; "" where no weights say so.

    files: names.
    weight_name: of the weights among them; "" for the only ones, or those with the usual name.
    """
    weights = [weight_name] if weight_name else [name for name in files if name.endswith(".safetensors")]
    weights = weights if len(weights) == 1 else [name for name in weights if name == hub.LORA_WEIGHTS]
    return str(PurePosixPath(weights[0]).with_suffix(".toml")) if weights else ""


@cache
def _on_hub(repository: str, weight_name: str, revision: str) -> Path | Unreached | None:
    """Asked once in a process, whether or not it answers, as a hub that does not takes its time."""
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]  # of its HTTP client

    try:
        found = hub.told(repository, revision)
    except HFValidationError:  # no hub id: what is wrong is said when the run is checked
        return None
    if found is not None:
        files = [file.rfilename for file in found.siblings or ()]
        settings = _settings_of(files, weight_name)
        if settings not in files:
            return None
        with suppress(OSError, HTTPError, ValueError):
            return Path(hf_hub_download(repository, settings, revision=found.sha))
    try:
        cached = snapshot_download(repository, revision=revision or None, local_files_only=True)
    except OSError:
        return Unreached(repository)
    return _beside_folder(Path(cached), weight_name)
