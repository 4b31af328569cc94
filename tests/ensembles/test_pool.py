"""The pool of members: what is missing or does not fit is refused in one sentence, and groups are all that there are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from src.data.dataset import load
from src.data.preparing import prepare
from src.ensembles.final_member import FinalMember, member_weights
from src.ensembles.pool import groups, read_pool
from src.models.building import build
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.system.checksums import write_checksums
from src.system.data_meta import DataMeta
from src.system.errors import UserError
from tests.support.metas import data_meta
from tests.support.training import config

ROOT = Path(__file__).parents[2]
LINEAR = config("linear").to_json()


def prepared_digits(folder: Path) -> Path:
    prepare(yaml.safe_load((ROOT / "conf/data/digits.yaml").read_text()), folder / "data/prepared/digits")
    return folder / "data/prepared/digits"


def write_members(outputs: Path, prepared: Path, n: int = 3, model: str = "linear", how: str = "bagging") -> Path:
    """`n` softmax regressions, each on a bootstrap of the training rows, as `train` leaves them."""
    from sklearn.linear_model import LogisticRegression

    data, folder = load(prepared), outputs / "train" / model
    net = build(LINEAR["model"], data.meta)
    items = []
    for k in range(n):
        rows = np.random.default_rng(k).integers(0, len(data.x_train), 400)
        fit = LogisticRegression(C=0.05, max_iter=60, tol=0.1).fit(
            data.x_train[rows].reshape(400, -1), data.y_train[rows]
        )
        values = {(10, 64): fit.coef_, (10,): fit.intercept_}
        weights = {
            name: torch.tensor(values[tuple(like.shape)], dtype=torch.float32).contiguous()
            for name, like in net.state_dict().items()
        }
        place = folder / f"member-{k}"
        place.mkdir(parents=True)
        save_file(weights, place / "weights.safetensors")
        net.load_state_dict(weights)
        with torch.no_grad():
            np.save(place / "val.npy", net(torch.from_numpy(np.array(data.x_val))).softmax(1).numpy())
        files = {"weights": f"{place.name}/weights.safetensors", "predictions": f"{place.name}/val.npy"}
        items.append({"name": place.name, "members": how, "seed": k, "config": LINEAR, "weight": 1.0} | files)
    (folder / "config.yaml").write_text(yaml.safe_dump(LINEAR))
    head = {"model": model, "members": how, "task": "classification", "sha256": data.meta.sha256}
    (folder / "members.json").write_text(json.dumps(head | {"class_names": data.meta.class_names, "items": items}))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    write_members(folder / "outputs", prepared_digits(folder))
    return folder


@pytest.fixture
def meta(place: Path) -> DataMeta:
    return load(place / "data/prepared/digits").meta


@pytest.fixture
def outputs(place: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    import shutil

    shutil.copytree(place / "outputs", tmp_path / "outputs")
    return tmp_path / "outputs"


def refusal(outputs: Path, meta: DataMeta, models: tuple[str, ...] = ("linear",)) -> str:
    with pytest.raises(UserError) as refused:
        read_pool(outputs, models, meta)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_predictions_of_which_a_bit_has_changed_are_refused(outputs: Path, meta: DataMeta) -> None:
    path = outputs / "train/linear/member-1/val.npy"
    content = bytearray(path.read_bytes())
    write_checksums(path.parent)
    read_pool(outputs, ["linear"], meta)
    content[-1] ^= 1
    path.write_bytes(content)
    again = "run python -m src.train model=linear again"
    assert refusal(outputs, meta) == f"{path} has changed since it was written; {again}"


def test_a_missing_member_is_named(outputs: Path, meta: DataMeta) -> None:
    (outputs / "train/linear/member-1/val.npy").unlink()
    assert (
        refusal(outputs, meta)
        == f"models: {outputs}/train/linear/member-1/val.npy of linear is missing; train it again"
    )
    (outputs / "train/linear/members.json").unlink()
    assert refusal(outputs, meta).endswith("members.json is missing; run python -m src.train model=linear first")


def test_other_classes_or_other_data_are_refused(outputs: Path, meta: DataMeta) -> None:
    other = replace(meta, class_names=["a", "b"])
    assert refusal(outputs, other) == "models: linear was trained for other classes than digits has; train it again"
    other = replace(meta, sha256="0" * 64)
    assert refusal(outputs, other) == "models: linear was trained on data of another digest than digits; train it again"


def test_members_that_fail_are_left_out_and_all_is_an_error(
    outputs: Path, meta: DataMeta, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt = [outputs / f"train/linear/member-{k}/val.npy" for k in range(3)]
    np.save(spoilt[0], np.full_like(np.load(spoilt[0]), np.nan))
    assert [member.name for member in read_pool(outputs, ["linear"], meta)] == ["member-1", "member-2"]
    assert capsys.readouterr().out == "linear bagging member-0 is left out: it does not predict finite numbers\n"
    np.save(spoilt[1], np.full_like(np.load(spoilt[1]), np.inf))
    assert len(read_pool(outputs, ["linear"], meta)) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == (
        "models: linear bagging member-2 is the only member, so it is the ensemble; members.n=5 or a second model adds more"
    )
    np.save(spoilt[2], np.full_like(np.load(spoilt[2]), np.nan))
    assert refusal(outputs, meta).startswith("models: no member of linear predicts finite numbers, so there is nothing")


def test_a_member_predicts_what_it_predicted_in_training(outputs: Path, meta: DataMeta, place: Path) -> None:
    member = read_pool(outputs, ["linear"], meta)[0]
    x_val = torch.from_numpy(np.array(load(place / "data/prepared/digits").x_val))
    np.testing.assert_allclose(member.predict(x_val), member.val_predictions, atol=1e-6)


def trained(model: str, method: str, weight: float = 1.0) -> FinalMember:
    checkpoint = Checkpoint(0, {}, {}, {}, torch.zeros(1, 2))
    return FinalMember("member", Member(config(), 0), checkpoint, data_meta(2), weight, model=model, method=method)


def test_groups_are_those_of_each_model_of_each_way_and_all() -> None:
    one = [trained("mlp", "seeds")] * 2
    assert groups(one) == {"mlp:seeds": [0, 1]}
    assert groups([trained("mlp", "seeds")]) == {"mlp:seeds": [0]}
    two = [*one, trained("cnn", "seeds"), trained("cnn", "seeds")]
    assert groups(two) == {"mlp:seeds": [0, 1], "cnn:seeds": [2, 3], "all:seeds": [0, 1, 2, 3]}
    mixed = groups([*two, trained("cnn", "bagging"), trained("mlp", "bagging")])
    assert list(mixed) == ["mlp:seeds", "mlp:all", "cnn:seeds", "cnn:all", "all:seeds", "all:bagging", "all:all"]
    assert mixed["mlp:all"] == [0, 1, 5]
    assert mixed["all:bagging"] == [4, 5]


def test_a_weight_counts_within_its_group() -> None:
    """SAMME's weights of one booster do not outvote members that have none."""
    pool = [trained("mlp", "adaboost", 3.0), trained("mlp", "adaboost", 1.0), *[trained("mlp", "seeds")] * 2]
    assert member_weights(pool).tolist() == [0.375, 0.125, 0.25, 0.25]
