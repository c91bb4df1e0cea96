r"""The losses: one function an equation of the paper, (1) to (8), and what it left out.

Symbols: x a real image, c' its own expression, c the target, :math:`\rho` the target intensity,
:math:`z = \rho \cdot onehot(c)` the code, :math:`y = G(x, z)` the generated image. Every function
takes what the networks returned and gives a scalar that is averaged over the batch. When the
critic learns, y is detached (no gradient reaches G); when G learns, only G's weights are stepped.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from mmagan_lite import distributed
from mmagan_lite.config import Config
from mmagan_lite.expressions import N

FAKE = N
"""Label of the additional class of generated images: the ninth, after the eight expressions."""

Critic = Callable[[Tensor], Tensor]
"""From images (B, 3, H, W) to scores (B, ...): `lambda x: D(x, expression)[0]`."""


def adversarial(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    r"""Equation (1): how much higher the critic scores real images than generated ones.

    .. math:: L_{adv} = E_x[D_{src}(x)] - E_{x,z}[D_{src}(G(x, z))]

    The critic maximises it, the generator minimises it. For the generator the first term is
    a constant. Alone it has no bound: the critic needs a penalty on its slope beside it.

    Parameters
    ----------
    real_scores, fake_scores : Tensor of shape (B, 1, p, p)
        Patch scores of real and generated images.

    Returns
    -------
    Tensor
        Scalar, in units of the score.
    """
    return real_scores.mean() - fake_scores.mean()


def hinge_adversarial(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    r"""Equation (1) on clipped scores: the critic's side of the hinge loss.

    .. math:: E_x[\min(D_{src}(x), 1)] - E_{x,z}[\max(D_{src}(y), -1)]

    The critic maximises it and gains nothing beyond a score of 1 for real and -1 for generated
    patches, so the gap is at most 2. (2 minus this is the hinge loss as it is usually written,
    :math:`E[\max(0, 1 - D(x))] + E[\max(0, 1 + D(y))]`.) The generator keeps `adversarial`:
    clipped scores would give it no gradient just where the critic is sure.

    Parameters
    ----------
    real_scores, fake_scores : Tensor of shape (B, 1, p, p)
        Patch scores of real and generated images.

    Returns
    -------
    Tensor
        Scalar, at most 2.

    References
    ----------
    Lim and Ye, "Geometric GAN", 2017; Miyato et al., "Spectral Normalization", ICLR 2018.
    """
    return adversarial(real_scores.clamp(max=1), fake_scores.clamp(min=-1))


def reconstruction(x: Tensor, reconstructed: Tensor) -> Tensor:
    r"""Equation (2): edit, edit back, and the input should return.

    .. math:: L_{rec} = E_{x,z}[\lVert x - G(G(x, z), D_{cor}(x)) \rVert_1]

    The generator minimises it. The norm is averaged over pixels, so that its weight means the
    same at every image size.

    Parameters
    ----------
    x, reconstructed : Tensor of shape (B, 3, H, W)
        Input images, and the same edited to z and back.

    Returns
    -------
    Tensor
        Scalar, at least 0.
    """
    return (x - reconstructed).abs().mean()


def classification(logits: Tensor, target: Tensor, fake_class: bool = False) -> Tensor:
    r"""Equations (3) and (4): the critic should read the expression.

    .. math::
        L_{cls}^D = E_{x,c'}[-\log D_{cls}(c' | x)], \qquad
        L_{cls}^G = E_{x,c,\rho}[-\log D_{cls}(c | G(x, z_{c,\rho}))]

    One formula, two uses. The critic minimises (3): real images, their own label c'. The
    generator minimises (4): its images, the target c. Equations (7) and (8) call these
    L_cls^f and L_cls^real.

    With `fake_class` there is a ninth class for generated images; its logit is fixed at 0.
    That costs no freedom: softmax only depends on differences of logits.

    Parameters
    ----------
    logits : Tensor of shape (B, 8)
    target : Tensor of shape (B,)
        Labels 0 to 7; with `fake_class` also 8, `FAKE`.
    fake_class : bool
        Append the class of generated images.

    Returns
    -------
    Tensor
        Scalar cross-entropy in nats, at least 0; log 8 is guessing among eight.

    References
    ----------
    Salimans et al., "Improved Techniques for Training GANs", 2016, section 5 (the fixed logit).
    """
    if fake_class:
        logits = F.pad(logits, (0, 1))  # (B, 9), the last one 0
    return F.cross_entropy(logits, target)


def condition_regression(cor: Tensor, z: Tensor) -> Tensor:
    r"""Equation (5): the critic should read the code z off the image.

    .. math:: L_{info} = E_{x,z}[\lVert D_{cor}(G(x, z)) - z \rVert_2^2]

    Both players minimise it: the generator writes z legibly, the critic learns to read. The
    paper says "both real and generated images"; a real image can take part where its intensity
    is known. Images with NaN in z are left out.

    Parameters
    ----------
    cor : Tensor of shape (B, 8)
        The critic's coordinates.
    z : Tensor of shape (B, 8)
        True codes; NaN where unknown.

    Returns
    -------
    Tensor
        Scalar: squared distance, summed over the 8 coordinates, averaged over known images;
        0 if there are none.
    """
    known = ~z.isnan().any(1)  # (B,)
    error = (cor - z).masked_fill(~known[:, None], 0)  # (B, 8)
    return error.square().sum() / distributed.count(known)


def estimate_intensity(logits: Tensor, cor: Tensor, source: str) -> Tensor:
    r"""The estimated intensity :math:`\hat\rho` of equation (6), which the paper leaves open.

    Parameters
    ----------
    logits : Tensor of shape (B, 8)
    cor : Tensor of shape (B, 8)
    source : {"classes", "coordinates"}
        The largest class probability, as in GANmut: how sure the critic is stands in for how
        strong the expression is; never below 1/8. Or the largest coordinate, which is the
        critic's estimate of :math:`\max(z) = \rho`.

    Returns
    -------
    Tensor of shape (B,)
        In [1/8, 1] from classes; unbounded from coordinates.

    Raises
    ------
    ValueError
        If the source is unknown.
    """
    if source == "classes":
        return logits.softmax(1).amax(1)  # (B,)
    if source == "coordinates":
        return cor.amax(1)  # (B,)
    raise ValueError(f"source must be 'classes' or 'coordinates'; got {source!r}.")


def intensity(rho_hat: Tensor, rho: Tensor) -> Tensor:
    r"""Equation (6): the expression should be as strong as asked for.

    .. math:: L_\rho = E_{x,z}[\lVert \hat\rho(G(x, z)) - \rho \rVert_2^2]

    The generator minimises it. Neutral targets, :math:`\rho = 0`, are left out: a neutral face
    has no intensity to estimate, and the class probability cannot be 0.

    Parameters
    ----------
    rho_hat : Tensor of shape (B,)
        Estimates from `estimate_intensity`.
    rho : Tensor of shape (B,)
        Target intensities in [0, 1].

    Returns
    -------
    Tensor
        Scalar: mean squared error over the images with rho > 0; 0 if there are none.
    """
    expressive = rho > 0  # (B,)
    error = (rho_hat - rho).masked_fill(~expressive, 0)  # (B,)
    return error.square().sum() / distributed.count(expressive)


def gradient_penalty(
    critic: Critic, real: Tensor, fake: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    r"""What equation (1) needs to converge: the critic's slope should be 1.

    .. math:: E_{\hat x}[(\lVert \nabla_{\hat x} D_{src}(\hat x) \rVert_2 - 1)^2], \qquad
        \hat x = \alpha x + (1 - \alpha) G(x, z), \quad \alpha \sim U[0, 1]

    The critic minimises it. :math:`D_{src}` here is the *mean* over patches, the same number
    that equation (1) averages. StarGAN's code takes the slope of the *sum* over p x p patches:
    that holds the mean's slope near 1 / p^2 and so makes another weight of equation (1).

    Parameters
    ----------
    critic : callable
        From images (B, 3, H, W) to scores (B, ...).
    real, fake : Tensor of shape (B, 3, H, W)
        Real and generated images; no gradient flows into them.
    generator : torch.Generator, optional
        Source of alpha, on the images' device.

    Returns
    -------
    Tensor
        Scalar, at least 0.

    References
    ----------
    Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, equation (3).
    """
    whole = len(real) * distributed.processes()
    alpha = torch.rand(whole, 1, 1, 1, generator=generator, device=real.device, dtype=real.dtype)
    alpha = distributed.mine(alpha)  # (B, 1, 1, 1)
    x_hat = alpha * real + (1 - alpha) * fake  # (B, 3, H, W)
    slope = _score_gradient(critic, x_hat).norm(dim=1)  # (B,)
    return (slope - 1).square().mean()


def r1_penalty(critic: Critic, real: Tensor) -> Tensor:
    r"""R1: the critic should be flat where the real images are.

    .. math:: E_x[\lVert \nabla_x D_{src}(x) \rVert_2^2]

    The critic minimises it; a generator that has reached the data can then come to rest there.
    Again :math:`D_{src}` is the mean over patches. (The reference halves its weight.)

    Parameters
    ----------
    critic : callable
        From images (B, 3, H, W) to scores (B, ...).
    real : Tensor of shape (B, 3, H, W)
        Real images.

    Returns
    -------
    Tensor
        Scalar, at least 0.

    References
    ----------
    Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018,
    equation (9).
    """
    return _score_gradient(critic, real).square().sum(1).mean()


def _score_gradient(critic: Critic, images: Tensor) -> Tensor:
    """Gradient of each image's mean score, (B, 3 * H * W), itself differentiable."""
    images = images.detach().requires_grad_()
    scores = critic(images).reshape(len(images), -1).mean(1)  # (B,)
    # Image i only moves score i, so the gradient of the sum holds every single gradient.
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.flatten(1)


