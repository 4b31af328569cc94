"""Command lines as they go wrong: each is accepted or refused in one sentence, and never ends in a traceback."""

import random
import time
from pathlib import Path

import pytest
from hydra import initialize_config_dir

from src.config.compose import CONF, with_force_add
from src.config.loading import load
from src.system.errors import UserError
from tests.support import warm

KEYS = (
    *(
        "model",
        "model.width",
        "model.depth",
        "optimizer",
        "optimizer.lr",
        "search",
        "n_trials",
        "epochs",
        "seed",
        "choose",
    ),
    *("space.model.width", "space.optimizer.lr", "data", "data.name", "training.augment.flip", "objective.minimize"),
    *("objective.constraints", "models", "trusted", "device", "experiment", "batch_size", "hydra.run.dir", "storage"),
    *("hydra/help", "combiner", "data_model", "lr_range.low"),
)
VALUES = (
    *(
        "mlp",
        "3",
        "-1",
        "1e9",
        "1e999",
        "nan",
        "",
        "null",
        "[1,2]",
        "[1,",
        "{a:1}",
        "{a:",
        "${x}",
        "${oc.env:NOPE}",
        "${seed}",
    ),
    *(
        "a;b",
        "a b",
        "😀",
        "2021",
        "'x",
        '"x',
        "\\",
        "~",
        "interval(1,2)",
        "choice(1,2)",
        "glob(*)",
        "range(1,3)",
        "tag(a,1)",
    ),
    *(
        "{type:float,low:0,high:1}",
        "{choices:[]}",
        "{choices:[a,a]}",
        "{low:a}",
        "{type:int,low:1,high:2,foo:3}",
        "true",
    ),
    *(
        "1_0",
        "0x10",
        "../../etc",
        "a" * 500,
        "9" * 5000,
        "[[[[",
        "{low:1,high:2,log:true,step:1}",
        "%s%n",
        "$(id)",
        "`id`",
    ),
    *("\n", "\t", "a=b", "=", "mlp,cnn", "[mlp,cnn]", "{model:[mlp,cnn]}", "{optimizer:[sgd,sgd]}", "{optimizer:sgd}"),
    *("{low:1e-3,high:.1,log:yes}", "{choices:[[64],[64,32]]}", "{prior:3}", "???", "${params:nope}", "${about:}"),
)


def word(draw: random.Random) -> str:
    """A word of the command line with a mistake or several, or by chance with none."""
    key = draw.choice(KEYS)
    if draw.random() < 0.2:
        key += draw.choice([".x", "..", "/", ".", "@a", ":", "[0]", " "])
    if draw.random() < 0.1:
        place = draw.randrange(len(key))
        key = key[:place] + draw.choice("xZ.é") + key[place + 1 :]
    prefix = draw.choice(["", "", "", "+", "++", "~", "-", "--", "+++", " ", ".", "@"])
    return prefix + key + draw.choice(["=", "=", "=", "=", " = ", "==", ":", ""]) + draw.choice(VALUES)


def refusal(words: list[str]) -> str | None:
    try:
        load([with_force_add(each) for each in words])
    except UserError as error:
        return str(error)
    return None


@pytest.mark.slow
def test_200_wrong_command_lines_are_each_refused_in_one_sentence() -> None:
    sentences = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for seed in range(200):
            draw = random.Random(seed)
            sentences.append(refusal([word(draw) for _ in range(draw.choice([1, 1, 2]))]))
    refused = [sentence for sentence in sentences if sentence is not None]
    assert len(refused) > 150
    assert not [sentence for sentence in refused if not sentence or "\n" in sentence or len(sentence) > 900]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "data.file=a;b.csv",
            "cannot be read; type a text with such characters as 'data.file=\"a;b.csv\"', a list as [1,2]",
        ),
        ("model=[mlp,cnn]", "error: model, data: name one option of each; -m model=mlp,cnn runs"),
        ("experiment=2021", "error: experiment: a value is needed, one of anchors, embeddings, fixed_net, "),
        ("n_trials", "error: n_trials: expected key=value, as in n_trials=64"),
        ("outputs=2021", """error: outputs: should be a text, not the number 2021; type 'outputs="2021"'"""),
    ],
)
def test_a_verb_says_what_to_type(line: str, says: str) -> None:
    done = warm.run(Path(__file__).parents[2], "report", line)
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_words_of_thousands_of_values_are_refused_before_they_are_parsed() -> None:
    choices = ",".join(f"{k + 1}e-7" for k in range(20_000))
    for word in "space.optimizer.lr={choices:[" + choices + "]}", "model.width=[" + "64," * 100_000 + "64]":
        start = time.process_time()
        with pytest.raises(UserError, match=r"^[\w.]+: [\d,]+ characters are more than 10,000: name fewer values$"):
            with_force_add(word)
        assert time.process_time() - start < 1
