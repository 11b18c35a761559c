"""How fast a large suppression list is read in, written out and looked up in, and what it costs acceptance."""
