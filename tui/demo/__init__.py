"""The demo: three containers on one core, in the dashboard or headless."""
