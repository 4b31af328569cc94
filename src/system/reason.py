"""The reason for which a trial ended, or goes on as another."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """A kind, which code may ask for, and the sentence that a person reads. A reason without a sentence is false."""

    kind: str = ""
    text: str = ""

    @classmethod
    def read(cls, text: str, kind: str | None = None) -> "Reason":
        """The reason of a record; those that were written before kinds were have it at the beginning of their text."""
        return cls(text.partition(": ")[0] if kind is None else kind, text)

    def __bool__(self) -> bool:
        return bool(self.text)

    def __str__(self) -> str:
        return self.text


NONE = Reason()
