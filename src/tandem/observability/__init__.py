"""Record and query Traces: the journal a door writes, the mover that empties it, the store that answers."""
