"""Exercises of notebook 03: multi-scale mixed attention."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmagan_lite import attention
from mmagan_lite.attention import Attention
from mmagan_lite.exercises.room import exercise, with_weights_of


def _drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _made(seed, make, *arguments):
    """A part of the package with random weights, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(*arguments).eval()


def _filled(module, **values):
    """A part of the package whose weights are 0, except those named (dots as underscores)."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.zero_()
            for key, (index, value) in values.items():
                if key == name.replace(".", "_"):
                    parameter[index] = torch.as_tensor(value, dtype=parameter.dtype)
    return module.eval()


def _apply(answer, ours, size, x):
    """A learner's class with the weights of our part at work; nothing from a mere stub."""
    theirs = answer(size)
    return None if theirs is None else with_weights_of(ours, theirs).eval()(x)


def _in_each_block(name, build):
    """Puts an answer in the place of the part `name` of every MMARM, with its weights."""

    def install(model, answer):
        for block in model.blocks:
            ours = getattr(block, name)
            setattr(block, name, with_weights_of(ours, build(answer, ours)).eval())

    return install


# ------------------------------------------------------------------------------- channel_pool


@exercise("03", "Summarise every channel by two numbers: its average and its maximum over space.")
def channel_pool(features: Tensor) -> tuple[Tensor, Tensor]:
    """Features (B, C, h, w) as averages (B, C) and maxima (B, C)."""
    return features.mean((2, 3)), features.amax((2, 3))


channel_pool.worked.append(
    (
        (torch.tensor([[[[1.0, 3.0], [5.0, 3.0]], [[2.0, 0.0], [0.0, 2.0]]]]),),
        (torch.tensor([[3.0, 1.0]]), torch.tensor([[5.0, 2.0]])),
    )
)


@channel_pool.case
def _three_faces():
    return (_drawn(0, 3, 5, 4, 6),)


@channel_pool.case
def _all_below_zero():
    return (-1 - _drawn(1, 2, 4, 3, 3).abs(),)


@channel_pool.use_oracle
def _by_pooling_layers(features):
    pools = F.adaptive_avg_pool2d(features, 1), F.adaptive_max_pool2d(features, 1)
    return tuple(pool.flatten(1) for pool in pools)


@channel_pool.misconception(
    "pools over the batch too, so that all faces share one summary",
    "which dimensions hold height and width? Dimension 0 counts the faces.",
)
def _over_the_batch(features):
    batch = len(features)
    mean, maximum = features.mean((0, 2, 3)), features.amax((0, 2, 3))
    return mean.expand(batch, -1), maximum.expand(batch, -1)


@channel_pool.misconception(
    "pools over the channels and keeps the places",
    "that is what *spatial* attention does. Here one pair of numbers a channel should be left.",
)
def _over_the_channels(features):
    return features.mean(1), features.amax(1)


@channel_pool.misconception(
    "returns the maximum before the average",
    "the order of what you return is the order of the equation.",
)
def _maximum_first(features):
    return features.amax((2, 3)), features.mean((2, 3))


@channel_pool.misconception(
    "adds up instead of averaging",
    "should a summary grow when the same face is drawn larger?",
)
def _sums(features):
    return features.sum((2, 3)), features.amax((2, 3))


@channel_pool.misconception(
    "takes the largest size instead of the largest value",
    "features may be negative. Is −5 larger than 2?",
)
def _largest_size(features):
    return features.mean((2, 3)), features.abs().amax((2, 3))


# --------------------------------------------------------------------------------- shared_mlp


@exercise("03", "Send both summaries through the same two layers and add what comes out.")
def shared_mlp(average: Tensor, maximum: Tensor, first: nn.Linear, second: nn.Linear) -> Tensor:
    """Summaries (B, C) each and two layers, C to C/r and back: logits (B, C)."""

    def mlp(pooled):
        return second(F.relu(first(pooled)))

    return mlp(average) + mlp(maximum)


def _layers(seed, channels=6, hidden=4):
    return _made(seed, nn.Linear, channels, hidden), _made(seed + 1, nn.Linear, hidden, channels)


shared_mlp.worked.append(
    (
        (
            torch.tensor([[3.0, 1.0]]),
            torch.tensor([[5.0, 2.0]]),
            _filled(nn.Linear(2, 1), weight=(0, [1.0, 0.0]), bias=(0, -4.0)),
            _filled(nn.Linear(1, 2), weight=(slice(None), [[1.0], [-1.0]]), bias=(0, 1.0)),
        ),
        torch.tensor([[3.0, -1.0]]),
    )
)


@shared_mlp.case
def _two_faces_six_channels():
    return (_drawn(2, 2, 6), _drawn(3, 2, 6).abs(), *_layers(10))


@shared_mlp.case
def _large_summaries():
    return (3 * _drawn(4, 3, 6), 4 + _drawn(5, 3, 6), *_layers(20))


