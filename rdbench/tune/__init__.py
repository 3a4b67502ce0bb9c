"""Schedule trials with Ray Tune: the only folder that imports ray. May import ``trial`` and what is below.

Start with ``supervisor``.

``supervisor``     :class:`RayScheduler`: starts a driver, reports its events, starts another when it dies
``session``        a driver's process and all that Ray starts for it
``driver``         what runs in that process: Ray Tune's loop over the packs
``pack_queue``     hands Ray Tune the packs in order, and waits while a search may add more
``packs``          cuts trials into packs; ``pack_size`` measures how large they are on a GPU
``cluster``        Ray started on this machine, or a cluster joined and checked
``worker_deaths``  why a worker was lost, in plain words
``ray_internals``  whatever rests on private modules of Ray

Ray has a process of its own because Ray ends the process that drives it when one of its daemons dies, and
prints while it does. Nothing is lost with it: workers commit finished trials to the results folder
themselves, and what is left to do is always the plan less the finished rows.
"""
