"""The embedded world: seeded problems, the documents a base was pre-trained on, and the bundled bases.

Nothing here knows of a stage. docs/world.md states every habit of the documents and its rate.
"""
