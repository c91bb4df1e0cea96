"""The generator's sizes, residual, conditioning and errors."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from mmagan_lite.config import Config
from mmagan_lite.expressions import encode
from mmagan_lite.generator import Generator, ResidualBlock


def make(profile="smoke", **changes):
    torch.manual_seed(0)
    config = Config.profile(profile, **changes)
    x = torch.rand(2, 3, config.image_size, config.image_size) * 2 - 1
    return Generator(config), x, encode(["happiness", "anger"], torch.tensor([0.5, 1.0]))


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_without_mmarm_it_has_as_many_parameters_as_stargan_with_eight_labels():
    assert count(Generator(Config.profile("paper", mmarm=False))) == 8_439_936


def test_parameters_of_an_mmarm_by_hand():
    body = 2 * (256 * 256 * 9 + 2 * 256)
    encoder_decoder = (256 * 64 + 64) + 5 * (64 * 64 * 9 + 64) + (64 * 256 + 256) + 2 * 256
    attention = (256 * 16 + 16) + (16 * 256 + 256) + (2 * 7 * 7 + 1)
    assert body == 1_180_672  # StarGAN's residual block
    generator = Generator(Config.profile("paper", blocks=1))
    assert count(generator.blocks[0]) == body + encoder_decoder + attention == 1_407_475
    assert count(Generator(Config.profile("paper"))) == 9_800_754


@pytest.mark.parametrize("profile", ["smoke", "laptop"])
@pytest.mark.parametrize("mmarm", [True, False])
@pytest.mark.parametrize("global_residual", [True, False])
def test_every_ablation_draws_images_at_the_profiles_size(profile, mmarm, global_residual):
    generator, x, z = make(profile, mmarm=mmarm, global_residual=global_residual)
    y, maps = generator(x, z, return_attention=True)
    assert y.shape == x.shape
    assert y.abs().max() <= (2 if global_residual else 1)
    assert torch.equal(generator(x, z), y)
    config = Config.profile(profile)
    assert len(maps) == (config.blocks if mmarm else 0)
    for attention in maps:
        side = config.image_size // 4
        assert attention.channel.shape == (2, 4 * config.width)
        assert attention.spatial.shape == (2, 1, side, side)


def normed(x, parameters):
    """Instance norm and ReLU in torch functional."""
    return F.relu(F.instance_norm(x, weight=next(parameters), bias=next(parameters)))


def test_the_trunk_equals_its_layers_in_torch_functional():
    generator, x, z = make(mmarm=False, blocks=2)
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    p = generator.parameters()
    h = torch.cat([x, z[:, :, None, None] * torch.ones_like(x[:, :1])], 1)  # photo, then code
    h = normed(F.conv2d(h, next(p), padding=3), p)
    for _ in range(2):
        h = normed(F.conv2d(h, next(p), stride=2, padding=1), p)
    for _ in range(2):
        body = normed(F.conv2d(h, next(p), padding=1), p)
        body = F.conv2d(body, next(p), padding=1)
        h = h + F.instance_norm(body, weight=next(p), bias=next(p))
    for _ in range(2):
        h = normed(F.conv_transpose2d(h, next(p), stride=2, padding=1), p)
    expected = torch.tanh(F.conv2d(h, next(p), padding=3)) + x
    assert list(p) == []
    torch.testing.assert_close(generator(x, z), expected, rtol=0, atol=1e-4)


def test_a_residual_block_with_a_silent_body_is_the_identity():
    block, x = ResidualBlock(4), torch.randn(2, 4, 8, 8)
    torch.nn.init.zeros_(block.body[-1].weight)
    assert torch.equal(block(x), x)


def test_attention_comes_in_the_order_of_the_blocks_each_fed_by_the_one_before():
    generator, x, z = make(blocks=3)
    fed, looked = [], []
    for block in generator.blocks:
        block.register_forward_hook(lambda _, args, out: fed.append((args[0], out[0])))
        block.register_forward_hook(lambda _, args, out: looked.append(out[1]))
    _, maps = generator(x, z, return_attention=True)
    assert all(
        torch.equal(ours.spatial, hook.spatial) for ours, hook in zip(maps, looked, strict=True)
    )
    assert all(torch.equal(after[0], before[1]) for before, after in pairwise(fed))


def test_a_silent_network_returns_the_photo_only_through_the_global_residual():
    for global_residual in (True, False):
        generator, x, z = make(global_residual=global_residual)
        torch.nn.init.zeros_(generator.decoder[-1].weight)
        assert torch.equal(generator(x, z), x * global_residual)


@pytest.mark.parametrize("losses", ["paper", "stabilised"])
def test_it_starts_near_the_identity(losses):
    generator, x, z = make("laptop", losses=losses)
    error = (generator(x, z) - x).square().mean()
    assert 10 * torch.log10(4 / error) > 20  # PSNR in dB


@pytest.mark.parametrize("changes", [{}, {"mmarm": False}, {"stem_norm": False}])
def test_evaluation_mode_and_the_rest_of_the_batch_change_nothing(changes):
    generator, x, z = make(**changes)
    generator(x + 1, z)  # running statistics, if there were any, would move here
    trained = generator.train()(x, z)
    assert torch.equal(generator.eval()(x, z), trained)
    torch.testing.assert_close(generator(x[:1], z[:1]), trained[:1])
    assert list(generator.buffers()) == []


def test_it_takes_any_sides_divisible_by_16():
    generator, _, z = make()
    for size in [(16, 16), (32, 48)]:
        x = torch.zeros(2, 3, *size)
        assert generator(x, z).shape == x.shape


def label_signal(padding_mode="zeros", **changes):
    """Root mean square by which another label moves the stem's output, away from the border."""
    generator, x, _ = make("laptop", losses="paper", **changes)
    generator.encoder[0].padding_mode = padding_mode

    def stem(expression):
        z_map = encode([expression] * 2)[:, :, None, None].expand(2, 8, 64, 64)
        return generator.encoder[:2](torch.cat([x, z_map], 1))

    change = stem("happiness") - stem("anger")
    return change[:, :, 3:-3, 3:-3].square().mean().sqrt().item()


