"""Exercises of notebook 07: evaluation."""

import math

import numpy as np
import torch
from scipy.linalg import sqrtm
from scipy.stats import linregress
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor
from torch.nn import functional as F

from mmagan_lite.exercises.room import exercise
from mmagan_lite.expressions import N


def _draw(seed: int, *shape: int) -> Tensor:
    """Normal random numbers in double precision, the same at every call."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=random, dtype=torch.float64)


# -------------------------------------------------------------------------------------------- PSNR


@exercise("07", "The mean PSNR of pairs of images in [-1, 1], in dB.", tolerance=1e-3)
def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [-1, 1]: the peak signal-to-noise ratio in dB, averaged over B."""
    error = (x - y).square().mean((1, 2, 3))  # (B,)
    return (10 * (4 / error).log10()).mean()


def _pair(seed: int, *scales: float) -> tuple[Tensor, Tensor]:
    """Images, and the same with noise of another strength each."""
    x = torch.tanh(_draw(seed, len(scales), 3, 6, 5))
    noise = torch.tensor(scales, dtype=torch.float64)[:, None, None, None]
    return x, (x + noise * _draw(seed + 1, *x.shape)).clamp(-1, 1)


_ZERO = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
psnr.worked.append(
    (
        (_ZERO, _ZERO + torch.tensor([0.2, 0.02], dtype=torch.float64)[:, None, None, None]),
        torch.tensor(30.0),
    )
)


@psnr.case
def _one_image():
    return _pair(1, 0.1)


@psnr.case
def _faint_and_strong_noise():
    return _pair(3, 0.01, 0.05, 0.6)


@psnr.use_oracle
def _by_scikit_image(x, y):
    pairs = zip(x.numpy(), y.numpy(), strict=True)
    return np.mean([peak_signal_noise_ratio(a, b, data_range=2) for a, b in pairs])


@psnr.holds("it is infinite for equal images")
def _infinite(answer):
    x, _ = _pair(5, 0.1)
    return float(answer(x, x.clone())) == math.inf


@psnr.misconception(
    "takes 1 for the largest possible difference",
    "how far apart are black and white when images run from -1 to 1?",
)
def _psnr_peak_one(x, y):
    return psnr.reference(x, y) - 10 * math.log10(4)


@psnr.misconception(
    "takes 255 for the largest possible difference",
    "255 belongs to 8-bit levels. How far apart are black and white in [-1, 1]?",
)
def _psnr_peak_255(x, y):
    return psnr.reference(x, y) + 20 * math.log10(255 / 2)


@psnr.misconception(
    "forgets to square the peak",
    "the error is a mean of squares; what must stand above it so that units cancel?",
)
def _psnr_peak_not_squared(x, y):
    return psnr.reference(x, y) - 10 * math.log10(2)


@psnr.misconception(
    "takes 20 times the logarithm of squares",
    "20 log(a / b) is the form for a and b *before* squaring; yours are squares already.",
)
def _psnr_twice(x, y):
    return 2 * psnr.reference(x, y)


@psnr.misconception(
    "takes the natural logarithm", "decibels count powers of ten: which logarithm is that?"
)
def _psnr_natural(x, y):
    return math.log(10) * psnr.reference(x, y)


@psnr.misconception(
    "averages the errors of all images before the logarithm",
    "then one bad image drowns the others. Each image has a PSNR; average those.",
)
def _psnr_of_mean_error(x, y):
    return 10 * (4 / (x - y).square().mean()).log10()


@psnr.misconception(
    "adds up the three colours instead of averaging them",
    "the mean of squares runs over colours as well as pixels.",
)
def _psnr_sum_of_colours(x, y):
    return psnr.reference(x, y) - 10 * math.log10(3)


@psnr.misconception(
    "has the fraction upside down", "the smaller the error, the larger the PSNR should be."
)
def _psnr_upside_down(x, y):
    return -psnr.reference(x, y)


@psnr.misconception(
    "keeps one number an image", "a column of the table holds one number: the mean over images."
)
def _psnr_per_image(x, y):
    return 10 * (4 / (x - y).square().mean((1, 2, 3))).log10()


