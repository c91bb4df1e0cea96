"""Measures of an edit against definitions in NumPy, other libraries and exact answers."""

import gc
import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import torch
from PIL import Image
from torch.nn import functional as F
from torchmetrics.image.fid import FrechetInceptionDistance

from mmagan_lite import evaluation
from mmagan_lite import faces as renderer
from mmagan_lite.baselines import CycleGAN
from mmagan_lite.config import Config
from mmagan_lite.data import Faces, PreparedFaces, ProceduralFaces
from mmagan_lite.evaluation import (
    COPY,
    ELSEWHERE,
    TRUTH,
    Judge,
    SecondJudge,
    by_region,
    evaluate,
    evaluate_by,
    exact,
    fid,
    kid,
    load_judge,
    measure,
    read,
    regions,
    rho_sweep,
    summarise,
    targets,
    train_judge,
)
from mmagan_lite.expressions import EXPRESSIONS, decode, encode
from mmagan_lite.generator import Generator


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


def ssim(a, b):
    """Wang et al. 2004, over windows of 7x7 inside the picture, of (H, W, 3) in 0 to 255."""
    windows = (np.lib.stride_tricks.sliding_window_view(t, (7, 7), (0, 1)) for t in (a, b))
    a, b = (w.reshape(*w.shape[:3], 49) for w in windows)  # (H - 6, W - 6, 3, 49)
    means = a.mean(-1), b.mean(-1)
    both = ((a * b).mean(-1) - means[0] * means[1]) * 49 / 48
    light = (2 * means[0] * means[1] + 2.55**2) / (means[0] ** 2 + means[1] ** 2 + 2.55**2)
    rest = (2 * both + 7.65**2) / (a.var(-1, ddof=1) + b.var(-1, ddof=1) + 7.65**2)
    return (light * rest).mean()


def test_ssim_is_that_of_its_definition_and_1_for_equal_pictures(drawn, judge):
    faces = measure({"model": half_way(drawn)}, drawn, judge).set_index("model")
    pictures = drawn.pixels(range(12)).permute(0, 2, 3, 1).numpy().astype(np.float64)
    truth = exact(drawn, torch.arange(12), targets(drawn))
    truth = truth.add(1).mul(127.5).round().permute(0, 2, 3, 1).numpy().astype(np.float64)
    between = [ssim(*pair) for pair in zip(pictures, truth, strict=True)]
    assert faces.loc[COPY, "ssim_truth"].to_numpy() == pytest.approx(between, abs=1e-6)
    assert faces.loc[TRUTH, "ssim_input"].to_numpy() == pytest.approx(between, abs=1e-6)
    assert (faces.loc[COPY, "ssim_input"] == 1).all()
    assert (faces.loc[TRUTH, "ssim_truth"] == 1).all()
    half = faces.loc["model", "ssim_truth"].to_numpy()
    assert (half > faces.loc[COPY, "ssim_truth"].to_numpy()).all()


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


def test_the_second_judge_and_the_gates_are_averaged_worked_by_hand():
    faces = pd.DataFrame(
        {
            "model": ["a", "a", "b", "b"],
            "expression": ["fear", "anger", "fear", "anger"],
            "rho": [0.5, 1.0, 0.5, 1.0],
            "read": ["fear", "anger"] * 2,
            "rho_read": [0.5, 1.0] * 2,
            "read_2": ["fear", "fear", "anger", "anger"],
            "rho_read_2": [0.6, 0.7, 0.5, 1.0],
            "attention_1": [0.9, 0.5, None, None],
            "attention_2": [0.8, None, None, None],
        }
    )
    table = summarise(faces, [])
    assert table["accuracy"].tolist() == [1, 1]
    assert table["accuracy_2"].tolist() == [0.5, 0.5]
    assert table["rho_error"].tolist() == [0, 0]
    assert table["rho_error_2"].tolist() == pytest.approx([(0.1 + 0.3) / 2, 0])
    assert table.loc["a", "attention"] == 0.8  # of means 0.7 and 0.8, not of faces
    assert math.isnan(table.loc["b", "attention"])
    assert summarise(faces, ["expression"])["attention"].tolist()[:2] == [0.9, 0.5]


