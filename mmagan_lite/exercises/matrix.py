"""The page that shows how every check judges every known mistake: docs/exercises.md.

``python -m mmagan_lite.exercises.matrix`` writes it anew.
"""

import argparse
from pathlib import Path

from mmagan_lite.exercises import EXERCISES, check
from mmagan_lite.exercises.room import Exercise

PAGE = Path(__file__).resolve().parents[2] / "docs" / "exercises.md"

HEAD = """# The exercises, and what their checks catch

Written by `python -m mmagan_lite.exercises.matrix`; a test holds it up to date. For every exercise
each known mistake was run against the check. *Verdict* is what the check said of it: the number of
the mistake that it named. The right answer was green, and no answer grey, everywhere.

{exercises} exercises, {mistakes} mistakes, {caught} caught with their own hint.
"""


def page() -> str:
    """The page as Markdown."""
    in_order = sorted(EXERCISES.values(), key=lambda made: made.notebook)
    results = {made.name: _results(made) for made in in_order}
    rows = [row for found in results.values() for row in found]
    head = HEAD.format(
        exercises=len(EXERCISES), mistakes=len(rows), caught=sum(row[2] for row in rows)
    )
    return "\n".join([head, *(_section(EXERCISES[n], found) for n, found in results.items())])


def _results(made: Exercise) -> list[tuple[int, str, bool]]:
    """Number, belief, and whether the check named this mistake."""
    judged = [getattr(check, made.name)(mistake.code) for mistake in made.misconceptions]
    return [
        (i, mistake.belief, verdict.misconception == i)
        for i, (mistake, verdict) in enumerate(zip(made.misconceptions, judged, strict=True), 1)
    ]


def _section(made: Exercise, found: list[tuple[int, str, bool]]) -> str:
    title = f"## {made.notebook} · {made.name}\n\n{made.task}\n"
    table = ["| | the mistake: the answer ... | verdict |", "|---|---|---|"]
    table += [f"| {i} | {belief} | {'✗ named' if ok else 'missed'} |" for i, belief, ok in found]
    return "\n".join([title, *table, ""])


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Wrote {PAGE.name}.")
