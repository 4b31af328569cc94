"""The first import of a person's module, in a process apart: one that ends its process there does not end this one."""

import subprocess
import sys
from functools import cache

from src.system.errors import UserError

SECONDS = 60.0
_DONE = "the import has come to its end"
_CODE = """
import importlib, sys
sys.path[:] = {path!r}
try:
    importlib.import_module({module!r})
except Exception:
    pass  # the import that counts says so
print({done!r})
"""


@cache
def refuse_fatal_import(key: str, module: str) -> None:
    """Refuse a `module` whose import ends its process or does not come to an end.

    Args:
        key: that names the module, for the message.
        module: of a person, who trusts it.

    Raises:
        UserError: it says what the import does.
    """
    if module in sys.modules:
        return
    command = [sys.executable, "-c", _CODE.format(path=sys.path, module=module, done=_DONE)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{key}: importing {module} takes more than {SECONDS:.0f} s; define models there only"
        ) from error
    if _DONE.encode() not in done.stdout:
        how = f"ends the process that does it (exit code {done.returncode})"
        raise UserError(f"{key}: importing {module} {how}; define models there only")
