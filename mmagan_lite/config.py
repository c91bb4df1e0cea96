"""One frozen dataclass holds every choice of a run; profiles are named starting points."""

import dataclasses
import difflib
import math
import os
from dataclasses import dataclass
from typing import Any, Self

import torch

PROFILES: dict[str, dict[str, Any]] = {
    "smoke": dict(
        image_size=32, width=8, blocks=1, critic_width=8, faces=200, batch_size=4,
        steps=4, warmup_steps=2, warmup_batch_size=8,
    ),
    "laptop": dict(
        image_size=64, width=16, blocks=2, critic_width=32, faces=4_000, batch_size=8,
        steps=2_000, warmup_steps=1_400, warmup_batch_size=48,
    ),
    "colab": dict(
        image_size=128, width=32, blocks=3, critic_width=64, faces=20_000, batch_size=16,
        steps=20_000, warmup_steps=2_000, warmup_batch_size=64,
    ),
    "paper": dict(
        image_size=128, width=64, blocks=6, critic_width=64, faces=20_000, batch_size=16,
        steps=40_000, warmup_steps=2_000, warmup_batch_size=64,
    ),
}  # fmt: skip
"""Sizes and lengths of a run (`Config.profile`); 40k generator steps are the paper-style 200k
critic steps at five a step."""

LOSSES: dict[str, dict[str, Any]] = {
    # The paper's equations and nothing else, except the gradient penalty without which
    # equation (1) diverges; critic steps and rates are those of its public relatives.
    "paper": dict(
        adversarial="wgan", lambda_gp=10.0, lambda_r1=0.0, lambda_rho=1.0, lambda_info=0.5,
        rho_estimate="classes", coordinates_on_real=False, coordinates_on_fake=True, fake_class=0.0,
        conditional_patches=False, augment=0.0, warmup=False, he_init=False,
        critic_steps=5, lr_generator=1e-4, lr_critic=1e-4,
    ),
    # What it takes to learn expressions within minutes instead of days.
    "stabilised": dict(
        adversarial="hinge", lambda_gp=0.0, lambda_r1=0.1, lambda_rho=4.0, lambda_info=1.0,
        rho_estimate="coordinates", coordinates_on_real=True, coordinates_on_fake=True,
        fake_class=0.5, conditional_patches=True, augment=1.0, warmup=True, he_init=True,
        critic_steps=1, lr_generator=3e-4, lr_critic=4e-4,
    ),
}  # fmt: skip
"""The switches that a preset of losses sets; naming one in `Config(...)` overrides it."""

