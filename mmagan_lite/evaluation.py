"""Honest measurement: against exact answers, and by a judge that no generator has seen.

Metrics between output and input are won by doing nothing, so every table here has a row that
copies its input, and one that gives the exact answer: the floor and the ceiling of each column.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import mannwhitneyu
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import DenseNet

from mmagan_lite import faces as renderer
from mmagan_lite.baselines import CycleGAN
from mmagan_lite.checkpoints import fitting, load_weights, pretrained_models
from mmagan_lite.data import Faces, ProceduralFaces, batch_indices, progress
from mmagan_lite.expressions import EXPRESSIONS, N, decode, encode
from mmagan_lite.generator import Generator
from mmagan_lite.perceptual import inception_network, lpips_network
from mmagan_lite.training import augment

Editor = Callable[[Tensor, Tensor], Tensor]
"""Anything that edits as a generator does: (x (B, 3, H, W), z (B, 8)) -> y (B, 3, H, W)."""

COPY, TRUTH = "copy the input", "ground truth"

PAIRS = [
    f"{metric}_{other}" for other in ("input", "truth") for metric in ("psnr", "ssim", "lpips")
]
"""Columns that compare an output with its input or with the exact answer."""

STRONG = 0.6
"""The intensity from which an expression counts as clear."""

# ---------------------------------------------------------------------------------- the judge


class _Reader(nn.Module):
    """What both judges share: nine numbers a face, read as a verdict."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Read faces.

        Parameters
        ----------
        x : Tensor of shape (B, 3, size, size)
            Images in [-1, 1].

        Returns
        -------
        logits : Tensor of shape (B, 8)
            Of the expressions.
        rho : Tensor of shape (B,)
            Intensities in [0, 1].
        """
        h = self.head(self.features(x))  # (B, 9)
        return h[:, :N], torch.sigmoid(h[:, N])


class Judge(_Reader):
    """Reads expression and intensity off a face, independently of any critic.

    Two convolutions with batch normalisation a scale, down to 4 x 4: another design than the
    critic's, trained on other people. Use it in eval mode, as `train_judge` and `load_judge`
    give it: in training mode a face's verdict depends on the others in its batch.

    Parameters
    ----------
    size : int
        Side of the faces in pixels, a power of 2 from 16.
    """

    def __init__(self, size: int = 64) -> None:
        super().__init__()
        if size < 16 or size & (size - 1):
            raise ValueError(f"A judge's size must be a power of 2 from 16; got {size!r}.")
        layers, channels, side, width = [], 3, size, 16
        while side > 4:
            layers += [*_conv(channels, width, stride=2), *_conv(width, width, stride=1)]
            channels, side, width = width, side // 2, min(2 * width, 128)
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3))
        self.head = nn.Linear(channels * 4 * 4, N + 1)


class SecondJudge(_Reader):
    """Another architecture for the same task: a small DenseNet.

    Each layer reads all layers before it, and the last map is averaged over places where
    `Judge` keeps them apart. What both say does not hang on the habits of one.

    Parameters
    ----------
    size : int
        Side of the faces in pixels, at least 32.

    References
    ----------
    Huang et al., "Densely Connected Convolutional Networks", CVPR 2017.
    """

    def __init__(self, size: int = 64) -> None:
        super().__init__()
        network = DenseNet(
            growth_rate=16, block_config=(3, 3, 3, 3), num_init_features=32, drop_rate=0.1,
            num_classes=N + 1,
        )  # fmt: skip
        network.features.pool0 = nn.Identity()  # small pictures need no second halving
        pool = (nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.features = nn.Sequential(network.features, *pool)
        self.head = network.classifier


JUDGES = {"judge": Judge, "second-judge": SecondJudge}
"""The judges that ship are named after these, with the size behind."""


def _kind(name: str) -> type[Judge | SecondJudge]:
    if not isinstance(name, str) or name not in JUDGES:
        raise ValueError(f"Unknown judge {name!r}; expected one of {', '.join(JUDGES)}.")
    return JUDGES[name]


def _conv(channels: int, out_channels: int, stride: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
    return conv, nn.BatchNorm2d(out_channels), nn.ReLU()


def train_judge(
    data: Faces,
    steps: int = 6_000,
    seed: int = 0,
    batch_size: int = 32,
    lr: float = 3e-3,
    device: str | torch.device = "cpu",
    kind: str = "judge",
) -> Judge | SecondJudge:
    """Train a judge on faces that no generator learns from (``split="judge"``).

    Cross-entropy for the expression, mean absolute error for the intensity; noise, tints and
    shifts as in training, but no flips: contempt shows on one side.

    Parameters
    ----------
    data : Faces
    steps, batch_size : int
    seed : int
    lr : float
        Peak of the one-cycle schedule.
    device : str or torch.device
    kind : {"judge", "second-judge"}
        Which architecture, of `JUDGES`.

    Returns
    -------
    Judge or SecondJudge
        In eval mode.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        judge = _kind(kind)(data.size).to(device).train()
        random = torch.Generator(device).manual_seed(seed)
        optimiser = torch.optim.AdamW(judge.parameters(), lr, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps)
        for step in (bar := progress(range(steps), desc="training the judge")):
            indices = batch_indices(len(data), batch_size, step, seed)
            batch = data.batch(indices, device)
            logits, rho = judge(augment(batch["image"], 1.0, random))
            known = ~batch["rho"].isnan()
            loss_class = F.cross_entropy(logits, batch["expression"])
            loss_rho = F.l1_loss(rho[known], batch["rho"][known]) if known.any() else 0.0
            loss = loss_class + 4 * loss_rho  # intensities are small numbers
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return judge.eval().requires_grad_(False)


