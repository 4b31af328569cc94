"""Hydra's flags on a command line, wherever between the overrides they stand: its parser wants them before."""

from argparse import Action
from collections.abc import Sequence

from src.system.errors import UserError, suggestion, there_are


def flags_and_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part the flags of a command line, each with the value that belongs to it, from the overrides.

    Raises:
        UserError: there is no such flag, or its value is missing or none of its choices.
    """
    from hydra._internal.utils import get_args_parser

    options = {name: action for action in get_args_parser()._actions for name in action.option_strings}
    flags: list[str] = []
    overrides: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("-"):
            overrides.append(word)
            continue
        name, equals, value = word.partition("=")
        action = _action(name, options)
        flags.append(word)
        if action.nargs != 0 and not equals and name in options:
            optional = action.nargs == "?"
            if left and (left[0] in (action.choices or ()) or not (optional or left[0].startswith("-"))):
                flags.append(value := left.pop(0))
            elif optional:
                flags[-1] = f"{word}={action.const}"  # else it would take the first override
            else:
                raise UserError(f"{name}: a value is needed behind it")
        if value and action.choices and value not in action.choices:
            raise UserError(f"{name}: {value!r} is none of {', '.join(action.choices)}")
    return flags, overrides


def _action(name: str, options: dict[str, Action]) -> Action:
    short = name[:2] if not name.startswith("--") else name  # -cjob is -c job
    meant = [options[option] for option in options if option in (name, short)] or [
        options[option] for option in options if name.startswith("--") and option.startswith(name)
    ]
    if not meant:
        raise UserError(f"{name}: no such flag{suggestion(name, options)}{there_are(options)}")
    return meant[0]
