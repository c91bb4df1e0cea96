"""What notebooks show: panels to play with, and the package's own source.

Every panel is made of a few controls, pictures that follow them and a sentence (`panel.py`), and
looks the same in JupyterLab, on Colab, in VS Code, under Voilà and in a page of its own
(`panel.js`). Where nothing is running, its picture and its sentence stand for it.
"""

import inspect
import os
import textwrap
from collections.abc import Mapping
from typing import Any

from IPython.display import Markdown
from torch import nn

from mmagan_lite.editing import Picture
from mmagan_lite.generator import Generator
from mmagan_lite.widgets.comparer import VariantComparer
from mmagan_lite.widgets.explorer import PERSON, ExpressionExplorer, SweepStrip
from mmagan_lite.widgets.inspector import AttentionInspector
from mmagan_lite.widgets.muscles import ActionUnitPlayground
from mmagan_lite.widgets.training import TrainingPanel

__all__ = ["action_units", "attention", "compare", "explore", "source", "strip", "watch"]


def source(*things: Any) -> Markdown:
    """The source of functions or classes as it is now, in colours.

    Parameters
    ----------
    *things : function, method or class

    Returns
    -------
    IPython.display.Markdown
    """
    texts = [textwrap.dedent(inspect.getsource(thing)).rstrip() for thing in things]
    return Markdown("```python\n" + "\n\n\n".join(texts) + "\n```")


def explore(
    model: Generator | None = None, identity: int = PERSON, photo: Picture | bytes | None = None
) -> ExpressionExplorer:
    """A panel to edit a face: expression, strength, person or a photograph.

    Parameters
    ----------
    model : Generator, optional
        Default: the one that comes with the package.
    identity : int
        Which drawn person to start with; see `mmagan_lite.faces.render`.
    photo : PIL image, uint8 array, path, or bytes of a file, optional
        A photograph with one face or several, to edit instead of drawn people.

    Returns
    -------
    ExpressionExplorer

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        As for `mmagan_lite.edit`, if there is no such photograph, model, or face in it.

    Examples
    --------
    >>> panel = explore()
    >>> panel.expression, panel.rho = "surprise", 0.8
    >>> panel.picture().save("surprised.png")
    >>> panel.export("explorer.html", identity=[1_000_007])
    """
    return ExpressionExplorer(model, identity, photo)


def strip(
    model: Generator | None = None, identity: int = PERSON, photo: Picture | bytes | None = None
) -> SweepStrip:
    """A panel of all strengths of an expression side by side.

    Parameters, errors and attributes are those of `explore`.

    Returns
    -------
    SweepStrip
    """
    return SweepStrip(model, identity, photo)


def attention(model: Generator | None = None, identity: int = PERSON) -> AttentionInspector:
    """A panel that shows where each block of a generator looks.

    Parameters
    ----------
    model : Generator, optional
        Default: the one that comes with the package.
    identity : int
        Which drawn person to start with; see `mmagan_lite.faces.render`.

    Returns
    -------
    AttentionInspector

    Raises
    ------
    ValueError
        If the generator has no attention.

    Examples
    --------
    >>> panel = attention()
    >>> panel.block, panel.expression = 2, "surprise"
    """
    return AttentionInspector(model, identity)


def compare(
    models: Mapping[str, nn.Module] | None = None, identity: int = PERSON
) -> VariantComparer:
    """A panel that puts the edits of several networks side by side.

    Parameters
    ----------
    models : mapping of str to Generator, optional
        By the names to show. Default: MMA-GAN, its three ablations, the two baselines, and
        MMA-GAN with the paper's losses alone, as the package brings them.
    identity : int
        Which drawn person to start with; see `mmagan_lite.faces.render`.

    Returns
    -------
    VariantComparer

    Raises
    ------
    ValueError
        If there is no model, or they are for images of different sizes.
    """
    return VariantComparer(models, identity)


def action_units(
    identity: int = PERSON, expression: str | int | Mapping[str | int, float] = "happiness"
) -> ActionUnitPlayground:
    """A panel to move the muscles of a drawn face one by one.

    Parameters
    ----------
    identity : int
        Which drawn person to start with; see `mmagan_lite.faces.render`.
    expression : str, int, or mapping of action units to strengths
        What to start with; see `ActionUnitPlayground.show`.

    Returns
    -------
    ActionUnitPlayground

    Raises
    ------
    ValueError
        If there is no such expression or unit, or a strength is outside [0, 1.5].

    Examples
    --------
    >>> panel = action_units()
    >>> panel.show("contempt")
    >>> panel.units = panel.units | {"12R": 0.5}
    >>> panel.picture().save("smirk.png")
    """
    return ActionUnitPlayground(identity, expression)


def watch(folder: str | os.PathLike, seconds: float = 1.0) -> TrainingPanel:
    """A panel that follows a run while it is trained, in this notebook or in another process.

    It reads what the trainer writes to the run's folder. After a lost connection, run the cell
    again and everything is there. The trainer may start later than the panel. In a script that
    runs notebooks, use it as a context, so that the stored picture shows the end.

    Parameters
    ----------
    folder : path
        As given to `Trainer`, or to ``python -m mmagan_lite train --out``.
    seconds : float
        Time between two looks at the folder, at least. Drawing takes a tenth of the time at most.

    Returns
    -------
    TrainingPanel

    Examples
    --------
    >>> watch("runs/first")  # the last line of a cell; in the next one:
    >>> trainer.fit(minutes=10)

    >>> with watch("runs/first"):
    ...     trainer.fit(minutes=10)
    """
    return TrainingPanel(folder, seconds)
