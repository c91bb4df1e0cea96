"""Figures: what stands where in them, read back from matplotlib's own objects."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from mmagan_lite import plots
from mmagan_lite.attention import Attention
from mmagan_lite.config import Config
from mmagan_lite.discriminator import Discriminator
from mmagan_lite.expressions import EXPRESSIONS
from mmagan_lite.generator import Generator
from mmagan_lite.training import COLUMNS


def flat(level, size=(12, 10)):
    return Image.new("RGB", size, (level, level, level))


def drawn(figure):
    """Really render it, as a notebook does."""
    figure.canvas.draw()
    assert plt.get_fignums() == []  # or the notebook would show it twice
    return figure


def rows(steps=100, warmup=50):
    warm = [{"step": s, "seconds": 1, "critic_cls": 2.0} for s in range(-warmup + 1, 1)]
    terms = {name: 0.5 for name in COLUMNS[2:] if name not in ("critic_gp", "critic_r1")}
    return warm + [{**terms, "step": s, "seconds": 1} for s in range(1, steps + 1)]


def test_a_grid_shows_each_picture_in_its_place_under_its_labels():
    images = [[flat(10), flat(20), flat(30)], [flat(40), flat(50), flat(60)]]
    figure = drawn(plots.grid(images, ["a", "b"], ["x", "y", "z"]))
    levels = [axis.images[0].get_array()[0, 0, 0] for axis in figure.axes]
    assert levels == [10, 20, 30, 40, 50, 60]
    assert [axis.get_ylabel() for axis in figure.axes] == ["a", "", "", "b", "", ""]
    assert [axis.get_title() for axis in figure.axes] == ["x", "y", "z", "", "", ""]


@pytest.mark.parametrize("columns", [1, 3, 9, 20])
def test_a_grid_is_never_wider_than_a_notebook(columns):
    figure = drawn(plots.grid([[flat(0)] * columns], ["row"]))
    assert figure.get_figwidth() <= plots.WIDTH + 0.5


def test_uneven_rows_and_wrong_numbers_of_labels_are_refused():
    with pytest.raises(ValueError, match="same length"):
        plots.grid([[flat(0)], [flat(0), flat(0)]])
    with pytest.raises(ValueError, match="at least one row"):
        plots.grid([])
    with pytest.raises(ValueError, match="one label for each column: 1, not 2"):
        plots.grid([[flat(0)]], column_labels=["a", "b"])


def test_a_strip_tells_rho():
    figure = drawn(plots.strip([flat(0)] * 5, "fear"))
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["ρ = 0.00", "ρ = 0.25", "ρ = 0.50", "ρ = 0.75", "ρ = 1.00"]
    assert figure.axes[0].get_ylabel() == "fear"


def test_every_column_of_the_trainers_history_has_a_curve():
    shown = {column for panel in plots.PANELS.values() for column in panel}
    assert shown == set(COLUMNS) - {"step", "seconds"}
    figure = drawn(plots.history(rows()))
    curves = {a.get_title(): [t.get_text() for t in a.get_legend().texts] for a in figure.axes}
    assert curves["Critic's class accuracy"] == ["real, own class", "generated, target"]
    assert curves["Critic, equation (8)"] == ["adversarial (1)", "classes (3)", "fake class"]


def test_a_long_history_is_drawn_by_means_of_neighbouring_steps():
    long = pd.DataFrame(rows(steps=40_000, warmup=2_000))
    long["gap"] = long["step"] % 85  # the mean over a group of 85 steps is 42
    long.loc[long["step"] < 1, "gap"] = np.nan
    figure = drawn(plots.history(long))
    axes = {axis.get_title(): axis for axis in figure.axes}
    gap = axes["Score gap: real − generated"].lines[0]
    assert 400 < len(gap.get_xdata()) <= plots.POINTS
    assert gap.get_xdata()[-1] == 40_000
    assert gap.get_ydata()[:-1] == pytest.approx(42)
    warm = [line for line in axes["Critic, equation (8)"].lines if line.get_xdata()[0] < 1]
    assert len(warm) == 2  # the classes, thin and thick
    before = warm[0].get_xdata() < 1
    assert warm[0].get_xdata()[before][-1] == 0  # no mean reaches over the end of the warm-up
    assert (warm[0].get_ydata()[before] == 2.0).all()
    assert (warm[0].get_ydata()[~before] == 0.5).all()


def test_a_history_is_drawn_into_a_given_figure_without_pyplot(monkeypatch):
    monkeypatch.setattr(plots.plt, "subplots", None)
    figure = Figure()
    assert plots.history(rows(), figure) is figure
    assert len(figure.axes) == 6


def test_a_history_may_be_a_table_or_hold_the_warm_up_alone():
    from_rows, from_table = plots.history(rows()), plots.history(pd.DataFrame(rows()))
    for first, second in zip(from_rows.axes, from_table.axes, strict=True):
        for line, other in zip(first.lines, second.lines, strict=True):
            assert np.array_equal(line.get_ydata(), other.get_ydata())
    drawn(plots.history(rows(steps=0)))
    drawn(plots.history(rows(steps=1, warmup=0)))
    with pytest.raises(ValueError, match="history is empty"):
        plots.history([])


def test_the_thick_curve_is_the_running_mean_of_the_thin_one():
    history = [{"step": s, "gap": float(s % 2)} for s in range(1, 201)]  # 0, 1, 0, 1, ...
    gap = next(axis for axis in plots.history(history).axes if "gap" in axis.get_title())
    thin, thick = (line.get_ydata() for line in gap.lines)
    assert set(thin) == {0, 1}
    assert thick[3:] == pytest.approx(0.5)  # means of 200 / 50 = 4 steps


def test_a_difference_is_signed_symmetric_and_in_8_bit_levels():
    before, after = flat(100), flat(130)
    after.putpixel((3, 7), (10, 10, 10))
    figure = drawn(plots.difference(before, after))
    heat = figure.axes[2].images[0]
    assert heat.get_array()[0, 0] == 30
    assert heat.get_array()[7, 3] == -90
    assert heat.get_clim() == (-90, 90)
    same = drawn(plots.difference(before, before)).axes[2].images[0]
    assert same.get_clim() == (-1, 1)
    with pytest.raises(ValueError, match="same size"):
        plots.difference(before, flat(0, (5, 5)))


def test_attention_lies_over_the_whole_picture_one_panel_a_block():
    maps = [Attention(torch.rand(2, 8), torch.full((2, 1, 3, 3), v)) for v in (0.2, 0.7)]
    figure = drawn(plots.attention(flat(90), maps))
    assert [a.get_title() for a in figure.axes[:3]] == ["input", "block 1", "block 2"]
    grey, over = figure.axes[1].images
    assert tuple(over.get_extent()) == tuple(grey.get_extent())
    assert over.get_clim() == pytest.approx((0.2, 0.7))
    with pytest.raises(ValueError, match="no attention map"):
        plots.attention(flat(90), [])


def cells(figure):
    """The counts written in a table, by row and column, and the shares that colour them."""
    axis = figure.axes[0]
    shares = axis.images[0].get_array()
    counts = np.full(shares.shape, -1)
    for text in axis.texts:
        column, row = text.get_position()
        counts[row, column] = int(text.get_text())
    return counts, np.asarray(shares)


def luminance(colour):
    """Relative luminance of an RGB colour in [0, 1], as WCAG 2 defines it."""
    c = np.asarray(colour[:3])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [
        0.2126,
        0.7152,
        0.0722,
    ]


def test_a_confusion_counts_by_true_row_and_read_column():
    figure = drawn(plots.confusion(list("aabbb"), list("abcba"), names=["a", "b", "c"]))
    counts, shares = cells(figure)
    assert counts.tolist() == [[1, 1, 0], [1, 1, 1], [0, 0, 0]]
    assert shares == pytest.approx(np.array([[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3], [0, 0, 0]]))
    axis = figure.axes[0]
    assert axis.get_title() == "2 of 5 read correctly (40%)"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b", "c"]
    assert (axis.get_ylabel(), axis.get_xlabel()) == ("true", "read")


def test_a_confusion_of_names_labels_or_tensors_is_pandas_crosstab():
    random = np.random.default_rng(0)
    expected, read = random.integers(0, 8, (2, 300))
    table = pd.crosstab(expected, read)
    names = [[EXPRESSIONS[label] for label in labels] for labels in (expected, read)]
    for pair in ((expected, read), (torch.tensor(expected), list(read)), map(pd.Series, names)):
        counts, _ = cells(plots.confusion(*pair))
        assert (counts == table).all(axis=None)


def test_every_count_of_a_confusion_can_be_read_on_its_colour():
    expected = np.repeat(np.arange(51), 50)  # a row for each share: 0, 2, ..., 100 per cent
    read = np.concatenate([np.repeat([row, (row + 1) % 51], [row, 50 - row]) for row in range(51)])
    figure = plots.confusion(expected, read, [str(row) for row in range(51)])
    image = figure.axes[0].images[0]
    for text in figure.axes[0].texts:
        column, row = text.get_position()
        ground = luminance(image.cmap(image.norm(image.get_array()[row, column])))
        dark, light = sorted([ground, luminance(to_rgb(text.get_color()))])
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # what WCAG 2 asks for text


def test_a_confusion_of_nothing_or_of_unknown_expressions_is_refused():
    with pytest.raises(ValueError, match="at least one; got 0 and 0"):
        plots.confusion([], [])
    with pytest.raises(ValueError, match="got 1 and 2"):
        plots.confusion([0, 1], [0])
    with pytest.raises(ValueError, match="Unknown expression 'joy'"):
        plots.confusion(["joy"], ["anger"])
    for label in (-1, 8):
        with pytest.raises(ValueError, match=f"Unknown expression {label}"):
            plots.confusion([0], [label])


# --- the diagrams of the networks -----------------------------------------------------------------


def texts(figure):
    """All texts of a diagram, joined."""
    return "\n".join(text.get_text() for text in figure.axes[0].texts)


def labels(figure):
    """The last lines of the stages' labels, from left to right: their shapes."""
    found = [
        text for text in figure.axes[0].texts if text.get_text().split("\n")[-1].count("×") == 2
    ]
    found.sort(key=lambda text: text.get_position()[0])
    return [text.get_text().split("\n")[-1] for text in found]


