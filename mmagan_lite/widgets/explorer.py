"""The panels that edit one face: by expression and strength, and as a strip of strengths."""

import functools
from collections.abc import Iterator, Mapping

import numpy as np
import traitlets
from PIL import Image
from skimage.transform import SimilarityTransform

from mmagan_lite import detection, editing
from mmagan_lite.data import FIRST_IDENTITY
from mmagan_lite.editing import Picture
from mmagan_lite.expressions import EXPRESSIONS
from mmagan_lite.generator import Generator
from mmagan_lite.widgets import pictures
from mmagan_lite.widgets.panel import (
    Frame,
    Panel,
    Tile,
    Values,
    choice,
    hidden,
    people,
    slider,
    strengths,
    upload,
)

PERSON = FIRST_IDENTITY["test"] + 7
SIDE = 2048  # pixels: larger photographs are made smaller on their way to the panel
CROP = 256  # pixels: a face of a photograph, upright
SHOWN = 640  # pixels: a photograph in the panel
NOTE = (
    "These weights have learned from drawn faces only: on a photograph expect the brows and the "
    "mouth of a drawing, not a convincing expression."
)


class ExpressionExplorer(Panel):
    """The panel of `explore`.

    Attributes
    ----------
    expression : str
        The target expression, a name in `EXPRESSIONS`.
    rho : float
        The strength ρ, 0 to 1.
    identity : int
        The drawn person.
    face : int
        Which face of the photograph, from left to right and starting with 1; 0 for the drawn
        person.
    """

    title = "Expression explorer"
    expression = traitlets.Enum(EXPRESSIONS, "happiness").tag(sync=True)
    rho = traitlets.Float(1.0, min=0, max=1).tag(sync=True)
    identity = traitlets.Int(PERSON).tag(sync=True)
    face = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(
        self,
        model: Generator | None = None,
        identity: int = PERSON,
        photo: Picture | bytes | None = None,
    ) -> None:
        self.model = model or editing.default_model()
        self.photo = None if photo is None else Photograph(photo)
        # What was computed is kept: two faces with all their edits.
        self._input = functools.lru_cache(8)(self._input)
        self._output = functools.lru_cache(256)(self._output)
        self._truth = functools.lru_cache(256)(self._truth)
        self._people = people(identity)
        super().__init__(self._controls(), identity=identity, face=int(photo is not None))

    def compose(self, values: Values) -> Frame:
        """Input, output, for drawn faces the exact answer, and output − input."""
        who, wanted = self._who(values), (values["expression"], values["rho"])
        before, after = self._input(who), self._output(who, *wanted)
        truth = None if values["face"] else self._truth(who, *wanted)
        tiles = [Tile("input", "input", before), Tile("output", f"output: {_say(*wanted)}", after)]
        if truth:
            tiles.append(Tile("truth", "exact answer", truth))
        change = pictures.difference(before, after)
        tiles.append(Tile("difference", f"output − input, ±{pictures.RANGE} levels", change))
        if values["face"]:
            tiles.append(Tile("photograph", "photograph", self.photo.paste(values["face"], after)))
        return Frame([tiles], self._sentence(values, before, after, truth))

    def ahead(self) -> Iterator[Values]:
        """All edits of this face: first what one step of a control shows."""
        now, options = self.values(), strengths()["options"]
        yield from (now | {"expression": name} for name in EXPRESSIONS)
        yield from (now | {"rho": rho} for rho in options)
        yield from (now | {"expression": e, "rho": rho} for e in EXPRESSIONS for rho in options)

    def received(self, file: str, data: bytes) -> None:
        """Edit the photograph that was uploaded."""
        try:
            photo = Photograph(data)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
        with self._one_at_a_time:  # nothing of the photograph before is prepared meanwhile
            self.photo = photo
            for cache in (self._input, self._output):
                cache.cache_clear()
            self.forget()
            self.controls = self._controls()
            self.face = 1
            self.redraw()

    @traitlets.validate("face")
    def _present(self, proposal: Mapping) -> int:
        """A face that is there."""
        number, count = proposal["value"], len(self.photo.faces) if self.photo else 0
        if number > count:
            found = f"the photograph has {count}" if count else "there is no photograph"
            raise ValueError(f"There is no face {number}, {found}; 0 is the drawn person.")
        return proposal["value"]

    def _controls(self) -> list[dict]:
        controls = [
            self._people,
            choice("expression", "Expression", EXPRESSIONS, pictured="output"),
            slider("rho", "Strength ρ", **strengths()),
            upload("photo", "Your photograph", SIDE),
        ]
        count = len(self.photo.faces) if self.photo else 0
        texts = ["drawn person", *(f"face {number}" for number in range(1, count + 1))]
        faces = choice("face", "Edit", range(count + 1), texts)
        return [faces, *controls] if count else [*controls, hidden("face")]

    def _who(self, values: Values) -> tuple[str, int]:
        """Whose face: of the photograph or a drawn one."""
        face = values["face"]
        return ("photograph", face) if face else ("person", values["identity"])

    def _input(self, who: tuple[str, int]) -> Image.Image:
        kind, number = who
        if kind == "photograph":
            return self.photo.crop(number)
        return self._drawn(number, "neutral", 0.0)

    def _output(self, who: tuple[str, int], expression: str, rho: float) -> Image.Image:
        return editing.edit(self._input(who), expression, rho, self.model)

    def _truth(self, who: tuple[str, int], expression: str, rho: float) -> Image.Image:
        return self._drawn(who[1], expression, rho)

    def _drawn(self, person: int, expression: str, rho: float) -> Image.Image:
        return pictures.drawn(person, expression, [rho], editing.image_size(self.model))[0]

    def _sentence(
        self, values: Values, before: Image.Image, after: Image.Image, truth: Image.Image | None
    ) -> str:
        """Who, what, and how much changed where."""
        kind, number = self._who(values)
        change = np.abs(pictures.levels(after) - pictures.levels(before)).mean(-1)  # (H, W)
        name = f"{kind}, face {number}" if values["face"] else f"{kind} {number}"
        text = f"{name}, {_say(values['expression'], values['rho'])}: "
        text += f"mean change {change.mean():.1f} of 255 levels"
        if not truth:
            return f"{text}. {NOTE}"
        inside = pictures.changed(before, truth)  # (H, W)
        if inside.any() and change.any():
            share = change[inside].sum() / change.sum()
            text += f", {share:.0%} of it where the exact answer changes"
        return text


