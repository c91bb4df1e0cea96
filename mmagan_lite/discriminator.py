"""The discriminator, or critic, says whether a face is real, which expression, how strong."""

import math
from itertools import pairwise

from torch import Tensor, nn

from mmagan_lite.attention import he_initialise
from mmagan_lite.config import Config
from mmagan_lite.expressions import N

NEGATIVE_SLOPE = 0.01
"""Slope of the critic's leaky ReLUs below zero."""


class Discriminator(nn.Module):
    r"""The critic D with three heads, :math:`D_{src}`, :math:`D_{cls}` and :math:`D_{cor}`.

    Convolutions of stride 2 halve the image down to 2x2 and double the channels, up to 16
    times `config.critic_width`, without any norm. Two of the heads see the whole face, on the
    2x2 map: class logits and coordinates. The patch head sits further up, on the 8x8 map, so
    that each of its scores judges one patch (PatchGAN); StarGAN has it on the 2x2 map, where
    every score sees more than the whole image.

    With `config.conditional_patches` a score also asks "real, *for this expression*?": the
    inner product of the features with a learned vector of the expression is added to it.
    These vectors start at zero, so the critic starts unconditional.

    A class for generated images needs no ninth logit here; see `losses.classification`.

    Parameters
    ----------
    config : Config
        Uses `image_size`, `critic_width`, `conditional_patches` and `he_init`.

    References
    ----------
    Choi et al., "StarGAN", CVPR 2018, table 5; Isola et al., "pix2pix", CVPR 2017 (PatchGAN);
    Miyato and Koyama, "cGANs with Projection Discriminator", ICLR 2018, equation (5).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.image_size = config.image_size
        depth = int(math.log2(config.image_size)) - 1  # layers from the image to 2x2
        channels = [3] + [config.critic_width * min(2**i, 16) for i in range(depth)]
        layers = [_downsample(*pair) for pair in pairwise(channels)]
        self.shallow = nn.Sequential(*layers[:-2])  # image to 8x8
        self.deep = nn.Sequential(*layers[-2:])  # 8x8 to 2x2
        self.src = nn.Conv2d(channels[-3], 1, 3, padding=1, bias=False)
        self.cls = nn.Conv2d(channels[-1], N, 2, bias=False)
        self.cor = nn.Conv2d(channels[-1], N, 2, bias=False)
        if config.he_init:
            he_initialise(self, NEGATIVE_SLOPE)
        self.embedding = None
        if config.conditional_patches:
            self.embedding = nn.Embedding(N, channels[-3])
            nn.init.zeros_(self.embedding.weight)

    def forward(self, x: Tensor, expression: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Judge images.

        Parameters
        ----------
        x : Tensor of shape (B, 3, S, S)
            Images in [-1, 1], S = `config.image_size`.
        expression : Tensor of shape (B,), optional
            Labels that the patch scores are conditioned on with `config.conditional_patches`,
            else unused: a real image's own, a generated one's target.

        Returns
        -------
        src : Tensor of shape (B, 1, 8, 8)
            One unbounded score a patch: higher is more real.
        cls : Tensor of shape (B, 8)
            Logits of the expressions.
        cor : Tensor of shape (B, 8)
            Coordinates, the critic's estimate of z; unbounded.

        Raises
        ------
        ValueError
            If the images have another shape or are not float.
        """
        size = self.image_size
        if x.shape[1:] != (3, size, size) or x.dim() != 4 or not x.is_floating_point():
            raise ValueError(
                f"This critic takes float images of shape (B, 3, {size}, {size}); got {x.dtype} "
                f"of shape {tuple(x.shape)}. Resize them, or set image_size in its Config."
            )
        features = self.shallow(x)  # (B, C, 8, 8)
        src = self.src(features)  # (B, 1, 8, 8)
        if self.embedding is not None and expression is not None:
            v = self.embedding(expression)[:, :, None, None]  # (B, C, 1, 1)
            src = src + (v * features).sum(1, keepdim=True)  # (B, 1, 8, 8)
        face = self.deep(features)  # (B, C', 2, 2)
        return src, self.cls(face).flatten(1), self.cor(face).flatten(1)

    @property
    def receptive_field(self) -> int:
        """Side in pixels of the patch that one score of `src` sees.

        A kernel of k cells adds k - 1 steps to the patch; each stride doubles the step.
        """
        patch = step = 1
        for conv in [layer[0] for layer in self.shallow] + [self.src]:
            patch += (conv.kernel_size[0] - 1) * step
            step *= conv.stride[0]
        return patch


def _downsample(channels: int, out_channels: int) -> nn.Sequential:
    """Half the side: conv-LeakyReLU."""
    conv = nn.Conv2d(channels, out_channels, 4, stride=2, padding=1)
    return nn.Sequential(conv, nn.LeakyReLU(NEGATIVE_SLOPE))
