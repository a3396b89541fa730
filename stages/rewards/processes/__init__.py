"""Processes that can be killed, for all that may hang, crash or eat memory; a user's own rewards run in them."""
