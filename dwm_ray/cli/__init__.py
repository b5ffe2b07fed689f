"""Command lines, progress display and exit codes."""
