"""Being told: events, the daemon, its hooks and metrics."""
