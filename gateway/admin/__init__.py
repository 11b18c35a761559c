"""How people look at and change a running gateway: one small set of JSON calls on a Unix socket that only the owner may open."""
