"""What the ensemble stage finds, what it writes, and how the report draws it."""

from __future__ import annotations

import base64
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from src.ensembles import report_data
from src.ensembles.combiners.average import average
from src.ensembles.combiners.greedy import greedy
from src.ensembles.final_member import FinalMember
from src.ensembles.selection import Candidate, Combiner, compare_combiners
from src.population.checkpoint import Checkpoint
from src.population.member import Member
from src.reporting import ensemble_plots, results
from src.reporting import page as pages
from src.system.files import write_json
from tests.ensembles.test_combiners import classified, valued
from tests.ensembles.test_pool import prepared_digits, write_members
from tests.support.made_outputs import write_outputs
from tests.support.metas import data_meta
from tests.support.running import Place
from tests.support.training import config

FITS = [Combiner("average", average), Combiner("greedy", partial(greedy, steps=20, bags=5, fraction=0.7))]


def final_member(model: str, k: int, val: Any) -> FinalMember:
    checkpoint = Checkpoint(0, {}, {}, {}, torch.from_numpy(val))
    return FinalMember(f"seeds-{k}", Member(config(), 0), checkpoint, data_meta(2), model=model, method="seeds")


def pool_of(p_MNC: Any) -> list[FinalMember]:
    """Members of two models."""
    return [final_member("mlp" if k < len(p_MNC) // 2 else "<b>cnn", k, val) for k, val in enumerate(p_MNC)]


def found(task: str, folder: Path) -> tuple[dict[str, Any], list[FinalMember], dict[str, Candidate], Any]:
    """The verdict as the report reads it."""
    p_MNC, y_N = classified(rows=300) if task == "classification" else valued(rows=300)
    by = "nll" if task == "classification" else "rmse"
    pool = pool_of(p_MNC)
    compared, _ = compare_combiners(pool, FITS, y_N, y_N)
    judged = report_data.on_validation(task, by, pool, compared, "all:seeds+average", y_N, [10, 10, 10, 20, 20, 20])
    chosen = compared["all:seeds+average"]
    x = np.random.default_rng(0).normal(size=(300, 1, 6, 6))
    joined = chosen.mixture.predict(p_MNC)
    judged |= report_data.on_test(task, pool, chosen, p_MNC, joined, p_MNC[0], x, y_N)
    write_json(folder / "judged.json", judged)
    return json.loads((folder / "judged.json").read_text()), pool, compared, y_N


def test_every_group_meets_every_combiner(tmp_path: Path) -> None:
    _, pool, compared, _ = found("classification", tmp_path)
    groups = ("mlp:seeds", "<b>cnn:seeds", "all:seeds")
    assert list(compared) == [f"{group}+{name}" for group in groups for name, *_ in FITS]
    assert compared["<b>cnn:seeds+average"].positions == [3, 4, 5]
    for each in compared.values():
        members, mixture = each.served(pool)
        left = mixture.predict(np.stack([member.val_predictions for member in members]))
        whole = each.predict(np.stack([member.val_predictions for member in pool]))
        np.testing.assert_allclose(left, whole, atol=1e-12)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_costs_and_the_smallest_good_ensemble(task: str, tmp_path: Path) -> None:
    judged, pool, compared, _ = found(task, tmp_path)
    assert [member["parameters"] for member in judged["members"]] == [10, 10, 10, 20, 20, 20]
    assert judged["ensembles"]["all:seeds+average"]["parameters"] == 90
    each = judged["ensembles"]["mlp:seeds+average"]
    assert each["squared_error"] == pytest.approx(each["squared_members"] - each["squared_ambiguity"], abs=1e-9)
    points = {point["name"]: point for point in judged["frontier"]["points"]}
    assert len(points) == len(pool) + len(compared) + len(pool) - 1
    marked, limit = points[judged["frontier"]["smallest"]], judged["frontier"]["limit"]
    assert marked["value"] <= limit
    assert all(p["value"] > limit for p in points.values() if p["parameters"] < marked["parameters"])


def test_figures_show_what_was_found(tmp_path: Path) -> None:
    judged, *_ = found("classification", tmp_path)
    figures = ensemble_plots.figures(judged)
    assert set(figures) == {"reliability", "diversity", "members", "growth", "frontier"}
    heat = figures["diversity"].data[0]
    assert heat.z[1][4] == pytest.approx(judged["diversity"]["disagreement"][1][4])
    assert heat.z[2][2] is None
    assert heat.x[5] == "&lt;b&gt;cnn seeds-5"  # Plotly reads text as HTML
    assert "double fault" in heat.text[0][1]
    ring = next(trace for trace in figures["frontier"].data if trace.name == "smallest within 1 SE")
    smallest = next(p for p in judged["frontier"]["points"] if p["name"] == judged["frontier"]["smallest"])
    assert (ring.x[0], ring.y[0]) == (smallest["parameters"], smallest["value"])
    curve = next(trace for trace in figures["growth"].data if trace.name == "average of n")
    assert curve.x == (1, 2, 3, 4, 5, 6)
    assert sum(len(trace.x) for trace in figures["members"].data) == 7  # members and the ensemble


def test_a_regression_has_no_reliability_and_one_member_no_pairs(tmp_path: Path) -> None:
    judged, *_ = found("regression", tmp_path)
    assert set(ensemble_plots.figures(judged)) == {"diversity", "members", "growth", "frontier"}
    p_MNC, y_N = classified(members=1)
    pool = [final_member("mlp", 0, p_MNC[0].astype(np.float32))]
    compared, _ = compare_combiners(pool, FITS, y_N, y_N)
    alone = report_data.on_validation("classification", "nll", pool, compared, "mlp:seeds+average", y_N, [10])
    assert set(ensemble_plots.figures(alone)) == {"frontier"}
    assert alone["ensembles"]["mlp:seeds+average"]["squared_ambiguity"] == pytest.approx(0, abs=1e-12)


def test_a_picture_is_the_pixels() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    address = ensemble_plots.picture(pixels.tolist())
    read = imread(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))), format="png")
    np.testing.assert_allclose(read[..., 0] * 255, pixels, atol=0.5)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_report_has_a_section_of_the_ensemble(task: str, tmp_path: Path) -> None:
    write_outputs(tmp_path, regression=task == "regression", models=("mlp",), n_trials=12)
    judged, *_ = found(task, tmp_path)
    write_json(tmp_path / "outputs" / "ensemble" / "judged.json", judged)
    html = pages.render(results.read(tmp_path / "outputs", ["mlp"], tmp_path / "prepared"))
    section = html.partition('<section id="ensemble">')[2].partition("</section>")[0]
    assert all(f'id="ensemble-{name}"' in section for name in ensemble_plots.figures(judged))
    assert section.count("data:image/png") == report_data.DISPUTED
    assert section.count("<li") == report_data.DISPUTED
    assert "&lt;b&gt;cnn:seeds+average" in section
    assert "<b>cnn" not in section
    assert "ms a row" not in section  # there is no timing.json


