"""Faces to learn from: exact labels, a cache that can be trusted, batches that can be counted."""

import csv
import os
import pickle
import threading

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

from mmagan_lite import data
from mmagan_lite.data import PreparedFaces, ProceduralFaces, batch_indices, check, write_atomically
from mmagan_lite.expressions import EXPRESSIONS
from mmagan_lite.faces.identity import draw_nuisance, draw_person


@pytest.fixture
def quick_render(monkeypatch):
    """A renderer that is done at once: the picture's grey level is the identity's last digits."""

    def render(identity, expression, rho, nuisance, size, variety, occlusion):
        grey = (identity % 100 - 0.4).clamp(min=0) / 255  # rounds to the digits
        return grey[:, None, None, None].expand(-1, 3, size, size)

    monkeypatch.setattr(data.renderer, "render", render)


def test_the_cache_holds_what_the_renderer_draws(tmp_path):
    asked = {"size": 32, "variety": 0.5, "occlusion": 0.5}
    faces = ProceduralFaces("test", faces=6, seed=3, cache=tmp_path, **asked)
    drawn = data.renderer.render(
        faces.identity, faces.expression, faces.rho, faces.nuisance, **asked
    )
    image = faces.batch(range(6))["image"]
    assert image.std() > 0.1
    assert torch.equal(((image + 1) * 127.5).round(), (drawn * 255).round())
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_a_second_set_is_read_from_the_cache_unless_anything_differs(
    quick_render, monkeypatch, tmp_path
):
    def count(**changes):
        ProceduralFaces(**{"split": "train", "faces": 8, "size": 32, "cache": tmp_path, **changes})
        return len(list(tmp_path.iterdir()))

    assert count() == 1
    assert count() == 1
    counts = [count(split="judge"), count(size=64), count(seed=1), count(variety=0.5)]
    assert counts == [2, 3, 4, 5]
    assert [count(faces=9), count(occlusion=0.5)] == [6, 7]
    monkeypatch.setattr(data, "_renderer_version", lambda: "another")
    assert count() == 8


def test_the_renderer_version_follows_its_source(monkeypatch, tmp_path):
    (tmp_path / "faces").mkdir()
    source = tmp_path / "faces" / "a.py"
    monkeypatch.setattr(data, "__file__", str(tmp_path / "data.py"))
    versions = set()
    for text in ("a = 1", "a = 2"):
        source.write_text(text)
        versions.add(data._renderer_version())
    assert len(versions) == 2


def test_splits_share_no_person_and_a_person_has_four_faces_on_average(quick_render):
    people = {
        split: set(ProceduralFaces(split, faces=400, size=32).identity.tolist())
        for split in ("train", "test", "judge")
    }
    assert not people["train"] & people["test"]
    assert not people["train"] & people["judge"]
    assert not people["test"] & people["judge"]
    assert max(people["train"]) < 100
    assert 90 <= len(people["train"]) <= 100
    assert ProceduralFaces("test", faces=1, size=32).identity.tolist() == [1_000_000]


def test_expressions_are_uniform_and_intensities_lie_where_they_should(quick_render):
    faces = ProceduralFaces("train", faces=8_000, size=32)
    count = faces.expression.bincount(minlength=8)
    assert (count - 1_000).abs().max() < 120  # four standard deviations
    neutral = faces.expression == 0
    assert (faces.rho[neutral] == 0).all()
    rho = faces.rho[~neutral]
    assert rho.min() >= 0.2
    assert rho.max() <= 1
    assert rho.mean() == pytest.approx(0.6, abs=0.02)
    assert len(faces.nuisance.unique()) == 8_000


def test_an_item_is_what_the_contract_says_and_a_loader_collates_it(quick_render):
    faces = ProceduralFaces("train", faces=10, size=32)
    item = faces[-1]
    assert item["image"].shape == (3, 32, 32)
    assert item["image"].dtype == item["rho"].dtype == torch.float32
    assert item["expression"].dtype == torch.int64
    assert type(item["identity"]) is int
    grey = ((faces.batch(range(10))["image"][:, 0, 0, 0] + 1) * 127.5).round()
    assert torch.equal(grey, faces.identity.float())
    assert len(list(faces)) == 10
    for wrong in (10, -11):
        with pytest.raises(IndexError, match=f"There is no face {wrong} in a set of 10"):
            faces[wrong]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_collates_what_batch_gives_with_and_without_processes(quick_render, workers):
    faces = ProceduralFaces("train", faces=10, size=32)
    loader = DataLoader(faces, batch_size=4, sampler=[9, 3, 3, 0, 7], num_workers=workers)
    for collated, indices in zip(loader, ([9, 3, 3, 0], [7]), strict=True):
        batch = faces.batch(indices)
        assert collated.keys() == batch.keys()
        assert all(torch.equal(collated[key], batch[key]) for key in batch)
        assert all(collated[key].dtype == batch[key].dtype for key in batch)


