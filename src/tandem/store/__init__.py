"""Where things are kept: SQL, content-addressed blobs, the lake, the vault. It knows bytes and rows, not what they mean."""
