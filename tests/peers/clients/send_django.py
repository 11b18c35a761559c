"""Django's mail backend: reads a task from standard input and sends the letter."""

import base64
import json
import sys

from django.conf import settings
from django.core.mail import EmailMessage

task = json.load(sys.stdin)
settings.configure(
    EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
    EMAIL_HOST="localhost",
    EMAIL_PORT=task["port"],
    EMAIL_HOST_USER=task["user"],
    EMAIL_HOST_PASSWORD=task["password"],
    EMAIL_USE_TLS=task["tls"] == "starttls",
    EMAIL_USE_SSL=task["tls"] == "implicit",
    EMAIL_TIMEOUT=30,
)
message = EmailMessage(task["subject"], task["text"], task["sender"], task["to"], headers={"X-Campaign": "django"})
message.attach(task["file_name"], base64.b64decode(task["attachment"]), "application/octet-stream")
assert message.send() == 1