def test_every_judge_has_columns_of_its_own(drawn, judge):
    torch.manual_seed(1)
    other = SecondJudge(32).eval()
    both = measure(lambda x, z: x, drawn, [judge, other])
    for one, suffix in ((judge, ""), (other, "_2")):
        alone = measure(lambda x, z: x, drawn, one)
        columns = [f"read{suffix}", f"rho_read{suffix}"]
        assert both[columns].to_numpy().tolist() == alone[["read", "rho_read"]].to_numpy().tolist()
    assert list(evaluate(lambda x, z: x, drawn, [judge, other], perceptual=False))[3:6] == [
        *("rho_error", "accuracy_2", "rho_error_2")
    ]


def brute_force_auc(gates, inside):
    pairs = [(a, b) for a in gates[inside].tolist() for b in gates[~inside].tolist()]
    return sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs) if pairs else math.nan


def test_auc_counts_pairs_of_cells_and_is_nothing_where_all_or_no_cells_are_inside():
    gates = torch.randint(4, (5, 3, 3)) / 3  # many are equal
    mask = torch.rand(5, 6, 6) < 0.6
    mask[3], mask[4] = True, False
    mask[0] = False
    mask[0, :2, :2] = torch.tensor([[1, 1], [1, 0]])  # three of four pixels: inside
    mask[0, 2:4, :2] = torch.tensor([[1, 1], [0, 0]])  # two of four: outside
    inside = mask.float().view(5, 3, 2, 3, 2).sum((2, 4)) >= 3
    assert inside[0].sum() == 1
    expected = [brute_force_auc(*pair) for pair in zip(gates, inside, strict=True)]
    assert evaluation.auc(gates, mask) == pytest.approx(expected, nan_ok=True)
    assert [math.isnan(value) for value in expected] == [False, False, False, True, True]


@pytest.mark.parametrize("mmarm", [True, False])
def test_gates_are_measured_of_generators_that_have_them_and_nothing_else_changes(
    drawn, judge, mmarm
):
    generator = Generator(Config.profile("smoke", blocks=2, mmarm=mmarm)).eval()
    faces = measure({"it": generator, "plain": lambda x, z: generator(x, z)}, drawn, judge)
    it, plain = (faces[faces["model"] == name].reset_index() for name in ("it", "plain"))
    common = ["read", "rho_read", "psnr_truth", "error", "change_outside"]
    pd.testing.assert_frame_equal(it[common], plain[common])
    assert [key for key in faces if "attention" in key] == ["attention_1", "attention_2"][
        : 2 * mmarm
    ]
    if mmarm:
        x, z = drawn.batch(range(12))["image"], targets(drawn)
        with torch.inference_mode():
            _, maps = generator(x, z, return_attention=True)
        changes = (exact(drawn, torch.arange(12), z) != x).any(1)  # (12, 32, 32)
        inside = changes.float().view(12, 8, 4, 8, 4).mean((2, 4)) > 0.5  # (12, 8, 8)
        for number, block in enumerate(maps, 1):
            expected = [
                brute_force_auc(g[0], m) for g, m in zip(block.spatial, inside, strict=True)
            ]
            assert it[f"attention_{number}"].tolist() == pytest.approx(expected, nan_ok=True)
        assert plain[["attention_1", "attention_2"]].isna().all(axis=None)


def test_only_cyclegan_is_told_what_the_faces_show(drawn, judge, monkeypatch):
    told = []

    def spy(self, x, z, source=None):
        told.extend(source.tolist())
        return x

    monkeypatch.setattr(CycleGAN, "forward", spy)
    cyclegan = CycleGAN(Config.profile("smoke"))
    table = evaluate({"c": cyclegan, "f": lambda x, z: x}, drawn, judge, None, 0, 5, False)
    assert told == drawn.expression.tolist()
    assert list(table.index) == [COPY, TRUTH, "c", "f"]


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


def live_bytes():
    """What arrays, tensors and other objects of Python hold just now."""
    tensors = (t for t in gc.get_objects() if type(t) is torch.Tensor)
    storages = {s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in tensors)}
    return sum(storages.values()) + tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize("table", [evaluate, by_region], ids=lambda table: table.__name__)
def test_memory_does_not_grow_with_the_number_of_faces(table):
    data, used = ProceduralFaces("test", 60, 64), []

    def model(x, z):
        used.append(live_bytes())
        return x.clone()

    options = {"judge": Judge(64).eval(), "perceptual": False} if table is evaluate else {}
    tracemalloc.start()
    table(model, data, batch_size=15, **options)
    tracemalloc.stop()
    batch = 15 * 3 * 64 * 64 * 4  # bytes
    assert len(used) == 4
    assert used[3] - used[1] < batch / 2


