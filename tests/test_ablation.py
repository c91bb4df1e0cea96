"""The rows of the comparison: what they share, where they lie, and how they go on."""

import os
import signal

import pytest
import torch

from mmagan_lite import ablation, checkpoints
from mmagan_lite.ablation import ROWS, train_rows
from mmagan_lite.config import LOSSES, Config
from mmagan_lite.data import ProceduralFaces
from mmagan_lite.training import Trainer


@pytest.fixture(scope="module")
def faces():
    return ProceduralFaces("train", 40, 32)


def smoke(**changes):
    values = dict(steps=2, warmup_steps=1, batch_size=2, lambda_rec=7.0, precision="bfloat16")
    return Config.profile("smoke", **values | changes)


def contents(run):
    """A run's checkpoint, flat, without the wall time."""
    flat = {}

    def flatten(name, value):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            inner = isinstance(item, dict | list | tuple)
            flatten(f"{name}.{key}", item) if inner else flat.update({f"{name}.{key}": item})

    flatten("", checkpoints.load(run / "checkpoint.pt"))
    assert flat.pop(".progress.seconds") > 0
    return flat


def same(some, others):
    return some.keys() == others.keys() and all(
        torch.equal(value, others[key]) if torch.is_tensor(value) else value == others[key]
        for key, value in some.items()
    )


def test_every_row_is_a_run_that_differs_from_the_first_in_what_rows_says_only(faces, tmp_path):
    config = smoke(steps=1)
    complete = train_rows(config, faces, tmp_path, seeds=[3])
    assert complete == [tmp_path / f"{row}-3" for row in ROWS]
    shared = config.replace(seed=3).to_dict()
    for row, run in zip(ROWS, complete, strict=True):
        saved = checkpoints.load(run / "checkpoint.pt")
        preset = LOSSES[ROWS[row].get("losses", "stabilised")]
        assert saved["config"] == {**shared, **preset, **ROWS[row]}
        assert saved["progress"]["step"] == 1
        assert saved["progress"]["warmup_step"] == (row not in ("cyclegan", "paper-losses"))
    assert ROWS["mmagan"] == {}


def test_every_seed_is_a_run(faces, tmp_path):
    complete = train_rows(smoke(steps=1), faces, tmp_path, ["stargan", "neither"], [1, 0])
    names = ["stargan-1", "neither-1", "stargan-0", "neither-0"]
    assert [run.name for run in complete] == names
    seeds = [checkpoints.load(run / "checkpoint.pt")["config"]["seed"] for run in complete]
    assert seeds == [1, 1, 0, 0]
    assert not same(contents(complete[0]), contents(complete[2]))


def test_a_comparison_goes_on_where_it_was_stopped_to_the_bit(faces, tmp_path, monkeypatch):
    rows, config = ["no-attention", "cyclegan", "stargan"], smoke()
    whole = train_rows(config, faces, tmp_path / "whole", rows)
    step, taken = Trainer.train_step, []

    def interrupted(trainer):
        taken.append(trainer.config.model)
        if len(taken) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(trainer)

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_rows(config, faces, tmp_path / "parts", rows)
    assert taken == ["mmagan", "mmagan", "cyclegan"]
    parts = train_rows(config, faces, tmp_path / "parts", rows)
    assert taken[3:] == ["cyclegan", "stargan", "stargan"]
    assert [run.name for run in parts] == [run.name for run in whole]
    assert all(same(*map(contents, runs)) for runs in zip(whole, parts, strict=True))
    # and what is complete stays as it is:
    before = list(map(contents, parts))
    assert train_rows(config, faces, tmp_path / "parts", rows) == parts
    assert len(taken) == 6
    assert all(map(same, before, map(contents, parts)))


def test_runs_that_ran_out_of_time_are_not_complete(faces, tmp_path):
    assert train_rows(smoke(), faces, tmp_path, ["mmagan", "stargan"], minutes=0) == []
    assert (tmp_path / "stargan-0" / "checkpoint.pt").is_file()
    assert len(train_rows(smoke(), faces, tmp_path, ["stargan"])) == 1


def test_unknown_rows_are_refused_before_anything_is_trained(faces, tmp_path):
    with pytest.raises(ValueError, match=r"Unknown row 'gan'; expected some of mmagan, no-att.*\."):
        train_rows(smoke(), faces, tmp_path / "runs", ["mmagan", "gan"])
    assert not (tmp_path / "runs").exists()


def test_a_run_of_another_configuration_is_refused_and_kept(faces, tmp_path):
    (run,) = train_rows(smoke(), faces, tmp_path, ["stargan"])
    before = contents(run)
    with pytest.raises(ValueError, match=r"another configuration: lambda_rec 7\.0 \(wanted 8\.0\)"):
        train_rows(smoke(lambda_rec=8.0), faces, tmp_path, ["stargan"])
    assert same(before, contents(run))


def test_an_export_that_would_lose_rows_of_the_tables_is_refused(tmp_path, monkeypatch):
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for path in ablation.RESULTS.glob("*.*"):
        lines = path.read_text("utf-8").splitlines(keepends=True)
        kept = "".join(line for line in lines if not line.startswith("stargan,"))
        (fewer / path.name).write_text(kept, "utf-8")
    monkeypatch.setattr(checkpoints, "WEIGHTS", tmp_path / "weights")
    with pytest.raises(ValueError, match="lacks stargan, which the package's tables have"):
        ablation.export(tmp_path / "runs", fewer, 0)
    assert not (tmp_path / "weights").exists()
