"""Models in and out of folders, the one owner of their weights, and where and how they run."""
