"""What measuring writes, and that the results in the package are of the weights in it."""

import math
import re
import shlex
import subprocess
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from mmagan_lite import ablation, checkpoints, evaluation
from mmagan_lite.__main__ import parser
from mmagan_lite.ablation import (
    ROWS,
    TABLES,
    export,
    load_results,
    load_rows,
    measure_rows,
    over_seeds,
    train_rows,
)
from mmagan_lite.config import LOSSES, Config
from mmagan_lite.data import ProceduralFaces
from mmagan_lite.editing import load_model
from mmagan_lite.evaluation import COPY, TRUTH, edited, exact, load_judge, targets
from mmagan_lite.expressions import decode

SHARED = Config.profile("smoke", steps=3, faces=16, stem_norm=False, lambda_rec=7)
SOME = ["mmagan", "stargan"]
SEEDS = [0, 1]
FACES = 12


def small_judge(size, kind="judge"):
    with torch.random.fork_rng():
        torch.manual_seed(len(kind))
        return evaluation.JUDGES[kind](size).eval()


class BlockMeans(torch.nn.Module):
    """A few features, quickly."""

    def forward(self, pixels):
        return F.adaptive_avg_pool2d(pixels / 255, 2).flatten(1)


class MeanDifference(torch.nn.Module):
    """A distance, quickly."""

    def forward(self, x, y):
        return (x - y).abs().mean((1, 2, 3))


