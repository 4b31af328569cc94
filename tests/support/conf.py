"""The files of `conf/` as they come out where no data are prepared."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from src.config.compose import register_resolvers

CONF = Path(__file__).parents[2] / "conf"


def conf_file(group: str, name: str) -> dict[str, Any]:
    """The content of conf/<group>/<name>.yaml, whose questions are answered."""
    register_resolvers()
    content = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"), resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}
