"""StarGAN and CycleGAN: published sizes, and forward passes rebuilt from padding and products.

The oracles below take a network's parameters in order and know nothing of its modules.
"""

import math
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import mmagan_lite as mg
from mmagan_lite import losses
from mmagan_lite.baselines import (
    CycleGAN,
    CycleGANCritics,
    CycleGANDiscriminator,
    CycleGANGenerator,
    StarGAN,
    StarGANDiscriminator,
    StarGANGenerator,
    networks,
)
from mmagan_lite.config import Config
from mmagan_lite.discriminator import Discriminator
from mmagan_lite.expressions import encode
from mmagan_lite.generator import Generator

ALL = [StarGANGenerator, StarGANDiscriminator, CycleGANGenerator, CycleGANDiscriminator]
CRITICS = [StarGANDiscriminator, CycleGANDiscriminator]


def tiny(image_size=32, **changes):
    values = dict(image_size=image_size, width=2, critic_width=2, blocks=2)
    values |= dict(conditional_patches=False) | changes
    return Config.profile("paper", **values)


def images(size=32, batch=2, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, size, size, generator=random, dtype=torch.float64) * 2 - 1


def codes(batch=2):
    return F.one_hot(torch.arange(batch) + 3, 8).double()


def run(network, x):
    """All that a network returns, as a tuple."""
    inputs = (x, codes(len(x))) if isinstance(network, StarGANGenerator) else (x,)
    out = network(*inputs)
    return out if isinstance(out, tuple) else (out,)


def shaken(network, seed=1):
    """In double precision and with every parameter random, so that none hides behind its start."""
    random = torch.Generator().manual_seed(seed)
    for parameter in network.double().parameters():
        spread = 0.5 if parameter.dim() == 1 else 1 / math.sqrt(parameter[0].numel())
        start = 1.0 if parameter.dim() == 1 else 0.0
        noise = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
        parameter.data = start + spread * noise
    return network


# Sizes


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_are_as_many_as_in_the_originals():
    paper = Config.profile("paper", losses="paper")
    assert [count(StarGANGenerator(paper, n)) for n in (5, 7, 8)] == [
        8_430_528,
        8_436_800,
        8_439_936,
    ]
    assert [count(StarGANDiscriminator(paper, n)) for n in (5, 7)] == [44_762_048, 44_778_432]
    assert count(CycleGANGenerator(paper)) == 7_837_699
    assert count(CycleGANGenerator(paper.replace(blocks=9))) == 11_378_179
    assert count(CycleGANDiscriminator(paper)) == 2_764_737


def test_eight_labels_are_the_default():
    config = tiny()
    assert count(StarGANGenerator(config)) == count(StarGANGenerator(config, 8))
    assert run(StarGANDiscriminator(config), images().float())[1].shape == (2, 8)


@pytest.mark.parametrize("make", [StarGANGenerator, CycleGANGenerator])
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (20, 48), (128, 128)])
def test_generators_return_images_of_the_same_size_within_the_range_of_tanh(make, size):
    network = shaken(make(tiny()))
    nn.init.normal_(network.decoder[-1].weight, std=30)  # push it to the edges of the range
    x = torch.zeros(2, 3, *size, dtype=torch.float64).normal_()
    (y,) = run(network, x)
    assert y.shape == x.shape
    assert 0.99 < y.max() <= 1
    assert -1 <= y.min() < -0.99


@pytest.mark.parametrize(("size", "side"), [(32, 2), (64, 2), (128, 2), (256, 4)])
def test_stargans_critic_has_2x2_scores_up_to_128_pixels(size, side):
    critic = StarGANDiscriminator(tiny(size, critic_width=1), labels=5)
    src, cls = critic(images(size).float())
    assert src.shape == (2, 1, side, side)
    assert cls.shape == (2, 5)


@pytest.mark.parametrize(("size", "side"), [(24, 1), (32, 2), (64, 6), (128, 14), (256, 30)])
def test_cyclegans_critic_has_14x14_scores_at_128_pixels(size, side):
    (scores,) = run(CycleGANDiscriminator(tiny()), images(size).float())
    assert scores.shape == (2, 1, side, side)


