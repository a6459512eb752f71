"""The console: one page per noun, the same calls the API makes, and one template each. No logic of its own."""
