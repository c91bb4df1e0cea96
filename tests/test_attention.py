"""Attention against CBAM's formulas in torch functional, and MMARM's properties."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmagan_lite.attention import (
    MMARM,
    ChannelAttention,
    EncoderDecoder,
    SpatialAttention,
    he_initialise,
    residual_body,
)


def channel_oracle(attention, features):
    """CBAM's channel gate from pooling layers and 1x1 convolutions."""
    first, _, second = attention.mlp

    def mlp(pooled):
        hidden = F.relu(F.conv2d(pooled, first.weight[:, :, None, None], first.bias))
        return F.conv2d(hidden, second.weight[:, :, None, None], second.bias)

    pools = F.adaptive_avg_pool2d(features, 1), F.adaptive_max_pool2d(features, 1)
    return torch.sigmoid(mlp(pools[0]) + mlp(pools[1]))  # (B, C, 1, 1)


def spatial_oracle(attention, features):
    """CBAM's spatial gate; pooling over channels as 1-D pooling along them."""
    batch, channels, h, w = features.shape
    rows = features.flatten(2).transpose(1, 2)  # (B, h * w, C)
    pools = [pool(rows, channels) for pool in (F.avg_pool1d, F.max_pool1d)]
    maps = torch.cat(pools, 2).transpose(1, 2).reshape(batch, 2, h, w)
    maps = F.pad(maps, (3, 3, 3, 3))
    return torch.sigmoid(F.conv2d(maps, attention.conv.weight, attention.conv.bias))


def test_channel_attention_by_hand():
    attention = ChannelAttention(2)
    first, _, second = attention.mlp
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
        first.weight[0] = torch.tensor([1.0, 0.0])  # the hidden unit reads channel 0
        second.weight[:, 0] = torch.tensor([1.0, -1.0])
    features = torch.tensor([[[[0.0, 2.0], [4.0, 2.0]], [[9.0, 9.0], [9.0, 9.0]]]])
    # Channel 0 has mean 2 and maximum 4: the logits are +6 and -6.
    expected = torch.sigmoid(torch.tensor([[6.0, -6.0]]))
    torch.testing.assert_close(attention(features), expected)


@pytest.mark.parametrize("channels", [4, 64, 256])
def test_channel_attention_equals_cbam(channels):
    torch.manual_seed(0)
    attention, features = ChannelAttention(channels), torch.randn(3, channels, 6, 5)
    expected = channel_oracle(attention, features).flatten(1)
    torch.testing.assert_close(attention(features), expected)


def test_channel_attention_keeps_four_hidden_units_in_narrow_networks():
    hidden = [ChannelAttention(channels).mlp[0].out_features for channels in (8, 64, 256)]
    assert hidden == [4, 4, 16]


def test_spatial_attention_equals_cbam():
    torch.manual_seed(0)
    attention, features = SpatialAttention(), torch.randn(3, 10, 6, 5)
    torch.testing.assert_close(attention(features), spatial_oracle(attention, features))


def test_the_residual_body_is_convolution_norm_relu_convolution_norm():
    torch.manual_seed(0)
    body, x = residual_body(6).double(), torch.randn(2, 6, 5, 7, dtype=torch.float64)
    for parameter in body.parameters():
        nn.init.normal_(parameter)
    first, scale1, shift1, second, scale2, shift2 = body.parameters()
    h = F.conv2d(F.pad(x, (1, 1, 1, 1)), first)
    h = F.relu(F.instance_norm(h, weight=scale1, bias=shift1))
    h = F.conv2d(F.pad(h, (1, 1, 1, 1)), second)
    expected = F.instance_norm(h, weight=scale2, bias=shift2)
    torch.testing.assert_close(body(x), expected)
    torch.testing.assert_close(body.eval()(x), expected)
    assert list(body.buffers()) == []  # no running statistics


def test_mmarm_adds_channel_then_spatially_weighted_features_to_its_input():
    torch.manual_seed(0)
    block, x = MMARM(32), torch.randn(2, 32, 8, 12)
    y, attention = block(x)
    features = block.body(x) + block.encoder_decoder(x)
    channel = channel_oracle(block.channel_attention, features)
    spatial = spatial_oracle(block.spatial_attention, features * channel)
    torch.testing.assert_close(y, x + spatial * (channel * features))
    torch.testing.assert_close(attention.channel, channel.flatten(1))
    torch.testing.assert_close(attention.spatial, spatial)


