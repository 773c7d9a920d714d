"""Do the workers fit the cluster? Ray waits for ever for those that do not."""

from __future__ import annotations

import pytest

from pipelines.cluster.session import WORKERS, _check_resources, _say_if_busy
from pipelines.config.tables import RayOptions
from pipelines.errors import UserError

FOUR_GPUS = RayOptions(generators=2, gpus_per_generator=4, gpus_per_replica=4)
HEAD = {"memory": 8e9}


def test_workers_that_fit() -> None:
    _check_resources(RayOptions(), [{"CPU": 2.0}], "machine")
    _check_resources(FOUR_GPUS, [HEAD, {"CPU": 8.0, "GPU": 8.0}], "cluster")
    _check_resources(FOUR_GPUS, [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 4.0}], "cluster")
    _check_resources(RayOptions(generators=10, cpus_per_generator=0.1), [{"CPU": 1.0}, {"CPU": 1.0}], "cluster")


def test_too_few_in_all() -> None:
    with pytest.raises(UserError, match=r"asks for 8 GPUs .* this cluster has 4"):
        _check_resources(FOUR_GPUS, [{"CPU": 8.0, "GPU": 4.0}], "cluster")


def test_a_replica_needs_all_its_gpus_on_one_node() -> None:
    nodes = [{"CPU": 8.0, "GPU": 2.0}] * 3 + [{"CPU": 8.0, "GPU": 4.0}]
    with pytest.raises(UserError, match="4 GPUs, but the nodes of this cluster have room for 1"):
        _check_resources(FOUR_GPUS, nodes, "cluster")


def test_a_rescoring_needs_no_generator() -> None:
    pools = ("scorers", "writers", "writers")
    _check_resources(RayOptions(), [{"CPU": 1.0}], "machine", pools)
    with pytest.raises(UserError, match=r"asks for 2.5 CPUs \(4 scorers x 0.5, 2 writers x 0.25\)"):
        _check_resources(RayOptions(scorers=4), [{"CPU": 2.0}], "machine", pools)
    on_gpus = RayOptions(scorers=2, gpus_per_scorer=0.75)
    with pytest.raises(UserError, match=r"asks for 2 scorers, .* room for 1. Lower ray.scorers, ray.gpus_per_scorer"):
        _check_resources(on_gpus, [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 0.5}], "cluster", pools)


def test_a_cluster_that_others_use_is_said_to_be_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    _say_if_busy(RayOptions(), {"CPU": 2.0, "memory": 8e9}, WORKERS)
    assert capsys.readouterr().err == ""
    _say_if_busy(RayOptions(gpus_per_generator=1.0), {"CPU": 2.0, "memory": 8e9}, WORKERS)
    assert "2 CPUs and 0 GPUs are free, which is less than [ray] asks for" in capsys.readouterr().err