def test_photographs_get_the_columns_that_need_no_exact_answer(judge):
    table = evaluate(lambda x, z: -x, Cells(16, 0), Judge(16), perceptual=False)
    assert list(table.index) == [COPY, "model"]
    assert list(table) == [
        *("accuracy", "accuracy_strong", "accuracy_neutral", "rho_error"),
        *("psnr_input", "ssim_input", "n"),
    ]
    assert table.loc[COPY, "ssim_input"] == 1


# ---------------------------------------------------------------------------------- the regions


def test_regions_partition_every_picture(drawn):
    masks = regions(drawn, torch.arange(12))
    assert list(masks) == ["eyes and brows", "mouth and cheeks", ELSEWHERE]
    assert (sum(mask.int() for mask in masks.values()) == 1).all()
    assert all(mask.shape == (12, 32, 32) for mask in masks.values())
    for mask in masks.values():
        assert mask.flatten(1).any(1).all()


@pytest.mark.parametrize(
    ("units", "part", "other"),
    [
        ({"1": 1, "2L": 1, "2R": 1}, "eyes and brows", "mouth and cheeks"),
        ({"25": 1, "26": 1}, "mouth and cheeks", "eyes and brows"),
        ({"15": 1, "17": 1}, "mouth and cheeks", "eyes and brows"),
    ],
    ids=["raised brows", "open mouth", "pout"],
)
def test_muscles_move_their_own_part_of_a_face(units, part, other):
    data = ProceduralFaces("test", 16, 64)
    moved = renderer.change_mask(data.identity, units, 1.0, data.nuisance, 64)
    masks = regions(data, torch.arange(16))
    assert (moved & masks[part]).sum() > 0.98 * moved.sum()
    assert not (moved & masks[other]).any()


def test_the_errors_of_all_parts_add_up_to_the_whole_tables(drawn, judge):
    models = {"half": half_way(drawn), "negative": lambda x, z: -x}
    parts = by_region(models, drawn, batch_size=5)
    whole = measure({**models, "half": half_way(drawn)}, drawn, judge)
    sums = parts.groupby("model")[["error", "error_input"]].sum()
    expected = whole.groupby("model")[["error", "error_input"]].sum()
    pd.testing.assert_frame_equal(sums, expected, rtol=1e-5)
    faces = whole.groupby(["model", "expression"]).size()
    for region in (*evaluation.MUSCLES, ELSEWHERE):
        n = parts.xs(region, level="region")["n"].sort_index()
        assert n.to_dict() == faces.to_dict()


def test_every_part_is_right_in_the_exact_answer_and_as_wrong_as_before_in_a_copy(drawn):
    def darken_by_3_levels(x, z):
        return x - 3 / 127.5

    table = by_region({"half": half_way(drawn), "darker": darken_by_3_levels}, drawn)
    some = table["error_input"] > 0
    for name, removed in ((TRUTH, 1), (COPY, 0)):
        rows = table[some].xs(name, level="model")
        assert (rows["error_removed"] == removed).all()
    assert table.loc[~some, "error_removed"].isna().all()
    half = table.xs("half", level="model").drop(index=ELSEWHERE, level="region")
    assert half["error_removed"].to_numpy() == pytest.approx(0.75, abs=0.02)
    changes = {name: rows["change"] for name, rows in table.groupby("model")}
    assert (changes[COPY] == 0).all()
    assert changes["darker"].to_numpy() == pytest.approx(3, abs=0.3)  # black stays black


# ------------------------------------------------------------------- LPIPS, FID and KID in tables


class BlockMeans(torch.nn.Module):
    """Inception's place: 12 features that anybody can compute."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, pixels):
        assert pixels.dtype == torch.uint8
        self.seen += len(pixels)
        return F.adaptive_avg_pool2d(pixels.float(), 2).flatten(1)


class MeanDifference(torch.nn.Module):
    """LPIPS's place: a distance that anybody can compute."""

    def forward(self, x, y):
        return (x - y).abs().mean((1, 2, 3), keepdim=True)


@pytest.fixture
def simple(monkeypatch):
    """Networks whose features and distances can be worked by hand; they count images."""
    means = BlockMeans()
    monkeypatch.setattr(evaluation, "inception_network", lambda: means)
    monkeypatch.setattr(evaluation, "lpips_network", MeanDifference)
    return means


