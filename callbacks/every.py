"""Every so many updates, whether or not the run was resumed between."""


class EveryUpdates:
    """Due at each multiple of ``every`` updates of the run; never if that is 0.

    Steps may make several updates and pass a multiple without hitting it: then it is due after the step that does. Neither
    moves the next one, so all runs have their figures at the same updates, resumed ones included.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._last = 0

    def restart(self, updates: int) -> None:
        """A run begins, or goes on after so many updates. What was due at them has been done: callbacks work before
        Lightning saves a checkpoint."""
        self._last = updates

    def is_due(self, updates: int) -> bool:
        """Whether a multiple was reached since the last call."""
        if not self.every:
            return False
        last, self._last = self._last, updates
        return updates // self.every > last // self.every
