"""Exercises of notebook 08: ablations."""

import math

import numpy as np
import torch
from torch import Tensor

from mmagan_lite.exercises.room import exercise


def _draw(seed: int, *shape: int) -> Tensor:
    """Normal random numbers, the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -------------------------------------------------------------------------------- error_removed_in


@exercise("08", "The share of the squared error that edits remove within a region.")
def error_removed_in(y: Tensor, x: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Outputs, inputs, exact answers (B, 3, H, W) and a region (B, H, W): one number."""
    left = ((y - truth).square().sum(1) * mask).sum()
    return 1 - left / ((x - truth).square().sum(1) * mask).sum()


def _grey(*faces: tuple[float, float]) -> Tensor:
    """Pictures (B, 3, 1, 2) of two grey pixels each."""
    return torch.tensor(faces)[:, None, None].expand(-1, 3, 1, 2).clone()


error_removed_in.worked.append(
    (
        (
            _grey((1, 5), (1, 0)),
            _grey((0, 0), (0, 0)),
            _grey((2, 0), (4, 0)),
            torch.tensor([[[True, False]], [[True, False]]]),
        ),
        torch.tensor(0.5),
    )
)


def _edits(seed: int, faces: int, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Edits of faces that need changes of different size, and regions of different size."""
    x = _draw(seed, faces, 3, side, side) / 4
    strength = torch.linspace(0.2, 1.5, faces)[:, None, None, None]
    truth = x + strength * _draw(seed + 1, faces, 3, side, side) / 3
    y = x + 0.6 * (truth - x) + _draw(seed + 2, faces, 3, side, side) / 12
    area = torch.linspace(0.6, 0.2, faces)[:, None, None]
    random = torch.Generator().manual_seed(seed + 3)
    return y, x, truth, torch.rand(faces, side, side, generator=random) < area


@error_removed_in.case
def _four_faces():
    return _edits(10, 4, 6)


@error_removed_in.case
def _worse_than_a_copy():
    y, x, truth, mask = _edits(20, 3, 5)
    return x - (y - x), x, truth, mask


@error_removed_in.use_oracle
def _pixel_by_pixel(y, x, truth, mask):
    y, x, truth = (images.double().numpy() for images in (y, x, truth))
    left = wanted = 0.0
    for b, i, j in np.argwhere(mask.numpy()):
        for colour in range(3):
            left += (y[b, colour, i, j] - truth[b, colour, i, j]) ** 2
            wanted += (x[b, colour, i, j] - truth[b, colour, i, j]) ** 2
    return torch.tensor(1 - left / wanted)


@error_removed_in.holds("what happens outside the region does not count")
def _blind_outside(answer):
    y, x, truth, mask = _edits(30, 2, 4)
    spoiled = torch.where(mask[:, None], y, y + 3)
    return math.isclose(answer(y, x, truth, mask), answer(spoiled, x, truth, mask), abs_tol=1e-5)


@error_removed_in.misconception(
    "averages a share of each face",
    "a face that hardly has to change counts as much as one that has to change a lot. "
    "Sum over all faces first, then divide.",
)
def _mean_of_shares(y, x, truth, mask):
    left = ((y - truth).square().sum(1) * mask).sum((1, 2))
    return (1 - left / ((x - truth).square().sum(1) * mask).sum((1, 2))).mean()


@error_removed_in.misconception(
    "divides by the error of the whole picture",
    "the edit can only remove what was wrong *there*: the region belongs into both sums.",
)
def _whole_picture_below(y, x, truth, mask):
    left = ((y - truth).square().sum(1) * mask).sum()
    return 1 - left / (x - truth).square().sum()


@error_removed_in.misconception(
    "measures outside the region", "which pixels does `mask` say True of?"
)
def _inverted(y, x, truth, mask):
    return error_removed_in.reference(y, x, truth, ~mask)


@error_removed_in.misconception(
    "gives the share that is left", "a perfect edit should get 1, and a copy 0."
)
def _left_over(y, x, truth, mask):
    return 1 - error_removed_in.reference(y, x, truth, mask)


@error_removed_in.misconception(
    "compares the output with its input",
    "an output far from its input has changed a lot, rightly or wrongly. Compare it with the "
    "exact answer.",
)
def _change_instead(y, x, truth, mask):
    changed = ((y - x).square().sum(1) * mask).sum()
    return 1 - changed / ((x - truth).square().sum(1) * mask).sum()


@error_removed_in.misconception(
    "takes absolute differences", "the error is squared: a large miss counts more than two halves."
)
def _absolute(y, x, truth, mask):
    left = ((y - truth).abs().sum(1) * mask).sum()
    return 1 - left / ((x - truth).abs().sum(1) * mask).sum()


@error_removed_in.misconception("leaves the region out", "where does `mask` enter?")
def _no_region(y, x, truth, mask):
    return error_removed_in.reference(y, x, truth, torch.ones_like(mask))


# ------------------------------------------------------------------------------------ main_effects


@exercise("08", "What each of two switches does on average, and how far they depend on each other.")
def main_effects(table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Table (2, 2), attention off and on by residual off and on: attention, residual, both."""
    of_attention = table[1] - table[0]  # (2,): without and with the residual
    of_residual = table[:, 1] - table[:, 0]  # (2,): without and with attention
    return of_attention.mean(), of_residual.mean(), (of_attention[1] - of_attention[0]) / 2


main_effects.worked.append(
    (
        (torch.tensor([[2.0, 6.0], [4.0, 16.0]]),),
        (torch.tensor(6.0), torch.tensor(8.0), torch.tensor(4.0)),
    )
)


@main_effects.case
def _a_switch_that_hurts_when_the_other_is_on():
    return (torch.tensor([[-6.0, 0.5], [-4.0, 0.25]]),)


@main_effects.case
def _shares():
    return (torch.tensor([[0.9, 0.61], [0.86, 0.7]]),)


@main_effects.use_oracle
def _least_squares(table):
    off_on = (-0.5, 0.5)
    design = np.array([[1, a, r, 2 * a * r] for a in off_on for r in off_on])
    effects = np.linalg.lstsq(design, table.double().flatten().numpy(), rcond=None)[0]
    return torch.from_numpy(effects[1:])


@main_effects.holds("where both switches simply add up, nothing depends on the other")
def _no_interaction(answer):
    rows, columns = torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0, 7.0]])
    return abs(float(answer(rows + columns)[2])) < 1e-5


