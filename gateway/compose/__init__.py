"""What we add when a message leaves: header, signatures, another encoding where the next hop needs one.

`composer` is the door to this room. Pure but for `keyring` and `generate`, which read and write key files,
and `signing`, which has processes.
"""
