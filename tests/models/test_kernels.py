"""The GPU kernels without a GPU: run by Triton's interpreter, and compiled for one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jobs.benchmarks import cost
from models.interventions.numerics.arrays import TORCH
from models.interventions.numerics.eigen import gpu_kernels, large_eigenvalues
from models.interventions.repulsion import ascent, push
from models.interventions.repulsion.config import RepulsionConfig
from models.interventions.tora import transform
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.selection import TokenSelection
from models.tokens import Tokens

pytest.importorskip("triton")

_INTERPRETED = """
import torch
from models.interventions.numerics import kernels
from models.interventions.repulsion import ascent
generator = torch.Generator().manual_seed(0)
x = torch.randn(2, 1, 60, dtype=torch.float64, generator=generator)
x = x + 0.1 * torch.randn(2, 3, 60, dtype=torch.float64, generator=generator)
gram = x @ x.mT
values, vectors = torch.linalg.eigh(gram)
found, turned = kernels.eigh(gram)
assert (found - values).abs().max() < 1e-10
assert (turned @ (found[:, :, None] * turned.mT) - gram).abs().max() < 1e-10
start, factor = vectors * values.sqrt()[:, None, :], -2 / 3 / 20 * gram.diagonal(dim1=1, dim2=2).mean(-1)
end = kernels.ascend(start, factor, 5, 1e-12)
expected = torch.from_numpy(ascent._ascend(start.numpy(), factor.numpy(), 5, exact=True))
assert (end - expected).norm() < 1e-9 * (expected - start).norm()
"""

_GRADED = """
from functools import partial
import torch
from models.tokens import Tokens
from models.interventions.numerics import kernels
from models.interventions.numerics.arrays import TORCH
from models.interventions.tora.config import ToraConfig
from models.interventions.tora.reference import align_by_svd
from models.interventions.tora.selection import TokenSelection
from models.interventions.tora.transform import align, by_vectors

generator = torch.Generator().manual_seed(0)


def orthogonal(rows, columns):
    return torch.linalg.qr(torch.randn(rows, columns, dtype=torch.float64, generator=generator))[0]


