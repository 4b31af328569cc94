"""Flags of Hydra stand wherever a person types them; what is wrong with one is a sentence, not argparse's usage."""

import pytest

from src.config.flags import flags_and_overrides
from src.system.errors import UserError


@pytest.mark.parametrize(
    ("line", "flags", "overrides"),
    [
        ("n_trials=1 --config-dir a=b model=cnn", "--config-dir a=b", "n_trials=1 model=cnn"),
        ("seed=1 -m model=mlp,cnn --config-dir=here", "-m --config-dir=here", "seed=1 model=mlp,cnn"),
        ("seed=1 -c job -p model ~space.optimizer", "-c job -p model", "seed=1 ~space.optimizer"),
        ("seed=1 -cjob --conf here", "-cjob --conf", "seed=1 here"),
        ("--info seed=1", "--info=all", "seed=1"),
        ("--info defaults seed=1 --help", "--info defaults --help", "seed=1"),
    ],
)
def test_each_flag_comes_first_with_its_value(line: str, flags: str, overrides: str) -> None:
    assert flags_and_overrides(line.split()) == (flags.split(), overrides.split())


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("seed=1 --cofnig-dir here", "--cofnig-dir: no such flag; did you mean --config-dir?; there are "),
        ("-x", "-x: no such flag; there are "),
        ("seed=1 --config-dir", "--config-dir: a value is needed behind it"),
        ("--config-dir --help", "--config-dir: a value is needed behind it"),
        ("--cfg jobb", "--cfg: 'jobb' is none of job, hydra, all"),
        ("--cfg=jobb seed=1", "--cfg: 'jobb' is none of job, hydra, all"),
    ],
)
def test_what_is_wrong_with_a_flag_is_a_sentence(line: str, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        flags_and_overrides(line.split())
    assert str(refused.value).startswith(sentence)
