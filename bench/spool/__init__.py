"""What the spool costs: CPU a message at several commit sizes, with a full queue, and beside an event loop that never idles."""