def test_profiles_of_the_course_fit():
    for profile in ("smoke", "laptop"):
        config = Config.profile(profile)
        x = images(config.image_size).float()
        for make in ALL:
            assert all(out.isfinite().all() for out in run(make(config), x))


@pytest.mark.parametrize(
    ("make", "side"), [(StarGANDiscriminator, 318), (CycleGANDiscriminator, 70)]
)
def test_one_score_sees_as_many_pixels_as_the_documentation_says(make, side):
    critic = shaken(make(tiny(128, critic_width=1)))
    layers = critic.trunk if make is StarGANDiscriminator else critic.layers
    kept = [layer for layer in layers if not isinstance(layer, nn.InstanceNorm2d)]  # sees all
    if make is StarGANDiscriminator:
        kept.append(critic.src)
    x = torch.randn(1, 3, 512, 512, dtype=torch.float64, requires_grad=True)
    scores = nn.Sequential(*kept)(x)
    middle = scores.shape[-1] // 2
    scores[0, 0, middle, middle].backward()
    touched = x.grad[0].abs().sum(0) > 0
    assert [int(touched.any(axis).sum()) for axis in (0, 1)] == [side, side]


# Forward passes against oracles


def zeros_around(x, width):
    batch, channels, h, w = x.shape
    framed = x.new_zeros(batch, channels, h + 2 * width, w + 2 * width)
    framed[:, :, width:-width, width:-width] = x
    return framed


def mirrored(x, width):
    """Continue the image beyond its border as in a mirror, the border itself not doubled."""
    for axis in (2, 3):
        n = x.shape[axis]
        places = [*range(width, 0, -1), *range(n), *range(n - 2, n - 2 - width, -1)]
        x = x.index_select(axis, torch.tensor(places))
    return x


def correlate(x, weight, stride=1, bias=None):
    """A convolution without padding: the inner product of the kernel with every window."""
    size = weight.shape[-1]
    windows = x.unfold(2, size, stride).unfold(3, size, stride)  # (B, C, h, w, k, k)
    out = torch.einsum("bchwij,ocij->bohw", windows, weight)
    return out if bias is None else out + bias[:, None, None]


def spread(x, weight, padding, bias=None):
    """A transposed convolution of stride 2 by its definition: every cell paints its kernel."""
    batch, _, h, w = x.shape
    size, channels = weight.shape[-1], weight.shape[1]
    canvas = x.new_zeros(batch, channels, 2 * h + size, 2 * w + size)
    for row in range(h):
        for column in range(w):
            painted = torch.einsum("bc,coij->boij", x[:, :, row, column], weight)
            canvas[:, :, 2 * row : 2 * row + size, 2 * column : 2 * column + size] += painted
    out = canvas[:, :, padding : padding + 2 * h, padding : padding + 2 * w]
    return out if bias is None else out + bias[:, None, None]


def normalise(x, scale=None, shift=None):
    """Each image's channel to mean 0 and variance 1, in loops."""
    out = torch.empty_like(x)
    for image in range(len(x)):
        for channel in range(x.shape[1]):
            values = x[image, channel]
            centred = values - values.sum() / values.numel()
            variance = (centred * centred).sum() / values.numel()
            out[image, channel] = centred / torch.sqrt(variance + 1e-5)
            if scale is not None:
                out[image, channel] = out[image, channel] * scale[channel] + shift[channel]
    return out


def positive(x):
    return torch.where(x > 0, x, 0)


def leaky(x, slope):
    return torch.where(x > 0, x, slope * x)


