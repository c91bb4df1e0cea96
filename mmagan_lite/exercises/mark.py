"""Mark a class's notebooks: ``python -m mmagan_lite.exercises.mark FOLDER``.

**It runs what students wrote.** Each answer runs in a process of its own, with limits of time and
memory, so that a loop without end or a crash costs one cell of the table and no more. That guards
against accidents, not against malice: run it in a container or a virtual machine that holds
nothing of value. docs/instructors.md says how.
"""

import argparse
import ast
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import torch
from IPython.core.inputtransformer2 import TransformerManager

from mmagan_lite.data import check_writable, progress, write_atomically
from mmagan_lite.exercises import EXERCISES
from mmagan_lite.exercises.room import GREEN, GREY, Verdict

NOT_ATTEMPTED, RED, ERROR, TIMEOUT = "not attempted", "red", "error", "timeout"
BEST_FIRST = (GREEN, RED, ERROR, TIMEOUT, NOT_ATTEMPTED)
"""Where a student hands in several copies of a notebook, the best answer counts."""

SECONDS, GIGABYTES = 30.0, 4.0
"""Limits of one answer."""

MOST_SECONDS, MOST_GIGABYTES = 86_400, 1_000  # a day, and more than any computer has

CALL = re.compile(r"\bcheck\.(\w+)\(")
DEFINITION = re.compile(r"^(?:def|class) (\w+)", re.MULTILINE)
DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
UNDEFINED = re.compile(r"\bname '(\w+)' is not defined")
PRELOADED = ["mmagan_lite.exercises", "nbformat", "IPython.core.inputtransformer2"]
NOT_HANDED_IN = (".ipynb_checkpoints", "__MACOSX")


@dataclass(frozen=True)
class Mark:
    """What came out for one answer.

    Parameters
    ----------
    state : {"green", "red", "error", "timeout", "not attempted"}
    detail : str
        The known mistake, or where the answer differs, or what it raised.
    misconception : int or None
        The number of the known mistake, from 1.
    """

    state: str
    detail: str = ""
    misconception: int | None = None

    def __str__(self) -> str:
        """A cell of the table."""
        number = f" {self.misconception}" if self.misconception else ""
        return self.state + number + (f": {self.detail}" if self.detail else "")


# ---------------------------------------------------------------------------- what was handed in


def submissions(folder: Path) -> dict[str, list[Path]]:
    """Each student's notebooks.

    Parameters
    ----------
    folder : Path
        Notebooks named after students, or a folder for each student with notebooks in it.

    Returns
    -------
    dict
        Student -> paths, both in order; none for whoever handed in something else.

    Raises
    ------
    ValueError
        If there is no such folder, or no notebook in it.
    """
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}; give the one that holds the notebooks.")
    found: dict[str, list[Path]] = {
        path.name if path.is_dir() else path.stem: []
        for path in sorted(folder.iterdir())
        if path.name not in NOT_HANDED_IN and not path.name.startswith(".")
    }
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.suffix.lower() == ".ipynb" and not set(parts) & set(NOT_HANDED_IN):
            found[parts[0] if len(parts) > 1 else path.stem].append(path)
    if not any(found.values()):
        raise ValueError(
            f"There are no notebooks in {folder}; it should hold one .ipynb file a student, or "
            f"one folder a student."
        )
    return dict(sorted(found.items()))


def answers(path: Path) -> dict[str, list[str]]:
    """The answers in a notebook, each with all that stands before it.

    An answer stands where ``check.NAME(...)`` is called last; where a student has deleted that
    line, where NAME is defined last.

    Parameters
    ----------
    path : Path
        A notebook.

    Returns
    -------
    dict
        Name of an exercise -> sources of the code cells up to and including its own.

    Raises
    ------
    ValueError
        If it is not a readable notebook, or has no exercise of the course in it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old notebooks lack what newer ones have
            cells = nbformat.read(path, as_version=4).cells
        sources = [cell.source for cell in cells if cell.cell_type == "code"]
        called = _last(CALL, sources)
    except Exception as error:  # a broken file makes nbformat raise almost anything
        raise ValueError(f"{path.name} is not a readable notebook ({_said(error)})") from None
    here = {EXERCISES[name].notebook for name in called}
    defined = _last(DEFINITION, sources)
    places = {n: i for n, i in defined.items() if EXERCISES[n].notebook in here} | called
    if not places:
        raise ValueError(f"{path.name} holds no exercise of the course: no line check.NAME(NAME)")
    return {name: sources[: place + 1] for name, place in places.items()}


def _last(pattern: re.Pattern, sources: Sequence[str]) -> dict[str, int]:
    """In which source each exercise's name is found last."""
    return {
        name: number
        for number, source in enumerate(sources)
        for name in pattern.findall(source)
        if name in EXERCISES
    }


