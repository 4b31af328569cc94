"""`search.proxy`: of several candidates for a trial the one whose untrained model promises most."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from src.search.proposing.history_sampler import HistorySampler
from src.search.protocol import Search
from src.system.errors import UserError


class ProxyOptions(BaseModel):
    """The name of a proxy in `src/models/proxies`, or none, and how many candidates it ranks for each trial."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    candidates: Annotated[int, Field(ge=2, le=1000)] = 10


def proxy_options(proxy: str | Mapping[str, Any]) -> ProxyOptions | None:
    """Read `search.proxy`, a name or a mapping of `name` and `candidates`; None where there is none.

    Raises:
        UserError: an option is out of its range, or unknown.
    """
    try:
        options = ProxyOptions.model_validate({"name": proxy} if isinstance(proxy, str) else dict(proxy))
    except ValidationError as invalid:
        first = invalid.errors()[0]
        key = ".".join(["search.proxy", *map(str, first["loc"])])
        raise UserError(f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}, not {first['input']!r}") from None
    return None if options.name == "none" else options


def require_candidates(search: Search, name: str) -> None:
    """Refuse a proxy to a search that draws no points one after another.

    Args:
        search: the strategy.
        name: of the strategy, for the message.

    Raises:
        UserError: its points stand beforehand, or its trials go on from each other.
    """
    if not isinstance(search, HistorySampler):
        raise UserError(
            f"search.proxy: search={name} draws no candidates to choose between; take random, tpe, gp, cmaes, evolution, "
            "local, reinforce, asha, hyperband, bohb or nsga2"
        )
