"""Settings of the deployment in ``workers``."""
