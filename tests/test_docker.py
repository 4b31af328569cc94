"""`docker/compose.yaml` says what Compose takes, names what is there, and holds no password.

No Docker is needed: its keys are those of the Compose specification that it may use, and everything else is refused.
"""

import re
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from omegaconf import OmegaConf
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tests.support.running import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))
Text = Annotated[str, Field(strict=True, min_length=1)]  # a number or a boolean must stand in quotes
Duration = Annotated[str, Field(pattern=r"^\d+(ms|s|m|h)$")]
ENVIRONMENT = dict[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")], Text]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Build(Part):
    context: Text
    dockerfile: Text


class Health(Part):
    test: Annotated[list[Text], Field(min_length=2)]
    interval: Duration
    timeout: Duration
    retries: int


class Dependency(Part):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Deploy(Part):
    replicas: int


class Mounted(Part):
    source: Text
    target: Text


class Service(Part):
    image: Text
    build: Build | None = None
    command: list[Text] | None = None
    environment: ENVIRONMENT = {}
    volumes: list[Annotated[str, Field(pattern=r"^[^:]+:/[^:]*$")]] = []
    configs: list[Mounted] = []
    ports: list[Annotated[str, Field(pattern=r"^127\.0\.0\.1:\d+:\d+$")]] = []  # to this machine alone
    healthcheck: Health | None = None
    depends_on: dict[str, Dependency] = {}
    restart: Literal["on-failure"] | None = None
    profiles: list[Text] = []
    deploy: Deploy | None = None


class Content(Part):
    content: Text


class Compose(BaseModel):
    """What begins with x- is the writer's own."""

    model_config = ConfigDict(extra="allow", strict=True)
    name: Text
    services: dict[str, Service]
    configs: dict[str, Content]
    volumes: dict[str, None]


SERVICES = Compose.model_validate(COMPOSE).services


def test_it_has_what_compose_takes_and_nothing_else() -> None:
    made = Compose.model_validate(COMPOSE)
    assert all(name.startswith("x-") for name in made.model_extra or {})
    assert set(SERVICES) == {"postgres", "store", "bucket", "mlflow", "scheduler", "worker", "driver"}
    for change in ({"enviroment": {}}, {"ports": ["5000:5000"]}, {"environment": {"PORT": 5000}}):
        with pytest.raises(ValidationError):
            TypeAdapter(Service).validate_python({"image": "lockstep", **change})


def test_every_name_leads_somewhere() -> None:
    made = Compose.model_validate(COMPOSE)
    for service in SERVICES.values():
        assert service.depends_on.keys() <= SERVICES.keys()
        for name, dependency in service.depends_on.items():
            assert dependency.condition != "service_healthy" or SERVICES[name].healthcheck
        assert {mount.source for mount in service.configs} <= made.configs.keys()
        named = {volume.partition(":")[0] for volume in service.volumes}
        assert {name for name in named if not name.startswith(".")} <= made.volumes.keys()
        assert service.build is None or (ROOT / "docker" / service.build.context / service.build.dockerfile).is_file()
        hosts = re.findall(
            r"(?:://|@)([a-z]+)[:/]", " ".join([*service.environment.values(), *(service.command or ())])
        )
        assert {host for host in hosts if host not in ("lockstep", "localhost")} <= SERVICES.keys()


def test_images_of_others_have_a_version() -> None:
    assert all(":" in service.image for service in SERVICES.values() if service.build is None)


def test_no_password_stands_in_it() -> None:
    """Each comes from the environment, and Compose says which one is missing."""
    secret = re.compile(r"PASSWORD|SECRET|ACCESS_KEY")
    for service in SERVICES.values():
        for name, value in service.environment.items():
            if secret.search(name):
                assert re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value), name
            assert not re.search(r"://[^/@]+:[^/@]+@", value), name


def test_the_places_of_a_driver_are_those_that_the_config_reads() -> None:
    text = "".join((ROOT / "conf" / name).read_text(encoding="utf-8") for name in ("config.yaml", "executor/dask.yaml"))
    read = set(re.findall(r"oc\.env:(LOCKSTEP_\w+|MLFLOW_TRACKING_URI)", text))
    assert read == {name for name in SERVICES["driver"].environment if name in read or name.startswith("LOCKSTEP_")}
    assert OmegaConf.create(SERVICES["worker"].environment) == SERVICES["driver"].environment


def test_commands_and_the_image_name_what_is_there() -> None:
    spec = find_spec("mlflow")  # its source, since an import takes seconds
    assert spec
    assert spec.origin
    folder = Path(spec.origin).parent
    source = "".join((folder / name).read_text(encoding="utf-8") for name in ("cli/__init__.py", "utils/cli_args.py"))
    options = [word for word in SERVICES["mlflow"].command or () if word.startswith("--")]
    variables = [name for name in SERVICES["mlflow"].environment if re.search("STORE_URI|DESTINATION|HOSTS", name)]
    assert [name for name in (*options, *variables) if f'"{name}"' not in source] == []
    assert len(variables) == 3
    for service in SERVICES.values():
        if (command := service.command or []) and "-m" in command:
            assert find_spec(command[command.index("-m") + 1])
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (named,) = re.findall(r"\.\[([\w,]+)\]", (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8"))
    assert set(named.split(",")) <= extras.keys()