def load_judge(size: int = 64, kind: str = "judge") -> Judge | SecondJudge:
    """A judge that comes with the package for faces of this size, in eval mode.

    Parameters
    ----------
    size : int
        Side of the faces in pixels.
    kind : {"judge", "second-judge"}
        Which architecture, of `JUDGES`.

    Raises
    ------
    ValueError
        If there is none, or its file is damaged.
    """
    build, name = _kind(kind), f"{kind}-{size}"
    if name in pretrained_models():
        judge = build(size)
        with fitting(name):
            judge.load_state_dict(load_weights(name)[0])
        return judge.eval().requires_grad_(False)
    raise ValueError(
        f"No {kind} for faces of {size} pixels comes with the package; train one with "
        f"train_judge on ProceduralFaces('judge', size={size})."
    )


def read(judge: Judge, data: Faces, batch_size: int = 64) -> pd.DataFrame:
    """What a judge reads off labelled faces: its own ceiling.

    Returns
    -------
    DataFrame
        One row a face: expression, rho (true), read, rho_read (the judge's).
    """
    rows = []
    for indices in torch.arange(len(data)).split(batch_size):
        batch = data.batch(indices, _device(judge))
        rows.append(_verdict(judge, batch["image"], batch["expression"], batch["rho"]))
    return pd.concat(rows, ignore_index=True)


@torch.inference_mode()
def _verdict(judge: Judge, image: Tensor, target: Tensor, rho: Tensor) -> pd.DataFrame:
    """Wanted and read expressions (by name) and intensities, a row an image."""
    logits, rho_read = judge.eval()(image)
    named = {"expression": target, "read": logits.argmax(1)}
    return pd.DataFrame(
        {key: [EXPRESSIONS[i] for i in value.tolist()] for key, value in named.items()}
        | {"rho": rho.tolist(), "rho_read": rho_read.tolist()}
    )


# ----------------------------------------------------------------------------------- the table


def targets(data: Faces, seed: int = 0) -> Tensor:
    """One code to edit each face to: the same for every model, at any batch size.

    Expressions are uniform over the eight, except that no neutral face is asked to become
    neutral; intensities are uniform in [0.3, 1], and 0 for neutral.

    Returns
    -------
    Tensor of shape (len(data), 8)
    """
    random = torch.Generator().manual_seed(seed)
    count = len(data)
    expression = torch.randint(N, (count,), generator=random)
    other = torch.randint(1, N, (count,), generator=random)
    expression = torch.where((expression == 0) & (data.expression == 0), other, expression)
    return encode(expression, 0.3 + 0.7 * torch.rand(count, generator=random))


