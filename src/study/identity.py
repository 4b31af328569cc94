"""The identity of a study: the same command finds its own study again, and no other."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from src.system.fingerprint import digest


@dataclass(frozen=True)
class Identity:
    """The identity of a study: a name for people, a digest of the inputs, and the code that can change a trial's numbers."""

    label: str
    inputs: str  # digest of data, trial configs, space, search and seed
    code: Mapping[str, str]  # digest of each module
    parts: Mapping[str, str] = field(default_factory=dict)  # digest of each of the inputs, by what a person calls it

    @property
    def fingerprint(self) -> str:
        """The digest of inputs and code."""
        return digest(self.inputs, *self.code.values())[:16]

    @property
    def stem(self) -> str:
        """The beginning of the names of all studies of these inputs, whatever the code."""
        return f"{self.label}-{self.inputs[:8]}-"

    @property
    def name(self) -> str:
        """The name of the first study of this identity; later ones have a number behind it."""
        return self.stem + self.fingerprint[:8]
