"""The commands of `mailwright`, grouped as people type them. Thin: each reads its arguments, calls the room that knows, and prints."""
