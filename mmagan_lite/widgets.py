"""What notebooks show: panels with a picture of themselves, and the package's own source."""

import asyncio
import base64
import functools
import html
import inspect
import io
import os
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import ipywidgets
import matplotlib
import numpy as np
import torch
from IPython.display import DisplayHandle, Markdown, display
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from mmagan_lite import detection, editing, faces, plots, runs
from mmagan_lite.config import CHOICES
from mmagan_lite.data import FIRST_IDENTITY
from mmagan_lite.editing import Picture
from mmagan_lite.expressions import EXPRESSIONS, index
from mmagan_lite.faces import ACTION_UNITS, PROTOTYPES
from mmagan_lite.faces.action_units import vector
from mmagan_lite.generator import Generator

STEPS = 11  # positions of the slider: ρ = 0, 0.1, ..., 1
TILE, THUMBNAIL, GAP, CAPTION = 256, 122, 10, 22  # pixels
RANGE = 64  # 8-bit levels at which the picture of the difference is fully red or blue
REGIONS = {
    "Brows": ("1", "2L", "2R", "4"),
    "Eyes, cheeks and nose": ("5", "6", "7", "43", "9", "38"),
    "Mouth": ("10L", "10R", "12L", "12R", "14L", "14R", "15", "16", "17", "20", "23", "24", "25",
              "26", "27"),
}  # fmt: skip
"""The action units as the panel `action_units` groups them."""

SUMMARY = {
    "accuracy_fake": "target accuracy", "accuracy_real": "accuracy on real faces",
    "gap": "score gap", "generator_rho": "intensity loss (6)", "change": "mean |G(x, z) − x|",
}  # fmt: skip
"""The columns of a history that the sentence under a training panel tells."""

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


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
    model: Generator | None = None,
    identity: int = FIRST_IDENTITY["test"] + 7,
    photo: Picture | None = None,
) -> "ExpressionExplorer":
    """A panel to edit a face with buttons and a slider.

    Parameters
    ----------
    model : Generator, optional
        Default: the one that comes with the package.
    identity : int
        Which drawn person to start with; see `mmagan_lite.faces.render`.
    photo : PIL image, uint8 array, or path, optional
        A photograph with one face, to edit instead of drawn people.

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
    >>> panel.expression.value, panel.rho.value = "surprise", 0.8
    >>> panel.picture().save("surprised.png")
    """
    return ExpressionExplorer(model, identity, photo)