def generator_total(
    config: Config,
    *,
    adv: Tensor,
    cls: Tensor,
    rec: Tensor,
    info: Tensor | float = 0.0,
    rho: Tensor | float = 0.0,
) -> Tensor:
    r"""Equation (7), what the generator minimises.

    .. math:: L_G = L_{adv} + \lambda_{cls} L_{cls}^f + \lambda_{rec} L_{rec}
        + \lambda_{infoG} L_{info} + \lambda_\rho L_\rho

    Parameters
    ----------
    config : Config
        The weights.
    adv, cls, rec : Tensor
        Equations (1), (4) and (2), scalars.
    info, rho : Tensor, optional
        Equations (5) and (6), scalars, which StarGAN lacks.

    Returns
    -------
    Tensor
        Scalar.
    """
    return (
        adv
        + config.lambda_cls * cls
        + config.lambda_rec * rec
        + config.lambda_info * info
        + config.lambda_rho * rho
    )


def discriminator_total(
    config: Config,
    *,
    cls: Tensor,
    adv: Tensor | float = 0.0,
    info: Tensor | float = 0.0,
    gp: Tensor | float = 0.0,
    r1: Tensor | float = 0.0,
    fake: Tensor | float = 0.0,
) -> Tensor:
    r"""Equation (8), what the critic minimises, and three terms that are not in the paper.

    .. math:: L_D = -L_{adv} + \lambda_{cls} L_{cls}^{real} + \lambda_{infoD} L_{info}
        + \lambda_{gp} L_{gp} + \lambda_{R1} L_{R1} + \lambda_{fake} L_{cls}^{fake}

    Parameters
    ----------
    config : Config
        The weights; :math:`\lambda_{fake}` is `config.fake_class`.
    cls : Tensor
        Equation (3), a scalar.
    adv, info : Tensor, optional
        Equations (1) (or `hinge_adversarial`) and (5), scalars. The warm-up leaves out (1),
        StarGAN (5).
    gp, r1 : Tensor, optional
        `gradient_penalty` and `r1_penalty`, scalars.
    fake : Tensor, optional
        `classification` of generated images as `FAKE`, a scalar.

    Returns
    -------
    Tensor
        Scalar.
    """
    return (
        -adv
        + config.lambda_cls * cls
        + config.lambda_info * info
        + config.lambda_gp * gp
        + config.lambda_r1 * r1
        + config.fake_class * fake
    )


