"""The store of sealed artifacts on disk, and what its records say of who descends from whom."""
