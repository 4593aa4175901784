"""HTCondor: submissions rendered, its event logs read, its holds understood."""
