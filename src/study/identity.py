"""NEEDS A DOCSTRING."""

from collections.abc import Mapping
from dataclasses import dataclass

from src.system.fingerprint import digest


@dataclass(frozen=True)
class Identity:
    """What makes a study this study: a name for people, what it searches, and the code that can change its numbers."""

    label: str
    inputs: str  # digest of data, trial configs, space, search and seed
    code: Mapping[str, str]  # digest of each module

    @property
    def fingerprint(self) -> str:
        return digest(self.inputs, *self.code.values())[:16]

    @property
    def stem(self) -> str:
        """What the names of all studies of these inputs begin with, whatever the code."""
        return f"{self.label}-{self.inputs[:8]}-"

    @property
    def name(self) -> str:
        return self.stem + self.fingerprint[:8]
