"""Tasks: reference scores, termination rules, environments and their spaces."""
