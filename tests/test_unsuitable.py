"""A model that cannot take the data is passed over by the pipeline, in one line of every stage and in the report."""

import json
import random
from collections.abc import Iterator

import pytest
import yaml

from tests.support.running import ROOT, Place, end_all

pytestmark = pytest.mark.slow
DATA = ("data=csv", "data.file=mine.csv", "data.target=y", "data.task=classification", "data.root=.")
SMALL = ("search=random", "n_trials=2", "epochs=2", "workers=1")
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A table, which the `cnn` cannot take, through all stages as `dvc.yaml` calls them."""
    here = Place(tmp_path_factory.mktemp("table"))
    draw = random.Random(0)
    rows = [(draw.gauss(0, 1), draw.gauss(0, 1)) for _ in range(300)]
    lines = [f"{a:.4f},{b:.4f},{'yes' if a + b > 0 else 'no'}" for a, b in rows]
    (here.folder / "mine.csv").write_text("\n".join(["a,b,y", *lines]), encoding="utf-8")
    here.run(*DATA, verb="prepare")
    for model in ("linear", "cnn"):
        words = (*DATA, f"model={model}", "unsuitable=skip")
        short = ("lr_range.steps=20", "lr_range.parallel.members=3", "lr_range.parallel.epochs=1")
        lines = [
            here.run(*words, *short, verb="lr_range").stdout,
            here.run(*words, *SMALL, verb="sweep").stdout,
            here.run(*words, "members.n=2", "workers=1", verb="train").stdout,
        ]
        for line in lines if model == "cnn" else ():
            assert line.startswith("cnn: passed over, since ")
            assert line.count("\n") == 1
    yield here
    end_all()


def test_what_dvc_expects_of_each_stage_is_there(place: Place) -> None:
    """So the graph stays whole: no stage behind misses a file."""
    for stage in ("sweep", "train"):
        files = [dep for dep in STAGES[stage]["deps"] if dep.startswith("outputs/")]
        assert files
        for file in files:
            assert (place.folder / file.replace("${item.model}", "cnn")).exists(), file
    for stage in ("lr_range", "sweep", "train"):
        assert (place.folder / "outputs" / stage / "cnn" / "passed_over.json").exists()


def test_the_ensemble_and_the_report_go_on_with_the_others(place: Place) -> None:
    few = ("combiner=average", "baselines=[]", "export.pt2=false")
    place.run(*DATA, "models=[linear,cnn]", *few, verb="ensemble")
    metrics = json.loads((place.folder / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["ensembles"]) == {"linear:seeds+average"}
    place.run(*DATA, "models=[linear,cnn]", verb="report")
    page = (place.folder / "report/index.html").read_text(encoding="utf-8")
    assert "cnn was passed over, since" in page
    assert "linear was passed over" not in page


def test_where_no_model_is_left_one_sentence_says_so(place: Place) -> None:
    for verb in ("ensemble", "report"):
        refused = place.run(*DATA, "models=[cnn]", ok=False, verb=verb)
        assert refused.stderr.startswith("error: models: none can take these data (cnn: ")
        assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", ["lr_range", "sweep"])
def test_a_person_who_asks_for_it_is_refused(place: Place, verb: str) -> None:
    refused = place.run(*DATA, "model=cnn", "outputs=other", ok=False, verb=verb)
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1


def test_every_stage_of_the_pipeline_that_has_a_model_passes_it_over() -> None:
    with_model = {stage for stage, entry in STAGES.items() if "${item.model}" in str(entry["cmd"])}
    assert with_model == {"lr_range", "sweep", "train"}
    assert all("unsuitable=skip" in str(STAGES[stage]["cmd"]) for stage in with_model)
