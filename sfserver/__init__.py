"""The StreamForge server: API, worker and sweeper."""