@shared_mlp.use_oracle
def _number_by_number(average, maximum, first, second):
    rows = []
    for pooled in zip(average.double(), maximum.double(), strict=True):
        logits = torch.zeros(second.out_features, dtype=torch.float64)
        for vector in pooled:
            hidden = [
                max(0.0, (w * vector).sum() + b)
                for w, b in zip(first.weight.double(), first.bias.double(), strict=True)
            ]
            for c in range(len(logits)):
                logits[c] += second.bias[c].double()
                logits[c] += sum(second.weight[c, j].double() * h for j, h in enumerate(hidden))
        rows.append(logits.detach())
    return torch.stack(rows)


@shared_mlp.misconception(
    "adds the two summaries first and uses the layers once",
    "between the layers stands a ReLU. Is relu(a + b) the same as relu(a) + relu(b)?",
)
def _summed_first(average, maximum, first, second):
    return second(F.relu(first(average + maximum)))


@shared_mlp.misconception(
    "leaves out the ReLU between the layers",
    "two linear layers without anything between them are one linear layer.",
)
def _linear(average, maximum, first, second):
    return second(first(average)) + second(first(maximum))


@shared_mlp.misconception(
    "averages the two results instead of adding them",
    "the equation has a plus sign and no 2 below it.",
)
def _mean_of_both(average, maximum, first, second):
    return (second(F.relu(first(average))) + second(F.relu(first(maximum)))) / 2


@shared_mlp.misconception(
    "adds the hidden units, so that the second bias counts once",
    "each summary takes the *whole* way through both layers. How often does it meet each bias?",
)
def _bias_once(average, maximum, first, second):
    return second(F.relu(first(average)) + F.relu(first(maximum)))


@shared_mlp.misconception(
    "uses the average only",
    "a small, strong spot hardly moves an average. What was the second summary for?",
)
def _average_only(average, maximum, first, second):
    return second(F.relu(first(average)))


@shared_mlp.misconception(
    "puts the sigmoid in already",
    "return logits: any size, any sign. The gate comes in the next exercise.",
)
def _gated(average, maximum, first, second):
    return torch.sigmoid(shared_mlp.reference(average, maximum, first, second))


# --------------------------------------------------------------------------- ChannelAttention