_AS_PRESET: Any = None  # a field that its preset fills in


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every choice of a run: networks, losses, training and data.

    Start from `Config.profile`; change single fields by keyword or with `replace`. The fields
    from `adversarial` to `lr_critic` are set by the preset named in `losses` unless given.

    Parameters
    ----------
    name : str
        The profile it came from.
    model : {"mmagan", "stargan", "cyclegan"}
        Which networks and losses: the paper's or a baseline's (`baselines`).
    image_size : int
        Side of the square images in pixels: 32, 64, 128 or 256.
    width : int
        Channels after the generator's first convolution; it doubles twice.
    blocks : int
        Number of blocks in the generator's trunk.
    mmarm : bool
        Trunk of multi-scale mixed attention blocks (True) or plain residual ones: ablation.
    global_residual : bool
        Whether the input image is added to the output (GRC): ablation.
    stem_norm : bool
        Instance normalisation after the first convolution, as in StarGAN. It erases nearly all
        of the tiled code z; False is the cure.
    critic_width : int
        Channels after the critic's first convolution.

    losses : {"stabilised", "paper"}
        Preset for the switches below.
    adversarial : {"hinge", "wgan"}
        Form of equation (1).
    lambda_gp, lambda_r1 : float
        Weights of the gradient penalty on interpolates and, every `r1_every` critic steps, on
        real images (R1).
    lambda_cls, lambda_rec, lambda_rho, lambda_info : float
        Weights of equations (3)/(4), (2), (6) and (5) in the totals (7) and (8).
    rho_estimate : {"classes", "coordinates"}
        Where ρ̂ of equation (6) comes from: the largest class probability or the largest
        coordinate.
    coordinates_on_real, coordinates_on_fake : bool
        What the critic fits D_cor to: real images, where their intensity is known, and generated
        ones, as in equation (5). From generated ones it learns to call weak expressions strong.
    fake_class : float
        Weight of the critic's loss for telling generated images from all eight classes;
        0 for no such class.
    conditional_patches : bool
        Let the patch scores depend on the expression (a projection critic).
    augment : float
        Strength of noise, colour and shift applied to all that the critic sees; 0 for none.
    warmup : bool
        Train the critic's classes and coordinates on real images first.
    he_init : bool
        He initialisation of all convolutions, else PyTorch's default.
    critic_steps : int
        Critic steps for each generator step.
    lr_generator, lr_critic : float
        Adam's learning rates.

    steps : int
        Generator steps of the whole run; rates fall linearly to zero over its second half.
    warmup_steps, warmup_batch_size : int
        Length and batch of the critic's warm-up.
    batch_size : int
        Images a step.
    ema_decay : float
        Decay of the moving average of the generator's weights, which is what gets used.
    precision : {"float32", "bfloat16", "float16"}
        Of convolutions in training; weights, losses and penalties are float32 always. bfloat16 is
        faster where the processor has instructions for it, else slower; float16 is for GPUs
        that lack it, such as Colab's T4. On CUDA, `Config.profile` takes the faster one.
    seed : int
        Seed of weights, batches and targets.
    faces : int
        Number of procedural training faces.
    variety : float
        How much faces differ in pose, light, backdrop and person, 0 to 1.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    name: str = "laptop"
    model: str = "mmagan"
    image_size: int = 64
    width: int = 16
    blocks: int = 2
    mmarm: bool = True
    global_residual: bool = True
    stem_norm: bool = True
    critic_width: int = 32

    losses: str = "stabilised"
    adversarial: str = _AS_PRESET
    lambda_gp: float = _AS_PRESET
    lambda_r1: float = _AS_PRESET
    lambda_rho: float = _AS_PRESET
    lambda_info: float = _AS_PRESET
    rho_estimate: str = _AS_PRESET
    coordinates_on_real: bool = _AS_PRESET
    coordinates_on_fake: bool = _AS_PRESET
    fake_class: float = _AS_PRESET
    conditional_patches: bool = _AS_PRESET
    augment: float = _AS_PRESET
    warmup: bool = _AS_PRESET
    he_init: bool = _AS_PRESET
    critic_steps: int = _AS_PRESET
    lr_generator: float = _AS_PRESET
    lr_critic: float = _AS_PRESET
    lambda_cls: float = 1.0
    lambda_rec: float = 10.0
    r1_every: int = 8

    steps: int = 2_000
    warmup_steps: int = 1_400
    warmup_batch_size: int = 48
    batch_size: int = 8
    ema_decay: float = 0.999
    precision: str = "float32"
    seed: int = 0
    faces: int = 4_000
    variety: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.losses, str) or self.losses not in LOSSES:
            raise ValueError(_unknown("preset of losses", self.losses, LOSSES))
        for key, value in LOSSES[self.losses].items():
            if getattr(self, key) is _AS_PRESET:
                object.__setattr__(self, key, value)
        for field in dataclasses.fields(self):
            self._check(field.name, field.type)

    def _check(self, key: str, kind: type) -> None:
        value = getattr(self, key)
        if kind is float and type(value) is int and value.bit_length() < 1024:  # else too large
            value = float(value)
            object.__setattr__(self, key, value)
        if type(value) is not kind:
            raise ValueError(f"Config.{key} must be of type {kind.__name__}; got {value!r}.")
        choices = CHOICES.get(key)
        if choices and value not in choices:
            listed = ", ".join(map(str, choices))
            raise ValueError(f"Config.{key} must be one of {listed}; got {value!r}.")
        low, high = LIMITS.get(key, (0, math.inf))
        if kind in (int, float) and not low <= value <= high:
            raise ValueError(f"Config.{key} must be from {low:g} to {high:g}; got {value!r}.")

    @classmethod
    def profile(cls, name: str | None = None, **changes: Any) -> Self:
        """The configuration of a named profile.

        Parameters
        ----------
        name : {"smoke", "laptop", "colab", "paper"}, optional
            Default: the environment variable ``MMAGAN_PROFILE``, else "colab" where a CUDA
            device is present and "laptop" where none is.
        **changes
            Fields that differ from the profile. Where a CUDA device is present, `precision` is
            "bfloat16", or "float16" if the device lacks that, unless it is given.

        Returns
        -------
        Config

        Raises
        ------
        ValueError
            If there is no such profile or a value is out of its range.
        """
        if name is None:
            default = "colab" if torch.cuda.is_available() else "laptop"
            name = os.environ.get("MMAGAN_PROFILE", default)
        if not isinstance(name, str) or name not in PROFILES:
            raise ValueError(_unknown("profile", name, PROFILES))
        return cls.from_dict({"name": name, "precision": _best(), **PROFILES[name], **changes})

    def replace(self, **changes: Any) -> Self:
        """A copy with other values; naming `losses` brings that preset's switches along."""
        values = dataclasses.asdict(self)
        if "losses" in changes:
            values = {k: v for k, v in values.items() if k not in LOSSES["paper"]}
        return self.from_dict({**values, **changes})

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values, fit for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises
        ------
        ValueError
            If a field is unknown or out of its range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise ValueError(_unknown("field of Config", key, known))
        return cls(**values)


CHOICES = {
    "model": ("mmagan", "stargan", "cyclegan"),
    "image_size": (32, 64, 128, 256),
    "losses": tuple(LOSSES),
    "adversarial": ("hinge", "wgan"),
    "rho_estimate": ("classes", "coordinates"),
    "precision": ("float32", "bfloat16", "float16"),
}
LIMITS = {
    "width": (1, 1024),
    "blocks": (0, 64),
    "critic_width": (1, 1024),
    "critic_steps": (1, 100),
    "r1_every": (1, 1000),
    "steps": (1, math.inf),
    "batch_size": (1, 65536),
    "warmup_batch_size": (1, 65536),
    "ema_decay": (0, 1),
    "seed": (0, 2**63 - 1),
    "faces": (1, 4_000_000),
    "variety": (0, 1),
}
"""Least and greatest value of the fields that are numbers; (0, inf) for those not named."""


def _best() -> str:
    """The precision in which this machine trains fastest without further knowledge of it."""
    if not torch.cuda.is_available():
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def _unknown(what: str, name: Any, known: Any) -> str:
    """The sentence for a name that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {what} {name!r}; expected one of {', '.join(known)}.{hint}"
