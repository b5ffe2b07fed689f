"""What a user asks for: profiles, methods, search space, sweep plan, comparison."""
