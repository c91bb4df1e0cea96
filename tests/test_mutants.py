"""The list of planted faults fits the code as it is, and planting tells weak tests from strong."""

import subprocess
import sys
from collections import Counter

import mutants
import pytest
from mutants import MUTANTS, ROOT, Mutant


@pytest.fixture(scope="module")
def sources():
    return {mutant.path: (ROOT / mutant.path).read_text("utf-8") for mutant in MUTANTS}


def test_every_old_text_occurs_once_and_every_new_one_is_other_python(sources):
    for mutant in MUTANTS:
        text = sources[mutant.path]
        assert text.count(mutant.old) == 1, f"{mutant}: bring tests/mutants.py up to date"
        planted = text.replace(mutant.old, mutant.new)
        compile(planted, mutant.file, "exec")
        assert planted != text


def test_every_room_of_networks_training_evaluation_data_and_panels_has_faults():
    counts = Counter(mutant.room for mutant in MUTANTS)
    assert counts.keys() == {
        "ablation",
        "attention",
        "baselines",
        "checkpoints",
        "config",
        "data",
        "data_prep",
        "detection",
        "discriminator",
        "distributed",
        "editing",
        "evaluation",
        "expressions",
        "faces",
        "generator",
        "losses",
        "perceptual",
        "training",
        "widgets",
    }
    assert min(counts.values()) >= 10
    assert len({(m.file, m.old, m.new) for m in MUTANTS}) == len(MUTANTS)
    assert all((ROOT / "tests" / f"test_{name}.py").is_file() for name in counts)


needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")


@needs_git
@pytest.mark.parametrize(("old", "times"), [("nowhere to be found", "0"), ("return", r"\d\d")])
def test_a_text_that_is_not_unique_is_refused(tmp_path, old, times):
    mutants.copy_to(tmp_path)
    with pytest.raises(ValueError, match=rf"occurs {times} times in losses\.py, not once"):
        mutants.plant(Mutant("losses", old, "", "nothing"), tmp_path)


@needs_git
def test_one_is_killed_another_survives_and_the_repository_stays_as_it_is(sources):
    wrong_sign = next(m for m in MUTANTS if m.breaks == "sign of equation (1)")
    harmless = Mutant("losses", "(x - reconstructed).abs()", "(reconstructed - x).abs()", "none")
    program = (
        "import sys; from mutants import Mutant, main\n"
        f"sys.exit(main(['losses'], [{wrong_sign}, {harmless}]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "tests", capture_output=True, text=True
    )
    assert (run.returncode, bool(run.stdout)) == (1, True), run.stderr
    killed, survived, *_, total = run.stdout.splitlines()
    assert killed.startswith("killed")
    assert killed.endswith("[test_adversarial_is_the_gap_between_mean_scores]")
    assert survived.startswith("SURVIVED")
    assert total.startswith("1 of 2 killed")
    assert (ROOT / wrong_sign.path).read_text("utf-8") == sources[wrong_sign.path]
