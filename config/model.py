"""The base of every settings model: unknown keys are errors, values do not change after loading, secrets do not show in reprs."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A part of the configuration. Each field has a default where one makes sense, and a description, which the reference page prints."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)
