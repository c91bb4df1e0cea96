"""What all panels have in common: controls, pictures that follow them, and a sentence."""

import base64
import contextlib
import html
import itertools
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anywidget
import traitlets
from PIL import Image

from mmagan_lite.data import progress, write_atomically
from mmagan_lite.widgets import pictures

HERE = Path(__file__).parent
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PAUSE = 0.3  # seconds after an input in which nothing is prepared: the user comes first
WITH_VALUE = ("choice", "slider", "sliders", "hidden")  # kinds of controls
KEPT = 2000  # frames that a browser keeps before it is told to forget them

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 1rem auto; max-width: 70rem; padding: 0 0.5rem; }}
{css}
</style>
</head>
<body>
<main id="panel"></main>
<script type="module">
{js}
const page = {page};
render({{ model: still(page), el: document.getElementById("panel") }});
</script>
</body>
</html>
"""

Values = dict[str, Any]
"""A position of a panel's controls: name of the control -> value."""


class Tile(NamedTuple):
    """One picture of a frame."""

    role: str  # what it is, whatever the controls say: "input", "output", ...
    caption: str
    image: Image.Image
    wide: bool = False  # a row of its own


class Frame(NamedTuple):
    """What a panel shows at one position of its controls."""

    rows: list[list[Tile]]
    text: str


