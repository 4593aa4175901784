"""Grid Engine: Sun's, Son of Grid Engine, Open Grid Scheduler, Univa's and Altair's."""
