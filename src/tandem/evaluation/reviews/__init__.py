"""Reviews: calls that wait for a person, in a queue; what people say becomes Scores and rows of datasets."""
