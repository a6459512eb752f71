"""What is known about one version beyond its metrics: where it fails, for whom, why it answers so, and its card."""
