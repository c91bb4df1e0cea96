import math

import numpy as np
import pandas as pd
import pytest
import torch

from mmagan_lite import evaluation
from mmagan_lite.data import Faces, ProceduralFaces
from mmagan_lite.evaluation import (
    COPY,
    TRUTH,
    Judge,
    evaluate,
    exact,
    load_judge,
    measure,
    read,
    rho_sweep,
    summarise,
    targets,
    train_judge,
)
from mmagan_lite.expressions import EXPRESSIONS, decode, encode


@pytest.fixture(scope="module")
def drawn():
    return ProceduralFaces("test", 12, 32, seed=3)


@pytest.fixture(scope="module")
def judge():
    torch.manual_seed(0)
    return Judge(32).eval()


def half_way(data):
    """An editor that makes exactly half of the change that it should."""
    x = data.batch(range(len(data)))["image"]
    truth = exact(data, torch.arange(len(data)), targets(data))
    outputs = iter((x + truth) / 2)
    return lambda x, z: torch.stack([next(outputs) for _ in x])


# ------------------------------------------------------------------------------------ the table


def test_copying_scores_nothing_and_the_exact_answer_everything(drawn, judge):
    table = evaluate(lambda x, z: x, drawn, judge, perceptual=False)
    assert list(table.index) == [COPY, TRUTH, "model"]
    assert (table["n"] == 12).all()
    assert table.loc[COPY].equals(table.loc["model"])
    assert table.loc[COPY, "error_removed"] == 0
    assert math.isinf(table.loc[COPY, "psnr_input"])
    assert table.loc[TRUTH, "error_removed"] == 1
    assert math.isinf(table.loc[TRUTH, "psnr_truth"])
    assert table.loc[TRUTH, "psnr_input"] == pytest.approx(table.loc[COPY, "psnr_truth"])
    assert (table.loc[[COPY, TRUTH], "change_outside"] == 0).all()


def test_half_of_the_change_removes_three_quarters_of_the_error_and_gains_6_dB(drawn, judge):
    table = evaluate({"half": half_way(drawn)}, drawn, judge, perceptual=False, batch_size=5)
    assert table.loc["half", "error_removed"] == pytest.approx(0.75, abs=0.01)
    gain = table.loc["half", "psnr_truth"] - table.loc[COPY, "psnr_truth"]
    assert gain == pytest.approx(20 * math.log10(2), abs=0.1)
    assert table.loc["half", "change_outside"] == 0


def test_change_outside_the_mask_is_counted_in_8_bit_levels(drawn, judge):
    def darken_by_3_levels(x, z):
        return x - 3 / 127.5

    table = evaluate({"darker": darken_by_3_levels}, drawn, judge, perceptual=False)
    assert table.loc["darker", "change_outside"] == pytest.approx(3, abs=0.1)  # black stays black


def test_psnr_is_that_of_its_definition_in_float64(drawn, judge):
    faces = measure(lambda x, z: -x, drawn, judge).query("model == 'model'")
    x = (drawn.pixels(range(12))).numpy().astype(np.float64)
    expected = 10 * np.log10(255**2 / ((255 - 2 * x) ** 2).mean((1, 2, 3)))
    assert faces["psnr_input"].to_numpy() == pytest.approx(expected)


def test_results_do_not_depend_on_the_batch_size(drawn, judge):
    tables = [
        evaluate(lambda x, z: -x, drawn, judge, perceptual=False, batch_size=size)
        for size in (5, 12)
    ]
    pd.testing.assert_frame_equal(*tables, rtol=1e-5)


def test_averages_of_a_table_worked_by_hand():
    rows = [  # expression, read, rho, rho_read, error, error_input
        ("fear", "fear", 0.8, 0.5, 1.0, 4.0),
        ("fear", "anger", 0.6, 0.7, 2.0, 2.0),
        ("fear", "fear", 0.5, 0.5, 1.0, 1.0),
        ("neutral", "neutral", 0.0, 0.2, 0.0, 1.0),
    ]
    names = ["expression", "read", "rho", "rho_read", "error", "error_input"]
    faces = pd.DataFrame(rows, columns=names).assign(
        model="m", psnr_input=30.0, psnr_truth=[20.0, 30.0, 40.0, 50.0], change_outside=[1, 1, 3, 3]
    )
    row = summarise(faces, []).loc["m"]
    assert row["accuracy"] == 3 / 4
    assert row["accuracy_strong"] == 1 / 2
    assert row["accuracy_neutral"] == 1
    assert row["rho_error"] == pytest.approx((0.3 + 0.1 + 0.0 + 0.2) / 4)
    assert row["error_removed"] == 1 - 4 / 8
    assert row["psnr_truth"] == 35
    assert row["change_outside"] == 2
    assert row["n"] == 4
    split = summarise(faces, ["expression"])
    assert split.loc[("m", "fear"), "error_removed"] == pytest.approx(1 - 4 / 7)
    assert split.loc[("m", "neutral"), "n"] == 1


def test_every_expression_has_a_row_of_its_own_when_asked(drawn, judge):
    table = evaluate(lambda x, z: x, drawn, judge, perceptual=False, by="expression")
    wanted = {EXPRESSIONS[c] for c in decode(targets(drawn))[0].tolist()}
    assert set(table.loc[TRUTH].index) == wanted
    assert table.loc[TRUTH, "n"].sum() == 12


