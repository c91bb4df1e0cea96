"""Channel and spatial attention, and the block that mixes both over several scales (MMARM)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(NamedTuple):
    """What one MMARM attended to; every weight lies in (0, 1)."""

    channel: Tensor  # (B, C)
    spatial: Tensor  # (B, 1, h, w)


def instance_norm(channels: int) -> nn.InstanceNorm2d:
    """Instance normalisation with a learned scale and shift and no running statistics.

    StarGAN's keeps running statistics, so its output changes after `eval()`; ours does not.
    """
    return nn.InstanceNorm2d(channels, affine=True, track_running_stats=False)


def residual_body(channels: int) -> nn.Sequential:
    """The body of a residual block, (B, C, h, w) to the same shape: conv-IN-ReLU-conv-IN.

    The convolutions carry no bias: the norm behind each would subtract it again.
    """
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        instance_norm(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        instance_norm(channels),
    )


class ChannelAttention(nn.Module):
    r"""Which channels matter: :math:`\sigma(MLP(avg\,F) + MLP(max\,F))`.

    Parameters
    ----------
    channels : int
        C, the number of channels of the features.
    reduction : int
        The MLP's hidden layer has C / `reduction` units, at least 4.

    References
    ----------
    Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018, equation (2).
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Weights in (0, 1), shape (B, C), for features of shape (B, C, h, w)."""
        average = features.mean((2, 3))  # (B, C)
        maximum = features.amax((2, 3))  # (B, C)
        return torch.sigmoid(self.mlp(average) + self.mlp(maximum))  # (B, C)


class SpatialAttention(nn.Module):
    r"""Which places matter: :math:`\sigma(conv[mean\,F; max\,F])`, over the channels.

    The original has a batch norm before the sigmoid. We leave it out: it would tie the images
    of a small batch together and make `train()` and `eval()` differ.

    Parameters
    ----------
    kernel_size : int
        Side of the convolution's kernel, odd.

    References
    ----------
    Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018, equation (3).
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, features: Tensor) -> Tensor:
        """Weights in (0, 1), shape (B, 1, h, w), for features of shape (B, C, h, w)."""
        average = features.mean(1, keepdim=True)  # (B, 1, h, w)
        maximum = features.amax(1, keepdim=True)  # (B, 1, h, w)
        return torch.sigmoid(self.conv(torch.cat([average, maximum], 1)))  # (B, 1, h, w)


class EncoderDecoder(nn.Module):
    """Features seen at three scales: h, h/2 and h/4, joined by additive skips.

    One norm at the end, over all channels at once, makes the result as strong as that of the
    body it is added to. Instance norm would not do here: it sets the mean of every channel to a
    constant, and that mean is all that the average pooling of `ChannelAttention` sees.

    Parameters
    ----------
    channels : int
        C of the input and output; inside there are C / 4, at least 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 4, 4)
        self.enter = nn.Conv2d(channels, inner, 1)
        self.down1 = nn.Conv2d(inner, inner, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(inner, inner, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(inner, inner, 3, padding=1)
        self.up1 = nn.Conv2d(inner, inner, 3, padding=1)
        self.up0 = nn.Conv2d(inner, inner, 3, padding=1)
        self.leave = nn.Conv2d(inner, channels, 1)
        self.norm = nn.GroupNorm(1, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape as x, (B, C, h, w); h and w are multiples of 4."""
        e0 = F.relu(self.enter(x))  # (B, C/4, h, w)
        e1 = F.relu(self.down1(e0))  # (B, C/4, h/2, w/2)
        e2 = F.relu(self.down2(e1))  # (B, C/4, h/4, w/4)
        d2 = F.relu(self.middle(e2))  # (B, C/4, h/4, w/4)
        # The skips bring back the detail that the strides threw away.
        d1 = F.relu(self.up1(F.interpolate(d2, scale_factor=2))) + e1  # (B, C/4, h/2, w/2)
        d0 = F.relu(self.up0(F.interpolate(d1, scale_factor=2))) + e0  # (B, C/4, h, w)
        return self.norm(self.leave(d0))  # (B, C, h, w)


class MMARM(nn.Module):
    r"""Multi-scale mixed attention residual module, the paper's block (its figure 2).

    .. math:: y = x + SA(CA(Body(x) + ED(x)))

    The encoder-decoder ED sees several scales, Body is that of a plain residual block; channel
    attention CA and then spatial attention SA weight their sum. The paper names these parts
    and draws the order; sizes inside ED are ours.

    Parameters
    ----------
    channels : int
        C of the input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = residual_body(channels)
        self.encoder_decoder = EncoderDecoder(channels)
        self.channel_attention = ChannelAttention(channels)
        self.spatial_attention = SpatialAttention()

    def forward(self, x: Tensor) -> tuple[Tensor, Attention]:
        """Refine features and say where to.

        Parameters
        ----------
        x : Tensor of shape (B, C, h, w)
            h and w are multiples of 4.

        Returns
        -------
        y : Tensor of shape (B, C, h, w)
        attention : Attention
        """
        features = self.body(x) + self.encoder_decoder(x)  # (B, C, h, w)
        channel = self.channel_attention(features)  # (B, C)
        features = features * channel[:, :, None, None]
        spatial = self.spatial_attention(features)  # (B, 1, h, w)
        return x + features * spatial, Attention(channel, spatial)


def he_initialise(network: nn.Module, negative_slope: float = 0.0) -> None:
    """Draw the weights of every convolution from He's normal distribution, in place.

    Attention gates keep PyTorch's smaller default: their sigmoids should start undecided.

    Parameters
    ----------
    network : nn.Module
    negative_slope : float
        Slope of the leaky ReLUs between the convolutions; 0 for ReLU.

    References
    ----------
    He et al., "Delving Deep into Rectifiers", ICCV 2015, equation (15).
    """
    if isinstance(network, ChannelAttention | SpatialAttention):
        return
    if isinstance(network, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(network.weight, negative_slope)
        if network.bias is not None:
            nn.init.zeros_(network.bias)
    for child in network.children():
        he_initialise(child, negative_slope)
