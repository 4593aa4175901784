"""Where jobs run: one file a batch system, all behind one interface."""
