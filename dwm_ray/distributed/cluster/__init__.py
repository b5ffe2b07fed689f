"""Join or start a cluster, divide its resources, request nodes, check and clean up."""