def action_units(
    identity: int = FIRST_IDENTITY["test"] + 7,
    expression: str | int | Mapping[str | int, float] = "happiness",
) -> "ActionUnitPlayground":
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
    >>> panel.units["12R"].value = 0.5
    >>> panel.picture().save("smirk.png")
    """
    return ActionUnitPlayground(identity, expression)


def watch(folder: str | os.PathLike, seconds: float = 1.0) -> "TrainingPanel":
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


class Panel(ipywidgets.VBox):
    """Controls, a picture that follows them, and a sentence about it.

    Each kind of panel has its own `picture` and `describe`, which read the controls.

    Parameters
    ----------
    above, below : sequence of widgets
        What stands over and under the picture.
    controls : sequence of widgets
        Those whose `value` the picture depends on.
    """

    def __init__(
        self,
        above: Sequence[ipywidgets.Widget],
        controls: Sequence[ipywidgets.Widget],
        below: Sequence[ipywidgets.Widget] = (),
    ) -> None:
        self.image = ipywidgets.Image(format="png", layout={"max_width": "100%"})
        self.facts = ipywidgets.HTML()  # breaks long lines, as a label does not
        redraw = Debounced(self.redraw)
        for control in controls:
            control.observe(lambda change: redraw(), "value")
        self.redraw()
        super().__init__([*above, self.image, self.facts, *below])

    def redraw(self) -> None:
        """Show what the controls say."""
        self.image.value = _png(self.picture(), compress_level=1)
        self.facts.value = self.describe()

    def picture(self) -> Image.Image:
        """What the panel shows, as one picture."""
        raise NotImplementedError

    def describe(self) -> str:
        """One sentence about the picture."""
        raise NotImplementedError

    def _people(self, identity: int) -> ipywidgets.HBox:
        """Make the controls that choose one of a hundred drawn people."""
        hundred = identity - identity % 100
        self.identity = ipywidgets.IntSlider(
            identity,
            min=hundred,
            max=hundred + 99,
            continuous_update=False,
            readout_format="d",
            description="Person",
        )
        self.next_person = ipywidgets.Button(description="Next person", icon="arrow-right")
        self.next_person.on_click(self._next)
        return ipywidgets.HBox([self.identity, self.next_person])

    def _next(self, button: ipywidgets.Button) -> None:
        last = self.identity.value == self.identity.max
        self.identity.value = self.identity.min if last else self.identity.value + 1

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.describe()}"

    # ipywidgets 7 shows itself by this method, and then there is no picture; 8 has none.
    _ipython_display_ = None

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """The live panel, and its picture and text for pages that have no kernel."""
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        picture = base64.b64encode(_png(self.picture().quantize(256), optimize=True)).decode()
        return {WIDGET_VIEW: view, "image/png": picture, "text/plain": repr(self)}


class ExpressionExplorer(Panel):
    """The panel of `explore`.

    All strengths of an expression are computed at once, so that moving the slider only looks
    pictures up.

    Attributes
    ----------
    expression : ipywidgets.ToggleButtons
        The target expression; its `value` is a name in `EXPRESSIONS`.
    rho : ipywidgets.FloatSlider
        The strength ρ.
    identity : ipywidgets.IntSlider
        The drawn person; hidden for a photograph.
    """

    def __init__(
        self,
        model: Generator | None = None,
        identity: int = FIRST_IDENTITY["test"] + 7,
        photo: Picture | None = None,
    ) -> None:
        self.model = model or editing.default_model()
        self.photo = None if photo is None else _crop(photo)
        # What was computed is kept: the edits of the last two faces, as many exact answers.
        self.edits = functools.lru_cache(2)(self._edits)
        self.truths = functools.lru_cache(2 * len(EXPRESSIONS))(self._truths)

        self.expression = ipywidgets.ToggleButtons(
            options=EXPRESSIONS,
            value="happiness",
            description="Expression",
            style={"button_width": "auto"},
        )
        self.rho = ipywidgets.FloatSlider(
            1.0,
            min=0,
            max=1,
            step=1 / (STEPS - 1),
            readout_format=".1f",
            description="Strength ρ",
            layout={"width": "30em", "max_width": "100%"},
        )
        person = self._people(identity)
        person.layout.display = None if photo is None else "none"
        super().__init__(
            [person, self.expression, self.rho], [self.expression, self.rho, self.identity]
        )

    def picture(self) -> Image.Image:
        """What the panel shows, as one picture.

        Returns
        -------
        PIL.Image.Image
            Input, output, for drawn faces the exact answer, and the difference between output
            and input; below them all eight expressions at the slider's strength.
        """
        before, after, truth = self._current()
        tiles = {"input": before, f"output: {self._wanted()}": after}
        if truth is not None:
            tiles["exact answer"] = truth
        tiles[f"output − input, ±{RANGE} levels"] = _difference(before, after)
        _, edits = self.edits(self._face())
        eight = {name: edits[name][self._step()] for name in EXPRESSIONS}
        return _stack([_row(tiles, TILE), _row(eight, THUMBNAIL)])

    def describe(self) -> str:
        """One sentence about the picture: who, what, and how much changed where."""
        before, after, truth = self._current()
        change = np.abs(_levels(after) - _levels(before)).mean(-1)  # (H, W)
        text = f"{self._name()}, {self._wanted()}: mean change {change.mean():.1f} of 255 levels"
        inside = _changed(before, truth or before)  # (H, W)
        if inside.any() and change.any():
            share = change[inside].sum() / change.sum()
            text += f", {share:.0%} of it where the exact answer changes"
        return text

    def _edits(self, face: int | None) -> tuple[Image.Image, dict[str, list[Image.Image]]]:
        """The input, and the model's pictures of each expression at all strengths."""
        before = self.photo or self._drawn(face, "neutral", [0.0])[0]
        return before, {e: editing.sweep(before, e, STEPS, self.model) for e in EXPRESSIONS}

    def _truths(self, face: int | None, expression: str) -> list[Image.Image] | None:
        """The exact answers at all strengths; None for a photograph."""
        strengths = [i / (STEPS - 1) for i in range(STEPS)]
        return None if self.photo else self._drawn(face, expression, strengths)

    def _drawn(self, person: int, expression: str, rho: list[float]) -> list[Image.Image]:
        return _drawn(person, expression, rho, editing.image_size(self.model))

    def _current(self) -> tuple[Image.Image, Image.Image, Image.Image | None]:
        """Input, output and exact answer (or None) for what the controls say."""
        face, expression, step = self._face(), self.expression.value, self._step()
        before, edits = self.edits(face)
        truths = self.truths(face, expression)
        return before, edits[expression][step], truths and truths[step]

    def _face(self) -> int | None:
        """The drawn person, or None for the photograph."""
        return None if self.photo else self.identity.value

    def _step(self) -> int:
        return round(self.rho.value * (STEPS - 1))

    def _name(self) -> str:
        return "photograph" if self.photo else f"person {self.identity.value}"

    def _wanted(self) -> str:
        return f"{self.expression.value}, ρ = {self._step() / (STEPS - 1):.1f}"


