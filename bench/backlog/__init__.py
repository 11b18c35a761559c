"""What a large backlog costs: memory, restart, acceptance beside it, hold and release."""
