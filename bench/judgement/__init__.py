"""How fast what comes back is read."""
