"""MMA-GAN, small enough to read in an evening: edit a face's expression at a chosen strength.

>>> import mmagan_lite as mg
>>> model = mg.load_pretrained("mmagan-64")
>>> mg.edit("photo.jpg", "surprise", rho=0.8, model=model)
"""

from . import evaluation, faces, losses, plots
from .attention import MMARM, Attention, ChannelAttention, SpatialAttention
from .checkpoints import load_pretrained, pretrained_models
from .config import Config
from .data import PreparedFaces, ProceduralFaces
from .discriminator import Discriminator
from .editing import edit, load_model, sweep
from .expressions import EXPRESSIONS, decode, encode
from .generator import Generator
from .training import Trainer

__all__ = [
    "EXPRESSIONS",
    "MMARM",
    "Attention",
    "ChannelAttention",
    "Config",
    "Discriminator",
    "Generator",
    "PreparedFaces",
    "ProceduralFaces",
    "SpatialAttention",
    "Trainer",
    "decode",
    "edit",
    "encode",
    "evaluation",
    "faces",
    "load_model",
    "load_pretrained",
    "losses",
    "plots",
    "pretrained_models",
    "sweep",
]

__version__ = "0.1.0"
