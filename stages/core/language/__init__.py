"""What a text says in which language and script, whether it can be read, and how often it questions itself."""
