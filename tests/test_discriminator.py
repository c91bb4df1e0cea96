"""The critic's sizes, patches, conditioning and errors."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from mmagan_lite.config import Config
from mmagan_lite.discriminator import Discriminator


def make(image_size=64, critic_width=4, **changes):
    torch.manual_seed(0)
    config = Config.profile("laptop", image_size=image_size, critic_width=critic_width, **changes)
    return Discriminator(config), torch.rand(2, 3, image_size, image_size) * 2 - 1


@pytest.mark.parametrize("image_size", [32, 64, 128, 256])
def test_patches_are_8x8_at_every_image_size(image_size):
    critic, x = make(image_size)
    src, cls, cor = critic(x)
    assert src.shape == (2, 1, 8, 8)
    assert cls.shape == cor.shape == (2, 8)


@pytest.mark.parametrize("profile", ["smoke", "laptop"])
def test_each_profiles_critic_takes_the_profiles_images(profile):
    config = Config.profile(profile)
    side = config.image_size
    assert Discriminator(config)(torch.zeros(1, 3, side, side))[0].shape == (1, 1, 8, 8)


def test_parameters_by_hand():
    critic, _ = make(critic_width=64, conditional_patches=False)
    channels = [3, 64, 128, 256, 512, 1024]
    trunk = sum(16 * a * b + b for a, b in pairwise(channels))
    heads = 9 * 256 + 2 * (4 * 1024 * 8)
    assert sum(p.numel() for p in critic.parameters()) == trunk + heads == 11_214_016


def test_channels_double_up_to_sixteen_times_the_width():
    critic, _ = make(256)
    widths = [layer[0].out_channels for layer in [*critic.shallow, *critic.deep]]
    assert widths == [4, 8, 16, 32, 64, 64, 64]


@pytest.mark.parametrize("image_size", [32, 128])
def test_it_equals_its_layers_in_torch_functional(image_size):
    critic, x = make(image_size, conditional_patches=False)
    for parameter in critic.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    p = critic.parameters()
    maps = {}
    h = x
    while h.shape[-1] > 2:
        h = F.conv2d(F.pad(h, (1, 1, 1, 1)), next(p), next(p), stride=2)
        h = torch.where(h > 0, h, 0.01 * h)
        maps[h.shape[-1]] = h
    src = F.conv2d(F.pad(maps[8], (1, 1, 1, 1)), next(p))
    cls, cor = (torch.einsum("bcij,ncij->bn", maps[2], next(p)) for _ in range(2))
    assert list(p) == []
    for ours, expected in zip(critic(x), (src, cls, cor), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4 * expected.std().item())


@pytest.mark.parametrize(("image_size", "side"), [(32, 18), (64, 38), (128, 78)])
def test_receptive_field_is_what_the_gradient_of_one_patch_touches(image_size, side):
    critic, x = make(image_size)
    x = x.double().requires_grad_()
    critic.double()(x)[0][0, 0, 4, 4].backward()
    touched = x.grad[0].abs().sum(0) > 0  # (S, S)
    rows, columns = int(touched.any(1).sum()), int(touched.any(0).sum())
    assert rows == columns == critic.receptive_field == side


def test_class_and_coordinate_heads_see_the_whole_face():
    critic, x = make()
    x.requires_grad_()
    _, cls, cor = critic(x)
    for head in (cls, cor):
        (gradient,) = torch.autograd.grad(head[0].sum(), x, retain_graph=True)
        assert (gradient[0].abs().sum(0) > 0).all()


def test_conditional_patches_add_the_inner_product_with_the_expressions_vector():
    critic, x = make(conditional_patches=True)
    expression = torch.tensor([3, 6])
    plain, cls, cor = critic(x)
    assert torch.equal(critic(x, expression)[0], plain)  # the vectors start at zero
    torch.nn.init.normal_(critic.embedding.weight)
    conditioned, *heads = critic(x, expression)
    features = critic.shallow(x)
    for image, label in enumerate(expression):
        added = torch.einsum("c,chw->hw", critic.embedding.weight[label], features[image])
        torch.testing.assert_close(conditioned[image, 0], plain[image, 0] + added)
    assert torch.equal(critic(x)[0], plain)
    assert torch.equal(heads[0], cls)
    assert torch.equal(heads[1], cor)


def test_unconditional_patches_ignore_the_expression():
    critic, x = make(conditional_patches=False)
    assert torch.equal(critic(x, torch.tensor([3, 6]))[0], critic(x)[0])


def test_evaluation_mode_and_the_rest_of_the_batch_change_nothing():
    critic, x = make()
    trained = critic.train()(x)
    for ours, alone, same in zip(trained, critic(x[:1]), critic.eval()(x), strict=True):
        assert torch.equal(ours, same)
        torch.testing.assert_close(ours[:1], alone)
    assert list(critic.buffers()) == []


def test_gradients_reach_every_parameter():
    critic, x = make(conditional_patches=True)
    sum(head.square().sum() for head in critic(x, torch.arange(2))).backward()
    idle = [name for name, p in critic.named_parameters() if not p.grad.abs().sum() > 0]
    assert idle == []


def test_he_initialisation_keeps_the_scale_of_the_features():
    spread = {}
    for he_init in (True, False):
        critic, x = make(critic_width=16, he_init=he_init)
        spread[he_init] = critic.deep(critic.shallow(x)).std().item() / x.std().item()
    assert 0.5 < spread[True] < 2
    assert spread[False] < 0.2


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(1, 3, 32, 32),
        torch.zeros(3, 64, 64),
        torch.zeros(1, 1, 64, 64),
        torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
    ],
)
def test_wrong_images_are_named(x):
    critic, _ = make()
    with pytest.raises(ValueError, match=r"takes float images of shape \(B, 3, 64, 64\)"):
        critic(x)