class ActionUnitPlayground(Panel):
    """The panel of `action_units`.

    Attributes
    ----------
    units : dict of str to ipywidgets.FloatSlider
        The strength of each unit in `ACTION_UNITS`, from 0 to 1.5.
    rho : ipywidgets.FloatSlider
        The strength ρ, which scales all units.
    identity : ipywidgets.IntSlider
        The drawn person.
    """

    def __init__(
        self,
        identity: int = FIRST_IDENTITY["test"] + 7,
        expression: str | int | Mapping[str | int, float] = "happiness",
    ) -> None:
        self.rho = ipywidgets.FloatSlider(
            1.0,
            min=0,
            max=1,
            step=0.05,
            description="Strength ρ",
            layout={"width": "30em", "max_width": "100%"},
        )
        self.units = {unit: _unit_slider(unit) for unit in ACTION_UNITS}
        self.show(expression)
        above = [self._people(identity), self._prototypes(), self.rho]
        controls = [*self.units.values(), self.rho, self.identity]
        super().__init__(above, controls, [self._region(*region) for region in REGIONS.items()])

    def show(self, expression: str | int | Mapping[str | int, float]) -> None:
        """Set the units' sliders.

        Parameters
        ----------
        expression : str, int, or mapping of action units to strengths
            The name or label of an expression, for its prototype, or units such as
            ``{12: 1.0, "2R": 0.5}``; units that are not named rest.

        Raises
        ------
        ValueError
            If there is no such expression or unit, or a strength is outside [0, 1.5].
        """
        if not isinstance(expression, Mapping):
            expression = PROTOTYPES[EXPRESSIONS[index(expression)]]
        for slider, strength in zip(self.units.values(), vector(expression).tolist(), strict=True):
            slider.value = round(strength, 2)

    def picture(self) -> Image.Image:
        """What the panel shows, as one picture.

        Returns
        -------
        PIL.Image.Image
            The neutral face, the face that the units make, and in black where the two differ.
        """
        before, after = self._faces()
        mask = Image.fromarray(~_changed(before, after)).convert("RGB")
        tiles = {"neutral": before, f"ρ = {self.rho.value:.2f}": after, "where it changes": mask}
        return _stack([_row(tiles, TILE)])

    def describe(self) -> str:
        """One sentence about the picture: who, which units, how much changes, like what."""
        share = _changed(*self._faces()).mean()
        name, cosine = self.nearest()
        text = f"person {self.identity.value}, {self._acting()} at ρ = {self.rho.value:.2f}"
        text += f": {share:.0%} of the pixels change, most like {name}"
        return text if name == "neutral" else f"{text} (cosine {cosine:.2f})"

    def nearest(self) -> tuple[str, float]:
        """The expression whose prototype points most nearly in the direction of the units.

        Returns
        -------
        name : str
            "neutral" if no unit acts.
        cosine : float
            Of the angle between the two vectors of units, from 0 to 1; 0 for neutral.
        """
        units = vector(self._strengths())  # (25,)
        prototypes = torch.stack([vector(PROTOTYPES[name]) for name in EXPRESSIONS])  # (8, 25)
        cosines = torch.cosine_similarity(prototypes, units * self.rho.value)  # neutral's is 0
        best = int(cosines.argmax())
        return EXPRESSIONS[best], float(cosines[best])

    def _strengths(self) -> dict[str, float]:
        return {unit: slider.value for unit, slider in self.units.items()}

    def _faces(self) -> tuple[Image.Image, Image.Image]:
        """The person at rest and as the controls say."""
        return _two_faces(self.identity.value, tuple(self._strengths().items()), self.rho.value)

    def _acting(self) -> str:
        """The units that act, in words; "12" stands for two equal sides."""
        strengths, acting = self._strengths(), {}
        for unit, strength in strengths.items():
            number = unit.rstrip("LR")
            sides = {strengths[side] for side in strengths if side.rstrip("LR") == number}
            acting[number if len(sides) == 1 else unit] = strength
        shown = [f"{unit} {strength:.2f}" for unit, strength in acting.items() if strength]
        return "units " + ", ".join(shown) if shown else "no units"

    def _prototypes(self) -> ipywidgets.HBox:
        """A button for each expression."""
        buttons = []
        for name in EXPRESSIONS:
            button = ipywidgets.Button(description=name, layout={"width": "auto"})
            button.on_click(lambda button: self.show(button.description))
            buttons.append(button)
        return ipywidgets.HBox(buttons, layout={"flex_flow": "row wrap"})

    def _region(self, name: str, units: Sequence[str]) -> ipywidgets.VBox:
        """The sliders of a part of the face, in as many columns as there is room for."""
        columns = "repeat(auto-fill, minmax(20em, 1fr))"
        grid = ipywidgets.GridBox(
            [self.units[unit] for unit in units], layout={"grid_template_columns": columns}
        )
        return ipywidgets.VBox([ipywidgets.HTML(f"<b>{name}</b>"), grid])


