"""Automatic answers, challenges and people's replies."""

from bounce.notice import Notice
from bounce.report import Kind, Report
from mail.mime import Part


def read(root: Part, said: Notice) -> Report | None:
    if root.value("auto-submitted").lower().startswith("auto-replied"):
        return Report(Kind.AUTO_REPLY, rule="auto-submitted")
    return None
