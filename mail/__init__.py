"""The vocabulary every room speaks: address, reply, message, outcome, event, identity, token.

Pure values and small pure functions. Imports nothing of the house.
"""
