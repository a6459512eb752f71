"""Detectors of text that must not pass: pure, incremental, without a third-party module, light enough for the door."""