def stargan_generator(parameters, x, c, blocks):
    p = iter(parameters)
    tiled = torch.stack([torch.full_like(x[:, 0], 0) + value[:, None, None] for value in c.T], 1)
    h = torch.cat([x, tiled], 1)
    h = positive(normalise(correlate(zeros_around(h, 3), next(p)), next(p), next(p)))
    for _ in range(2):
        h = positive(normalise(correlate(zeros_around(h, 1), next(p), 2), next(p), next(p)))
    for _ in range(blocks):
        body = correlate(zeros_around(h, 1), next(p))
        body = positive(normalise(body, next(p), next(p)))
        body = correlate(zeros_around(body, 1), next(p))
        h = h + normalise(body, next(p), next(p))
    for _ in range(2):
        h = positive(normalise(spread(h, next(p), 1), next(p), next(p)))
    return torch.tanh(correlate(zeros_around(h, 3), next(p))), list(p)


def stargan_critic(parameters, x, depth):
    p = iter(parameters)
    for _ in range(depth):
        h = x = leaky(correlate(zeros_around(x, 1), next(p), 2, next(p)), 0.01)
    src = correlate(zeros_around(h, 1), next(p))
    return src, torch.einsum("bcij,ocij->bo", h, next(p)), h, list(p)


def cyclegan_generator(parameters, x, blocks):
    p = iter(parameters)
    h = positive(normalise(correlate(mirrored(x, 3), next(p), 1, next(p))))
    for _ in range(2):
        h = positive(normalise(correlate(zeros_around(h, 1), next(p), 2, next(p))))
    for _ in range(blocks):
        body = positive(normalise(correlate(mirrored(h, 1), next(p), 1, next(p))))
        h = h + normalise(correlate(mirrored(body, 1), next(p), 1, next(p)))
    for _ in range(2):
        h = positive(normalise(spread(h, next(p), 1, next(p))))
    return torch.tanh(correlate(mirrored(h, 3), next(p), 1, next(p))), list(p)


def cyclegan_critic(parameters, x):
    p = iter(parameters)
    h = leaky(correlate(zeros_around(x, 1), next(p), 2, next(p)), 0.2)
    for stride in (2, 2, 1):
        h = leaky(normalise(correlate(zeros_around(h, 1), next(p), stride, next(p))), 0.2)
    return correlate(zeros_around(h, 1), next(p), 1, next(p)), list(p)


@torch.no_grad()
def test_stargans_generator_equals_its_oracle():
    network, x = shaken(StarGANGenerator(tiny())), images(16)
    c = torch.rand(2, 8, dtype=torch.float64)
    expected, unused = stargan_generator(network.parameters(), x, c, blocks=2)
    assert unused == []
    torch.testing.assert_close(network(x, c), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("size", "depth"), [(32, 4), (64, 5), (128, 6), (256, 6)])
@torch.no_grad()
def test_stargans_critic_equals_its_oracle(size, depth):
    critic, x = shaken(StarGANDiscriminator(tiny(size, critic_width=1))), images(size)
    src, cls, _, unused = stargan_critic(critic.parameters(), x, depth)
    assert unused == []
    torch.testing.assert_close(critic(x)[0], src, rtol=0, atol=1e-10)
    torch.testing.assert_close(critic(x)[1], cls, rtol=0, atol=1e-10)


@torch.no_grad()
def test_stargans_scores_may_depend_on_the_label_by_an_inner_product_in_each_cell():
    critic, x = shaken(StarGANDiscriminator(tiny(conditional_patches=True))), images(batch=4)
    label = torch.tensor([0, 7, 3, 3])
    plain, cls, h, (embedding,) = stargan_critic(critic.parameters(), x, depth=4)
    src, logits = critic(x, label)
    for image, row, column in product(range(4), range(2), range(2)):
        inner = sum(embedding[label[image]] * h[image, :, row, column])
        expected = plain[image, 0, row, column] + inner
        assert src[image, 0, row, column].item() == pytest.approx(expected.item(), rel=1e-10)
    torch.testing.assert_close(critic(x)[0], plain, rtol=0, atol=1e-10)
    torch.testing.assert_close(logits, cls, rtol=0, atol=1e-10)  # classes do not know the label


