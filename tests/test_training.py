"""The trainer: who learns when, exact resuming, and failures that leave the last checkpoint."""

import copy
import csv
import math
import os
import re
import signal
import subprocess
import sys
import time
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from mmagan_lite import losses, training
from mmagan_lite.baselines import CycleGANCritics
from mmagan_lite.config import Config
from mmagan_lite.data import Faces, batch_indices
from mmagan_lite.expressions import encode
from mmagan_lite.training import COLUMNS, Trainer, augment


class Patterns(Faces):
    """Faces of noise in which a bright bar tells the expression, its brightness the intensity."""

    def __init__(self, count=40, size=32):
        random = torch.Generator().manual_seed(1)
        self.size = size
        self.identity = torch.arange(count)
        self.expression = torch.randint(8, (count,), generator=random)
        rho = 0.2 + 0.8 * torch.rand(count, generator=random)
        self.rho = rho.masked_fill(self.expression == 0, 0)
        self.images = torch.randint(100, (count, 3, size, size), generator=random).byte()
        for i, label in enumerate(self.expression.tolist()):
            self.images[i, :, 4 * label : 4 * label + 4] += int(50 + 100 * self.rho[i])

    def pixels(self, indices):
        return self.images[indices]


def showing(*labels):
    """Patterns of these expressions only."""
    data = Patterns()
    data.expression = torch.tensor(labels)[data.expression % len(labels)]
    data.rho = data.rho.masked_fill(data.expression == 0, 0)
    return data


def smoke(**changes):
    return Config.profile("smoke", **changes)


def weights(trainer):
    parts = {"generator": trainer.generator, "critic": trainer.critic, "average": trainer.average}
    return {
        f"{name}.{key}": value.clone()
        for name, part in parts.items()
        for key, value in part.state_dict().items()
    }


def same(some, others):
    return all(torch.equal(some[key], others[key]) for key in some | others)


