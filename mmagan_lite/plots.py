"""Static figures at the width of a notebook, in colours that colour-blind readers can tell apart.

Every function returns a Matplotlib figure and leaves pyplot's own state as it was.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image
from torch import nn

from mmagan_lite.attention import MMARM, Attention
from mmagan_lite.config import Config
from mmagan_lite.discriminator import Discriminator
from mmagan_lite.expressions import EXPRESSIONS, N
from mmagan_lite.generator import Generator

WIDTH = 10.0  # inches
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, "Color Universal Design", 2008."""

Picture = Image.Image | np.ndarray

ADVERSARIAL, CLASSES = "adversarial (1)", "classes"
POINTS = 500  # of a curve, at most
PANELS = {
    "Critic, equation (8)": {
        "critic_adv": ADVERSARIAL, "critic_cls": CLASSES + " (3)", "critic_fake": "fake class",
        "critic_gp": "gradient penalty", "critic_r1": "R1",
    },
    "Generator, equation (7)": {"generator_adv": ADVERSARIAL, "generator_cls": CLASSES + " (4)"},
    "Coordinates (5) and intensity (6)": {
        "critic_info": "coordinates, critic", "generator_info": "coordinates, generator",
        "generator_rho": "intensity",
    },
    "Score gap: real − generated": {"gap": "gap"},
    "Critic's class accuracy": {
        "accuracy_real": "real, own class", "accuracy_fake": "generated, target",
    },
    "Mean |difference|, images in [−1, 1]": {
        "change": "G(x, z) − x", "generator_rec": "reconstruction (2)",
        "generator_identity": "identity (CycleGAN)",
    },
}  # fmt: skip
"""The panels of `history`: the columns that they show and what these are called there."""


def grid(
    images: Sequence[Sequence[Picture]],
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
) -> Figure:
    """Pictures in rows and columns.

    Parameters
    ----------
    images : sequence of rows, each a sequence of PIL images or arrays
        Rows of the same length.
    row_labels, column_labels : sequence of str, optional

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If rows differ in length or labels in number from the pictures.
    """
    rows, columns = len(images), len(images[0]) if len(images) else 0
    if not columns or any(len(row) != columns for row in images):
        raise ValueError("Give at least one row of pictures, and all rows of the same length.")
    for what, names, count in (("row", row_labels, rows), ("column", column_labels, columns)):
        if names is not None and len(names) != count:
            raise ValueError(f"Give one label for each {what}: {count}, not {len(names)}.")
    cell = min(1.6, WIDTH / columns)
    tallest = max(np.asarray(image).shape[0] / np.asarray(image).shape[1] for image in images[0])
    size = (columns * cell + 0.2 * bool(row_labels), rows * cell * tallest + 0.25)
    figure, axes = _figure(rows, columns, size)
    for i, row in enumerate(images):
        for j, image in enumerate(row):
            _show(axes[i, j], image)
    for axis, label in zip(axes[:, 0], row_labels or (), strict=False):
        axis.set_ylabel(label, fontsize=9)
    for axis, label in zip(axes[0], column_labels or (), strict=False):
        axis.set_title(label, fontsize=9)
    return figure


def strip(images: Sequence[Picture], expression: str = "") -> Figure:
    """A sweep as one row: ρ from 0 to 1.

    Parameters
    ----------
    images : sequence of PIL images or arrays
        From `mmagan_lite.sweep`.
    expression : str
        Its name, to stand beside the row.

    Returns
    -------
    Figure
    """
    values = np.linspace(0, 1, len(images))
    return grid([images], [expression] if expression else None, [f"ρ = {v:.2f}" for v in values])


