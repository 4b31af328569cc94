"""The descents of a local search, read from the order of its points."""

from collections.abc import Iterator, Sequence

from src.search.protocol import Point


class Descents:
    """A partition of points into descents: each belongs to the latest descent of which it neighbours a point, or begins one.

    Attributes:
        startup: how many points at the beginning are one descent, whatever lies between them.
    """

    def __init__(self, startup: int) -> None:
        self.startup = startup
        self._points: list[Point] = []  # those that are assigned, the same objects
        self._descents: list[list[Point]] = [[]]

    def bests(self, points: Sequence[Point], best_first: Sequence[Point]) -> Iterator[Point]:
        """Yield the best point of each descent that has a result, the best of all first.

        Args:
            points: all points in the order of their trials.
            best_first: those with a result, in the order of their values.
        """
        self._assign(points)
        place = {id(point): k for k, descent in enumerate(self._descents) for point in descent}
        seen: set[int] = set()
        for point in best_first:
            if place[id(point)] not in seen:
                seen.add(place[id(point)])
                yield point

    @staticmethod
    def adjacent(one: Point, other: Point) -> bool:
        """Tell whether two points differ in one dimension or choice, beside what is there below one option alone."""
        differing = [name for name in one.keys() & other.keys() if one[name] != other[name]]
        return len(differing) == 1

    def _assign(self, points: Sequence[Point]) -> None:
        """Assign the points that are new; the whole anew where those before them are not the same."""
        if any(assigned is not point for assigned, point in zip(self._points, points, strict=False)):
            self._points, self._descents = [], [[]]
        for point in points[len(self._points) :]:
            if len(self._points) < self.startup:
                self._descents[0].append(point)
            else:
                near = (d for d in reversed(self._descents) if any(self.adjacent(point, other) for other in d))
                if (descent := next(near, None)) is None:
                    self._descents.append(descent := [])
                descent.append(point)
            self._points.append(point)
