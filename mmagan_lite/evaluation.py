"""Honest measurement: against exact answers, and by a judge that no generator has seen.

Metrics between output and input are won by doing nothing, so every table here has a row that
copies its input, and one that gives the exact answer: the floor and the ceiling of each column.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor, nn
from torch.nn import functional as F

from mmagan_lite import faces as renderer
from mmagan_lite.checkpoints import load_weights, pretrained_models
from mmagan_lite.data import Faces, ProceduralFaces, batch_indices, progress
from mmagan_lite.expressions import EXPRESSIONS, N, decode, encode
from mmagan_lite.training import augment

Editor = Callable[[Tensor, Tensor], Tensor]
"""Anything that edits as a generator does: (x (B, 3, H, W), z (B, 8)) -> y (B, 3, H, W)."""

COPY, TRUTH = "copy the input", "ground truth"

STRONG = 0.6
"""The intensity from which an expression counts as clear."""

# ---------------------------------------------------------------------------------- the judge


class Judge(nn.Module):
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
) -> Judge:
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

    Returns
    -------
    Judge
        In eval mode.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        judge = Judge(data.size).to(device).train()
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


def load_judge(size: int = 64) -> Judge:
    """The judge that comes with the package for faces of this size, in eval mode.

    Raises
    ------
    ValueError
        If there is none, or its file is damaged.
    """
    for name, entry in pretrained_models().items():
        if entry["kind"] == "judge" and entry["size"] == size:
            judge = Judge(size)
            judge.load_state_dict(load_weights(name)[0])
            return judge.eval().requires_grad_(False)
    raise ValueError(
        f"No judge for faces of {size} pixels comes with the package; train one with "
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
    data: ProceduralFaces,
    judge: Judge | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> pd.DataFrame:
    """Edit every face and measure each result; `evaluate` gives the averages.

    Parameters
    ----------
    model, data, judge, seed, batch_size
        As for `evaluate`.

    Returns
    -------
    DataFrame
        One row a model and face: model; expression, rho (wanted); read, rho_read (by the
        judge); psnr_input, psnr_truth (dB); error, error_input (sums of the squared difference
        of output and input to the truth); change_outside (8-bit levels).
    """
    if not isinstance(data, ProceduralFaces):
        raise TypeError(
            f"The exact answer is known for ProceduralFaces only; got {type(data).__name__}."
        )
    judge = judge or load_judge(data.size)
    models = dict(model) if isinstance(model, Mapping) else {"model": model}
    device = _device(*models.values())
    judge, codes, tables = judge.to(device), targets(data, seed), []
    with progress(total=len(data), desc="evaluating", unit="face") as bar:
        for indices in torch.arange(len(data)).split(batch_size):
            x = data.batch(indices, device)["image"]  # (B, 3, H, W)
            z = codes[indices].to(device)  # (B, 8)
            truth = exact(data, indices, z)  # (B, 3, H, W)
            outputs = {COPY: x, TRUTH: truth}
            outputs |= {name: edited(edit, x, z) for name, edit in models.items()}
            for name, y in outputs.items():
                columns = _differences(x, y, truth)
                table = _verdict(judge, y, *decode(z)).assign(**columns)
                tables.append(table.assign(model=name))
            bar.update(len(indices))
    return pd.concat(tables, ignore_index=True)


def evaluate(
    model: Editor | Mapping[str, Editor],
    data: ProceduralFaces,
    judge: Judge | None = None,
    by: str | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> pd.DataFrame:
    """Measure editors on faces whose exact answer is known.

    Each face gets one random target (`targets`); outputs are clamped and rounded to 8 bits, as a
    user sees them.

    Parameters
    ----------
    model : callable or mapping of name to callable
        x (B, 3, H, W) in [-1, 1], z (B, 8) -> y like x: a `Generator` or anything that edits as
        it does. A mapping gives one row each.
    data : ProceduralFaces
        Faces of people that neither the models nor the judge were trained on.
    judge : Judge, optional
        Default: the one that comes with the package for this size.
    by : {"expression"}, optional
        Also split every row by the target expression.
    seed : int
        Of the targets.
    batch_size : int
        Images in memory at once.

    Returns
    -------
    DataFrame
        Rows "copy the input", "ground truth" and the models. Columns:

        - accuracy: share of outputs in which the judge reads the target expression;
          accuracy_strong: of those at ρ >= 0.6; accuracy_neutral: of those to neutral
        - rho_error: mean absolute error of the judge's ρ to the target's
        - psnr_input, psnr_truth: of the output to its input and to the exact answer, dB, mean
          over images (scikit-image); infinite as soon as one image is equal
        - error_removed: 1 - Σ|y - truth|² / Σ|x - truth|², a ratio of sums over all images: 0
          for a copy, 1 for the exact answer, negative if the edit is worse than none
        - change_outside: mean |y - x| where x and the exact answer are equal, 8-bit levels
        - n: images

    Raises
    ------
    TypeError
        If the data are not procedural, so that there is no exact answer.
    ValueError
        If no judge is given and none comes with the package.
    """
    faces = measure(model, data, judge, seed, batch_size)
    return summarise(faces, [by] if by else [])


def summarise(faces: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Average the rows of `measure`: the table that `evaluate` describes."""
    right = faces["read"] == faces["expression"]
    strong, neutral = faces["rho"] >= STRONG, faces["expression"] == EXPRESSIONS[0]
    faces = faces.assign(
        accuracy=right.astype(float),
        accuracy_strong=right.where(strong).astype(float),  # NaN elsewhere: left out of the mean
        accuracy_neutral=right.where(neutral).astype(float),
        rho_error=(faces["rho_read"] - faces["rho"]).abs(),
    )
    groups = faces.groupby(["model", *by], sort=False)
    columns = ["accuracy", "accuracy_strong", "accuracy_neutral", "rho_error"]
    table = groups[[*columns, "psnr_input", "psnr_truth"]].mean()
    sums = groups[["error", "error_input"]].sum()
    table["error_removed"] = 1 - sums["error"] / sums["error_input"]
    table["change_outside"] = groups["change_outside"].mean()
    table["n"] = groups.size()
    return table


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


