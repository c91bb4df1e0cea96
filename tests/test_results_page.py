"""The page of results says what the results folder says."""

import re
import runpy
from pathlib import Path

import pandas as pd

from mmagan_lite import ablation

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "results.md"
SCRIPT = runpy.run_path(str(DOCS / "results.py"))
LONGER = ablation.RESULTS / "longer"


def page(results):
    return SCRIPT["page"](results, ablation.load_results(LONGER))


def test_the_page_is_what_its_command_writes():
    assert PAGE.read_text(encoding="utf-8") == page(ablation.load_results())


def test_a_changed_result_changes_the_page():
    results = ablation.load_results()
    results["table"].loc[("stargan", 0), "accuracy"] = 0.1234
    written = page(results)
    assert re.search(r"\| `accuracy` \|.* 0\.123 \|", written)
    assert "| 0.123 |" not in PAGE.read_text(encoding="utf-8")


def test_with_several_seeds_means_and_their_spread_are_shown():
    results = ablation.load_results()
    table = results["table"].reset_index()
    table.loc[table["row"] == "mmagan", "accuracy"] = 0.5
    again = table[table["row"] == "mmagan"].assign(seed=1, accuracy=0.7)
    results["table"] = pd.concat([table, again]).set_index(["row", "seed"])
    assert "0.600 ± 0.100" in page(results)


def test_who_is_ahead_is_counted_not_claimed():
    results = ablation.load_results()
    results["table"].loc[("stargan", 0), "accuracy"] = 0.0
    results["table"].loc[("stargan", 0), "change_outside"] = 0.0
    (line,) = [s for s in page(results).splitlines() if "**StarGAN**" in s]
    ahead, behind = line.split("; behind in ")
    assert "`accuracy`" in ahead
    assert "`change_outside`" in behind