@main_effects.misconception(
    "takes off minus on", "a switch that makes a number larger has a positive effect."
)
def _off_minus_on(table):
    attention, residual, both = main_effects.reference(table)
    return -attention, -residual, both


@main_effects.misconception(
    "adds two differences without halving",
    "an effect is the average of two differences, so that it can be read in the table's unit.",
)
def _not_halved(table):
    return tuple(2 * effect for effect in main_effects.reference(table))


@main_effects.misconception(
    "mixes up rows and columns",
    "attention changes from one *row* to the next, the residual from one column to the next.",
)
def _transposed(table):
    return main_effects.reference(table.T)


@main_effects.misconception(
    "takes each part from the full model alone",
    "that is what a part does while the other is on. And while it is off? Average both.",
)
def _from_the_full_model(table):
    return (
        table[1, 1] - table[0, 1],
        table[1, 1] - table[1, 0],
        main_effects.reference(table)[2],
    )


@main_effects.misconception(
    "adds each part to the bare model alone",
    "that is what a part does while the other is off. And while it is on? Average both.",
)
def _to_the_bare_model(table):
    return (
        table[1, 0] - table[0, 0],
        table[0, 1] - table[0, 0],
        main_effects.reference(table)[2],
    )


@main_effects.misconception(
    "takes what both parts do together for the interaction",
    "together they also do what each does alone. How far does the effect of one *change* when the "
    "other is switched on?",
)
def _both_together(table):
    attention, residual, _ = main_effects.reference(table)
    return attention, residual, table[1, 1] - table[0, 0]


@main_effects.misconception(
    "forgets to halve the interaction alone",
    "halve it like the other two: then mean ± half of each effect gives the table back.",
)
def _interaction_not_halved(table):
    attention, residual, both = main_effects.reference(table)
    return attention, residual, 2 * both


@main_effects.misconception(
    "has the sign of the interaction reversed",
    "it is positive if attention does more with the residual than without.",
)
def _interaction_reversed(table):
    attention, residual, both = main_effects.reference(table)
    return attention, residual, -both


# ---------------------------------------------------------------------------------------- resample