@torch.inference_mode()
def measure(
    model: Editor | Mapping[str, Editor],
    data: Faces,
    judge: nn.Module | Sequence[nn.Module] | None = None,
    seed: int = 0,
    batch_size: int = 32,
    perceptual: bool = False,
) -> pd.DataFrame:
    """Edit every face and measure each result; `evaluate` gives the averages.

    Parameters
    ----------
    model, data, judge, seed, batch_size
        As for `evaluate`.
    perceptual : bool
        Also LPIPS.

    Returns
    -------
    DataFrame
        One row a model and face: model; expression, rho (wanted); read, rho_read (by the
        judge; by a second one read_2, rho_read_2); psnr_input, ssim_input, lpips_input and the
        same to the truth; error, error_input (sums of the squared difference of output and
        input to the truth); change_outside (8-bit levels); attention_1, ... (AUC of each
        block's gates for the cells that should change).
    """
    judges = _judges(judge, data.size)
    tables = []
    for edits in _edits(model, data, seed, batch_size):
        tables += [_measured(edits, name, judges, perceptual) for name in edits.outputs]
    return pd.concat(tables, ignore_index=True)


@torch.inference_mode()
def evaluate(
    model: Editor | Mapping[str, Editor],
    data: Faces,
    judge: nn.Module | Sequence[nn.Module] | None = None,
    by: str | None = None,
    seed: int = 0,
    batch_size: int = 32,
    perceptual: bool = True,
) -> pd.DataFrame:
    """Measure editors on faces, best on drawn ones, whose exact answer is known.

    Each face gets one random target (`targets`); outputs are clamped and rounded to 8 bits, as a
    user sees them.

    Parameters
    ----------
    model : callable or mapping of name to callable
        x (B, 3, H, W) in [-1, 1], z (B, 8) -> y like x: a `Generator` or anything that edits as
        it does. A mapping gives one row each.
    data : Faces
        Faces of people that neither the models nor the judges were trained on. Photographs
        (`PreparedFaces`) have no exact answer: the columns that need one are left out. How
        well the person is kept is not measured beyond LPIPS to the input: no well-kept
        package comes with the weights of a face embedding.
    judge : Judge or several, optional
        Default: those that come with the package for this size.
    by : {"expression"}, optional
        Also split every row by the target expression.
    seed : int
        Of the targets.
    batch_size : int
        Images in memory at once.
    perceptual : bool
        Also LPIPS, FID and KID, which take most of the time: some 0.1 s an image and core.

    Returns
    -------
    DataFrame
        Rows "copy the input", "ground truth" and the models. Columns:

        - accuracy: share of outputs in which the judge reads the target expression;
          accuracy_strong: of those at ρ >= 0.6; accuracy_neutral: of those to neutral
        - rho_error: mean absolute error of the judge's ρ to the target's
        - accuracy_2, rho_error_2: the same by the second judge
        - psnr_input, ssim_input, lpips_input: of the output to its input, the paper's columns,
          and the same to the truth, the exact answer; PSNR in dB, infinite as soon as one
          image is equal (scikit-image; SSIM over windows of 7x7; LPIPS with AlexNet)
        - error_removed: 1 - Σ|y - truth|² / Σ|x - truth|², a ratio of sums over all images: 0
          for a copy, 1 for the exact answer, negative if the edit is worse than none
        - change_outside: mean |y - x| where x and the exact answer are equal, 8-bit levels
        - attention: AUC of the spatial gates for the cells that an exact edit changes, in the
          best block; only for models that have such gates
        - fid_input: between outputs and inputs, the paper's column
        - fid_target, kid_target: to *other* people who really have the target expression, at
          the same strengths; one distance an expression, then their mean. (Among photographs:
          to those that have it.)
        - n: images. FID of few images is too large; compare it at equal n only, and below
          2,048 images believe KID, which has no such bias. Both use the first 2,048 images at
          most, so that memory does not grow with their number.

    Raises
    ------
    ValueError
        If no judge is given and none comes with the package, or weights of LPIPS or Inception
        are missing.
    """
    return evaluate_by(model, data, [by], judge, seed, batch_size, perceptual)[0]


@torch.inference_mode()
def evaluate_by(
    model: Editor | Mapping[str, Editor],
    data: Faces,
    by: Sequence[str | None],
    judge: nn.Module | Sequence[nn.Module] | None = None,
    seed: int = 0,
    batch_size: int = 32,
    perceptual: bool = True,
) -> list[pd.DataFrame]:
    """Several tables of `evaluate` from one pass: one for each of `by`."""
    judges = _judges(judge, data.size)
    tables, features = [], {}
    for edits in _edits(model, data, seed, batch_size):
        tables += [_measured(edits, name, judges, perceptual) for name in edits.outputs]
        if perceptual and (left := MOST_FEATURES - int(edits.indices[0])) > 0:
            _collect(features, edits, data, left)
    faces = pd.concat(tables, ignore_index=True)
    wanted = faces.loc[faces["model"] == COPY, "expression"].to_numpy()
    features = {key: torch.cat(parts) for key, parts in features.items()}
    results = []
    for keys in ([key] if key else [] for key in by):
        table = summarise(faces, keys)
        if features:
            table = table.join(_distances(features, wanted, data, keys))
        results.append(table[[*table.columns.drop("n"), "n"]])
    return results