@contextmanager
def quickly():
    """Judges and networks that cost nothing; none ships for such small faces."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(evaluation, "load_judge", small_judge)
        monkeypatch.setattr(evaluation, "pretrained_models", lambda: {"second-judge-32": {}})
        monkeypatch.setattr(evaluation, "inception_network", BlockMeans)
        monkeypatch.setattr(evaluation, "lpips_network", MeanDifference)
        yield


@pytest.fixture
def quick():
    with quickly():
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    data = ProceduralFaces("train", SHARED.faces, 32)
    assert len(train_rows(SHARED, data, folder, SOME, SEEDS)) == 4
    return folder


@pytest.fixture(scope="module")
def folder(runs):
    with quickly():
        measure_rows(runs, runs / "results", FACES, SOME, SEEDS)
    return runs / "results"


# ----------------------------------------------------------------------------------- measuring


def test_measuring_writes_every_table_with_a_row_for_each_run(folder):
    assert {path.name for path in folder.iterdir()} == {
        *(f"{name}.csv" for name in TABLES),
        "about.json",
    }
    results = load_results(folder)
    expected = [(COPY, None), (TRUTH, None), *((row, seed) for seed in SEEDS for row in SOME)]
    for name, index in TABLES.items():
        table = results[name]
        assert list(table.index.names) == index
        found = {(row, None if math.isnan(s) else s) for row, s, *_ in table.index.to_flat_index()}
        assert found == set(expected if name != "sweep" else expected[1:])
    assert results["table"]["n"].tolist() == [FACES] * 6
    per_run = results["expressions"].groupby(["row", "seed"], dropna=False)["n"].sum()
    assert (per_run == FACES).all()
    assert len(results["regions"]) == 3 * len(results["expressions"])
    assert results["sweep"].xs(TRUTH).loc[:, "change"].iloc[0] == 0


def test_each_rows_figures_are_those_of_its_own_run(folder, runs, quick):
    results, data = load_results(folder), ProceduralFaces("test", FACES, 32)
    model = load_model(runs / "stargan-1")
    alone = evaluation.evaluate({"it": model}, data).round(5)
    row = results["table"].loc[("stargan", 1)]
    assert row[alone.columns].to_numpy() == pytest.approx(
        alone.loc["it"].to_numpy(), abs=2e-5, nan_ok=True
    )
    assert row[row.index.difference(alone.columns)].isna().all()  # StarGAN has no gates
    assert not math.isnan(results["table"].loc[("mmagan", 1), "attention"])
    parts = evaluation.by_region({"it": model}, data).loc["it"]
    theirs = results["regions"].loc[("stargan", 1)].loc[parts.index]
    pd.testing.assert_frame_equal(theirs, parts, check_dtype=False, rtol=1e-4, atol=1e-5)
    sweep = evaluation.rho_sweep(model, data)
    theirs = results["sweep"].loc[("stargan", 1)]
    assert list(theirs) == ["rho_read", "change", "n"]
    for column in ("rho_read", "change"):
        assert theirs[column].to_numpy() == pytest.approx(sweep[column].to_numpy(), abs=2e-5)
        truth = results["sweep"].xs(TRUTH)[column].to_numpy()
        assert truth == pytest.approx(sweep[f"{column}_truth"].to_numpy(), abs=2e-5)


def test_it_is_told_how_rows_were_trained_and_measured(folder):
    about = load_results(folder)["about"]
    assert Config.from_dict(about["config"]) == SHARED
    assert "seed" not in about["config"]
    told = [(run["row"], run["seed"], run["steps"]) for run in about["runs"]]
    assert told == [(row, seed, 3) for row in SOME for seed in SEEDS]
    assert all(run["seconds"] > 0 for run in about["runs"])
    assert about["test"] == {"split": "test", "faces": FACES, "size": 32, "seed": 0}
    assert about["device"] == "one CPU core"
    git = ["git", "-C", ablation.RESULTS.parent, "rev-parse", "HEAD"]
    head = subprocess.run(git, capture_output=True, text=True)
    assert head.stdout.startswith(about["commit"]) or about["commit"] == "unknown"


def test_measuring_again_gives_the_same_to_the_byte(folder, runs, tmp_path, quick):
    torch.manual_seed(1)
    torch.rand(5)
    measure_rows(runs, tmp_path, FACES, SOME, SEEDS)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_runs_that_do_not_exist_are_left_out_and_named_if_there_is_none(runs, tmp_path, quick):
    measure_rows(runs, tmp_path / "one", FACES, ["neither", "stargan"], [1, 2])
    assert list(load_results(tmp_path / "one")["table"].index[2:]) == [("stargan", 1)]
    with pytest.raises(ValueError, match=r"There is no run of neither, no-residual in .*; train"):
        measure_rows(runs, tmp_path / "none", FACES, ["neither", "no-residual"])
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["", "nothing here"])
def test_a_folder_without_results_gets_a_sentence(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no results; make them with: .* ablate"):
        load_results(tmp_path / name)


def test_seeds_are_averaged_and_the_spread_is_half_of_the_distance():
    rows = [
        *(("copy", math.nan, math.inf, 1.0), ("b", 0, 1.0, 10.0), ("a", 0, 0.5, 3.0)),
        *(("b", 1, 4.0, 10.0), ("b", 2, 2.5, 40.0)),
    ]
    table = pd.DataFrame(rows, columns=["row", "seed", "x", "y"])
    means, spread = over_seeds(table.set_index(["row", "seed"]))
    assert means.index.tolist() == ["copy", "b", "a"]  # in their order
    assert means.loc["b"].tolist() == [2.5, 20]
    assert spread.loc["b"].tolist() == [1.5, 15]
    assert means.loc["a"].tolist() == [0.5, 3]
    assert spread.loc["a"].tolist() == [0, 0]
    assert means.loc["copy"].tolist() == [math.inf, 1]
    deep = table.assign(part=["p", "p", "p", "q", "p"]).set_index(["row", "seed", "part"])
    means, spread = over_seeds(deep)
    assert means.loc[("b", "p")].tolist() == [1.75, 25]
    assert spread.loc[("b", "p")].tolist() == [0.75, 15]
    assert means.loc[("b", "q")].tolist() == [4, 10]


# ------------------------------------------------------------------------------------ exporting


def trained_by(command):
    """The configurations that a command of the manifest trains, by row."""
    args = parser().parse_args([*shlex.split(command), "--out", "x"])
    fields = {key: value for key, value in vars(args).items() if key in SHARED.to_dict()}
    config = Config.profile(args.profile, **fields)
    return {(r, s): config.replace(seed=s, **ROWS[r]) for r in args.rows for s in args.seeds}


def test_exported_rows_are_loaded_by_their_names_and_edit_as_before(
    folder, runs, tmp_path, monkeypatch
):
    monkeypatch.setattr(checkpoints, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(ablation, "RESULTS", tmp_path / "results")
    export(runs, folder, seed=1)
    rows, manifest = load_rows(32), checkpoints.pretrained_models()
    assert list(rows) == SOME
    assert list(manifest) == ["mmagan-row-32", "stargan-32"]  # mmagan-64 is trained longer
    data = ProceduralFaces("test", 8, 32)
    x, z = data.batch(range(8))["image"], targets(data)
    for row, entry in zip(SOME, manifest.values(), strict=True):
        trained = load_model(runs / f"{row}-1")
        for ours, theirs in zip(rows[row].parameters(), trained.parameters(), strict=True):
            assert torch.equal(ours, theirs.half().float())
        with torch.inference_mode():
            assert (rows[row](x, z) - trained(x, z)).abs().max() < 0.02
        assert (entry["row"], entry["kind"], entry["seed"]) == (row, "generator", 1)
        assert entry["images_seen"] == 2 * 8 + 3 * 4  # of the warm-up and of the steps
        assert entry["data"] == "16 procedural faces, 32 px"
        wanted = load_results(folder)["table"].loc[(row, 1)].dropna()
        assert entry["figures"] == pytest.approx(wanted.to_dict(), abs=5.6e-5)
        expected = {(row, 1): Config.from_dict(entry["config"])}
        assert trained_by(entry["command"]) == expected
    for path in folder.iterdir():
        assert (tmp_path / "results" / path.name).read_bytes() == path.read_bytes()


# -------------------------------------------------------------------------------- what is shipped

SHIPPED = {
    entry["row"]: entry for entry in checkpoints.pretrained_models().values() if "row" in entry
}


def test_every_row_ships_with_the_figures_of_the_table():
    assert list(load_rows(64)) == list(ROWS) == list(ablation.LABELS)
    assert SHIPPED.keys() == ROWS.keys()
    table = load_results()["table"]
    assert list(dict.fromkeys(table.index.get_level_values("row"))) == [COPY, TRUTH, *ROWS]
    for row, entry in SHIPPED.items():
        wanted = table.loc[(row, entry["seed"])].dropna()
        assert entry["figures"] == pytest.approx(wanted.to_dict(), abs=5.6e-5), row


def configured(about, row, seed):
    """The configuration of a row: what all share, and what `ROWS` says."""
    preset = LOSSES[ROWS[row].get("losses", "stabilised")]
    return {**about["config"], "seed": seed, **preset, **ROWS[row]}


def test_shipped_rows_share_everything_but_what_rows_says():
    about = load_results()["about"]
    trained = {(run["row"], run["seed"]): run for run in about["runs"]}
    for row, entry in SHIPPED.items():
        assert entry["config"] == configured(about, row, entry["seed"]), row
        assert trained_by(entry["command"]) == {(row, entry["seed"]): Config(**entry["config"])}
        run = trained[row, entry["seed"]]
        assert run["steps"] == entry["config"]["steps"]  # none was stopped early
        assert round(run["seconds"]) == entry["seconds"]


def test_the_commands_on_the_page_train_what_was_measured():
    page = (Path(__file__).parent.parent / "docs" / "results.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python -m mmagan_lite (ablate .+)$", page, re.MULTILINE)
    folders = (ablation.RESULTS / "longer", ablation.RESULTS)  # in the page's order
    for command, folder in zip(commands, folders, strict=True):
        about = load_results(folder)["about"]
        runs = [(run["row"], run["seed"]) for run in about["runs"]]
        assert trained_by(command) == {run: Config(**configured(about, *run)) for run in runs}


def test_the_shipped_weights_reproduce_the_shipped_results():
    results = load_results()
    test = results["about"]["test"]
    data = ProceduralFaces(test["split"], test["faces"], test["size"])
    everyone = torch.arange(len(data))
    x, z = data.batch(everyone)["image"], targets(data, test["seed"])
    truth, wanted = exact(data, everyone, z), decode(z)[0]
    from_input = np.square((x - truth).double().numpy()).sum()
    judge = load_judge(data.size)
    for row, model in load_rows(data.size).items():
        told = results["table"].loc[(row, SHIPPED[row]["seed"])]
        with torch.inference_mode():
            y = torch.cat(
                [edited(model, x[i], z[i], data.expression[i]) for i in everyone.split(32)]
            )
            right = judge(y)[0].argmax(1) == wanted
        error_removed = 1 - np.square((y - truth).double().numpy()).sum() / from_input
        assert right.double().mean().item() == pytest.approx(told["accuracy"], abs=0.008), row
        assert error_removed == pytest.approx(told["error_removed"], rel=0.002, abs=0.002), row
