"""Tasks: reference scores, termination rules, environments, spaces."""