def timeless(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


# --- the steps -----------------------------------------------------------------------------------

BRANCHES = {
    "stabilised": {},
    "paper": {"losses": "paper"},
    "wgan with all extras": {"adversarial": "wgan", "lambda_gp": 10.0, "rho_estimate": "classes"},
    "hinge alone": {"losses": "paper", "adversarial": "hinge", "critic_steps": 1},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "StarGAN": {"model": "stargan"},
    "StarGAN, paper": {"model": "stargan", "losses": "paper"},
    "StarGAN, bfloat16": {"model": "stargan", "precision": "bfloat16"},
}
COORDINATES = {"critic_info", "generator_info", "generator_rho"}  # StarGAN has none


@pytest.mark.parametrize("changes", BRANCHES.values(), ids=BRANCHES)
def test_every_branch_trains_all_weights_with_finite_losses(changes):
    config = smoke(steps=2, **changes)
    trainer = Trainer(config, Patterns())
    before = weights(trainer)
    trainer.fit()
    after = weights(trainer)
    still = [key for key, value in after.items() if torch.equal(value, before[key])]
    assert still == []
    assert [row["step"] for row in trainer.history] == [-1, 0, 1, 2][-len(trainer.history) :]
    assert len(trainer.history) == 2 + 2 * config.warmup
    used = {"critic_fake": config.fake_class, "critic_gp": config.lambda_gp}
    row = trainer.history[-1]
    assert {key for key in used if key in row} == {key for key, weight in used.items() if weight}
    optional = {"critic_fake", "critic_gp", "critic_r1", "generator_identity"}
    lacking = COORDINATES if config.model == "stargan" else set()
    assert set(row) | optional == set(COLUMNS) - lacking


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_cyclegan_trains_all_weights_of_its_pairs_with_finite_losses(precision):
    trainer = Trainer(smoke(model="cyclegan", precision=precision), showing(0, 3, 7))
    before = weights(trainer)
    trainer.fit()
    after = weights(trainer)
    still = {key for key in before if torch.equal(after[key], before[key])}
    of_pairs = {key for key in before if network_of(key)[-1:] in ((2,), (6,))}
    assert all(key.endswith("bias") for key in still & of_pairs)  # norms subtract most of these
    assert [row["step"] for row in trainer.history] == [1, 2, 3, 4]  # no warm-up
    terms = {"generator_adv", "generator_rec", "generator_identity", "critic_adv"}
    assert all(set(row) == terms | {"step", "seconds", "gap", "change"} for row in trainer.history)


def network_of(key):
    """Whose weight it is: ("generator", "critic" or "average", way, pair) of CycleGAN, else ()."""
    match = re.match(r"(\w+)\.(?:module\.)?(forth|back)\.(\d)\.", key)
    return (match[1], match[2], int(match[3])) if match else ()


def test_cyclegans_pairs_take_turns_and_all_others_rest():
    trainer = Trainer(smoke(model="cyclegan"), showing(0, 1, 7))
    for step, label in enumerate((1, 7, 1, 7)):
        before = weights(trainer)
        trainer.fit(steps=1)
        after = weights(trainer)
        moved = {network_of(key) for key in before if not torch.equal(before[key], after[key])}
        learned = {network for network in moved - {()} if network[0] != "average"}
        assert learned == set(product(("generator", "critic"), ("forth", "back"), (label - 1,)))
        averaged = {network[2] for network in moved - {()} - learned}
        assert averaged == ({label - 1} if step < 2 else {0, 6})  # it follows slowly


def test_cyclegans_domains_hold_one_expression_and_all_its_faces():
    data = Patterns()
    trainer = Trainer(smoke(model="cyclegan"), data)
    for label in range(8):
        everyone = data.batch((data.expression == label).nonzero())["image"]
        found = [trainer._domain(label, turn, 1) for turn in range(len(everyone))]
        assert sorted(x.numpy().tobytes() for x in found) == sorted(
            x.numpy().tobytes() for x in everyone
        )
        assert len(trainer._domain(label, 3, 50)) == 50  # more than there are: some come again


def test_each_network_learns_in_its_own_steps_only():
    trainer = Trainer(smoke(warmup_steps=3), Patterns())
    before = weights(trainer)
    trainer.fit(steps=0)
    after = weights(trainer)
    moved = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert moved == {"critic"}
    for still in ("generator", "critic"):
        trainer = Trainer(smoke(warmup=False, **{f"lr_{still}": 0.0}), Patterns())
        before = weights(trainer)
        trainer.fit(steps=2)
        after = weights(trainer)
        moved = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
        assert (still in moved, len(moved & {"generator", "critic"})) == (False, 1)


def test_the_critic_takes_as_many_steps_as_asked(monkeypatch):
    taken = []
    for name in ("train_critic", "train_generator"):
        step = getattr(Trainer, name)
        monkeypatch.setattr(
            Trainer, name, lambda *a, name=name, step=step, **k: taken.append(name) or step(*a, **k)
        )
    Trainer(smoke(warmup=False, critic_steps=3), Patterns()).fit(steps=2)
    assert taken == 2 * (3 * ["train_critic"] + ["train_generator"])


def test_r1_is_paid_every_so_many_critic_steps():
    trainer = Trainer(smoke(steps=7, warmup=False, r1_every=3), Patterns()).fit()
    assert [row["step"] for row in trainer.history if "critic_r1" in row] == [1, 4, 7]


def test_reals_of_unknown_intensity_train_classes_but_not_coordinates():
    data = Patterns()
    data.rho = torch.full_like(data.rho, math.nan)
    trainer = Trainer(smoke(), data).fit()
    warm_up = [row["critic_info"] for row in trainer.history if row["step"] <= 0]
    assert warm_up == [0, 0]
    assert all(math.isfinite(value) for row in trainer.history for value in row.values())


def test_targets_are_expressions_of_the_data():
    data = Patterns()
    data.expression = torch.where(data.expression > 3, 6, 2)  # two of the eight
    trainer = Trainer(smoke(), data)
    target, rho = trainer._targets(400)
    assert target.unique().tolist() == [2, 6]
    assert 0.4 < (target == 6).float().mean() < 0.6
    assert rho.min() >= 0


def test_targets_below_a_fifth_are_neutral_where_the_data_have_neutral_faces():
    target, rho = Trainer(smoke(), Patterns())._targets(4000)
    assert rho[target > 0].min() >= 0.2
    assert not rho[target == 0].any()
    shares = target.bincount(minlength=8) / len(target)
    assert abs(shares[0] - (1 / 8 + 7 / 8 * 0.2)) < 0.03
    assert (shares[1:] - 0.1).abs().max() < 0.02


READERS = {"ours": {}, "bfloat16": {"precision": "bfloat16"}, "StarGAN": {"model": "stargan"}}


@pytest.mark.parametrize("changes", READERS.values(), ids=READERS)
def test_the_critic_learns_to_read_what_is_plain_to_see(changes):
    values = dict(warmup_batch_size=32, critic_width=16, augment=0.5, lr_critic=1e-3)
    config = smoke(warmup_steps=50, **values, **changes)
    trainer = Trainer(config, Patterns(count=400)).fit(steps=0)
    assert np.mean([row["accuracy_real"] for row in trainer.history[:3]]) < 0.4
    assert np.mean([row["accuracy_real"] for row in trainer.history[-5:]]) > 0.9
    if config.model == "mmagan":
        assert trainer.history[-1]["critic_info"] < 0.2


def test_learning_rates_fall_linearly_in_the_second_half():
    trainer = Trainer(smoke(steps=8, warmup=False, lr_generator=8.0, lr_critic=16.0), Patterns())
    rates = []
    for trainer.step in range(8):
        trainer._set_learning_rates()
        rates.append(trainer.generator_optimiser.param_groups[0]["lr"])
        assert trainer.critic_optimiser.param_groups[0]["lr"] == 2 * rates[-1]
    assert rates == [8, 8, 8, 8, 8, 6, 4, 2]


def test_the_model_is_the_moving_average_with_a_growing_memory():
    trainer = Trainer(smoke(steps=5, warmup=False, ema_decay=0.25), Patterns())
    expected = None
    for t in range(5):
        trainer.fit(steps=1)
        now = trainer.generator.encoder[0].weight.detach().double()
        decay = min(0.25, (1 + t) / (10 + t))
        expected = now.clone() if t == 0 else decay * expected + (1 - decay) * now
    found = trainer.model.encoder[0].weight
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-7)
    assert not trainer.model.training


