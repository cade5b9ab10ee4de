"""What figures are made of: columns of panels of curves, ridges, layers of a publication; drawn on given axes."""
