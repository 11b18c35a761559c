"""The core of a node: what must be exact. One committer, one feeder, one engine; everything else asks it by the values of gateway.calls."""
