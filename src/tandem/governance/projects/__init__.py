"""Projects: what a repository declares on the platform, and each time that it was applied."""
