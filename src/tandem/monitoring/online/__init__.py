"""Learning online: a model goes on learning from labels as they come, and each new version passes a gate first."""
