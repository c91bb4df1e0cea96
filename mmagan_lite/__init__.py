"""MMA-GAN: give a face another expression, at a chosen strength.

>>> import mmagan_lite as mg
>>> model = mg.load_pretrained("mmagan-128")
>>> mg.edit("photo.jpg", "surprise", rho=0.8, model=model)
"""

import lazy_loader

# A room is imported when one of its names is first used: preparing data needs no networks, and
# drawing a face needs no plots.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=("ablation", "evaluation", "faces", "losses", "plots"),
    submod_attrs={
        "attention": ["MMARM", "Attention", "ChannelAttention", "SpatialAttention"],
        "baselines": [
            "CycleGANDiscriminator",
            "CycleGANGenerator",
            "StarGANDiscriminator",
            "StarGANGenerator",
        ],
        "checkpoints": ["load_pretrained", "pretrained_models"],
        "config": ["Config"],
        "data": ["PreparedFaces", "ProceduralFaces"],
        "diagnostics": ["diagnose"],
        "discriminator": ["Discriminator"],
        "editing": ["edit", "load_model", "sweep"],
        "expressions": ["EXPRESSIONS", "decode", "encode"],
        "generator": ["Generator"],
        "training": ["Trainer"],
    },
)

__version__ = "0.1.0"