def test_the_way_back_is_the_critics_coordinates_within_0_and_1(monkeypatch):
    trainer = Trainer(smoke(warmup=False), Patterns())
    codes = []
    trainer.generator.register_forward_hook(lambda _, args, __: codes.append(args[1]))
    heads = []
    trainer.critic.register_forward_hook(lambda *args: heads.append(args[2]))
    trainer.train_step()
    _, z_back = codes
    assert torch.equal(z_back, heads[0][2][:4].clamp(0, 1))
    assert not z_back.requires_grad
    assert len(heads) == 3  # real and generated together, the R1 penalty, the generator's


def test_stargans_way_back_is_the_label_of_the_input_as_one_hot_code_neutrals_too():
    data = Patterns()
    trainer = Trainer(smoke(model="stargan", warmup=False, batch_size=40), data)
    codes = []
    trainer.generator.generator.register_forward_hook(lambda _, args, __: codes.append(args[1]))
    trainer.train_step()
    own = data.expression[batch_indices(40, 40, 0)]
    assert own.unique().tolist() == list(range(8))
    _, back = codes
    assert torch.equal(back, torch.eye(8)[own])


def test_codes_in_the_loop_are_those_of_encode_and_unknown_where_the_intensity_is():
    expression, rho = torch.arange(8).repeat(2), torch.rand(16)
    rho[:2] = 1.0  # a neutral face is neutral at any strength
    assert torch.equal(training._codes(expression, rho), encode(expression, rho))
    unknown = training._codes(expression, torch.full_like(rho, math.nan))
    assert unknown.isnan().all()


# --- precision -----------------------------------------------------------------------------------

MODELS = ("mmagan", "stargan", "cyclegan")
PENALISED = {"warmup": False, "lambda_gp": 10.0}  # with R1, both


def types_of_convolutions(network):
    """A list that will hold the type of whatever the network's convolutions give."""
    seen = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    return seen


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_convolutions_run_in_the_precision_asked_for_and_penalties_in_float32(precision, model):
    trainer = Trainer(smoke(model=model, precision=precision, **PENALISED), Patterns())
    drawn, judged = map(types_of_convolutions, (trainer.generator, trainer.critic))
    trainer.train_step()
    asked = getattr(torch, precision)
    assert set(drawn) == {asked}
    if model == "cyclegan":
        assert set(judged) == {asked}
    else:  # both kinds of images, the two penalties, the generator's step: as many layers each
        layers = len(judged) // 4
        each = [set(judged[i * layers : (i + 1) * layers]) for i in range(4)]
        assert each == [{asked}, {torch.float32}, {torch.float32}, {asked}]
        judged.clear()
        trainer.warm_up()
        assert set(judged) == {asked}


@pytest.mark.parametrize("model", MODELS)
def test_weights_and_losses_stay_float32(model, monkeypatch):
    row, minimise, types = Trainer._row, training._minimise, set()

    def noting_terms(trainer, step, values):
        types.update(value.dtype for value in values.values())
        return row(trainer, step, values)

    def noting_totals(loss, optimiser, scaler):
        types.add(loss.dtype)
        minimise(loss, optimiser, scaler)

    monkeypatch.setattr(Trainer, "_row", noting_terms)
    monkeypatch.setattr(training, "_minimise", noting_totals)
    config = smoke(model=model, precision="bfloat16", lambda_gp=10.0, augment=0.0)
    trainer = Trainer(config, Patterns()).fit()
    types |= {value.dtype for value in weights(trainer).values() if value.is_floating_point()}
    for optimiser in (trainer.generator_optimiser, trainer.critic_optimiser):
        for state in optimiser.state.values():
            types |= {value.dtype for value in state.values()}
    assert types == {torch.float32}


def test_the_gradients_of_float16_are_those_of_float32_but_for_rounding():
    means = []
    for precision in ("float32", "float16"):
        trainer = Trainer(smoke(precision=precision), Patterns())
        trainer.train_step()
        states = [
            optimiser.state[weight]["exp_avg"].flatten()
            for optimiser in (trainer.generator_optimiser, trainer.critic_optimiser)
            for weight in optimiser.param_groups[0]["params"]
        ]
        means.append(torch.cat(states))  # Adam's first running mean is half of the gradient
    exact, rounded = means
    # A generator's gradient passes some forty roundings, and some ReLUs that open or close.
    assert (rounded - exact).norm() < 0.15 * exact.norm()


