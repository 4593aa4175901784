"""Track-based alignment: simulation, reconstruction, Millepede, constants, reports. An application of the engine."""
