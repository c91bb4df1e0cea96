"""Exercises of notebook 05: the losses."""

import inspect
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmagan_lite.config import Config
from mmagan_lite.exercises.room import exercise


def _draw(seed: int, *shape: int) -> Tensor:
    """Normal random numbers, the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _patches(*rows: list[float]) -> Tensor:
    """Patch scores (B, 1, 1, p) from one list an image."""
    return torch.tensor(rows)[:, None, None]


def _far_if_nan(value: Tensor | None) -> Tensor | None:
    """Not a number as -1, which no loss can be, so that such answers can be told apart."""
    return value.nan_to_num(nan=-1.0) if isinstance(value, Tensor) else value


# ------------------------------------------------------------------------------------ equation (1)


@exercise("05", "How much higher real patches score than generated ones.", slot="adversarial")
def adversarial(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Equation (1): patch scores (B, 1, p, p) of real and generated images to a scalar."""
    return real_scores.mean() - fake_scores.mean()


adversarial.worked.append(
    ((_patches([4.0, 2.0], [1.0, 1.0]), _patches([0.0, -1.0], [-3.0, 0.0])), torch.tensor(3.0))
)


@adversarial.case
def _scores_of_three_images():
    return _draw(1, 3, 1, 4, 4) + 1, _draw(2, 3, 1, 4, 4)


@adversarial.case
def _a_critic_that_is_wrong():
    return _draw(3, 2, 1, 8, 8) - 2, _draw(4, 2, 1, 8, 8) + 3


@adversarial.use_oracle
def _score_by_score(real_scores, fake_scores):
    real, fake = (scores.double().flatten().tolist() for scores in (real_scores, fake_scores))
    return torch.tensor(sum(real) / len(real) - sum(fake) / len(fake))


@adversarial.holds("adding the same number to all scores changes nothing")
def _only_the_gap_counts(answer):
    real, fake = _draw(5, 2, 1, 2, 2), _draw(6, 2, 1, 2, 2)
    return torch.allclose(answer(real, fake), answer(real + 7, fake + 7), atol=1e-5)


@adversarial.misconception(
    "has the opposite sign",
    "the equation is what the critic *maximises*: a critic that scores real images higher "
    "should get a positive number.",
)
def _adversarial_sign(real_scores, fake_scores):
    return fake_scores.mean() - real_scores.mean()


@adversarial.misconception(
    "adds up the patches instead of averaging them",
    "E stands for an expectation. Would your number stay the same with twice as many patches?",
)
def _adversarial_sum(real_scores, fake_scores):
    return real_scores.sum() - fake_scores.sum()


@adversarial.misconception(
    "takes logarithms of probabilities, as the first GANs did",
    "these scores are no probabilities and have no bounds; the equation uses them as they are.",
)
def _adversarial_log(real_scores, fake_scores):
    return F.logsigmoid(real_scores).mean() + F.logsigmoid(-fake_scores).mean()


@adversarial.misconception(
    "leaves out the real images",
    "for the generator they are a constant, but one function serves both players.",
)
def _adversarial_fake_only(real_scores, fake_scores):
    return -fake_scores.mean()


@adversarial.misconception(
    "drops the sign of the difference",
    "what should a critic get that takes generated images for real ones?",
)
def _adversarial_absolute(real_scores, fake_scores):
    return (real_scores.mean() - fake_scores.mean()).abs()


@adversarial.misconception(
    "keeps one number an image",
    "a loss is a single number: the batch is averaged as well as the patches.",
)
def _adversarial_per_image(real_scores, fake_scores):
    return real_scores.mean((1, 2, 3)) - fake_scores.mean((1, 2, 3))


# ------------------------------------------------------------------------- equation (1), clipped


