"""Find or start a cluster, divide its resources, ask for nodes."""
