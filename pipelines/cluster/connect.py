"""Joins a Ray cluster, or starts Ray on this machine. What goes wrong with that is one sentence."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

from pipelines.cluster.address import Address
from pipelines.cluster.reach import reach
from pipelines.cluster.trouble import said
from pipelines.cluster.upload import working_directory
from pipelines.errors import UserError

_QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
"""Errors of workers are raised here; everything else is in Ray's log files and dashboard."""


def join(address: Address) -> None:
    """Connect this process to a cluster.

    address: of the cluster.

    Raises:
        UserError: when nothing answers there, what answers does not let it in, or too much would be sent.
    """
    import ray

    print(f"joining the Ray cluster at {address.value}", file=sys.stderr)
    reach(address)
    # A submitted job already runs in its working directory; otherwise the code is uploaded.
    submitted = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    upload: dict[str, Any] = {} if submitted else {"runtime_env": working_directory(Path())}
    try:
        ray.init(address=address.value, **_QUIET, **upload)
    except Exception as error:  # Ray raises plain ones too
        raise UserError(f"{address}: cannot join this Ray cluster: {said(error.__cause__ or error)}") from error


def start(object_store_mb: int) -> None:
    """Start Ray on this machine, for this process alone.

    object_store_mb: size of the object store in MiB.

    Raises:
        UserError: when it does not start.
    """
    import ray

    try:
        ray.init(address="local", include_dashboard=False, object_store_memory=object_store_mb << 20, **_QUIET)
    except Exception as error:
        raise UserError(
            f"Ray does not start on this machine: {said(error)}. Its files are in /tmp/ray (RAY_TMPDIR), and "
            f"ray.object_store_mb = {object_store_mb} has to fit /dev/shm and the memory"
        ) from error
