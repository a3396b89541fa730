"""The porch of r1: words come in, tables and exit codes go out. Everything else lives in `stages`."""
