"""A client of the API that nobody here wrote: the standard library's."""

import http.client
import json
from typing import Any

from gateway.admin.http.keys import hash_of_key

KEYS = {"read": "mwk_reader", "write": "mwk_writer", "admin": "mwk_admin"}

CONFIGURATION = '\n[api]\naddress = "127.0.0.1:{api}"\npatience = "1s"\nrequest_size = 2000\n' + "".join(
    f'[[api_key]]\nname = "{role}"\nhash = "{hash_of_key(key)}"\nrole = "{role}"\n' for role, key in KEYS.items()
)


def ask(port: int, method: str, path: str, key: str = "", body: Any = None) -> tuple[int, Any]:
    """Status and decoded answer of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {KEYS.get(key, key)}"} if key else {})
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()
