"""What is said of a config before a model is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.loading import dtype as module
from pipelines.errors import UserError
from pipelines.flows import preflight
from pipelines.flows.warnings import of_model
from tests.conftest import Configure

EMBEDDED = "models/embedded/weights/pipeline"


@pytest.mark.parametrize(
    ("flags", "dtype", "gpus", "slow"),
    [
        ("fpu avx2", "bfloat16", 0.0, True),
        ("fpu avx2", "float16", 0.0, True),
        ("avx512_bf16 amx_bf16", "float16", 0.0, True),
        ("avx2 avx512_bf16", "bfloat16", 0.0, False),
        ("fpu avx2", "float32", 0.0, False),
        ("fpu avx2", "bfloat16", 1.0, False),
        ("fpu avx2", "auto", 0.0, False),
    ],
)
def test_a_number_format_that_a_cpu_has_no_units_for(
    flags: str,
    dtype: str,
    gpus: float,
    slow: bool,
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = tmp_path / "cpuinfo"
    cpu.write_text(f"model name\t: x\nflags\t\t: {flags}\n")
    monkeypatch.setattr(module, "_CPU", cpu)
    monkeypatch.setenv("PATH", "")  # where no driver says which GPU this machine has
    config = configure(model={"path": EMBEDDED, "dtype": dtype}, ray={"gpus_per_generator": gpus})
    said = list(of_model(config))
    assert [f"model.dtype = {dtype!r}: this machine's CPU has no units for it" in line for line in said] == [
        True
    ] * slow


def test_a_part_that_a_folder_has_not_is_named_before_it_is_loaded(configure: Configure) -> None:
    config = configure(model={"path": EMBEDDED, "drop": ["text_encoder_33"]}, scoring={"model": "ViT-B-32"})
    with pytest.raises(UserError, match=r"model\.drop = 'text_encoder_33': .* no such part; did you mean"):
        preflight.check(config)


def test_a_model_that_nobody_knows(configure: Configure) -> None:
    (said,) = of_model(configure(model={"path": "owner/model", "dtype": "float32"}))
    assert "is not in models/checkpoints.py: it gets the papers' form" in said


@pytest.mark.parametrize("output", ["out/seed=7", "s3://bucket/arm=x/run", "out/a=b=c/run"])
def test_a_folder_that_readers_take_for_a_column(output: str, configure: Configure) -> None:
    (named,) = [part for part in output.split("/") if "=" in part]
    with pytest.raises(UserError, match=f"run.output = .* take the folder {named!r} for a column"):
        preflight.check(configure(run={"output": output}, model={"path": EMBEDDED}))


@pytest.mark.parametrize("name", ["run#1", "run[1]", "{a,b}", "$HOME", "a*b", "what?", "back\\slash"])
def test_a_folder_that_readers_do_not_find(name: str, configure: Configure) -> None:
    with pytest.raises(UserError, match=r"run\.output = .* for a pattern or a variable, and find nothing"):
        preflight.check(configure(run={"output": f"out/{name}/run"}, model={"path": EMBEDDED}))