class SweepStrip(ExpressionExplorer):
    """The panel of `strip`: all strengths of an expression side by side.

    It has the attributes of `ExpressionExplorer`.
    """

    title = "Strip of strengths"

    def _controls(self) -> list[dict]:
        expressions = choice("expression", "Expression", EXPRESSIONS)
        rho = choice("rho", "Strength ρ", **strengths(), pictured="output")
        others = [c for c in super()._controls() if c["name"] not in ("expression", "rho")]
        return [*others[:1], expressions, rho, *others[1:]]


class Photograph:
    """A photograph whose faces are edited one at a time.

    Parameters
    ----------
    photo : PIL image, uint8 array, path, or bytes of a file

    Attributes
    ----------
    faces : list of Face
        From left to right.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        If there is no such photograph, or no face in it.
    """

    def __init__(self, photo: Picture | bytes) -> None:
        self.image = detection.load_image(photo)
        self.image.thumbnail((SIDE, SIDE))
        self.faces = sorted(detection.detect(self.image), key=lambda face: face.centre)
        if not self.faces:
            detection.find_face(self.image)  # says what to do
        self._aligned = functools.cache(self._aligned)

    def crop(self, face: int) -> Image.Image:
        """A face, the first is 1, upright in a square."""
        return self._aligned(face)[0]

    def paste(self, face: int, edited: Image.Image) -> Image.Image:
        """The photograph, as large as a panel shows it, with an edited crop in its place."""
        whole = detection.paste_back(self.image, edited, self._aligned(face)[1])
        whole.thumbnail((SHOWN, SHOWN))
        return whole

    def _aligned(self, face: int) -> tuple[Image.Image, SimilarityTransform]:
        return detection.align(self.image, self.faces[face - 1], CROP)


def _say(expression: str, rho: float) -> str:
    return f"{expression}, ρ = {rho:.1f}"
