"""A real browser for the tests, Debian's Chromium: its pages, their servers and their panels."""

import base64
import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
APT = (
    ["apt-get", "update", "-qq"],
    ["apt-get", "install", "-qq", "--no-install-recommends", "chromium"],
)
BUTTON = ("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg' width='117' height='20'/>")
ICONS = ("text/css", "")
ELSEWHERE = {  # the only files that pages ask other machines for; no control needs them
    "/assets/colab-badge.svg": BUTTON,
    "/static/images/open-in-kaggle.svg": BUTTON,
    # Voilà's own page has a set of icons, of which our panels use none.
    "/npm/@fortawesome/fontawesome-free@%5E5/css/all.min.css": ICONS,
    "/npm/@fortawesome/fontawesome-free@%5E5/css/v4-shims.min.css": ICONS,
}
PATIENCE = 60_000  # milliseconds; a busy machine is slow, a missing element never comes


expect.set_options(timeout=PATIENCE)


# ----------------------------------------------------------------------------------- the browser


def chromium():
    """The path of a browser, installed if need be; without one the tests skip, or fail in CI."""
    if not found() and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in APT:
            subprocess.run(
                command,
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                stdout=subprocess.DEVNULL,
                check=False,
            )
    if not found():
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(f"No browser was found: none of {', '.join(NAMES)} is on PATH; install chromium.")
    return found()


def found():
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def launched():
    """The browser, running."""
    path = chromium()
    with sync_playwright() as driver:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        chrome = driver.chromium.launch(executable_path=path, args=arguments)
        yield chrome
        chrome.close()


class Visit:
    """A page, and everything that went wrong in it: `faults` must stay empty.

    Requests to other machines are noted and refused, but for those that are answered from here.
    """

    def __init__(self, browser):
        self.context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.context.route(lambda address: not is_local(address), self._outside)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.told = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.told.append(f"page error: {error}"))

    def _outside(self, route):
        path = urlsplit(route.request.url).path
        if path in ELSEWHERE:
            kind, body = ELSEWHERE[path]
            route.fulfill(body=body, content_type=kind)
        else:
            self.told.append(f"request: {route.request.url}")
            route.abort()

    def _console(self, message):
        if message.type == "error":
            self.told.append(f"console: {message.text}")

    def faults(self):
        """What went wrong since the last time: one sentence each."""
        alerts = self.page.locator(".mmagan-panel [role=alert]:visible").all_inner_texts()
        self.page.wait_for_timeout(0)  # lets events arrive that are on their way
        told, self.told = self.told, []
        return told + [f"alert: {sentence}" for sentence in alerts]

    def panels(self):
        return [Panel(one) for one in self.page.locator(".mmagan-panel").all()]

    def panel(self, title, number=0):
        return Panel(self.page.get_by_role("group", name=title, exact=True).nth(number))


def is_local(address):
    parts = urlsplit(address)
    return parts.scheme in ("blob", "data", "file", "about") or parts.hostname == "127.0.0.1"


# ----------------------------------------------------------------------------------- the servers


@contextlib.contextmanager
def served(command, folder, log):
    """The address of a server, started with ``--port`` by `command`."""
    port = free_port()
    homes = {f"JUPYTER_{kind}_DIR": str(log.parent / kind) for kind in ("CONFIG", "DATA")}
    homes |= {"IPYTHONDIR": str(log.parent / "ipython"), "PYTHONUNBUFFERED": "1"}
    with log.open("w") as told:
        server = subprocess.Popen(
            [sys.executable, *map(str, command), "--no-browser", f"--port={port}"],
            cwd=folder,
            env=os.environ | homes,
            stdout=told,
            stderr=subprocess.STDOUT,
        )
    try:
        answers(server, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def answers(server, port, log):
    for _ in range(600):
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", port), 1).close()
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"The server does not answer:\n{log.read_text()}")


@contextlib.contextmanager
def kernels_stopped():
    """No kernel of the servers does anything meanwhile."""
    children = psutil.Process().children(recursive=True)
    kernels = []
    for child in children:
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if "ipykernel_launcher" in child.cmdline():
                kernels.append(child)
    assert kernels
    try:
        for kernel in kernels:
            kernel.suspend()
        yield
    finally:
        for kernel in kernels:
            kernel.resume()