class _Channel(nn.Module):
    """The layers of the gate, for the answers below."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )


@exercise("03", "Write channel attention, CBAM's equation (2): one weight in (0, 1) a channel.")
class ChannelAttention(_Channel):
    """Features (B, C, h, w) in, weights (B, C) out."""

    def forward(self, features: Tensor) -> Tensor:
        """Add the MLP of both poolings, then squash."""
        return torch.sigmoid(self.mlp(features.mean((2, 3))) + self.mlp(features.amax((2, 3))))


@ChannelAttention.runs
def _channel_gate_at_work(answer, ours, features):
    return _apply(answer, ours, ours.mlp[0].in_features, features)


ChannelAttention.worked.append(
    (
        (
            _filled(
                attention.ChannelAttention(2),
                mlp_0_weight=(0, [1.0, 0.0]),
                mlp_0_bias=(0, -4.0),
                mlp_2_weight=((slice(None), 0), [1.0, -1.0]),
                mlp_2_bias=(0, 1.0),
            ),
            torch.tensor([[[[1.0, 3.0], [5.0, 3.0]], [[2.0, 0.0], [0.0, 2.0]]]]),
        ),
        torch.sigmoid(torch.tensor([[3.0, -1.0]])),
    )
)


@ChannelAttention.case
def _eight_channels():
    return _made(1, attention.ChannelAttention, 8), 2 * _drawn(6, 3, 8, 5, 4)


@ChannelAttention.case
def _eighty_channels():
    return _made(2, attention.ChannelAttention, 80), 3 * _drawn(7, 2, 80, 4, 4)


@ChannelAttention.use_oracle
def _channel_gate_from_convolutions(ours, features):
    first, _, second = ours.mlp
    logits = 0
    for pool in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
        hidden = F.relu(F.conv2d(pool(features, 1), first.weight[:, :, None, None], first.bias))
        logits = logits + F.conv2d(hidden, second.weight[:, :, None, None], second.bias)
    return torch.sigmoid(logits).flatten(1)


@ChannelAttention.holds("the weights of a face do not depend on the others in its batch")
def _alone_or_together(answer):
    ours, features = _eight_channels()
    theirs = with_weights_of(ours, answer(8))
    return torch.allclose(theirs(features)[:1], theirs(features[:1]), atol=1e-6)


@ChannelAttention.misconception(
    "lets channels compete: a softmax instead of a sigmoid",
    "may two channels both matter? With your gate, all weights of a face add up to 1.",
)
class _SoftmaxOverChannels(_Channel):
    def forward(self, features):
        logits = self.mlp(features.mean((2, 3))) + self.mlp(features.amax((2, 3)))
        return logits.softmax(1)


@ChannelAttention.misconception(
    "pools over the batch, so that every face gets the same weights",
    "your gate gives a face other weights when it comes in other company.",
)
class _PoolsOverTheBatch(_Channel):
    def forward(self, features):
        mean, maximum = features.mean((0, 2, 3)), features.amax((0, 2, 3))
        weights = torch.sigmoid(self.mlp(mean) + self.mlp(maximum))
        return weights.expand(len(features), -1)


@ChannelAttention.misconception(
    "squashes each of the two before adding, so that weights reach up to 2",
    "how large can the sum of two sigmoids be?",
)
class _TwoSigmoids(_Channel):
    def forward(self, features):
        pools = features.mean((2, 3)), features.amax((2, 3))
        return sum(torch.sigmoid(self.mlp(pool)) for pool in pools)


@ChannelAttention.misconception(
    "adds the poolings before the MLP",
    "there is a ReLU inside the MLP, so the order of adding and the MLP matters.",
)
class _AddsThePoolings(_Channel):
    def forward(self, features):
        return torch.sigmoid(self.mlp(features.mean((2, 3)) + features.amax((2, 3))))


@ChannelAttention.misconception(
    "returns the logits without a sigmoid",
    "a weight should lie between 0, closed, and 1, open.",
)
class _Logits(_Channel):
    def forward(self, features):
        return self.mlp(features.mean((2, 3))) + self.mlp(features.amax((2, 3)))


@ChannelAttention.misconception(
    "returns the weighted features instead of the weights",
    "the block itself will multiply. Return one number a channel: (B, C).",
)
class _WeightedFeatures(_Channel):
    def forward(self, features):
        logits = self.mlp(features.mean((2, 3))) + self.mlp(features.amax((2, 3)))
        return features * torch.sigmoid(logits)[:, :, None, None]


ChannelAttention.installs(
    _in_each_block("channel_attention", lambda answer, ours: answer(ours.mlp[0].in_features))
)


# --------------------------------------------------------------------------- SpatialAttention


class _Spatial(nn.Module):
    """The convolution of the gate, for the answers below."""

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)


@exercise("03", "Write spatial attention, CBAM's equation (3): one weight in (0, 1) a place.")
class SpatialAttention(_Spatial):
    """Features (B, C, h, w) in, weights (B, 1, h, w) out."""

    def forward(self, features: Tensor) -> Tensor:
        """Two maps, one convolution, then squash."""
        average = features.mean(1, keepdim=True)
        maximum = features.amax(1, keepdim=True)
        return torch.sigmoid(self.conv(torch.cat([average, maximum], 1)))


@SpatialAttention.runs
def _spatial_gate_at_work(answer, ours, features):
    return _apply(answer, ours, ours.conv.kernel_size[0], features)


SpatialAttention.worked.append(
    (
        (
            _filled(
                attention.SpatialAttention(3),
                conv_weight=((0, slice(None), 1), [[1.0, 1.0, 1.0], [0.0, -1.0, 0.0]]),
                conv_bias=(0, -1.0),
            ),
            torch.tensor([[[[1.0, 2.0, 3.0]], [[3.0, 2.0, 5.0]]]]),
        ),
        torch.sigmoid(torch.tensor([[[[0.0, 5.0, 0.0]]]])),
    )
)


@SpatialAttention.case
def _seven_by_seven():
    return _made(3, attention.SpatialAttention), 3 * _drawn(8, 2, 6, 8, 10)


@SpatialAttention.case
def _three_by_three():
    return _made(4, attention.SpatialAttention, 3), 3 * _drawn(9, 3, 4, 5, 5)


@SpatialAttention.use_oracle
def _spatial_gate_from_pooling_along_channels(ours, features):
    batch, channels, h, w = features.shape
    places = features.flatten(2).transpose(1, 2)  # (B, h * w, C)
    pools = [pool(places, channels) for pool in (F.avg_pool1d, F.max_pool1d)]
    maps = torch.cat(pools, 2).transpose(1, 2).reshape(batch, 2, h, w)
    edge = ours.conv.kernel_size[0] // 2
    maps = F.pad(maps, (edge, edge, edge, edge))
    return torch.sigmoid(F.conv2d(maps, ours.conv.weight, ours.conv.bias))


@SpatialAttention.misconception(
    "puts the maximum before the average",
    "the weights were learned for one order: [average; maximum].",
)
class _MaximumFirst(_Spatial):
    def forward(self, features):
        pools = [features.amax(1, keepdim=True), features.mean(1, keepdim=True)]
        return torch.sigmoid(self.conv(torch.cat(pools, 1)))


@SpatialAttention.misconception(
    "pools over the places and so loses where things are",
    "a map of places is wanted: which dimension has to go, and which two have to stay?",
)
class _PoolsOverPlaces(_Spatial):
    def forward(self, features):
        pools = features.mean((1, 2, 3)), features.amax((1, 2, 3))
        maps = torch.stack(pools, 1)[:, :, None, None].expand(-1, -1, *features.shape[2:])
        return torch.sigmoid(self.conv(maps))


@SpatialAttention.misconception(
    "lets places compete: a softmax over the map instead of a sigmoid",
    "may both corners of the mouth be fully open? With your gate the whole map adds up to 1.",
)
class _SoftmaxOverPlaces(_Spatial):
    def forward(self, features):
        pools = [features.mean(1, keepdim=True), features.amax(1, keepdim=True)]
        logits = self.conv(torch.cat(pools, 1))
        return logits.flatten(1).softmax(1).view_as(logits)


@SpatialAttention.misconception(
    "uses the average for both maps",
    "a place where one channel shouts and all others are silent: which pooling sees it?",
)
class _AverageTwice(_Spatial):
    def forward(self, features):
        average = features.mean(1, keepdim=True)
        return torch.sigmoid(self.conv(torch.cat([average, average], 1)))


@SpatialAttention.misconception(
    "returns the logits without a sigmoid",
    "a weight should lie between 0, closed, and 1, open.",
)
class _MapOfLogits(_Spatial):
    def forward(self, features):
        pools = [features.mean(1, keepdim=True), features.amax(1, keepdim=True)]
        return self.conv(torch.cat(pools, 1))


@SpatialAttention.misconception(
    "drops the dimension of the channel",
    "(B, 1, h, w) can be multiplied with (B, C, h, w); (B, h, w) cannot.",
)
class _NoChannel(_Spatial):
    def forward(self, features):
        pools = [features.mean(1, keepdim=True), features.amax(1, keepdim=True)]
        return torch.sigmoid(self.conv(torch.cat(pools, 1)))[:, 0]


SpatialAttention.installs(
    _in_each_block("spatial_attention", lambda answer, ours: answer(ours.conv.kernel_size[0]))
)


# ---------------------------------------------------------------------------- mixed_attention


@exercise("03", "Mix both gates: channels first, then places, as seen after the first gate.")
def mixed_attention(features: Tensor, channel_gate, spatial_gate) -> Tensor:
    """Features (B, C, h, w) and gates giving (B, C) and (B, 1, h, w): weighted features."""
    features = features * channel_gate(features)[:, :, None, None]
    return features * spatial_gate(features)


def _averages(features):
    return features.mean((2, 3))


def _maxima(features):
    return features.amax(1, keepdim=True)


mixed_attention.worked.append(
    (
        (torch.tensor([[[[1.0, 3.0]], [[2.0, 4.0]]]]), _averages, _maxima),
        torch.tensor([[[[12.0, 72.0]], [[36.0, 144.0]]]]),
    )
)


@mixed_attention.case
def _real_gates():
    gates = _made(5, attention.ChannelAttention, 8), _made(6, attention.SpatialAttention)
    return (3 * _drawn(10, 2, 8, 6, 7), *gates)


@mixed_attention.case
def _gates_of_numbers():
    return _drawn(11, 2, 3, 4, 5), _averages, _maxima


@mixed_attention.use_oracle
def _by_einsum(features, channel_gate, spatial_gate):
    channel = channel_gate(features)
    weighted = torch.einsum("bchw,bc->bchw", features, channel)
    return torch.einsum("bchw,bc,bhw->bchw", features, channel, spatial_gate(weighted)[:, 0])


@mixed_attention.misconception(
    "asks for the places first and for the channels second",
    "the paper's module follows CBAM: *what* before *where*.",
)
def _space_first(features, channel_gate, spatial_gate):
    features = features * spatial_gate(features)
    return features * channel_gate(features)[:, :, None, None]


@mixed_attention.misconception(
    "lets both gates see the features as they came in",
    "what should the spatial gate look at: all channels, or those that the first gate let through?",
)
def _side_by_side(features, channel_gate, spatial_gate):
    channel = channel_gate(features)[:, :, None, None]
    return features * channel * spatial_gate(features)


@mixed_attention.misconception(
    "shows the weighted features to the spatial gate, but weights the old ones",
    "whatever passed the first gate has to pass the second: what do you multiply at the end?",
)
def _channel_weights_lost(features, channel_gate, spatial_gate):
    return features * spatial_gate(features * channel_gate(features)[:, :, None, None])


@mixed_attention.misconception(
    "adds what the two gates let through",
    "gates in a row multiply. If one of them is closed, nothing may get through.",
)
def _sum_of_both(features, channel_gate, spatial_gate):
    weighted = features * channel_gate(features)[:, :, None, None]
    return weighted + features * spatial_gate(weighted)


@mixed_attention.misconception(
    "returns the weights instead of the weighted features",
    "gates alone are no features; something has to pass through them.",
)
def _weights_only(features, channel_gate, spatial_gate):
    channel = channel_gate(features)[:, :, None, None]
    return channel * spatial_gate(features * channel)


@mixed_attention.installs
def _gates_of_each_block(model, answer):
    def forward_of(block):
        def forward(x):
            seen = {}

            def channel_gate(features):
                return seen.setdefault("channel", block.channel_attention(features))

            def spatial_gate(features):
                return seen.setdefault("spatial", block.spatial_attention(features))

            features = block.body(x) + block.encoder_decoder(x)
            y = x + answer(features, channel_gate, spatial_gate)
            return y, Attention(seen.get("channel"), seen.get("spatial"))

        return forward

    for block in model.blocks:
        block.forward = forward_of(block)


# ----------------------------------------------------------------------------- EncoderDecoder


class _Scales(nn.Module):
    """The layers of the encoder-decoder, for the answers below."""

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

    def encode(self, x):
        """Features at the three scales."""
        e0 = F.relu(self.enter(x))
        e1 = F.relu(self.down1(e0))
        return e0, e1, F.relu(self.down2(e1))


@exercise("03", "Look at three scales and come back, with an additive skip at the two finer ones.")
class EncoderDecoder(_Scales):
    """Features (B, C, h, w) in, features (B, C, h, w) out."""

    def forward(self, x: Tensor) -> Tensor:
        """Down twice, up twice, adding what the strides threw away."""
        e0, e1, e2 = self.encode(x)
        d2 = F.relu(self.middle(e2))
        d1 = F.relu(self.up1(F.interpolate(d2, scale_factor=2))) + e1
        d0 = F.relu(self.up0(F.interpolate(d1, scale_factor=2))) + e0
        return self.norm(self.leave(d0))


@EncoderDecoder.runs
def _scales_at_work(answer, ours, x):
    return _apply(answer, ours, ours.enter.in_channels, x)


_CENTRE = ((0, 0, 1, 1), 1.0)  # a kernel that copies the first channel

EncoderDecoder.worked.append(
    (
        (
            _filled(
                attention.EncoderDecoder(4),
                enter_weight=((0, 0, 0, 0), 1.0),
                down1_weight=_CENTRE,
                down2_weight=_CENTRE,
                middle_weight=_CENTRE,
                up1_weight=_CENTRE,
                up0_weight=_CENTRE,
                leave_weight=((slice(None), 0, 0, 0), [1.0, -1.0, 1.0, -1.0]),
                norm_weight=(slice(None), 1.0),
            ),
            torch.tensor(
                [[[[2.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 2]]] + 3 * [4 * [4 * [0]]]]
            ),
        ),
        torch.tensor([1.0, -1, 1, -1]).view(1, 4, 1, 1)
        * torch.tensor([[6.0, 4, 2, 2], [4, 4, 2, 2], [2, 2, 2, 2], [2, 2, 2, 4]])
        / 3,
    )
)


def _scales(seed, channels):
    """Random weights as strong as trained ones, so that no path is silent."""
    ours = _made(seed, attention.EncoderDecoder, channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        attention.he_initialise(ours)
    return ours


@EncoderDecoder.case
def _sixteen_channels():
    return _scales(7, 16), _drawn(12, 2, 16, 8, 12)


@EncoderDecoder.case
def _eight_channels_square():
    return _scales(8, 8), _drawn(13, 1, 8, 16, 16)


@EncoderDecoder.use_oracle
def _scales_in_double_precision(ours, x):
    def conv(name, value, stride=1):
        layer = getattr(ours, name)
        edge = layer.kernel_size[0] // 2
        value = F.pad(value, (edge, edge, edge, edge))
        return F.conv2d(value, layer.weight.double(), layer.bias.double(), stride)

    def twice(value):
        return value.repeat_interleave(2, 2).repeat_interleave(2, 3)

    zero = torch.zeros((), dtype=torch.float64)
    e0 = conv("enter", x.double()).maximum(zero)
    e1 = conv("down1", e0, 2).maximum(zero)
    d2 = conv("middle", conv("down2", e1, 2).maximum(zero)).maximum(zero)
    d1 = conv("up1", twice(d2)).maximum(zero) + e1
    out = conv("leave", conv("up0", twice(d1)).maximum(zero) + e0)
    flat = out.flatten(1)
    flat = (flat - flat.mean(1, keepdim=True)) / (flat.var(1, False, keepdim=True) + 1e-5).sqrt()
    scale, shift = (p.double()[:, None, None] for p in (ours.norm.weight, ours.norm.bias))
    return flat.view_as(out) * scale + shift


@EncoderDecoder.misconception(
    "comes back without any skip",
    "where should detail finer than four cells come from?",
)
class _NoSkips(_Scales):
    def forward(self, x):
        d2 = F.relu(self.middle(self.encode(x)[2]))
        d1 = F.relu(self.up1(F.interpolate(d2, scale_factor=2)))
        d0 = F.relu(self.up0(F.interpolate(d1, scale_factor=2)))
        return self.norm(self.leave(d0))


@EncoderDecoder.misconception(
    "skips only at the middle scale and loses the finest",
    "two strides threw something away. How many skips do you have?",
)
class _OneSkip(_Scales):
    def forward(self, x):
        _, e1, e2 = self.encode(x)
        d1 = F.relu(self.up1(F.interpolate(F.relu(self.middle(e2)), scale_factor=2))) + e1
        d0 = F.relu(self.up0(F.interpolate(d1, scale_factor=2)))
        return self.norm(self.leave(d0))


@EncoderDecoder.misconception(
    "multiplies by the skips instead of adding them",
    "a skip should bring detail even where the deep path says nothing, which is 0.",
)
class _Multiplies(_Scales):
    def forward(self, x):
        e0, e1, e2 = self.encode(x)
        d1 = F.relu(self.up1(F.interpolate(F.relu(self.middle(e2)), scale_factor=2))) * e1
        d0 = F.relu(self.up0(F.interpolate(d1, scale_factor=2))) * e0
        return self.norm(self.leave(d0))


@EncoderDecoder.misconception(
    "adds the skips before the convolutions instead of after them",
    "the skip goes around the convolution on the way up; it is not part of its input.",
)
class _Before(_Scales):
    def forward(self, x):
        e0, e1, e2 = self.encode(x)
        d1 = F.relu(self.up1(F.interpolate(F.relu(self.middle(e2)), scale_factor=2) + e1))
        d0 = F.relu(self.up0(F.interpolate(d1, scale_factor=2) + e0))
        return self.norm(self.leave(d0))


@EncoderDecoder.misconception(
    "adds the skips inside the ReLU",
    "is relu(a + e) the same as relu(a) + e, if a is negative?",
)
class _InsideTheReLU(_Scales):
    def forward(self, x):
        e0, e1, e2 = self.encode(x)
        d1 = F.relu(self.up1(F.interpolate(F.relu(self.middle(e2)), scale_factor=2)) + e1)
        d0 = F.relu(self.up0(F.interpolate(d1, scale_factor=2)) + e0)
        return self.norm(self.leave(d0))


@EncoderDecoder.misconception(
    "smooths while enlarging: bilinear instead of nearest",
    "copy each cell into two by two; the convolution behind it may smooth if it wants to.",
)
class _Smooth(_Scales):
    def forward(self, x):
        def twice(value):
            return F.interpolate(value, scale_factor=2, mode="bilinear")

        e0, e1, e2 = self.encode(x)
        d1 = F.relu(self.up1(twice(F.relu(self.middle(e2))))) + e1
        return self.norm(self.leave(F.relu(self.up0(twice(d1))) + e0))


@EncoderDecoder.misconception(
    "leaves out the norm at the end",
    "how strong is this branch beside the body, whose last layer is a norm?",
)
class _NoNorm(_Scales):
    def forward(self, x):
        e0, e1, e2 = self.encode(x)
        d1 = F.relu(self.up1(F.interpolate(F.relu(self.middle(e2)), scale_factor=2))) + e1
        return self.leave(F.relu(self.up0(F.interpolate(d1, scale_factor=2))) + e0)


EncoderDecoder.installs(
    _in_each_block("encoder_decoder", lambda answer, ours: answer(ours.enter.in_channels))
)


# -------------------------------------------------------------------------------------- MMARM


class _Block(nn.Module):
    """The four parts of the block, for the answers below."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = attention.residual_body(channels)
        self.encoder_decoder = attention.EncoderDecoder(channels)
        self.channel_attention = attention.ChannelAttention(channels)
        self.spatial_attention = attention.SpatialAttention()

    def gates(self, features):
        """Both sets of weights, and the features behind both gates."""
        channel = self.channel_attention(features)
        features = features * channel[:, :, None, None]
        spatial = self.spatial_attention(features)
        return features * spatial, Attention(channel, spatial)


