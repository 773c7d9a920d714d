"""What a person sees at the end of a job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs import synth
from pipelines import console
from pipelines.cluster.progress import Meter, Tracker
from pipelines.cluster.session import Stopped
from pipelines.dataset.report_json import ArmResult, Interval, TimeSpent
from pipelines.errors import UserError
from pipelines.flows.finish import Summary
from tests.conftest import ROOT

FROM_A_WORKER = """\x1b[36mray::Worker.__init__()\x1b[39m (pid=1)
  File "x.py", line 1, in f
OSError: gone

The above exception was the direct cause of the following exception:

\x1b[36mray::Worker.__init__()\x1b[39m (pid=1)
  File "y.py", line 2, in g
    raise ModelError(message)
models.errors.ModelError: model.path = 'x' cannot be loaded:
it is gone

The above exception was the direct cause of the following exception:
"""


def test_errors_of_workers_are_found_in_ray_s_text() -> None:
    assert console.user_message(RuntimeError(FROM_A_WORKER)) == "model.path = 'x' cannot be loaded:\nit is gone"
    of_a_service = FROM_A_WORKER.replace("errors.ModelError", "errors.ServiceError")
    assert console.user_message(RuntimeError(of_a_service)) == "model.path = 'x' cannot be loaded:\nit is gone"
    assert console.user_message(UserError("do this")) == "do this"
    assert console.user_message(ValueError("a UserError: no")) is None


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [(UserError("do this"), 2, "error: do this"), (Stopped(), 143, "goes on"), (KeyboardInterrupt(), 130, "goes on")],
)
def test_statuses(error: BaseException, status: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    def job() -> int:
        raise error

    assert console.guarded(job) == status
    assert words in capsys.readouterr().err


def test_bugs_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        console.guarded(lambda: 1 // 0)


@pytest.fixture
def summary() -> Summary:
    score, margin, vendi, pairs = (Interval(mean=m, half_width=None, groups=1) for m in (0.25, None, 1.5, 1.25))
    arm = ArmResult(
        arm="both",
        groups=2,
        groups_failed=0,
        images=8,
        kept=6,
        duplicates=0,
        drop_reasons={"rank": 2},
        clip_score=score,
        clip_margin=margin,
        group_vendi=vendi,
        pair_vendi=pairs,
        displacement={"tora": Interval(mean=0.25, half_width=None, groups=1)},
    )
    return Summary(
        complete=True,
        problems=(),
        problem_count=0,
        groups_planned=2,
        groups_failed=1,
        prompts_failed=3,
        images_kept=6,
        images_rejected=2,
        arms=(arm,),
        warnings=("tora is odd",),
        timings=TimeSpent(
            sessions=2,
            wall_seconds=10.0,
            images=8,
            workers={},
            busy_seconds={},
            images_per_second=0.8,
            busy_share={"score.score": 0.25, "generate.denoise": 0.9, "write.write": 0.001},
        ),
        gallery="out/gallery.html",
    )


def test_the_table_has_a_line_per_arm(summary: Summary) -> None:
    lines = console.table(summary).splitlines()
    assert lines[1].split() == ["both", "8", "6", "0.250", "-", "1.500", "1.250"]
    assert lines[3:5] == ["text moved, as a share of its length: both: tora 0.250", "warning: tora is odd"]
    assert lines[-2].startswith("time: 10 s in 2 sessions, 0.80 images/s;")
    assert lines[-2].endswith("generate.denoise 90%, score.score 25%")
    assert lines[-1] == "gallery: out/gallery.html"


def test_a_run_that_is_not_complete_says_so_and_has_a_status_of_its_own(
    summary: Summary, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = ("data/x.csv is none of this run's files: move it elsewhere first", "data/y.csv is none")
    for count, words in ((1, problems[0]), (1200, f"1,200 problems, the first: {problems[0]}")):
        missing = replace(summary, complete=False, problems=problems, problem_count=count)
        monkeypatch.setattr("pipelines.flows.synth.run", lambda *_, shown=missing, **__: shown)
        assert synth.main(["--config", str(ROOT / "jobs" / "configs" / "demo.toml")]) == 1
        assert f"\nNOT COMPLETE: {words}. Start the same command again" in capsys.readouterr().out
    monkeypatch.setattr("pipelines.flows.synth.run", lambda *_, **__: summary)
    assert synth.main(["--config", str(ROOT / "jobs" / "configs" / "demo.toml")]) == 0


def test_a_meter_counts_each_image_once() -> None:
    tracker = Tracker()
    with Meter(tracker, images=8) as meter:
        meter.step(1, 4)
        assert tracker.snapshot().stages["generate"] == 2.0
        meter.step(3, 4)
    assert tracker.snapshot().stages == {"generate": 8.0, "score": 0, "write": 0}
    with pytest.raises(ValueError, match="broken"), Meter(tracker, images=4) as meter:  # noqa: PT012
        meter.step(3, 4)
        raise ValueError("broken")
    assert tracker.snapshot().stages["generate"] == 8.0
