"""What a run has shown so far, to look back at."""

from __future__ import annotations

from bisect import bisect_right

MOST_FRAMES = 64


class Frames:
    """Pictures by step, thinned out so that at most `MOST_FRAMES` are held, at even distances, the first among them."""

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._pictures: list[bytes] = []
        self._every = 1

    def __len__(self) -> int:
        """How many are held."""
        return len(self._steps)

    def wants(self, index: int) -> bool:
        """Whether the picture of this step, counted from 1, is one to keep."""
        return (index - 1) % self._every == 0

    def add(self, index: int, picture: bytes) -> None:
        """Keep a picture."""
        if len(self._steps) == MOST_FRAMES:
            self._every *= 2
            held = [i for i, step in enumerate(self._steps) if self.wants(step)]
            self._steps, self._pictures = [self._steps[i] for i in held], [self._pictures[i] for i in held]
            if not self.wants(index):
                return
        self._steps.append(index)
        self._pictures.append(picture)

    def at(self, index: int) -> tuple[int, bytes]:
        """The last step not after `index` that is held, and its picture; LookupError if none is."""
        if not self._steps:
            raise LookupError("nothing has been shown yet")
        place = max(0, bisect_right(self._steps, index) - 1)
        return self._steps[place], self._pictures[place]

    def pictures(self) -> list[bytes]:
        """All that are held, in order."""
        return list(self._pictures)