def least_squares(scores: Tensor, wanted: float) -> Tensor:
    r"""CycleGAN's adversarial loss: scores should be 1 for real and 0 for generated images.

    .. math:: E_x[(D(x) - a)^2]

    Parameters
    ----------
    scores : Tensor of shape (B, 1, p, p)
        Patch scores.
    wanted : float
        a: the critic minimises it with 1 for real and 0 for generated images, the generator
        with 1 for its own.

    Returns
    -------
    Tensor
        Scalar, at least 0.

    References
    ----------
    Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017, equation (9).
    """
    return (scores - wanted).square().mean()


def cyclegan_total(config: Config, *, adv: Tensor, rec: Tensor, identity: Tensor) -> Tensor:
    r"""What CycleGAN's two generators minimise together.

    .. math:: L = L_{adv} + \lambda_{rec} (L_{cyc} + \tfrac12 L_{identity})

    Parameters
    ----------
    config : Config
        The weight :math:`\lambda_{rec}`.
    adv, rec, identity : Tensor
        Each the sum over both directions: `least_squares`, and `reconstruction` of an image
        that went there and back, and of one that was already there. Scalars.

    Returns
    -------
    Tensor
        Scalar.

    References
    ----------
    Zhu et al., "Unpaired Image-to-Image Translation", ICCV 2017, equation (3) and section 5.2.
    """
    return adv + config.lambda_rec * (rec + identity / 2)
