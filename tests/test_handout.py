"""Notebooks to hand out: no solution is left, and nothing else is missing."""

import nbformat
import pytest
from handout import HERE, hand_out
from set_repository import HOST, repository

from mmagan_lite.exercises import EXERCISES
from mmagan_lite.exercises.mark import answers


def removed(before, after):
    """What was cut out of a text in one piece."""
    equal = [a == b for a, b in zip(before, after, strict=False)]
    start = equal.index(False) if False in equal else len(equal)
    rest = len(after) - start
    assert before[len(before) - rest :] == after[start:]
    return before[start : len(before) - rest]


def test_solutions_are_left_out_and_nothing_else(tmp_path):
    assert hand_out(tmp_path / "class") == len(EXERCISES)
    for path in HERE.glob("*.ipynb"):
        whole, given = (nbformat.read(p, 4).cells for p in (path, tmp_path / "class" / path.name))
        assert len(whole) == len(given)
        for before, after in zip(whole, given, strict=True):
            assert "Solution</summary>" not in after.source
            assert "](../" not in after.source  # leads nowhere from there
            for kind in ("raw", "blob"):
                there = f"]({HOST}{repository()}/{kind}/HEAD/docs"
                after.source = after.source.replace(there, "](../docs")
            gone = removed(before.source, after.source)
            assert gone.count("<summary>") == before.source.count("Solution</summary>")
            assert "Hint" not in gone
            assert before.get("outputs") == after.get("outputs")


def test_pictures_are_shown_and_pages_opened_from_the_repository(tmp_path):
    hand_out(tmp_path)
    text = "".join(path.read_text("utf-8") for path in tmp_path.glob("0[67]*.ipynb"))
    assert f"]({HOST}{repository()}/raw/HEAD/docs/failures.png)" in text
    assert f"]({HOST}{repository()}/blob/HEAD/docs/results.md)" in text


def test_they_can_be_marked(tmp_path):
    hand_out(tmp_path)
    found = {name for path in tmp_path.glob("0[1-8]*.ipynb") for name in answers(path)}
    assert found == EXERCISES.keys()


def test_nobodys_work_is_overwritten(tmp_path):
    work = tmp_path / "04_discriminator.ipynb"
    work.write_text("my work")
    for folder in (HERE / ".." / HERE.name, tmp_path):
        with pytest.raises(ValueError, match="choose another folder"):
            hand_out(folder)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["my work"]


def test_a_place_that_cannot_be_written_gets_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Could not write .*choose another folder"):
        hand_out(tmp_path / "file")
