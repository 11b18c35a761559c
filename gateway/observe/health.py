"""Whether this process lives and whether it can do its work: a set of named conditions, and a pulse.

`/healthz` asks whether the mail loop still turns (its last `beat` is recent); a supervisor restarts what does not. `/readyz` asks whether
every named condition is well; a balancer sends clients elsewhere while one is broken. A condition is broken with a sentence for people
and stays so until it is said to be well again: nothing here expires, guesses or counts.

Safe from any thread; the clock is passed in.
"""

from collections.abc import Callable


class Health:
    """Named conditions and the pulse of the mail loop. `patience` is how old (seconds) the last beat may be."""

    def __init__(self, clock: Callable[[], float], patience: float = 30.0) -> None:
        self._clock = clock
        self._patience = patience
        self._broken: dict[str, str] = {}
        self._known: set[str] = set()
        self._beat = clock()

    def beat(self) -> None:
        """The mail loop turns. Call it every few seconds."""
        self._beat = self._clock()

    @property
    def alive(self) -> bool:
        """Whether the mail loop has turned lately."""
        return self._clock() - self._beat <= self._patience

    def broken(self, condition: str, why: str) -> bool:
        """Say that `condition` is broken. True when it was well before, which is the moment to log it."""
        new = condition not in self._broken
        self._known.add(condition)
        self._broken[condition] = why
        return new

    def well(self, condition: str) -> bool:
        """Say that `condition` is well. True when it was broken before."""
        self._known.add(condition)
        return self._broken.pop(condition, None) is not None

    @property
    def ready(self) -> bool:
        """Whether nothing is broken."""
        return not self._broken

    def reasons(self) -> dict[str, str]:
        """What is broken, and why."""
        return dict(self._broken)

    def conditions(self) -> dict[str, bool]:
        """Every condition ever spoken of; True is broken. For the metrics."""
        return {name: name in self._broken for name in sorted(self._known)}
