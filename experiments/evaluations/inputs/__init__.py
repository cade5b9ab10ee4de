"""What is done to the test set's inputs, one file each."""