def slabs(figure):
    """Heights of the stages' slabs, from left to right."""
    rectangles = sorted(figure.axes[0].patches, key=lambda patch: patch.get_x())
    return [patch.get_height() for patch in rectangles]


def overlapping(figure):
    """Pairs of texts that lie upon each other, and texts that reach beyond the figure."""
    figure.canvas.draw()
    found = [text for text in figure.axes[0].texts if text.get_text()]
    boxes = [text.get_window_extent() for text in found]
    pairs = [
        (found[i].get_text(), found[j].get_text())
        for i in range(len(found))
        for j in range(i)
        if boxes[i].overlaps(boxes[j])
    ]
    width, height = figure.bbox.size
    beyond = [
        text.get_text()
        for text, box in zip(found, boxes, strict=True)
        if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height
    ]
    return pairs + beyond


@pytest.mark.parametrize("size", [32, 64, 256])
def test_an_architecture_has_the_shapes_worked_out_by_hand(size):
    generator = Generator(Config.profile("smoke", width=4, blocks=3))
    figure = drawn(plots.architecture(generator, size))
    half, quarter = size // 2, size // 4
    assert labels(figure) == [
        f"11×{size}×{size}", f"4×{size}×{size}", f"8×{half}×{half}",
        f"16×{quarter}×{quarter}", f"16×{quarter}×{quarter}", f"8×{half}×{half}",
        f"4×{size}×{size}", f"3×{size}×{size}", f"3×{size}×{size}",
    ]  # fmt: skip
    full = slabs(figure)[0]
    shares = [1, 1, 1 / 2, 1 / 4, *[1 / 4] * 3, 1 / 2, 1, 1, 1]
    assert slabs(figure) == pytest.approx([full * share for share in shares])


