"""The HTTP API: keys with roles, bounded requests, the same calls as the console's. Off unless `api.address` is given."""