class Lab(Visit):
    """JupyterLab with one notebook and nothing beside it."""

    def open(self, address, name):
        self.page.goto(f"{address}/doc/tree/{name}")
        self.page.wait_for_selector(".jp-NotebookPanel-toolbar")
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
        )
        return self

    def command(self, name, **options):
        run = "([name, options]) => jupyterapp.commands.execute(name, options)"
        return self.page.evaluate(run, [name, options])

    def run(self):
        """Run all cells from a fresh kernel."""
        self.command("notebook:run-all-cells")
        self.page.wait_for_function(
            "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"
        )
        return self

    def settled(self):
        """Wait until the kernel has heard and answered all that the page has to tell it."""
        kernel = "jupyterapp.shell.currentWidget.sessionContext.session.kernel"
        for _ in range(2):  # the page keeps a move back until the kernel has done another
            self.page.evaluate(f"() => {kernel}.requestKernelInfo()")

    def outputs(self):
        """The outputs of all cells, as the notebook would store them."""
        read = """() => [...jupyterapp.shell.currentWidget.model.cells]
            .flatMap((cell) => cell.outputs?.toJSON() ?? [])"""
        return self.page.evaluate(read)

    def close(self):
        """End the kernel and the page."""
        self.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        self.context.close()


# ------------------------------------------------------------------------------------ the panels


class Panel:
    """A panel in a page, and what a reader does with it."""

    def __init__(self, locator):
        self.locator, self.page = locator, locator.page

    def image(self, role):
        return self.locator.locator(f"[data-role={json.dumps(role)}] img")

    def picture(self, role):
        """A picture as the browser decoded it: (H, W, 3), 0 to 255."""
        return pixels(self.image(role))

    def says(self, *parts):
        """Wait until the sentence has these parts; the pictures changed together with it."""
        pattern = ".*".join(map(re.escape, parts))
        expect(self.locator.locator(".mmagan-text")).to_contain_text(
            re.compile(pattern), timeout=PATIENCE
        )
        return self

    def roles(self):
        """What the pictures are, in their order."""
        return self.locator.locator("[data-role]").evaluate_all(
            "(all) => all.map((one) => one.dataset.role)"
        )

    def until(self, condition):
        """Wait until a function of the panel is true in the page."""
        self.page.wait_for_function(condition, arg=self.locator.element_handle())

    def control(self, name):
        return self.locator.get_by_label(name, exact=True)

    def prepared(self):
        """Wait until all pictures are here; those of the options come first."""
        self.until("(panel) => !panel.querySelector('.mmagan-missing')")
        expect(self.locator.locator("progress")).to_be_hidden(timeout=2 * PATIENCE)
        return self

    def drag(self, name, place):
        """Take a slider with the mouse and let it go at a place between 0 and 1."""
        slider = self.control(name)
        slider.scroll_into_view_if_needed()
        low, high, now = slider.evaluate("(s) => [+s.min, +s.max, s.valueAsNumber]")
        box, thumb = slider.bounding_box(), 16
        at = lambda share: thumb / 2 + share * (box["width"] - thumb)  # noqa: E731
        y = box["height"] / 2
        slider.hover(position={"x": at((now - low) / (high - low)), "y": y})  # once it stands still
        box = slider.bounding_box()
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + at(place), box["y"] + y, steps=30)
        self.page.mouse.up()

    def tab_to(self, name):
        """Go to a control as someone without a mouse does."""
        wanted = self.control(name)
        for _ in range(60):
            self.page.keyboard.press("Tab")
            if wanted.evaluate("(control) => control === document.activeElement"):
                return wanted
        raise AssertionError(f"Tab does not come to {name}.")

    def enter(self):
        """Put the focus before the first control."""
        self.locator.evaluate(
            """(panel) => {
                panel.tabIndex = -1;
                panel.focus();
                panel.removeAttribute("tabindex");
            }"""
        )


def pixels(image):
    """An <img> as the browser decoded it: (H, W, 3), 0 to 255."""
    address = image.evaluate(
        """async (image) => {
            for (let source; source !== image.src;) { // another one may come meanwhile
                source = image.src;
                await image.decode().catch((error) => {
                    if (source === image.src) throw error;
                });
            }
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            canvas.getContext("2d").drawImage(image, 0, 0);
            return canvas.toDataURL();
        }"""
    )
    data = base64.b64decode(address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)
