"""What goes wrong in this room, as one exception: the store or the database cannot do what was asked. Its text is for an operator.

A port that is broken (disk full, file damaged, database away) raises; input that is bad is a value or a counted line, never an exception.
"""


class StoreError(Exception):
    """The contact store cannot be read or written; nothing was half done."""