def test_the_report_shows_judged_beside_served_and_what_was_left_out(tmp_path: Path) -> None:
    write_outputs(tmp_path, models=("mlp",), n_trials=12)
    file = tmp_path / "outputs/ensemble/metrics.json"
    metrics = json.loads(file.read_text())
    judged = {part: {name: value * 0.99 for name, value in metrics[part].items()} for part in ("val", "test")}
    notes = ["mlp: seeds-1 is left out; the member that was judged stays: it has collapsed"]
    write_json(file, metrics | {"refit": True, "judged": judged, "notes": notes})
    html = pages.render(results.read(tmp_path / "outputs", ["mlp"], tmp_path / "prepared"))
    assert "as judged before the refit" in html
    assert notes[0] in html
    write_json(file, metrics | {"refit": False, "judged": judged})
    assert "as judged" not in pages.render(results.read(tmp_path / "outputs", ["mlp"], tmp_path / "prepared"))


README = (Path(__file__).parents[2] / "README.md").read_text()
OWN = README.partition("# src/ensembles/combiners/best.py")[2].partition("\n")[2].partition("```")[0]


@pytest.mark.slow
def test_a_combiner_of_ones_own_is_a_function_and_a_yaml(tmp_path: Path) -> None:
    """The whole stage, from members on disk to a registered model that answers as metrics.json says."""
    from src.data.dataset import load_test
    from src.serving.bundle import read_bundle

    prepared = prepared_digits(tmp_path)
    write_members(tmp_path / "outputs", prepared)
    place = Place(tmp_path)
    (tmp_path / "theirs.py").write_text(OWN)
    (tmp_path / "conf" / "combiner").mkdir(parents=True)
    (tmp_path / "conf/combiner/best.yaml").write_text(
        "# @package _global_\ncombiner: {name: best, _target_: theirs.best, power: 8}\n"
    )
    own = (
        "--config-dir",
        str(tmp_path / "conf"),
        "models=[linear]",
        "trusted=[theirs]",
        "combiner=[average,best,vote]",
        "baselines=[]",
        "export.pt2=false",
    )
    done = place.run(*own, "combiner.temperature=true", verb="ensemble", first_path=tmp_path)
    assert "linear:bagging+" in done.stdout
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    tried = ["average", "best", "vote"]
    names = [f"linear:bagging+{name}+temperature" for name in tried]
    assert list(metrics["ensembles"]) == names
    assert metrics["chosen"] in names
    assert metrics["val"] == metrics["ensembles"][metrics["chosen"]]["val"]
    assert {"test", "best_single", "interval", "gain"} <= metrics.keys()
    accuracy = metrics["interval"]["accuracy"]
    assert metrics["test"]["accuracy"] == pytest.approx(accuracy["value"])
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    module = read_bundle(tmp_path / "outputs" / "ensemble" / "model").module()
    x, y = load_test(prepared)
    with torch.no_grad():
        answer = module(torch.from_numpy(np.array(x))).numpy()
    assert (answer.argmax(1) == y).mean() == metrics["test"]["accuracy"]
