"""The panel that follows a run while it is trained."""

import os
import threading
import time
from pathlib import Path
from typing import Self

import numpy as np
import traitlets
from IPython.display import DisplayHandle, display
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mmagan_lite import plots, runs
from mmagan_lite.config import CHOICES
from mmagan_lite.expressions import EXPRESSIONS
from mmagan_lite.widgets import pictures
from mmagan_lite.widgets.panel import Frame, Panel, Tile, Values, button
from mmagan_lite.widgets.pictures import GAP

SUMMARY = {
    "accuracy_fake": "target accuracy", "accuracy_real": "accuracy on real faces",
    "gap": "score gap", "generator_rho": "intensity loss (6)", "change": "mean |G(x, z) − x|",
}  # fmt: skip
"""The columns of a history that the sentence under a training panel tells."""


class TrainingPanel(Panel):
    """The panel of `watch`.

    A thread redraws it until the run is complete or watching is stopped. Another panel of the
    same folder stops the one before. While a cell is running, the kernel hears no buttons: a
    press takes effect when the cell ends.

    Attributes
    ----------
    run : mmagan_lite.runs.Run
        What was read from the folder.
    progress : float
        Share of the steps done, the warm-up's included.
    ended : bool
        Whether it has stopped watching.
    """

    title = "Training"
    ended = traitlets.Bool(False)
    watching: dict[Path, "TrainingPanel"] = {}  # noqa: RUF012 (shared by all on purpose)

    def __init__(self, folder: str | os.PathLike, seconds: float = 1.0) -> None:
        self.run, self.seconds = runs.Run(folder), seconds
        self._shown: list[DisplayHandle] = []
        self._stop = threading.Event()
        super().__init__([button("stop", "Stop watching")])
        earlier = self.watching.pop(self.run.folder, None)
        if earlier:
            earlier.stop()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        if self.run.done:
            self._end()
        else:
            self.watching[self.run.folder] = self
            self._thread.start()

    def pressed(self, name: str) -> None:
        """Stop watching."""
        self.stop()

    def stop(self) -> None:
        """Stop watching; the panel keeps what it shows now."""
        self._stop.set()
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
        super().redraw()
        if len(self.run.rows) and self.run.config:
            before = int(self.run.rows["step"].iloc[0]) - 1
            self.progress = (self.run.step - before) / (self.run.config.steps - before)

    def picture(self) -> Image.Image:
        """What the panel shows, as one picture.

        Returns
        -------
        PIL.Image.Image
            The curves of `plots.history`; below them one person's edits in the newest samples.
        """
        images = [tile.image for row in self._composed({}).rows for tile in row]
        nothing = ("no curves yet", Image.new("RGB", (round(100 * plots.WIDTH), 1), "white"))
        return pictures.stack(images or [pictures.row([nothing], 1)])

    def compose(self, values: Values) -> Frame:
        """The curves, one person's edits, and a sentence about the run."""
        with self._one_at_a_time:
            return Frame([[tile] for tile in self._tiles()], self._sentence())

    def describe(self) -> str:
        """One sentence about the run: how far it is, and what the curves say there."""
        with self._one_at_a_time:
            return self._sentence()

    def _prepare(self) -> None:
        """Nothing: there is one frame, and the progress is the run's."""

    def _tiles(self) -> list[Tile]:
        if self.run.problem:
            return []
        width = round(100 * plots.WIDTH)
        figure = Figure(figsize=(plots.WIDTH, 5.2), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(figure)  # not pyplot's, since this may not be the main thread
        plots.history(self.run.rows, figure)
        canvas.draw()
        curves = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
        tiles = [Tile("curves", "curves", curves, wide=True)]
        samples = self.run.newest_sample()
        if samples:
            step, faces = samples
            caption = f"one person's edits at step {step}"
            tiles.append(Tile("faces", caption, _first_person(faces, width), wide=True))
        return tiles

    def _sentence(self) -> str:
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
        """Bring the sentence up to date."""
        self.frame = self.frame | {"text": self.describe()}

    def _follow(self) -> None:
        """Redraw until the run is complete; what goes wrong is told, and tried again."""
        pause = self.seconds
        seen = self._seen()
        while not self._stop.wait(pause):
            started = time.thread_time()
            try:
                with self._one_at_a_time:
                    self.run.refresh()
                    if self.run.done:
                        self._finish()
                        return
                    before, seen = seen, self._seen()
                    if seen != before:
                        self.redraw()
                    else:
                        self._tell()
                self.problem = ""
            except Exception as error:
                self.problem = f"The panel could not be drawn: {error}"
            pause = max(self.seconds, 9 * (time.thread_time() - started))

    def _seen(self) -> tuple:
        """What the picture depends on."""
        return self.run.rewritten, len(self.run.rows), len(self.run.samples()), self.run.problem

    def _finish(self) -> None:
        """Show the last state, also where the notebook stores it."""
        with self._one_at_a_time:
            self.run.refresh()
            self.redraw()
            self.problem = ""
            self._end()
            data, metadata = self._repr_mimebundle_()
            for handle in self._shown:
                handle.update(data, metadata=metadata, raw=True)
            if self.watching.get(self.run.folder) is self:
                del self.watching[self.run.folder]

    def _end(self) -> None:
        self.ended, self.controls = True, []

    def _ipython_display_(self) -> None:
        """Show the panel so that its stored picture can be replaced by a later one."""
        data, metadata = self._repr_mimebundle_()
        handle = display(data, metadata=metadata, raw=True, display_id=True)
        if handle:
            self._shown.append(handle)


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
    side = (width + GAP) // len(faces) - GAP
    return pictures.row(list(zip(captions, faces, strict=True)), side)


def _duration(seconds: float) -> str:
    """A time in its two largest units: 50 s, 3 min 20 s, 5 h 10 min."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