class TrainingPanel(Panel):
    """The panel of `watch`.

    A thread redraws it until the run is complete or watching is stopped. Another panel of the
    same folder stops the one before. While a cell is running, the kernel hears no buttons: a
    press takes effect when the cell ends.

    Attributes
    ----------
    run : mmagan_lite.runs.Run
        What was read from the folder.
    progress : ipywidgets.IntProgress
        Steps done, the warm-up's included.
    stop_button : ipywidgets.Button
        Ends watching, not training.
    """

    watching: dict[Path, "TrainingPanel"] = {}  # noqa: RUF012 (shared by all on purpose)

    def __init__(self, folder: str | os.PathLike, seconds: float = 1.0) -> None:
        self.run, self.seconds = runs.Run(folder), seconds
        self._shown: list[DisplayHandle] = []
        self._drawing, self._ended = threading.RLock(), threading.Event()
        self.progress = ipywidgets.IntProgress(
            min=0, max=1, description="Steps", layout={"width": "24em", "max_width": "100%"}
        )
        self.stop_button = ipywidgets.Button(description="Stop watching", icon="stop")
        self.stop_button.on_click(lambda button: self.stop())
        super().__init__([ipywidgets.HBox([self.progress, self.stop_button])], [])
        earlier = self.watching.pop(self.run.folder, None)
        if earlier:
            earlier.stop()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        if self.run.done:
            self.stop_button.disabled = True
        else:
            self.watching[self.run.folder] = self
            self._thread.start()

    def stop(self) -> None:
        """Stop watching; the panel keeps what it shows now."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._finish()

    def __enter__(self) -> Self:
        """Show the panel."""
        display(self)
        return self

    def __exit__(self, *error: object) -> None:
        """Show the end of the run, and keep its picture in the notebook."""
        self.stop()

    def redraw(self) -> None:
        """Show what the folder holds."""
        self.image.value = _png(self.picture(), compress_level=1)
        self._tell()

    def picture(self) -> Image.Image:
        """What the panel shows, as one picture.

        Returns
        -------
        PIL.Image.Image
            The curves of `plots.history`; below them one person's edits in the newest samples.
        """
        with self._drawing:
            width = round(100 * plots.WIDTH)
            if self.run.problem:
                return _stack([_line("No curves yet", width)])
            figure = Figure(figsize=(plots.WIDTH, 5.2), dpi=100, layout="constrained")
            canvas = FigureCanvasAgg(figure)  # not pyplot's, since this may not be the main thread
            plots.history(self.run.rows, figure)
            canvas.draw()
            curves = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
            samples = self.run.newest_sample()
            return _stack([curves, *([_first_person(samples[1], width)] if samples else [])])

    def describe(self) -> str:
        """One sentence about the run: how far it is, and what the curves say there."""
        with self._drawing:
            if self.run.problem:
                return self.run.problem
            rows, config = self.run.rows, self.run.config
            text = f"{self.run.name}: step {self.run.step}"
            text += f" of {config.steps}" if config else ""
            text += f", {self._state()}"
            recent = rows.tail(max(1, len(rows) // 50)).mean()
            known = [key for key in SUMMARY if key in recent and np.isfinite(recent[key])]
            # "z": no minus sign before a zero
            said = [f"{SUMMARY[key]} {recent[key]:z.2f}".replace("-", "−") for key in known]
            samples = self.run.samples()
            said += [f"faces of step {max(samples)}"] if samples else []
            return f"{text}: {', '.join(said)}" if said else text

    def _state(self) -> str:
        """What is going on, in words."""
        if self.run.done:
            return "complete"
        idle = self.run.seconds_since()
        rows, config = self.run.rows, self.run.config
        pace = rows["seconds"].diff().tail(50).median()  # seconds a step
        if idle > max(30, 10 * (pace if len(rows) > 1 else 0)):
            return f"nothing new for {_duration(idle)}"
        if self.run.step <= 0:
            return "in the critic's warm-up"
        if not config or self.run.step < 10:
            return "in training"
        return f"about {_duration((config.steps - self.run.step) * pace)} to go"

    def _tell(self) -> None:
        """Bring the sentence and the bar up to date."""
        with self._drawing:
            self.facts.value = html.escape(self.describe(), quote=False)
            if len(self.run.rows) and self.run.config:
                before = int(self.run.rows["step"].iloc[0]) - 1
                self.progress.max = self.run.config.steps - before
                self.progress.value = self.run.step - before

    def _follow(self) -> None:
        """Redraw until the run is complete; what goes wrong is told, and tried again."""
        pause = self.seconds
        seen = self._seen()
        while not self.run.done and not self._ended.wait(pause):
            started = time.thread_time()
            try:
                with self._drawing:
                    self.run.refresh()
                    before, seen = seen, self._seen()
                    if seen != before:
                        self.redraw()
                    else:
                        self._tell()
            except Exception as error:
                self.facts.value = html.escape(f"The panel could not be drawn: {error}")
            pause = max(self.seconds, 9 * (time.thread_time() - started))
        if not self._ended.is_set():
            self._finish()

    def _seen(self) -> tuple:
        """What the picture depends on."""
        return self.run.rewritten, len(self.run.rows), len(self.run.samples()), self.run.problem

    def _finish(self) -> None:
        """Show the last state, also where the notebook stores it."""
        with self._drawing:
            self.run.refresh()
            self.redraw()
            self.stop_button.disabled = True
            if self.watching.get(self.run.folder) is self:
                del self.watching[self.run.folder]
            for handle in self._shown:
                handle.update(self._repr_mimebundle_(), raw=True)

    def _ipython_display_(self) -> None:
        """Show the panel so that its stored picture can be replaced by a later one."""
        handle = display(self._repr_mimebundle_(), raw=True, display_id=True)
        if handle:
            self._shown.append(handle)


def _unit_slider(unit: str) -> ipywidgets.FloatSlider:
    """A slider for an action unit, with its number and name; its value is in the sentence."""
    return ipywidgets.FloatSlider(
        min=0,
        max=1.5,
        step=0.05,
        description=f"{unit} {ACTION_UNITS[unit].split(',')[0]}",
        readout=False,
        style={"description_width": "12.5em"},
        layout={"width": "auto"},
    )


class Debounced:
    """A function that is called once for many requests in quick succession.

    It runs a moment after the first of them, so that it sees the controls as the last one left
    them and a slider cannot ask for pictures faster than they are drawn. Outside a running
    event loop, as in a script, it runs at once.

    Parameters
    ----------
    function : callable
        Takes no arguments.
    seconds : float
        How long a moment is.
    """

    def __init__(self, function: Callable[[], Any], seconds: float = 0.03) -> None:
        self.function, self.seconds, self.waiting = function, seconds, False

    def __call__(self) -> None:
        """Ask for a call."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._run()
            return
        if not self.waiting:
            self.waiting = True
            loop.call_later(self.seconds, self._run)

    def _run(self) -> None:
        self.waiting = False
        self.function()