def history(rows: Sequence[dict[str, Any]] | pd.DataFrame, figure: Figure | None = None) -> Figure:
    """The curves of a run: thin as recorded, thick averaged over a fiftieth of the run.

    Of a long run the thin curves are means, too: of as many neighbouring steps as make
    `POINTS` points or fewer.

    Parameters
    ----------
    rows : sequence of dict, or DataFrame
        `Trainer.history`, or ``pandas.read_csv("run/history.csv")``.
    figure : Figure, optional
        Where to draw, if not in a new figure of pyplot's, which only the main thread may use.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is no row yet.
    """
    table = pd.DataFrame(rows)
    if table.empty:
        raise ValueError("The history is empty; train for a step or more first.")
    table = _thinned(table).set_index("step")
    if figure is None:
        figure, axes = _figure(2, 3, (WIDTH, 5.2))
    else:
        axes = figure.subplots(2, 3)
    for axis, (title, columns) in zip(axes.flat, PANELS.items(), strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step (grey: the critic's warm-up)" if table.index[0] < 1 else "step")
        axis.xaxis.label.set_size(8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
        _curves(axis, table, {key: columns[key] for key in columns if key in table})
        axis.axvspan(min(table.index[0], 0), 0, color="0.92", zorder=0)
    accuracy = axes[1, 1]
    accuracy.set_ylim(0, 1.02)
    accuracy.axhline(1 / 8, color="0.5", linestyle=":", linewidth=1)  # guessing
    return figure


def _thinned(table: pd.DataFrame) -> pd.DataFrame:
    """Means of neighbouring rows, warm-up and training apart, at the step where each group ends."""
    size = -(-len(table) // (POINTS - 1))  # rows a group; the warm-up may end within one
    if size == 1:
        return table
    training = (table["step"] > 0).to_numpy()
    group = np.where(training, training.cumsum() - 1, np.arange(len(table))) // size
    groups = table.groupby([training, group])
    return groups.mean().assign(step=groups["step"].last()).reset_index(drop=True)


def _curves(axis: Axes, table: pd.DataFrame, columns: dict[str, str]) -> None:
    """Draw columns of a history, those that hold anything."""
    shown = []
    for (column, label), colour in zip(columns.items(), COLOURS, strict=False):
        series = table[column].dropna()
        if len(series):
            smooth = series.rolling(max(1, len(series) // 50), min_periods=1).mean()
            axis.plot(series, color=colour, alpha=0.25, linewidth=0.8)
            axis.plot(smooth, color=colour, linewidth=1.6, label=label)
            shown.append(series.quantile([0.005, 0.98]))
    if shown:  # a few extreme steps, as at the start, should not flatten the rest
        low, high = min(map(min, shown)), max(map(max, shown))
        margin = 0.1 * (high - low) or 0.1
        axis.set_ylim(low - margin, high + margin)
        axis.legend(fontsize=8, frameon=False)


def difference(before: Picture, after: Picture) -> Figure:
    """Two pictures and what changed between them, darker or brighter, in 8-bit levels.

    Parameters
    ----------
    before, after : PIL image or uint8 array
        RGB, of the same size.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the sizes differ.
    """
    before, after = np.asarray(before), np.asarray(after)  # (H, W, 3)
    if before.shape != after.shape:
        raise ValueError(
            f"The pictures must be of the same size; got {before.shape} and {after.shape}."
        )
    change = (after.astype(float) - before.astype(float)).mean(-1)  # (H, W)
    limit = max(1.0, np.abs(change).max())
    figure, axes = _figure(1, 3, (WIDTH * 0.85, WIDTH * 0.27))
    for axis, image, title in zip(axes[0], (before, after), ("before", "after"), strict=False):
        _show(axis, image)
        axis.set_title(title, fontsize=10)
    heat = _show(axes[0, 2], change, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes[0, 2].set_title("after − before", fontsize=10)
    bar = figure.colorbar(heat, ax=axes[0, 2], shrink=0.85)
    bar.set_label("darker   brighter", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def changes(
    images: Sequence[Sequence[Picture]],
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    limit: float | None = None,
) -> Figure:
    """Pictures in rows, and under each how much it differs from the first of its row.

    Parameters
    ----------
    images : sequence of rows, each a sequence of PIL images or uint8 arrays
        Rows of the same length, RGB, all of one size; the input comes first.
    row_labels, column_labels : sequence of str, optional
    limit : float, optional
        Difference at which the scale ends, the same for all: the mean of |difference| over the
        colours, in 8-bit levels. Default: the largest.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If rows differ in length, or labels in number from the pictures.
    """
    count, columns = len(images), len(images[0]) if len(images) else 0
    if columns < 2 or any(len(row) != columns for row in images):
        raise ValueError("Give at least one row of two or more pictures, all rows equally long.")
    for what, names, wanted in (("row", row_labels, count), ("column", column_labels, columns)):
        if names is not None and len(names) != wanted:
            raise ValueError(f"Give one label for each {what}: {wanted}, not {len(names)}.")
    pixels = np.array([[np.asarray(image) for image in row] for row in images], dtype=float)
    change = np.abs(pixels - pixels[:, :1]).mean(-1)  # (rows, columns, H, W)
    limit = limit or max(1.0, change.max())
    cell = min(1.1, WIDTH / (columns + 0.7))
    figure, axes = _figure(2 * count, columns, (cell * (columns + 0.7), 2 * count * cell + 0.25))
    for i, j in np.ndindex(count, columns):
        _show(axes[2 * i, j], images[i][j])
        heat = _show(axes[2 * i + 1, j], change[i, j], cmap="inferno", vmin=0, vmax=limit)
    for axis in axes[1::2, 0]:
        axis.set_visible(False)  # the input does not differ from itself
    for axis, label in zip(axes[::2, 0], row_labels or (), strict=False):
        axis.set_ylabel(label, fontsize=9)
    for axis, label in zip(axes[0], column_labels or (), strict=False):
        axis.set_title(label, fontsize=9)
    over = "max" if change.max() > limit else "neither"
    bar = figure.colorbar(heat, ax=axes, shrink=0.5, aspect=30, extend=over)
    bar.set_label("|picture − input|, 8-bit levels", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def attention(image: Picture, maps: Sequence[Attention]) -> Figure:
    """Where each block looked: its spatial attention over the picture in grey.

    Parameters
    ----------
    image : PIL image or uint8 array
        RGB; the input.
    maps : sequence of Attention
        From ``G(x, z, return_attention=True)``; the first image of the batch is shown.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is no map: a trunk of plain residual blocks has none.
    """
    if not maps:
        raise ValueError("There is no attention map; plain residual blocks have none.")
    weights = [block.spatial[0, 0].detach().cpu().numpy() for block in maps]  # each (h, w)
    low, high = min(w.min() for w in weights), max(w.max() for w in weights)
    height, width = np.asarray(image).shape[:2]
    cell = min(2.2, WIDTH / (len(weights) + 1.3))
    figure, axes = _figure(1, len(weights) + 1, (cell * (len(weights) + 1.3), cell + 0.25))
    _show(axes[0, 0], image)
    axes[0, 0].set_title("input", fontsize=10)
    for number, (axis, weight) in enumerate(zip(axes[0, 1:], weights, strict=True), 1):
        _show(axis, np.asarray(image).mean(-1), cmap="gray", vmin=0, vmax=255)
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        over = axis.imshow(
            weight, cmap="viridis", vmin=low, vmax=high, alpha=0.6, extent=extent,
            interpolation="bilinear",
        )  # fmt: skip
        axis.set_title(f"block {number}", fontsize=10)
    bar = figure.colorbar(over, ax=axes[0], shrink=0.85)
    bar.set_label("attention", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def confusion(
    expected: Sequence[str | int],
    read: Sequence[str | int],
    names: Sequence[str] = EXPRESSIONS,
) -> Figure:
    """What was read in pictures of each expression: counts, coloured by share of their row.

    Parameters
    ----------
    expected, read : sequence of str or int
        For each picture the true expression and the one that was read, by name or label.
    names : sequence of str
        The rows and columns in order; labels count from 0.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is no picture, the lengths differ, or a name or label is unknown.
    """
    if not len(expected) or len(expected) != len(read):
        raise ValueError(
            f"Give as many expressions read as expected, at least one; "
            f"got {len(read)} and {len(expected)}."
        )
    counts = np.zeros((len(names), len(names)), dtype=int)  # (expected, read)
    np.add.at(counts, (_places(expected, names), _places(read, names)), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axes = _figure(1, 1, (2.2 + 0.62 * len(names), 1.6 + 0.42 * len(names)))
    axis = axes[0, 0]
    cells = _show(axis, shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        # There black and white stand out equally well from the blue of the cell.
        ink = "white" if shares[row, column] > 0.715 else "black"
        axis.text(column, row, str(count), color=ink, ha="center", va="center", fontsize=9)
    axis.set_xticks(range(len(names)), names, fontsize=8, rotation=35, ha="right")
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.tick_params(length=0)
    axis.set(xlabel="read", ylabel="true")
    right, total = counts.trace(), counts.sum()
    axis.set_title(f"{right} of {total} read correctly ({right / total:.0%})", fontsize=10)
    bar = figure.colorbar(cells, ax=axis, format="{x:.0%}")
    bar.set_label("share of the row", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def _places(values: Sequence[str | int], names: Sequence[str]) -> list[int]:
    """Names or labels as places in `names`."""
    places = {**{name: i for i, name in enumerate(names)}, **{i: i for i in range(len(names))}}
    values = [value if isinstance(value, str) else int(value) for value in values]
    unknown = [value for value in values if value not in places]
    if unknown:
        raise ValueError(
            f"Unknown expression {unknown[0]!r}; expected one of {', '.join(names)} "
            f"or a label from 0 to {len(names) - 1}."
        )
    return [places[value] for value in values]


def framework(config: Config) -> Figure:
    """The paper's figure 1: who gets what from whom, with the shapes of this configuration.

    The upper row edits a face and has it judged, the lower one takes the edit back, from right
    to left. All shapes are read off two networks at work by forward hooks. (They are built
    without numbers, on PyTorch's device "meta", so even large ones take no time.)

    Parameters
    ----------
    config : Config

    Returns
    -------
    Figure
    """
    with torch.device("meta"):
        generator, critic = Generator(config), Discriminator(config)
        x = torch.empty(2, 3, config.image_size, config.image_size)
        z = torch.empty(2, N)
    with _watched({"G": generator, "D": critic}) as calls, torch.inference_mode():
        y = generator(x, z)
        critic(y)
        generator(y, critic(x)[2])
    ((x, z), (y,)), ((_, z_back), (x_back,)) = calls["G"]
    (_, (src, cls, cor)), _ = calls["D"]

    figure, axis = _canvas(10, 4.3)
    boxes = {
        "z": ((8.4, 38), "$z$: the code", z), "x": ((8.4, 25), "$x$: a face", x),
        "G": ((29, 32), "$G$: generator", None), "y": ((50, 32), "$y = G(x, z)$", y),
        "D": ((70, 32), "$D$: critic", None),
        "src": ((91.6, 39.5), "$D_{src}$: real? (1)", src),
        "cls": ((91.6, 32), "$D_{cls}$: which? (4)", cls),
        "cor": ((91.6, 24.5), "$D_{cor}$: $z$? (5)", cor),
        "x_back": ((8.4, 5), "$x'' = G(y, z'')$", x_back), "G again": ((29, 5), "$G$ again", None),
        "z_back": ((50, 5), "$z'' = D_{cor}(x)$", z_back), "D again": ((70, 5), "$D$ again", None),
        "x again": ((91.6, 5), "$x$: the same face", x),
    }  # fmt: skip
    patches = {}
    for name, (centre, title, shape) in boxes.items():
        colour = {"G": COLOURS[0], "D": COLOURS[1]}.get(name[0], "0.6")
        text = title if shape is None else f"{title}\n{_batch(shape)}"
        patches[name] = _box(axis, centre, (16, 6.4 if shape is not None else 9), text, colour)
    there = [
        ("z", "G"),
        ("x", "G"),
        ("G", "y"),
        ("y", "D"),
        ("D", "src"),
        ("D", "cls"),
        ("D", "cor"),
    ]
    back = [("x again", "D again"), ("D again", "z_back"), ("z_back", "G again")]
    back += [("y", "G again"), ("G again", "x_back")]
    for start, end in there + back:
        _arrow(axis, boxes[start][0], boxes[end][0], (patches[start], patches[end]))
    ends = (patches["x"], patches["x_back"])
    _arrow(axis, boxes["x"][0], boxes["x_back"][0], ends, "<|-|>", "--")
    axis.text(10, 15, "(2): $\\Vert x - x'' \\Vert_1$", fontsize=9, va="center")
    axis.text(37, 18, "the way back", fontsize=9, va="center", ha="right", style="italic")
    where = {"classes": "cls", "coordinates": "cor"}[config.rho_estimate]
    note = f"(6) reads the strength off $D_{{{where}}}$; (3) is $D_{{cls}}$ on real faces"
    axis.text(99.5, 15, note, fontsize=9, va="center", ha="right")
    return figure


def architecture(generator: Generator, size: int) -> Figure:
    """The paper's figure 2: the generator's stages, drawn as tall as their features are.

    Shapes (channels × height × width) are read off the generator at work by forward hooks,
    kernels and strides off its layers.

    Parameters
    ----------
    generator : Generator
    size : int
        Side of the image to send through, a multiple of 16.

    Returns
    -------
    Figure
    """
    weight = next(generator.parameters())
    x = weight.new_zeros(1, 3, size, size)
    parts = [*generator.encoder, *generator.blocks, *generator.decoder, generator.encoder]
    with _watched({**dict(enumerate(parts)), "G": generator}) as calls, torch.inference_mode():
        generator(x, weight.new_zeros(1, N))
    shapes = {part: calls[i][0] for i, part in enumerate(parts)}
    ((_, _), (y,)) = calls["G"][0]

    stages = [("image\nbeside code\n", [shapes[generator.encoder][0][0]], "0.6")]
    for layers, colour in zip(_stages(generator.encoder), (4, 0, 0), strict=True):
        stages.append((_layers(layers), [shapes[layers[-1]][1][0]], COLOURS[colour]))
    if len(generator.blocks):
        block = generator.blocks[0]
        kind = type(block).__name__ if isinstance(block, MMARM) else "residual block"
        outs = [shapes[block][1][0] for block in generator.blocks]
        stages.append((f"{len(outs)} ×\n{kind}\n", outs, COLOURS[1]))
    for layers, colour in zip(_stages(generator.decoder), (2, 2, 3), strict=True):
        stages.append((_layers(layers), [shapes[layers[-1]][1][0]], COLOURS[colour]))
    residual = generator.config.global_residual
    stages.append(("plus image\n\n" if residual else "the output\n\n", [y], "0.6"))
    return _draw_stages(stages, size, residual)


def _draw_stages(stages: list[tuple[str, list, str]], size: int, residual: bool) -> Figure:
    """Stages from left to right: (label, shapes of its slabs, colour) each."""
    figure, axis = _canvas(10, 3.6)
    spans = [1.6 if len(shapes) > 1 else 1.0 for _, shapes, _ in stages]
    unit, middle = 99 / sum(spans), 20.5
    left, edges = 0.5, []
    for (label, shapes, colour), span in zip(stages, spans, strict=True):
        centre, step = left + span * unit / 2, 0.8 * span * unit / len(shapes)
        for number, (_, channels, height, _) in enumerate(shapes):
            width = min(0.45 * math.log2(channels + 1), 0.75 * step)
            x = centre + (number - (len(shapes) - 1) / 2) * step - width / 2
            tall = 21 * height / size
            slab = Rectangle((x, middle - tall / 2), width, tall, fc=colour, ec="black", lw=0.8)
            axis.add_patch(slab)
            edges.append((x, x + width))
        text = f"{label}\n{'×'.join(map(str, shapes[-1][1:]))}"
        axis.text(centre, 8.8, text, fontsize=7.5, ha="center", va="top")
        left += span * unit
    *inner, drawn, output = edges
    for (_, start), (end, _) in pairwise([*inner, drawn]):
        if end - start > 2:
            _arrow(axis, (start, middle), (end, middle))
    plus = (drawn[1] + output[0]) / 2
    sign = axis.text(plus, middle, "tanh" + " +" * residual, fontsize=8, ha="center", va="center")
    sign.set_bbox(dict(boxstyle="round", fc="white", ec="black", lw=0.8))
    _arrow(axis, (drawn[1], middle), (plus - 2.6, middle))
    _arrow(axis, (plus + 2.6, middle), (output[0], middle))
    if residual:
        top, first = 33.2, sum(edges[0]) / 2
        axis.plot([first, first, plus], [middle + 10.5, top, top], color="black", lw=1.2)
        _arrow(axis, (plus, top + 0.1), (plus, middle + 1.7))
        text = "global residual: the image itself"
        axis.text((first + plus) / 2, top + 0.5, text, fontsize=9, ha="center", va="bottom")
    return figure


def _stages(layers: nn.Sequential) -> list[list[nn.Module]]:
    """The layers of an encoder or decoder in groups that each begin with a convolution."""
    groups: list[list[nn.Module]] = []
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            groups.append([])
        groups[-1].append(layer)
    return groups


def _layers(layers: list[nn.Module]) -> str:
    """What a stage does, in three lines."""
    conv, *rest = layers
    kind = "transposed" if isinstance(conv, nn.ConvTranspose2d) else "conv"
    height, width = conv.kernel_size
    lines = [f"{kind} {height}×{width}", "" if conv.stride[0] == 1 else f"stride {conv.stride[0]}"]
    names = {"InstanceNorm2d": "norm", "Identity": "no norm"}
    lines.append(", ".join(names.get(type(r).__name__, type(r).__name__) for r in rest))
    lines = [line for line in lines if line]
    return "\n".join(lines + [""] * (3 - len(lines)))


@contextmanager
def _watched(modules: dict[Any, nn.Module]) -> Iterator[dict[Any, list]]:
    """The shapes of what goes into and comes out of modules, call by call, by forward hooks."""
    calls: dict[Any, list] = {name: [] for name in modules}

    def shapes(value: Any) -> list[tuple[int, ...]]:
        if isinstance(value, torch.Tensor):
            return [tuple(value.shape)]
        return [tuple(v.shape) for v in value if isinstance(v, torch.Tensor)]

    hooks = [
        module.register_forward_hook(
            lambda _, inputs, output, name=name: calls[name].append(
                (shapes(inputs), shapes(output))
            )
        )
        for name, module in modules.items()
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _batch(shape: tuple[int, ...]) -> str:
    """A shape with the batch as a letter: (B, 3, 64, 64)."""
    return f"(B, {', '.join(map(str, shape[1:]))})"


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Empty axes for a diagram, 100 units wide, in which units are square."""
    figure, axes = _figure(1, 1, (width, height))
    axis = axes[0, 0]
    axis.set(xlim=(0, 100), ylim=(0, 100 * height / width))
    axis.axis("off")
    return figure, axis


def _box(
    axis: Axes, centre: tuple[float, float], size: tuple[float, float], text: str, colour: str
) -> FancyBboxPatch:
    """A rounded box, tinted, with text in it."""
    (x, y), (width, height) = centre, size
    corner, style = (x - width / 2, y - height / 2), "round,pad=0,rounding_size=1"
    box = FancyBboxPatch(corner, width, height, style, fc=(colour, 0.15), ec=colour, lw=1.5)
    axis.text(x, y, text, fontsize=9, ha="center", va="center")
    return axis.add_patch(box)


def _arrow(
    axis: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    patches: tuple[FancyBboxPatch | None, FancyBboxPatch | None] = (None, None),
    style: str = "-|>",
    line: str = "-",
) -> None:
    """An arrow between two points; boxes there cut it at their edges."""
    look = dict(arrowstyle=style, linestyle=line, lw=1.2, color="black", shrinkA=1, shrinkB=1)
    axis.annotate("", end, start, arrowprops={**look, "patchA": patches[0], "patchB": patches[1]})


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    """A figure with (rows, columns) axes that pyplot forgets at once, so it shows only once."""
    figure, axes = plt.subplots(
        rows, columns, figsize=size, layout="constrained", squeeze=False, dpi=100
    )
    plt.close(figure)
    return figure, axes


def _show(axis: Axes, image: Picture, **options: Any) -> Any:
    """A picture without ticks or frame."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    return axis.imshow(np.asarray(image), **options)