@torch.no_grad()
def test_stargans_critic_starts_unconditional_and_stays_so_where_it_is_not_asked_for():
    x, label = images(), torch.tensor([1, 6])
    critic = StarGANDiscriminator(tiny(conditional_patches=True)).double()
    assert torch.equal(critic(x, label)[0], critic(x)[0])
    critic.embedding.weight[6, 0] = 1.0
    assert (critic(x, label)[0] != critic(x)[0]).flatten(1).any(1).tolist() == [False, True]
    plain = shaken(StarGANDiscriminator(tiny()))
    assert torch.equal(plain(x, label)[0], plain(x)[0])


@torch.no_grad()
def test_cyclegans_generator_equals_its_oracle():
    network, x = shaken(CycleGANGenerator(tiny())), images(16)
    expected, unused = cyclegan_generator(network.parameters(), x, blocks=2)
    assert unused == []
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-10)


@torch.no_grad()
def test_cyclegans_critic_equals_its_oracle():
    critic, x = shaken(CycleGANDiscriminator(tiny())), images()
    expected, unused = cyclegan_critic(critic.parameters(), x)
    assert unused == []
    torch.testing.assert_close(critic(x), expected, rtol=0, atol=1e-10)


# Relatives


def both(**changes):
    """Our generator with both switches off and StarGAN's, from the same seed."""
    config = tiny(mmarm=False, global_residual=False, blocks=3, **changes)
    networks = []
    for make in (Generator, StarGANGenerator):
        torch.manual_seed(0)
        networks.append(make(config))
    return networks


@pytest.mark.parametrize("losses_preset", ["paper", "stabilised"])
def test_our_generator_with_both_switches_off_is_stargans(losses_preset):
    ours, stargans = both(losses=losses_preset)
    pairs = list(zip(ours.parameters(), stargans.parameters(), strict=True))
    assert all(torch.equal(*pair) for pair in pairs)  # they start the same
    shaken(ours)
    for source, copy in zip(ours.parameters(), stargans.double().parameters(), strict=True):
        copy.data = source.data.clone()
    x, c = images(), codes()
    assert torch.equal(ours(x, c), stargans(x, c))
    # and with either switch on it is not:
    for switch in ("mmarm", "global_residual"):
        off = {"mmarm": False, "global_residual": False, switch: True}
        torch.manual_seed(0)
        other = Generator(tiny(blocks=3, **off)).double()
        assert (other(x, c) - stargans(x, c)).abs().max() > 0.1


def test_reflection_hides_a_constant_shift_and_zero_padding_shows_it():
    shift = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64).view(1, 3, 1, 1)
    changes = {}
    for make in (StarGANGenerator, CycleGANGenerator):
        network = shaken(make(tiny()))
        x = images() / 2
        changes[make] = (run(network, x)[0] - run(network, x + shift)[0]).abs().max().item()
    assert changes[CycleGANGenerator] < 1e-9  # instance norm subtracts it whole
    assert changes[StarGANGenerator] > 1e-2


def test_the_label_reaches_stargans_output_through_zero_padding_only():
    x = images()
    changes = {}
    for padding_mode in ("zeros", "reflect"):
        network = shaken(StarGANGenerator(tiny()))
        network.encoder[0].padding_mode = padding_mode
        changes[padding_mode] = (network(x, codes()) - network(x, codes().flip(0))).abs().max()
    assert changes["reflect"] < 1e-9
    assert changes["zeros"] > 1e-2


@pytest.mark.parametrize("make", ALL)
def test_evaluation_mode_and_the_rest_of_the_batch_change_nothing(make):
    network = shaken(make(tiny()))
    assert list(network.buffers()) == []
    x = images()
    run(network, x + 1)  # running statistics, if there were any, would move here
    trained = run(network.train(), x)
    evaluated, alone = run(network.eval(), x), run(network, x[:1])
    for ours, same, first in zip(trained, evaluated, alone, strict=True):
        assert torch.equal(ours, same)
        torch.testing.assert_close(ours[:1], first)