def _crop(photo: Picture) -> Image.Image:
    """The one face of a photograph, upright."""
    photo = detection.load_image(photo)
    crop, _ = detection.align(photo, detection.find_face(photo), TILE)
    return crop


def _drawn(
    person: int, expression: str | Mapping[str, float], rho: Sequence[float], size: int
) -> list[Image.Image]:
    """A person's faces at some strengths."""
    rho = torch.as_tensor(rho)
    return editing.to_pil(2 * faces.render(person, expression, rho, size=size) - 1)


@functools.lru_cache(2)  # the picture and its sentence ask for the same faces
def _two_faces(
    person: int, units: tuple[tuple[str, float], ...], rho: float
) -> tuple[Image.Image, Image.Image]:
    """A person at rest, and with some action units."""
    before, after = _drawn(person, dict(units), [0.0, rho], 128)
    return before, after


def _changed(before: Image.Image, after: Image.Image) -> np.ndarray:
    """Where two pictures differ: (H, W), bool."""
    return (_levels(before) != _levels(after)).any(-1)


def _levels(image: Image.Image) -> np.ndarray:
    """Pixels as numbers: (H, W, 3), 0 to 255."""
    return np.asarray(image, dtype=np.float32)


def _difference(before: Image.Image, after: Image.Image) -> Image.Image:
    """White where nothing changed, red where it became brighter, blue where darker."""
    change = (_levels(after) - _levels(before)).mean(-1, keepdims=True) / RANGE  # (H, W, 1)
    red, blue = np.clip([change, -change], 0, 1)
    colours = 1 - np.concatenate([blue, red + blue, red], -1)  # (H, W, 3)
    return Image.fromarray((colours.clip(0, 1) * 255).round().astype(np.uint8))