def test_a_loader_reads_a_whole_batch_at_once(quick_render, monkeypatch):
    faces = ProceduralFaces("train", faces=10, size=32)
    asked, pixels = [], faces.pixels
    monkeypatch.setattr(faces, "pixels", lambda indices: asked.append(indices) or pixels(indices))
    list(DataLoader(faces, batch_size=5))
    assert asked == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_other_processes_get_the_name_of_the_cache_not_its_content(quick_render):
    faces = ProceduralFaces("train", faces=400, size=32)  # 1.2 MB
    letter = pickle.dumps(faces)
    assert len(letter) < 40_000
    assert torch.equal(pickle.loads(letter).pixels([7, 399]), faces.pixels([7, 399]))


@pytest.mark.parametrize(("length", "size"), [(10, 4), (3, 8), (8, 8)])
def test_batches_cut_a_row_of_permutations(length, size):
    row = torch.cat([batch_indices(length, size, number, seed=5) for number in range(length)])
    for epoch in row.view(size, length):
        assert epoch.sort().values.tolist() == list(range(length))
    assert len({tuple(epoch.tolist()) for epoch in row.view(size, length)}) > 1
    again = [batch_indices(length, size, n, seed=5) for n in reversed(range(length))]
    assert torch.equal(row, torch.cat(again[::-1]))
    other = torch.cat([batch_indices(length, size, number, seed=6) for number in range(length)])
    assert not torch.equal(row, other)


