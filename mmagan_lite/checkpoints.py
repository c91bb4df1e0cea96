"""Saving and loading: runs to resume and weights to ship, never code."""

import hashlib
import io
import json
import os
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from mmagan_lite.baselines import networks
from mmagan_lite.config import Config
from mmagan_lite.data import write_atomically
from mmagan_lite.expressions import EXPRESSIONS

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the weights that ship, with their manifest."""


def save(path: str | os.PathLike, contents: dict[str, Any]) -> None:
    """Write a checkpoint completely or not at all.

    Parameters
    ----------
    path : path
    contents : dict
        Tensors and plain values, nested as you like; ``config`` holds `Config.to_dict`.

    Raises
    ------
    OSError
        If it cannot be written, as on a full disk; the previous checkpoint is unharmed.
    """
    buffer = io.BytesIO()
    torch.save(contents, buffer)
    with write_atomically(path) as file:
        file.write(buffer.getbuffer())


def load(path: str | os.PathLike, config: Config | None = None) -> dict[str, Any]:
    """Read a checkpoint without running any code it might hold.

    Parameters
    ----------
    path : path
    config : Config, optional
        The configuration that the checkpoint should be of.

    Returns
    -------
    dict
        What `save` was given, tensors on the CPU.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is cut short, holds more than tensors and plain values, or is of another
        configuration.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}; train first or check the path.")
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        with open(path, "rb") as file:
            pickled = file.read(2).startswith((b"PK", b"\x80"))  # a zip, or a pickle alone
        if not pickled:
            raise ValueError(
                f"{path} is no checkpoint of a run; give one that a Trainer wrote."
            ) from error
        raise ValueError(
            f"{path} was refused: it holds something other than tensors and plain values, which "
            f"could run code. Give a checkpoint.pt that a Trainer wrote."
        ) from error
    except Exception as error:  # a damaged file makes PyTorch raise almost anything
        raise ValueError(
            f"{path} is damaged or cut short; give a complete checkpoint.pt that a Trainer wrote."
        ) from error
    if not isinstance(contents, dict) or not {"config", "progress", "average"} <= contents.keys():
        raise ValueError(f"{path} is no checkpoint of a run; give one that a Trainer wrote.")
    check_expressions(contents.get("expressions", list(EXPRESSIONS)), path)
    theirs = Config.from_dict(contents["config"]).to_dict()  # fields that are new are filled in
    if config is not None and config.to_dict() != theirs:
        ours = config.to_dict()
        keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        listed = ", ".join(f"{k} {theirs.get(k)!r} (wanted {ours.get(k)!r})" for k in keys)
        raise ValueError(
            f"{path} is of another configuration: {listed}. Resume it with its own or start anew "
            f"in another folder."
        )
    return contents


def check_expressions(learned: object, source: object) -> None:
    """Raise ValueError if weights have learned other expressions than those of the package.

    Their shapes may fit all the same: then a network would draw something else than it is asked.
    """
    if learned != list(EXPRESSIONS):
        raise ValueError(
            f"{source} has learned other expressions than {', '.join(EXPRESSIONS)}; train it anew "
            f"or bring back the list that it was trained with."
        )