@pytest.mark.parametrize("size", [(4, 4), (8, 4), (16, 20)])
def test_mmarm_keeps_the_shape_and_its_weights_are_fractions(size):
    torch.manual_seed(0)
    x = torch.randn(2, 8, *size)
    y, attention = MMARM(8)(x)
    assert y.shape == x.shape
    assert attention.channel.shape == (2, 8)
    assert attention.spatial.shape == (2, 1, *size)
    for weights in attention:
        assert ((weights > 0) & (weights < 1)).all()


def test_mmarm_with_closed_gates_is_the_identity():
    block, x = MMARM(8), torch.randn(2, 8, 8, 8)
    nn.init.constant_(block.spatial_attention.conv.bias, -1000)
    assert torch.equal(block(x)[0], x)


def test_every_parameter_of_mmarm_learns():
    torch.manual_seed(0)
    block = MMARM(16)
    (block(torch.randn(2, 16, 8, 8))[0] * torch.randn(2, 16, 8, 8)).sum().backward()
    idle = [name for name, p in block.named_parameters() if not p.grad.abs().sum() > 0]
    assert idle == []


def silence(*layers):
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def test_encoder_decoder_skips_are_additive_at_both_scales():
    torch.manual_seed(0)
    net, x = EncoderDecoder(16), torch.randn(2, 16, 8, 8)
    e0 = F.relu(net.enter(x))
    e1 = F.relu(net.down1(e0))
    silence(net.up1)  # nothing comes from the deepest scale: d1 is the skip alone
    doubled = e1.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(net(x), net.norm(net.leave(F.relu(net.up0(doubled)) + e0)))
    silence(net.up0)
    torch.testing.assert_close(net(x), net.norm(net.leave(e0)))


def test_the_encoder_decoder_equals_its_layers_in_torch_functional():
    torch.manual_seed(0)
    net, x = EncoderDecoder(16), torch.randn(2, 16, 8, 12)

    def conv(layer, x, stride=1):
        edge = layer.weight.shape[-1] // 2
        return F.conv2d(F.pad(x, (edge,) * 4), layer.weight, layer.bias, stride)

    def doubled(x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    e0 = F.relu(conv(net.enter, x))
    e1 = F.relu(conv(net.down1, e0, stride=2))
    d2 = F.relu(conv(net.middle, F.relu(conv(net.down2, e1, stride=2))))
    d1 = F.relu(conv(net.up1, doubled(d2))) + e1
    out = conv(net.leave, F.relu(conv(net.up0, doubled(d1))) + e0)
    mean = out.mean((1, 2, 3), keepdim=True)
    spread = (out.var((1, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(net(x), (out - mean) / spread)


def test_encoder_decoder_sees_further_than_the_body():
    torch.manual_seed(0)
    block, x = MMARM(16), torch.randn(1, 16, 32, 32, requires_grad=True)
    block.encoder_decoder.norm = nn.Identity()  # a norm over space sees everything
    for layer in (1, 4):
        block.body[layer] = nn.Identity()
    sides = []
    for part in (block.body, block.encoder_decoder):
        (gradient,) = torch.autograd.grad(part(x)[0, :, 16, 16].sum(), x)
        sides.append(int((gradient[0].abs().sum((0, 1)) > 0).sum()))
    assert sides[0] == 5  # two 3x3 convolutions
    assert sides[1] > 15


def test_average_pooling_sees_the_encoder_decoder_but_not_the_body():
    torch.manual_seed(0)
    block, x = MMARM(16), torch.randn(8, 16, 8, 8) * torch.rand(8, 16, 1, 1)
    spread = [part(x).mean((2, 3)).std(0).mean() for part in (block.body, block.encoder_decoder)]
    assert spread[0] < 1e-6  # instance norm fixes each channel's mean
    assert spread[1] > 1e-2


def test_he_initialisation_spares_the_gates():
    torch.manual_seed(0)
    block = MMARM(64)
    gates = [p.clone() for p in block.spatial_attention.parameters()]
    he_initialise(block)
    for before, after in zip(gates, block.spatial_attention.parameters(), strict=True):
        assert torch.equal(before, after)
    weight = block.body[0].weight  # fan-in 64 * 3 * 3
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    assert not block.encoder_decoder.middle.bias.any()


def test_he_initialisation_counts_the_inputs_and_minds_the_slope_at_every_depth():
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 256, 3)
    he_initialise(nn.Sequential(nn.Sequential(conv)), negative_slope=1.0)
    assert conv.weight.std().item() == pytest.approx((1 / (16 * 9)) ** 0.5, rel=0.03)
    assert not conv.bias.any()
