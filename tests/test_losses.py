"""Every equation by hand, against loops in float64, and by its gradient."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmagan_lite import losses
from mmagan_lite.config import Config


def integers(*values):
    return torch.tensor(values, dtype=torch.float64)


def numbers(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# Equation (1)


def test_adversarial_is_the_gap_between_mean_scores():
    real, fake = integers(4, 2, 0, 6).view(1, 1, 2, 2), integers(-1, 1, 3, 5).view(1, 1, 2, 2)
    assert losses.adversarial(real, fake) == 3 - 2


def test_the_two_players_pull_the_fake_scores_in_opposite_directions():
    fake = integers(0, 0, 0, 0).requires_grad_()
    losses.adversarial(integers(1, 1, 1, 1), fake).backward()
    assert fake.grad.tolist() == [-0.25] * 4  # minimising it, the generator raises its scores


def test_hinge_by_hand():
    real, fake = integers(3, 0), integers(-2, 1)
    # As usually written: mean(0, 1) + mean(0, 2) = 1.5, and ours is 2 minus that.
    assert F.relu(1 - real).mean() + F.relu(1 + fake).mean() == 1.5
    assert losses.hinge_adversarial(real, fake) == 0.5


def test_hinge_leaves_sure_patches_alone():
    real, fake = integers(3, 0).requires_grad_(), integers(-2, 1).requires_grad_()
    losses.hinge_adversarial(real, fake).backward()
    assert real.grad.tolist() == [0, 0.5]
    assert fake.grad.tolist() == [0, -0.5]


# Equation (2)


def test_reconstruction_averages_absolute_differences():
    x, back = integers(0, 1, 2, 3), integers(1, -1, 2, 6)
    assert losses.reconstruction(x, back) == (1 + 2 + 0 + 3) / 4


# Equations (3) and (4)


@pytest.mark.parametrize("fake_class", [False, True])
def test_classification_equals_a_loop(fake_class):
    logits, target = numbers(6, 8), [0, 7, 3, 3, 1, 8 if fake_class else 2]
    nats = []
    for row, label in zip(logits.numpy(), target, strict=True):
        scores = [*np.exp(row), 1.0] if fake_class else list(np.exp(row))  # exp(0) = 1
        nats.append(-math.log(scores[label] / sum(scores)))
    ours = losses.classification(logits, torch.tensor(target), fake_class)
    assert ours.item() == pytest.approx(np.mean(nats), rel=1e-12)


def test_guessing_costs_log_8_and_with_the_fake_class_log_9():
    logits, target = torch.zeros(5, 8), torch.arange(5)
    assert losses.classification(logits, target).item() == pytest.approx(math.log(8))
    assert losses.classification(logits, target, True).item() == pytest.approx(math.log(9))


def test_the_fake_class_pulls_all_eight_logits_down():
    logits = torch.zeros(1, 8, requires_grad=True)
    losses.classification(logits, torch.tensor([losses.FAKE]), True).backward()
    torch.testing.assert_close(logits.grad, torch.full((1, 8), 1 / 9))


# Equation (5)


def test_condition_regression_sums_over_coordinates_and_averages_over_images():
    cor, z = torch.zeros(2, 8), torch.zeros(2, 8)
    cor[0, 0], cor[0, 1], z[1, 5] = 1, 2, 3
    assert losses.condition_regression(cor, z) == (1 + 4 + 9) / 2


def test_condition_regression_leaves_unknown_images_out_of_value_and_gradient():
    cor, z = numbers(4, 8).requires_grad_(), numbers(4, 8, seed=1)
    z[1] = math.nan
    z[2, 3] = math.nan  # one unknown coordinate makes the code unknown
    loss = losses.condition_regression(cor, z)
    by_loop = sum((cor[i, j] - z[i, j]).item() ** 2 for i in (0, 3) for j in range(8)) / 2
    assert loss.item() == pytest.approx(by_loop, rel=1e-12)
    loss.backward()
    torch.testing.assert_close(cor.grad[[0, 3]], (cor - z)[[0, 3]].detach())
    assert not cor.grad[[1, 2]].any()


def test_condition_regression_of_no_known_image_is_zero_with_a_gradient():
    cor = numbers(2, 8).requires_grad_()
    loss = losses.condition_regression(cor, torch.full((2, 8), math.nan))
    loss.backward()
    assert loss == 0
    assert not cor.grad.any()


# Equation (6)


def test_estimated_intensity_by_hand():
    cor = torch.tensor([[0.1, 0.7, -2.0, 0, 0, 0, 0, 0]])
    logits = torch.zeros(1, 8)
    logits[0, 4] = math.log(7)  # 7 of 7 + 7
    assert losses.estimate_intensity(logits, cor, "coordinates").item() == pytest.approx(0.7)
    assert losses.estimate_intensity(logits, cor, "classes").item() == pytest.approx(0.5)


def test_estimated_intensity_knows_two_sources():
    with pytest.raises(ValueError, match="'classes' or 'coordinates'; got 'class'"):
        losses.estimate_intensity(torch.zeros(1, 8), torch.zeros(1, 8), "class")


def test_intensity_ignores_neutral_targets():
    rho_hat, rho = integers(5, 1, 0.5).requires_grad_(), integers(0, 0.5, 1)
    loss = losses.intensity(rho_hat, rho)
    assert loss == (0.25 + 0.25) / 2
    loss.backward()
    assert rho_hat.grad.tolist() == [0, 0.5, -0.5]


def test_intensity_of_a_neutral_batch_is_zero_with_a_gradient():
    rho_hat = integers(5, 1).requires_grad_()
    loss = losses.intensity(rho_hat, integers(0, 0))
    loss.backward()
    assert loss == 0
    assert not rho_hat.grad.any()


def pull(probability, rho, weight):
    """Slope of equations (4) + weight * (6) along the target's logit."""
    logits = torch.zeros(1, 8, dtype=torch.float64)
    logits[0, 1] = math.log(7 * probability / (1 - probability))
    logits.requires_grad_()
    rho_hat = losses.estimate_intensity(logits, logits, "classes")
    total = losses.classification(logits, torch.tensor([1]))
    (total + weight * losses.intensity(rho_hat, integers(rho))).backward()
    return logits.grad[0, 1].item()