# ------------------------------------------------------------- in the process of a single answer


def judge(name: str, sources: Sequence[str]) -> Mark:
    """Judge one answer here and now, which runs a student's code in this process.

    Parameters
    ----------
    name : str
        The exercise.
    sources : sequence of str
        As in `answers`. Of the cells before the last, only imports, functions, classes and plain
        values count, and other values that the answer asks for: nobody waits for trainings and
        plots.

    Returns
    -------
    Mark
    """
    lacking: set[str] = set()
    while True:
        try:
            said = _mark(EXERCISES[name].check(_answer(name, sources, lacking)))
        except BaseException as error:  # SystemExit, too
            said = Mark(ERROR, _said(error))
        lacks = UNDEFINED.search(said.detail) if said.state == ERROR else None
        if lacks is None or lacks[1] in lacking:
            return said
        lacking.add(lacks[1])  # a value of the notebook, such as `answers`: compute it, judge again


def _answer(name: str, sources: Sequence[str], lacking: Collection[str] = ()) -> Any:
    scope: dict[str, Any] = {"__name__": "answer"}
    for source in sources[:-1]:
        with suppress(SyntaxError, ValueError):  # some other cell is broken; go on without it
            for statement in _parsed(source):
                wanted = _names(statement) & set(lacking)
                if wanted or _is_useful(statement):
                    try:
                        _run(statement, scope)
                    except Exception as error:
                        if wanted and isinstance(error, NameError):
                            raise  # what it is made of is lacking, too
    asked: ast.expr = ast.Name(name, ast.Load())
    for statement in _parsed(sources[-1]):
        calls = [node for node in ast.walk(statement) if _is_check(node, name)]
        if calls:
            asked = calls[0].args[0]
        elif not isinstance(statement, ast.Expr):  # prints and plots
            _run(statement, scope)
    return eval(compile(_placed(ast.Expression(asked)), "<answer>", "eval"), scope)


def _parsed(source: str) -> list[ast.stmt]:
    plain = re.sub(r"\A\s*%%(?:time|timeit|capture|prun)\b.*\n", "", source)  # not for us
    return ast.parse(TransformerManager().transform_cell(plain)).body


def _is_useful(statement: ast.stmt) -> bool:
    """Whether an answer further down may need it: a definition, or a plain value with a name."""
    if isinstance(statement, ast.Assign):
        with suppress(ValueError):
            ast.literal_eval(statement.value)
            return True
    return isinstance(statement, DEFINITIONS)


def _names(statement: ast.stmt) -> set[str]:
    """What an assignment gives a value."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return set()
    nodes = (n for n in ast.walk(statement) if isinstance(n, ast.Name))
    return {n.id for n in nodes if isinstance(n.ctx, ast.Store)}


def _is_check(node: ast.AST, name: str) -> bool:
    """Whether it is ``check.NAME(something)``."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) == f"check.{name}" and node.args


def _run(statement: ast.stmt, scope: dict[str, Any]) -> None:
    exec(compile(_placed(ast.Module([statement], [])), "<answer>", "exec"), scope)


def _placed(tree: Any) -> Any:
    return ast.fix_missing_locations(tree)


def _mark(verdict: Verdict) -> Mark:
    if verdict.colour in (GREEN, GREY):
        return Mark(GREEN if verdict.colour == GREEN else NOT_ATTEMPTED)
    if verdict.misconception is not None:
        mistake = EXERCISES[verdict.name].misconceptions[verdict.misconception - 1]
        return Mark(RED, mistake.belief, verdict.misconception)
    text = verdict.text.removeprefix("not yet. ")
    return Mark(ERROR if text.startswith("It raises ") else RED, text[:300])


