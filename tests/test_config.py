"""Configurations: profiles, presets of losses, and what they refuse."""

import dataclasses
import json

import pytest

from mmagan_lite.config import LIMITS, LOSSES, PROFILES, Config
from mmagan_lite.data import MOST_FACES


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("losses", LOSSES)
def test_every_profile_and_preset_survives_json(name, losses):
    config = Config.profile(name, losses=losses)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_no_run_asks_for_more_faces_than_there_are_people():
    assert LIMITS["faces"][1] == MOST_FACES


def test_the_preset_fills_what_is_not_named():
    config = Config(losses="paper", critic_steps=2)
    assert (config.adversarial, config.lambda_gp, config.critic_steps) == ("wgan", 10.0, 2)


def test_another_preset_brings_its_own_switches():
    config = Config(losses="stabilised", width=24).replace(losses="paper", lambda_rho=3)
    assert config == Config(losses="paper", width=24, lambda_rho=3.0)


def test_presets_set_the_same_fields():
    assert LOSSES["paper"].keys() == LOSSES["stabilised"].keys()


def test_it_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().width = 3


def test_the_profile_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("MMAGAN_PROFILE", "smoke")
    assert Config.profile().name == "smoke"


@pytest.mark.parametrize(("gpu", "name"), [(True, "colab"), (False, "laptop")])
def test_else_the_machine_decides_on_the_profile(monkeypatch, gpu, name):
    monkeypatch.delenv("MMAGAN_PROFILE")
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: True)
    assert Config.profile().name == name


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_size": 48}, "image_size must be one of 32, 64, 128, 256; got 48"),
        ({"width": 0}, "width must be from 1"),
        ({"width": 16.0}, "width must be of type int"),
        ({"mmarm": 1}, "mmarm must be of type bool"),
        ({"lambda_rec": float("nan")}, "lambda_rec must be from 0"),
        ({"lambda_rec": True}, "lambda_rec must be of type float"),
        ({"seed": -1}, "seed must be from 0"),
        ({"ema_decay": 1.01}, "ema_decay must be from 0 to 1"),
        ({"variety": 1.5}, "variety must be from 0 to 1"),
        ({"losses": "papers"}, "Unknown preset of losses 'papers'.*mean 'paper'"),
        ({"lamda_rec": 1.0}, "Unknown field of Config 'lamda_rec'.*mean 'lambda_rec'"),
    ],
)
def test_bad_values_get_one_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Config.profile("laptop", **changes)


def test_an_unknown_profile_names_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown profile 'laptob'.*mean 'laptop'"):
        Config.profile("laptob")


def test_on_a_gpu_a_profile_takes_the_precision_that_it_has(monkeypatch):
    assert Config.profile("colab").precision == "float32"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for has, precision in ((True, "bfloat16"), (False, "float16")):
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: has)  # noqa: B023
        assert Config.profile("colab").precision == precision
        assert Config.profile("colab", precision="float32").precision == "float32"
    emulated = lambda including_emulation=True: including_emulation  # noqa: E731
    monkeypatch.setattr("torch.cuda.is_bf16_supported", emulated)
    assert Config.profile("colab").precision == "float16"  # emulation is slow
