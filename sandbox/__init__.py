"""A fake Internet on loopback: a name server and mailbox providers with their tempers. For tests, the demo and staging.

Knows mail and config, nothing of the gateway. `sandbox.world.Sandbox` runs it in a thread, `python -m sandbox` in a process.
"""