def _said(error: BaseException) -> str:
    """An error in one line."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:300] if first else type(error).__name__


def _child(
    name: str, sources: Sequence[str], gigabytes: float, folder: str, answer: Connection
) -> None:
    """What the process does: limits itself, judges, tells."""
    if hasattr(os, "setsid"):  # its own group, so that what it starts ends with it
        os.setsid()
    os.chdir(folder)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - ends with the process
    torch.set_num_threads(1)
    _limit_memory(gigabytes)
    answer.send_bytes(b"ready")
    answer.send_bytes(json.dumps(asdict(judge(name, sources))).encode())


def _limit_memory(gigabytes: float) -> None:
    """So much more than PyTorch takes by itself; on Linux only."""
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + int(gigabytes * 1e9)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


# ------------------------------------------------------------------------------ outside of it


def judge_apart(
    name: str, sources: Sequence[str], seconds: float = SECONDS, gigabytes: float = GIGABYTES
) -> Mark:
    """Judge one answer in a process of its own, which ends with all that it has started.

    Parameters
    ----------
    name, sources
        As for `judge`.
    seconds, gigabytes : float
        Limits. The time counts from when the process is ready, PyTorch imported.

    Returns
    -------
    Mark
        "timeout" if there is no answer in time, "error" if the process dies.
    """
    context = _context()
    ours, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = context.Process(target=_child, args=(name, sources, gigabytes, folder, theirs))
        process.start()
        theirs.close()
        try:
            ours.recv_bytes()  # the clock starts when PyTorch is imported: no answer pays for that
            if not ours.poll(seconds):
                return Mark(TIMEOUT, f"no answer within {seconds:g} s")
            return Mark(**json.loads(ours.recv_bytes()))  # text: nothing of it is run
        except (EOFError, OSError, ValueError, TypeError):
            process.join(1)
            return Mark(ERROR, f"ended its process (exit status {process.exitcode})")
        finally:
            ours.close()
            _end(process)


def _context() -> Any:
    """Where it is possible, processes branch off from one that has imported PyTorch already."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")  # Windows
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _end(process: Any) -> None:
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


# ---------------------------------------------------------------------------------- the table


