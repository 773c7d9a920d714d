"""What made pictures are worth as training data: classifiers are trained on them beside real ones."""