def summarise(faces: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Average the rows of `measure`: the table that `evaluate` describes, without FID and KID."""
    neutral, strong = faces["expression"] == EXPRESSIONS[0], faces["rho"] >= STRONG
    right = (faces["read"] == faces["expression"]).astype(float)
    means = {
        "accuracy": right,
        "accuracy_strong": right.where(strong),  # NaN elsewhere: left out of the mean
        "accuracy_neutral": right.where(neutral),
        "rho_error": (faces["rho_read"] - faces["rho"]).abs(),
    }
    if "read_2" in faces:
        means["accuracy_2"] = (faces["read_2"] == faces["expression"]).astype(float)
        means["rho_error_2"] = (faces["rho_read_2"] - faces["rho"]).abs()
    means |= {key: faces[key] for key in PAIRS if key in faces}
    if "change_outside" in faces:
        means["change_outside"] = faces["change_outside"]
    blocks = [key for key in faces if key.startswith("attention_")]
    keys = ["model", *by]
    table = pd.DataFrame(means).groupby([faces[key] for key in keys], sort=False).mean()
    groups = faces.groupby(keys, sort=False)
    if "error" in faces:
        sums = groups[["error", "error_input"]].sum()
        place = table.columns.get_loc("change_outside")
        table.insert(place, "error_removed", 1 - sums["error"] / sums["error_input"])
    if blocks:
        table["attention"] = groups[blocks].mean().max(axis=1)
    return table.assign(n=groups.size())


@dataclass
class _Edits:
    """A batch of faces, what is wanted of them and what each model made of them."""

    indices: Tensor  # (B,)
    x: Tensor  # (B, 3, H, W)
    z: Tensor  # (B, 8)
    truth: Tensor | None  # (B, 3, H, W); None of photographs
    outputs: dict[str, Tensor]  # a model's name: (B, 3, H, W)
    attention: dict[str, list[Tensor]]  # its blocks' spatial gates, (B, 1, h, w) each


def _edits(
    model: Editor | Mapping[str, Editor], data: Faces, seed: int, batch_size: int
) -> Iterator[_Edits]:
    """Edit all faces, each to its target, batch by batch."""
    models = dict(model) if isinstance(model, Mapping) else {"model": model}
    device = _device(*models.values())
    codes = targets(data, seed)
    drawn = isinstance(data, ProceduralFaces)
    with progress(total=len(data), desc="evaluating", unit="face") as bar:
        for indices in torch.arange(len(data)).split(batch_size):
            x = data.batch(indices, device)["image"]  # (B, 3, H, W)
            z = codes[indices].to(device)  # (B, 8)
            source = data.expression[indices].to(device)
            truth = exact(data, indices, z) if drawn else None
            outputs = {COPY: x} | ({TRUTH: truth} if drawn else {})
            attention = {}
            for name, edit in models.items():
                if isinstance(edit, Generator) and edit.config.mmarm:
                    y, maps = edit(x, z, return_attention=True)
                    outputs[name] = _as_seen(y)
                    attention[name] = [looked.spatial for looked in maps]
                else:
                    outputs[name] = edited(edit, x, z, source)
            yield _Edits(indices, x, z, truth, outputs, attention)
            bar.update(len(indices))


def _measured(
    edits: _Edits, name: str, judges: Sequence[nn.Module], perceptual: bool
) -> pd.DataFrame:
    """The columns of `measure` for one model and batch."""
    x, y, truth = edits.x, edits.outputs[name], edits.truth
    columns: dict[str, Any] = {"model": name}
    for judge, suffix in zip(judges, ("", "_2"), strict=False):
        verdict = _verdict(judge.to(y.device), y, *decode(edits.z))
        columns |= {"expression": verdict["expression"], "rho": verdict["rho"]}
        columns |= {f"{key}{suffix}": verdict[key] for key in ("read", "rho_read")}
    for other, reference in (("input", x), ("truth", truth)):
        if reference is not None:
            columns |= _compared(reference, y, other, perceptual)
    if truth is not None:
        same = (truth == x).all(1)  # (B, H, W): where an exact edit leaves the picture alone
        change = _levels(y - x).abs().mean(1)  # (B, H, W)
        columns["error"] = (y - truth).square().sum((1, 2, 3)).tolist()
        columns["error_input"] = (x - truth).square().sum((1, 2, 3)).tolist()
        columns["change_outside"] = ((change * same).sum((1, 2)) / same.sum((1, 2))).tolist()
        for i, gates in enumerate(edits.attention.get(name, ())):
            columns[f"attention_{i + 1}"] = auc(gates[:, 0], ~same)
    return pd.DataFrame(columns)


def _compared(reference: Tensor, y: Tensor, other: str, perceptual: bool) -> dict[str, list]:
    """PSNR, SSIM and LPIPS of each pair of images."""
    first, second = (
        _levels(t + 1).round().byte().permute(0, 2, 3, 1).cpu().numpy() for t in (reference, y)
    )
    pairs = list(zip(first, second, strict=True))
    with np.errstate(divide="ignore"):  # equal pictures
        columns = {f"psnr_{other}": [peak_signal_noise_ratio(a, b) for a, b in pairs]}
    columns[f"ssim_{other}"] = [structural_similarity(a, b, channel_axis=2) for a, b in pairs]
    if perceptual:
        network = lpips_network().to(y.device)
        columns[f"lpips_{other}"] = network(reference, y).flatten().tolist()
    return columns


def auc(gates: Tensor, mask: Tensor) -> list[float]:
    """Chance that a cell inside the mask has a larger gate than one outside; NaN without both.

    A cell of the map (B, h, w) is inside if most of its pixels in the mask (B, H, W) are.
    """
    inside = F.adaptive_avg_pool2d(mask.float()[:, None], gates.shape[1:])[:, 0] > 0.5  # (B, h, w)
    values = []
    for looked, cells in zip(gates.float().cpu().numpy(), inside.cpu().numpy(), strict=True):
        pairs = cells.sum() * (~cells).sum()
        rank = mannwhitneyu(looked[cells], looked[~cells]).statistic if pairs else math.nan
        values.append(rank / max(pairs, 1))
    return values


# ---------------------------------------------------------------------------------- the regions

MUSCLES = {
    "eyes and brows": "1 2L 2R 4 5 7 43",
    "mouth and cheeks": "10L 10R 12L 12R 14L 14R 15 16 17 20 23 24 25 26 27",
}
"""Regions of a drawn face, by the action units that move something there."""

ELSEWHERE = "everything else"


def regions(data: ProceduralFaces, indices: Tensor) -> dict[str, Tensor]:
    """Three parts that together make up each picture: `MUSCLES` and the rest.

    A part is what changes where all its muscles pull at once. One that pulls alone may also
    change pixels at the part's edge, which belong to the rest: a lowered brow one in eight.

    Parameters
    ----------
    data : ProceduralFaces
    indices : Tensor of shape (B,)
        Which faces.

    Returns
    -------
    dict
        Name -> Tensor of shape (B, size, size), bool. The eyes keep what both could claim.
    """
    person, photo = data.identity[indices], data.nuisance[indices]
    masks, free = {}, True
    for name, units in MUSCLES.items():
        strengths = dict.fromkeys(units.split(), 1.0)
        moved = renderer.change_mask(
            person, strengths, 1.0, photo, data.size, data.variety, data.occlusion
        )
        masks[name] = moved & free
        free = ~moved & free
    return masks | {ELSEWHERE: free}


@torch.inference_mode()
def by_region(
    model: Editor | Mapping[str, Editor], data: ProceduralFaces, seed: int = 0, batch_size: int = 32
) -> pd.DataFrame:
    """Where in the face an editor does well.

    Parameters
    ----------
    model, data, seed, batch_size
        As for `evaluate`; drawn faces only.

    Returns
    -------
    DataFrame
        Index model, expression, region. Columns: error and error_input, sums of the squared
        difference of output and input to the truth; error_removed, 1 - their ratio (NaN where
        nothing should change); change, mean |y - x| in 8-bit levels; n images.
    """
    tables = []
    for edits in _edits(model, data, seed, batch_size):
        masks = {
            name: mask.to(edits.x.device) for name, mask in regions(data, edits.indices).items()
        }
        expression = [EXPRESSIONS[c] for c in decode(edits.z)[0].tolist()]
        squares = (edits.x - edits.truth).square().sum(1)  # (B, H, W)
        for name, y in edits.outputs.items():
            change, error = _levels(y - edits.x).abs().mean(1), (y - edits.truth).square().sum(1)
            for region, mask in masks.items():
                columns = {"model": name, "expression": expression, "region": region}
                columns["error"] = (error * mask).sum((1, 2)).tolist()
                columns["error_input"] = (squares * mask).sum((1, 2)).tolist()
                columns["change"] = ((change * mask).sum((1, 2)) / mask.sum((1, 2))).tolist()
                tables.append(pd.DataFrame(columns))
    groups = pd.concat(tables).groupby(["model", "expression", "region"], sort=False)
    table = groups[["error", "error_input"]].sum()
    wanted = table["error_input"].where(table["error_input"] > 0)
    table["error_removed"] = 1 - table["error"] / wanted
    return table.assign(change=groups["change"].mean(), n=groups.size())


# --------------------------------------------------------------------------------- FID and KID

MOST_FEATURES = 2_048
"""Images that FID and KID are computed of, at most; each costs 8 kB a row of the table."""

REFERENCE = None  # key of the real faces among the features, which no model's name is


def _collect(
    features: dict[str | None, list[Tensor]], edits: _Edits, data: Faces, most: int
) -> None:
    """Append Inception's features (B, 2048) of a batch (`most` images) and of real faces."""
    images = dict(edits.outputs)
    if isinstance(data, ProceduralFaces):  # other people with the same targets
        others = (edits.indices + len(data) // 2) % len(data)
        images[REFERENCE] = exact(data, others, edits.z)
    network = inception_network().to(edits.x.device)
    for name, image in images.items():
        pixels = _levels(image[:most] + 1).round().byte()
        features.setdefault(name, []).append(network(pixels).cpu())


def _distances(
    features: dict[str | None, Tensor], wanted: np.ndarray, data: Faces, by: list[str]
) -> pd.DataFrame:
    """FID and KID of each row (and expression) from Inception's features."""
    count = len(features[COPY])
    wanted = torch.tensor([EXPRESSIONS.index(name) for name in wanted[:count]])
    # Real faces with the target expression: drawn for the purpose, or the photographs that have it.
    reference, own = features.get(REFERENCE), wanted
    if reference is None:
        reference, own = features[COPY], data.expression[:count]
    rows = {}
    for name, fakes in features.items():
        if name == REFERENCE:
            continue
        to_target = {}
        for c in wanted.unique().tolist():
            chosen = wanted == c
            if min(chosen.sum(), (own == c).sum()) > 1:
                pair = reference[own == c], fakes[chosen]
                to_target[EXPRESSIONS[c]] = {"fid_target": fid(*pair), "kid_target": kid(*pair)}
            if by:
                of_input = fid(features[COPY][chosen], fakes[chosen])
                row = {"fid_input": of_input, **to_target.get(EXPRESSIONS[c], {})}
                rows[name, EXPRESSIONS[c]] = row
        if not by:
            means = pd.DataFrame(to_target).mean(axis=1).to_dict()
            rows[name] = {"fid_input": fid(features[COPY], fakes), **means}
    table = pd.DataFrame(rows).T
    table.index = table.index.set_names(["model", *by])
    return table


class _Given(nn.Module):
    """Hands on features that are known already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def fid(real: Tensor, fake: Tensor) -> float:
    """Fréchet distance of two sets of features (n, F) by torchmetrics; NaN for less than two."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    if min(len(real), len(fake)) < 2:
        return math.nan
    both = torch.cat([real, fake]).double()
    both = both - both.mean(0)
    if len(both) < both.shape[1]:
        # Few images span few directions: in a basis of these the distance is the same, and the
        # matrices are small.
        basis, _ = torch.linalg.qr(both.T)  # (F, n)
        both = both @ basis
    metric = FrechetInceptionDistance(_Given(both.shape[1])).set_dtype(torch.float64)
    metric.update(both[: len(real)], real=True)
    metric.update(both[len(real) :], real=False)
    return max(0.0, metric.compute().item())


def kid(real: Tensor, fake: Tensor) -> float:
    """Kernel distance of two sets of features (n, F), by torchmetrics."""
    from torchmetrics.image.kid import KernelInceptionDistance

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about memory, which is bounded here
        metric = KernelInceptionDistance(
            _Given(real.shape[1]), subsets=1, subset_size=min(len(real), len(fake))
        )
    metric.update(real, real=True)
    metric.update(fake, real=False)
    with torch.random.fork_rng():  # it shuffles, even if all are used
        torch.manual_seed(0)
        return metric.compute()[0].item()


# ----------------------------------------------------------------------------------- the sweep


@torch.inference_mode()
def rho_sweep(
    model: Editor,
    data: ProceduralFaces,
    judge: Judge | None = None,
    steps: int = 7,
    batch_size: int = 32,
) -> pd.DataFrame:
    """How the strength of an edit follows ρ, from neutral faces.

    The neutral faces of the data are edited to the seven other expressions in turn, each at
    every ρ.

    Parameters
    ----------
    model, data, judge, batch_size
        As for `evaluate`, one model.
    steps : int
        Values of ρ, evenly from 0 to 1.

    Returns
    -------
    DataFrame
        Index rho; columns rho_read and change (mean |y - x|, 8-bit levels) of the model, and
        the same of the ground truth, which is the judge's own ceiling; n faces.
    """
    judge = judge or load_judge(data.size)
    device = _device(model)
    judge = judge.to(device)
    neutral = (data.true_expression == 0).nonzero().flatten()  # (n,)
    if len(neutral) == 0:
        raise ValueError("The data set has no neutral face to start from; give a larger one.")
    expression = 1 + torch.arange(len(neutral)) % (N - 1)
    tables = []
    for rho in progress(torch.linspace(0, 1, steps), desc="sweeping rho"):
        codes = encode(expression, rho.expand(len(neutral)))  # (n, 8)
        for part in torch.arange(len(neutral)).split(batch_size):
            x = data.batch(neutral[part], device)["image"]  # (B, 3, H, W)
            z = codes[part].to(device)  # (B, 8)
            table = {"rho": [round(rho.item(), 4)] * len(part)}
            images = {"": edited(model, x, z), "_truth": exact(data, neutral[part], z)}
            for suffix, y in images.items():
                table["rho_read" + suffix] = judge.eval()(y)[1].tolist()
                table["change" + suffix] = _levels(y - x).abs().mean((1, 2, 3)).tolist()
            tables.append(pd.DataFrame(table))
    groups = pd.concat(tables).groupby("rho")
    return groups.mean().assign(n=groups.size())


def exact(data: ProceduralFaces, indices: Tensor, z: Tensor) -> Tensor:
    """The exact answer: the same people in the same photographs with the expressions z.

    Parameters
    ----------
    data : ProceduralFaces
    indices : Tensor of shape (B,)
        Which faces.
    z : Tensor of shape (B, 8)

    Returns
    -------
    Tensor of shape (B, 3, size, size)
        In [-1, 1], equal to the input to the bit where nothing changes.
    """
    expression, rho = decode(z.cpu())
    person, photo = data.identity[indices], data.nuisance[indices]
    image = renderer.render(person, expression, rho, photo, data.size, data.variety, data.occlusion)
    return image.mul(2).sub(1).to(z.device)


def edited(model: Editor, x: Tensor, z: Tensor, source: Tensor | None = None) -> Tensor:
    """A model's output as a user sees it: clamped to [-1, 1] and rounded to 8 bits.

    `source`, the expressions in x (B,), is told to CycleGAN alone, which cannot do without.
    """
    return _as_seen(model(x, z, source) if isinstance(model, CycleGAN) else model(x, z))


def _as_seen(y: Tensor) -> Tensor:
    return y.clamp(-1, 1).add(1).mul(127.5).round().div(127.5).sub(1)


def _judges(judge: nn.Module | Sequence[nn.Module] | None, size: int) -> Sequence[nn.Module]:
    """The judges that were given; else the first that ships, and the second if it does."""
    if judge is None:
        second = f"second-judge-{size}" in pretrained_models()
        return [load_judge(size, kind) for kind in JUDGES if second or kind == "judge"]
    return [judge] if isinstance(judge, nn.Module) else judge


def _levels(difference: Tensor) -> Tensor:
    """A difference of images in [-1, 1] in 8-bit levels."""
    return difference * 127.5


def _device(*models: Editor) -> torch.device:
    """Where the first of the models that has weights keeps them; the CPU if none has."""
    weights = (w for model in models if isinstance(model, nn.Module) for w in model.parameters())
    return next((w.device for w in weights), torch.device("cpu"))
