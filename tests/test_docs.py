"""The documents: links lead somewhere, commands exist, tables say what the package says."""

import argparse
import importlib
import importlib.metadata
import importlib.util
import re
import shlex
import sys
import tomllib
from contextlib import suppress
from functools import cache
from itertools import chain, pairwise
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import mmagan_lite as mg
from mmagan_lite.config import PROFILES
from mmagan_lite.exercises import EXERCISES

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`(?:[^`\n]|\n(?!\n))+`")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
IMAGE = re.compile(r"!\[[^\]]*\]\(\s*<?([^)\s>]+)")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
HTML_LINK = re.compile(r"<(?:a|img)\b[^>]*?\b(?:href|src)=\"([^\"]+)\"")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
ANCHOR = re.compile(r"<a\b[^>]*\b(?:id|name)=\"([^\"]+)\"")


def text_of(path):
    """A document; of a notebook the prose."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


# --- links ----------------------------------------------------------------------------------------


def links(text):
    prose = CODE.sub("`code`", COMMENT.sub("", FENCE.sub("", text)))
    return {link for kind in (LINK, IMAGE, HTML_LINK) for link in kind.findall(prose)}


def anchors(path):
    """What #... may name in a document: GitHub's rule for pages, Jupyter's for notebooks."""
    prose = FENCE.sub("", text_of(path))
    slug = github_slug if path.suffix == ".md" else jupyter_slug
    found, seen = set(ANCHOR.findall(prose)), {}
    for heading in HEADING.findall(prose):
        name = slug(heading)
        number = seen[name] = seen.get(name, -1) + 1
        found.add(f"{name}-{number}" if number else name)
    return found


def github_slug(heading):
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


def jupyter_slug(heading):
    return heading.replace(" ", "-")


def broken_links(path, text=None):
    """Every link that leads nowhere, without asking the network."""
    for link in links(text_of(path) if text is None else text):
        if re.match(r"(?:https?|mailto|attachment):", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists():
            yield f"{link}: there is no {name}"
        elif not target.is_relative_to(ROOT):
            yield f"{link}: leads out of the repository"
        elif anchor and anchor not in anchors(target):
            yield f"{link}: {target.name} has no heading {anchor}"


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=lambda path: path.name)
def test_links_and_anchors_lead_somewhere(path):
    assert list(broken_links(path)) == []


def test_a_broken_link_is_found():
    page = ROOT / "docs" / "made-up.md"
    good = "[a](paper.md) [b](paper.md#the-n--3-trap) ![c](rooms.png) [d](../README.md) `[x](y)`"
    assert list(broken_links(page, good)) == []
    for bad in ("[a](papers.md)", "![c](room.png)", "[b](paper.md#the-trap)", "[d](/etc/passwd)",
                '<img src="no.png">', "[![e](no.svg)](https://example.org)"):  # fmt: skip
        assert len(list(broken_links(page, bad))) == 1, bad


# --- commands -------------------------------------------------------------------------------------

PARSERS = ("mmagan_lite", "data_prep", "mmagan_lite.exercises.mark")
NOT_OURS = {"git", "rm", "sed", "cd", "conda", "docker", "export"}
"""What a command may begin with besides: nobody checks these."""


def commands(text):
    """The lines of all bash blocks, and code in the prose that begins like one of ours."""
    for _, language, block in FENCE.findall(text):
        if language in ("bash", "sh", "console"):
            yield from block.replace("\\\n", " ").splitlines()
    for code in CODE.findall(FENCE.sub("", text)):
        if re.match(r"(?:make [a-z]|python (?:-m )?\w|torchrun |\.venv/bin/)", code[1:-1]):
            yield code[1:-1]


def faults(line):
    """What is wrong with a command, one sentence each."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    words, simple = [*lexer, ";"], []
    for word in words:
        if set(word) <= set(";&|"):
            yield from fault_of(simple)
            simple = []
        else:
            simple.append(word)


def fault_of(words):
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        yield from variable_faults(*words[0].split("=", 1))
        words = words[1:]
    words = [word for word in words if word not in ("...", "$")]
    words = words[: words.index(">>")] if ">>" in words else words
    if not words or words[0] in NOT_OURS:
        return
    name, *rest = words
    if name.startswith(".venv/bin/"):
        name = name.removeprefix(".venv/bin/")
        if not (Path(sys.executable).parent / name).exists():
            yield f"there is no {name} in .venv"
    if name == "make":
        yield from make_faults(rest)
    elif name in ("python", "python3"):
        yield from python_faults(rest)
    elif name == "torchrun":
        yield from python_faults(rest[rest.index("-m") :])
    elif name == "pip":
        yield from pip_faults(rest)
    elif name not in ("jupyter", "ruff", "pip", "lint-imports", "pytest"):
        yield f"nobody checks a command that begins with {name}"
    if name in ("make", "jupyter", "pytest"):
        yield from file_faults(rest)


def variable_faults(name, value):
    """What is wrong with a variable of the environment."""
    if name.startswith("MMAGAN_") and name not in ("MMAGAN_PROFILE", "MMAGAN_CACHE"):
        yield f"nobody reads {name}"
    if name == "MMAGAN_PROFILE" and value not in PROFILES:
        yield f"there is no profile {value}"


def file_faults(words):
    """Notebooks and tests that are not there; names in capitals stand for others."""
    for file in (word.rpartition("=")[2] for word in words):
        if re.fullmatch(r"[^A-Z]+\.(ipynb|py)", file) and not (ROOT / file).is_file():
            yield f"there is no {file}"


def make_faults(words):
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z]+):", makefile, re.MULTILINE)
    for word in words:
        variable = word.partition("=")[0]
        if "=" not in word and word not in targets:
            yield f"make has no target {word}"
        if "=" in word and not re.search(
            rf"\$\([^)]*\b{variable}\b|^{variable} \?=", makefile, re.M
        ):
            yield f"make knows no {variable}"


def python_faults(words):
    if words[:1] == ["-m"] and len(words) > 1:
        module, *arguments = words[1:]
        if importlib.util.find_spec(module) is None:
            yield f"there is no module {module}"
        elif module in PARSERS:
            yield from argument_faults(parser_of(module), arguments)
        elif arguments:
            yield f"nobody checks the arguments of {module}"
    elif words[:1] and words[0].endswith(".py"):
        script = ROOT / words[0]
        known = script.read_text() if script.is_file() else None
        if known is None:
            yield f"there is no {words[0]}"
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        for option in options if known else ():
            name = option.strip("-")
            if not re.search(rf"""["'](--)?{name}["']""", known.replace("_", "-")):
                yield f"{words[0]} has no {option}"
    elif words[:1] != ["-c"]:
        yield f"nobody checks python {' '.join(words)}"


def parser_of(module):
    folder = importlib.util.find_spec(module).submodule_search_locations
    return importlib.import_module(f"{module}.__main__" if folder else module).parser()


def parsers_in(parser):
    """A parser and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def argument_faults(parser, arguments):
    """Let the command's own parser read the arguments, down to types and choices."""
    said = []

    def complain(message):
        said.append(message)
        raise SystemExit(2)

    for part in parsers_in(parser):
        part.error, part.allow_abbrev = complain, False
        for action in part._actions:  # the prose may leave out what it is not about
            action.required = False
    with suppress(SystemExit):
        parser.parse_args(arguments)
    yield from said


def pip_faults(words):
    extras = PROJECT["project"]["optional-dependencies"]
    for word in words:
        for extra in re.findall(r"^\.\[(.*)\]$", word):
            yield from (f"there is no extra {e}" for e in extra.split(",") if e not in extras)
    for file in (after for before, after in pairwise(words) if before == "-r"):
        if not (ROOT / file).is_file():
            yield f"there is no {file}"


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=lambda path: path.name)
def test_commands_exist_down_to_their_options(path, capsys):
    wrong = {line: list(faults(line)) for line in commands(text_of(path))}
    assert {line: found for line, found in wrong.items() if found} == {}


def test_the_readmes_commands_are_seen():
    seen = "\n".join(commands(text_of(ROOT / "README.md")))
    for command in ("make lab", "make test", "python -m mmagan_lite ablate", "conda env create"):
        assert command in seen


@pytest.mark.parametrize(
    "line",
    [
        "make lab  # a comment",
        'make lab LAB="--no-browser --port 8890"',
        "python -m mmagan_lite train --profile laptop --no-coordinates-on-fake --out runs/x",
        "torchrun --nproc-per-node=2 -m mmagan_lite train --out runs/two ...",
        "python -m mmagan_lite evaluate MODEL --csv table.csv",
        "python -m mmagan_lite ablate --help",
        "python -m data_prep LAYOUT SOURCE DEST --size 128",
        "python -m mmagan_lite.exercises.mark FOLDER --out marks.csv",
        ".venv/bin/python docs/results.py",
        "pip install -e '.[evaluate]' && pip install --no-deps -r requirements-no-deps.txt",
    ],
)
def test_good_commands_are_let_through(line):
    assert list(faults(line)) == []


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("make laboratory", "no target laboratory"),
        ("make lab LABS=x", "knows no LABS"),
        ("make notebooks NOTEBOOKS=notebooks/06_trainign.ipynb", "no notebooks/06_trainign.ipynb"),
        ("jupyter lab notebooks/00_strat_here.ipynb", "no notebooks/00_strat_here.ipynb"),
        ("MMAGAN_PROFILE=smok make lab", "no profile smok"),
        ("MMAGAN_PROFIL=smoke make lab", "nobody reads MMAGAN_PROFIL"),
        ("python -m mmagan_light info", "no module mmagan_light"),
        ("python -m mmagan_lite trian --out x", "invalid choice: 'trian'"),
        ("python -m mmagan_lite train --out x --step 5", "unrecognized arguments: --step"),
        ("python -m mmagan_lite train --out x --steps many", "invalid int value"),
        ("python -m mmagan_lite train --out x --profile huge", "invalid choice: 'huge'"),
        ("torchrun --nproc-per-node=2 -m mmagan_lite train --ouy x", "unrecognized"),
        ("python -m data_prep LAYOUT SOURCE DEST --sise 128", "unrecognized arguments: --sise"),
        ("python -m mmagan_lite.exercises.mark FOLDER --output x", "unrecognized"),
        ("python docs/result.py", "no docs/result.py"),
        ("python benchmarks/throughput.py --refrence PATH", "has no --refrence"),
        (".venv/bin/rufff check", "no rufff"),
        ("pip install -e '.[evaluation]'", "no extra evaluation"),
        ("make test && make tset", "no target tset"),
        ("curl x | sh", "nobody checks a command that begins with curl"),
    ],
)
def test_a_wrong_command_is_found(line, sentence, capsys):
    assert any(sentence in fault for fault in faults(line)), list(faults(line))


# --- tables ---------------------------------------------------------------------------------------


def rows(page, heading):
    """The rows of the first table under a heading, as lists of cells."""
    section = (ROOT / "docs" / page).read_text(encoding="utf-8").partition(f"\n{heading}\n")[2]
    table = re.search(r"^\|.*\n\|[-|: ]+\n((?:\|.*\n)+)", section, re.MULTILINE)[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return cells[0], cells[2:]


def named(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_the_model_card_describes_every_model():
    _, table = rows("model_card.md", "## What they are")
    assert {name for row in table for name in named(row[0])} == set(mg.pretrained_models())


def test_the_model_cards_figures_are_those_of_the_manifest():
    head, table = rows("model_card.md", "## What they can do")
    models, results = mg.pretrained_models(), mg.ablation.load_results()["table"]
    assert {named(row[0])[0] for row in table} == set(models)
    for name, kind, size, *figures in table:
        entry = models[named(name)[0]]
        assert (kind, int(size)) == (entry["kind"], entry["size"]), name
        for column, written in zip(head[3:], figures, strict=True):
            figure = entry["figures"].get(named(column)[0])
            assert (written == "–") == (figure is None), (name, column)
            if "row" in entry:  # the results have more digits; a figure is rounded once
                figure = results.loc[(entry["row"], entry["seed"]), named(column)[0]]
            assert figure is None or abs(float(written) - figure) <= 0.00051, (name, column)


def test_the_map_shows_every_room_and_todays_imports(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    rooms = importlib.import_module("rooms")
    drawn = Image.open(ROOT / "docs" / "rooms.png").text["Comment"]
    assert drawn == str(rooms.arrows(rooms.imports())), "run python docs/rooms.py"
    layers = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    _, table = rows_of_rooms = rows("architecture.md", "## The rooms")
    assert rows_of_rooms[0][0] == "room"
    listed = {named(row[0])[0] for row in table}
    assert listed == {layer.strip("()") for layer in layers} | {"data_prep"}
    coloured = {room for _, names in rooms.KINDS.values() for room in names.split()}
    assert coloured == listed


MINUTES = {"half an hour": 30, "an hour and a half": 90, "an hour": 60, "two hours": 120}


def test_the_minutes_of_both_lists_are_those_of_the_notebooks_cards():
    _, table = rows("instructors.md", "## Minutes")
    said = {row[0][1:3]: (int(row[1]), int(row[2])) for row in table}
    _, course = rows("../README.md", "## Map of the course")
    assert [row[0][1:3] for row in course] == [path.name[:2] for path in NOTEBOOKS]
    assert {row[0][1:3]: int(row[3]) for row in course if row[3]} == {
        number: minutes for number, (minutes, _) in said.items()
    }
    cards = {}
    for path in NOTEBOOKS:
        time = re.search(r"^\| \*\*Time\*\* \| (.*)$", text_of(path), re.MULTILINE)[1]
        phrase = re.search("|".join(MINUTES), time)
        number = path.name[:2]
        exercises = sum(made.notebook == number for made in EXERCISES.values())
        if phrase:
            cards[number] = (MINUTES[phrase[0]], exercises)
    assert said == cards


def test_the_mistakes_for_discussion_are_known_mistakes():
    _, table = rows("instructors.md", "## Mistakes worth a discussion")
    for notebook, name, mistake, _ in table:
        made = EXERCISES[named(name)[0]]
        number, _, belief = mistake.partition(": ")
        assert made.notebook == notebook
        assert made.misconceptions[int(number) - 1].belief == belief
    assert {row[0] for row in table} == {made.notebook for made in EXERCISES.values()}
    plans = (ROOT / "docs" / "instructors.md").read_text().partition("## One session")[2]
    plans = plans.partition("## Where the solutions are")[0]
    exercises = [name for name in named(plans) if re.fullmatch(r"[A-Za-z]+_?[a-z_]*", name)]
    assert len(exercises) >= 14
    assert set(exercises) - set(EXERCISES) <= {"smoke", "laptop", "data_prep"}
    for part in re.split("[;|]", plans):  # "02 with `tile_code`, `instance_norm`"
        for name in set(named(part)) & set(EXERCISES):
            assert re.search(r"\b0\d\b", part)[0] == EXERCISES[name].notebook, name


# --- licences -------------------------------------------------------------------------------------

FAMILIES = {
    "MIT": r"\bMIT\b|MIT-CMU", "BSD": r"BSD", "Apache": r"Apache", "MPL": r"\bMPL|Mozilla",
    "PSF": r"PSF|Python Software Foundation", "ISC": r"\bISC", "NVIDIA": r"NVIDIA", "GPL": r"GPL",
}  # fmt: skip


def families(text):
    return {name for name, pattern in FAMILIES.items() if re.search(pattern, text)}


@cache
def licence_of(package):
    """What the metadata of an installed package say, else the title of its licence file."""
    metadata = importlib.metadata.metadata(package)
    named = [metadata.get("License-Expression") or "", (metadata.get("License") or "")[:200]]
    named += [c for c in metadata.get_all("Classifier") or [] if c.startswith("License")]
    if not families(" ".join(named)):
        files = [f for f in importlib.metadata.files(package) or [] if "LICEN" in f.name.upper()]
        named += [f.read_text()[:200] for f in files]
    return " ".join(named)


def test_every_package_we_ask_for_is_listed_under_its_licence():
    project = PROJECT["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    asked += re.findall(r"^[\w-]+==[\d.]+", (ROOT / "requirements-no-deps.txt").read_text(), re.M)
    wanted = {canonicalize_name(Requirement(line).name) for line in asked}
    _, table = rows("licences.md", "## Packages that we install")
    listed = {name: row[1] for row in table for name in row[0].split(", ")}
    assert set(listed) == wanted
    for name, licence in listed.items():
        ours, theirs = families(licence), families(licence_of(name))
        assert ours, name
        assert ours <= theirs, f"{name}: the page says {licence}, the package {theirs}"


def test_what_they_bring_along_is_as_the_page_says():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    names = [line.partition("==")[0] for line in lines if line and not line.startswith("#")]
    installed = {canonicalize_name(d.name) for d in importlib.metadata.distributions()}
    found = {n: families(licence_of(n)) for n in names if canonicalize_name(n) in installed}
    nvidia = {name for name in found if name.startswith(("nvidia-", "cuda-"))}
    for name in found.keys() - nvidia:
        assert found[name] & {"MIT", "BSD", "Apache", "MPL", "PSF", "ISC"}, name
        assert "GPL" not in found[name] or name == "docutils", name  # in a file that is not used
    assert {n for n in found if found[n] == {"MPL"}} <= {"certifi", "fqdn", "hypothesis"}


# --- what is unpickled ----------------------------------------------------------------------------


def test_files_from_elsewhere_are_read_as_the_page_says(monkeypatch):
    """MTCNN and LPIPS's layers by PyTorch's safe default; in full only the file we wrote."""
    import torch

    from mmagan_lite import detection, perceptual

    pytest.importorskip("facenet_pytorch")
    seen, load = {}, torch.load
    for maker in (detection._mtcnn, perceptual.lpips_network, perceptual.inception_network):
        maker.cache_clear()

    def spy(file, *args, **options):
        seen[Path(file).name] = options.get("weights_only", True)
        return load(file, *args, **options)

    monkeypatch.setattr(torch, "load", spy)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)  # nothing is fetched
    detection._mtcnn()
    perceptual.lpips_network()
    perceptual.inception_network()
    safe = dict.fromkeys(("pnet.pt", "rnet.pt", "onet.pt", "alex.pth"), True)
    assert seen == {**safe, "inception.pt": False}
    floor = {Requirement(line).name: line for line in PROJECT["project"]["dependencies"]}["torch"]
    assert tuple(map(int, floor.partition(">=")[2].split("."))) >= (2, 6)  # where it became safe