def test_the_stems_norm_erases_the_label_and_reflection_padding_erases_all_of_it():
    reflection, zeros = label_signal("reflect"), label_signal("zeros")
    without_norm = label_signal("zeros", stem_norm=False)
    assert reflection < 1e-5
    assert 1e-3 < zeros < 0.5 * without_norm


def test_the_code_reaches_the_output():
    generator, x, z = make()
    assert (generator(x, z) - generator(x, 0 * z)).abs().max() > 1e-4


def test_gradients_reach_every_parameter_and_the_input():
    generator, x, z = make()
    x.requires_grad_()
    (generator(x, z) - x).square().sum().backward()
    assert x.grad.abs().sum() > 0
    idle = [name for name, p in generator.named_parameters() if not p.grad.abs().sum() > 0]
    assert idle == []


def test_he_initialisation_is_a_switch():
    deviations = []
    for he_init in (True, False):
        generator, _, _ = make("laptop", he_init=he_init)
        deviations.append(generator.blocks[0].body[0].weight.std().item())
    fan_in = 64 * 9
    assert deviations[0] == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)
    assert deviations[1] == pytest.approx((1 / 3 / fan_in) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("x", "z", "message"),
    [
        (torch.zeros(3, 32, 32), torch.zeros(1, 8), "x must be float images"),
        (torch.zeros(1, 1, 32, 32), torch.zeros(1, 8), "x must be float images"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.zeros(1, 8), "x must be float"),
        (torch.zeros(1, 3, 32, 40), torch.zeros(1, 8), "multiples of 16; got 32 x 40"),
        (torch.zeros(2, 3, 32, 32), torch.zeros(1, 8), r"shape \(2, 8\)"),
        (torch.zeros(1, 3, 32, 32), torch.zeros(1, 7), r"shape \(1, 8\)"),
        (torch.zeros(1, 3, 32, 32), torch.zeros(8), r"shape \(1, 8\)"),
    ],
)
def test_wrong_inputs_are_named(x, z, message):
    generator, _, _ = make()
    with pytest.raises(ValueError, match=message):
        generator(x, z)