class Labels(Faces):
    size = 16

    def __init__(self, expression):
        self.expression = expression


def test_targets_are_uniform_repeatable_and_never_leave_a_neutral_face_as_it_is():
    expression = torch.arange(8_000) % 8
    z = targets(Labels(expression))
    wanted, rho = decode(z)
    assert torch.equal(z, targets(Labels(expression)))
    assert not ((wanted == 0) & (expression == 0)).any()
    from_others = torch.bincount(wanted[expression != 0], minlength=8)
    assert (from_others.float() / 7_000).sub(1 / 8).abs().max() < 0.02
    assert (rho[wanted == 0] == 0).all()
    assert rho[wanted != 0].min() >= 0.3
    assert rho[wanted != 0].mean() == pytest.approx(0.65, abs=0.01)


def test_the_exact_answer_to_a_faces_own_code_is_the_face_to_the_bit(drawn):
    batch = drawn.batch(range(12))
    answer = exact(drawn, torch.arange(12), encode(batch["expression"], batch["rho"]))
    assert torch.equal(answer, batch["image"])


def test_a_sweep_starts_at_the_face_itself_and_its_true_change_grows(drawn, judge):
    table = rho_sweep(lambda x, z: x, drawn, judge, steps=3)
    assert table.index.tolist() == [0, 0.5, 1]
    assert table.loc[0, "change_truth"] == 0
    assert table["change_truth"].is_monotonic_increasing
    assert table.loc[1, "change_truth"] > table.loc[0.5, "change_truth"] > 0
    assert (table["change"] == 0).all()
    assert table["rho_read"].nunique() == 1
    assert (table["n"] == (drawn.expression == 0).sum().item()).all()


def test_photographs_get_the_columns_that_need_no_exact_answer(judge):
    table = evaluate(lambda x, z: -x, Cells(16, 0), Judge(16), perceptual=False)
    assert list(table.index) == [COPY, "model"]
    assert list(table) == [
        *("accuracy", "accuracy_strong", "accuracy_neutral", "rho_error"),
        *("psnr_input", "ssim_input", "n"),
    ]
    assert table.loc[COPY, "ssim_input"] == 1


# ------------------------------------------------------------------------------------ the judge


class Cells(Faces):
    """A picture of 4 x 4 cells in noise; cell c (of the first eight) shines as bright as rho."""

    size = 16

    def __init__(self, count, seed, known=1.0):
        random = torch.Generator().manual_seed(seed)
        self.expression = torch.randint(8, (count,), generator=random)
        self.true_rho = 0.4 + 0.6 * torch.rand(count, generator=random)
        hidden = torch.rand(count, generator=random) > known
        self.rho = self.true_rho.masked_fill(hidden, math.nan)
        self.identity = torch.arange(count)
        noise = torch.rand(count, 3, 16, 16, generator=random)
        cells = torch.nn.functional.one_hot(self.expression, 16) * self.true_rho[:, None]
        shine = cells.view(-1, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
        self.images = (60 * noise + 190 * shine).byte()

    def pixels(self, indices):
        return self.images[indices]


def test_a_judge_learns_expression_and_intensity_even_where_some_are_unknown():
    judge = train_judge(Cells(512, 0, known=0.5), steps=150, batch_size=32)
    table = read(judge, new := Cells(200, 1))
    assert (table["read"] == table["expression"]).mean() > 0.9
    assert (table["rho_read"] - table["rho"]).abs().mean() < 0.12  # the mean of rho gives 0.15
    assert len(table) == len(new)
    assert not judge.training


def test_training_a_judge_leaves_the_callers_random_numbers_alone():
    state = torch.get_rng_state()
    train_judge(Cells(16, 0), steps=2, batch_size=8)
    assert torch.equal(state, torch.get_rng_state())


def test_a_verdict_does_not_depend_on_the_other_faces(drawn):
    judge = Judge(32)  # in training mode: what reads has to see to it
    one = measure(lambda x, z: x, drawn, judge, batch_size=1)
    all_ = measure(lambda x, z: x, drawn, judge, batch_size=12)
    by = ["model", "psnr_truth"]
    one, all_ = (t.sort_values(by)["rho_read"].to_numpy() for t in (one, all_))
    assert one == pytest.approx(all_, abs=1e-5)


def test_a_judge_reads_any_power_of_two():
    for size in (16, 64, 128):
        logits, rho = Judge(size).eval()(torch.rand(2, 3, size, size))
        assert logits.shape == (2, 8)
        assert rho.shape == (2,)
        assert ((rho >= 0) & (rho <= 1)).all()
    with pytest.raises(ValueError, match="power of 2"):
        Judge(48)


def test_a_missing_judge_is_named(drawn, monkeypatch):
    monkeypatch.setattr(evaluation, "pretrained_models", dict)
    with pytest.raises(ValueError, match=r"No judge for faces of 32 pixels.*train_judge"):
        evaluate(lambda x, z: x, drawn)


def test_the_shipped_judge_reads_unseen_people():
    table = read(load_judge(64), ProceduralFaces("test", 96, 64, seed=7))
    strong = table[table["rho"] >= 0.66]
    assert (strong["read"] == strong["expression"]).mean() >= 0.95
    assert (table["rho"] - table["rho_read"]).abs().mean() < 0.12
