"""The networks that the paper compares with: StarGAN's and CycleGAN's, two of each.

They come from the same parts as ours where they are the same, and have the originals' sizes to
the last parameter. On purpose they differ: StarGAN's instance norms keep running statistics,
which change the output in `eval()`, and ours have none. With `config.he_init` and
`config.conditional_patches` they get the same stabilisers as our networks, so that a comparison
is fair. `StarGAN` and `CycleGAN` make editors of them, called as our generator is.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmagan_lite.attention import he_initialise, instance_norm
from mmagan_lite.config import Config
from mmagan_lite.discriminator import NEGATIVE_SLOPE, Discriminator
from mmagan_lite.expressions import N, decode
from mmagan_lite.generator import Generator, ResidualBlock


class StarGANGenerator(nn.Module):
    r"""StarGAN's generator, :math:`G(x, c) = \tanh(net(x, c))`: one network, all expressions.

    It is `Generator` with both switches off (`mmarm` and `global_residual`). The label, a one-hot
    code, enters as ours does: tiled, and read at the zeros beyond the border. No convolution
    has a bias.

    Parameters
    ----------
    config : Config
        Uses `width`, `blocks` and `he_init`. The original has width 64 and 6 blocks.
    labels : int
        Length of the code c; other than 8 only to compare with published sizes.

    References
    ----------
    Choi et al., "StarGAN", CVPR 2018, table 4.
    """

    def __init__(self, config: Config, labels: int = N) -> None:
        super().__init__()
        self.labels, width = labels, config.width
        self.encoder = nn.Sequential(
            *_normed(nn.Conv2d(3 + labels, width, 7, padding=3, bias=False)),
            *_normed(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False)),
            *_normed(nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1, bias=False)),
        )
        self.blocks = nn.Sequential(*(ResidualBlock(4 * width) for _ in range(config.blocks)))
        self.decoder = nn.Sequential(
            *_normed(nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, padding=1, bias=False)),
            *_normed(nn.ConvTranspose2d(2 * width, width, 4, 2, padding=1, bias=False)),
            nn.Conv2d(width, 3, 7, padding=3, bias=False),
        )
        if config.he_init:
            he_initialise(self)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Draw the expression c on the face x.

        Parameters
        ----------
        x : Tensor of shape (B, 3, H, W)
            Images in [-1, 1]; H and W are multiples of 4, at least 8.
        c : Tensor of shape (B, labels)
            One-hot codes, neutral's too: `F.one_hot(expression, 8).float()`. (`encode` gives
            neutral no code.)

        Returns
        -------
        Tensor of shape (B, 3, H, W)
            Images in [-1, 1].

        Raises
        ------
        ValueError
            If x or c has the wrong shape or type.
        """
        _check(x, multiple=4, least=8)
        if c.shape != (len(x), self.labels) or not c.is_floating_point():
            raise ValueError(
                f"c must hold one float code for each image, shape ({len(x)}, {self.labels}); "
                f"got {c.dtype} of shape {tuple(c.shape)}."
            )
        c_map = c.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        h = self.encoder(torch.cat([x, c_map], 1))  # (B, 4 * width, H/4, W/4)
        return torch.tanh(self.decoder(self.blocks(h)))  # (B, 3, H, W)