def test_rendering_that_fails_leaves_nothing(monkeypatch, tmp_path):
    chunks = iter([torch.zeros(64, 3, 32, 32)])
    monkeypatch.setattr(data.renderer, "render", lambda *_, **__: next(chunks))
    with pytest.raises(StopIteration):
        ProceduralFaces("train", faces=100, size=32, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_gets_a_sentence(quick_render, monkeypatch, tmp_path):
    prepare(tmp_path, ROWS)
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    sentence = (
        r"Could not write \S+/file/{}-\S+\.npy \(.+\); nothing was changed there\. "
        r"Free some space, or name another folder in MMAGAN_CACHE or by cache=\.\.\.$"
    )
    with pytest.raises(OSError, match=sentence.format("faces-train")):
        ProceduralFaces("train", faces=4, size=32, cache=in_the_way)
    monkeypatch.setenv("MMAGAN_CACHE", str(in_the_way))
    with pytest.raises(OSError, match=sentence.format("prepared-train")):
        PreparedFaces(tmp_path)


def test_an_unknown_split_and_an_empty_one_get_a_sentence():
    with pytest.raises(ValueError, match=r"split must be one of train, test, judge; got 'valid'\."):
        ProceduralFaces("valid")
    with pytest.raises(ValueError, match=r"faces must be .* from 1 to 4,000,000; got 0\."):
        ProceduralFaces("train", faces=0)
    with pytest.raises(ValueError, match=r"faces must be .*; got '4'\."):
        ProceduralFaces("train", faces="4")
    with pytest.raises(ValueError, match=r"got 4000001"):  # its people would be test people
        ProceduralFaces("train", faces=4_000_001)


# --- variety without bias -----------------------------------------------------------------------

NAMED = {"skin", "feminine", "age", "glasses", "hair", "style", "beard", "yaw", "exposure"}
CHANCE = 1e-3  # of a false alarm among all comparisons together


@pytest.fixture
def many(quick_render):
    """A set, and what differs between its people and photographs: name -> a number a face."""
    faces = ProceduralFaces("train", faces=6_000, size=32, label_noise=0.25)
    parts = []
    for i in torch.arange(len(faces)).split(500):
        person = draw_person(faces.identity[i], faces.variety)
        photo = draw_nuisance(faces.identity[i], faces.nuisance[i], faces.variety, size=8)
        drawn = {**vars(person), **vars(photo)}
        parts.append({name: value.flatten(1).mean(1) for name, value in drawn.items()})
    return faces, {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def chance_of_no_link(values, groups):
    """p of a link as strong as this between values (n,) and groups (n,) that have none."""
    kinds, kind = np.unique(values, return_inverse=True)
    if len(kinds) > 8:
        return scipy.stats.kruskal(*[values[groups == g] for g in np.unique(groups)]).pvalue
    table = np.zeros((groups.max() + 1, len(kinds)))
    np.add.at(table, (groups, kind), 1)
    return scipy.stats.chi2_contingency(table[table.any(1)]).pvalue


@pytest.mark.parametrize("told", ["true_expression", "expression", "true_rho"])
def test_people_and_photographs_have_no_link_with_the_expression(many, told):
    faces, drawn = many
    assert drawn.keys() >= NAMED
    groups = getattr(faces, told)
    if told == "true_rho":
        groups = (groups * 5).long()  # 0 neutral, then from weak to strong
    chances = {name: chance_of_no_link(values, groups.numpy()) for name, values in drawn.items()}
    assert {name: p for name, p in chances.items() if not p > CHANCE / 3 / len(drawn)} == {}


def test_a_link_would_be_seen(many):
    faces, drawn = many
    expression, least = faces.expression.numpy(), CHANCE / 3 / len(drawn)
    happy, sometimes = expression == 1, torch.rand(6_000).numpy() < 0.2
    biased = {
        "glasses": np.where(happy & sometimes, 1, drawn["glasses"]),  # on every fifth bare face
        "beard": np.where(happy & sometimes, 1, drawn["beard"]),
        "style": np.where(happy & sometimes, 5, drawn["style"]),
        "age": drawn["age"] + 0.1 * happy,  # a tenth of a life
        "feminine": drawn["feminine"] + 0.1 * happy,
        "skin": drawn["skin"] * np.where(happy, 0.85, 1),
        "exposure": drawn["exposure"] * np.where(happy, 1.03, 1),
    }
    seen = {
        name for name, values in biased.items() if chance_of_no_link(values, expression) < least
    }
    assert seen == biased.keys()


# --- wrong labels ------------------------------------------------------------------------------


def test_label_noise_is_off_unless_asked_for(quick_render):
    faces = ProceduralFaces("train", faces=400, size=32)
    assert torch.equal(faces.expression, faces.true_expression)
    assert torch.equal(faces.rho, faces.true_rho)


def test_label_noise_changes_labels_and_nothing_that_is_drawn(monkeypatch, tmp_path):
    clean = ProceduralFaces("train", faces=16, size=32, seed=3, cache=tmp_path)
    monkeypatch.setattr(data.renderer, "render", None)  # whatever is drawn now is an error
    noisy = ProceduralFaces("train", faces=16, size=32, seed=3, cache=tmp_path, label_noise=0.5)
    assert torch.equal(noisy.pixels(range(16)), clean.pixels(range(16)))
    for name in ("identity", "nuisance", "true_expression", "true_rho"):
        assert torch.equal(getattr(noisy, name), getattr(clean, name))
    assert not torch.equal(noisy.expression, clean.expression)
    assert torch.equal(noisy.batch(range(16))["expression"], noisy.expression)


def test_a_noisy_set_that_comes_first_draws_what_is_true(tmp_path):
    noisy = ProceduralFaces("test", faces=16, size=32, seed=3, cache=tmp_path, label_noise=1.0)
    drawn = data.renderer.render(
        noisy.identity, noisy.true_expression, noisy.true_rho, noisy.nuisance, size=32
    )
    assert torch.equal(noisy.pixels(range(16)), (drawn * 255).round().byte())


@pytest.mark.parametrize("noise", [0.25, 1.0])
def test_wrong_labels_are_as_many_as_asked_for_and_those_of_the_table(quick_render, noise):
    faces = ProceduralFaces("train", faces=16_000, size=32, label_noise=noise)
    assert {*data.CONFUSED_WITH} == {*EXPRESSIONS}
    for true, (first, second) in data.CONFUSED_WITH.items():
        given = faces.expression[faces.true_expression == EXPRESSIONS.index(true)]  # about 2,000
        share = dict(zip(EXPRESSIONS, given.bincount(minlength=8) / len(given), strict=True))
        expected = {true: 1 - noise, first: noise * 2 / 3, second: noise / 3}
        assert share == pytest.approx({name: expected.get(name, 0) for name in share}, abs=0.045)
        assert sum(share[name] > 0 for name in share) == (3 if noise < 1 else 2)


def test_two_annotators_agree_as_often_as_the_docstring_says(quick_render):
    def given_by(annotator):
        random = torch.Generator().manual_seed(annotator)
        return data.annotate(torch.arange(8).repeat(5_000), 0.25, random)

    agreement = (given_by(1) == given_by(2)).float().mean()
    assert agreement == pytest.approx(0.6, abs=0.01)


def test_more_noise_adds_wrong_labels_to_those_of_less(quick_render):
    little, much = (ProceduralFaces(faces=2_000, size=32, label_noise=n) for n in (0.1, 0.3))
    again = ProceduralFaces(faces=2_000, size=32, label_noise=0.1)
    other = ProceduralFaces(faces=2_000, size=32, label_noise=0.1, seed=1)
    wrong = little.expression != little.true_expression
    assert torch.equal(little.expression[wrong], much.expression[wrong])
    assert torch.equal(little.expression, again.expression)
    assert not torch.equal(wrong, other.expression != other.true_expression)


def test_a_wrong_label_keeps_the_intensity_unless_neutral_is_involved(quick_render):
    faces = ProceduralFaces("train", faces=2_000, size=32, label_noise=0.5)
    told_neutral, is_neutral = faces.expression == 0, faces.true_expression == 0
    assert (told_neutral & ~is_neutral).sum() > 50
    assert (faces.rho[told_neutral] == 0).all()
    assert (~told_neutral & is_neutral).sum() > 50
    assert torch.equal(faces.rho.isnan(), ~told_neutral & is_neutral)
    strong = ~told_neutral & ~is_neutral
    assert torch.equal(faces.rho[strong], faces.true_rho[strong])
    assert faces.rho[strong].min() >= 0.2


@pytest.mark.parametrize("noise", [-0.1, 1.5, float("nan")])
def test_label_noise_that_is_no_share_gets_a_sentence(noise):
    with pytest.raises(ValueError, match=rf"label_noise must be from 0 to 1; got {noise}\."):
        ProceduralFaces("train", label_noise=noise)


# --- prepared photographs -----------------------------------------------------------------------

HEADER = ["file_name", "expression", "intensity", "subject", "source", "native_label"]


def prepare(folder, rows):
    """Write the layout of data_prep: one flat PNG of grey level 10 * (i + 1) a row."""
    (folder / "train").mkdir(parents=True)
    with open(folder / "train" / "metadata.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(HEADER)
        for i, (expression, rho, subject) in enumerate(rows):
            table.writerow([f"{i}.png", expression, rho, subject, "here", "x"])
            Image.new("RGB", (48, 48), (10 * (i + 1),) * 3).save(folder / "train" / f"{i}.png")
    return folder


ROWS = [
    ("happiness", "", "anna"),
    ("neutral", "", "bert"),
    ("fear", "0.7", "anna"),
    ("fear", "1", ""),
]


def test_prepared_faces_read_table_and_pictures(tmp_path):
    faces = PreparedFaces(prepare(tmp_path, ROWS), "train", size=32)
    batch = faces.batch([3, 0, 1, 2])
    assert batch["image"].shape == (4, 3, 32, 32)
    grey = ((batch["image"][:, 1, 5, 5] + 1) * 127.5).round()
    assert grey.tolist() == [40, 10, 20, 30]
    assert batch["expression"].tolist() == [4, 1, 0, 4]
    np.testing.assert_allclose(batch["rho"], [1, np.nan, 0, 0.7], rtol=1e-6)
    rest, anna, bert, anna_again = batch["identity"].tolist()
    assert anna == anna_again
    assert len({rest, anna, bert}) == 3
    check(faces)


def test_each_picture_of_somebody_unknown_is_of_somebody_else(tmp_path):
    rows = [("fear", "1", who) for who in ("", "anna", "", "anna")]
    first, anna, other, again = PreparedFaces(prepare(tmp_path, rows)).identity.tolist()
    assert anna == again
    assert len({first, anna, other}) == 3


def test_resizing_agrees_with_torch(tmp_path):
    prepare(tmp_path, ROWS[:2])
    noise = torch.randint(256, (3, 128, 128), dtype=torch.uint8)
    Image.fromarray(noise.permute(1, 2, 0).numpy()).save(tmp_path / "train" / "0.png")
    ours = PreparedFaces(tmp_path, size=64).pixels([0])
    theirs = interpolate(noise[None].float(), (64, 64), mode="bilinear", antialias=True)
    assert (ours - theirs).abs().max() <= 1


@pytest.fixture
def decoded(monkeypatch):
    """Names of the pictures that get decoded."""
    names, read = [], PreparedFaces._read
    monkeypatch.setattr(
        PreparedFaces, "_read", lambda self, path: names.append(path.name) or read(self, path)
    )
    return names


def rewrite(table, change):
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(change(lines)))


def touch(path):
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def replace_at_the_same_time(path):
    time = path.stat().st_mtime_ns
    Image.new("RGB", (20, 20)).save(path)
    os.utime(path, ns=(time, time))


@pytest.mark.parametrize(
    ("change", "reads"),
    [
        (lambda folder: None, 0),
        (lambda folder: rewrite(folder / "metadata.csv", lambda t: [t[0], *t[:0:-1]]), 4),
        (lambda folder: rewrite(folder / "metadata.csv", lambda t: t[:-1]), 3),
        (lambda folder: replace_at_the_same_time(folder / "2.png"), 4),
        (lambda folder: touch(folder / "2.png"), 4),
        (lambda folder: (folder / "2.png").write_bytes((folder / "1.png").read_bytes()), 4),
    ],
    ids=["nothing", "order", "fewer", "size", "time", "content"],
)
def test_pictures_are_decoded_once_and_again_when_they_change(tmp_path, decoded, change, reads):
    folder = prepare(tmp_path / "set", ROWS) / "train"
    before = PreparedFaces(tmp_path / "set", size=32, cache=tmp_path / "cache")
    before.batch([0, 1])
    assert sorted(decoded) == ["0.png", "1.png", "2.png", "3.png"]
    decoded.clear()
    change(folder)
    after = PreparedFaces(tmp_path / "set", size=32, cache=tmp_path / "cache")
    assert len(decoded) == reads
    for i, name in enumerate(after.files):
        with Image.open(name) as picture:
            assert after.pixels([i])[0, 0, 9, 9] == picture.getpixel((9, 9))[0]


def test_other_sizes_splits_and_folders_share_no_cache(tmp_path, decoded):
    for folder in ("a", "b"):
        prepare(tmp_path / folder, ROWS)
        for picture in (tmp_path / folder / "train").iterdir():
            os.utime(picture, ns=(0, 0))  # as archives do
    for folder, size in (("a", 32), ("a", 64), ("b", 32)):
        decoded.clear()
        assert PreparedFaces(tmp_path / folder, size=size).pixels([3]).shape[-1] == size
        assert len(decoded) == 4


def test_new_labels_are_read_without_decoding_again(tmp_path, decoded):
    table = prepare(tmp_path, ROWS) / "train" / "metadata.csv"
    PreparedFaces(tmp_path)
    decoded.clear()
    table.write_text(table.read_text().replace("happiness", "anger"))
    assert PreparedFaces(tmp_path).expression.tolist() == [6, 0, 4, 4]
    assert decoded == []


def test_several_pictures_are_decoded_at_the_same_time(tmp_path, monkeypatch):
    read, together = PreparedFaces._read, threading.Barrier(2, timeout=20)

    def wait_for_another(self, path):  # for ever, if pictures came one at a time
        together.wait()
        return read(self, path)

    monkeypatch.setattr(PreparedFaces, "_read", wait_for_another)
    faces = PreparedFaces(prepare(tmp_path, ROWS), size=32)
    assert faces.pixels(range(4))[:, 0, 0, 0].tolist() == [10, 20, 30, 40]


def test_reading_goes_on_over_many_chunks_and_a_broken_one_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(PreparedFaces, "chunk", 3)
    prepare(tmp_path / "set", 8 * ROWS[:1])
    faces = PreparedFaces(tmp_path / "set", size=32, cache=tmp_path / "cache")
    assert faces.pixels(range(8))[:, 0, 0, 0].tolist() == list(range(10, 90, 10))
    (tmp_path / "set" / "train" / "7.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"7\.png is not a readable image"):
        PreparedFaces(tmp_path / "set", size=32, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_wrong_folder_gets_a_sentence(tmp_path):
    prepare(tmp_path / "set", ROWS)
    for folder in (tmp_path, tmp_path / "set" / "train", tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match="give the folder that `python -m data_prep`"):
            PreparedFaces(folder)


def test_a_missing_or_broken_picture_gets_a_sentence(tmp_path):
    prepare(tmp_path, ROWS)
    (tmp_path / "train" / "1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"1\.png is not a readable image"):
        PreparedFaces(tmp_path).batch([0, 1])
    (tmp_path / "train" / "2.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"names 2\.png, which is missing"):
        PreparedFaces(tmp_path)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (("joy", "", "a"), "Unknown expression 'joy'"),
        (("fear", "7", "a"), "has intensity .7.; expected a number"),
    ],
)
def test_a_table_with_what_does_not_exist_gets_a_sentence(tmp_path, row, sentence):
    with pytest.raises(ValueError, match=sentence):
        PreparedFaces(prepare(tmp_path, [row]))


def test_the_check_refuses_empty_sets_and_single_expressions(tmp_path):
    with pytest.raises(ValueError, match="The data set is empty"):
        check(PreparedFaces(prepare(tmp_path / "a", [])))
    with pytest.raises(ValueError, match="All 2 faces of the data set show fear"):
        check(PreparedFaces(prepare(tmp_path / "b", ROWS[2:])))


@pytest.mark.parametrize("damage", ["cut", "empty", "junk", "another"])
def test_a_damaged_cache_is_made_anew(quick_render, tmp_path, damage):
    def faces():
        return ProceduralFaces("train", faces=8, size=32, cache=tmp_path)

    whole = faces().pixels(range(8))
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    if damage == "another":
        np.save(file, np.zeros((8, 3, 16, 16), np.uint8))
    else:
        file.write_bytes({"cut": content[:-100], "empty": b"", "junk": b"junk"}[damage])
    assert torch.equal(faces().pixels(range(8)), whole)


def test_several_threads_may_make_one_cache(quick_render, tmp_path):
    start, made = threading.Barrier(4, timeout=20), []

    def make():
        start.wait()
        made.append(ProceduralFaces("train", faces=200, size=32, cache=tmp_path).pixels([3]))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(list(tmp_path.iterdir())) == 1


def test_a_batch_of_none_and_of_one(quick_render):
    faces = ProceduralFaces("train", faces=8, size=32)
    assert faces.batch([])["image"].shape == (0, 3, 32, 32)
    assert faces.batch(3)["image"].shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("expression", "label", "lacks the column expression"),
        (",", ";", "lacks the column expression"),
        (
            "0.png",
            "../0.png",
            r"Row 2 of .* names '\.\./0\.png'; expected a picture beside the table",
        ),
        ("0.png", "/tmp/0.png", "expected a picture beside the table"),
        ("0.7", "strong", r"2\.png has intensity 'strong'"),
        ("anna", "a" * 200_000, "is not a table in UTF-8 with commas"),
    ],
)
def test_a_table_that_was_edited_gets_a_sentence(tmp_path, before, after, sentence):
    table = prepare(tmp_path, ROWS) / "train" / "metadata.csv"
    table.write_text(table.read_text().replace(before, after))
    with pytest.raises(ValueError, match=sentence):
        PreparedFaces(tmp_path)


def test_a_table_from_a_spreadsheet_is_read_and_other_encodings_are_not(tmp_path):
    table = prepare(tmp_path, ROWS) / "train" / "metadata.csv"
    text = table.read_text()
    table.write_text(text, encoding="utf-8-sig")
    assert len(PreparedFaces(tmp_path)) == 4
    table.write_text(text, encoding="utf-16")
    with pytest.raises(ValueError, match="is not a table in UTF-8"):
        PreparedFaces(tmp_path)


def test_a_split_without_pictures_is_told_from_a_wrong_folder(tmp_path):
    (prepare(tmp_path, ROWS) / "report.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="has no pictures for 'test'"):
        PreparedFaces(tmp_path, "test")


def test_a_file_takes_its_name_only_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "file"
    with write_atomically(path) as file:
        file.write(b"first")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), write_atomically(path) as file:
        file.write(b"second" * (1 // 0))
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]


def test_another_list_of_expressions_makes_other_pictures(tmp_path, monkeypatch):
    """Labels are places in the list, so pictures of the old list would show something else."""
    ProceduralFaces(faces=2, size=32, cache=tmp_path)
    monkeypatch.setattr(data, "EXPRESSIONS", (*EXPRESSIONS[:1], *EXPRESSIONS[:0:-1]))
    ProceduralFaces(faces=2, size=32, cache=tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 2