def test_an_architecture_shows_what_the_layers_do_and_not_what_the_config_says():
    generator = Generator(Config.profile("smoke", width=4, blocks=1, global_residual=False))
    generator.encoder[0] = torch.nn.Conv2d(11, 6, 5, padding=1)  # 2 smaller, 6 channels
    generator.encoder[1] = torch.nn.Identity()
    generator.encoder[3] = torch.nn.Conv2d(6, 8, 3, stride=2, padding=2)
    generator.decoder[-1] = torch.nn.Conv2d(4, 5, 1)
    figure = drawn(plots.architecture(generator, 32))
    assert labels(figure)[:4] == ["11×32×32", "6×30×30", "8×16×16", "16×8×8"]
    assert labels(figure)[-2:] == ["5×32×32", "5×32×32"]
    shown = texts(figure)
    assert "conv 5×5\nno norm, ReLU" in shown
    assert "conv 3×3\nstride 2\nnorm, ReLU" in shown
    assert shown.count("transposed 4×4\nstride 2") == 2


@pytest.mark.parametrize("mmarm", [True, False])
@pytest.mark.parametrize("residual", [True, False])
def test_an_architecture_shows_the_ablations(mmarm, residual):
    config = Config.profile("smoke", blocks=2, mmarm=mmarm, global_residual=residual)
    shown = texts(plots.architecture(Generator(config), 32))
    assert ("2 ×\nMMARM" in shown, "2 ×\nresidual block" in shown) == (mmarm, not mmarm)
    assert ("global residual" in shown, "tanh +" in shown) == (residual, residual)
    assert "tanh" in shown