class StarGANDiscriminator(nn.Module):
    r"""StarGAN's critic with two heads, :math:`D_{src}` and :math:`D_{cls}`.

    Up to six convolutions of stride 2, with biases and without norm, double the channels each
    time; both heads stand on the last map, 2x2 for images of 32 to 128 pixels. A score of
    the original's six layers sees 318 pixels: more than the image, so "patch" is only a name.

    Parameters
    ----------
    config : Config
        Uses `image_size`, `critic_width`, `conditional_patches` and `he_init`. The original has
        128 pixels, width 64 and no conditional patches.
    labels : int
        Number of class logits.

    References
    ----------
    Choi et al., "StarGAN", CVPR 2018, table 5.
    """

    def __init__(self, config: Config, labels: int = N) -> None:
        super().__init__()
        self.image_size = config.image_size
        depth = min(int(math.log2(config.image_size)) - 1, 6)
        channels = [3] + [config.critic_width * 2**i for i in range(depth)]
        layers = []
        for pair in pairwise(channels):
            layers += [nn.Conv2d(*pair, 4, stride=2, padding=1), nn.LeakyReLU(NEGATIVE_SLOPE)]
        self.trunk = nn.Sequential(*layers)
        self.src = nn.Conv2d(channels[-1], 1, 3, padding=1, bias=False)
        self.cls = nn.Conv2d(channels[-1], labels, config.image_size // 2**depth, bias=False)
        if config.he_init:
            he_initialise(self, NEGATIVE_SLOPE)
        self.embedding = None
        if config.conditional_patches:
            self.embedding = nn.Embedding(labels, channels[-1])
            nn.init.zeros_(self.embedding.weight)

    def forward(self, x: Tensor, expression: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Judge images.

        Parameters
        ----------
        x : Tensor of shape (B, 3, S, S)
            Images in [-1, 1], S = `config.image_size`.
        expression : Tensor of shape (B,), optional
            Labels that the scores are conditioned on with `config.conditional_patches`.

        Returns
        -------
        src : Tensor of shape (B, 1, 2, 2)
            Unbounded scores: higher is more real. (4x4 for images of 256 pixels.)
        cls : Tensor of shape (B, labels)
            Logits of the expressions.

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
        h = self.trunk(x)  # (B, C, 2, 2)
        src = self.src(h)  # (B, 1, 2, 2)
        if self.embedding is not None and expression is not None:
            v = self.embedding(expression)[:, :, None, None]  # (B, C, 1, 1)
            src = src + (v * h).sum(1, keepdim=True)  # (B, 1, 2, 2)
        return src, self.cls(h).flatten(1)


class StarGAN(nn.Module):
    """StarGAN as an editor: called with a code z as our generator is.

    It reads the expression off z and ignores the intensity, for which it has no input.

    Parameters
    ----------
    config : Config
        As for `StarGANGenerator`.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.generator = StarGANGenerator(config)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Draw the expression in z, at the one strength that StarGAN has.

        Parameters
        ----------
        x : Tensor of shape (B, 3, H, W)
            Images in [-1, 1].
        z : Tensor of shape (B, 8)
            Codes from `encode`.

        Returns
        -------
        Tensor of shape (B, 3, H, W)
            Images in [-1, 1].
        """
        expression, _ = decode(z)  # (B,)
        return self.generator(x, F.one_hot(expression, N).to(x.dtype))


class CycleGANGenerator(nn.Module):
    r"""CycleGAN's generator with residual blocks, :math:`G(x) = \tanh(net(x))`.

    It takes no label: a pair of them goes from one expression to one other and back. That is
    why reflection padding, which would erase a label, does no harm in the stem, the blocks and
    the last convolution. The norms have no scale and shift. Every convolution has a bias, and
    the norm behind it subtracts that again; only the last one's has an effect.

    Parameters
    ----------
    config : Config
        Uses `width`, `blocks` and `he_init`. The original has width 64, and 6 blocks for images
        of 128 pixels, 9 for larger ones.

    References
    ----------
    Zhu et al., "Unpaired Image-to-Image Translation", ICCV 2017, section 7.2.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.width
        self.encoder = nn.Sequential(
            *_plainly_normed(nn.Conv2d(3, width, 7, padding=3, padding_mode="reflect")),
            *_plainly_normed(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)),
            *_plainly_normed(nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1)),
        )
        self.blocks = nn.ModuleList(_reflected_body(4 * width) for _ in range(config.blocks))
        # Without the output padding the side would come out one pixel short.
        up = dict(stride=2, padding=1, output_padding=1)
        self.decoder = nn.Sequential(
            *_plainly_normed(nn.ConvTranspose2d(4 * width, 2 * width, 3, **up)),
            *_plainly_normed(nn.ConvTranspose2d(2 * width, width, 3, **up)),
            nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect"),
        )
        _initialise(self, config, negative_slope=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Draw the one expression that this generator knows.

        Parameters
        ----------
        x : Tensor of shape (B, 3, H, W)
            Images in [-1, 1]; H and W are multiples of 4, at least 8.

        Returns
        -------
        Tensor of shape (B, 3, H, W)
            Images in [-1, 1].

        Raises
        ------
        ValueError
            If x has the wrong shape or type.
        """
        _check(x, multiple=4, least=8)
        h = self.encoder(x)  # (B, 4 * width, H/4, W/4)
        for body in self.blocks:
            h = h + body(h)
        return torch.tanh(self.decoder(h))  # (B, 3, H, W)


class CycleGANDiscriminator(nn.Module):
    """CycleGAN's critic, the PatchGAN whose scores see 70x70 pixels each.

    Three convolutions of stride 2 and two of stride 1, all with biases; instance norm, without
    scale and shift, behind the three in the middle.

    Parameters
    ----------
    config : Config
        Uses `critic_width` and `he_init`. The original has width 64.

    References
    ----------
    Isola et al., "pix2pix", CVPR 2017, section 6.1.2; Zhu et al., "Unpaired Image-to-Image
    Translation", ICCV 2017, section 7.2.
    """

    NEGATIVE_SLOPE = 0.2  # of its leaky ReLUs, below zero

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.critic_width
        layers = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(self.NEGATIVE_SLOPE)]
        for channels, stride in ((width, 2), (2 * width, 2), (4 * width, 1)):
            layers += [
                nn.Conv2d(channels, 2 * channels, 4, stride, padding=1),
                nn.InstanceNorm2d(2 * channels),
                nn.LeakyReLU(self.NEGATIVE_SLOPE),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, padding=1))
        _initialise(self, config, self.NEGATIVE_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Judge images.

        Parameters
        ----------
        x : Tensor of shape (B, 3, H, W)
            Images in [-1, 1]; H and W are multiples of 8, at least 24.

        Returns
        -------
        Tensor of shape (B, 1, H/8 - 2, W/8 - 2)
            One unbounded score a patch: 14x14 of them for images of 128 pixels.

        Raises
        ------
        ValueError
            If x has the wrong shape or type.
        """
        _check(x, multiple=8, least=24)
        return self.layers(x)


class CycleGAN(nn.Module):
    """CycleGAN as an editor: two generators for each of the seven pairs neutral - expression.

    One generator only ever goes from one domain to one other, so eight expressions take a
    model for each pair; from one expression to another the way leads through neutral.

    Parameters
    ----------
    config : Config
        As for `CycleGANGenerator`.

    Attributes
    ----------
    forth, back : nn.ModuleList of 7 CycleGANGenerator
        From neutral to the expression with label 1 + i, and from there to neutral.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.forth, self.back = (
            nn.ModuleList(CycleGANGenerator(config) for _ in range(N - 1)) for _ in range(2)
        )

    def forward(self, x: Tensor, z: Tensor, source: Tensor | None = None) -> Tensor:
        """Draw the expression in z, at the one strength that CycleGAN has.

        Parameters
        ----------
        x : Tensor of shape (B, 3, H, W)
            Images in [-1, 1].
        z : Tensor of shape (B, 8)
            Codes from `encode`.
        source : Tensor of shape (B,), optional
            Labels of the expressions in x, which this model has to be told. Default: neutral.

        Returns
        -------
        Tensor of shape (B, 3, H, W)
            Images in [-1, 1]. A face that already has the expression goes through its
            generator all the same, which the identity loss taught to leave it as it is.
        """
        target, _ = decode(z)  # (B,)
        source = torch.zeros_like(target) if source is None else source
        y = x.clone()
        for generators, label in ((self.back, source), (self.forth, target)):
            needed = (source != target) | (generators is self.forth)
            for i, generator in enumerate(generators):
                chosen = (label == 1 + i) & needed  # (B,)
                if chosen.any():
                    y[chosen] = generator(y[chosen]).to(y.dtype)
        return y


class CycleGANCritics(nn.Module):
    """Two critics for each pair of domains, and what CycleGAN shows them: the replay pools.

    Parameters
    ----------
    config : Config
        As for `CycleGANDiscriminator`, and `image_size`.

    Attributes
    ----------
    forth, back : nn.ModuleList of 7 CycleGANDiscriminator
        Critics of the images that `CycleGAN.forth` and `CycleGAN.back` draw.
    """

    POOL = 50  # images, as in the original

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.forth, self.back = (
            nn.ModuleList(CycleGANDiscriminator(config) for _ in range(N - 1)) for _ in range(2)
        )
        side = config.image_size
        self.register_buffer(
            "pool", torch.zeros(2, N - 1, self.POOL, 3, side, side, dtype=torch.uint8)
        )
        self.register_buffer("pooled", torch.zeros(2, N - 1, dtype=torch.long))

    @torch.no_grad()
    def replay(self, way: int, pair: int, images: Tensor, random: torch.Generator) -> Tensor:
        """Half of the time an older image instead of a new one, so that a critic forgets less.

        Parameters
        ----------
        way : {0, 1}
            0 for images of `forth`, 1 for those of `back`.
        pair : int
            0 to 6.
        images : Tensor of shape (B, 3, S, S)
            What a generator has just drawn.
        random : torch.Generator
            On the images' device.

        Returns
        -------
        Tensor of shape (B, 3, S, S)
            For each image itself or one of the last 50 or so, which it then replaces; until
            the pool is full the images themselves. Older ones are rounded to 8 bits.

        References
        ----------
        Shrivastava et al., "Learning from Simulated and Unsupervised Images", CVPR 2017,
        section 2.3.
        """
        shown = images.clone()
        draws = torch.rand(2, len(images), generator=random, device=images.device).tolist()
        for i, (coin, place) in enumerate(zip(*draws, strict=True)):
            filled = int(self.pooled[way, pair])
            if filled < self.POOL:
                slot, old = filled, False
                self.pooled[way, pair] += 1
            else:
                slot, old = int(place * self.POOL), coin < 0.5
                if not old:
                    continue
            kept = self.pool[way, pair, slot]
            if old:
                shown[i] = kept.to(images.dtype) / 127.5 - 1
            kept.copy_(images[i].clamp(-1, 1).add(1).mul(127.5).round())
        return shown


def networks(config: Config) -> tuple[nn.Module, nn.Module]:
    """The generator and the critic of the model that a configuration names, untrained.

    Parameters
    ----------
    config : Config

    Returns
    -------
    generator, critic : nn.Module
        `Generator`, `StarGAN` or `CycleGAN`, and `Discriminator`, `StarGANDiscriminator` or
        `CycleGANCritics`.
    """
    generator, critic = {
        "mmagan": (Generator, Discriminator),
        "stargan": (StarGAN, StarGANDiscriminator),
        "cyclegan": (CycleGAN, CycleGANCritics),
    }[config.model]
    return generator(config), critic(config)


def _normed(conv: nn.Module) -> tuple[nn.Module, ...]:
    """conv-IN-ReLU, as in our generator."""
    return conv, instance_norm(conv.out_channels), nn.ReLU()


def _plainly_normed(conv: nn.Module) -> tuple[nn.Module, ...]:
    """conv-IN-ReLU without scale and shift (PyTorch's default)."""
    return conv, nn.InstanceNorm2d(conv.out_channels), nn.ReLU()


def _reflected_body(channels: int) -> nn.Sequential:
    """CycleGAN's conv-IN-ReLU-conv-IN: reflected borders, biases, plain norms."""
    first, second = (
        nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect") for _ in range(2)
    )
    return nn.Sequential(*_plainly_normed(first), second, nn.InstanceNorm2d(channels))


def _initialise(network: nn.Module, config: Config, negative_slope: float) -> None:
    """He's initialisation, or CycleGAN's: normal of standard deviation 0.02. Biases are 0."""
    he_initialise(network, negative_slope)
    if not config.he_init:
        for parameter in network.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)


def _check(x: Tensor, multiple: int, least: int) -> None:
    """Raise ValueError unless x are float images whose sides fit."""
    if x.dim() != 4 or x.shape[1] != 3 or not x.is_floating_point():
        raise ValueError(
            f"x must be float images of shape (B, 3, H, W) in [-1, 1]; "
            f"got {x.dtype} of shape {tuple(x.shape)}."
        )
    height, width = x.shape[2:]
    if height % multiple or width % multiple or min(height, width) < least:
        raise ValueError(
            f"Height and width of x must be multiples of {multiple}, at least {least}; got "
            f"{height} x {width}. Resize or pad the images first."
        )