@exercise("03", "Put the block together: y = x + SA(CA(Body(x) + ED(x))).")
class MMARM(_Block):
    """Features (B, C, h, w) in; features of the same shape, and both sets of weights, out."""

    def forward(self, x: Tensor) -> tuple[Tensor, Attention]:
        """Refine x and say where to."""
        features = self.body(x) + self.encoder_decoder(x)
        channel = self.channel_attention(features)
        features = features * channel[:, :, None, None]
        spatial = self.spatial_attention(features)
        return x + features * spatial, Attention(channel, spatial)


@MMARM.runs
def _block_at_work(answer, ours, x):
    return _apply(answer, ours, ours.encoder_decoder.enter.in_channels, x)


MMARM.worked.append(
    (
        (
            _filled(
                attention.MMARM(4),
                body_4_bias=(slice(None), 3.0),
                encoder_decoder_norm_bias=(slice(None), 5.0),
            ),
            torch.arange(64.0).view(1, 4, 4, 4),
        ),
        (
            torch.arange(64.0).view(1, 4, 4, 4) + 2,
            torch.full((1, 4), 0.5),
            torch.full((1, 1, 4, 4), 0.5),
        ),
    )
)


@MMARM.case
def _two_faces_sixteen_channels():
    return _made(9, attention.MMARM, 16), _drawn(14, 2, 16, 8, 12)