@pytest.mark.parametrize("make", ALL)
def test_every_parameter_learns_except_biases_in_front_of_a_norm(make):
    network = shaken(make(tiny()))
    x = images().requires_grad_()
    loss = sum((out * torch.randn_like(out)).sum() for out in run(network, x))
    loss.backward()
    idle = [n for n, p in network.named_parameters() if not p.grad.abs().max() > 1e-9]
    kinds = [type(layer) for layer in network.modules() if not list(layer.children())]
    norms = sum(kind is nn.InstanceNorm2d for kind in kinds)
    if make in (CycleGANGenerator, CycleGANDiscriminator):
        assert all(name.endswith("bias") for name in idle)
        assert len(idle) == norms == (9 if make is CycleGANGenerator else 3)
    else:
        assert idle == []
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("preset", ["paper", "stabilised"])
def test_he_initialisation_is_a_switch(make, preset):
    network = make(tiny(width=16, critic_width=16, losses=preset, blocks=1))
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    weight = convolutions[1].weight
    fan_in, slope = weight[0].numel(), {StarGANDiscriminator: 0.01, CycleGANDiscriminator: 0.2}
    pytorchs = make in (StarGANGenerator, StarGANDiscriminator) and preset == "paper"
    if preset == "stabilised":
        expected = math.sqrt(2 / (1 + slope.get(make, 0) ** 2) / fan_in)
    else:
        expected = math.sqrt(1 / 3 / fan_in) if pytorchs else 0.02
    assert weight.std().item() == pytest.approx(expected, rel=0.05)
    biases = [layer.bias for layer in convolutions if layer.bias is not None]
    assert any(bias.any() for bias in biases) == (pytorchs and bool(biases))


# As editors


@torch.no_grad()
def test_stargan_as_an_editor_ignores_the_intensity_and_has_a_code_for_neutral():
    model, x = shaken(StarGAN(tiny())), images(batch=8)
    expected = model.generator(x, torch.eye(8, dtype=torch.float64))
    for rho in (0.2, 0.7, 1.0):
        assert torch.equal(model(x, encode(torch.arange(8), rho)), expected)
    neutral = torch.eye(8, dtype=torch.float64)[:1].expand(8, 8)
    assert torch.equal(model(x, encode(torch.arange(8), 0.0)), model.generator(x, neutral))


class Line(nn.Module):
    """A generator that is easy to follow."""

    def __init__(self, slope, start):
        super().__init__()
        self.slope, self.start = slope, start

    def forward(self, x):
        return self.slope * x + self.start


def cyclegan_of_lines():
    """Forth it doubles and adds the label, back it takes three times and adds ten labels."""
    model = CycleGAN(tiny())
    for i in range(7):
        model.forth[i], model.back[i] = Line(2, 1 + i), Line(3, 10 * (1 + i))
    return model


def test_cyclegan_goes_from_one_expression_to_another_through_neutral():
    model = cyclegan_of_lines()
    source, target = torch.cartesian_prod(torch.arange(8), torch.arange(8)).flip(0).T  # all pairs
    x = torch.arange(64.0).view(64, 1, 1, 1).expand(64, 3, 2, 2)
    before = x.clone()
    expected = []
    for value, leave, reach in zip(range(64), source.tolist(), target.tolist(), strict=True):
        if leave != 0 and leave != reach:
            value = 3 * value + 10 * leave
        if reach != 0:
            value = 2 * value + reach
        expected.append(value)
    for rho in (1.0, 0.3):
        y = model(x, encode(target, rho), source)
        assert y.shape == x.shape
        assert y[:, 1, 0, 1].tolist() == expected
        assert torch.equal(y, y[:, :1, :1, :1].expand_as(y))
    assert torch.equal(x, before)


def test_cyclegan_takes_faces_for_neutral_unless_it_is_told():
    model, z = cyclegan_of_lines(), encode(["neutral", "happiness", "contempt"])
    x = torch.ones(3, 3, 2, 2)
    assert torch.equal(model(x, z), model(x, z, torch.zeros(3).long()))
    assert model(x, z)[:, 0, 0, 0].tolist() == [1, 2 + 1, 2 + 7]