@exercise("08", "Draw test sets as large as the one at hand from its own faces.")
def resample(faces: int, times: int, random: torch.Generator) -> Tensor:
    """How many faces, how many test sets: numbers of faces, (times, faces)."""
    return torch.randint(faces, (times, faces), generator=random)


@resample.runs
def _told_by_its_counts(answer, faces, times, seed):
    """What may be checked of random numbers: counts that hardly depend on the draw."""
    drawn = answer(faces, times, torch.Generator().manual_seed(seed))
    return None if drawn is None else _counts(torch.as_tensor(np.asarray(drawn)), faces)


def _counts(drawn: Tensor, faces: int) -> tuple[float, ...]:
    """Shape, whether whole, least and greatest; different faces a set, different sets."""
    if drawn.dim() != 2:
        return (float(drawn.dim()),)
    different = np.mean([len(row.unique()) for row in drawn]) / faces
    return (
        *map(float, drawn.shape),
        float((drawn == drawn.long()).all()),
        drawn.min().floor().item(),
        drawn.max().floor().item(),
        round(float(different), 1),  # 1 - (1 - 1/n)^n, which is 0.63 and not near a half step
        float(len(drawn.unique(dim=0)) > 1),
    )


resample.worked.append(((1, 3, 0), (3.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0)))


@resample.case
def _forty_faces():
    return 40, 400, 1


@resample.case
def _five_hundred_faces():
    return 500, 60, 2


@resample.use_oracle
def _by_numpy(faces, times, seed):
    random = np.random.default_rng(seed)
    rows = [random.choice(faces, size=faces, replace=True) for _ in range(times)]
    return _counts(torch.from_numpy(np.stack(rows)), faces)


@resample.misconception(
    "draws without putting back",
    "then every test set holds the same faces, only in another order, and every mean is the same.",
)
def _shuffled(faces, times, random):
    return torch.stack([torch.randperm(faces, generator=random) for _ in range(times)])


@resample.misconception(
    "draws once and uses that test set every time",
    "the sets should differ: how far their means differ is what we want to know.",
)
def _once(faces, times, random):
    return torch.randint(faces, (1, faces), generator=random).expand(times, -1)


@resample.misconception(
    "never draws the last face", "`torch.randint` already leaves its upper limit out."
)
def _without_the_last(faces, times, random):
    return torch.randint(faces - 1, (times, faces), generator=random)


@resample.misconception("never draws the first face", "which number does the first face have?")
def _without_the_first(faces, times, random):
    return torch.randint(1, faces, (times, faces), generator=random)


@resample.misconception(
    "draws smaller test sets",
    "means of fewer faces spread more. The question is how far means of *as many* faces do.",
)
def _half_as_many(faces, times, random):
    return torch.randint(faces, (times, faces // 2), generator=random)


@resample.misconception(
    "has a column for each test set instead of a row", "the shape is (times, faces)."
)
def _turned(faces, times, random):
    return torch.randint(faces, (faces, times), generator=random)


@resample.misconception(
    "draws fractions", "these are numbers of faces: what is face 3.7? Whole numbers are wanted."
)
def _fractions(faces, times, random):
    return faces * torch.rand(times, faces, generator=random)


# ------------------------------------------------------------------------------ bootstrap_interval


@exercise("08", "An interval for the mean difference of two models on the same faces.")
def bootstrap_interval(one: Tensor, other: Tensor, draws: Tensor, level: float = 0.95) -> Tensor:
    """Values (n,) of each face by two models, and resampled faces (R, n): low and high, (2,)."""
    means = (one - other)[draws].mean(1)  # (R,)
    outside = (1 - level) / 2
    return means.quantile(torch.tensor([outside, 1 - outside], dtype=means.dtype))


bootstrap_interval.worked.append(
    (
        (
            torch.tensor([4.0, 1.0]),
            torch.tensor([1.0, 2.0]),
            torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [0, 0]]),
            0.5,
        ),
        torch.tensor([1.0, 3.0]),
    )
)


def _measured(seed: int, faces: int, draws: int) -> tuple[Tensor, Tensor, Tensor]:
    """A lopsided quantity that differs more from face to face than from model to model."""
    of_face = _draw(seed, faces).exp()
    one = of_face + 0.4 * _draw(seed + 1, faces).exp()
    other = of_face + 0.2 * _draw(seed + 2, faces)
    random = torch.Generator().manual_seed(seed + 3)
    return one, other, torch.randint(faces, (draws, faces), generator=random)