@MMARM.case
def _one_face_eight_channels():
    return _made(10, attention.MMARM, 8), 2 * _drawn(15, 1, 8, 12, 8)


@MMARM.use_oracle
def _block_from_formulas(ours, x):
    features = ours.body(x) + _scales_in_double_precision(ours.encoder_decoder, x).float()
    channel = _channel_gate_from_convolutions(ours.channel_attention, features)
    weighted = torch.einsum("bchw,bc->bchw", features, channel)
    spatial = _spatial_gate_from_pooling_along_channels(ours.spatial_attention, weighted)
    return torch.einsum("bchw,bhw->bchw", weighted, spatial[:, 0]) + x, channel, spatial


@MMARM.holds("with both gates closed the block hands on its input as it is")
def _closed(answer):
    ours, x = _two_faces_sixteen_channels()
    with torch.no_grad():
        ours.spatial_attention.conv.bias.fill_(-1000)
    return torch.equal(with_weights_of(ours, answer(16))(x)[0], x)


@MMARM.misconception(
    "forgets the residual: x is not added",
    "what should come out when both gates are closed?",
)
class _NoResidual(_Block):
    def forward(self, x):
        return self.gates(self.body(x) + self.encoder_decoder(x))


@MMARM.misconception(
    "sends x itself through the gates",
    "what the block received is not for the gates to weaken; they weigh what it adds.",
)
class _GatesTheInput(_Block):
    def forward(self, x):
        return self.gates(x + self.body(x) + self.encoder_decoder(x))


