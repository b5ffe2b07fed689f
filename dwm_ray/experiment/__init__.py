"""Experiments as requested by the user: profiles, methods, search space, sweep plan, comparison."""