def test_at_weight_one_the_intensity_loss_cannot_hold_the_class_probability_back():
    # -log p + w (p - rho)^2 is least at p = (rho + sqrt(rho^2 + 2 / w)) / 2, if that is below 1.
    balance = (0.5 + math.sqrt(0.5**2 + 2 / 4)) / 2  # 0.68 for rho = 0.5 at weight 4
    assert pull(balance, 0.5, 4) == pytest.approx(0, abs=1e-12)
    assert pull(balance + 0.01, 0.5, 4) > 0
    assert pull(0.999, 0.5, 1) < 0  # at weight 1 it goes on to certainty


# Penalties


def linear_critic(slope):
    """A 2x2 map of scores, each with this slope along one pixel: their mean has it too."""
    return lambda x: (slope * x[:, :1, :1, :1]).expand(-1, 1, 2, 2)


def test_penalties_of_a_linear_critic_by_hand():
    real, fake = numbers(3, 3, 4, 4), numbers(3, 3, 4, 4, seed=1)
    # The slope of the mean is 3; that of the sum, which StarGAN holds at 1, would be 12.
    assert losses.gradient_penalty(linear_critic(3), real, fake).item() == (3 - 1) ** 2
    assert losses.gradient_penalty(linear_critic(0.5), real, fake).item() == 0.25
    assert losses.r1_penalty(linear_critic(3), real).item() == 3**2


def test_penalties_average_the_slopes_of_single_images():
    x = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
    x[0, 0, 0, :] = integers(3, 4)  # half the squared norm has slope x: 5 and 0
    critic = lambda x: x.square().flatten(1).sum(1) / 2  # noqa: E731
    assert losses.r1_penalty(critic, x) == (25 + 0) / 2
    assert losses.gradient_penalty(critic, x, x) == (16 + 1) / 2


