"""Evidence on rows that were held out from training: made or checked here, kept, and looked at again when it has grown."""
