"""Programs run in a sandbox: found in a completion, put to tests, and never in one process with what is expected."""
