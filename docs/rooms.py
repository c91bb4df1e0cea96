"""Draw the map of the rooms from what really imports what: ``python docs/rooms.py``."""

import math
import random
from itertools import combinations, pairwise
from pathlib import Path

import grimp
import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as MarkerPath

HERE = Path(__file__).resolve().parent
KINDS = {
    "faces and their labels": ("#dbe8f4", "expressions faces data detection data_prep"),
    "networks": ("#fbe3c8", "attention generator discriminator baselines"),
    "learning": ("#dcefd9", "config losses training checkpoints cuda distributed diagnostics runs "
                            "memory"),
    "measuring": ("#efdcec", "perceptual evaluation ablation"),
    "what people touch": ("#f6efc4", "editing plots widgets exercises __main__"),
}  # fmt: skip
"""What the colours mean; a room that is named nowhere stays white."""

Spot = str | tuple[str, str, int]
"""A room, or the place where an arrow from one room to another passes a floor."""


def imports() -> nx.DiGraph:
    """Which room imports which, ``data_prep`` being one of them; modules of a room count as it."""
    graph = grimp.build_graph("mmagan_lite", "data_prep")
    rooms = nx.DiGraph()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            rooms.add_edge(_room(importer), _room(imported))
    rooms.remove_edges_from(list(nx.selfloop_edges(rooms)))
    rooms.remove_nodes_from([node for node in rooms if node == "mmagan_lite"])  # the front door
    return rooms


def _room(module: str) -> str:
    package, _, rest = module.partition(".")
    return rest.split(".")[0] or package if package == "mmagan_lite" else package


def arrows(rooms: nx.DiGraph) -> list[tuple[str, str]]:
    """The imports that are drawn: those that no chain of others implies.

    `training` imports `config`, but so does `losses`, which it imports too.
    """
    return sorted(nx.transitive_reduction(rooms).edges)


def floors(rooms: nx.DiGraph) -> dict[str, int]:
    """On which floor each room lies: below all that import it, and as close to them as it can."""
    order = list(nx.topological_sort(rooms))  # importers first
    floor: dict[str, int] = {}
    for room in reversed(order):
        floor[room] = 1 + max((floor[below] for below in rooms.successors(room)), default=-1)
    for room in order:
        floor[room] = min((floor[r] for r in rooms.predecessors(room)), default=floor[room] + 1) - 1
    for room in order:
        if not rooms.in_degree(room):
            floor[room] = 1 + max(floor[below] for below in rooms.successors(room))
    return floor


def places(rooms: nx.DiGraph) -> tuple[dict[Spot, tuple[float, float]], list[list[Spot]]]:
    """Where to draw rooms, and the ways of the arrows, which have spots on the floors they pass."""
    floor = floors(rooms)
    ways = [
        [above, *((above, below, k) for k in range(floor[above] - 1, floor[below], -1)), below]
        for above, below in arrows(rooms)
    ]
    level = {spot: floor[way[0]] - i for way in ways for i, spot in enumerate(way)} | floor
    rows = [[s for s in level if level[s] == k] for k in range(max(floor.values()) + 1)]
    steps = [pair for way in ways for pair in pairwise(way)]
    best, dice = math.inf, random.Random(0)
    for _ in range(40):  # from random orders, exchange neighbours while arrows get simpler
        for row in rows:
            dice.shuffle(row)
        now = _untangled(rows, steps, level)
        if now < best:
            best, chosen = now, _spread(rows)
    return {spot: (chosen[spot], level[spot]) for spot in level}, ways


def _untangled(rows: list[list[Spot]], steps: list[tuple], level: dict[Spot, int]) -> float:
    """Sort each row by exchanging two spots wherever that helps; what is left to complain of."""
    now, before = _tangle(rows, steps, level), math.inf
    while now < before:
        before = now
        for row in rows:
            for i, k in combinations(range(len(row)), 2):
                row[i], row[k] = row[k], row[i]
                new = _tangle(rows, steps, level)
                if new < now:
                    now = new
                else:
                    row[i], row[k] = row[k], row[i]
    return now


def _tangle(rows: list[list[Spot]], steps: list[tuple], level: dict[Spot, int]) -> float:
    """How many arrows cross, and how far they go sideways."""
    x = _spread(rows)
    upper, top, low = np.array([(level[a], x[a], x[b]) for a, b in steps]).T
    same = upper[:, None] == upper
    crossing = same & ((top[:, None] - top) * (low[:, None] - low) < 0)
    return crossing.sum() / 2 + np.abs(top - low).sum()


def _spread(rows: list[list[Spot]]) -> dict[Spot, float]:
    """Each row in the middle of the page; a room is as wide as four arrows that pass."""
    x = {}
    for row in rows:
        widths = [1.0 if isinstance(spot, str) else 0.25 for spot in row]
        left = -sum(widths) / 2
        for spot, width in zip(row, widths, strict=True):
            x[spot], left = left + width / 2, left + width
    return x


def draw() -> None:
    """docs/rooms.png: an arrow leads from a room to one that it imports.

    The file also holds its arrows as text, so that a test can tell when it is out of date.
    """
    rooms = imports()
    spots, ways = places(rooms)
    at = {spot: (2.2 * x, 1.3 * y) for spot, (x, y) in spots.items()}
    figure, axes = plt.subplots(figsize=(11, 9.6), layout="constrained")
    for way in ways:
        axes.add_patch(_arrow([at[spot] for spot in way]))
    for room in filter(lambda spot: isinstance(spot, str), at):
        x, y = at[room]
        box = FancyBboxPatch((x - 0.85, y - 0.25), 1.7, 0.5, boxstyle="round,pad=0.02",
                             facecolor=_colour(room), edgecolor="0.25", zorder=2)  # fmt: skip
        axes.add_patch(box)
        axes.text(x, y, room, ha="center", va="center", fontsize=11, family="monospace", zorder=3)
    handles = [plt.Rectangle((0, 0), 1, 1, fc=c, ec="0.25") for c, _ in KINDS.values()]
    axes.legend(handles, KINDS, loc="upper left", frameon=False, fontsize=11)
    axes.set_aspect("equal")
    axes.autoscale_view()
    axes.axis("off")
    figure.savefig(HERE / "rooms.png", dpi=100, metadata={"Comment": str(arrows(rooms))})


def _arrow(way: list[tuple[float, float]]) -> FancyArrowPatch:
    """From under the first box to above the last, straight past the boxes in between."""
    (x, y), *between, (x_end, y_end) = way
    points = [(x, y - 0.27)]
    for x_past, y_past in between:
        points += [(x_past, y_past + 0.3), (x_past, y_past - 0.3)]
    path = MarkerPath([*points, (x_end, y_end + 0.27)])
    return FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=11, color="0.45", lw=0.9)


def _colour(room: str) -> str:
    return next((colour for colour, named in KINDS.values() if room in named.split()), "white")


if __name__ == "__main__":
    draw()