@pytest.mark.parametrize("model", MODELS)
def test_a_first_step_in_bfloat16_is_float32s_but_for_rounding(model):
    exact, rounded = (
        Trainer(smoke(model=model, precision=precision, **PENALISED), Patterns()).train_step()
        for precision in ("float32", "bfloat16")
    )
    # Eight bits: a convolution's result is off by 1/512 of itself at most. On the way to a loss lie
    # about 16 of them, and scores, which may be near 0, are of the size of 1.
    values = {key: value for key, value in exact.items() if "accuracy" not in key}
    near = pytest.approx(values, rel=16 / 512, abs=16 / 512)
    assert {key: rounded[key] for key in values} == near
    if model != "cyclegan":
        assert rounded["critic_r1"] == exact["critic_r1"]  # of the same faces and weights
    assert rounded["generator_adv"] != exact["generator_adv"]


# --- the steps again, from the paper's formulas ---------------------------------------------------


class Precise(Trainer):
    """A trainer in double precision that remembers what each of its steps began with."""

    def __init__(self, config, data):
        super().__init__(config, data)
        for network in (self.generator, self.critic, self.average):
            network.double()

    def _real(self, number, batch_size):
        x, own, z_own = super()._real(number, batch_size)
        indices = [int(i) for i in batch_indices(len(self.data), batch_size, number, 0)]
        rho = self.data.rho[indices]
        self.real = x.double(), own, code(own, rho)
        self.before = copy.deepcopy((self.generator, self.critic))
        return x.double(), own, z_own

    def _targets(self, count):
        self.asked = super()._targets(count)
        self.dice = self.random.clone_state()
        return self.asked

    def train_generator(self, *args):
        self.critic_after = copy.deepcopy(self.critic)
        return super().train_generator(*args)


def code(label, rho):
    """z = rho * onehot, zeros for neutral; NaN where the intensity is unknown."""
    z = rho.double()[:, None] * F.one_hot(label, 8)
    return torch.where(((label == 0) & ~rho.isnan())[:, None], 0.0, z)


def entropy(logits, label, ninth):
    """Cross-entropy in nats; the class of generated images, if any, has the fixed logit 0."""
    if ninth:
        logits = torch.cat([logits, logits.new_zeros(len(logits), 1)], 1)
    chances = logits.exp() / logits.exp().sum(1, keepdim=True)
    return -chances[torch.arange(len(label)), label].log().mean()


def distance(cor, z):
    known = [i for i in range(len(z)) if not z[i].isnan().any()]
    return sum(((cor[i] - z[i]) ** 2).sum() for i in known) / max(len(known), 1)


def slopes(critic, x, label):
    """Length of the gradient of each image's mean score."""
    lengths = []
    for i in range(len(x)):
        image = x[i : i + 1].detach().clone().requires_grad_()
        score = critic(image, label[i : i + 1])[0].mean()
        (gradient,) = torch.autograd.grad(score, image, create_graph=True)
        lengths.append((gradient**2).sum().sqrt())
    return torch.stack(lengths)


def edit(config, generator, x, label, rho):
    """G(x, z); StarGAN's generator reads a one-hot label, neutral's too, and no intensity."""
    if config.model == "stargan":
        return generator.generator(x, torch.eye(8, dtype=x.dtype)[label])
    return generator(x, code(label, rho))


def equation_8(t, penalised):
    """The critic's terms and their total, from what the step began with."""
    config, (generator, critic) = t.config, t.before
    (x, own, z_own), (target, rho) = t.real, t.asked
    z = code(target, rho)
    y, ninth = edit(config, generator, x, target, rho).detach(), config.fake_class > 0
    (src_x, cls_x, *cor_x), (src_y, cls_y, *cor_y) = critic(x, own), critic(y, target)
    terms = {"adv": src_x.mean() - src_y.mean()}
    if config.adversarial == "hinge":
        terms["adv"] = 2 - F.relu(1 - src_x).mean() - F.relu(1 + src_y).mean()
    terms["cls"] = entropy(cls_x, own, ninth)
    if config.model == "mmagan":
        terms["info"] = distance(*cor_y, z)
        if config.coordinates_on_real:
            terms["info"] = terms["info"] + distance(*cor_x, z_own)
    if ninth:
        terms["fake"] = entropy(cls_y, torch.full_like(target, 8), ninth)
    if config.lambda_gp:
        alpha = torch.rand(len(x), 1, 1, 1, generator=t.dice, dtype=x.dtype)
        between = alpha * x + (1 - alpha) * y
        terms["gp"] = ((slopes(critic, between, own) - 1) ** 2).mean()
    if penalised:
        terms["r1"] = config.r1_every * (slopes(critic, x, own) ** 2).mean()
    weights = {"adv": -1, "cls": config.lambda_cls, "info": config.lambda_info}
    weights |= {"fake": config.fake_class, "gp": config.lambda_gp, "r1": config.lambda_r1}
    gap = src_x.mean() - src_y.mean()
    return terms, sum(weights[key] * term for key, term in terms.items()), gap, src_x, cor_x


def way_back(t, y, cor_x):
    """The edit of y that should be x again."""
    generator, own = t.before[0], t.real[1]
    if t.config.model == "stargan":
        return edit(t.config, generator, y, own, None)
    return generator(y, cor_x[0].detach().clamp(0, 1))


