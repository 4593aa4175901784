"""IBM Spectrum LSF. Tested against a simulator and the formats as they are documented, for LSF itself cannot be had."""
