"""The generator: a face and a code z in, the same face with another expression out."""

import torch
from torch import Tensor, nn

from mmagan_lite.attention import (
    MMARM,
    Attention,
    he_initialise,
    instance_norm,
    residual_body,
)
from mmagan_lite.config import Config
from mmagan_lite.expressions import N


class ResidualBlock(nn.Module):
    """A plain residual block, y = x + Body(x): StarGAN's, and the ablation "w/o MMAR".

    Parameters
    ----------
    channels : int
        C of the input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = residual_body(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape as x, (B, C, h, w)."""
        return x + self.body(x)


class Generator(nn.Module):
    r"""The generator G(x, z) of figure 2.

    .. math:: G(x, z) = \tanh(net(x, z)) + x

    The network draws only the change; the global residual connection (GRC) brings the photo
    itself. Without it (`config.global_residual=False`) the output is tanh(net(x, z)).
    The trunk is StarGAN's: two convolutions of stride 2, blocks, two transposed convolutions.

    Every convolution pads with zeros, and must. The tiled code z adds a constant to each
    channel, which instance norm subtracts again; with reflection padding nothing of z is left.
    Zeros beyond the border break the constant there, and that ring is how z gets in (or, with
    `config.stem_norm=False`, everywhere).

    Parameters
    ----------
    config : Config
        Uses `width`, `blocks`, `mmarm`, `global_residual`, `stem_norm` and `he_init`.

    References
    ----------
    Choi et al., "StarGAN", CVPR 2018, table 4 (the trunk); Akram and Khan, "US-GAN", 2023
    (the image added to tanh of the network).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, stem_norm = config.width, config.stem_norm
        self.encoder = nn.Sequential(
            nn.Conv2d(3 + N, width, 7, padding=3, bias=not stem_norm),
            instance_norm(width) if stem_norm else nn.Identity(),
            nn.ReLU(),
            *_downsample(width, 2 * width),
            *_downsample(2 * width, 4 * width),
        )
        block = MMARM if config.mmarm else ResidualBlock
        self.blocks = nn.ModuleList(block(4 * width) for _ in range(config.blocks))
        self.decoder = nn.Sequential(
            *_upsample(4 * width, 2 * width),
            *_upsample(2 * width, width),
            nn.Conv2d(width, 3, 7, padding=3, bias=False),
        )
        if config.he_init:
            he_initialise(self)
        if config.global_residual:  # start near the identity, so that training edits the photo
            with torch.no_grad():
                self.decoder[-1].weight.mul_(0.1)

    def forward(
        self, x: Tensor, z: Tensor, return_attention: bool = False
    ) -> Tensor | tuple[Tensor, list[Attention]]:
        """Draw the expression z on the face x.

        Parameters
        ----------
        x : Tensor of shape (B, 3, H, W)
            Images in [-1, 1]; H and W are multiples of 16.
        z : Tensor of shape (B, 8)
            Codes from `encode`.
        return_attention : bool
            Also return where each block looked.

        Returns
        -------
        y : Tensor of shape (B, 3, H, W)
            Images in [-2, 2] with the global residual: clamp to [-1, 1] for display only, a
            clamp in training would stop the gradient. In [-1, 1] without it.
        attention : list of Attention
            Only with `return_attention`: one a block, none for plain residual blocks.

        Raises
        ------
        ValueError
            If x or z has the wrong shape or type.
        """
        _check(x, z)
        batch, _, height, width = x.shape
        z_map = z.to(x.dtype)[:, :, None, None].expand(batch, N, height, width)
        h = self.encoder(torch.cat([x, z_map], 1))  # (B, 4 * width, H/4, W/4)
        attention = []
        for block in self.blocks:
            if isinstance(block, MMARM):
                h, looked_at = block(h)
                attention.append(looked_at)
            else:
                h = block(h)
        y = torch.tanh(self.decoder(h))  # (B, 3, H, W)
        if self.config.global_residual:
            y = y + x
        return (y, attention) if return_attention else y


def _downsample(channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    """Half the side: conv-IN-ReLU."""
    conv = nn.Conv2d(channels, out_channels, 4, stride=2, padding=1, bias=False)
    return conv, instance_norm(out_channels), nn.ReLU()


def _upsample(channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    """Twice the side: transposed conv-IN-ReLU (the paper's "deconvolution")."""
    conv = nn.ConvTranspose2d(channels, out_channels, 4, stride=2, padding=1, bias=False)
    return conv, instance_norm(out_channels), nn.ReLU()


def _check(x: Tensor, z: Tensor) -> None:
    """Raise ValueError unless x and z fit the generator."""
    if x.dim() != 4 or x.shape[1] != 3 or not x.is_floating_point():
        raise ValueError(
            f"x must be float images of shape (B, 3, H, W) in [-1, 1]; "
            f"got {x.dtype} of shape {tuple(x.shape)}."
        )
    if x.shape[2] % 16 or x.shape[3] % 16 or 0 in x.shape:
        raise ValueError(
            f"Height and width of x must be multiples of 16; got {x.shape[2]} x {x.shape[3]}. "
            f"Resize or pad the images first."
        )
    if z.shape != (len(x), N) or not z.is_floating_point():
        raise ValueError(
            f"z must hold one float code for each image, shape ({len(x)}, {N}), as from encode; "
            f"got {z.dtype} of shape {tuple(z.shape)}."
        )