class Panel(anywidget.AnyWidget):
    """Controls, pictures that follow them, and a sentence about them.

    Each kind of panel says which `controls` it has, and has its own `compose`, which makes the
    frame for one position of them. The value of a control is an attribute of the panel: set it,
    and the panel follows; change it in the browser, and the attribute follows.

    Attributes
    ----------
    controls : list of dict
        What the front end draws: name, kind, label, and what else the kind needs; see the
        functions `choice`, `slider`, `sliders`, `presets`, `button` and `upload`.
    frame : dict
        What the kernel showed last, for the front end, which shows frames that it has already
        without asking. `picture` and `describe` always follow the controls.
    progress : float
        Share of the frames that have been prepared, 0 to 1.
    problem : str
        One sentence if something went wrong; else empty.
    """

    _esm = HERE / "panel.js"
    _css = HERE / "panel.css"
    title = ""  # each kind of panel has its own
    label = traitlets.Unicode("").tag(sync=True)  # the title, for the front end
    controls = traitlets.List().tag(sync=True)
    names = traitlets.List().tag(sync=True)  # of the controls that have a value
    frame = traitlets.Dict().tag(sync=True)
    progress = traitlets.Float(1.0).tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)

    # Of all panels: when the user last moved something, and whose turn it is to prepare.
    _touched = -PAUSE
    _turn = threading.Lock()

    def __init__(self, controls: Sequence[Mapping[str, Any]], **values: Any) -> None:
        super().__init__(label=self.title, controls=list(controls), **values)
        self._known: set[str] = set()  # positions whose frames the browser has
        self._one_at_a_time = threading.RLock()  # composes, sends, or changes what is edited
        self._new_work = threading.Event()
        self._worker: threading.Thread | None = None
        if self.names:  # to observe no names would mean all of them
            self.observe(self._moved, self.names)
        self.observe(lambda _: self._new_work.set(), "comm")  # the thread ends with the panel
        self.on_msg(self._hear)
        self.redraw()

    def compose(self, values: Values) -> Frame:
        """Make the frame for one position of the controls.

        Parameters
        ----------
        values : dict
            Of each control.

        Returns
        -------
        Frame
        """
        raise NotImplementedError

    def ahead(self) -> Iterable[Values]:
        """Positions worth preparing before someone asks for them, the likeliest first."""
        return ()

    def values(self) -> Values:
        """What the controls say now."""
        return {name: getattr(self, name) for name in self.names}

    def picture(self) -> Image.Image:
        """What the panel shows, as one picture.

        Returns
        -------
        PIL.Image.Image
            RGB. Rows of pictures with their captions; below them what the other choices show.
        """
        values, rows = self.values(), []
        for tiles in self._composed(values).rows:
            height = tiles[0].image.height if tiles[0].wide else pictures.TILE
            for start in range(0, len(tiles), 4):
                four = [(tile.caption, tile.image) for tile in tiles[start : start + 4]]
                rows.append(pictures.row(four, height))
        rows += [self._thumbnails(c, values) for c in self.controls if c.get("pictured")]
        return pictures.stack(rows)

    def describe(self) -> str:
        """One sentence about what the panel shows."""
        return self._composed(self.values()).text

    def redraw(self) -> None:
        """Show what the controls say."""
        self.frame = self._packed(self.values())

    def export(self, path: str | os.PathLike, **offered: Sequence[Any]) -> Path:
        """Write the panel as one page whose controls work without Python or a network.

        Every position of the controls is computed and stored in the page.

        Parameters
        ----------
        path : path
            Of the HTML file to write.
        **offered : sequence
            The values that a control may take in the page, by the control's name; for instance
            ``identity=[1_000_001, 1_000_002]``. Default: all; of people, three.

        Returns
        -------
        Path
            Of the page.

        Raises
        ------
        ValueError
            If there is no such control, or no value for it.
        OSError
            If the page cannot be written; an earlier one of that name is unharmed.
        """
        path = Path(path)
        page = self._page(self._offered(offered))
        with write_atomically(path) as file:
            file.write(page.encode())
        return path

    # ------------------------------------------------------------------------- in the notebook

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.describe()}"

    # ipywidgets 7 shows itself by this method, and then there is no picture; 8 has none.
    _ipython_display_ = None

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The live panel, and its picture and text for pages that have no kernel."""
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        # This method keeps colours that are rare, such as those of the eyes; the default does not.
        palette = self.picture().quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2)
        picture = pictures.png(palette, optimize=True)
        data = {
            WIDGET_VIEW: view,
            "image/png": base64.b64encode(picture).decode(),
            "text/plain": repr(self),
        }
        _, metadata = super()._repr_mimebundle_()  # on Colab it says who draws the panel
        return data, metadata

    def _thumbnails(self, control: Mapping[str, Any], values: Values) -> Image.Image:
        """What the options of a pictured control show."""
        tiles = [
            (text, self._thumbnail(values | {control["name"]: option}, control["pictured"]))
            for option, text in zip(control["options"], control["texts"], strict=True)
        ]
        room = 4 * (pictures.TILE + pictures.GAP)
        return pictures.row(tiles, min(pictures.THUMBNAIL, room // len(tiles) - pictures.GAP))

    def _thumbnail(self, values: Values, role: str) -> Image.Image:
        tiles = itertools.chain(*self._composed(values).rows)
        return next(tile.image for tile in tiles if tile.role == role)

    def _composed(self, values: Values) -> Frame:
        with self._one_at_a_time:
            return self.compose(values)

    def _packed(self, values: Values) -> dict[str, Any]:
        """A frame as the front end takes it."""
        frame = self._composed(values)
        rows = [
            [tile._asdict() | {"image": pictures.png(tile.image, compress_level=1)} for tile in row]
            for row in frame.rows
        ]
        return {"values": values, "rows": rows, "text": frame.text}

    @traitlets.observe("controls")
    def _named(self, change: Mapping[str, Any]) -> None:
        self.names = [c["name"] for c in self.controls if c["kind"] in WITH_VALUE]

    # ------------------------------------------------------------------------ with the browser

    def _moved(self, change: Mapping[str, Any]) -> None:
        """Follow a control, unless the browser has what it asks for."""
        Panel._touched = time.monotonic()
        self._new_work.set()
        if _key(self.values()) in self._known:
            self.problem = ""
        else:
            self._try(self.redraw)

    def _try(self, function: Any) -> None:
        """Call a function; what goes wrong is shown in the panel, too."""
        self.problem = ""  # so that the same problem, found again, is told again
        try:
            function()
        except Exception as error:
            self.problem = str(error) or repr(error)
            raise

    def _hear(self, panel: "Panel", message: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        """Take a message of the browser."""
        Panel._touched = time.monotonic()
        if message["kind"] == "view":  # a page shows the panel and has no frames yet
            self._known.clear()
            self._new_work.set()
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, daemon=True)
                self._worker.start()
            if self.frame.get("values") != self.values():
                self._try(self.redraw)
        elif message["kind"] in ("press", "picture"):
            self._try(lambda: self._do(message, buffers))

    def _do(self, message: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        """Do what a control of the browser asks for."""
        # While the kernel is busy, the browser holds moves back, but no such message. What was
        # moved before it is in it: coming late, a move must not clear the sentence about it.
        for name, value in message["values"].items():
            with contextlib.suppress(ValueError):  # such as a face that is gone
                self.set_trait(name, value)
        if message["kind"] == "press":
            self.pressed(message["name"])
        else:
            self.received(message["file"], bytes(buffers[0]))

    def pressed(self, name: str) -> None:
        """Do what the button of that name says."""

    def received(self, file: str, data: bytes) -> None:
        """Take a picture that was uploaded."""

    def forget(self) -> None:
        """Drop all frames in the browser; what is shown has to be drawn again."""
        with self._one_at_a_time:
            self._known.clear()
            self._new_work.set()
            self.send({"kind": "forget"})
            self.frame = {}  # so that the next one is sent, even if it is the same as before

    def _work(self) -> None:
        """Prepare frames whenever there is something to prepare."""
        told = ""
        while self.comm is not None:
            self._new_work.wait()
            self._new_work.clear()
            before, told = told, ""
            try:
                self._prepare()
            except Exception as error:
                told, self.progress = f"Pictures could not be prepared: {error}", 1.0
            if (told or before) and self.problem in ("", before):  # others' problems stay
                self.problem = told

    def _prepare(self) -> None:
        """Send the frames that the browser lacks, until a control is moved."""
        with self._one_at_a_time:
            ahead = {_key(values): values for values in self.ahead()}
            todo = [values for key, values in ahead.items() if key not in self._known]
        if todo:
            self.progress = 0.0  # the bar is there before the first picture
        for number, values in enumerate(todo):
            while (quiet := time.monotonic() - Panel._touched) < PAUSE:
                time.sleep(PAUSE - quiet)
            with Panel._turn, self._one_at_a_time:
                if self._new_work.is_set() or self.comm is None:
                    return
                self._send_frame(values)
            if number % 4 == 0:
                self.progress = number / len(todo)
        self.progress = 1.0

    def _send_frame(self, values: Values) -> None:
        if len(self._known) > KEPT:
            self.forget()
            self.redraw()
        frame = self._packed(values)
        tiles = list(itertools.chain(*frame["rows"]))
        images = [tile["image"] for tile in tiles]
        for number, tile in enumerate(tiles):
            tile["image"] = number
        self.send({"kind": "frame", "frame": frame}, images)
        self._known.add(_key(values))

    # --------------------------------------------------------------------------- without kernel

    def _offered(self, asked: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        """The controls of an exported page."""
        kept = [dict(c) for c in self.controls if c["kind"] in ("choice", "slider", "presets")]
        names = {control["name"] for control in kept if control["kind"] in WITH_VALUE}
        for name, options in asked.items():
            if name not in names or not len(options):
                raise ValueError(
                    f"A page needs values for its controls ({', '.join(sorted(names))}); "
                    f"got {name} = {options!r}."
                )
        for control in kept:
            options = control.get("options", [])
            if control["name"] in asked:
                chosen = list(asked[control["name"]])
            elif control.get("next"):
                now = getattr(self, control["name"])
                start = options.index(now) if now in options else 0
                chosen = [options[(start + i) % len(options)] for i in range(min(3, len(options)))]
            else:
                continue
            texts = dict(zip(options, control["texts"], strict=True))
            control |= {"options": chosen, "texts": [texts.get(v, str(v)) for v in chosen]}
        return [c | {"kind": "hidden"} if len(c.get("options", "..")) == 1 else c for c in kept]

    def _page(self, controls: list[dict[str, Any]]) -> str:
        """The exported page."""
        images: dict[str, int] = {}  # data URI -> its place in the page
        positions = list(self._positions(controls))
        bar = progress(positions, desc="pictures", leave=False)
        frames = [self._stored(values, images) for values in bar]
        now = {name: value for name, value in self.values().items() if name in positions[0]}
        now = now if now in positions else positions[0]
        traits = {"label": self.title, "controls": controls, "names": [*positions[0]]}
        traits |= now | {"frame": {}, "progress": 1, "problem": "", "prepared": frames}
        page = {"traits": traits, "images": [*images]}
        script = (HERE / "panel.js").read_text().replace("export default { render };\n", "")
        return PAGE.format(
            title=html.escape(self.title),
            css=(HERE / "panel.css").read_text(),
            js=script,
            page=json.dumps(page, ensure_ascii=False).replace("<", "\\u003c"),
        )

    def _positions(self, controls: Sequence[Mapping[str, Any]]) -> Iterator[Values]:
        """All combinations of what the controls offer."""
        offers: dict[str, list[Any]] = {}
        for control in controls:
            if control["kind"] == "presets":
                for _, values in control["presets"]:
                    for name, value in values.items():
                        offers.setdefault(name, []).append(value)
            else:
                offers[control["name"]] = control["options"]
        for combination in itertools.product(*offers.values()):
            yield dict(zip(offers, combination, strict=True))

    def _stored(self, values: Values, images: dict[str, int]) -> dict[str, Any]:
        """A frame whose pictures are places in a list that all frames share."""
        frame = self._composed(self.values() | values)
        place = lambda tile: images.setdefault(pictures.data_uri(tile.image), len(images))  # noqa: E731
        rows = [[tile._asdict() | {"image": place(tile)} for tile in row] for row in frame.rows]
        return {"values": values, "rows": rows, "text": frame.text}


def _key(values: Values) -> str:
    return json.dumps(values)


# ---------------------------------------------------------------------------------- the controls


def choice(
    name: str,
    label: str,
    options: Sequence[Any],
    texts: Sequence[str] | None = None,
    pictured: str | None = None,
) -> dict[str, Any]:
    """One of a few, as radio buttons; each with the tile of role `pictured` that it would show."""
    texts = list(texts or map(str, options))
    return dict(
        kind="choice", name=name, label=label, options=[*options], texts=texts, pictured=pictured
    )


def slider(
    name: str,
    label: str,
    options: Sequence[float],
    texts: Sequence[str] | None = None,
    next: str | None = None,
) -> dict[str, Any]:
    """A place in a list of numbers, with a button to the next one if `next` has a text."""
    texts = list(texts or map(str, options))
    return dict(kind="slider", name=name, label=label, options=[*options], texts=texts, next=next)


def sliders(
    name: str,
    label: str,
    groups: Sequence[tuple[str, Sequence[tuple[str, str]]]],
    options: Sequence[float],
    texts: Sequence[str],
) -> dict[str, Any]:
    """Many sliders for a mapping of numbers: groups are (heading, ((key, label), ...))."""
    return dict(
        kind="sliders", name=name, label=label, groups=list(groups), options=[*options],
        texts=list(texts),
    )  # fmt: skip


def presets(name: str, label: str, values: Mapping[str, Values]) -> dict[str, Any]:
    """Buttons that set other controls: text of the button -> their values."""
    return dict(kind="presets", name=name, label=label, presets=[*values.items()])


def button(name: str, label: str) -> dict[str, Any]:
    """A button that calls the panel's `pressed`."""
    return dict(kind="button", name=name, label=label)


def upload(name: str, label: str, side: int) -> dict[str, Any]:
    """A picture from the reader's machine, at most `side` pixels wide and high."""
    return dict(kind="picture", name=name, label=label, side=side)


def hidden(name: str) -> dict[str, Any]:
    """A value that the frame depends on, and that no control sets at the moment."""
    return dict(kind="hidden", name=name)


def strengths(count: int = 11) -> dict[str, Sequence[Any]]:
    """Options and texts for ρ from 0 to 1."""
    values = [i / (count - 1) for i in range(count)]
    return {"options": values, "texts": [f"{value:.{1 if count < 12 else 2}f}" for value in values]}


def people(identity: int) -> dict[str, Any]:
    """The control that chooses one of a hundred drawn people."""
    first = identity - identity % 100
    return slider("identity", "Person", range(first, first + 100), next="Next person")
