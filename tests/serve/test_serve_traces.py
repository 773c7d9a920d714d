"""Spans of groups: how long they waited, were made and scored, and nothing of what they show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from models.info import ModelInfo
from models.spec import Group, Sampling
from pipelines.dataset.failures import Failure
from pipelines.errors import UserError
from pipelines.serve import traces
from pipelines.serve.jobs import Done, Event, Job, Started
from pipelines.serve.traces import check, traced, tracer_for

JOB = Job(group=Group(prompt="secret words", seeds=(1, 2), sampling=Sampling(steps=7, width=64, height=32)))
DONE = Done(
    images=(),
    image_ids=(),
    info=ModelInfo(
        model="m", revision="", family="sd3", dtype="float32", scheduler="s", device="cpu", frames_per_second=0
    ),
    tokens_cut={},
    negative_tokens_cut={},
    scores=None,
    groups_in_batch=3,
    frames=1,
    fps=0,
    generate_s=0.02,
)


def spans(*events: Event, error: Exception | None = None) -> dict[str, ReadableSpan]:
    async def made() -> AsyncGenerator[Event, None]:
        for event in events:
            await asyncio.sleep(0.03)
            yield event
        if error is not None:
            raise error

    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))

    async def run() -> list[Any]:
        with suppress(RuntimeError):
            return [event async for event in traced(provider.get_tracer("t"), "mine", JOB, made())]
        return []

    seen = asyncio.run(run())
    assert error is not None or seen == [*events]
    return {span.name: span for span in kept.get_finished_spans()}


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def test_a_group_has_a_span_and_three_in_it() -> None:
    found = spans(Started(), DONE)
    assert {*found} == {"images", "queue", "batch", "score"}
    whole = found["images"]
    assert whole.attributes == {"model": "mine", "images": 2, "steps": 7, "size": "64x32"}
    parts = [found[name] for name in ("queue", "batch", "score")]
    assert all(part.parent == whole.context for part in parts)
    assert sum(map(seconds, parts)) == pytest.approx(seconds(whole))
    assert seconds(parts[0]) >= 0.03
    assert seconds(parts[1]) == pytest.approx(0.02)
    assert (found["batch"].attributes or {})["groups"] == 3
    assert "secret" not in "".join(span.to_json() for span in found.values())


def test_what_went_wrong_is_named() -> None:
    failed = spans(Started(), Failure(error_type="PromptError", error="secret words"))
    assert {*failed} == {"images", "queue", "batch"}
    broken = spans(error=RuntimeError("secret words"))
    assert {*broken} == {"images", "queue"}
    for found, kind in ((failed, "PromptError"), (broken, "RuntimeError")):
        whole = found["images"]
        assert (whole.attributes or {})["error.type"] == kind
        assert not whole.status.is_ok
        assert "secret" not in whole.to_json()


def test_there_are_none_unless_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracer_for("") is None
    check("")
    monkeypatch.setattr(traces, "_EXPORTER", "opentelemetry.exporter.none.of.it")
    with pytest.raises(UserError, match="pip install opentelemetry-exporter-otlp-proto-http"):
        check("http://127.0.0.1:4318/v1/traces")
