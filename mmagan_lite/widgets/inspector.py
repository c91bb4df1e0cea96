"""The panel that shows where the network looks."""

import functools
from collections.abc import Iterator, Mapping

import torch
import traitlets
from PIL import Image
from torch import Tensor

from mmagan_lite import editing, faces
from mmagan_lite.evaluation import auc
from mmagan_lite.expressions import EXPRESSIONS, encode
from mmagan_lite.generator import Generator
from mmagan_lite.widgets import pictures
from mmagan_lite.widgets.explorer import PERSON
from mmagan_lite.widgets.panel import (
    Frame,
    Panel,
    Tile,
    Values,
    choice,
    people,
    slider,
    strengths,
)

Maps = list[tuple[Tensor, Tensor]]  # of each block: channel weights (C,), spatial map (h, w)


class AttentionInspector(Panel):
    """The panel of `attention`.

    Attributes
    ----------
    block : int
        Whose map is shown; 1 is the first MMARM.
    expression : str
        The target expression, a name in `EXPRESSIONS`.
    rho : float
        The strength ρ, 0 to 1.
    identity : int
        The drawn person.
    """

    title = "Attention inspector"
    block = traitlets.Int(1, min=1).tag(sync=True)
    expression = traitlets.Enum(EXPRESSIONS, "happiness").tag(sync=True)
    rho = traitlets.Float(1.0, min=0, max=1).tag(sync=True)
    identity = traitlets.Int(PERSON).tag(sync=True)

    def __init__(self, model: Generator | None = None, identity: int = PERSON) -> None:
        self.model = model or editing.default_model()
        self._look = functools.lru_cache(128)(self._look)
        blocks = range(1, self._count(identity) + 1)
        super().__init__(
            [
                people(identity),
                choice("expression", "Expression", EXPRESSIONS),
                slider("rho", "Strength ρ", **strengths()),
                choice("block", "Block", blocks, [f"MMARM {k}" for k in blocks], pictured="map"),
            ],
            identity=identity,
        )

    @traitlets.validate("block")
    def _present(self, proposal: Mapping) -> int:
        """A block that is there."""
        count = self._count(self.identity)
        if proposal["value"] > count:
            raise ValueError(f"There is no block {proposal['value']}; give 1 to {count}.")
        return proposal["value"]

    def compose(self, values: Values) -> Frame:
        """Output, the block's map, what really changes, and the weights of the channels."""
        number, wanted = values["block"], [values[k] for k in ("identity", "expression", "rho")]
        before, after, maps = self._look(*wanted)
        channels, spatial = maps[number - 1]
        mask = faces.change_mask(*wanted, size=before.width)[0]
        low, high = spatial.min(), spatial.max()
        gates = f"spatial map, dark {low:.2f}, bright {high:.2f}"
        tiles = [
            Tile("input", "input", before),
            Tile("output", f"output: {wanted[1]}, ρ = {wanted[2]:.1f}", after),
            Tile("map", gates, pictures.heat(spatial, before)),
            Tile("mask", "where the truth changes", pictures.marked(mask.numpy(), before)),
        ]
        caption = (
            f"channel attention of MMARM {number}: weights of {len(channels)} channels, 0 to 1"
        )
        bars = Tile("channels", caption, pictures.bars(channels.tolist()), wide=True)
        return Frame([tiles, [bars]], self._sentence(number, wanted, spatial, mask))

    def ahead(self) -> Iterator[Values]:
        """All blocks at this strength, then all strengths and expressions."""
        now, blocks = self.values(), range(1, self._count(self.identity) + 1)
        yield from (now | {"block": block} for block in blocks)
        yield from (now | {"rho": rho} for rho in strengths()["options"])
        for expression in EXPRESSIONS:
            for rho in strengths()["options"]:
                for block in blocks:
                    yield now | {"expression": expression, "rho": rho, "block": block}

    def _count(self, identity: int) -> int:
        """How many blocks have attention."""
        known = isinstance(self.model, Generator)  # the baselines are not asked
        maps = self._look(identity, "neutral", 0.0)[2] if known else []
        if not maps:
            raise ValueError(
                "This generator has no attention to show; give one with MMARM blocks "
                "(Config.mmarm=True)."
            )
        return len(maps)

    @torch.inference_mode()
    def _look(
        self, person: int, expression: str, rho: float
    ) -> tuple[Image.Image, Image.Image, Maps]:
        """Input, output, and what each block attended to."""
        size = editing.image_size(self.model)
        before = pictures.drawn(person, "neutral", [0.0], size)[0]
        device = next(self.model.parameters()).device
        x, z = editing.to_tensor([before]).to(device), encode(expression, rho)[None].to(device)
        y, attention = self.model(x, z, return_attention=True)
        maps = [(channel[0].cpu(), spatial[0, 0].cpu()) for channel, spatial in attention]
        return before, editing.to_pil(y)[0], maps

    def _sentence(self, number: int, wanted: list, spatial: Tensor, mask: Tensor) -> str:
        """How well the map tells what changes from what stays."""
        person, expression, rho = wanted
        text = f"person {person}, {expression}, ρ = {rho:.1f}: "
        (chance,) = auc(spatial[None], mask[None])
        if not mask.any() or chance != chance:
            return f"{text}nothing changes, so there is nothing that MMARM {number} had to find"
        return (
            f"{text}a place that changes has a larger weight in MMARM {number} than one that "
            f"stays in {chance:.0%} of the pairs (50% is chance; the mean face alone gets far)"
        )
