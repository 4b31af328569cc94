"""`params.yaml`, what a person turns: known keys, whose values are words or lists of words, never text for a shell.

DVC puts these values into commands, so every stage of `dvc.yaml` first runs `python -m src.config.params`, which ends with
an error before a shell sees anything else.
"""

import re
import sys
from pathlib import Path
from typing import Any

from src.config.renamed import RENAMED_PARAMS
from src.system.errors import UserError, require_one_of, shortened, suggestion, there_are

FILE = "params.yaml"
SHIPPED = Path(__file__).parents[2] / FILE
KEYS = (
    *("data", "models", "optimizer", "schedule", "search", "rate_prior", "members", "combiner", "baselines"),
    *("n_trials", "epochs", "seed", "workers", "executor", "device", "trusted"),
)
GROUPS = {  # keys whose words are options of a group of conf/
    **{"models": "model"},
    **{key: key for key in ("data", "optimizer", "schedule", "search", "members", "combiner", "executor")},
}
WORD = re.compile(r"\w[\w.:-]*")


def read() -> dict[str, Any]:
    """Read `params.yaml` of the working directory, or else the one that is shipped.

    Raises:
        UserError: it is no YAML, a key is unknown, or a value is no word or list of words.
    """
    import yaml

    path = Path(FILE) if Path(FILE).exists() else SHIPPED
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{FILE} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{FILE}: should be lines such as 'seed: 0', not {shortened(values)}")
    for key, value in values.items():
        _check(str(key), value)
    return values


def _check(key: str, value: Any) -> None:
    if key in RENAMED_PARAMS:
        raise UserError(f"{FILE}, {key}: this key is {RENAMED_PARAMS[key]} now")
    if key not in KEYS:
        raise UserError(f"{FILE}, {key}: no such key{suggestion(key, KEYS) or there_are(KEYS)}")
    for word in value if isinstance(value, list) else [value]:
        plain = isinstance(word, str) and WORD.fullmatch(word)
        if not plain and not isinstance(word, int | float):
            right = "a word of letters, digits, dots, colons and dashes, a number or a list of them"
            raise UserError(f"{FILE}, {key}: should be {right}, not {shortened(word)}")


def refuse_unknown_options(values: dict[str, Any]) -> None:
    """Refuse a word that no YAML of its group in `conf/` has for a name, which DVC would call a missing file.

    Raises:
        UserError: it names the key, the options and the nearest.
    """
    conf = Path("conf") if Path("conf").is_dir() else SHIPPED.parent / "conf"
    for key, group in GROUPS.items():
        words, names = values.get(key, []), sorted(path.stem for path in (conf / group).glob("*.yaml"))
        for word in words if isinstance(words, list) else [words]:
            require_one_of(f"{FILE}, {key}", word, names)


if __name__ == "__main__":
    try:
        refuse_unknown_options(read())
    except UserError as error:
        sys.exit(f"error: {error}")