@bootstrap_interval.case
def _thirty_faces():
    return *_measured(40, 30, 301), 0.95


@bootstrap_interval.case
def _twelve_faces_and_another_level():
    return *_measured(50, 12, 200), 0.8


@bootstrap_interval.use_oracle
def _sorted_by_hand(one, other, draws, level):
    means = sorted(
        sum(float(one[i]) - float(other[i]) for i in row) / len(row) for row in draws.tolist()
    )
    ends = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        place = share * (len(means) - 1)
        below = math.floor(place)
        above = min(below + 1, len(means) - 1)
        ends.append(means[below] + (place - below) * (means[above] - means[below]))
    return torch.tensor(ends)


@bootstrap_interval.holds("if every face differs by 2, the interval is from 2 to 2")
def _no_doubt(answer):
    one, _, draws = _measured(60, 10, 50)
    low, high = answer(one, one - 2, draws, 0.9)
    return abs(low - 2) < 1e-4 and abs(high - 2) < 1e-4


def _ends(means: Tensor, level: float) -> Tensor:
    outside = (1 - level) / 2
    return means.quantile(torch.tensor([outside, 1 - outside], dtype=means.dtype))


@bootstrap_interval.misconception(
    "draws other faces for each of the two models",
    "both models edited the same faces. A face that is hard for one is hard for the other, and "
    "that cancels only if they are drawn together.",
)
def _unpaired(one, other, draws, level=0.95):
    return _ends(one[draws].mean(1) - other[draws.roll(1, 0)].mean(1), level)


@bootstrap_interval.misconception(
    "subtracts an interval of one model from an interval of the other",
    "the ends of two intervals do not occur together. Subtract face by face, then take means.",
)
def _interval_minus_interval(one, other, draws, level=0.95):
    return _ends(one[draws].mean(1), level) - _ends(other[draws].mean(1), level)


@bootstrap_interval.misconception(
    "shows how far single faces spread, not their mean",
    "take the mean of each drawn test set first; it is the means that you want the range of.",
)
def _spread_of_faces(one, other, draws, level=0.95):
    return _ends((one - other)[draws].flatten(), level)


@bootstrap_interval.misconception(
    "cuts off too much: the whole of what is outside, at each end",
    "a level of 95 % leaves 5 % outside, and there are two ends.",
)
def _too_narrow(one, other, draws, level=0.95):
    means = (one - other)[draws].mean(1)
    return means.quantile(torch.tensor([1 - level, level], dtype=means.dtype))


@bootstrap_interval.misconception(
    "puts one standard deviation to each side of the mean",
    "that holds about 68 % of a bell curve, whatever `level` says. Take what the drawn means "
    "themselves leave outside.",
)
def _one_deviation(one, other, draws, level=0.95):
    means = (one - other)[draws].mean(1)
    return torch.stack([means.mean() - means.std(), means.mean() + means.std()])


@bootstrap_interval.misconception(
    "takes 1.96 standard deviations, which is for 95 % of a bell curve",
    "`level` may be another, and means of a lopsided quantity are lopsided: one end is further "
    "away. Take what the drawn means themselves leave outside.",
)
def _bell_curve(one, other, draws, level=0.95):
    means = (one - other)[draws].mean(1)
    return torch.stack([means.mean() - 1.96 * means.std(), means.mean() + 1.96 * means.std()])


@bootstrap_interval.misconception(
    "divides by the root of the number of faces once more",
    "the drawn means already spread as means of so many faces do.",
)
def _divided_again(one, other, draws, level=0.95):
    means = (one - other)[draws].mean(1)
    middle = means.mean()
    return middle + (_ends(means, level) - middle) / math.sqrt(len(one))


@bootstrap_interval.misconception(
    "subtracts the first model from the second", "positive means that `one` has the larger values."
)
def _reversed(one, other, draws, level=0.95):
    return bootstrap_interval.reference(other, one, draws, level)


@bootstrap_interval.misconception("gives the high end first", "low, then high.")
def _high_first(one, other, draws, level=0.95):
    return bootstrap_interval.reference(one, other, draws, level).flip(0)