@contextmanager
def fitting(source: object) -> Iterator[None]:
    """Say of weights, or other states, that do not fit what they are read into where they are from.

    Parameters
    ----------
    source : object
        What the sentence calls them: a path or a name.

    Raises
    ------
    ValueError
        For whatever PyTorch raises then, which is almost anything.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{source} does not hold what its configuration asks for; it was damaged or written "
            f"by another program. Use a copy that is whole."
        ) from error


def pretrained_models() -> Mapping[str, dict[str, Any]]:
    """The weights that come with the package.

    Returns
    -------
    mapping
        Name -> manifest entry: file, sha256, size (image side in pixels), kind ("generator",
        "judge" or "critic"), config, expressions, and how they were made and measured (command,
        seed, data, images_seen, device, figures).

    Raises
    ------
    ValueError
        If the manifest is damaged or names a file outside its folder.
    """
    manifest = WEIGHTS / "manifest.json"
    if not manifest.is_file():
        return {}
    try:
        models = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        models = None
    if not isinstance(models, dict) or not all(map(_is_entry, models.values())):
        raise ValueError(f"{manifest} is damaged; install the package again.")
    return models


def _is_entry(said: object) -> bool:
    """Whether this part of a manifest describes weights that lie beside it."""
    kinds = {"file": str, "sha256": str, "kind": str, "size": int, "config": dict}
    kinds |= {"expressions": list}
    return (
        isinstance(said, dict)
        and all(isinstance(said.get(key), kind) for key, kind in kinds.items())
        and Path(said["file"]).name == said["file"]
    )


def load_weights(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights that come with the package, by name, offline.

    Returns
    -------
    state : dict
        Name of a parameter -> float32 Tensor.
    entry : dict
        The manifest entry; see `pretrained_models`.

    Raises
    ------
    ValueError
        If there is no such name or the file is not the one that the manifest describes.
    """
    models = pretrained_models()
    if not isinstance(name, str) or name not in models:
        names = ", ".join(models) or "none"
        raise ValueError(f"Unknown weights {name!r}; the package comes with {names}.")
    entry = models[name]
    path = WEIGHTS / entry["file"]
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ValueError(f"{path} is missing or damaged (its sha256 differs); install again.")
    check_expressions(entry["expressions"], name)
    return _cast(load_safetensors(content), torch.float32), entry


def load_pretrained(name: str) -> nn.Module:
    """A trained generator that comes with the package, in eval mode.

    Parameters
    ----------
    name : str
        One of `pretrained_models()` of kind "generator".

    Returns
    -------
    nn.Module
        A `Generator`; a `StarGAN` or `CycleGAN` if it is a baseline.

    Raises
    ------
    ValueError
        If there is no such generator or its file is damaged.
    """
    state, entry = load_weights(name)
    if entry["kind"] != "generator":
        of_kind = [
            key for key, value in pretrained_models().items() if value["kind"] == "generator"
        ]
        raise ValueError(f"{name!r} is a {entry['kind']}; generators are {', '.join(of_kind)}.")
    generator, _ = networks(Config.from_dict(entry["config"]))
    with fitting(name):
        generator.load_state_dict(state)
    return generator.eval().requires_grad_(False)


def check_name(name: str) -> None:
    """Raise ValueError unless weights can be called so, which is also the name of their file."""
    if not re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)*", name):
        raise ValueError(
            f"Weights cannot be called {name!r}; use small letters, digits, dots and hyphens, as "
            f"in mmagan-64."
        )


def export(module: nn.Module, name: str, *, config: Config, kind: str, **about: Any) -> Path:
    """Add a trained network to the weights that ship, in half precision.

    Parameters
    ----------
    module : nn.Module
        For instance `Trainer.model`.
    name : str
        Its name from now on.
    config : Config
        What it was built from.
    kind : {"generator", "judge", "critic"}
    **about
        What the manifest should tell: command, seed, data, images_seen, device, figures.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ValueError
        If the name is not fit for a file.
    """
    check_name(name)
    path = WEIGHTS / f"{name}.safetensors"
    content = save_safetensors(_cast(module.state_dict(), torch.float16))
    entry = {
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": config.image_size,
        "kind": kind,
        "config": config.to_dict(),
        "expressions": list(EXPRESSIONS),
        **about,
    }
    manifest = json.dumps({**pretrained_models(), name: entry}, indent=2)
    with write_atomically(path) as file:
        file.write(content)
    with write_atomically(WEIGHTS / "manifest.json") as file:
        file.write(manifest.encode())
    return path


def _cast(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Change the precision of weights, not of counters."""
    return {
        key: (value.to("cpu", dtype) if value.is_floating_point() else value.cpu()).contiguous()
        for key, value in state.items()
    }