@pytest.mark.parametrize("made", [0, 1])
def test_gradients_reach_the_generators_on_the_way_and_no_others(made):
    model, x = shaken(CycleGAN(tiny())), images().requires_grad_()
    y = model(x, encode(["fear", "anger"]), torch.tensor([2, 0]))
    y[made].square().sum().backward()
    touched = [name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()]
    ways = {tuple(name.split(".")[:2]) for name in touched}
    assert ways == ({("back", "1"), ("forth", "3")}, {("forth", "5")})[made]
    assert x.grad.flatten(1).any(1).tolist() == [made == 0, made == 1]


@pytest.mark.parametrize(
    ("model", "kinds"),
    [
        ("mmagan", (Generator, Discriminator)),
        ("stargan", (StarGAN, StarGANDiscriminator)),
        ("cyclegan", (CycleGAN, CycleGANCritics)),
    ],
)
def test_a_configuration_names_its_networks(model, kinds):
    made = networks(tiny(model=model, width=3, critic_width=5))
    assert tuple(map(type, made)) == kinds
    widths = []
    for network in made:
        first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
        widths.append(first.out_channels)
    assert widths == [3, 5]


# What CycleGAN's critics are shown


def numbered(count):
    """Flat pictures whose colours, each between two 8-bit levels, tell their number."""
    number = torch.arange(count)
    levels = torch.stack([number % 200, number // 200, torch.full_like(number, 77)], 1) + 0.25
    return (levels / 127.5 - 1).view(count, 3, 1, 1).repeat(1, 1, 32, 32)


def read(pictures):
    """Their numbers, and whether they were rounded to 8 bits."""
    levels = (pictures + 1) * 127.5
    below = (levels - 0.1).round()
    red, green, _ = below[:, :, 5, 5].long().T
    off = (levels - below).flatten(1)
    rounded = off.abs().amax(1) < 0.01
    assert ((off - 0.25).abs().amax(1) < 0.01)[~rounded].all()
    return red + 200 * green, rounded


def replayed(critics, pictures, seed=0, way=0, pair=2):
    random = torch.Generator().manual_seed(seed)
    return torch.cat([critics.replay(way, pair, some, random) for some in pictures.split(8)])


def test_until_its_pool_is_full_a_critic_sees_new_images_then_half_of_them_are_older():
    pictures = numbered(2000)
    seen = replayed(CycleGANCritics(tiny()), pictures)
    assert torch.equal(pictures, numbered(2000))  # left alone
    assert torch.equal(seen[:50], pictures[:50])
    given, (number, old) = torch.arange(2000), read(seen)
    assert torch.equal(seen[~old], pictures[~old])
    assert (number[old] < given[old]).all()
    assert len(number[old].unique()) == old.sum()  # once more only: a new one takes its place
    # Within four standard deviations, of a share of one half and of lives that end by chance:
    assert old[50:].float().mean().item() == pytest.approx(1 / 2, abs=4 * 0.5 / math.sqrt(1950))
    ages = (given - number)[old].double()  # 50 places, one emptied every second time
    assert ages.mean().item() == pytest.approx(100, abs=4 * 100 / math.sqrt(len(ages)))


def test_what_a_critic_sees_hangs_on_the_random_generator_alone():
    one, same, other = (
        replayed(CycleGANCritics(tiny()), numbered(120), seed) for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_every_network_has_a_pool_of_its_own():
    critics, some, others = CycleGANCritics(tiny()), *numbered(240).chunk(2)
    replayed(critics, some, way=0, pair=2)
    full = torch.zeros(2, 7, dtype=torch.long)
    full[0, 2] = 50
    assert torch.equal(critics.pooled, full)
    for way, pair in ((0, 3), (1, 2)):
        assert torch.equal(replayed(critics, others, 0, way, pair)[:50], others[:50])
    number, old = read(replayed(critics, some, way=0, pair=2))
    assert old.any()
    assert number.max() < 120  # none of the others


def test_pools_are_part_of_the_state():
    critics, copy = CycleGANCritics(tiny()), CycleGANCritics(tiny())
    replayed(critics, numbered(120))
    copy.load_state_dict(critics.state_dict())
    assert torch.equal(replayed(critics, numbered(40), 1), replayed(copy, numbered(40), 1))


# The gradient penalty on their critics


@pytest.mark.parametrize("make", CRITICS)
def test_the_gradient_penalty_equals_finite_differences(make):
    critic = shaken(make(tiny(critic_width=1)))
    real, fake, seen = images(), images(seed=5), []

    def scores(x):
        seen.append(x.detach().clone())
        return run(critic, x)[0]

    penalty = losses.gradient_penalty(scores, real, fake, torch.Generator().manual_seed(0))

    (x_hat,) = seen
    fractions = ((x_hat - fake) / (real - fake)).flatten(1)
    torch.testing.assert_close(fractions, fractions[:, :1].expand_as(fractions))
    step, total = 1e-6, 0.0
    nudges = step * torch.eye(3 * 32 * 32, dtype=torch.float64).view(-1, 3, 32, 32)
    with torch.no_grad():
        for image in x_hat:
            squares = 0.0
            for some in nudges.split(512):
                rise = run(critic, image + some)[0] - run(critic, image - some)[0]
                squares += (rise.mean((1, 2, 3)) / (2 * step)).square().sum().item()
            total += (math.sqrt(squares) - 1) ** 2
    assert penalty.item() == pytest.approx(total / 2, rel=1e-6)

    penalty.backward()  # and so does its slope along a weight of the first layer
    weight = next(critic.parameters())
    slope = weight.grad[0, 1, 2, 3].item()
    moved = []
    for side in (step, -step):
        with torch.no_grad():
            weight[0, 1, 2, 3] += side
        again = losses.gradient_penalty(scores, real, fake, torch.Generator().manual_seed(0))
        moved.append(again.item())
        with torch.no_grad():
            weight[0, 1, 2, 3] -= side
    assert slope == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-5, abs=1e-9)


def test_stargans_own_penalty_holds_the_sum_of_its_four_scores_ours_their_mean():
    critic, x = shaken(StarGANDiscriminator(tiny(critic_width=1))), images(batch=1)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x)[0].sum(), x)
    slope = gradient.square().sum().sqrt().item()  # StarGAN's
    ours = losses.gradient_penalty(lambda x: critic(x)[0], x, x).item()
    assert ours == pytest.approx((slope / 4 - 1) ** 2, rel=1e-9)