def equation_7(t, src_x, cor_x):
    """The generator's terms and their total, judged by the critic that has just learned."""
    config, (generator, _), critic = t.config, t.before, t.critic_after
    (x, _, _), (target, rho) = t.real, t.asked
    z = code(target, rho)
    y = edit(config, generator, x, target, rho)
    src, cls, *cor = critic(y, target)
    terms = {
        "adv": src_x.detach().mean() - src.mean(),
        "cls": entropy(cls, target, config.fake_class > 0),
        "rec": (x - way_back(t, y, cor_x)).abs().mean(),
    }
    if config.model == "mmagan":
        rho_hat = cor[0].max(1).values
        if config.rho_estimate == "classes":
            rho_hat = (cls.exp() / cls.exp().sum(1, keepdim=True)).max(1).values
        expressive = [i for i in range(len(x)) if target[i] > 0]
        squares = [(rho_hat[i] - rho[i]) ** 2 for i in expressive]
        terms |= {"info": distance(*cor, z), "rho": sum(squares) / len(squares)}
    weights = {"adv": 1, "cls": config.lambda_cls, "rec": config.lambda_rec}
    weights |= {"info": config.lambda_info, "rho": config.lambda_rho}
    return terms, sum(weights[key] * term for key, term in terms.items()), (y - x).abs().mean()


def assert_gradients(network, total, parameters):
    expected = torch.autograd.grad(total, list(parameters), allow_unused=True)
    for (name, parameter), gradient in zip(network.named_parameters(), expected, strict=True):
        pair = [torch.zeros(1).double() if g is None else g for g in (parameter.grad, gradient)]
        assert torch.allclose(*pair, rtol=1e-6, atol=1e-9), name


def half_known():
    data = Patterns()
    data.rho[::2] = math.nan
    return data


FORMULAS = {
    "stabilised": {},
    "paper": {"losses": "paper", "critic_steps": 1},
    "mixed": {"lambda_gp": 10.0, "rho_estimate": "classes", "coordinates_on_real": False},
    "StarGAN": {"model": "stargan"},
    "StarGAN, paper": {"model": "stargan", "losses": "paper", "critic_steps": 1},
}


@pytest.mark.parametrize("changes", FORMULAS.values(), ids=FORMULAS)
def test_two_steps_have_the_terms_and_gradients_of_equations_8_and_7(changes):
    weights = dict(lambda_cls=2.0, lambda_rec=3.0, lambda_info=5.0, lambda_rho=7.0)
    config = smoke(augment=0.0, warmup=False, r1_every=2, **weights, **changes)
    t = Precise(config, half_known())
    for step in range(2):  # in the second, what the first left behind must be gone
        row = t.train_step()
        terms, total, gap, src_x, cor_x = equation_8(t, config.lambda_r1 > 0 and step == 0)
        assert_gradients(t.critic, total, t.before[1].parameters())
        found = {key: row.pop(f"critic_{key}") for key in terms}
        assert found == pytest.approx({key: term.item() for key, term in terms.items()}, rel=1e-5)
        assert row.pop("gap") == pytest.approx(gap.item(), rel=1e-5)
        terms, total, change = equation_7(t, src_x, cor_x)
        assert_gradients(t.generator, total, t.before[0].parameters())
        found = {key: row.pop(f"generator_{key}") for key in terms}
        assert found == pytest.approx({key: term.item() for key, term in terms.items()}, rel=1e-5)
        assert row.pop("change") == pytest.approx(change.item(), rel=1e-5)
        assert row.keys() == {"step", "accuracy_real", "accuracy_fake"}


@pytest.mark.parametrize("model", ["mmagan", "stargan"])
def test_warm_up_steps_have_the_terms_and_gradients_of_the_critics_equations(model):
    config = smoke(model=model, augment=0.0, lambda_cls=2.0, lambda_info=5.0)
    t = Precise(config, half_known())
    for _ in range(2):
        row = t.warm_up()
        (x, own, z_own), critic = t.real, t.before[1]
        _, cls, *cor = critic(x, own)
        terms = {"cls": entropy(cls, own, True)}
        if model == "mmagan":
            terms["info"] = distance(*cor, z_own)
        total = sum({"cls": 2, "info": 5}[key] * term for key, term in terms.items())
        assert_gradients(t.critic, total, critic.parameters())
        found = {key: row.pop(f"critic_{key}") for key in terms}
        assert found == pytest.approx({key: term.item() for key, term in terms.items()}, rel=1e-5)
        assert row.keys() == {"step", "accuracy_real"}


class PrecisePairs(Precise):
    """The same for CycleGAN."""

    def train_pair(self):
        self.domains, self.before = {}, copy.deepcopy((self.generator, self.critic))
        return super().train_pair()

    def _domain(self, label, turn, count):
        self.domains[label] = super()._domain(label, turn, count).double()
        return self.domains[label]


