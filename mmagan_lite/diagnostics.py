"""Six ways in which training fails, each with a number that tells it and a recipe for it.

Every diagnostic is a short function from pictures, gates or curves to one number. `diagnose` runs
all of them, `DIAGNOSTICS` says where fine ends, and `RECIPES` are small trainings that fail on
purpose. Limits lie between good runs and failed ones, with room on both sides; the docstrings
give the figures.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from mmagan_lite.attention import MMARM, Attention
from mmagan_lite.checkpoints import WEIGHTS, load_pretrained, pretrained_models
from mmagan_lite.config import Config
from mmagan_lite.data import Faces, ProceduralFaces
from mmagan_lite.evaluation import Editor, edited, exact, load_judge
from mmagan_lite.expressions import N, encode
from mmagan_lite.training import Trainer

History = pd.DataFrame | Sequence[Mapping[str, Any]]
"""The rows of a run, `Trainer.history`, or a table of them."""

TRUE_CHANGE = 2.4 / 127.5
"""Mean |difference| of a drawn face of 64 pixels and its exact edits at full strength, in [-1, 1].

It stands in where nobody knows the exact answer, as among photographs.
"""

# ---------------------------------------------------------------------------- the six measures


def identity_map(x: Tensor, y: Tensor, truth: Tensor | None = None) -> float:
    r"""How much an edit changes, as a share of what it should change.

    .. math:: E|G(x, z) - x| \,/\, E|x_z - x|, \qquad x_z \text{ the exact answer}

    With a global residual, doing nothing is the easiest picture to draw, and it makes the
    reconstruction perfect. It also wins every metric that compares an output with its input.

    Good runs: 0.86 (mmagan-64), 1.2 (mmagan-128), 1.5 (`RECIPES`, "good run"); 7 and more where
    the whole picture is painted anew, without the global residual. Failed: 0.09 to 0.12 (two
    seeds) with λ_rec = 1000, 0.00 where the generator has died. Limit: below 0.25.

    Parameters
    ----------
    x : Tensor of shape (n, 3, H, W)
        Faces.
    y : Tensor of shape (n, 8, 3, H, W)
        Each face edited to the eight expressions at full strength.
    truth : Tensor like y, optional
        The exact answers; without them, `TRUE_CHANGE` stands in.

    Returns
    -------
    float
        At least 0; a copy has 0, the exact answer 1.

    References
    ----------
    Zhu et al., "CycleGAN", ICCV 2017, section 5.2, where nothing but the identity satisfies the
    identity loss; the row "copy the input" of `evaluation.evaluate`.
    """
    x = x[:, None]  # (n, 1, 3, H, W)
    wanted = TRUE_CHANGE if truth is None else (truth - x).abs().mean().item()
    return (y - x).abs().mean().item() / wanted


def ignored_label(x: Tensor, y: Tensor) -> float:
    r"""How much of an edit depends on the code, and how much it does whatever it is asked.

    .. math::
        \sqrt{E\lVert y_c - \bar y \rVert^2 \,/\, E\lVert y_c - x \rVert^2},
        \qquad \bar y = \tfrac{1}{8} \sum_c y_c

    The change from x to y_c goes by way of the mean of all eight edits. What it has in common
    with the other seven is no answer to the code.

    Good runs: 0.77 (mmagan-64), 0.73 (mmagan-128), 0.87 (`RECIPES`, "good run"); even without
    the global residual, where most of the change is blur, 0.32 or more (stargan-64). Failed: 0.02
    where nothing in equation (7) asks for an expression. Limit: below 0.1.

    Parameters
    ----------
    x : Tensor of shape (n, 3, H, W)
        Faces.
    y : Tensor of shape (n, 8, 3, H, W)
        Each face edited to the eight expressions at full strength.

    Returns
    -------
    float
        0 if all codes draw the same, at most about 1; NaN if nothing is changed.

    References
    ----------
    The decomposition of a mean square into variance and bias. That a conditional generator may
    drop its condition: Isola et al., "pix2pix", CVPR 2017, section 3.1, of the noise z.
    """
    by_code = (y - y.mean(1, keepdim=True)).square().mean()
    change = (y - x[:, None]).square().mean()
    return (by_code / change).sqrt().item() if change > 0 else math.nan


def colour_code(y: Tensor, judge: nn.Module, history: pd.DataFrame) -> float:
    r"""How much more often the critic reads the target than somebody whom G never met.

    .. math:: P[\arg\max D_{cls}(y_c) = c] - P[\arg\max Judge(y_c) = c]

    A generator may write the class into the picture as a tint or a faint pattern that its critic
    has learned to accept. Then all that the critic says is splendid, and nobody else sees an
    expression: no column of the history alone can show it.

    Good runs: -0.02 (mmagan-64), -0.01 (mmagan-128). Failed: 0.75 and 0.78 (two seeds) with all
    that keeps G from forging switched off. Copies are read by neither and have 0. Limit: above
    0.4.

    Parameters
    ----------
    y : Tensor of shape (n, 8, 3, H, W)
        Faces edited to the eight expressions at full strength.
    judge : nn.Module
        As of `evaluation`, trained apart from every critic.
    history : DataFrame
        The end of a run; `accuracy_fake` is the critic's share.

    Returns
    -------
    float
        -1 to 1; NaN if the critic reads no classes, as CycleGAN's.

    References
    ----------
    Chu et al., "CycleGAN, a Master of Steganography", 2017.
    """
    if "accuracy_fake" not in history:
        return math.nan
    with torch.no_grad():
        read = judge(y.flatten(0, 1))[0].argmax(1).view(-1, N)  # (n, 8)
    by_judge = (read == torch.arange(N, device=read.device)).float().mean()
    return history["accuracy_fake"].mean() - by_judge.item()


def mode_collapse(x: Tensor, y: Tensor) -> float:
    r"""How much edited faces differ from each other, as a share of how the inputs differ.

    .. math:: \min_c \sqrt{E[Var_i(y_{i,c})] \,/\, E[Var_i(x_i)]}

    The variance is taken over faces i, pixel by pixel. A generator that has found one picture
    that satisfies the critic may draw it for everybody; people, poses and backdrops are gone.

    Good runs: 0.97 or more (mmagan-64, mmagan-128, "good run"); without the global residual
    0.81 or more (no-residual-64, stargan-64). Failed: 0.03 to 0.25 (five seeds) without residual
    and reconstruction. Limit: below 0.5.

    Parameters
    ----------
    x : Tensor of shape (n, 3, H, W)
        Faces, of different people, n at least 2.
    y : Tensor of shape (n, 8, 3, H, W)
        Each face edited to the eight expressions at full strength.

    Returns
    -------
    float
        For the expression in which faces differ least: 0 if all become one, 1 if they differ as
        before.

    References
    ----------
    Salimans et al., "Improved Techniques for Training GANs", 2016, section 3.2; Karras et al.,
    "Progressive Growing of GANs", ICLR 2018, section 3 (standard deviation over a batch).
    """
    variety = y.var(0).mean((1, 2, 3))  # (8,)
    return (variety.min() / x.var(0).mean()).sqrt().item()


def critic_overpowering(history: pd.DataFrame, largest: float) -> float:
    r"""How close the critic's gap between real and edited faces is to the largest possible.

    .. math:: (E[D_{src}(x)] - E[D_{src}(y)]) \,/\, \text{largest gap}

    In a game that goes well the two are hard to tell apart. A critic that is always sure says
    nothing any more about which edit is the better one.

    Good runs: 0.16 (mmagan-64), 0.29 (mmagan-128), 0.02 ("good run"). Failed: 0.96 to 0.98 (three
    seeds) where G hardly learns; 12 to 320 (three seeds) where the Wasserstein form of equation
    (1) has no penalty, against at most 0.2 with it. Limit: above 0.75.

    Parameters
    ----------
    history : DataFrame
        The end of a run.
    largest : float
        See `largest_gap`.

    Returns
    -------
    float
        About 0 if the critic guesses, negative if it is wrong, 1 at its bound.

    References
    ----------
    Arjovsky and Bottou, "Towards Principled Methods for Training GANs", ICLR 2017, section 2.
    """
    column = "critic_adv" if largest == HINGE else "gap"  # the hinge clips scores, `gap` does not
    return history[column].mean() / largest if column in history else math.nan


def attention_saturated(gates: Sequence[Attention]) -> float:
    r"""Share of attention gates that are as good as shut or open for good.

    A gate is a sigmoid, and a sigmoid learns in proportion to its slope g (1 - g). Below 0.02 and
    above 0.98 that is less than a twelfth of its best. A gate or two may have made up their
    minds: in mmagan-128, 3 of 4 channel gates of the last block have, and it edits well. So this
    is the average over all blocks and both kinds.

    Good runs: 0.09 (mmagan-64), 0.16 (mmagan-128), 0.00 ("good run"). Failed: 0.92 to 1.0
    (three seeds) at a learning rate of 0.1. Limit: above 0.5.

    Parameters
    ----------
    gates : sequence of Attention
        Of all blocks, for faces that were edited.

    Returns
    -------
    float
        0 to 1; NaN for a network without gates.

    References
    ----------
    Glorot and Bengio, "Understanding the Difficulty of Training Deep Feedforward Neural
    Networks", AISTATS 2010, section 3.1.
    """
    kinds = [g for block in gates for g in block]  # (B, C) and (B, 1, h, w) by turns
    shares = [((g < 0.02) | (g > 0.98)).float().mean().item() for g in kinds]
    return sum(shares) / len(shares) if shares else math.nan


HINGE = 2.0
"""Largest gap of scores that are clipped to [-1, 1]."""


def largest_gap(config: Config, x: Tensor, y: Tensor) -> float:
    """The largest gap between the scores of x and y that equation (1) rewards.

    The hinge clips scores at 1 and -1: 2. CycleGAN's critics aim at 1 and 0: 1. In the
    Wasserstein form the critic's slope should be 1, so scores can differ no more than pictures
    do: mean ‖y - x‖, the root of a sum of squares over all pixels.

    Parameters
    ----------
    config : Config
        Uses `model` and `adversarial`.
    x : Tensor of shape (n, 3, H, W)
    y : Tensor of shape (n, 8, 3, H, W)

    Returns
    -------
    float
        Above 0, in units of the score.
    """
    if config.model == "cyclegan":
        return 1.0
    if config.adversarial == "hinge":
        return HINGE
    return max((y - x[:, None]).flatten(2).norm(dim=2).mean().item(), 1e-6)  # a copy has none


# ---------------------------------------------------------------------------------- the table


@dataclass
class Evidence:
    """All that there is to judge a run by; what is missing is None."""

    x: Tensor  # (n, 3, H, W)
    y: Tensor  # (n, 8, 3, H, W)
    truth: Tensor | None  # like y
    gates: list[Attention]  # of all blocks, a batch of n for each expression
    history: pd.DataFrame | None  # the last tenth of the game
    config: Config | None
    judge: nn.Module | None


@dataclass(frozen=True)
class Diagnostic:
    """A measure, where its failure begins, and what to say."""

    measure: Callable[[Evidence], float]
    measured: str
    fails: str  # "below" or "above" the limit
    limit: float
    advice: str
    needs: str = "nothing here to measure it on"

    def finds(self, value: float) -> bool:
        """Whether the value is on the failing side; not if it is NaN."""
        return bool(value < self.limit if self.fails == "below" else value > self.limit)


def _colour_code(e: Evidence) -> float:
    known = e.judge is not None and e.history is not None
    return colour_code(e.y, e.judge, e.history) if known else math.nan


def _critic_overpowering(e: Evidence) -> float:
    known = e.config is not None and e.history is not None
    return critic_overpowering(e.history, largest_gap(e.config, e.x, e.y)) if known else math.nan


DIAGNOSTICS: Mapping[str, Diagnostic] = MappingProxyType(
    {
        "identity map": Diagnostic(
            lambda e: identity_map(e.x, e.y, e.truth),
            "mean change of an edit, as a share of the exact answer's",
            "below",
            0.25,
            "Edits leave faces as they are: warm the critic up, lower lambda_rec.",
        ),
        "ignored label": Diagnostic(
            lambda e: ignored_label(e.x, e.y),
            "part of the change that depends on the code",
            "below",
            0.1,
            "All codes draw the same: raise lambda_cls, or set stem_norm=False to let z in.",
            "an edit that changes something",
        ),
        "colour code": Diagnostic(
            _colour_code,
            "how much more often the critic reads the target than a judge does",
            "above",
            0.4,
            "Classes are forged: turn on augment, fake_class and conditional_patches.",
            "a history, and a judge for faces of this size",
        ),
        "mode collapse": Diagnostic(
            lambda e: mode_collapse(e.x, e.y),
            "how much edited faces differ, as a share of how the inputs do",
            "below",
            0.5,
            "Everybody gets the same picture: raise lambda_rec, keep the global residual.",
            "inputs that differ",
        ),
        "critic overpowering": Diagnostic(
            _critic_overpowering,
            "score gap of real and edited faces, as a share of the largest",
            "above",
            0.75,
            "The critic wins: lower lr_critic or critic_steps, raise lambda_r1 or lambda_gp.",
            "the history of a game, and the Config of its model",
        ),
        "attention saturated": Diagnostic(
            lambda e: attention_saturated(e.gates),
            "share of gates below 0.02 or above 0.98",
            "above",
            0.5,
            "Gates have stopped learning: start anew with a lower lr_generator.",
            "a network with attention gates",
        ),
    }
)
"""The failures by name. For each its limit lies between good runs and failed ones."""


def diagnose(
    model: Trainer | Editor | str,
    faces: Faces | None = None,
    history: History | None = None,
    judge: nn.Module | None = None,
    count: int = 32,
) -> pd.DataFrame:
    """Look for every failure in `DIAGNOSTICS`.

    A few faces are edited to all expressions at full strength, and the last tenth of the history
    is read.

    Parameters
    ----------
    model : Trainer, callable, or str
        A run (its averaged generator is judged), an editor as for `evaluation.evaluate`, or the
        name of a generator that comes with the package.
    faces : Faces, optional
        Best drawn ones, whose exact answer is known. Default: the run's own, or drawn people of
        the test set in the model's size.
    history : sequence of dict, or DataFrame, optional
        Default: the run's, or the one that comes with the named generator.
    judge : nn.Module, optional
        Default: the one that comes with the package for faces of this size, if there is one.
    count : int
        Faces to edit, at least 2.

    Returns
    -------
    DataFrame
        One row a failure: value; limit, where the failure begins; verdict ("fine", "FOUND" or
        "not measured"); measured, what the value is; advice, what to do about it.

    Raises
    ------
    ValueError
        If there are fewer than two faces, they have another size than the model draws, or the
        history is none.

    Examples
    --------
    >>> diagnose(trainer)
    >>> diagnose("mmagan-64")
    >>> diagnose(model, faces, pd.read_csv("runs/first/history.csv"))
    """
    if isinstance(model, str):
        history = _shipped_history(model) if history is None else history
        model = load_pretrained(model)
    if isinstance(model, Trainer):
        history = model.history if history is None else history
        faces = model.data if faces is None else faces
        model = model.model
    config = getattr(model, "config", None)
    faces = _faces(faces, config, count)
    evidence = gather(model, faces, count)
    evidence.config, evidence.history = config, None if history is None else _end(history)
    evidence.judge = _judge_for(faces.size) if judge is None else judge
    if evidence.judge is not None:
        evidence.judge.to(evidence.y.device).eval()
    return pd.DataFrame(
        {name: _row(diagnostic, evidence) for name, diagnostic in DIAGNOSTICS.items()}
    ).T.rename_axis("failure")


@torch.inference_mode()
def gather(model: Editor, faces: Faces, count: int = 32) -> Evidence:
    """Edit the first `count` faces to all eight expressions at full strength."""
    weights = list(model.parameters()) if isinstance(model, nn.Module) else []
    device = weights[0].device if weights else "cpu"
    indices = torch.arange(min(count, len(faces)))
    batch = faces.batch(indices, device)
    x, gates, outputs, answers = batch["image"], [], [], []
    blocks = [block for block in model.modules() if isinstance(block, MMARM)] if weights else []
    hooks = [b.register_forward_hook(lambda *seen: gates.append(seen[-1][1])) for b in blocks]
    for label in range(N):
        z = encode([label] * len(x), 1.0).to(device)  # (n, 8)
        outputs.append(edited(model, x, z, batch["expression"]))
        if isinstance(faces, ProceduralFaces):
            answers.append(exact(faces, indices, z))
    for hook in hooks:
        hook.remove()
    truth = torch.stack(answers, 1) if answers else None
    return Evidence(x, torch.stack(outputs, 1), truth, gates, None, None, None)


def _row(diagnostic: Diagnostic, evidence: Evidence) -> dict[str, Any]:
    value = diagnostic.measure(evidence)
    sign = "<" if diagnostic.fails == "below" else ">"
    row = {"value": round(value, 3), "limit": f"{sign} {diagnostic.limit:g}"}
    if math.isnan(value):
        verdict, advice = "not measured", f"It takes {diagnostic.needs}."
    elif diagnostic.finds(value):
        verdict, advice = "FOUND", diagnostic.advice
    else:
        verdict, advice = "fine", ""
    return row | {"verdict": verdict, "measured": diagnostic.measured, "advice": advice}


def _faces(faces: Faces | None, config: Config | None, count: int) -> Faces:
    """The faces to edit, or ValueError."""
    if faces is None:
        if config is None:
            raise ValueError("This model does not say for which size it was made; give it faces.")
        faces = ProceduralFaces("test", max(count, 1), config.image_size)
    if min(count, len(faces)) < 2:
        raise ValueError(
            f"It takes two faces to see whether faces differ, better 32; got "
            f"{min(count, len(faces))}."
        )
    if config is not None and faces.size != config.image_size:
        raise ValueError(
            f"The model was trained on faces of {config.image_size} pixels, but these have "
            f"{faces.size}; give faces of its size."
        )
    return faces


def _end(history: History) -> pd.DataFrame | None:
    """The last tenth of the game; None before it begins."""
    table = pd.DataFrame(history)
    table = table.reset_index() if table.index.name == "step" else table
    if len(table) and "step" not in table:
        raise ValueError(
            f"A history has a column step, this one has {', '.join(map(str, table))}; give "
            f"Trainer.history or the table in history.csv."
        )
    game = table[table["step"] > 0] if len(table) else table
    end = game.tail(math.ceil(len(game) / 10))
    return end if len(end) else None


def _shipped_history(name: str) -> pd.DataFrame | None:
    path = WEIGHTS / f"{name}.history.json"
    return pd.read_json(path) if path.is_file() else None


def _judge_for(size: int) -> nn.Module | None:
    return load_judge(size) if f"judge-{size}" in pretrained_models() else None


# --------------------------------------------------------------------------------- the recipes

START: Mapping[str, Any] = MappingProxyType(
    dict(
        width=16, critic_width=32, faces=1_000, batch_size=8, warmup_steps=100,
        warmup_batch_size=32, lr_generator=1e-3, steps=500, precision="float32",
    )
)  # fmt: skip
"""What the recipes share: the profile `smoke` with wider networks, and faster."""

NOBODY_ASKS: Mapping[str, Any] = MappingProxyType(
    dict(lambda_cls=0.0, lambda_info=0.0, lambda_rho=0.0)
)
"""Equation (7) without any term that knows the target."""


@dataclass(frozen=True)
class Recipe:
    """A small training that goes wrong on purpose: changes to `START`, and how far to train.

    No weight is tampered with; whatever goes wrong has been learned.
    """

    steps: int  # of the generator
    why: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        """The configuration to train."""
        return Config.profile("smoke", **{**START, **self.changes})


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "good run": Recipe(
            160,
            "The same small networks, but the critic first learns to read faces. No failure.",
            dict(warmup_steps=700),
        ),
        "identity map": Recipe(
            120,
            "With so much weight on the way back, the safest edit is none.",
            dict(lambda_rec=1000.0),
        ),
        "ignored label": Recipe(
            100,
            "G is only told to look real and to find its way back, so it never looks at z.",
            dict(NOBODY_ASKS, losses="paper", critic_steps=1, lambda_rec=1.0),
        ),
        "colour code": Recipe(
            150,
            "Strong classes and nothing that disturbs forging: a tint for each is the quickest.",
            dict(
                image_size=64, critic_width=16, faces=500, lambda_cls=30.0,
                augment=0.0, fake_class=0.0, conditional_patches=False,
            ),
        ),
        "mode collapse": Recipe(
            120,
            "Nothing brings the face back, and one picture is as good as another.",
            dict(losses="paper", critic_steps=1, global_residual=False, lambda_rec=0.0),
        ),
        "critic overpowering": Recipe(
            60,
            "D learns fast, G hardly at all, and without the residual its edits are easy to tell.",
            dict(global_residual=False, lr_critic=2e-3, lr_generator=1e-5),
        ),
        "attention saturated": Recipe(
            60,
            "Steps so large drive the gates' sigmoids to their ends, where they have no slope.",
            dict(lr_generator=0.1),
        ),
    }
)  # fmt: skip
"""One training for each failure, named after it, and a good one to compare with. On one CPU core
they take 5 to 25 seconds, and 5 more the first time, to draw the faces."""


def provoke(
    name: str,
    folder: str | os.PathLike | None = None,
    device: str = "cpu",
    steps: int | None = None,
    **changes: Any,
) -> Trainer:
    """Train by a recipe.

    Parameters
    ----------
    name : str
        One of `RECIPES`.
    folder : path, optional
        As for `Trainer`. Default: nowhere.
    device : str or torch.device
    steps : int, optional
        Of the generator. Default: the recipe's.
    **changes
        Further fields of `Config`: to cure the failure, or to be quicker.

    Returns
    -------
    Trainer

    Raises
    ------
    ValueError
        If there is no such recipe or field, or a value is out of its range.

    Examples
    --------
    >>> diagnose(provoke("mode collapse"))
    >>> diagnose(provoke("mode collapse", lambda_rec=10.0))
    """
    if not isinstance(name, str) or name not in RECIPES:
        raise ValueError(f"Unknown recipe {name!r}; expected one of {', '.join(RECIPES)}.")
    recipe = RECIPES[name]
    config = dataclasses.replace(recipe, changes={**recipe.changes, **changes}).config
    faces = ProceduralFaces("train", config.faces, config.image_size)
    return Trainer(config, faces, folder, device).fit(recipe.steps if steps is None else steps)