@exercise("05", "The critic's side of the hinge loss.", slot="hinge_adversarial")
def hinge_adversarial(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Equation (1) on scores that count up to 1 for real and down to -1 for generated patches."""
    return real_scores.clamp(max=1).mean() - fake_scores.clamp(min=-1).mean()


hinge_adversarial.worked.append(
    ((_patches([5.0, -3.0], [1.0, 1.0]), _patches([-4.0, -2.0], [-5.0, -1.0])), torch.tensor(1.0))
)


@hinge_adversarial.case
def _scores_around_the_corners():
    return 2 * _draw(11, 3, 1, 4, 4), 2 * _draw(12, 3, 1, 4, 4)


@hinge_adversarial.case
def _scores_far_on_the_wrong_side():
    return 3 * _draw(13, 2, 1, 8, 8) - 4, 3 * _draw(14, 2, 1, 8, 8) + 4


@hinge_adversarial.use_oracle
def _two_minus_the_usual_form(real_scores, fake_scores):
    real, fake = real_scores.double(), fake_scores.double()
    return 2 - (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


@hinge_adversarial.holds("however sure the critic is, it gets 2 at most")
def _at_most_two(answer):
    return answer(_draw(15, 2, 1, 2, 2) + 50, _draw(16, 2, 1, 2, 2) - 50).item() == 2


@hinge_adversarial.misconception(
    "clips the other side: it counts scores from 1 up, and from -1 down",
    "a critic that is sure already should gain nothing more. Which scores are to be cut off?",
)
def _hinge_other_side(real_scores, fake_scores):
    return real_scores.clamp(min=1).mean() - fake_scores.clamp(max=-1).mean()


@hinge_adversarial.misconception(
    "clips on both sides",
    "a real patch that scores -5 is a mistake to learn from; is there a gradient left for it?",
)
def _hinge_both_sides(real_scores, fake_scores):
    return real_scores.clamp(-1, 1).mean() - fake_scores.clamp(-1, 1).mean()


@hinge_adversarial.misconception(
    "gives the form that the critic minimises",
    "like equation (1), this is what the critic maximises; equation (8) puts the minus before it.",
)
def _hinge_to_minimise(real_scores, fake_scores):
    return F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()


@hinge_adversarial.misconception(
    "averages first and clips the average",
    "each patch is clipped by itself. Can one very sure patch make up for three wrong ones?",
)
def _hinge_of_means(real_scores, fake_scores):
    return real_scores.mean().clamp(max=1) - fake_scores.mean().clamp(min=-1)


@hinge_adversarial.misconception(
    "clips at zero",
    "where do the corners lie in the formula, and which score is the first that is sure enough?",
)
def _hinge_at_zero(real_scores, fake_scores):
    return real_scores.clamp(max=0).mean() - fake_scores.clamp(min=0).mean()


# ------------------------------------------------------------------------------------ equation (2)


@exercise("05", "How far the face is from itself after the way there and back.",
          slot="reconstruction")  # fmt: skip
def reconstruction(x: Tensor, reconstructed: Tensor) -> Tensor:
    """Equation (2): the mean absolute difference of images (B, 3, H, W)."""
    return (x - reconstructed).abs().mean()


reconstruction.worked.append(
    (
        (
            torch.tensor([[[[0.0, 2.0]], [[4.0, -1.0]], [[1.0, 1.0]]]]),
            torch.tensor([[[[1.0, 2.0]], [[1.0, -1.0]], [[3.0, 1.0]]]]),
        ),
        torch.tensor(1.0),
    )
)


@reconstruction.case
def _two_images():
    return _draw(21, 2, 3, 4, 6), _draw(22, 2, 3, 4, 6)


@reconstruction.case
def _nearly_back():
    x = _draw(23, 3, 3, 8, 8)
    return x, x + 0.2 * _draw(24, 3, 3, 8, 8) - 0.1


@reconstruction.use_oracle
def _by_the_library(x, reconstructed):
    return F.l1_loss(reconstructed.double(), x.double())


@reconstruction.holds("an error twice as large counts twice")
def _grows_in_proportion(answer):
    x, error = _draw(25, 1, 3, 4, 4), _draw(26, 1, 3, 4, 4)
    return torch.allclose(answer(x, x + 2 * error), 2 * answer(x, x + error))


@reconstruction.misconception(
    "squares the differences",
    "the small 1 at the norm says which power. Squares forgive many faint errors, and so blur.",
)
def _reconstruction_squared(x, reconstructed):
    return (x - reconstructed).square().mean()


@reconstruction.misconception(
    "adds up the pixels of an image",
    "with such a sum, a weight of 10 at 64 pixels would mean a weight of 40 at 128.",
)
def _reconstruction_sum(x, reconstructed):
    return (x - reconstructed).abs().sum((1, 2, 3)).mean()


@reconstruction.misconception(
    "leaves the differences their signs",
    "too bright here and too dark there: should the two cancel?",
)
def _reconstruction_signed(x, reconstructed):
    return (x - reconstructed).mean()


@reconstruction.misconception(
    "takes the length of each image's difference, the norm with a small 2",
    "which norm does the equation name, the one of straight lines or the one of city blocks?",
)
def _reconstruction_length(x, reconstructed):
    return (x - reconstructed).flatten(1).norm(dim=1).mean()


@reconstruction.misconception(
    "looks at the worst value only",
    "the largest difference is yet another norm; here every value counts alike.",
)
def _reconstruction_worst(x, reconstructed):
    return (x - reconstructed).abs().amax((1, 2, 3)).mean()


# --------------------------------------------------------------------------- equations (3) and (4)


@exercise("05", "How surprised the critic's classes are by the label.", slot="classification")
def classification(logits: Tensor, target: Tensor, fake_class: bool = False) -> Tensor:
    """Equations (3) and (4): cross-entropy of logits (B, 8) and labels (B,), as a scalar.

    With `fake_class` there is a ninth class, number 8, whose logit is always 0.
    """
    if fake_class:
        logits = torch.cat([logits, torch.zeros_like(logits[:, :1])], 1)  # (B, 9)
    surprise = -logits.log_softmax(1)  # (B, 8 or 9)
    return surprise.gather(1, target[:, None]).mean()


def _odds(*rows: list[float]) -> Tensor:
    """Logits (B, 8) from odds: softmax divides each by their sum."""
    return torch.tensor(rows).log()


classification.worked += [
    (
        (_odds([1.0, 9, 1, 1, 1, 1, 1, 1], [4.0, 6, 1, 1, 1, 1, 1, 1]), torch.tensor([2, 0])),
        torch.tensor(3 * math.log(2)),
    ),
    (
        (_odds([8.0] + 7 * [1.0], [8.0] + 7 * [1.0]), torch.tensor([0, 8]), True),
        torch.tensor(2.5 * math.log(2)),
    ),
]


@classification.case
def _four_faces():
    return 2 * _draw(31, 4, 8), torch.tensor([0, 3, 3, 7])


@classification.case
def _a_sure_critic():
    return 6 * _draw(32, 5, 8), torch.tensor([1, 2, 4, 5, 6])


@classification.case
def _expressions_and_a_fake_class():
    return 2 * _draw(33, 4, 8), torch.tensor([7, 1, 5, 0]), True


@classification.case
def _generated_faces():
    return 2 * _draw(34, 3, 8) + 1, torch.tensor([8, 8, 2]), True


@classification.use_oracle
def _surprise_by_surprise(logits, target, fake_class=False):
    rows = logits.double().tolist()
    if fake_class:
        rows = [[*row, 0.0] for row in rows]
    shares = [
        math.exp(row[label]) / sum(map(math.exp, row))
        for row, label in zip(rows, target.tolist(), strict=True)
    ]
    return torch.tensor(-sum(map(math.log, shares)) / len(shares))


@classification.holds("it stays finite for logits as large as 200")
def _finite(answer):
    logits = torch.tensor([[200.0] + 7 * [0.0]])
    surprise = answer(logits, torch.tensor([3]))
    return torch.allclose(surprise, torch.full_like(surprise, 200.0))


@classification.misconception(
    "applies softmax twice",
    "what does `cross_entropy` expect, probabilities or the logits themselves?",
)
def _classification_twice(logits, target, fake_class=False):
    return F.cross_entropy(_with_fake(logits, fake_class).softmax(1), target)


@classification.misconception(
    "leaves out the logarithm",
    "the loss of an answer that is surely wrong should be far larger than 1.",
)
def _classification_no_log(logits, target, fake_class=False):
    shares = _with_fake(logits, fake_class).softmax(1)
    return 1 - shares.gather(1, target[:, None]).mean()


@classification.misconception(
    "asks for the class that the critic prefers, not for the label",
    "an answer can be sure and wrong. Where does the label enter your formula?",
)
def _classification_own_choice(logits, target, fake_class=False):
    return -_with_fake(logits, fake_class).log_softmax(1).amax(1).mean()


@classification.misconception(
    "adds up the batch",
    "E is an average: a batch twice as large should not count twice.",
)
def _classification_sum(logits, target, fake_class=False):
    return F.cross_entropy(_with_fake(logits, fake_class), target, reduction="sum")


@classification.misconception(
    "forgets the ninth class",
    "with `fake_class`, an eighth expression has another share than without: someone else takes "
    "a part of the whole.",
)
def _classification_eight(logits, target, fake_class=False):
    return F.cross_entropy(logits, target.clamp(max=7))


@classification.misconception(
    "puts the ninth class before the others",
    "then label 0 is no longer neutral. At which end must the new logit stand to be number 8?",
)
def _classification_fake_first(logits, target, fake_class=False):
    return F.cross_entropy(F.pad(logits, (1, 0)) if fake_class else logits, target)


@classification.misconception(
    "takes softmax first and its logarithm afterwards",
    "at logits of 200 a share is too small for a float, and log 0 is minus infinity. There is a "
    "function that does both in one go.",
)
def _classification_unstable(logits, target, fake_class=False):
    shares = _with_fake(logits, fake_class).softmax(1)
    return -shares.gather(1, target[:, None]).log().mean()


def _with_fake(logits: Tensor, fake_class: bool) -> Tensor:
    return F.pad(logits, (0, 1)) if fake_class else logits


# ------------------------------------------------------------------------------------ equation (5)


@exercise("05", "How far the critic's coordinates are from the code.", slot="condition_regression")
def condition_regression(cor: Tensor, z: Tensor) -> Tensor:
    """Equation (5): mean squared distance of (B, 8) and (B, 8), without images that have a NaN."""
    known = ~z.isnan().any(1)  # (B,)
    squared = (cor[known] - z[known]).square().sum(1)  # (known,)
    return squared.sum() / max(len(squared), 1)


condition_regression.worked.append(
    (
        (
            torch.tensor([[2.0, 0, 2, 0, 0, 0, 0, 0], [0.0, 3, 0, 0, 0, 0, 0, 0], 8 * [5.0]]),
            torch.tensor([[1.0, 0, 0, 0, 0, 0, 0, 0], 8 * [0.0], 8 * [torch.nan]]),
        ),
        torch.tensor(7.0),
    )
)


@condition_regression.runs
def _run_condition_regression(answer, cor, z):
    return _far_if_nan(answer(cor, z))


@condition_regression.case
def _all_known():
    return _draw(41, 4, 8), _draw(42, 4, 8).clamp(0, 1)


@condition_regression.case
def _some_unknown():
    z = _draw(43, 5, 8).clamp(0, 1)
    z[1], z[3, 2] = torch.nan, torch.nan
    return _draw(44, 5, 8), z


@condition_regression.case
def _none_known():
    return _draw(45, 3, 8), torch.full((3, 8), torch.nan)


@condition_regression.use_oracle
def _number_by_number(cor, z):
    pairs = zip(cor.double().tolist(), z.double().tolist(), strict=True)
    known = [(a, b) for a, b in pairs if not any(map(math.isnan, b))]
    total = sum((p - q) ** 2 for a, b in known for p, q in zip(a, b, strict=True))
    return torch.tensor(total / max(len(known), 1))


@condition_regression.holds("no gradient is NaN, even if a code is")
def _gradients_are_numbers(answer):
    cor = _draw(46, 3, 8).requires_grad_()
    z = torch.zeros(3, 8)
    z[1] = torch.nan
    (gradient,) = torch.autograd.grad(answer(cor, z), cor)
    return bool(gradient.isfinite().all()) and not gradient[1].any()


@condition_regression.holds("its gradients are those of its values (gradcheck)")
def _gradcheck_of_regression(answer):
    cor = _draw(47, 3, 8).double().requires_grad_()
    z = torch.zeros(3, 8, dtype=torch.float64)
    return torch.autograd.gradcheck(lambda cor: answer(cor, z), cor)


@condition_regression.misconception(
    "averages over the 8 coordinates too",
    "a squared length is a *sum* of squares; only E is an average, over the images.",
)
def _regression_mean(cor, z):
    known = ~z.isnan().any(1)
    return (cor[known] - z[known]).square().mean() if known.any() else cor.sum() * 0


@condition_regression.misconception(
    "forgets the square",
    "the upper 2 at the norm takes the root away again: how far is (3, 4) from the origin, "
    "squared?",
)
def _regression_length(cor, z):
    known = ~z.isnan().any(1)
    return (cor[known] - z[known]).norm(dim=1).sum() / known.sum().clamp(min=1)


@condition_regression.misconception(
    "adds absolute differences, the norm with a small 1",
    "equation (2) has that norm; look at the two small numbers at this one.",
)
def _regression_absolute(cor, z):
    known = ~z.isnan().any(1)
    return (cor[known] - z[known]).abs().sum() / known.sum().clamp(min=1)


@condition_regression.misconception(
    "divides by all images, unknown ones as well",
    "an image that says nothing should not make the others count less.",
)
def _regression_all_images(cor, z):
    known = ~z.isnan().any(1)
    return (cor[known] - z[known]).square().sum() / len(cor)


@condition_regression.misconception(
    "takes an unknown code for the code of zeros",
    "zeros are a statement: the face is neutral. NaN is none.",
)
def _regression_zeros(cor, z):
    return (cor - z.nan_to_num()).square().sum(1).mean()


@condition_regression.misconception(
    "leaves out single coordinates instead of whole images",
    "an image is known or it is not; and whom does the mean count then?",
)
def _regression_by_coordinate(cor, z):
    return torch.where(z.isnan(), 0, cor - z).square().sum(1).mean()


@condition_regression.misconception(
    "lets one NaN make the whole loss NaN",
    "any sum with a NaN in it is NaN; leave such images out before you add.",
)
def _regression_nan(cor, z):
    return (cor - z).square().sum(1).mean()


@condition_regression.misconception(
    "divides 0 by 0 when nothing is known",
    "a batch of photographs may have no known intensity at all. What should the loss be then?",
)
def _regression_none(cor, z):
    known = ~z.isnan().any(1)
    return (cor[known] - z[known]).square().sum(1).mean()


@condition_regression.misconception(
    "leaves unknown images out only after squaring",
    "the values are right, but backwards NaN times 0 is NaN: choose before you compute.",
)
def _regression_too_late(cor, z):
    known = ~z.isnan().any(1)
    squared = torch.where(known[:, None], (cor - z).square(), 0)
    return squared.sum() / known.sum().clamp(min=1)


# -------------------------------------------------------------------- the estimate in equation (6)


@exercise("05", "Read the strength of the expression off the critic.", slot="estimate_intensity")
def estimate_intensity(logits: Tensor, cor: Tensor, source: str) -> Tensor:
    """The estimate (B,) from logits (B, 8) or coordinates (B, 8).

    The source is "classes", the largest probability, or "coordinates", the largest coordinate.
    """
    if source == "classes":
        return logits.softmax(1).amax(1)
    return cor.amax(1)


_LOGITS = _odds([9.0] + 7 * [1.0], 8 * [1.0])
_COORDINATES = torch.tensor([[0.0, 3, 1, 0, 0, 0, 0, -4], [-1.0, -2, -5, -1, -1, -1, -1, -1]])
estimate_intensity.worked += [
    ((_LOGITS, _COORDINATES, "classes"), torch.tensor([9 / 16, 1 / 8])),
    ((_LOGITS, _COORDINATES, "coordinates"), torch.tensor([3.0, -1.0])),
]


@estimate_intensity.case
def _from_classes():
    return 2 * _draw(51, 4, 8), _draw(52, 4, 8), "classes"


@estimate_intensity.case
def _from_coordinates():
    return 2 * _draw(53, 5, 8), 2 * _draw(54, 5, 8), "coordinates"


@estimate_intensity.use_oracle
def _image_by_image(logits, cor, source):
    if source == "coordinates":
        return torch.tensor([max(row) for row in cor.double().tolist()])
    rows = [[math.exp(value) for value in row] for row in logits.double().tolist()]
    return torch.tensor([max(row) / sum(row) for row in rows])


@estimate_intensity.holds("the gradient reaches what it is read from")
def _can_teach(answer):
    logits, cor = _draw(55, 3, 8).requires_grad_(), _draw(56, 3, 8).requires_grad_()
    from_classes = torch.autograd.grad(answer(logits, cor, "classes").sum(), logits)[0]
    from_coordinates = torch.autograd.grad(answer(logits, cor, "coordinates").sum(), cor)[0]
    return bool(from_classes.any() and from_coordinates.any())


@estimate_intensity.misconception(
    "looks for the largest in the whole batch, class by class",
    "each image has a strength of its own: which dimension counts the images?",
)
def _estimate_over_batch(logits, cor, source):
    return logits.softmax(1).amax(0) if source == "classes" else cor.amax(0)


@estimate_intensity.misconception(
    "takes the largest logit",
    "logits have no bounds; to be a probability, all eight have to add up to 1.",
)
def _estimate_logit(logits, cor, source):
    return logits.amax(1) if source == "classes" else cor.amax(1)


@estimate_intensity.misconception(
    "squashes each logit by itself",
    "the eight classes exclude each other, so their probabilities share a whole.",
)
def _estimate_sigmoid(logits, cor, source):
    return logits.sigmoid().amax(1) if source == "classes" else cor.amax(1)


@estimate_intensity.misconception(
    "says which class it is, not how likely",
    "arg max is a place, max is a value.",
)
def _estimate_place(logits, cor, source):
    return (logits if source == "classes" else cor).argmax(1)


@estimate_intensity.misconception(
    "takes the length of the coordinates",
    "small errors in the other seven would all add to the strength; and can a length be below 0?",
)
def _estimate_length(logits, cor, source):
    return logits.softmax(1).amax(1) if source == "classes" else cor.norm(dim=1)


@estimate_intensity.misconception(
    "adds up the coordinates",
    "a code has one number that is not 0, but an estimate of it has eight.",
)
def _estimate_sum(logits, cor, source):
    return logits.softmax(1).amax(1) if source == "classes" else cor.sum(1)


@estimate_intensity.misconception(
    "mixes up the two sources",
    "which of the two names goes with D_cls, and which with D_cor?",
)
def _estimate_swapped(logits, cor, source):
    return logits.softmax(1).amax(1) if source == "coordinates" else cor.amax(1)


# ------------------------------------------------------------------------------------ equation (6)


@exercise("05", "How far the strength is from the one that was asked for.", slot="intensity")
def intensity(rho_hat: Tensor, rho: Tensor) -> Tensor:
    """Equation (6): mean squared error of (B,) and (B,), without neutral targets (rho = 0)."""
    expressive = rho > 0  # (B,)
    squared = (rho_hat[expressive] - rho[expressive]).square()
    return squared.sum() / max(len(squared), 1)


intensity.worked.append(
    ((torch.tensor([3.0, 1.0, 5.0]), torch.tensor([1.0, 1.0, 0.0])), torch.tensor(2.0))
)


@intensity.runs
def _run_intensity(answer, rho_hat, rho):
    return _far_if_nan(answer(rho_hat, rho))


@intensity.case
def _with_neutral_targets():
    rho = torch.tensor([0.3, 0.0, 0.9, 1.0, 0.0])
    return torch.rand(5, generator=torch.Generator().manual_seed(61)) + 0.2, rho


@intensity.case
def _faint_targets():
    return torch.tensor([0.5, 0.125, 0.9]), torch.tensor([0.05, 0.2, 0.6])


@intensity.case
def _only_neutral_targets():
    return torch.tensor([0.125, 0.4]), torch.zeros(2)


@intensity.use_oracle
def _target_by_target(rho_hat, rho):
    pairs = zip(rho_hat.double().tolist(), rho.double().tolist(), strict=True)
    errors = [(found - wanted) ** 2 for found, wanted in pairs if wanted > 0]
    return torch.tensor(sum(errors) / max(len(errors), 1))


@intensity.holds("a neutral target gives no gradient")
def _neutral_is_silent(answer):
    rho_hat = torch.tensor([0.5, 0.5], requires_grad=True)
    (gradient,) = torch.autograd.grad(answer(rho_hat, torch.tensor([1.0, 0.0])), rho_hat)
    return torch.allclose(gradient, torch.tensor([-1.0, 0.0]))


@intensity.misconception(
    "counts neutral targets",
    "the critic always gives at least 1/8 to its favourite class. Can a neutral face reach 0?",
)
def _intensity_all(rho_hat, rho):
    return (rho_hat - rho).square().mean()


@intensity.misconception(
    "leaves neutral targets out of the sum but counts them in the mean",
    "an image that takes no part should not make the others count less.",
)
def _intensity_all_counted(rho_hat, rho):
    return ((rho_hat - rho).square() * (rho > 0)).mean()


@intensity.misconception(
    "forgets the square",
    "look at the upper 2; for a single number the norm itself is the absolute value.",
)
def _intensity_absolute(rho_hat, rho):
    return ((rho_hat - rho).abs() * (rho > 0)).sum() / (rho > 0).sum().clamp(min=1)


@intensity.misconception(
    "squares the mean error",
    "too strong here and too weak there: should the two cancel?",
)
def _intensity_cancels(rho_hat, rho):
    return (((rho_hat - rho) * (rho > 0)).sum() / (rho > 0).sum().clamp(min=1)).square()


@intensity.misconception(
    "leaves out faint targets as well",
    "only exactly neutral targets have no strength to estimate.",
)
def _intensity_strong_only(rho_hat, rho):
    strong = rho > 0.2
    return ((rho_hat - rho).square() * strong).sum() / strong.sum().clamp(min=1)


@intensity.misconception(
    "divides 0 by 0 when all targets are neutral",
    "a small batch may hold neutral targets only. What should the loss be then?",
)
def _intensity_none(rho_hat, rho):
    return (rho_hat - rho)[rho > 0].square().mean()


# ------------------------------------------------------------------------------ the critic's slope


@exercise("05", "Hold the critic's slope at 1 between real and generated images.",
          slot="gradient_penalty")  # fmt: skip
def gradient_penalty(critic, real: Tensor, fake: Tensor, generator=None) -> Tensor:
    """Mean of (slope - 1)² at random points between images (B, 3, H, W), one point a pair."""
    alpha = torch.rand(len(real), 1, 1, 1, generator=generator, device=real.device)
    points = (alpha * real + (1 - alpha) * fake).detach().requires_grad_()  # (B, 3, H, W)
    scores = critic(points).flatten(1).mean(1)  # (B,)
    (gradient,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def _red_is_the_slope(images: Tensor) -> Tensor:
    """A critic whose gradient with regard to green is the image's own red: scores (B, 1)."""
    red, green = images[:, 0].detach(), images[:, 1]
    return (red * green).sum((1, 2))[:, None]


def _red_in_four_patches(images: Tensor) -> Tensor:
    """The same with a score for each quarter, (B, 1, 2, 2); their *mean* is the score above."""
    products = images[:, :1].detach() * images[:, 1:2]  # (B, 1, H, W)
    return images.shape[2] * images.shape[3] * F.adaptive_avg_pool2d(products, 2)


def _same_red(seed: int, *slopes: float) -> tuple[Tensor, Tensor]:
    """Pairs of images that share their red, so that the slope is the same between them."""
    real, fake = _draw(seed, len(slopes), 3, 4, 4), _draw(seed + 1, len(slopes), 3, 4, 4)
    red = real[:, 0].flatten(1)
    red = red / red.norm(dim=1, keepdim=True) * torch.tensor(slopes)[:, None]
    real[:, 0] = fake[:, 0] = red.view(-1, 4, 4)
    return real, fake


gradient_penalty.worked.append(
    (
        (
            _red_is_the_slope,
            torch.tensor([[[[3.0, 4.0]], [[1.0, 0.0]], [[0.0, 2.0]]],
                          [[[0.0, 1.0]], [[5.0, 1.0]], [[0.0, 0.0]]]]),
            torch.tensor([[[[3.0, 4.0]], [[0.0, 0.0]], [[1.0, 1.0]]],
                          [[[0.0, 1.0]], [[2.0, 2.0]], [[0.0, 0.0]]]]),
        ),
        torch.tensor(8.0),
    )
)  # fmt: skip


@gradient_penalty.case
def _steep_and_flat():
    return _red_is_the_slope, *_same_red(71, 3.0, 0.25, 1.5)


@gradient_penalty.case
def _four_patches():
    return _red_in_four_patches, *_same_red(73, 0.5, 2.0)


@gradient_penalty.use_oracle
def _slope_is_known(critic, real, fake):
    slopes = [math.sqrt(sum(v * v for v in image[0].flatten().tolist())) for image in real]
    return torch.tensor(sum((slope - 1) ** 2 for slope in slopes) / len(slopes))


class _Curved(nn.Module):
    """A critic with weights, curved, so that it matters where its slope is measured."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(_draw(75, 3, 4, 4).double())
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach())
        return torch.tanh(images * self.weight).sum((1, 2, 3))[:, None]


def _places(answer, generator=None) -> Tensor:
    """Where a slope is measured between black (0) and white (1): 1 - alpha, (4, 3, 4, 4)."""
    critic, black = _Curved(), torch.zeros(4, 3, 4, 4, dtype=torch.float64)
    answer(critic, black, black + 1, generator)
    return critic.seen[-1]


@gradient_penalty.holds("its gradient reaches the critic's weights")
def _can_be_minimised(answer):
    critic = _Curved()
    black = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    answer(critic, black, black + 1).backward()
    return critic.weight.grad is not None and bool(critic.weight.grad.any())


@gradient_penalty.holds("no gradient reaches the images")
def _leaves_the_images_alone(answer):
    real, fake = (_draw(seed, 2, 3, 4, 4).double().requires_grad_() for seed in (76, 77))
    answer(_Curved(), real, fake).backward()
    return real.grad is None and fake.grad is None


@gradient_penalty.holds("the slope is measured between the real and the generated image")
def _between(answer):
    places = _places(answer)
    return places.min() > 0 and places.max() < 1


@gradient_penalty.holds("all pixels of an image are mixed in the same proportion")
def _one_alpha_an_image(answer):
    places = _places(answer).flatten(1)
    return torch.equal(places, places[:, :1].expand_as(places))


@gradient_penalty.holds("each call measures at other points")
def _new_points(answer):
    return not torch.equal(_places(answer), _places(answer))


@gradient_penalty.holds("each image of a batch is mixed in its own proportion")
def _alphas_differ(answer):
    return len(_places(answer)[:, 0, 0, 0].unique()) == 4


@gradient_penalty.holds("a generator with the same seed gives the same points")
def _repeatable(answer):
    one, two = (_places(answer, torch.Generator().manual_seed(5)) for _ in range(2))
    return torch.equal(one, two)


@gradient_penalty.holds("it leaves nothing in the critic's `.grad`")
def _leaves_no_trace(answer):
    critic = _Curved()
    black = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    answer(critic, black, black + 1)
    return critic.weight.grad is None


@gradient_penalty.holds("its gradients are those of its values (gradcheck)")
def _gradcheck_of_penalty(answer):
    real, fake = _draw(78, 2, 3, 2, 2).double(), _draw(79, 2, 3, 2, 2).double()

    def penalty(weight):
        def critic(images):
            return torch.tanh(images * weight).sum((1, 2, 3))[:, None]

        return answer(critic, real, fake, torch.Generator().manual_seed(6))

    return torch.autograd.gradcheck(penalty, _draw(80, 3, 2, 2).double().requires_grad_())


def _gradients(critic, points: Tensor, patches: str = "mean", graph: bool = True) -> Tensor:
    """Gradients (B, 3 * H * W) for the wrong answers below, of the patches' mean or sum."""
    points = points.requires_grad_()
    scores = critic(points).flatten(1)
    scores = scores.mean(1) if patches == "mean" else scores.sum(1)
    return torch.autograd.grad(scores.sum(), points, create_graph=graph)[0].flatten(1)


def _mix(real, fake, *shape: int, generator=None) -> Tensor:
    alpha = torch.rand(*shape, generator=generator, dtype=real.dtype)
    return (alpha * real + (1 - alpha) * fake).detach()


def _mixed(real, fake, generator=None) -> Tensor:
    return _mix(real, fake, len(real), 1, 1, 1, generator=generator)


@gradient_penalty.misconception(
    "forgets the square",
    "the outer 2 of the formula: twice as far from 1 should cost four times as much.",
)
def _penalty_not_squared(critic, real, fake, generator=None):
    return (_gradients(critic, _mixed(real, fake, generator)).norm(dim=1) - 1).abs().mean()


@gradient_penalty.misconception(
    "forgets the root in the norm",
    "a length is the root of the sum of squares; at a slope of 3 your bracket holds 8, not 2.",
)
def _penalty_no_root(critic, real, fake, generator=None):
    squares = _gradients(critic, _mixed(real, fake, generator)).square().sum(1)
    return (squares - 1).square().mean()


@gradient_penalty.misconception(
    "takes one norm over the whole batch",
    "each image has a slope of its own, and steep ones should not hide behind flat ones.",
)
def _penalty_of_batch(critic, real, fake, generator=None):
    return (_gradients(critic, _mixed(real, fake, generator)).norm() - 1).square()


@gradient_penalty.misconception(
    "takes a norm for each pixel",
    "an image has one slope: all its numbers belong into one norm. What did you flatten?",
)
def _penalty_of_pixels(critic, real, fake, generator=None):
    points = _mixed(real, fake, generator)
    slope = _gradients(critic, points).view_as(points).norm(dim=1)  # (B, H, W)
    return (slope - 1).square().mean()


@gradient_penalty.misconception(
    "averages the scores of the batch before taking the gradient",
    "then each image's gradient is divided by the size of the batch. Its slope is its own.",
)
def _penalty_of_mean_score(critic, real, fake, generator=None):
    slope = _gradients(critic, _mixed(real, fake, generator)).norm(dim=1) / len(real)
    return (slope - 1).square().mean()


@gradient_penalty.misconception(
    "takes the slope of the sum over patches",
    "equation (1) averages the patches; which number's slope is to be held at 1?",
)
def _penalty_of_sum(critic, real, fake, generator=None):
    slope = _gradients(critic, _mixed(real, fake, generator), "sum").norm(dim=1)
    return (slope - 1).square().mean()


@gradient_penalty.misconception(
    "holds the slope at 0",
    "a flat critic tells the generator nothing. What is subtracted from the norm?",
)
def _penalty_flat(critic, real, fake, generator=None):
    return _gradients(critic, _mixed(real, fake, generator)).square().sum(1).mean()


@gradient_penalty.misconception(
    "lets flat critics off",
    "the formula has two sides: a slope below 1 costs as much as one above.",
)
def _penalty_one_sided(critic, real, fake, generator=None):
    slope = _gradients(critic, _mixed(real, fake, generator)).norm(dim=1)
    return (slope - 1).clamp(min=0).square().mean()


@gradient_penalty.misconception(
    "is a dead end: its own gradient does not reach the critic",
    "the slope is itself a function of the weights. What must `autograd.grad` keep for later?",
)
def _penalty_no_graph(critic, real, fake, generator=None):
    slope = _gradients(critic, _mixed(real, fake, generator), graph=False).norm(dim=1)
    return (slope - 1).square().mean()


@gradient_penalty.misconception(
    "lets the gradient run on into the images, and so into the generator",
    "this term belongs to the critic alone: cut the points off before you start.",
)
def _penalty_attached(critic, real, fake, generator=None):
    alpha = torch.rand(len(real), 1, 1, 1, generator=generator, dtype=real.dtype)
    points = alpha * real + (1 - alpha) * fake
    slope = _gradients(critic, points).norm(dim=1)
    return (slope - 1).square().mean()


@gradient_penalty.misconception(
    "measures at the real images",
    "the critic has to be well-behaved on the generator's whole way to the data, not only at its "
    "end.",
)
def _penalty_at_real(critic, real, fake, generator=None):
    return (_gradients(critic, real.detach().clone()).norm(dim=1) - 1).square().mean()


@gradient_penalty.misconception(
    "mixes each pixel in its own proportion",
    "points on a straight line between two images have one number each. Which shape has alpha?",
)
def _penalty_per_pixel(critic, real, fake, generator=None):
    points = _mix(real, fake, *real.shape, generator=generator)
    return (_gradients(critic, points).norm(dim=1) - 1).square().mean()


@gradient_penalty.misconception(
    "always measures half way",
    "the whole line is to be covered in time; alpha is drawn anew each time.",
)
def _penalty_half_way(critic, real, fake, generator=None):
    points = ((real + fake) / 2).detach()
    return (_gradients(critic, points).norm(dim=1) - 1).square().mean()


@gradient_penalty.misconception(
    "mixes all images of a batch in one proportion",
    "a batch of 16 could look at 16 places of the way at once.",
)
def _penalty_per_batch(critic, real, fake, generator=None):
    points = _mix(real, fake, 1, generator=generator)
    return (_gradients(critic, points).norm(dim=1) - 1).square().mean()


@gradient_penalty.misconception(
    "draws its proportions behind the generator's back",
    "a run that is resumed must draw the same numbers again: pass on what you were given.",
)
def _penalty_own_dice(critic, real, fake, generator=None):
    return (_gradients(critic, _mixed(real, fake)).norm(dim=1) - 1).square().mean()


# ------------------------------------------------------------------------------------ equation (7)


@exercise("05", "Weigh and add what the generator minimises.", slot="generator_total")
def generator_total(
    config: Config, *, adv: Tensor, cls: Tensor, rec: Tensor, info: Tensor, rho: Tensor
) -> Tensor:
    """Equation (7): equations (1), (4), (2), (5) and (6), weighted as the configuration says."""
    return (
        adv
        + config.lambda_cls * cls
        + config.lambda_rec * rec
        + config.lambda_info * info
        + config.lambda_rho * rho
    )


def _by_name(answer, config, *terms):
    """Call with the terms by name; by place, if the answer has other names for them."""
    named = {name: value for term in terms for name, value in term.items()}
    try:
        inspect.signature(answer).bind(config, **named)
    except TypeError:
        return answer(config, *named.values())
    return answer(config, **named)


generator_total.runs(_by_name)

_GENERATOR_TERMS = ("adv", "cls", "rec", "info", "rho")
_CRITIC_TERMS = ("adv", "cls", "info", "gp", "r1", "fake")
_PAPER = Config.profile("smoke", losses="paper")
_ODD = _PAPER.replace(lambda_cls=2.0, lambda_rec=3.0, lambda_info=5.0, lambda_rho=7.0,
                      lambda_gp=11.0, lambda_r1=13.0, fake_class=17.0)  # fmt: skip


def _terms(names, *values: float) -> dict[str, Tensor]:
    return dict(zip(names, torch.tensor(values), strict=True))


generator_total.worked.append(
    ((_PAPER, _terms(_GENERATOR_TERMS, 2, 3, 1, 4, 2)), torch.tensor(19.0))
)


@generator_total.case
def _odd_weights():
    return _ODD, _terms(_GENERATOR_TERMS, 1.5, 0.7, 0.3, 1.1, 0.2)


@generator_total.case
def _stabilised_weights():
    stabilised = Config.profile("smoke", losses="stabilised")
    return stabilised, _terms(_GENERATOR_TERMS, -0.4, 2.1, 0.15, 0.6, 0.05)


@generator_total.use_oracle
def _dot_product(config, terms):
    weights = (1, config.lambda_cls, config.lambda_rec, config.lambda_info, config.lambda_rho)
    return torch.tensor(weights).double() @ torch.stack(list(terms.values())).double()


@generator_total.holds("the trainer can hand it the terms by name, in any order")
def _takes_names(answer):
    terms = _terms(_GENERATOR_TERMS, 2, 3, 1, 4, 2)
    return answer(_PAPER, **dict(reversed(terms.items()))).item() == 19


@generator_total.misconception(
    "gives the generator the critic's sign of equation (1)",
    "the generator wants the gap *small*; which sign makes a smaller gap a smaller loss?",
)
def _total_sign(config, *, adv, cls, rec, info, rho):
    return _generator_sum(config, -adv, cls, rec, info, rho)


@generator_total.misconception(
    "swaps the weights of the classes and of the reconstruction",
    "which loss has the weight 10 in both presets?",
)
def _total_swapped(config, *, adv, cls, rec, info, rho):
    return _generator_sum(config, adv, rec, cls, info, rho)


@generator_total.misconception(
    "swaps the weights of code and intensity",
    "lambda_info goes with equation (5), lambda_rho with equation (6).",
)
def _total_other_swap(config, *, adv, cls, rec, info, rho):
    return _generator_sum(config, adv, cls, rec, rho, info)


@generator_total.misconception(
    "adds the losses without weights",
    "four of the five terms carry a lambda.",
)
def _total_unweighted(config, *, adv, cls, rec, info, rho):
    return adv + cls + rec + info + rho


@generator_total.misconception(
    "knows the paper preset's weights by heart",
    "the weights are the configuration's to choose; read them there.",
)
def _total_by_heart(config, *, adv, cls, rec, info, rho):
    return adv + cls + 10 * rec + 0.5 * info + rho


@generator_total.misconception(
    "leaves out the intensity",
    "count the terms of equation (7): there are five.",
)
def _total_without_rho(config, *, adv, cls, rec, info, rho):
    return _generator_sum(config, adv, cls, rec, info, 0)


def _generator_sum(config, adv, cls, rec, info, rho):
    return (
        adv
        + config.lambda_cls * cls
        + config.lambda_rec * rec
        + config.lambda_info * info
        + config.lambda_rho * rho
    )


# ------------------------------------------------------------------------------------ equation (8)


@exercise("05", "Weigh and add what the critic minimises.", slot="discriminator_total")
def discriminator_total(
    config: Config, *, adv: Tensor, cls: Tensor, info: Tensor, gp=0.0, r1=0.0, fake=0.0
) -> Tensor:
    """Equation (8): equations (1), (3) and (5), and the three terms that are not in the paper."""
    return (
        -adv
        + config.lambda_cls * cls
        + config.lambda_info * info
        + config.lambda_gp * gp
        + config.lambda_r1 * r1
        + config.fake_class * fake
    )


discriminator_total.runs(_by_name)
discriminator_total.worked.append(
    ((_PAPER, _terms(_CRITIC_TERMS[:4], 3, 2, 4, 0.5)), torch.tensor(6.0))
)


@discriminator_total.case
def _all_terms():
    return _ODD, _terms(_CRITIC_TERMS, 1.5, 0.7, 0.3, 1.1, 0.2, 0.4)


@discriminator_total.case
def _the_papers_terms():
    return _ODD, _terms(_CRITIC_TERMS[:3], -0.5, 2.2, 0.9)


@discriminator_total.case
def _terms_of_the_paper_preset():
    return _PAPER, _terms(_CRITIC_TERMS[:4], 0.8, 1.9, 0.6, 0.35)


@discriminator_total.use_oracle
def _other_dot_product(config, terms):
    weights = {"adv": -1, "cls": config.lambda_cls, "info": config.lambda_info}
    weights |= {"gp": config.lambda_gp, "r1": config.lambda_r1, "fake": config.fake_class}
    return sum(weights[name] * value.double() for name, value in terms.items())


@discriminator_total.holds("the trainer can hand it the terms by name, in any order")
def _takes_names_too(answer):
    terms = _terms(_CRITIC_TERMS[:4], 3, 2, 4, 0.5)
    return answer(_PAPER, **dict(reversed(terms.items()))).item() == 6


@discriminator_total.misconception(
    "gives the critic the generator's sign of equation (1)",
    "an optimiser minimises. What must be minimised so that the gap grows?",
)
def _critic_sign(config, *, adv, cls, info, gp=0.0, r1=0.0, fake=0.0):
    return _critic_sum(config, -adv, cls, info, gp, r1, fake)


@discriminator_total.misconception(
    "forgets the gradient penalty",
    "it is not in the paper's equation (8), but without it nothing holds the critic.",
)
def _critic_without_penalty(config, *, adv, cls, info, gp=0.0, r1=0.0, fake=0.0):
    return _critic_sum(config, adv, cls, info, 0, r1, fake)


@discriminator_total.misconception(
    "rewards steep slopes",
    "a penalty is added to what is minimised. Which sign does yours have?",
)
def _critic_reward(config, *, adv, cls, info, gp=0.0, r1=0.0, fake=0.0):
    return _critic_sum(config, adv, cls, info, -gp, r1, fake)


@discriminator_total.misconception(
    "subtracts every term, as if the critic were the generator's enemy in all",
    "only equation (1) is fought over: both players want the expressions to be readable.",
)
def _critic_all_minus(config, *, adv, cls, info, gp=0.0, r1=0.0, fake=0.0):
    return _critic_sum(config, adv, -cls, -info, gp, r1, fake)


@discriminator_total.misconception(
    "weighs R1 like the gradient penalty",
    "the two penalties are different terms, and the configuration has a weight for each.",
)
def _critic_one_penalty(config, *, adv, cls, info, gp=0.0, r1=0.0, fake=0.0):
    return _critic_sum(config, adv, cls, info, gp + r1, 0, fake)


@discriminator_total.misconception(
    "adds the fake class without a weight",
    "`config.fake_class` is a weight, not only a switch.",
)
def _critic_fake_unweighted(config, *, adv, cls, info, gp=0.0, r1=0.0, fake=0.0):
    return _critic_sum(config, adv, cls, info, gp, r1, 0) + fake


@discriminator_total.misconception(
    "adds the losses without weights",
    "only equation (1) stands alone; all the others carry a weight.",
)
def _critic_unweighted(config, *, adv, cls, info, gp=0.0, r1=0.0, fake=0.0):
    return -adv + cls + info + gp + r1 + fake


def _critic_sum(config, adv, cls, info, gp, r1, fake):
    return (
        -adv
        + config.lambda_cls * cls
        + config.lambda_info * info
        + config.lambda_gp * gp
        + config.lambda_r1 * r1
        + config.fake_class * fake
    )


# -------------------------------------------------------------------------------- who gets to learn


@exercise("05", "The adversarial part of the critic's loss, from which only the critic learns.")
def critic_step_detached(generator: nn.Module, critic: nn.Module, x: Tensor, z: Tensor) -> Tensor:
    """Minus equation (1), for the critic to minimise; no gradient reaches the generator."""
    y = generator(x, z).detach()  # (B, 3, H, W)
    return critic(y).mean() - critic(x).mean()


class _Shift(nn.Module):
    """A generator with one weight for each number of the code: y = x + code · shift."""

    def __init__(self, *shift: float) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return x + (z @ self.shift)[:, None, None, None]


class _Scale(nn.Module):
    """A critic with one weight: its score is the weight times the mean brightness, (B, 1)."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x.mean((1, 2, 3))[:, None]


def _players(seed: int) -> tuple:
    numbers = _draw(seed, 3).tolist()
    return (
        _Shift(*numbers[:2]),
        _Scale(2 + numbers[2]),
        _draw(seed + 1, 3, 3, 2, 2),
        _draw(seed, 3, 2),
    )


critic_step_detached.worked.append(
    (
        (_Shift(1.0, 0.0), _Scale(2.0), torch.zeros(1, 3, 1, 1), torch.tensor([[3.0, 0.0]])),
        torch.tensor(6.0),
    )
)


@critic_step_detached.case
def _one_game():
    return _players(91)


@critic_step_detached.case
def _another_game():
    return _players(95)


@critic_step_detached.use_oracle
def _from_the_weights(generator, critic, x, z):
    moved = sum(
        sum(a * b for a, b in zip(row, generator.shift.tolist(), strict=True)) for row in z.tolist()
    )
    return torch.tensor(critic.scale.item() * moved / len(z))


def _after_backward(answer) -> tuple[nn.Module, nn.Module]:
    generator, critic, x, z = _players(97)
    answer(generator, critic, x, z).backward()
    return generator, critic


@critic_step_detached.holds("the critic's weights get a gradient")
def _critic_learns(answer):
    return _after_backward(answer)[1].scale.grad is not None


@critic_step_detached.holds("no gradient reaches the generator")
def _generator_does_not(answer):
    return _after_backward(answer)[0].shift.grad is None


@critic_step_detached.holds("the critic learns from generated images")
def _from_generated(answer):
    return _teaches(answer, *_pictures(real=0.0, moved=3.0))


@critic_step_detached.holds("the critic learns from real images")
def _from_real(answer):
    return _teaches(answer, *_pictures(real=5.0, moved=-5.0))


@critic_step_detached.holds("the generator can still learn in its own step")
def _generator_is_not_frozen(answer):
    generator, _ = _after_backward(answer)
    return generator.shift.requires_grad


def _pictures(real: float, moved: float) -> tuple:
    """A game in which real images are of one brightness and generated ones that much brighter."""
    return _Shift(moved, 0.0), _Scale(2.0), torch.full((1, 3, 1, 1), real), torch.eye(2)[:1]


def _teaches(answer, generator, critic, x, z) -> bool:
    """Whether the critic's gradient is the gap in brightness, as it should be."""
    answer(generator, critic, x, z).backward()
    return torch.allclose(critic.scale.grad, generator.shift[0].detach())


@critic_step_detached.misconception(
    "cuts nothing off",
    "the value is right, but backwards the gradient runs through y into G. Where is the last place "
    "to stop it before G?",
)
def _step_attached(generator, critic, x, z):
    return critic(generator(x, z)).mean() - critic(x).mean()


@critic_step_detached.misconception(
    "cuts off the scores of generated images",
    "then the critic itself learns nothing from them. Cut before the critic, not behind it.",
)
def _step_scores_cut(generator, critic, x, z):
    return critic(generator(x, z)).detach().mean() - critic(x).mean()


@critic_step_detached.misconception(
    "cuts off the scores of real images",
    "real images have no generator behind them; there is nothing to protect.",
)
def _step_real_cut(generator, critic, x, z):
    return critic(generator(x, z).detach()).mean() - critic(x).detach().mean()


@critic_step_detached.misconception(
    "turns all gradients off",
    "somebody should learn from this loss. Is there still a way back to the critic's weights?",
)
def _step_all_off(generator, critic, x, z):
    with torch.no_grad():
        return critic(generator(x, z)).mean() - critic(x).mean()


@critic_step_detached.misconception(
    "freezes the generator for good",
    "after this step, its own turn comes. Cut this tensor off, not those weights.",
)
def _step_frozen(generator, critic, x, z):
    y = generator.requires_grad_(False)(x, z)
    return critic(y).mean() - critic(x).mean()


@critic_step_detached.misconception(
    "has the generator's sign",
    "the critic minimises equation (8), in which equation (1) has a minus.",
)
def _step_sign(generator, critic, x, z):
    return critic(x).mean() - critic(generator(x, z).detach()).mean()