def cyclegans_generators(t, label):
    """The terms of both generators of neutral - label, and their total."""
    generators, critics = t.before
    forth, back = generators.forth[label - 1], generators.back[label - 1]
    to_label, to_neutral = critics.forth[label - 1], critics.back[label - 1]
    neutral, other = t.domains[0], t.domains[label]
    drawn, erased = forth(neutral), back(other)
    terms = {
        "adv": ((1 - to_label(drawn)) ** 2).mean() + ((1 - to_neutral(erased)) ** 2).mean(),
        "rec": (back(drawn) - neutral).abs().mean() + (forth(erased) - other).abs().mean(),
        "identity": (forth(other) - other).abs().mean() + (back(neutral) - neutral).abs().mean(),
    }
    weight = t.config.lambda_rec
    total = terms["adv"] + weight * terms["rec"] + weight / 2 * terms["identity"]
    change = ((drawn - neutral).abs().mean() + (erased - other).abs().mean()) / 2
    return terms, total, change, drawn.detach(), erased.detach()


def cyclegans_critics(t, label, drawn, erased):
    """What both critics minimise, and how far they tell real from generated apart."""
    to_label, to_neutral = (way[label - 1] for way in (t.before[1].forth, t.before[1].back))
    real, fake = to_label(t.domains[label]), to_label(drawn)
    real_0, fake_0 = to_neutral(t.domains[0]), to_neutral(erased)
    squares = (real - 1) ** 2, fake**2, (real_0 - 1) ** 2, fake_0**2
    gap = (real.mean() - fake.mean() + real_0.mean() - fake_0.mean()) / 2
    return sum(square.mean() / 2 for square in squares), gap


@pytest.mark.parametrize("old", [False, True], ids=["new images", "old images"])
def test_three_steps_of_cyclegan_have_the_terms_and_gradients_of_its_paper(old, monkeypatch):
    mirrored, asked = (lambda images: images.flip(3)), []
    if old:  # the pool's images are others than those just drawn

        def replay(_, way, pair, images, random):
            asked.append((way, pair))
            return mirrored(images)

        monkeypatch.setattr(CycleGANCritics, "replay", replay)
    config = smoke(model="cyclegan", batch_size=7, augment=0.0, lambda_rec=3.0)
    t = PrecisePairs(config, showing(0, 2, 5))
    for label in (2, 5, 2):  # in the third, what the first left behind must be gone
        row = t.train_step()
        assert {key: len(domain) for key, domain in t.domains.items()} == {0: 3, label: 3}
        terms, total, change, *drawn = cyclegans_generators(t, label)
        assert_gradients(t.generator, total, t.before[0].parameters())
        found = {key: row.pop(f"generator_{key}") for key in terms}
        assert found == pytest.approx({key: term.item() for key, term in terms.items()}, rel=1e-5)
        assert row.pop("change") == pytest.approx(change.item(), rel=1e-5)
        loss, gap = cyclegans_critics(t, label, *map(mirrored, drawn) if old else drawn)
        assert_gradients(t.critic, loss, t.before[1].parameters())
        assert row.pop("critic_adv") == pytest.approx(loss.item(), rel=1e-5)
        assert row.pop("gap") == pytest.approx(gap.item(), rel=1e-5)
        assert row.keys() == {"step"}
    assert asked == (3 * [(0, 1), (1, 1), (0, 4), (1, 4)])[:6] * old


def test_adam_has_the_stated_rates_and_stargans_momenta():
    trainer = Trainer(smoke(lr_generator=0.25, lr_critic=0.5), Patterns())
    for optimiser, rate in ((trainer.generator_optimiser, 0.25), (trainer.critic_optimiser, 0.5)):
        (group,) = optimiser.param_groups
        assert (group["lr"], group["betas"]) == (rate, (0.5, 0.999))


# --- augmentation --------------------------------------------------------------------------------


def test_augmentation_of_strength_0_is_nothing_and_costs_no_random_numbers():
    random, x = torch.Generator(), torch.rand(2, 3, 8, 8)
    before = random.get_state()
    assert augment(x, 0.0, random) is x
    assert torch.equal(random.get_state(), before)


