"""Every so many updates: steps may make several, so a multiple of the number may be passed without being hit."""


class EveryUpdates:
    """Due once ``every`` updates have passed since it last was; never if that is 0."""

    def __init__(self, every: int) -> None:
        self.every = every
        self._last = 0

    def restart(self, updates: int) -> None:
        """Counts from here on."""
        self._last = updates

    def is_due(self, updates: int) -> bool:
        """Whether it is time; if so, counts from here on."""
        if not self.every or updates - self._last < self.every:
            return False
        self._last = updates
        return True
