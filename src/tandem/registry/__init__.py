"""The registry: Assets and their versions, aliases and what lets them move, and where everything came from."""