def mark(
    folder: str | os.PathLike, seconds: float = SECONDS, gigabytes: float = GIGABYTES
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mark all notebooks in a folder.

    Parameters
    ----------
    folder : path
        As in `submissions`.
    seconds, gigabytes : float
        Limits of each answer; memory is limited on Linux only.

    Returns
    -------
    table : DataFrame
        A row for each student: how many exercises are ``solved`` and ``tried``; a `Mark` for each
        exercise of the notebooks that the student handed in; and ``note``, what could not be read.
    summary : DataFrame
        A row for each exercise, as in `summarise`.

    Raises
    ------
    ValueError
        If there is no such folder, or no notebook in it that can be marked.
    """
    students = submissions(Path(folder))
    found, notes = _read(students)
    if not found:
        raise ValueError(f"Nothing in {folder} can be marked: {'; '.join(notes.values())}.")
    marks: dict[str, dict[str, Mark]] = {}
    for student, name, _ in found:  # whoever hands in a notebook has all its exercises to solve
        of_notebook = [n for n, e in EXERCISES.items() if e.notebook == EXERCISES[name].notebook]
        marks.setdefault(student, {}).update(dict.fromkeys(of_notebook, Mark(NOT_ATTEMPTED)))
    here = set().union(*marks.values())
    columns = [name for name, _ in sorted(EXERCISES.items(), key=_place) if name in here]
    for student, name, sources in progress(found, desc="marking", unit="answer"):
        new, old = judge_apart(name, sources, seconds, gigabytes), marks[student][name]
        marks[student][name] = min(new, old, key=lambda m: BEST_FIRST.index(m.state))
    table = pd.DataFrame.from_dict(marks, orient="index", columns=columns, dtype=object)
    table = table.reindex(list(students)).rename_axis("student")
    summary = summarise(table)
    states = table.map(lambda mark: mark.state, na_action="ignore")
    table.insert(0, "solved", (states == GREEN).sum(axis=1))
    table.insert(1, "tried", (states.notna() & (states != NOT_ATTEMPTED)).sum(axis=1))
    return table.assign(note=pd.Series(notes, dtype=object)), summary


def _place(item: tuple[str, Any]) -> str:
    return item[1].notebook


def _read(
    students: dict[str, list[Path]],
) -> tuple[list[tuple[str, str, list[str]]], dict[str, str]]:
    """All answers as (student, exercise, sources), and what could not be read, by student."""
    found, notes = [], {}
    for student, paths in students.items():
        said = []
        for path in paths:
            try:
                found += [(student, *answer) for answer in answers(path).items()]
            except ValueError as error:
                said.append(str(error))
        if not paths:
            said.append("no notebook was found")
        if said:
            notes[student] = "; ".join(said)
    return found, notes


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """What a class makes of each exercise.

    Parameters
    ----------
    table : DataFrame
        A row for each student, a column of `Mark` for each exercise.

    Returns
    -------
    DataFrame
        By exercise: the notebook, how many students solved it, tried it and handed in that
        notebook, and the known mistake that most of them made, with their number.
    """
    return pd.DataFrame(
        {name: _summary(name, table[name].dropna().tolist()) for name in table}
    ).T.rename_axis("exercise")


def _summary(name: str, marks: Sequence[Mark]) -> dict[str, Any]:
    mistakes = Counter(m.misconception for m in marks if m.misconception)
    common = ""
    if mistakes:
        number, times = mistakes.most_common(1)[0]
        belief = EXERCISES[name].misconceptions[number - 1].belief
        common = f"{times} × mistake {number}: {belief}"
    return {
        "notebook": EXERCISES[name].notebook,
        "solved": sum(m.state == GREEN for m in marks),
        "tried": sum(m.state != NOT_ATTEMPTED for m in marks),
        "students": len(marks),
        "most common mistake": common,
    }


# -------------------------------------------------------------------------------- command line


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    top = argparse.ArgumentParser(
        "python -m mmagan_lite.exercises.mark",
        description="Mark a class's notebooks. This runs what students wrote: use a container or "
        "a virtual machine that holds nothing of value.",
    )
    top.add_argument(
        "folder",
        type=Path,
        metavar="FOLDER",
        help="notebooks named after students, or a folder of notebooks a student",
    )
    top.add_argument(
        "--out",
        type=Path,
        default=Path("marks.csv"),
        help="the table; its summary is written beside it [%(default)s]",
    )
    top.add_argument(
        "--seconds", type=float, default=SECONDS, help="limit of time for one answer [%(default)s]"
    )
    top.add_argument(
        "--gigabytes",
        type=float,
        default=GIGABYTES,
        help="limit of memory for one answer, on Linux [%(default)s]",
    )
    return top  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; what went wrong is one sentence on stderr and exit status 2."""
    args = parser().parse_args(arguments)
    try:
        _check(args)
        beside = args.out.with_name(f"{args.out.stem}-summary.csv")
        table, summary = mark(args.folder, args.seconds, args.gigabytes)
        for path, frame in ((args.out, table), (beside, summary)):
            with write_atomically(path) as file:
                safe = frame.rename(index=_no_formula)
                file.write(safe.to_csv().encode("utf-8-sig"))  # Excel wants to be told
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; nothing was written.", file=sys.stderr)
        return 130
    print("\n".join([summary.to_string(), *_closing(table), f"Wrote {args.out} and {beside}."]))
    return 0


def _no_formula(name: str) -> str:
    """A student's name that no spreadsheet takes for something to compute."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


def _check(args: argparse.Namespace) -> None:
    """What would otherwise only be noticed after an hour of marking."""
    check_writable(args.out)
    if not (0 < args.seconds <= MOST_SECONDS and 0 < args.gigabytes <= MOST_GIGABYTES):
        raise ValueError(
            f"--seconds must be larger than 0 and at most {MOST_SECONDS:,}, --gigabytes larger "
            f"than 0 and at most {MOST_GIGABYTES:,}."
        )


def _closing(table: pd.DataFrame) -> Iterator[str]:
    for student, note in table["note"].dropna().items():
        yield f"{student}: {note}."
    marked = table.drop(columns=["solved", "tried", "note"]).notna().any(axis=1).sum()
    yield f"{marked} of {len(table)} students were marked."


if __name__ == "__main__":
    sys.exit(main())