def curve(kind, count):
    singular = torch.logspace(0, -float(kind) if kind.isdigit() else -2, count, dtype=torch.float64)
    if kind == "repeated":
        singular[:3] = singular[0]
    if kind == "deficient":
        singular[count // 2 :] = 0
    return singular


cases = {16: ("2", "4", "8", "repeated", "deficient"), 24: ("2", "8"), 40: ("4", "deficient"), 64: ("8",)}
config = ToraConfig()
for count, kinds in cases.items():
    rows = []
    for kind in kinds:
        # Centred, so that the curve is that of what the algebra sees.
        away = orthogonal(count, count - 1)
        left = torch.linalg.qr(away - away.mean(0))[0]
        rows.append((left * curve(kind, count - 1)) @ orthogonal(count + 32, count - 1).T)
    tokens = torch.stack(rows).float()
    direction = torch.randn(len(kinds), count + 32, generator=generator)
    valid = torch.ones(len(kinds), count, dtype=torch.bool)
    selection = TokenSelection.of(Tokens.of(valid, valid), config)
    select = (selection.selected_BN1, selection.gather_BMN, selection.scatter_BNM)
    elbow = {"elbow_rows_BMM": selection.elbow_rows_BMM, "order_M1": selection.order_M1}
    decompose = partial(by_vectors, TORCH, kernels.eigh, sigma=config.sigma, angle=config.angle, **elbow)
    found = align(TORCH, decompose, tokens, direction, *select)
    expected = align_by_svd(tokens.double(), direction.double(), valid, config)
    error = (found - expected).norm(dim=(1, 2)) / (expected - tokens).norm(dim=(1, 2))
    print(count, dict(zip(kinds, error.tolist())), flush=True)
    # Tokens of deficient rank have directions that only their rounding to float32 gives a length.
    assert (error < torch.tensor([5e-4 if kind == "deficient" else 1e-4 for kind in kinds])).all()
"""

_TRIDIAGONAL = """
import torch
from models.interventions.numerics import tridiagonal
generator = torch.Generator().manual_seed(0)
tridiagonal._AT_ONCE = 128  # the interpreter runs one program after the other
for count in (3, 70):
    basis = torch.linalg.qr(torch.randn(count, count, dtype=torch.float64, generator=generator))[0]
    graded = torch.logspace(0, -8, count, dtype=torch.float64)
    graded[count // 3 : count // 3 + 2] = graded[count // 3]
    deficient = torch.where(torch.arange(count) < count // 2, graded, 0.0)
    cases = [(basis * graded) @ basis.T, (basis * deficient) @ basis.T, torch.eye(count).double()]
    matrix = torch.stack([*cases, 0 * cases[0]])
    assert (tridiagonal.eigenvalues(matrix) - torch.linalg.eigvalsh(matrix)).abs().max() < 1e-13
"""

_ON_THE_TENSORS_GPU = """
from contextlib import contextmanager
import torch
from models.interventions.numerics import kernels, tridiagonal
inside, launched = [], []
matrix = torch.eye(3).double()[None]


@contextmanager
def device_of(tensor):
    inside.append(tensor.shape)
    yield
    inside.pop()


class Kernel:
    def __getitem__(self, grid):
        return lambda *args, **kwargs: launched.append(bool(inside))


torch.cuda.device_of = device_of
kernels._eigh_kernel = kernels._ascend_kernel = Kernel()
tridiagonal._reduce_kernel = tridiagonal._count_kernel = Kernel()
kernels.eigh(matrix)
kernels.ascend(matrix, torch.ones(1).double(), 2, 1e-12)
tridiagonal.eigenvalues(matrix)
assert launched == [True] * 4, launched
"""

_COMPILED = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from models.interventions.numerics import kernels, tridiagonal
names = ("matrix", "values", "vectors", "c", "frame", "factor", "work", "diagonal", "beside")
others = dict.fromkeys(names, "*fp64") | {"cosine_limit": "fp32"}
cases = (
    (kernels._eigh_kernel, {"SIZE": 16}),
    (kernels._ascend_kernel, {"SIZE": 4, "SMALLEST": 1e-12}),
    (tridiagonal._reduce_kernel, {"SIZE": 128, "ROWS": 16}),
    (tridiagonal._count_kernel, {"SIZE": 128, "AT_ONCE": 4}),
)
for kernel, constants in cases:
    kinds = {name: "constexpr" if name in constants else others.get(name, "i32") for name in kernel.arg_names}
    compiled = compile(ASTSource(fn=kernel, signature=kinds, constexprs=constants), target=GPUTarget("cuda", 90, 32))
    assert compiled.asm["cubin"]
"""


_INTERPRETER = {"TRITON_INTERPRET": "1"}


@pytest.mark.parametrize(
    ("program", "settings"),
    [
        (_INTERPRETED, _INTERPRETER),
        (_GRADED, _INTERPRETER),
        (_TRIDIAGONAL, _INTERPRETER),
        (_ON_THE_TENSORS_GPU, {}),
        (_COMPILED, {}),
    ],
)
def test_kernels(program: str, settings: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-c", program], env=os.environ | settings, check=True, timeout=170)


def test_which_kernels_serve_which_sizes() -> None:
    """TORA has a faster way above 64 tokens; groups have none but the host above 128 samples."""
    kernels, gpu = pytest.importorskip("models.interventions.numerics.kernels"), torch.device("cuda")
    assert [gpu_kernels(gpu, rows) is not None for rows in (2, 64, 65, 128, 129)] == [True, True, True, True, False]
    assert [large_eigenvalues(gpu, rows) is not None for rows in (2, 64, 65, 512)] == [False, False, True, True]
    assert gpu_kernels(torch.device("cpu"), 2) is None
    assert large_eigenvalues(torch.device("cpu"), 512) is None
    assert cost.JACOBI_LARGEST == kernels.FEW


class _Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes operations for which a host has to wait for its GPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = str(operation)
        waits = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "linalg", "unique", "equal.default")
        # These do not look at their result.
        for free in ("linalg_cholesky_ex", "linalg_solve_triangular", "linalg_vector_norm"):
            name = name.replace(free, "")
        if any(word in name for word in waits) or ("device" in (kwargs or {}) and "_to_copy" in name):
            self.found.append(name)
        return operation(*args, **(kwargs or {}))


def test_nothing_on_the_way_waits_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def ready_eigh(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return matrix.diagonal(dim1=1, dim2=2).sort().values, torch.eye(matrix.shape[-1]).double().expand_as(matrix)

    kernels = SimpleNamespace(eigh=ready_eigh, ascend=lambda start, *_: start * 1.1)
    monkeypatch.setattr(ascent, "gpu_kernels", lambda *_: kernels)
    monkeypatch.setattr(ascent, "eigh", ready_eigh)

    tokens, valid = torch.randn(2, 4, 6, 16), torch.ones(4, 6, dtype=torch.bool)
    selection = TokenSelection.of(Tokens.of(valid, valid), ToraConfig())
    select = (selection.selected_BN1, selection.gather_BMN, selection.scatter_BNM)
    elbow, order = selection.elbow_rows_BMM, selection.order_M1

    def few(rows: torch.Tensor) -> torch.Tensor:
        return transform.by_vectors(TORCH, ready_eigh, rows, elbow, order, sigma=2.0, angle=1.0)

    def many(rows: torch.Tensor) -> torch.Tensor:
        return transform.by_values(lambda matrix: ready_eigh(matrix)[0], rows, elbow, sigma=2.0, angle=1.0)

    with _Waits() as waits:
        push.repel(tokens, RepulsionConfig())
        direction = transform.semantic_direction(tokens[0], tokens[1], selection, ToraConfig())
        for decompose in (few, many):
            transform.align(TORCH, decompose, tokens[0], direction, *select)
        assert waits.found == []
        tokens.sum().item()
        assert waits.found