def test_interpolates_lie_between_real_and_fake_one_fraction_an_image():
    seen = []
    critic = lambda x: seen.append(x.detach()) or x.flatten(1).sum(1)  # noqa: E731
    generator = torch.Generator().manual_seed(0)
    shape = (256, 3, 2, 2)
    losses.gradient_penalty(critic, torch.zeros(shape), torch.ones(shape), generator)
    fractions = seen[0].flatten(1)
    assert (fractions == fractions[:, :1]).all()
    assert 0 <= fractions.min() < 0.05
    assert 0.95 < fractions.max() <= 1
    assert fractions.mean().item() == pytest.approx(0.5, abs=0.1)


def test_gradients_of_the_penalties_pass_gradcheck():
    real, fake = numbers(2, 3, 5, 5), numbers(2, 3, 5, 5, seed=1)
    weight = numbers(2, 3, 3, 3, seed=2).requires_grad_()

    def penalties(weight):
        critic = lambda x: F.conv2d(x, weight).tanh()  # noqa: E731
        generator = torch.Generator().manual_seed(0)
        penalty = losses.gradient_penalty(critic, real, fake, generator)
        return penalty, losses.r1_penalty(critic, real)

    assert torch.autograd.gradcheck(penalties, weight)


def test_the_gradient_penalty_equals_finite_differences():
    real, weight = numbers(1, 3, 3, 3), numbers(2, 3, 3, 3, seed=2)
    critic = lambda x: F.conv2d(x, weight, padding=1).tanh()  # noqa: E731
    squares, step = 0.0, 1e-5
    for pixel in range(27):
        nudge = torch.zeros(27, dtype=torch.float64)
        nudge[pixel] = step
        nudge = nudge.view(1, 3, 3, 3)
        rise = critic(real + nudge).mean() - critic(real - nudge).mean()
        squares += (rise.item() / (2 * step)) ** 2
    ours = losses.gradient_penalty(critic, real, real).item()
    assert ours == pytest.approx((math.sqrt(squares) - 1) ** 2, rel=1e-6)


def test_penalties_send_no_gradient_to_the_images():
    weight = numbers(1, 3, 1, 1, seed=2).requires_grad_()
    real, fake = numbers(2, 3, 2, 2).requires_grad_(), numbers(2, 3, 2, 2).requires_grad_()
    critic = lambda x: F.conv2d(x, weight).tanh()  # noqa: E731
    losses.gradient_penalty(critic, real, fake).backward()
    losses.r1_penalty(critic, real).backward()
    assert real.grad is None
    assert fake.grad is None
    assert weight.grad.any()


# Equations (7) and (8)


def test_the_generators_total_has_the_papers_signs_and_the_configs_weights():
    config = Config(lambda_cls=2, lambda_rec=3, lambda_info=4, lambda_rho=5)
    terms = {"adv": 1, "cls": 10, "rec": 100, "info": 1_000, "rho": 10_000}
    assert losses.generator_total(config, **terms) == 54_321


def test_the_critics_total_has_the_papers_signs_and_the_configs_weights():
    config = Config(lambda_cls=2, lambda_info=3, lambda_gp=4, lambda_r1=5, fake_class=6)
    terms = {"adv": 1, "cls": 10, "info": 100}
    assert losses.discriminator_total(config, **terms) == 320 - 1
    terms |= {"gp": 1_000, "r1": 10_000, "fake": 100_000}
    assert losses.discriminator_total(config, **terms) == 654_320 - 1


# CycleGAN's


def test_least_squares_by_hand():
    scores = integers(1, 3, -1, 0).view(2, 1, 1, 2)
    assert losses.least_squares(scores, 1) == (0 + 4 + 4 + 1) / 4
    assert losses.least_squares(scores, 0) == (1 + 9 + 1 + 0) / 4


def test_least_squares_pull_every_score_to_the_value_wanted():
    scores = integers(1, 3, -1, 0).requires_grad_()
    losses.least_squares(scores, 1).backward()
    assert scores.grad.tolist() == [0, 1, -1, -0.5]  # 2 * (score - 1) / 4


def test_cyclegans_total_weighs_the_identity_half_as_much_as_the_cycle():
    config = Config(lambda_rec=4, lambda_cls=100, lambda_info=100)
    assert losses.cyclegan_total(config, adv=1, rec=10, identity=1_000) == 1 + 40 + 2_000