# ---------------------------------------------------------------------------------------- Fréchet


def _spread(features: Tensor) -> Tensor:
    """Covariance (F, F) of features (n, F), unbiased."""
    centred = features - features.mean(0)
    return centred.T @ centred / (len(features) - 1)


def _overlap(real: Tensor, fake: Tensor) -> Tensor:
    """Trace of the matrix root of the product of two covariances."""
    product = _spread(real) @ _spread(fake)
    return torch.linalg.eigvals(product).real.clamp(min=0).sqrt().sum()


@exercise("07", "The Fréchet distance of two sets of features, as if both were Gaussian.",
          tolerance=1e-3)  # fmt: skip
def frechet_distance(real: Tensor, fake: Tensor) -> Tensor:
    """Features (n, F) and (m, F) in double precision: FID's formula, a scalar."""

    def covariance(features):
        centred = features - features.mean(0)
        return centred.T @ centred / (len(features) - 1)  # (F, F)

    apart = (real.mean(0) - fake.mean(0)).square().sum()
    first, second = covariance(real), covariance(fake)
    roots = torch.linalg.eigvals(first @ second).real.clamp(min=0).sqrt()  # (F,)
    return apart + first.trace() + second.trace() - 2 * roots.sum()


def _points(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


frechet_distance.worked += [
    ((_points([0], [2], [4]), _points([3], [4], [5])), torch.tensor(5.0)),
    (
        (_points([-1, -1], [0, 0], [1, 1]), _points([-1, 1], [0, 0], [1, -1])),
        torch.tensor(4.0),
    ),
]


@frechet_distance.case
def _two_leaning_clouds():
    return _draw(11, 40, 3) @ _draw(12, 3, 3) + 1, _draw(13, 30, 3) @ _draw(14, 3, 3)


@frechet_distance.case
def _few_points():
    return 2 * _draw(15, 9, 4), _draw(16, 12, 4) @ _draw(17, 4, 4) + 0.5


@frechet_distance.use_oracle
def _by_scipys_matrix_root(real, fake):
    real, fake = real.numpy(), fake.numpy()
    first, second = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    root = sqrtm(first @ second).real
    apart = np.square(real.mean(0) - fake.mean(0)).sum()
    return apart + np.trace(first + second - 2 * root)


@frechet_distance.holds("a set is at distance 0 from itself, shuffled or not")
def _nothing_from_itself(answer):
    points = _draw(18, 20, 3) @ _draw(19, 3, 3)
    return abs(float(answer(points, points.flip(0)))) < 1e-5


@frechet_distance.misconception(
    "looks at each feature by itself",
    "two clouds can have the same spread in every feature and lean in different directions: the "
    "second case worked by hand. The formula wants the whole matrices.",
)
def _frechet_diagonal(real, fake):
    apart = (real.mean(0) - fake.mean(0)).square().sum()
    return apart + (real.std(0) - fake.std(0)).square().sum()


@frechet_distance.misconception(
    "takes the root of each element of the product",
    "the root of a matrix is the matrix that, times itself, gives it. Its trace is the sum of "
    "the roots of the eigenvalues.",
)
def _frechet_element_root(real, fake):
    first, second = _spread(real), _spread(fake)
    roots = (first @ second).diagonal().clamp(min=0).sqrt()
    return _frechet_without_overlap(real, fake) - 2 * roots.sum()


@frechet_distance.misconception(
    "forgets the root", "which units has a product of two covariances, and which has a trace?"
)
def _frechet_no_root(real, fake):
    product = _spread(real) @ _spread(fake)
    return _frechet_without_overlap(real, fake) - 2 * product.trace()


@frechet_distance.misconception(
    "compares the means alone",
    "two clouds around one point, a tight one and a wide one: should they be at distance 0?",
)
def _frechet_means(real, fake):
    return (real.mean(0) - fake.mean(0)).square().sum()


@frechet_distance.misconception(
    "does not square the distance of the means",
    "the formula is a squared distance throughout: all its terms have the same units.",
)
def _frechet_not_squared(real, fake):
    gap = (real.mean(0) - fake.mean(0)).square().sum()
    return frechet_distance.reference(real, fake) - gap + gap.sqrt()


@frechet_distance.misconception(
    "takes the root at the end", "FID is the *squared* distance; its name hides that."
)
def _frechet_root_of_all(real, fake):
    return frechet_distance.reference(real, fake).clamp(min=0).sqrt()


@frechet_distance.misconception(
    "divides the covariance by n",
    "the mean comes from the same points, so one of them is used up: n - 1.",
)
def _frechet_biased(real, fake):
    apart = (real.mean(0) - fake.mean(0)).square().sum()
    first, second = ((1 - 1 / len(f)) * _spread(f) for f in (real, fake))
    roots = torch.linalg.eigvals(first @ second).real.clamp(min=0).sqrt()
    return apart + first.trace() + second.trace() - 2 * roots.sum()


@frechet_distance.misconception(
    "adds the root instead of subtracting it",
    "equal clouds should be at distance 0: what has to cancel the two traces?",
)
def _frechet_added(real, fake):
    return _frechet_without_overlap(real, fake) + 2 * _overlap(real, fake)


@frechet_distance.misconception(
    "subtracts the root once", "for equal clouds the two traces are 2 tr Σ. What is left of them?"
)
def _frechet_once(real, fake):
    return _frechet_without_overlap(real, fake) - _overlap(real, fake)


def _frechet_without_overlap(real, fake):
    apart = (real.mean(0) - fake.mean(0)).square().sum()
    return apart + _spread(real).trace() + _spread(fake).trace()


# ----------------------------------------------------------------------------------------- kernels


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


@exercise("07", "The kernel distance of two sets of features, without bias.", tolerance=1e-3)
def kernel_distance(real: Tensor, fake: Tensor) -> Tensor:
    """Features (n, F) and (m, F): KID's formula, a scalar that may be negative."""

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3  # (n, m)

    def within(features):
        k, n = kernel(features, features), len(features)
        return (k.sum() - k.trace()) / (n * (n - 1))  # nobody is compared with itself

    return within(real) + within(fake) - 2 * kernel(real, fake).mean()


kernel_distance.worked.append(((_points([0], [1]), _points([-1], [1])), torch.tensor(-4.0)))


@kernel_distance.case
def _as_many_of_each():
    return _draw(21, 7, 4) + 0.5, _draw(22, 7, 4)


@kernel_distance.case
def _fewer_real_ones():
    return _draw(23, 4, 3), 1.5 * _draw(24, 9, 3) - 0.5


@kernel_distance.use_oracle
def _pair_by_pair(real, fake):
    def mean(ones, others, same):
        values = [
            (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3
            for i, a in enumerate(ones)
            for j, b in enumerate(others)
            if not same or i != j
        ]
        return sum(values) / len(values)

    real, fake = real.tolist(), fake.tolist()
    return torch.tensor(mean(real, real, True) + mean(fake, fake, True) - 2 * mean(real, fake, 0))


@kernel_distance.holds("it does not matter which of the two sets comes first")
def _symmetric(answer):
    real, fake = _draw(25, 5, 3), _draw(26, 6, 3)
    return math.isclose(float(answer(real, fake)), float(answer(fake, real)), abs_tol=1e-6)


@kernel_distance.misconception(
    "compares each image with itself, too",
    "an image is very like itself, which says nothing about the set. Only pairs of two different "
    "images count within a set.",
)
def _kernel_biased(real, fake):
    return sum(_kernel(f, f).mean() for f in (real, fake)) - 2 * _kernel(real, fake).mean()


@kernel_distance.misconception(
    "leaves out the diagonal but divides by n²", "how many pairs are left once it is gone?"
)
def _kernel_wrong_count(real, fake):
    within = sum((_kernel(f, f).sum() - _kernel(f, f).trace()) / len(f) ** 2 for f in (real, fake))
    return within - 2 * _kernel(real, fake).mean()


@kernel_distance.misconception(
    "does not divide the product by the number of features",
    "with 2,048 features such sums would be huge. What stands below x·y in the kernel?",
)
def _kernel_not_divided(real, fake):
    scale = real.shape[1] ** 0.5
    return kernel_distance.reference(scale * real, scale * fake)


@kernel_distance.misconception("squares where it should cube", "which power does the kernel have?")
def _kernel_squared(real, fake):
    return _kernel_distance(real, fake, lambda a, b: (a @ b.T / a.shape[1] + 1) ** 2)


@kernel_distance.misconception(
    "forgets to add 1 inside the kernel",
    "with the 1 the kernel sees means and spreads as well as third moments.",
)
def _kernel_without_one(real, fake):
    return _kernel_distance(real, fake, lambda a, b: (a @ b.T / a.shape[1]) ** 3)


@kernel_distance.misconception(
    "subtracts the mean between the sets once",
    "for equal sets the two inner means have to be cancelled, both of them.",
)
def _kernel_cross_once(real, fake):
    return kernel_distance.reference(real, fake) + _kernel(real, fake).mean()


@kernel_distance.misconception(
    "leaves out pairs of the same number between the two sets",
    "image 3 of one set and image 3 of the other are different images.",
)
def _kernel_cross_diagonal(real, fake):
    cross = _kernel(real, fake)
    kept = cross.numel() - min(cross.shape)
    mean = (cross.sum() - cross.diagonal().sum()) / kept
    return kernel_distance.reference(real, fake) + 2 * cross.mean() - 2 * mean


@kernel_distance.misconception(
    "takes the plain product for the kernel",
    "that compares means only; two clouds around one point would be alike.",
)
def _kernel_linear(real, fake):
    return _kernel_distance(real, fake, lambda a, b: a @ b.T / a.shape[1])


def _kernel_distance(real, fake, kernel):
    def within(f):
        k = kernel(f, f)
        return (k.sum() - k.trace()) / (len(f) * (len(f) - 1))

    return within(real) + within(fake) - 2 * kernel(real, fake).mean()


# ------------------------------------------------------------------------------------- the verdicts


@exercise("07", "Count which expression was read in faces of which.")
def confusion_matrix(true: Tensor, read: Tensor) -> Tensor:
    """Labels (n,) and (n,) from 0 to 7: counts (8, 8), a row for each true expression."""
    counts = torch.zeros(8, 8, dtype=torch.long)
    for row, column in zip(true.tolist(), read.tolist(), strict=True):
        counts[row, column] += 1
    return counts


def _counts(**places: int) -> Tensor:
    """A matrix of counts from ``r2c3=5``: row 2, column 3."""
    counts = torch.zeros(N, N, dtype=torch.long)
    for place, count in places.items():
        counts[int(place[1]), int(place[3])] = count
    return counts


confusion_matrix.worked.append(
    (
        (torch.tensor([1, 1, 1, 4, 4, 0]), torch.tensor([1, 1, 3, 3, 4, 1])),
        _counts(r1c1=2, r1c3=1, r4c3=1, r4c4=1, r0c1=1),
    )
)


def _labels(seed: int, count: int, classes: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    true = torch.randint(classes, (count,), generator=random)
    other = torch.randint(classes, (count,), generator=random)
    return true, torch.where(torch.rand(count, generator=random) < 0.6, true, other)


@confusion_matrix.case
def _sixty_faces():
    return _labels(31, 60, 8)


@confusion_matrix.case
def _no_contempt_among_them():
    return _labels(32, 25, 7)


@confusion_matrix.use_oracle
def _product_of_indicators(true, read):
    return F.one_hot(true, N).T @ F.one_hot(read, N)


@confusion_matrix.misconception(
    "has the true expression in columns",
    "a row for each *true* expression: which index comes first?",
)
def _confusion_transposed(true, read):
    return confusion_matrix.reference(read, true)


@confusion_matrix.misconception(
    "counts each pair once, however often it occurs",
    "`counts[true, read] += 1` with whole tensors reads, adds and writes once for each place. "
    "Count one by one, or with `index_put_(..., accumulate=True)` or `bincount`.",
)
def _confusion_once(true, read):
    counts = torch.zeros(N, N, dtype=torch.long)
    counts[true, read] += 1
    return counts


@confusion_matrix.misconception(
    "gives shares of each row instead of counts",
    "shares hide how many faces they stand for; divide when you look, not when you count.",
)
def _confusion_shares(true, read):
    counts = confusion_matrix.reference(true, read)
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


@confusion_matrix.misconception(
    "counts the right answers only", "what is it that was read in the others?"
)
def _confusion_diagonal(true, read):
    return confusion_matrix.reference(true, read).diagonal().diag()


@confusion_matrix.misconception(
    "is as large as the labels that occur",
    "an expression that nobody showed or read still has its row and column.",
)
def _confusion_too_small(true, read):
    size = int(max(true.max(), read.max())) + 1
    return confusion_matrix.reference(true, read)[:size, :size]


@confusion_matrix.misconception(
    "leaves out neutral", "label 0 is an expression like the others here."
)
def _confusion_without_neutral(true, read):
    counts = confusion_matrix.reference(true, read)
    counts[0], counts[:, 0] = 0, 0
    return counts


# ------------------------------------------------------------------------------ the exact answer


@exercise("07", "The share of the squared error that edits remove: 0 for copies, 1 if exact.",
          tolerance=1e-4)  # fmt: skip
def error_removed(y: Tensor, truth: Tensor, x: Tensor) -> Tensor:
    """Outputs, exact answers and inputs (B, 3, H, W): one number for all of them."""
    return 1 - (y - truth).square().sum() / (x - truth).square().sum()


def _numbers(*values: float) -> Tensor:
    """Images of one pixel and colour, (B, 1, 1, 1)."""
    return torch.tensor(values, dtype=torch.float64)[:, None, None, None]


error_removed.worked.append(
    ((_numbers(1, 2), _numbers(2, 1), _numbers(0, 0)), torch.tensor(0.6)),
)


def _edit(seed: int, share: float, noise: float, faces: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Edits that go a share of the way, with noise; the faces' ways differ in length."""
    x = torch.tanh(_draw(seed, faces, 3, 5, 4))
    way = torch.linspace(0.02, 0.4, faces, dtype=torch.float64)[:, None, None, None]
    truth = x + way * _draw(seed + 1, *x.shape)
    return x + share * (truth - x) + noise * _draw(seed + 2, *x.shape), truth, x


@error_removed.case
def _good_edits():
    return _edit(41, 0.7, 0.03)


@error_removed.case
def _worse_than_none():
    return _edit(45, 0.2, 0.5)


@error_removed.use_oracle
def _value_by_value(y, truth, x):
    y, truth, x = (t.flatten().tolist() for t in (y, truth, x))
    left = sum((a - b) ** 2 for a, b in zip(y, truth, strict=True))
    before = sum((a - b) ** 2 for a, b in zip(x, truth, strict=True))
    return torch.tensor((before - left) / before)


@error_removed.holds("it is 0 for copies and 1 for exact answers")
def _frame(answer):
    _, truth, x = _edit(49, 0.5, 0.1)
    copied, exact = answer(x, truth, x), answer(truth, truth, x)
    return math.isclose(float(copied), 0, abs_tol=1e-6) and math.isclose(float(exact), 1)


@error_removed.misconception(
    "averages the shares of the single faces",
    "a face with next to nothing to change divides by next to nothing. Add up first, divide once.",
)
def _removed_mean_of_ratios(y, truth, x):
    left, before = ((t - truth).square().sum((1, 2, 3)) for t in (y, x))
    return (1 - left / before).mean()


@error_removed.misconception(
    "gives the share that is left", "copies should get 0 and exact answers 1."
)
def _removed_left(y, truth, x):
    return 1 - error_removed.reference(y, truth, x)


@error_removed.misconception(
    "adds up absolute differences", "the column is about the *squared* error."
)
def _removed_absolute(y, truth, x):
    return 1 - (y - truth).abs().sum() / (x - truth).abs().sum()


@error_removed.misconception(
    "takes the root of the sums",
    "half of the way removes three quarters of the squared error, but half of the distance.",
)
def _removed_root(y, truth, x):
    return 1 - (1 - error_removed.reference(y, truth, x)).sqrt()


@error_removed.misconception(
    "compares the output with the input",
    "that is how far the edit went, not how close it came. Whom should it be close to?",
)
def _removed_from_input(y, truth, x):
    return 1 - (y - x).square().sum() / (x - truth).square().sum()


@error_removed.misconception(
    "has the fraction upside down", "an exact answer would divide by zero."
)
def _removed_upside_down(y, truth, x):
    return 1 - (x - truth).square().sum() / (y - truth).square().sum()


@error_removed.misconception(
    "stops at 0", "an edit can be worse than none, and the table should show it."
)
def _removed_clamped(y, truth, x):
    return error_removed.reference(y, truth, x).clamp(min=0)


# -------------------------------------------------------------------------------------- calibration


@exercise("07", "The slope of the line that fits what was read to what was asked for.",
          tolerance=1e-4)  # fmt: skip
def calibration_slope(rho: Tensor, read: Tensor) -> Tensor:
    """Strengths asked for (n,) and read (n,): the slope of the least-squares line."""
    away = rho - rho.mean()
    return (away * (read - read.mean())).sum() / away.square().sum()


_THIRDS = torch.arange(4, dtype=torch.float64) / 3
calibration_slope.worked.append(
    ((_THIRDS, torch.tensor([0.0, 1, 1, 2], dtype=torch.float64) / 3), torch.tensor(0.6))
)


@calibration_slope.case
def _bent_curve():
    rho = torch.linspace(0, 1, 7, dtype=torch.float64)
    return rho, 0.1 + 0.6 * rho**0.5 + 0.02 * _draw(51, 7)


@calibration_slope.case
def _uneven_steps():
    rho = torch.tensor([0.1, 0.2, 0.25, 0.6, 0.9, 1.0], dtype=torch.float64)
    return rho, 0.4 * rho + 0.3 + 0.05 * _draw(52, 6)


@calibration_slope.use_oracle
def _by_scipy(rho, read):
    return linregress(rho.numpy(), read.numpy()).slope


@calibration_slope.holds("a constant that is added to all readings does not change it")
def _ignores_the_offset(answer):
    rho, read = _bent_curve()
    return math.isclose(float(answer(rho, read)), float(answer(rho, read + 0.3)), abs_tol=1e-6)


@calibration_slope.misconception(
    "forces the line through the origin",
    "a judge may read a little in every face. Take the means off both first.",
)
def _slope_through_origin(rho, read):
    return (rho * read).sum() / rho.square().sum()


@calibration_slope.misconception(
    "joins the first point and the last",
    "all readings in between have a say, too: least squares.",
)
def _slope_of_ends(rho, read):
    return (read[-1] - read[0]) / (rho[-1] - rho[0])


@calibration_slope.misconception(
    "gives the correlation",
    "readings of a tenth of the strength, perfectly in line: correlation 1, slope 0.1.",
)
def _slope_correlation(rho, read):
    return torch.stack([rho, read]).corrcoef()[0, 1]


@calibration_slope.misconception(
    "fits ρ to the readings instead of the readings to ρ",
    "which of the two is given and lies on the horizontal axis?",
)
def _slope_swapped(rho, read):
    return calibration_slope.reference(read, rho)


@calibration_slope.misconception(
    "averages the quotients of reading and ρ",
    "at small ρ a small offset becomes a huge quotient.",
)
def _slope_quotients(rho, read):
    known = rho > 0
    return (read[known] / rho[known]).mean()


@calibration_slope.misconception(
    "mixes a sum over n with a sum over n - 1",
    "`mean` and `var` count differently; use the same count above and below.",
)
def _slope_mixed_counts(rho, read):
    away = rho - rho.mean()
    return (away * (read - read.mean())).mean() / rho.var()