@MMARM.misconception(
    "puts the encoder-decoder behind the body instead of beside it",
    "both are given x, and their results are added.",
)
class _InARow(_Block):
    def forward(self, x):
        y, weights = self.gates(self.encoder_decoder(self.body(x)))
        return x + y, weights


@MMARM.misconception(
    "leaves out the encoder-decoder",
    "a plain body of two 3×3 convolutions sees five cells. Where are the other scales?",
)
class _OneScale(_Block):
    def forward(self, x):
        y, weights = self.gates(self.body(x))
        return x + y, weights


@MMARM.misconception(
    "lets both gates see the features before either has weighed them",
    "the spatial gate comes second. What has the first one done by then?",
)
class _GatesSideBySide(_Block):
    def forward(self, x):
        features = self.body(x) + self.encoder_decoder(x)
        channel, spatial = self.channel_attention(features), self.spatial_attention(features)
        y = x + features * channel[:, :, None, None] * spatial
        return y, Attention(channel, spatial)


@MMARM.misconception(
    "asks for the places first and for the channels second",
    "read SA(CA(...)) from the inside.",
)
class _PlacesFirst(_Block):
    def forward(self, x):
        features = self.body(x) + self.encoder_decoder(x)
        spatial = self.spatial_attention(features)
        features = features * spatial
        channel = self.channel_attention(features)
        return x + features * channel[:, :, None, None], Attention(channel, spatial)


