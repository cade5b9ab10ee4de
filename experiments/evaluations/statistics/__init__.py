"""Sources of the statistics that normalisations take in the test function, one file each."""
