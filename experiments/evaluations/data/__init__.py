"""Of which samples the test function is evaluated, one file each."""