def edited(model: Editor, x: Tensor, z: Tensor) -> Tensor:
    """A model's output as a user sees it: clamped to [-1, 1] and rounded to 8 bits."""
    return model(x, z).clamp(-1, 1).add(1).mul(127.5).round().div(127.5).sub(1)


def _differences(x: Tensor, y: Tensor, truth: Tensor) -> dict[str, list[float]]:
    """Columns of `measure` that compare input, output and exact answer, a value an image."""
    same = (truth == x).all(1)  # (B, H, W): where an exact edit leaves the picture alone
    change = _levels(y - x).abs().mean(1)  # (B, H, W)
    return {
        "psnr_input": _psnr(x, y),
        "psnr_truth": _psnr(truth, y),
        "error": (y - truth).square().sum((1, 2, 3)).tolist(),
        "error_input": (x - truth).square().sum((1, 2, 3)).tolist(),
        "change_outside": ((change * same).sum((1, 2)) / same.sum((1, 2))).tolist(),
    }


def _levels(difference: Tensor) -> Tensor:
    """A difference of images in [-1, 1] in 8-bit levels."""
    return difference * 127.5


def _psnr(images: Tensor, others: Tensor) -> list[float]:
    """PSNR in dB of each pair of images, infinite where they are equal."""
    first, second = (_levels(t + 1).round().byte().cpu().numpy() for t in (images, others))
    with np.errstate(divide="ignore"):
        return [peak_signal_noise_ratio(a, b) for a, b in zip(first, second, strict=True)]


def _device(*models: Editor) -> torch.device:
    """Where the first of the models that has weights keeps them; the CPU if none has."""
    weights = (w for model in models if isinstance(model, nn.Module) for w in model.parameters())
    return next((w.device for w in weights), torch.device("cpu"))
