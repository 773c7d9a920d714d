"""Exports are published to a hub that drops every third request, to a bucket, and to a folder."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.publish import main
from pipelines.cluster import bars
from pipelines.dataset.storage import Storage
from pipelines.export import destinations
from tests.support.exports import bytes_of, export
from tests.support.hub import TOKEN, HubServer, Repo, hub_server
from tests.support.killing import ended


@pytest.fixture(scope="module")
def exported(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For tests that only read it."""
    to = tmp_path_factory.mktemp("exported") / "out"
    assert export(toy_run, to, "huggingface", "--rejected", shard_bytes=20000) == 0
    return to


@pytest.fixture
def own(toy_run: Path, tmp_path: Path) -> Path:
    assert export(toy_run, tmp_path / "own", "huggingface") == 0
    return tmp_path / "own"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with hub_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # its servers are another protocol's
        monkeypatch.setattr("pipelines.dataset.outages._FIRST_WAIT_SECONDS", 0.001)
        wait = time.sleep
        monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: wait(0.001)))
        yield server


def publish(export: Path | str, to: str, *more: str) -> int:
    return main(["--export", str(export), "--to", to, *more])


def test_a_hub_that_drops_every_third_request_gets_each_file_once(
    hub: HubServer, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(exported, "me/frogs") == 0
    repo, files = hub.repos["me/frogs"], bytes_of(exported)
    assert {path: content for path, (content, _) in repo.files.items() if path != ".gitattributes"} == files
    assert repo.private
    assert {*hub.uploads.values()} == {1}
    assert sorted(path for commit in repo.commits for path in commit) == sorted(files)
    assert hub.dropped > 3
    sent, commits = hub.uploads.total(), len(repo.commits)
    assert publish(exported, "hf://datasets/me/frogs") == 0
    assert (hub.uploads.total(), len(repo.commits)) == (sent, commits)
    said = capsys.readouterr()
    assert f"{len(files)} files, " in said.out
    assert "0 of them sent now: hf://datasets/me/frogs" in said.out
    assert TOKEN not in said.out + said.err


def test_a_killed_publishing_goes_on(hub: HubServer, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "bar", lambda *_: nullcontext(SimpleNamespace(update=lambda _: None)))
    monkeypatch.setattr("pipelines.export.destinations.hub.Hub.batch_files", 2)
    started = time.monotonic()
    assert ended(partial(publish, exported, "me/whole"), 60)
    longest, dice, kills = time.monotonic() - started, random.Random(0), 0
    hub.uploads.clear()
    hub.large.clear()
    while not ended(partial(publish, exported, "me/killed"), dice.uniform(0.2, 0.2 + 0.1 * kills) * longest):
        kills += 1
    assert kills
    assert hub.repos["me/killed"].files == hub.repos["me/whole"].files
    assert {*hub.uploads.values()} == {1}


def test_a_commit_whose_answer_is_lost_is_not_made_again(hub: HubServer, exported: Path) -> None:
    hub.unanswered = "/commit/main"
    assert publish(exported, "me/frogs") == 0
    assert not hub.unanswered
    assert len(hub.repos["me/frogs"].commits) == 1


def test_what_is_there_decides_what_is_sent(hub: HubServer, exported: Path) -> None:
    assert publish(exported, "me/frogs") == 0
    repo = hub.repos["me/frogs"]
    data, card = next(path for path in repo.files if path.startswith("data/")), "README.md"
    repo.files[data] = (repo.files[data][0][:-1] + b"x", True)
    repo.files[card] = (b"x" * len(repo.files[card][0]), False)
    repo.commits.clear()
    assert publish(exported, "me/frogs") == 0
    assert sorted(path for commit in repo.commits for path in commit) == sorted([data, card])
    assert repo.files[data][0] == (exported / data).read_bytes()


def test_public_is_asked_for(hub: HubServer, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish(exported, "me/open", "--public") == 0
    assert not hub.repos["me/open"].private
    assert publish(exported, "me/open") == 2
    assert "hf://datasets/me/open is there, and public: add --public" in capsys.readouterr().err
    hub.repos["me/closed"] = Repo(private=True)
    assert publish(exported, "me/closed", "--public") == 2
    assert "is there, and private: leave --public out" in capsys.readouterr().err


def test_a_dataset_of_somebody_else_is_left_as_it_is(
    hub: HubServer, exported: Path, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repos["me/notes"] = Repo(private=True)
    hub.repos["me/notes"].files["notes.txt"] = (b"mine", False)
    assert publish(exported, "me/notes") == 2
    assert "hf://datasets/me/notes is not empty (notes.txt)" in capsys.readouterr().err
    assert publish(exported, "me/frogs") == 0
    assert publish(own, "me/frogs") == 2
    assert f"hf://datasets/me/frogs holds another export than {own}" in capsys.readouterr().err
    assert hub.repos["me/notes"].commits == []


def test_without_a_token_it_is_said_where_it_comes_from(
    hub: HubServer, exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    assert publish(exported, "me/frogs") == 2
    said = capsys.readouterr().err
    assert "cannot look at hf://datasets/me/frogs: Invalid username or password. Set HF_TOKEN" in said
    assert "hf_another" not in said
    assert len(said.strip().splitlines()) == 1


def _no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _lost(folder: Path) -> None:
    next((folder / "data").iterdir()).unlink()


def _damaged(folder: Path) -> None:
    file = next((folder / "data").iterdir())
    file.write_bytes(file.read_bytes()[:-1] + b"x")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (_no_manifest, "is not a whole export: it has no manifest.json. Start the export's own command"),
        (_lost, "is gone, but manifest.json says "),
        (_damaged, "is damaged: it has another sha256 than in manifest.json"),
    ],
)
@pytest.mark.parametrize("to", ["me/frogs", "file://{}/there"])
def test_what_is_not_whole_is_refused(
    harm: Callable[[Path], None],
    says: str,
    to: str,
    hub: HubServer,
    own: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = bytes_of(own)
    harm(own)
    assert publish(own, to.format(tmp_path)) == 2
    assert says in capsys.readouterr().err
    assert not hub.uploads
    there = bytes_of(tmp_path / "there")
    assert "manifest.json" not in there
    assert there.items() <= whole.items()


def test_a_run_is_exported_first(hub: HubServer, toy_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish(toy_run, "me/frogs") == 2
    assert f"{toy_run} holds a run: make an export of it first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["out/my/frogs"], "--to 'out/my/frogs': write OWNER/NAME or hf://datasets/OWNER/NAME"),
        (["hf://models/me/frogs"], "--to 'hf://models/me/frogs': write OWNER/NAME"),
        (["s3://bucket/frogs", "--public"], "--public is for the hub"),
        (["me/frogs--toads"], "is no name of a dataset: Cannot have -- or .. in repo_id"),
    ],
)
def test_wrong_places_are_named(
    words: list[str], says: str, hub: HubServer, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(exported, *words) == 2
    assert says in capsys.readouterr().err


def test_to_a_bucket_and_from_it_to_the_hub(s3: Storage, hub: HubServer, exported: Path) -> None:
    files = bytes_of(exported)
    assert publish(exported, s3.path("there")) == 0
    assert {path: s3.read_bytes(f"there/{path}") for path in files} == files
    assert publish(s3.path("there"), "me/frogs") == 0
    assert {path: hub.repos["me/frogs"].files[path][0] for path in files} == files


def test_a_folder_gets_each_file_once(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to, written = tmp_path / "there", []
    put: Any = Storage.open_output

    def counted(storage: Storage, path: str) -> Any:
        written.append(path)
        return put(storage, path)

    monkeypatch.setattr(Storage, "open_output", counted)
    assert publish(exported, f"file://{to}") == 0
    assert bytes_of(to) == bytes_of(exported)
    assert written[-1] == "manifest.json"
    assert sorted(written) == sorted(bytes_of(exported))
    written.clear()
    assert publish(exported, f"file://{to}") == 0
    assert written == []
    file = next((to / "data").iterdir())
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    (to / "manifest.json").unlink()  # as a kill leaves it: what is there is read back
    assert publish(exported, f"file://{to}") == 0
    assert written == [f"data/{file.name}", "manifest.json"]


def test_a_folder_of_somebody_else_is_left_as_it_is(
    exported: Path, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert publish(exported, f"file://{tmp_path}/mine") == 2
    assert "is not empty (notes.txt)" in capsys.readouterr().err
    assert publish(exported, f"file://{own}") == 2
    assert f"{own}/export.json is of another export than {exported}" in capsys.readouterr().err
    for itself in (own, own / "copy"):
        assert publish(own, f"file://{itself}") == 2
        assert f"--to {itself} lies in the export that is to be published" in capsys.readouterr().err
    assert not (own / "copy").exists()
    assert destinations.destination("me/frogs", public=False).uri == "hf://datasets/me/frogs"
