"""What a crowd of idle and slow clients costs a normal one. `python -m bench.crowd`."""