def features(image):
    """What `BlockMeans` makes of images in [-1, 1], in float64."""
    return BlockMeans()(image.add(1).mul(127.5).round().byte()).double().numpy()


def frechet(a, b):
    """The Fréchet distance of two sets by the roots of symmetric matrices, which always exist."""
    first, second = np.cov(a.T), np.cov(b.T)
    values, vectors = np.linalg.eigh(first)
    half = vectors * np.sqrt(values.clip(0)) @ vectors.T
    roots = np.sqrt(np.linalg.eigvalsh(half @ second @ half).clip(0))
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    return shift + np.trace(first) + np.trace(second) - 2 * roots.sum()


def kernel_distance(a, b):
    """The unbiased estimate of MMD² with the kernel (a·b / F + 1)³, pair by pair."""

    def mean(some, others, same):
        pairs = [
            (x @ y / len(x) + 1) ** 3
            for i, x in enumerate(some)
            for j, y in enumerate(others)
            if not (same and i == j)
        ]
        return np.mean(pairs)

    return mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)


@pytest.fixture(scope="module")
def crowd():
    return ProceduralFaces("test", 30, 32, seed=5)


def noisy(x, z):
    """An editor that adds noise, to each picture its own."""
    seeds = x.mul(127.5).round().abs().sum((1, 2, 3)).long().tolist()
    noise = [torch.randn(x[0].shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
    return x + 0.2 * torch.stack(noise)


def test_lpips_is_the_networks_distance_to_input_and_truth(crowd, judge, simple):
    table = measure(noisy, crowd, judge, perceptual=True).query("model == 'model'")
    x, z = crowd.batch(range(30))["image"], targets(crowd)
    y = evaluation.edited(noisy, x, z)
    for other, image in (("input", x), ("truth", exact(crowd, torch.arange(30), z))):
        expected = (y - image).abs().mean((1, 2, 3))
        assert table[f"lpips_{other}"].to_numpy() == pytest.approx(expected.numpy(), rel=1e-4)
    assert "lpips_input" not in measure(noisy, crowd, judge)


def test_distances_are_those_of_features_worked_by_hand(crowd, judge, simple):
    whole, split = evaluate_by(noisy, crowd, [None, "expression"], judge, batch_size=7)
    x, z = crowd.batch(range(30))["image"], targets(crowd)
    wanted = decode(z)[0]
    y = features(evaluation.edited(noisy, x, z))
    others = exact(crowd, (torch.arange(30) + 15) % 30, z)  # other people, the same targets
    to_target = {}
    for c in wanted.unique().tolist():
        real, fake = features(others[wanted == c]), y[wanted == c]
        row, name = split.loc[("model", EXPRESSIONS[c])], EXPRESSIONS[c]
        if len(fake) == 1:
            assert row[["fid_input", "fid_target", "kid_target"]].isna().all()
            continue
        to_target[name] = frechet(real, fake), kernel_distance(real, fake)
        assert (row["fid_target"], row["kid_target"]) == pytest.approx(to_target[name], rel=1e-3)
        from_input = frechet(features(x[wanted == c]), fake)
        assert row["fid_input"] == pytest.approx(from_input, rel=1e-3)
    assert len(to_target) >= 5
    columns = ["fid_target", "kid_target"]
    mean = np.mean(list(to_target.values()), axis=0)
    assert whole.loc["model", columns].to_numpy() == pytest.approx(mean, rel=1e-3)
    assert whole.loc["model", "fid_input"] == pytest.approx(frechet(features(x), y), rel=1e-3)
    assert whole.loc[COPY, "fid_input"] == pytest.approx(0, abs=1e-6)
    assert split.index.names == ["model", "expression"]
    assert list(split) == list(whole)


def test_distances_are_of_so_many_images_at_most_whatever_the_batches(
    crowd, judge, simple, monkeypatch
):
    monkeypatch.setattr(evaluation, "MOST_FEATURES", 20)
    tables = [evaluate(noisy, crowd, judge, batch_size=size) for size in (7, 30)]
    assert simple.seen == 2 * 4 * 20  # copies, truths, noise and real faces
    pd.testing.assert_frame_equal(*tables, rtol=1e-5)
    x, z = (t[:20] for t in (crowd.batch(range(30))["image"], targets(crowd)))
    y = evaluation.edited(noisy, x, z)
    assert tables[0].loc["model", "fid_input"] == pytest.approx(
        frechet(features(x), features(y)), rel=1e-3
    )
    assert (tables[0]["n"] == 30).all()


def test_distances_leave_random_numbers_alone_and_heed_no_names(crowd, judge, simple):
    state = torch.get_rng_state()
    names = ("model", "reference", "other", "target")
    table = evaluate(dict.fromkeys(names, noisy), crowd, judge)
    assert torch.equal(state, torch.get_rng_state())
    rows = [table.loc[name].tolist() for name in names]
    assert rows[0] == rows[1] == rows[2] == rows[3]
    assert table[["fid_input", "fid_target", "kid_target"]].notna().all(axis=None)


def test_one_face_is_too_few_for_a_distance_but_not_for_a_row(judge, simple):
    table = evaluate(noisy, ProceduralFaces("test", 1, 32), judge)
    assert (table["n"] == 1).all()
    assert table["fid_input"].isna().all()
    assert table["lpips_input"].notna().all()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Pictures as data_prep leaves them; of half of them the intensity is unknown."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "test").mkdir()
    drawn = ProceduralFaces("test", 40, 32, seed=6)
    rows = []
    for i, pixels in enumerate(drawn.pixels(range(40))):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / "test" / f"{i}.png")
        rho = f"{drawn.rho[i]:.3f}" if i % 2 else ""
        rows.append((f"{i}.png", EXPRESSIONS[drawn.expression[i]], rho, f"person {i}"))
    table = pd.DataFrame(rows, columns=["file_name", "expression", "intensity", "subject"])
    table.to_csv(folder / "test" / "metadata.csv", index=False)
    return PreparedFaces(folder, "test", 32)


def test_photographs_are_compared_to_those_that_have_the_expression(prepared, judge, simple):
    table = evaluate(noisy, prepared, judge)
    assert list(table.index) == [COPY, "model"]
    assert list(table) == [
        *("accuracy", "accuracy_strong", "accuracy_neutral", "rho_error"),
        *("psnr_input", "ssim_input", "lpips_input", "fid_input", "fid_target", "kid_target", "n"),
    ]
    assert table.notna().all(axis=None)
    x, z = prepared.batch(range(40))["image"], targets(prepared)
    wanted, own = decode(z)[0], prepared.expression
    y = features(evaluation.edited(noisy, x, z))
    expected = [
        frechet(features(x[own == c]), y[wanted == c])
        for c in range(8)
        if min((own == c).sum(), (wanted == c).sum()) > 1
    ]
    assert table.loc["model", "fid_target"] == pytest.approx(np.mean(expected), rel=1e-3)
    torch.manual_seed(1)  # of unequally many pictures a part is drawn: always the same
    assert evaluate(noisy, prepared, judge).equals(table)


# -------------------------------------------------------------------------------- FID and KID


@pytest.mark.parametrize(("count", "width"), [(40, 100), (200, 16)])
def test_fid_is_that_of_torchmetrics_and_of_its_formula_in_float64(count, width):
    a = torch.randn(count, width) @ torch.randn(width, width) + 5
    b = torch.randn(count + 10, width) @ torch.randn(width, width)
    metric = FrechetInceptionDistance(evaluation._Given(width)).set_dtype(torch.float64)
    metric.update(a.double(), real=True)
    metric.update(b.double(), real=False)
    assert fid(a, b) == pytest.approx(metric.compute().item(), rel=1e-4)
    if count > width:
        first, second = (np.cov(t.double().numpy().T) for t in (a, b))
        root = scipy.linalg.sqrtm(first @ second).real
        shift = (a.double().mean(0) - b.double().mean(0)).square().sum().item()
        assert fid(a, b) == pytest.approx(shift + np.trace(first + second - 2 * root), rel=1e-6)


def test_fid_is_0_of_equals_grows_with_noise_and_is_nothing_of_one():
    a = torch.randn(50, 64)
    noise = torch.randn(50, 64)
    distances = [fid(a, a + strength * noise) for strength in (0, 0.5, 1, 2)]
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert distances == sorted(distances)
    assert distances[1] > 1
    assert fid(a, a + 3) == pytest.approx(9 * 64)
    assert math.isnan(fid(a[:1], a))
    assert math.isnan(fid(a, a[:1]))


def test_kid_is_that_of_its_definition_and_not_biased():
    a, b = torch.randn(30, 8), 0.5 + torch.randn(30, 8)
    assert kid(a, b) == pytest.approx(kernel_distance(a.double().numpy(), b.double().numpy()), 1e-4)
    # Of a set with itself it is below 0: no pair of a picture with itself counts as of one set,
    # but such pairs do count as of two. Of two sets from one source it is 0 on average.
    assert kid(a, a) < 0
    of_one_source = [kid(*torch.randn(2, 30, 8)) for _ in range(200)]
    error = np.std(of_one_source) / math.sqrt(200)
    assert abs(np.mean(of_one_source)) < 3 * error
    assert kid(a, a) < kid(a, a + 0.5) < kid(a, a + 1)


def test_kid_of_unequal_sets_takes_as_many_of_each_and_always_the_same():
    a, b = torch.randn(30, 8), torch.randn(50, 8)
    values = {kid(a, b) for _ in range(3)} | {kid(a.flip(1), b.flip(1))}
    assert max(values) - min(values) < 1e-6
    assert abs(kid(a, b)) < kid(a, b + 1)


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


def test_the_second_judge_is_another_network_for_the_same_task():
    for size in (32, 64, 128):
        logits, rho = SecondJudge(size).eval()(torch.rand(2, 3, size, size))
        assert logits.shape == (2, 8)
        assert ((rho >= 0) & (rho <= 1)).all()
    block = SecondJudge(64).features[0].denseblock1
    assert [layer.conv1.in_channels for layer in block.values()] == [32, 48, 64]  # all before it
    maps = SecondJudge(64).eval().features[0](torch.rand(1, 3, 64, 64))
    assert maps.shape[2:] == (4, 4)


@pytest.mark.parametrize(("kind", "network"), evaluation.JUDGES.items())
def test_the_kind_of_judge_that_was_asked_for_is_trained(kind, network):
    data = ProceduralFaces("judge", 16, 32)
    same = [train_judge(data, 2, seed, batch_size=4, kind=kind) for seed in (0, 0, 1)]
    assert all(type(judge) is network and not judge.training for judge in same)
    weights = [judge.head.weight for judge in same]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_judge_that_does_not_exist_is_named():
    for ask in (
        lambda: load_judge(64, "third-judge"),
        lambda: load_judge(64, "mmagan"),  # there are weights of this name
        lambda: train_judge(Cells(16, 0), 1, kind="third-judge"),
    ):
        with pytest.raises(ValueError, match=r"Unknown judge '.*'; expected one of judge, second-"):
            ask()
    with pytest.raises(ValueError, match="No second-judge for faces of 48 pixels comes with"):
        load_judge(48, "second-judge")


def test_without_a_second_judge_the_first_judges_alone(drawn, judge, monkeypatch):
    monkeypatch.setattr(evaluation, "pretrained_models", lambda: {"judge-32": {}})
    monkeypatch.setattr(evaluation, "load_weights", lambda name: (judge.state_dict(), {}))
    alone = evaluate(lambda x, z: x, drawn, perceptual=False)
    assert alone.equals(evaluate(lambda x, z: x, drawn, judge, perceptual=False))


def test_a_missing_judge_is_named(drawn, monkeypatch):
    monkeypatch.setattr(evaluation, "pretrained_models", dict)
    with pytest.raises(ValueError, match=r"No judge for faces of 32 pixels.*train_judge"):
        evaluate(lambda x, z: x, drawn)


def test_the_shipped_judge_reads_unseen_people():
    table = read(load_judge(64), ProceduralFaces("test", 96, 64, seed=7))
    strong = table[table["rho"] >= 0.66]
    assert (strong["read"] == strong["expression"]).mean() >= 0.95
    assert (table["rho"] - table["rho_read"]).abs().mean() < 0.12


# --------------------------------------------------------------- with the real networks: it takes


def test_with_the_real_networks_doing_nothing_wins_and_exact_answers_look_most_real():
    data = ProceduralFaces("test", 16, 64, seed=1)

    def noise(x, z):
        return torch.rand_like(x) * 2 - 1

    table = evaluate({"noise": noise}, data)
    for column in ("lpips_input", "fid_input"):
        assert table.loc[COPY, column] == pytest.approx(0, abs=1e-4)
        assert table.loc[TRUTH, column] < table.loc["noise", column] / 5
    assert table.loc[TRUTH, "lpips_truth"] == 0
    assert table.loc[TRUTH, "fid_target"] < table.loc["noise", "fid_target"] / 3
    assert table.loc[TRUTH, "kid_target"] < table.loc["noise", "kid_target"] / 3