def test_augmentation_shifts_by_at_most_two_whole_pixels_and_each_image_by_its_own():
    x = torch.zeros(200, 1, 16, 16)
    x[:, :, 3, 3] = x[:, :, 12, 12] = 100
    y = augment(x, 1.0, torch.Generator().manual_seed(0))[:, 0]
    first, second = y[:, :8, :8].flatten(1).argmax(1), y[:, 8:, 8:].flatten(1).argmax(1)
    rows, columns = first // 8 - 3, first % 8 - 3
    assert torch.equal(rows, second // 8 - 4)  # nothing is scaled or torn
    assert torch.equal(columns, second % 8 - 4)
    assert set(rows.tolist()) == set(columns.tolist()) == {-2, -1, 0, 1, 2}
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == 25


def test_augmentation_tints_channels_and_adds_noise_of_the_stated_size():
    dark = augment(torch.zeros(400, 3, 16, 16), 1.0, torch.Generator().manual_seed(0))
    offset = dark.mean((2, 3))  # (400, 3)
    assert offset.abs().max() < 0.1 + 4 * 0.08 / 16
    assert offset.std() == pytest.approx(0.2 / math.sqrt(12), rel=0.1)
    assert dark.std((2, 3)).mean() == pytest.approx(0.08, rel=0.02)
    assert abs(np.corrcoef(offset[:, 0], offset[:, 1])[0, 1]) < 0.2
    bright = augment(torch.ones(400, 3, 16, 16), 1.0, torch.Generator().manual_seed(0))
    gain = (bright - dark).mean((2, 3)) - 1  # same seed, same offsets and noise
    assert gain.std() == pytest.approx(0.2 / math.sqrt(12), rel=0.1)


def test_gradients_pass_the_augmentation():
    x = torch.rand(2, 3, 16, 16, requires_grad=True)
    augment(x, 1.0, torch.Generator().manual_seed(0))[:, :, 4:12, 4:12].sum().backward()
    sums = x.grad.sum((2, 3)) / 64  # 1 + gain
    assert ((sums - 1).abs() < 0.1).all()
    assert sums.unique().numel() == 6


# --- resuming ------------------------------------------------------------------------------------

RUN = """
import sys, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from mmagan_lite import training
from test_training import LONG, Patterns
training.CHECKPOINT_MINUTES = 0  # after every step: it will be killed at any moment
if sys.argv[3] == "new":
    training.Trainer(LONG, Patterns(), sys.argv[2]).fit()
else:
    training.Trainer.resume(sys.argv[2], Patterns()).fit()
"""
LONG = smoke(steps=400, warmup_steps=20)


def run_until_killed(folder, how, rows):
    """Train in another process and kill it once the history has so many rows."""
    run = subprocess.Popen([sys.executable, "-c", RUN, os.path.dirname(__file__), folder, how])
    history, patience = folder / "history.csv", time.monotonic() + 300
    while not history.exists() or history.read_text().count("\n") <= rows:
        assert run.poll() is None
        assert time.monotonic() < patience
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()


def test_a_run_killed_in_the_warm_up_and_later_continues_to_the_bit(tmp_path):
    run_until_killed(tmp_path, "new", rows=8)
    assert Trainer.resume(tmp_path, Patterns()).step == 0
    run_until_killed(tmp_path, "resume", rows=20 + 10)
    (tmp_path / "samples" / ".000010.png.1.2.part").write_bytes(b"half a picture")
    resumed = Trainer.resume(tmp_path, Patterns())
    assert not list(tmp_path.rglob("*.part"))
    assert 8 <= resumed.step < 100
    total = resumed.step + 10
    resumed.fit(steps=10)
    whole = Trainer(LONG, Patterns()).fit(steps=total)
    assert same(weights(whole), weights(resumed))
    assert timeless(whole.history) == timeless(resumed.history)


RESUMED = {
    "MMA-GAN": {},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16", "width": 2, "critic_width": 2},  # slow on a CPU
    "StarGAN": {"model": "stargan"},
    "CycleGAN": {"model": "cyclegan"},
}


@pytest.mark.parametrize("changes", RESUMED.values(), ids=RESUMED)
def test_twenty_steps_equal_ten_and_ten_after_an_unfinished_stretch(changes, tmp_path, monkeypatch):
    monkeypatch.setattr(CycleGANCritics, "POOL", 3)  # so few that they are full soon
    config, data = smoke(steps=20, warmup_steps=2, **changes), showing(0, 2, 5)
    whole = Trainer(config, data).fit()
    first = Trainer(config, data, tmp_path).fit(steps=10)
    first.save = lambda: None  # three more steps whose checkpoint never comes
    first.fit(steps=3)
    assert len(rows_on_disk(tmp_path)) == first.warmup_steps + 13
    resumed = Trainer.resume(tmp_path, data, config)
    assert resumed.step == 10
    if config.model == "cyclegan":
        assert resumed.critic.pooled.tolist() == 2 * [[0, 3, 0, 0, 3, 0, 0]]
    resumed.fit()
    assert same(weights(whole), weights(resumed))
    assert timeless(whole.history) == timeless(resumed.history) == timeless(rows_on_disk(tmp_path))


def rows_on_disk(folder):
    with open(folder / "history.csv") as file:
        return [
            {key: float(value) for key, value in row.items() if value}
            for row in csv.DictReader(file)
        ]


def test_ctrl_c_waits_for_the_step_and_saves(tmp_path, monkeypatch):
    config = smoke(steps=6, warmup_steps=1)
    trainer = Trainer(config, Patterns(), tmp_path)
    learn = trainer.train_critic

    def interrupted(*args, **kwargs):
        if trainer.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return learn(*args, **kwargs)

    monkeypatch.setattr(trainer, "train_critic", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert signal.getsignal(signal.SIGINT) is handler
    resumed = Trainer.resume(tmp_path, Patterns())
    assert resumed.step == trainer.step == 3
    assert same(weights(Trainer(config, Patterns()).fit()), weights(resumed.fit()))


def test_seeds_differ_and_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = Trainer(smoke(), Patterns()).fit()
    assert torch.equal(torch.rand(3), expected)
    assert same(weights(one), weights(Trainer(smoke(), Patterns()).fit()))
    other = Trainer(smoke(seed=1), Patterns()).fit()
    assert not same(weights(one), weights(other))


# --- what a run leaves on disk -------------------------------------------------------------------


def test_a_folder_gets_checkpoint_history_and_samples_and_no_folder_gets_nothing(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Trainer(smoke(), Patterns()).fit()
    assert list(tmp_path.iterdir()) == []
    trainer = Trainer(smoke(), Patterns(), "run").fit()
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["checkpoint.pt", "history.csv", "samples"]
    assert rows_on_disk(tmp_path / "run") == trainer.history
    samples = sorted((tmp_path / "run" / "samples").iterdir())
    assert len(samples) == 4
    with Image.open(samples[-1]) as image:
        assert image.size == (9 * 33 + 1, 4 * 33 + 1)
        assert np.array_equal(np.asarray(image), trainer.sample_grid())


def test_the_first_column_of_the_samples_is_the_input():
    data = Patterns()
    grid = Trainer(smoke(), Patterns(), test=data).sample_grid()
    cell = grid[1 + 33 : 33 + 33, 1:33]  # the second row
    assert np.array_equal(cell, data.images[1].permute(1, 2, 0).numpy())


def test_fit_keeps_to_its_limits():
    trainer = Trainer(smoke(steps=5, warmup_steps=2), Patterns())
    assert trainer.fit(minutes=0).history == []
    assert trainer.fit(steps=0).warmup_step == 2
    assert trainer.fit(steps=3).step == 3
    assert trainer.fit(steps=100).step == 5
    assert len(trainer.fit().history) == 2 + 5
    start = time.monotonic()
    trainer = Trainer(smoke(steps=100_000), Patterns()).fit(minutes=0.01)
    assert 0.5 < time.monotonic() - start < 10
    assert 0 < trainer.step < 1000


# --- failures ------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    trainer = Trainer(smoke(), Patterns(), tmp_path).fit(steps=2)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    monkeypatch.setattr(losses, "reconstruction", lambda x, y: (x - y).mean() * math.nan)
    with pytest.raises(FloatingPointError, match="diverged: generator_rec is nan at step 3"):
        trainer.fit()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    with pytest.raises(FloatingPointError, match="a weight is not finite"):
        trainer.save()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    monkeypatch.undo()
    assert Trainer.resume(tmp_path, Patterns()).fit().step == 4


def test_a_full_disk_stops_the_run_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    trainer = Trainer(smoke(), Patterns(), tmp_path).fit(steps=2)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="Could not write"):
        trainer.fit()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_that_vanishes_ends_the_run_with_a_sentence(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    trainer = Trainer(smoke(), Patterns(), folder).fit(steps=2)
    learn = trainer.train_generator

    def unplugged(*args):
        folder.rename(tmp_path / "elsewhere")
        return learn(*args)

    monkeypatch.setattr(trainer, "train_generator", unplugged)
    with pytest.raises(OSError, match=r"Could not write .*history.csv \(No such file.*resume"):
        trainer.fit()
    (tmp_path / "elsewhere").rename(folder)
    assert Trainer.resume(folder, Patterns()).fit().step == 4


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate ..."),
    ],
)
def test_too_little_memory_ends_the_run_with_a_sentence(error, tmp_path, monkeypatch):
    trainer = Trainer(smoke(), Patterns(), tmp_path).fit(steps=2)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def hungry(*_):
        raise error

    monkeypatch.setattr(trainer, "train_generator", hungry)
    with pytest.raises(MemoryError, match="a batch of 4 faces of 32 pixels and a width of 8"):
        trainer.fit()
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    monkeypatch.setattr(trainer, "train_generator", lambda *_: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        trainer.fit()


def test_data_that_cannot_be_learned_from_are_refused(tmp_path):
    data = Patterns()
    data.expression[:] = 3
    with pytest.raises(ValueError, match="All 40 faces of the data set show surprise"):
        Trainer(smoke(), data)
    with pytest.raises(ValueError, match=r"64 pixels wide but .* image_size is 32"):
        Trainer(smoke(), Patterns(size=64))
    with pytest.raises(ValueError, match="The data set is empty"):
        Trainer(smoke(), Patterns(count=0))


def test_cyclegan_is_refused_data_of_only_one_side_of_its_pairs():
    config = smoke(model="cyclegan")
    with pytest.raises(ValueError, match="none of the 40 faces is neutral; add neutral faces or"):
        Trainer(config, showing(1, 2, 3))
    with pytest.raises(ValueError, match="All 40 faces of the data set show neutral"):
        Trainer(config, showing(0))
    assert Trainer(config.replace(model="stargan"), showing(1, 2, 3)).fit().step == 4


def test_an_occupied_folder_and_another_configuration_are_refused(tmp_path):
    Trainer(smoke(), Patterns(), tmp_path).fit(steps=0)
    with pytest.raises(ValueError, match=r"already holds a run; continue it with Trainer\.resume"):
        Trainer(smoke(), Patterns(), tmp_path)
    with pytest.raises(ValueError, match=r"another configuration: width 8 \(wanted 16\)"):
        Trainer.resume(tmp_path, Patterns(), smoke(width=16))
    with pytest.raises(FileNotFoundError, match="There is no checkpoint"):
        Trainer.resume(tmp_path / "elsewhere", Patterns())
