"""Exercises of notebook 02: the generator and the global residual."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmagan_lite import attention, generator
from mmagan_lite.config import Config
from mmagan_lite.exercises.room import exercise, with_weights_of


def _random(*shape: int, seed: int) -> Tensor:
    """Numbers between -1 and 1, the same at every call."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# ---------------------------------------------------------------------------------- layer_shapes


@exercise("02", "Say how large the features are after each convolution of a list.")
def layer_shapes(shape: tuple, layers: tuple) -> list[tuple]:
    """Shapes (C, H, W) after each layer (channels, kernel, stride, padding, transposed)."""
    shapes = []
    for channels, kernel, stride, padding, transposed in layers:
        sides = []
        for side in shape[1:]:
            if transposed:
                sides.append((side - 1) * stride - 2 * padding + kernel)
            else:
                sides.append((side + 2 * padding - kernel) // stride + 1)
        shape = (channels, *sides)
        shapes.append(shape)
    return shapes


layer_shapes.worked += [
    (((11, 8, 8), ((4, 7, 1, 3, False), (8, 4, 2, 1, False))), [(4, 8, 8), (8, 4, 4)]),
    (((8, 4, 4), ((4, 4, 2, 1, True),)), [(4, 8, 8)]),
]


@layer_shapes.case
def _the_whole_trunk_on_a_wide_picture():
    down, up = (8, 4, 2, 1, False), (4, 4, 2, 1, True)
    return (11, 48, 80), ((4, 7, 1, 3, False), down, (16, 4, 2, 1, False), up, (3, 7, 1, 3, False))


@layer_shapes.case
def _sides_that_do_not_come_out_even():
    return (3, 37, 23), ((5, 3, 2, 1, False), (6, 5, 3, 0, False), (7, 3, 2, 0, True))


@layer_shapes.use_oracle
def _let_torch_do_it(shape, layers):
    h, shapes = torch.zeros(1, *shape), []
    for channels, kernel, stride, padding, transposed in layers:
        kind = nn.ConvTranspose2d if transposed else nn.Conv2d
        h = kind(h.shape[1], channels, kernel, stride, padding)(h)
        shapes.append(tuple(h.shape[1:]))
    return shapes


def _shapes_by(formula):
    """An answer that finds each side by a formula of side and layer."""

    def answer(shape, layers):
        shapes = []
        for channels, *layer in layers:
            shape = (channels, *(formula(side, *layer) for side in shape[1:]))
            shapes.append(shape)
        return shapes

    return answer


def _right(side, kernel, stride, padding, transposed):
    if transposed:
        return (side - 1) * stride - 2 * padding + kernel
    return (side + 2 * padding - kernel) // stride + 1


layer_shapes.misconception(
    "counts the padding on one side only",
    "a row of pixels has two ends.",
)(_shapes_by(lambda side, k, s, p, t: _right(side, k, s, p, t) if t else (side + p - k) // s + 1))
layer_shapes.misconception(
    "leaves out the kernel's first position",
    "how often can a kernel of 3 be laid on a row of 3?",
)(_shapes_by(lambda side, k, s, p, t: _right(side, k, s, p, t) - (0 if t else 1)))
layer_shapes.misconception(
    "rounds up where the stride does not come out even",
    "what happens to a last step that would hang over the edge?",
)(
    _shapes_by(
        lambda side, k, s, p, t: (
            _right(side, k, s, p, t) if t else math.ceil((side + 2 * p - k) / s) + 1
        )
    )
)
layer_shapes.misconception(
    "takes a transposed convolution for a plain one",
    "a transposed convolution goes the other way: solve the formula for the input's side.",
)(_shapes_by(lambda side, k, s, p, t: _right(side, k, s, p, False)))
layer_shapes.misconception(
    "multiplies by the stride whatever kernel and padding are",
    "that is what a transposed convolution of kernel 4, stride 2, padding 1 does; and kernel 3?",
)(_shapes_by(lambda side, k, s, p, t: side * s if t else _right(side, k, s, p, t)))


@layer_shapes.misconception(
    "starts from the picture again at every layer",
    "each layer gets what the one before it gave.",
)
def _not_chained(shape, layers):
    return [layer_shapes.reference(shape, (layer,))[0] for layer in layers]


@layer_shapes.misconception(
    "keeps the channels of the picture",
    "how many filters does a layer have?",
)
def _channels_of_the_picture(shape, layers):
    return [(shape[0], *rest) for _, *rest in layer_shapes.reference(shape, layers)]


# ------------------------------------------------------------------------------ count_parameters


@exercise("02", "Count the generator's parameters by formula, with plain residual blocks.")
def count_parameters(width: int, blocks: int, stem_norm: bool) -> int:
    """Parameters of a generator of this width and number of plain blocks."""
    w = width
    stem = 11 * w * 7 * 7 + (2 * w if stem_norm else w)
    down = w * 2 * w * 4 * 4 + 2 * (2 * w) + 2 * w * 4 * w * 4 * 4 + 2 * (4 * w)
    block = 2 * (4 * w * 4 * w * 3 * 3 + 2 * (4 * w))
    up = 4 * w * 2 * w * 4 * 4 + 2 * (2 * w) + 2 * w * w * 4 * 4 + 2 * w
    last = w * 3 * 7 * 7
    return stem + down + blocks * block + up + last


count_parameters.worked += [((1, 0, True), 1026), ((1, 1, True), 1330)]


@count_parameters.case
def _the_papers_sizes():
    return 64, 6, True


@count_parameters.case
def _a_small_one_without_the_norm_in_the_stem():
    return 5, 3, False


@count_parameters.case
def _no_blocks():
    return 16, 0, True


@count_parameters.use_oracle
def _by_counting(width, blocks, stem_norm):
    config = Config.profile(
        "smoke", mmarm=False, width=width, blocks=blocks, stem_norm=bool(stem_norm)
    )
    with torch.device("meta"):  # shapes without numbers
        return sum(p.numel() for p in generator.Generator(config).parameters())


@count_parameters.misconception(
    "gives every convolution a bias",
    "the norm behind a convolution takes the mean away, so what would a bias do there?",
)
def _with_biases(width, blocks, stem_norm):
    biases = (width if stem_norm else 0) + 9 * width + blocks * 8 * width + 3
    return count_parameters.reference(width, blocks, stem_norm) + biases


@count_parameters.misconception(
    "leaves out the norms",
    "the norms here are affine: two numbers a channel are learned.",
)
def _without_norms(width, blocks, stem_norm):
    norms = (2 * width if stem_norm else 0) + 18 * width + blocks * 16 * width
    return count_parameters.reference(width, blocks, stem_norm) - norms


@count_parameters.misconception(
    "forgets that the code enters beside the colours",
    "how many channels does the stem see?",
)
def _three_channels(width, blocks, stem_norm):
    return count_parameters.reference(width, blocks, stem_norm) - 8 * width * 49


@count_parameters.misconception(
    "counts one convolution a block",
    "read the body of a residual block again.",
)
def _one_convolution(width, blocks, stem_norm):
    half = 16 * width * width * 9 + 8 * width
    return count_parameters.reference(width, blocks, stem_norm) - blocks * half


@count_parameters.misconception(
    "takes 3 × 3 for the kernels that change the size",
    "which side have the kernels of stride 2?",
)
def _kernels_of_three(width, blocks, stem_norm):
    weights = 2 * (2 * width * width + 8 * width * width)
    return count_parameters.reference(width, blocks, stem_norm) - weights * (16 - 9)


@count_parameters.misconception(
    "counts the stem's norm even where it is gone",
    "without the norm, one number a channel takes the place of its two.",
)
def _norm_always(width, blocks, stem_norm):
    return count_parameters.reference(width, blocks, True)


# --------------------------------------------------------------------------------- ResidualBlock


@exercise("02", "Run a plain residual block: what the body makes of x, added to x.")
class ResidualBlock(nn.Module):
    """y = x + Body(x), Body: conv-norm-ReLU-conv-norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.InstanceNorm2d(channels, affine=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape as x, (B, C, h, w)."""
        h = F.relu(self.norm1(self.conv1(x)))  # (B, C, h, w)
        h = self.norm2(self.conv2(h))  # (B, C, h, w)
        return x + h


@ResidualBlock.runs
def _with_known_weights(answer, x, weights):
    block = answer(x.shape[1])
    if block is None:
        return None
    with_weights_of(_block_with(weights), block)
    return block(x)


def _block_with(weights):
    """The right block with kernels (2, C, C, 3, 3), norms of uneven scale and shift."""
    channels = weights.shape[1]
    block = ResidualBlock.reference(channels)
    with torch.no_grad():
        for kernel, conv in zip(weights, (block.conv1, block.conv2), strict=True):
            conv.weight.copy_(kernel)
        for norm in (block.norm1, block.norm2):
            norm.weight.copy_(torch.linspace(0.5, 1.5, channels))
            norm.bias.copy_(torch.linspace(-0.5, 0.5, channels))
    return block


# With kernels of zeros both norms give their shift alone: -0.5 in the first channel, 0.5 in the
# second.
ResidualBlock.worked.append(
    (
        (torch.tensor([[[[1.0, 3.0]], [[2.0, 6.0]]]]), torch.zeros(2, 2, 2, 3, 3)),
        torch.tensor([[[[0.5, 2.5]], [[2.5, 6.5]]]]),
    )
)


@ResidualBlock.case
def _a_batch_of_features():
    return 3 * _random(2, 4, 6, 5, seed=3), _random(2, 4, 4, 3, 3, seed=4)


@ResidualBlock.case
def _one_with_other_kernels():
    return _random(1, 3, 4, 4, seed=5), _random(2, 3, 3, 3, 3, seed=6)


@ResidualBlock.use_oracle
def _our_own_block(x, weights):
    theirs, ours = _block_with(weights), generator.ResidualBlock(x.shape[1])
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    return ours(x)


class _Block(ResidualBlock.reference):
    """A wrong block: the right layers, put together in another way."""


@ResidualBlock.misconception(
    "returns the body's result without x",
    "what should a block give whose body gives zeros?",
)
class _WithoutX(_Block):
    def forward(self, x):
        return super().forward(x) - x


@ResidualBlock.misconception(
    "bends the sum with a ReLU",
    "a ReLU after the sum would bar negative features from the way that should be free.",
)
class _ReluAfterTheSum(_Block):
    def forward(self, x):
        return F.relu(super().forward(x))


@ResidualBlock.misconception(
    "puts a ReLU behind the second norm too",
    "a body that ends in a ReLU can only ever add, never take away.",
)
class _ReluInTheEnd(_Block):
    def forward(self, x):
        return x + F.relu(super().forward(x) - x)


@ResidualBlock.misconception(
    "runs the first convolution twice",
    "two convolutions, two sets of weights: which names have you used?",
)
class _FirstTwice(_Block):
    def forward(self, x):
        return x + self.norm2(self.conv1(F.relu(self.norm1(self.conv1(x)))))


@ResidualBlock.misconception(
    "leaves the ReLU out",
    "between two convolutions something has to bend, or they are one.",
)
class _NoRelu(_Block):
    def forward(self, x):
        return x + self.norm2(self.conv2(self.norm1(self.conv1(x))))


@ResidualBlock.misconception(
    "normalises before each convolution instead of behind it",
    "here the order is convolution, norm, ReLU.",
)
class _NormFirst(_Block):
    def forward(self, x):
        return x + self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))


# ------------------------------------------------------------------------------------- tile_code


@exercise("02", "Lay the code z beside the image, the same at every pixel.")
def tile_code(x: Tensor, z: Tensor) -> Tensor:
    """Image (B, 3, H, W) and code (B, N) as (B, 3 + N, H, W)."""
    maps = z[:, :, None, None].expand(-1, -1, *x.shape[2:])  # (B, N, H, W)
    return torch.cat([x, maps], 1)


tile_code.worked.append(
    (
        (torch.tensor([[[[5.0, 6.0]]]]), torch.tensor([[1.0, 2.0]])),
        torch.tensor([[[[5.0, 6.0]], [[1.0, 1.0]], [[2.0, 2.0]]]]),
    )
)


@tile_code.case
def _two_pictures_that_are_not_square():
    random = torch.Generator().manual_seed(2)
    return torch.rand(2, 3, 4, 6, generator=random), torch.rand(2, 8, generator=random)


@tile_code.case
def _one_picture():
    return torch.arange(12.0).view(1, 3, 2, 2), torch.arange(4.0).view(1, 4) / 4


@tile_code.use_oracle
def _pixel_by_pixel(x, z):
    rows = [
        [[torch.cat([x[b, :, i, j], z[b]]) for j in range(x.shape[3])] for i in range(x.shape[2])]
        for b in range(len(x))
    ]
    return torch.stack([torch.stack([torch.stack(r, 1) for r in image], 1) for image in rows])


@tile_code.misconception(
    "puts the code before the image",
    "the first three channels are the colours; the code comes after them.",
)
def _code_first(x, z):
    return torch.cat([z[:, :, None, None].expand(-1, -1, *x.shape[2:]), x], 1)


@tile_code.misconception(
    "gives all pictures the code of the first",
    "each picture of the batch has a code of its own; look at what you index.",
)
def _first_code_for_all(x, z):
    return torch.cat([x, z[:1, :, None, None].expand(len(x), -1, *x.shape[2:])], 1)


@tile_code.misconception(
    "writes the code into one pixel only and leaves zeros elsewhere",
    "a convolution sees only a small neighbourhood, so the code must be at every pixel.",
)
def _one_pixel(x, z):
    maps = x.new_zeros(len(x), z.shape[1], *x.shape[2:])
    maps[:, :, 0, 0] = z
    return torch.cat([x, maps], 1)


@tile_code.misconception(
    "joins image and code along the rows instead of the channels",
    "dimension 1 of (B, C, H, W) holds the channels.",
)
def _along_rows(x, z):
    maps = z[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return torch.cat([x, maps[:, : x.shape[1]]], 2)


@tile_code.installs
def _into_the_generator(model, answer):
    before = model.forward

    def with_answer(x, z, return_attention=False):
        tiled = answer(x, z)  # (B, 3 + N, H, W): what the encoder sees
        hook = model.encoder.register_forward_pre_hook(lambda module, inputs: (tiled,))
        try:
            return before(x, z, return_attention)
        finally:
            hook.remove()

    model.forward = with_answer


# ----------------------------------------------------------------------------------------- Trunk


@exercise("02", "Run the trunk on image and code: what the network draws, before the residual.")
class Trunk(nn.Module):
    """tanh(decoder(blocks(encoder(image beside code))))."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        made = generator.Generator(config)
        self.encoder, self.blocks, self.decoder = made.encoder, made.blocks, made.decoder

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Image (B, 3, H, W) and code (B, N) to a drawing (B, 3, H, W) in [-1, 1]."""
        maps = z[:, :, None, None].expand(-1, -1, *x.shape[2:])  # (B, N, H, W)
        h = self.encoder(torch.cat([x, maps], 1))  # (B, 4 * width, H/4, W/4)
        for block in self.blocks:
            h, _ = block(h)
        return torch.tanh(self.decoder(h))  # (B, 3, H, W)


@Trunk.runs
def _with_the_weights_of_a_generator(answer, x, z, by_hand):
    config = Config.profile("smoke", width=4, blocks=2, global_residual=False)
    torch.manual_seed(1)
    trained = generator.Generator(config)
    if by_hand:
        _draw_by_hand(trained)
    trunk = answer(config)
    if trunk is None:
        return None
    return with_weights_of(trained, trunk).eval()(x, z)


def _draw_by_hand(trained):
    """Weights for which the result can be said: 1 everywhere, times 0, 100 and -100."""
    norm, last = trained.decoder[-3], trained.decoder[-1]
    with torch.no_grad():
        norm.weight.zero_()
        norm.bias.fill_(1.0)
        last.weight.zero_()
        last.weight[:, 0, 3, 3] = torch.tensor([0.0, 100.0, -100.0])  # the kernel's middle


Trunk.worked.append(
    (
        (_random(1, 3, 16, 16, seed=7), torch.eye(8)[:1], True),
        torch.tensor([0.0, 1.0, -1.0])[None, :, None, None].expand(1, 3, 16, 16),
    )
)


@Trunk.case
def _two_faces_with_two_codes():
    return _random(2, 3, 16, 32, seed=8), 0.5 * torch.eye(8)[2:4], False


@Trunk.case
def _one_face_without_a_code():
    return _random(1, 3, 16, 16, seed=9), torch.zeros(1, 8), False


@Trunk.use_oracle
def _our_own_generator(x, z, by_hand):
    config = Config.profile("smoke", width=4, blocks=2, global_residual=False)
    torch.manual_seed(1)
    ours = generator.Generator(config)
    if by_hand:
        _draw_by_hand(ours)
    return ours(x, z)


class _Trunk(Trunk.reference):
    """A wrong trunk: the right parts, put together in another way."""

    def maps(self, x, z):
        return z[:, :, None, None].expand(-1, -1, *x.shape[2:])

    def encoded(self, x, z):
        return self.encoder(torch.cat([x, self.maps(x, z)], 1))

    def refined(self, h):
        for block in self.blocks:
            h, _ = block(h)
        return h


@Trunk.misconception(
    "leaves out the tanh",
    "the last convolution may give any number; pictures live between -1 and 1.",
)
class _NoTanh(_Trunk):
    def forward(self, x, z):
        return self.decoder(self.refined(self.encoded(x, z)))


@Trunk.misconception(
    "gives every block the encoder's features",
    "each block should refine what the one before it made.",
)
class _BlocksSideBySide(_Trunk):
    def forward(self, x, z):
        h = self.encoded(x, z)
        for block in self.blocks:
            refined, _ = block(h)
        return torch.tanh(self.decoder(refined))


@Trunk.misconception(
    "adds the encoder's features once more after the blocks",
    "that is a residual connection between features. Where does the paper put its global one?",
)
class _ResidualBetweenFeatures(_Trunk):
    def forward(self, x, z):
        h = self.encoded(x, z)
        return torch.tanh(self.decoder(self.refined(h) + h))


@Trunk.misconception(
    "adds the image already",
    "the trunk only draws; the sum with the image is the next exercise.",
)
class _ImageAdded(_Trunk):
    def forward(self, x, z):
        return super().forward(x, z) + x


@Trunk.misconception(
    "puts the code before the image",
    "the stem's first three channels were made for the colours.",
)
class _CodeBeforeImage(_Trunk):
    def forward(self, x, z):
        h = self.encoder(torch.cat([self.maps(x, z), x], 1))
        return torch.tanh(self.decoder(self.refined(h)))


@Trunk.misconception(
    "never shows the code to the network",
    "what in your forward depends on z?",
)
class _NoCode(_Trunk):
    def forward(self, x, z):
        return super().forward(x, 0 * z)


@Trunk.misconception(
    "goes from the encoder straight to the decoder",
    "who works on the features at a quarter of the size?",
)
class _NoBlocks(_Trunk):
    def forward(self, x, z):
        return torch.tanh(self.decoder(self.encoded(x, z)))


@Trunk.installs
def _as_the_trained_trunk(model, answer):
    before, trunk = model.forward, with_weights_of(model, answer(model.config)).eval()
    # The same layers, so that other parts that were put into them stay.
    trunk.encoder, trunk.blocks, trunk.decoder = model.encoder, model.blocks, model.decoder

    def with_answer(x, z, return_attention=False):
        drawn = trunk(x, z)  # (B, 3, H, W)
        y = drawn + x if model.config.global_residual else drawn
        return (y, before(x, z, True)[1]) if return_attention else y

    model.forward = with_answer


# --------------------------------------------------------------------------------- instance_norm


@exercise("02", "Normalise each channel of each picture by itself, then scale and shift it.")
def instance_norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-5) -> Tensor:
    """Features (B, C, h, w), scales and shifts (C,): features of the same shape."""
    mean = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
    variance = (x - mean).square().mean((2, 3), keepdim=True)  # (B, C, 1, 1)
    normal = (x - mean) / (variance + eps).sqrt()  # (B, C, h, w)
    return gamma[:, None, None] * normal + beta[:, None, None]


instance_norm.worked.append(
    (
        (
            torch.tensor([[[[1.0, 5.0]], [[7.0, 7.0]]]]),
            torch.tensor([1.0, 4.0]),
            torch.tensor([0.0, 3.0]),
        ),
        torch.tensor([[[[-1.0, 1.0]], [[3.0, 3.0]]]]),
    )
)


@instance_norm.case
def _square_features_of_two_pictures():
    x = 5 * _random(2, 4, 4, 4, seed=10).double() + 2
    return x, torch.tensor([1.0, -2.0, 0.5, 3.0]).double(), torch.tensor([0.0, 1, -1, 4]).double()


@instance_norm.case
def _features_that_hardly_vary():
    x = 4e-3 * _random(1, 2, 3, 5, seed=11).double() + 1
    return x, torch.tensor([2.0, 1.0]).double(), torch.tensor([0.5, 0.0]).double()


@instance_norm.use_oracle
def _torchs_own(x, gamma, beta):
    return F.instance_norm(x, weight=gamma.to(x.dtype), bias=beta.to(x.dtype))


def _normalised(x, gamma, beta, dims=(2, 3), eps=1e-5):
    normal = (x - x.mean(dims, keepdim=True)) / (
        x.var(dims, correction=0, keepdim=True) + eps
    ).sqrt()
    return gamma[:, None, None] * normal + beta[:, None, None]


instance_norm.misconception(
    "takes one mean over all channels of a picture",
    "every channel is a feature of its own, with a mean of its own.",
)(lambda x, gamma, beta: _normalised(x, gamma, beta, (1, 2, 3)))
instance_norm.misconception(
    "averages over the batch as well",
    "the result for a picture must not depend on who else is in the batch.",
)(lambda x, gamma, beta: _normalised(x, gamma, beta, (0, 2, 3)))
instance_norm.misconception(
    "divides by the variance",
    "twice the contrast has four times the variance, and should give the same result.",
)(
    lambda x, gamma, beta: (
        gamma[:, None, None]
        * (x - x.mean((2, 3), keepdim=True))
        / (x.var((2, 3), correction=0, keepdim=True) + 1e-5)
        + beta[:, None, None]
    )
)
instance_norm.misconception(
    "divides by n − 1 pixels in the variance",
    "torch's var and std correct for a sample; here the pixels are all there are.",
)(
    lambda x, gamma, beta: (
        gamma[:, None, None]
        * (x - x.mean((2, 3), keepdim=True))
        / (x.var((2, 3), keepdim=True) + 1e-5).sqrt()
        + beta[:, None, None]
    )
)
instance_norm.misconception(
    "adds ε to the deviation instead of the variance",
    "where the features hardly vary it matters on which side of the root ε stands.",
)(
    lambda x, gamma, beta: (
        gamma[:, None, None]
        * (x - x.mean((2, 3), keepdim=True))
        / (x.std((2, 3), correction=0, keepdim=True) + 1e-5)
        + beta[:, None, None]
    )
)
instance_norm.misconception(
    "shifts first and scales the shift along",
    "a channel without any contrast should come out as its β.",
)(
    lambda x, gamma, beta: (
        gamma[:, None, None]
        * (_normalised(x, torch.ones_like(gamma), torch.zeros_like(beta)) + beta[:, None, None])
    )
)
instance_norm.misconception(
    "leaves out scale and shift",
    "γ and β are what the network learns here.",
)(lambda x, gamma, beta: _normalised(x, torch.ones_like(gamma), torch.zeros_like(beta)))


@instance_norm.installs
def _in_place_of_every_norm(model, answer):
    for norm in model.modules():
        if isinstance(norm, nn.InstanceNorm2d):
            norm.forward = lambda x, norm=norm: answer(x, norm.weight, norm.bias)


# ----------------------------------------------------------------------------------- code_signal


@exercise("02", "Measure what another code changes in a stem's features, away from the border.")
def code_signal(stem: nn.Module, x: Tensor, z: Tensor, other: Tensor, border: int) -> Tensor:
    """Root mean square of stem(x, z) - stem(x, other) inside a border of so many cells."""
    tiled = [
        torch.cat([x, code[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
        for code in (z, other)
    ]
    change = stem(tiled[0]) - stem(tiled[1])  # (B, C, H, W)
    inside = change[:, :, border:-border, border:-border]
    return inside.square().mean().sqrt()


def _sum_of_neighbours(tiled):
    """A 3×3 kernel of ones on the last channel, with zeros beyond the border."""
    return F.conv2d(tiled[:, -1:], torch.ones(1, 1, 3, 3), padding=1)


code_signal.worked.append(
    (
        (_sum_of_neighbours, torch.zeros(1, 1, 5, 5), torch.tensor([[3.0]]), torch.ones(1, 1), 1),
        torch.tensor(18.0),
    )
)


def _stem(seed, norm):
    torch.manual_seed(seed)
    conv = nn.Conv2d(11, 6, 7, padding=3)
    return nn.Sequential(conv, attention.instance_norm(6) if norm else nn.Identity())


@code_signal.case
def _a_stem_with_its_norm():
    x = _random(2, 3, 20, 16, seed=12)
    return _stem(13, norm=True), x, torch.eye(8)[1:3], torch.eye(8)[5:7], 3


@code_signal.case
def _a_stem_without_norm():
    x = _random(1, 3, 16, 16, seed=14)
    return _stem(15, norm=False), x, torch.eye(8)[3:4], 0.5 * torch.eye(8)[4:5], 4


@code_signal.use_oracle
def _cell_by_cell(stem, x, z, other, border):
    features = []
    for code in (z, other):
        full = torch.zeros(len(x), x.shape[1] + code.shape[1], *x.shape[2:])
        full[:, : x.shape[1]] = x
        for b in range(len(x)):
            for n in range(code.shape[1]):
                full[b, x.shape[1] + n] = code[b, n]
        features.append(stem(full).detach().double())
    height, width = features[0].shape[2:]
    total, count = 0.0, 0
    for i in range(border, height - border):
        for j in range(border, width - border):
            total += (features[0][:, :, i, j] - features[1][:, :, i, j]).square().sum()
            count += features[0][:, :, i, j].numel()
    return (total / count) ** 0.5


def _change(stem, x, z, other):
    one, two = (
        torch.cat([x, code[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
        for code in (z, other)
    )
    return stem(one) - stem(two)


def _inside(h, border):
    return h[:, :, border:-border, border:-border]


code_signal.misconception(
    "counts the ring along the border too",
    "along the border the kernel meets zeros; we ask what is left where it does not.",
)(lambda stem, x, z, other, border: _change(stem, x, z, other).square().mean().sqrt())
code_signal.misconception(
    "cuts the border on two sides only",
    "a picture has four edges.",
)(
    lambda stem, x, z, other, border: (
        _change(stem, x, z, other)[:, :, border:, border:].square().mean().sqrt()
    )
)
code_signal.misconception(
    "averages absolute values",
    "root mean square: the squares are averaged, and then comes the root.",
)(lambda stem, x, z, other, border: _inside(_change(stem, x, z, other), border).abs().mean())
code_signal.misconception(
    "lets positive and negative changes cancel",
    "a channel that rises and one that falls both carry the code.",
)(lambda stem, x, z, other, border: _inside(_change(stem, x, z, other), border).mean().abs())
code_signal.misconception(
    "forgets the root",
    "in which unit is the signal: that of the features, or its square?",
)(lambda stem, x, z, other, border: _inside(_change(stem, x, z, other), border).square().mean())
code_signal.misconception(
    "measures the features themselves, not what the code changes in them",
    "the features hold the picture too; how do you make it cancel?",
)(
    lambda stem, x, z, other, border: (
        _inside(_change(stem, x, z, z) + stem(_tiled(x, z)), border).square().mean().sqrt()
    )
)
code_signal.misconception(
    "compares with no code at all instead of the other code",
    "the question is whether two codes can be told apart.",
)(
    lambda stem, x, z, other, border: (
        _inside(_change(stem, x, z, torch.zeros_like(z)), border).square().mean().sqrt()
    )
)


def _tiled(x, z):
    return torch.cat([x, z[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)


# ------------------------------------------------------------------------------- global_residual


@exercise("02", "Add what the network draws to the image, and clamp the sum for display only.")
def global_residual(net: nn.Module, x: Tensor, z: Tensor, display: bool = False) -> Tensor:
    """tanh(net(x, z)) + x, in [-2, 2]; for display within [-1, 1]."""
    y = torch.tanh(net(x, z)) + x  # (B, 3, H, W)
    return y.clamp(-1, 1) if display else y


def _left_middle_right(x, z):
    """A network that is sure: as dark as it can, no change, as bright as it can."""
    return torch.tensor([-100.0, 0.0, 100.0]).expand_as(x)


_A_ROW = torch.tensor([1.0, 0.0, 1.0]).expand(1, 3, 1, 3)
global_residual.worked += [
    ((_left_middle_right, _A_ROW, torch.zeros(1, 8)), torch.tensor([0.0, 0, 2]).expand(1, 3, 1, 3)),
    (
        (_left_middle_right, _A_ROW, torch.zeros(1, 8), True),
        torch.tensor([0.0, 0, 1]).expand(1, 3, 1, 3),
    ),
]


class _Net(nn.Module):
    """A small network of image and code."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(11, 3, 3, padding=1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return 3 * self.conv(_tiled(x, z))


@global_residual.case
def _in_training():
    return _Net(16), _random(2, 3, 6, 8, seed=17), torch.eye(8)[2:4]


@global_residual.case
def _for_display():
    return _Net(18), _random(1, 3, 8, 8, seed=19), 0.7 * torch.eye(8)[6:7], True


@global_residual.use_oracle
def _pixel_by_pixel_in_python(net, x, z, display=False):
    drawn = net(x, z).detach().flatten().tolist()
    sums = [math.tanh(a) + b for a, b in zip(drawn, x.flatten().tolist(), strict=True)]
    if display:
        sums = [min(1.0, max(-1.0, value)) for value in sums]
    return torch.tensor(sums).view_as(x)


@global_residual.holds("in training, gradient reaches the network from pixels beyond white too")
def _gradient_beyond_white(answer):
    drawn = torch.ones(1, 3, 2, 2, requires_grad=True)
    answer(lambda x, z: drawn, torch.ones(1, 3, 2, 2), torch.zeros(1, 8)).sum().backward()
    return bool((drawn.grad > 0).all())


global_residual.misconception(
    "clamps in training too",
    "what is the gradient of a clamp where it cuts?",
)(lambda net, x, z, display=False: (torch.tanh(net(x, z)) + x).clamp(-1, 1))
global_residual.misconception(
    "squashes the sum of network and image",
    "if the network gives 0, the photograph should come back as it was.",
)(
    lambda net, x, z, display=False: (
        torch.tanh(net(x, z) + x).clamp(-1, 1) if display else torch.tanh(net(x, z) + x)
    )
)
global_residual.misconception(
    "leaves out the tanh",
    "how far may the network move a pixel?",
)(lambda net, x, z, display=False: (net(x, z) + x).clamp(-1, 1) if display else net(x, z) + x)
global_residual.misconception(
    "returns the change without the image",
    "what should a network that draws nothing give: grey, or the photograph?",
)(lambda net, x, z, display=False: torch.tanh(net(x, z)))
global_residual.misconception(
    "does not clamp for display either",
    "a screen knows nothing whiter than white.",
)(lambda net, x, z, display=False: torch.tanh(net(x, z)) + x)
global_residual.misconception(
    "halves the sum to stay within the range",
    "with a silent network, how bright is the photograph then?",
)(lambda net, x, z, display=False: (torch.tanh(net(x, z)) + x) / 2)


@global_residual.misconception(
    "adds the code to the picture as well",
    "the code says what to draw; the pixels should not get it a second time.",
)
def _code_added(net, x, z, display=False):
    y = torch.tanh(net(x, z)) + x + z.sum(1)[:, None, None, None]
    return y.clamp(-1, 1) if display else y


@global_residual.misconception(
    "adds the network's drawing to its own input and runs it again",
    "one pass: the network sees the photograph, not its own result.",
)
def _twice(net, x, z, display=False):
    y = torch.tanh(net(torch.tanh(net(x, z)) + x, z)) + x
    return y.clamp(-1, 1) if display else y


@global_residual.installs
def _as_the_models_residual(model, answer):
    before = model.forward

    def with_answer(x, z, return_attention=False):
        drawn, maps = [], []

        def net(x, z):
            hook = model.decoder.register_forward_hook(lambda *call: drawn.append(call[2]))
            try:
                result = before(x, z, return_attention)
            finally:
                hook.remove()
            maps.extend(result[1] if return_attention else ())
            return drawn[-1]  # (B, 3, H, W), before the tanh

        y = answer(net, x, z)
        return (y, maps) if return_attention else y

    model.forward = with_answer