def test_an_architecture_leaves_the_generator_as_it_was_and_needs_no_block():
    generator = Generator(Config.profile("smoke", blocks=0))
    figure = drawn(plots.architecture(generator, 32))
    assert len(labels(figure)) == 8
    hooks = [len(module._forward_hooks) for module in generator.modules()]
    assert sum(hooks) == 0
    with pytest.raises(ValueError, match="multiples of 16"):
        plots.architecture(generator, 33)
    assert sum(len(module._forward_hooks) for module in generator.modules()) == 0


@pytest.mark.parametrize("profile", ["smoke", "laptop", "paper"])
def test_a_framework_has_the_shapes_of_its_networks(profile):
    config = Config.profile(profile)
    figure = drawn(plots.framework(config))
    side = config.image_size
    x = torch.zeros(2, 3, side, side)
    src, cls, cor = Discriminator(config.replace(critic_width=2))(x)
    lines = {
        t.get_text().split("\n")[0]: t.get_text().split("\n")[-1] for t in figure.axes[0].texts
    }
    image = f"(B, 3, {side}, {side})"
    for name in ("$x$: a face", "$y = G(x, z)$", "$x'' = G(y, z'')$", "$x$: the same face"):
        assert lines[name] == image
    for name, tensor in {"real? (1)": src, "which? (4)": cls, "$z$? (5)": cor}.items():
        (shape,) = (shape for title, shape in lines.items() if name in title)
        assert shape == f"(B, {', '.join(map(str, tensor.shape[1:]))})"
    assert lines["$z$: the code"] == lines["$z'' = D_{cor}(x)$"] == "(B, 8)"


def test_a_framework_follows_networks_of_other_shapes(monkeypatch):
    class Pooled(Discriminator):
        def forward(self, x, expression=None):
            src, cls, cor = super().forward(x, expression)
            return src[:, :, :5, :3], cls, cor

    monkeypatch.setattr(plots, "Discriminator", Pooled)
    assert "real? (1)\n(B, 1, 5, 3)" in texts(plots.framework(Config.profile("smoke")))


@pytest.mark.parametrize(("preset", "head"), [("paper", "cls"), ("stabilised", "cor")])
def test_a_framework_says_which_head_tells_the_strength(preset, head):
    shown = texts(plots.framework(Config.profile("smoke", losses=preset)))
    assert f"(6) reads the strength off $D_{{{head}}}$" in shown


def test_nothing_in_a_diagram_lies_upon_anything_else():
    assert overlapping(plots.framework(Config.profile("paper"))) == []
    for changes in ({}, {"mmarm": False, "stem_norm": False}, {"blocks": 1, "mmarm": False}):
        generator = Generator(Config.profile("paper", **{"width": 64, "blocks": 6, **changes}))
        assert overlapping(plots.architecture(generator, 128)) == []


def test_changes_stand_under_each_picture_but_the_first_on_one_scale():
    coloured = Image.new("RGB", (12, 10), (103, 97, 100))  # up in red, down in green
    images = [[flat(100), flat(130), coloured], [flat(50), flat(50), flat(40)]]
    figure = drawn(plots.changes(images, ["a", "b"], ["input", "x", "y"], limit=20))
    above, below = figure.axes[0:3] + figure.axes[6:9], figure.axes[3:6] + figure.axes[9:12]
    assert [axis.images[0].get_array()[0, 0, 0] for axis in above] == [100, 130, 103, 50, 50, 40]
    assert [axis.images[0].get_array()[0, 0] for axis in below] == [0, 30, 2, 0, 0, 10]
    assert {axis.images[0].get_clim() for axis in below} == {(0, 20)}
    assert [axis.get_visible() for axis in below] == [False, True, True] * 2
    assert [axis.get_ylabel() for axis in above] == ["a", "", "", "b", "", ""]
    assert [axis.get_title() for axis in above] == ["input", "x", "y", "", "", ""]
    largest = drawn(plots.changes(images))
    assert largest.axes[4].images[0].get_clim() == (0, 30)


def test_changes_need_an_input_and_something_beside_it():
    with pytest.raises(ValueError, match="two or more pictures"):
        plots.changes([[flat(0)]])
    with pytest.raises(ValueError, match="equally long"):
        plots.changes([[flat(0), flat(0)], [flat(0), flat(0), flat(0)]])
    with pytest.raises(ValueError, match="one label for each row: 1, not 2"):
        plots.changes([[flat(0), flat(0)]], ["a", "b"])