def _first_person(samples: Image.Image, width: int) -> Image.Image:
    """The uppermost row of `Trainer.sample_grid`, enlarged: the input and its edits."""
    pitch = samples.height - 1
    for side in CHOICES["image_size"]:  # up to four rows, with lines of one pixel between
        if (samples.height - 1) % (side + 1) == 0 and samples.height <= 4 * (side + 1) + 1:
            pitch = side + 1
    corners = range(1, samples.width - 1, pitch)
    faces = [samples.crop((left, 1, left + pitch - 1, pitch)) for left in corners]
    names = EXPRESSIONS if len(faces) == 1 + len(EXPRESSIONS) else range(1, len(faces))
    captions = ["input", *(name if name in EXPRESSIONS else f"edit {name}" for name in names)]
    return _row(dict(zip(captions, faces, strict=True)), (width + GAP) // len(faces) - GAP)


def _line(text: str, width: int) -> Image.Image:
    """A line of text as a picture."""
    line = Image.new("RGB", (width, CAPTION), "white")
    ImageDraw.Draw(line).text((0, 2), text, "black", _font())
    return line


def _duration(seconds: float) -> str:
    """A time in its two largest units: 50 s, 3 min 20 s, 5 h 10 min."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _row(pictures: dict[str, Image.Image], side: int) -> Image.Image:
    """Pictures side by side, scaled to squares, each below its caption."""
    row = Image.new("RGB", ((side + GAP) * len(pictures) - GAP, side + CAPTION), "white")
    draw, font = ImageDraw.Draw(row), _font()
    for number, (caption, picture) in enumerate(pictures.items()):
        left = number * (side + GAP)
        draw.text((left, 2), caption, "black", font)
        row.paste(picture.resize((side, side), Image.Resampling.BICUBIC), (left, CAPTION))
    return row


def _stack(rows: Sequence[Image.Image]) -> Image.Image:
    """Rows below each other, with a margin that keeps them readable on a dark page."""
    width = max(row.width for row in rows) + 2 * GAP
    stack = Image.new("RGB", (width, sum(row.height + GAP for row in rows) + GAP), "white")
    top = GAP
    for row in rows:
        stack.paste(row, (GAP, top))
        top += row.height + GAP
    return stack


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    """A font that has ρ, from Matplotlib's files; Pillow's own has no Greek."""
    return ImageFont.truetype(
        Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 13
    )


def _png(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()