# Errors


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, 32, 32), r"float images of shape \(B, 3, .* of shape \(3, 32, 32\)"),
        (torch.zeros(1, 1, 32, 32), r"float images of shape \(B, 3, .* of shape \(1, 1, 32, 32\)"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), r"float images of .* got torch\.uint8"),
        (torch.zeros(1, 3, 32, 30), r"32( x |, )30.*(Resize|multiples)"),
        (torch.zeros(1, 3, 30, 32), r"30( x |, )32.*(Resize|multiples)"),
        (torch.zeros(1, 3, 4, 32), r"\b4( x |, )32.*(Resize|at least)"),
        (torch.zeros(1, 3, 32, 4), r"\b32( x |, )4\b.*(Resize|at least)"),
    ],
)
def test_wrong_images_are_named(make, x, message):
    network = make(tiny())
    with pytest.raises(ValueError, match=message):
        network(x, torch.zeros(1, 8)) if make is StarGANGenerator else network(x)


@pytest.mark.parametrize(
    "c", [torch.zeros(1, 8), torch.zeros(2, 7), torch.zeros(8), torch.zeros(2, 8).long()]
)
def test_wrong_codes_are_named(c):
    network = StarGANGenerator(tiny())
    with pytest.raises(ValueError, match=r"one float code for each image, shape \(2, 8\)"):
        network(torch.zeros(2, 3, 32, 32), c)


def test_the_package_exports_them():
    for make in ALL:
        assert getattr(mg, make.__name__) is make
