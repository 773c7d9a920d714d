"""Schemathesis reads the endpoint's OpenAPI document and tries to break what it promises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

from pipelines.serve.settings import ServeArgs
from tests.support.served import TINY, serving

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def document(tiny_pipeline: str, tiny_clip: str) -> Iterator[Any]:
    limits = {**TINY, "max_steps": 3, "max_inner_steps": 5}
    args = ServeArgs(model=tiny_pipeline, dtype="float32", scoring=tiny_clip, pack_wait_ms=0, **limits)
    with serving(args) as served:
        yield schemathesis.openapi.from_url(f"{served.url}/openapi.json")


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_no_request_breaks_the_endpoint(document: Any, mode: schemathesis.GenerationMode) -> None:
    paths = set()
    for found in document.get_all_operations():
        operation = found.ok()
        paths.add(operation.path)

        @settings(
            max_examples=60 if operation.method == "post" else 5,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def try_it(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        with suppress(Unsatisfiable):  # there is no wrong way to ask for a document without parameters
            try_it()
    assert {"/v1/images/generations", "/v1/models", "/healthz", "/readyz", "/metrics"} <= paths