@MMARM.misconception(
    "returns the sum alone, without the weights",
    "the generator also wants to know where the block looked.",
)
class _NoWeights(_Block):
    def forward(self, x):
        return x + self.gates(self.body(x) + self.encoder_decoder(x))[0]


@MMARM.installs
def _in_place_of_each_block(model, answer):
    def forward_of(block, theirs):
        def forward(x):
            for name, part in block.named_children():  # also those that were swapped later
                setattr(theirs, name, part)
            return theirs(x)

        return forward

    for block in model.blocks:
        channels = block.encoder_decoder.enter.in_channels
        block.forward = forward_of(block, with_weights_of(block, answer(channels)).eval())


# ------------------------------------------------------------------------------------ cell_of


@exercise("03", "Say where in a map the middle of a pixel lies, counted in cells.")
def cell_of(pixels: Tensor, times: int) -> Tensor:
    """Numbers of pixels, and how many pixels a cell is wide: places in the map, in cells."""
    return (pixels + 0.5) / times - 0.5


cell_of.worked.append(
    ((torch.tensor([0.0, 1.0, 2.0, 3.0]), 2), torch.tensor([-0.25, 0.25, 0.75, 1.25]))
)


@cell_of.case
def _four_pixels_a_cell():
    return torch.arange(0.0, 64.0), 4


@cell_of.case
def _two_pixels_a_cell():
    return torch.arange(0.0, 16.0), 2


