"""How an editor does by groups of drawn people, as in the model card: ``python docs/groups.py``."""

import pandas as pd
import torch

import mmagan_lite as mg
from mmagan_lite import evaluation
from mmagan_lite.data import FIRST_IDENTITY
from mmagan_lite.faces.identity import draw_person

FACES = {"mmagan-64": 2048, "mmagan-128": 1024}
CHUNK = 64


def requests(count: int) -> dict[str, torch.Tensor]:
    """Test people at strength 0.7, each asked for some expression at a strength of 0.4 to 1."""
    random = torch.Generator().manual_seed(5)
    people = torch.randint(200_000, (count,), generator=random)
    own, target = (torch.randint(8, (count,), generator=random) for _ in range(2))
    rho = 0.4 + 0.6 * torch.rand(count, generator=random)
    return {
        "identity": FIRST_IDENTITY["test"] + people,
        "nuisance": FIRST_IDENTITY["test"] + torch.arange(count),
        "own": own,
        "target": target,
        "rho": rho.masked_fill(target == 0, 0),
    }


@torch.no_grad()
def measured(name: str, asked: dict[str, torch.Tensor]) -> pd.DataFrame:
    """For each face: its groups, what the judge reads in the edit and in the exact answer."""
    model = mg.load_pretrained(name)
    size = model.config.image_size
    judge = evaluation.load_judge(size, "judge")
    who, photo, target, rho = (asked[key] for key in ("identity", "nuisance", "target", "rho"))
    strength = torch.where(asked["own"] == 0, 0.0, 0.7)
    x = 2 * mg.faces.render(who, asked["own"], strength, photo, size=size) - 1
    truth = 2 * mg.faces.render(who, target, rho, photo, size=size) - 1
    y = evaluation.edited(model, x, mg.encode(target, rho))
    person = draw_person(who, variety=1.0)
    return pd.DataFrame({
        "skin": person.skin.mean(1).flatten(), "age": person.age.flatten(),
        "glasses": person.glasses.flatten() > 0, "beard": person.stubble.flatten() > 0.05,
        "feminine": person.feminine.flatten() > 0.5,
        "read": judge(y)[0].argmax(1) == target, "exact": judge(truth)[0].argmax(1) == target,
        "error": (y - truth).square().mean((1, 2, 3)), "copy": (x - truth).square().mean((1, 2, 3)),
    })  # fmt: skip


def by_group(faces: pd.DataFrame) -> pd.DataFrame:
    """A row for each group: how many, how often read as asked, error removed."""
    thirds = {"skin": ["darker", "between", "lighter"], "age": ["younger", "between", "older"]}
    groups = {key: pd.qcut(faces[key], 3, labels=labels) for key, labels in thirds.items()}
    groups |= {
        k: faces[k].map({True: "yes", False: "no"}) for k in ("glasses", "beard", "feminine")
    }
    rows = {}
    for key, group in groups.items():
        for label, part in faces.groupby(group, observed=True):
            removed = 1 - part["error"].sum() / part["copy"].sum()
            rows[key, label] = (len(part), part["read"].mean(), part["exact"].mean(), removed)
    return pd.DataFrame(rows, index=["faces", "read as asked", "exact", "error removed"]).T


if __name__ == "__main__":
    for name, count in FACES.items():
        asked = requests(count)
        parts = [{k: v[i : i + CHUNK] for k, v in asked.items()} for i in range(0, count, CHUNK)]
        print(name)
        print(by_group(pd.concat([measured(name, part) for part in parts])).round(3).to_string())
