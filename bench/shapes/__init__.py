"""Made-up Mille files in the shape of experiments, as large as wanted."""
