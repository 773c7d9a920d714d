"""Ray for one job: joins the cluster where there is one, and starts Ray on this machine otherwise."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

from pipelines.cluster.address import address_of
from pipelines.cluster.connect import join, start
from pipelines.config.tables import RayOptions
from pipelines.errors import UserError

T = TypeVar("T")
R = TypeVar("R")


class Stopped(SystemExit):
    """The job received SIGTERM. Finished shards stay; the same command continues from there.

    A SystemExit, so that handlers of Exception let it pass.
    """


WORKERS = ("generators", "scorers", "writers")
"""The pools of a run, as `RayOptions` names them."""


@contextmanager
def session(options: RayOptions, workers: Sequence[str] = WORKERS) -> Iterator[None]:
    """Run the body with a configured Ray. It is shut down at the end unless the process was connected to it before.

    options: the table [ray].
    workers: the pools of the job, as `RayOptions` names them, which must fit; two pools of a kind are named twice.

    Raises:
        UserError: when the cluster cannot be joined or Ray not started, or the workers do not fit it.
    """
    import ray

    if ray.is_initialized():
        _configure_data(joined=False)
        yield
        return
    address = address_of(options)
    if address:
        join(address)
    else:
        start(options.object_store_mb)
    try:
        _configure_data(joined=bool(address))
        if options.check_fit:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
            _check_resources(options, nodes, "cluster" if address else "machine", workers)
            if address:
                _say_if_busy(options, ray.available_resources(), workers)  # type: ignore[no-untyped-call]
        with stoppable(), _without_native_stderr():  # after ray.init, which installs its own handler
            yield
    finally:
        ray.shutdown()


@contextmanager
def stoppable() -> Iterator[None]:
    """Run the body with SIGTERM raising `Stopped` in the main thread."""
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _without_native_stderr() -> Iterator[None]:
    """Discard what C++ code prints to file descriptor 2 (Ray warns of its own actors); Python's stderr still works.

    Ray has its own log files, and errors are raised as Python exceptions.
    """
    python_stderr, terminal = sys.stderr, os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    with open(os.dup(terminal), "w", buffering=1, encoding="utf-8", errors="backslashreplace") as sys.stderr:  # noqa: PTH123 (a descriptor)
        os.dup2(nothing, 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            sys.stderr = python_stderr
            os.close(nothing)
            os.close(terminal)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped


def on_this_node(kind: type, **options: Any) -> Any:
    """An actor class of Ray that needs no CPU and runs on the driver's node, which outlives the spot machines of the
    workers.

    kind: class of the actor.
    options: of Ray, for the actor.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    remote: Any = ray.remote(num_cpus=0)(kind)
    return remote.options(scheduling_strategy=here, **options)


def ordered_map(function: Callable[[T], R], items: Iterable[T], *, cpus: float = 0.5) -> Iterator[R]:
    """The built-in `map`, with the calls spread over the cluster; some run ahead of the result that is read next.

    function: is called.
    items: its arguments.
    cpus: that Ray reserves for a call; 0 while idle actors have them all.
    """
    import ray

    def call(item: T) -> R:  # Ray takes functions alone, and `function` may be a partial one
        return function(item)

    remote: Any = ray.remote(num_cpus=cpus, scheduling_strategy="SPREAD")(call)
    ahead = max(4, int(2 * ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
    waiting: deque[Any] = deque()
    for item in items:
        waiting.append(remote.remote(item))
        if len(waiting) >= ahead:
            yield ray.get(waiting.popleft())
    while waiting:
        yield ray.get(waiting.popleft())


def _configure_data(*, joined: bool) -> None:
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False  # the job has its own, which moves with every step
    context.execution_options.preserve_order = False
    # A model download or a shard of large images may take longer than Ray's default timeout of 30 minutes.
    context.execution_no_progress_timeout_s = -1
    if joined:  # nodes come and go in a cluster; on one machine a model that does not load will not load later
        context.max_consecutive_actor_init_deaths = 2
    else:
        context.actor_init_retry_on_errors = False
    for name in ("exceptions", "_internal.execution.operators.actor_pool_map_operator"):
        logging.getLogger(f"ray.data.{name}").setLevel(logging.CRITICAL)  # errors are raised as well
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # it warns that its bars are off
    # It warns of whatever takes more than a minute: a shard does, and so does waiting for the next round.
    logging.getLogger("ray.data._internal.execution.streaming_executor_state").setLevel(logging.ERROR)


def _check_resources(
    options: RayOptions, nodes: Sequence[Mapping[str, float]], where: str, workers: Sequence[str] = WORKERS
) -> None:
    """Raise UserError where the actors do not fit, for which Ray would wait for ever."""
    counts = {
        "generators": options.min_generators or options.generators,
        "scorers": options.scorers,
        "writers": options.writers * workers.count("writers"),
    }
    each = {
        "CPU": (options.cpus_per_generator, options.cpus_per_scorer, options.cpus_per_writer),
        "GPU": (options.gpus_per_generator, options.gpus_per_scorer, 0.0),
    }
    for kind, amounts in each.items():
        available = sum(node.get(kind, 0.0) for node in nodes)
        asked = [(counts[name], name, amount) for name, amount in zip(counts, amounts, strict=True) if name in workers]
        needed = sum(count * amount for count, _, amount in asked)
        if needed > available + 1e-9:
            pools = ", ".join(f"{count} {name} x {amount:g}" for count, name, amount in asked)
            raise UserError(
                f"[ray] asks for {needed:g} {kind}s ({pools}), but this {where} has {available:g}. "
                f"Lower ray.{workers[0]}, or the {kind.lower()}s_per_* settings, which are fractions if need be. Where "
                "the cluster grows on demand, set ray.min_generators to what is there, or ray.check_fit = false."
            )
    largest = workers[0]
    at = list(counts).index(largest)
    wanted = {kind: amounts[at] for kind, amounts in each.items()}
    room = sum(_room(node, wanted) for node in nodes)
    if room < counts[largest]:
        gpus = "gpus_per_replica" if largest == "generators" else "gpus_per_scorer"
        raise UserError(
            f"[ray] asks for {counts[largest]} {largest}, each on one node with {wanted['CPU']:g} CPUs and "
            f"{wanted['GPU']:g} GPUs, but the nodes of this {where} have room for {room}. Lower ray.{largest}, "
            f"ray.{gpus} or ray.cpus_per_{largest[:-1]}, or set ray.check_fit = false where the cluster grows on "
            "demand."
        )


def _say_if_busy(options: RayOptions, free: Mapping[str, float], workers: Sequence[str]) -> None:
    """Say where other jobs have what this one needs: Ray waits for it without a word."""
    try:
        _check_resources(options, [free], "cluster", workers)
    except UserError:
        print(
            f"Other jobs use this Ray cluster: {free.get('CPU', 0.0):g} CPUs and {free.get('GPU', 0.0):g} GPUs are "
            "free, which is less than [ray] asks for. This job begins when there is more.",
            file=sys.stderr,
        )


def _room(node: Mapping[str, float], wanted: Mapping[str, float]) -> float:
    """Number of workers that fit on a node."""
    fits = (int(node.get(kind, 0.0) / each + 1e-9) for kind, each in wanted.items() if each)
    return min(fits, default=math.inf)
