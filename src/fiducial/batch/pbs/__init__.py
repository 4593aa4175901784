"""PBS in its two dialects, OpenPBS (PBS Professional) and Torque.

Tested against a simulator and the formats as they are documented, for neither can be had where our tests run.
"""
