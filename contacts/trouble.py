"""What goes wrong in this room, as one exception: the store or the database cannot do what was asked. Its text is for an operator.

A port that is broken (disk full, file damaged, database away) raises; input that is bad is a value or a counted line, never an exception.
"""


class StoreError(Exception):
    """The contact store cannot be read or written; nothing was half done."""


class ContentError(StoreError):
    """The database refused what it was given, for what is in it: another try will not help, without the row that is meant it will."""

    def __init__(self, why: str, state: str) -> None:
        super().__init__(why)
        self.state = state
        """The SQLSTATE."""
