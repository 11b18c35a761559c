"""The relay bench: how many signed, durable messages a second pass through Mailwright, and through Postfix with OpenDKIM, side by side."""
