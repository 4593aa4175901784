from pools.simulated_queue import Dialect


class OpenPbs(Dialect): ...


class Torque(Dialect): ...