@cell_of.use_oracle
def _by_enlarging_a_ramp(pixels, times):
    cells = int(pixels.max()) // times + 3
    # Each cell holds its own number; one stands before cell 0, for enlarging stops at the ends.
    ramp = torch.arange(float(cells)).view(1, 1, 1, cells) - 1
    wide = F.interpolate(ramp, scale_factor=(1, times), mode="bilinear", align_corners=False)
    return wide[0, 0, 0, pixels.long() + times]


@cell_of.misconception(
    "divides the number of the pixel and forgets that pixels and cells have a middle",
    "pixel 0 reaches from 0 to 1. Where is its middle?",
)
def _left_edges(pixels, times):
    return pixels / times


@cell_of.misconception(
    "finds the middle of the pixel but counts from the edge of the cell",
    "the middle of cell 0 should be at 0, not at a half.",
)
def _from_the_edge(pixels, times):
    return (pixels + 0.5) / times


@cell_of.misconception(
    "gives the number of the cell instead of the place in it",
    "between the middles of two cells there is something to blend: do not round.",
)
def _whole_cells(pixels, times):
    return (pixels / times).floor()


@cell_of.misconception(
    "cuts off places outside the map",
    "the middle of pixel 0 lies before the middle of cell 0: what is its place then?",
)
def _cut_off(pixels, times):
    return ((pixels + 0.5) / times - 0.5).clamp(min=0)


@cell_of.misconception(
    "multiplies where it should divide",
    "a map has fewer cells than the picture has pixels.",
)
def _the_other_way(pixels, times):
    return (pixels + 0.5) * times - 0.5


@cell_of.misconception(
    "puts the middles of the outermost pixels onto the middles of the outermost cells",
    "that is align_corners=True: it stretches the map. Every cell should cover as many pixels.",
)
def _corners(pixels, times):
    cells = pixels.max().div(times).floor() + 1
    return pixels * (cells - 1) / (cells * times - 1)


# ---------------------------------------------------------------------------------- agreement


@exercise("03", "Measure how well a map finds a mask: the AUC.")
def agreement(weights: Tensor, mask: Tensor) -> float:
    """Weights (h, w) and bool mask (h, w): share of pairs, inside and outside, ranked rightly."""
    inside, outside = weights[mask], weights[~mask]
    gaps = inside[:, None] - outside[None]
    return ((gaps > 0).double() + 0.5 * (gaps == 0)).mean()


agreement.worked.append(
    (
        (torch.tensor([[4.0, 1.0], [2.0, 2.0]]), torch.tensor([[True, False], [True, False]])),
        0.875,
    )
)


@agreement.case
def _map_and_mask():
    weights = torch.sigmoid(_drawn(16, 8, 8))
    return weights, (weights + 0.3 * _drawn(17, 8, 8)) > 0.6


@agreement.case
def _map_with_ties():
    random = torch.Generator().manual_seed(18)
    weights = torch.randint(4, (6, 9), generator=random) / 4
    return weights, torch.rand(6, 9, generator=random) < 0.3 + 0.4 * weights


@agreement.use_oracle
def _pair_by_pair(weights, mask):
    wins = pairs = 0.0
    for a in weights[mask].tolist():
        for b in weights[~mask].tolist():
            wins, pairs = wins + (a > b) + 0.5 * (a == b), pairs + 1
    return wins / pairs


@agreement.holds("only the order of the weights matters, not their size")
def _order_only(answer):
    weights, mask = _map_and_mask()
    return abs(float(answer(weights, mask)) - float(answer(weights.exp(), mask))) < 1e-6


@agreement.misconception(
    "counts a tie as lost",
    "a map that is the same everywhere knows nothing: it should get a half, as guessing does.",
)
def _ties_lose(weights, mask):
    return (weights[mask][:, None] > weights[~mask][None]).double().mean()


@agreement.misconception(
    "counts a tie as won",
    "a map that is the same everywhere would get full marks.",
)
def _ties_win(weights, mask):
    return (weights[mask][:, None] >= weights[~mask][None]).double().mean()


@agreement.misconception(
    "asks how often the outside is above the inside",
    "a perfect map should get 1. What does yours give it?",
)
def _outside_above(weights, mask):
    return 1 - agreement.reference(weights, mask)


@agreement.misconception(
    "draws a line at one half and counts the right places",
    "a map whose weights are all below a half can still rank places perfectly.",
)
def _threshold(weights, mask):
    return ((weights > 0.5) == mask).double().mean()


@agreement.misconception(
    "gives the share of all attention that falls inside",
    "a mask that covers most of the picture would make any map look good.",
)
def _share_inside(weights, mask):
    return weights[mask].double().sum() / weights.double().sum()


@agreement.misconception(
    "subtracts the mean weight outside from the mean weight inside",
    "doubling all weights does not make a map better at finding the mask.",
)
def _gap_of_means(weights, mask):
    return (weights[mask].mean() - weights[~mask].mean()).double()
