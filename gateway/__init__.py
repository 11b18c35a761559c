"""Floor 3: the MTA. Doors, spool, traffic, delivery, operations. The only package that runs; nothing imports it."""
