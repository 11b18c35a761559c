"""What composing and signing a message costs."""
