"""Schedule trials with Ray Tune. The only package that imports ray.

``supervisor``  :func:`run`: starts a driver, tells the console what it reports, starts another when it dies
``session``     a driver's process and all that Ray starts for it: begun, listened to, ended without a trace
``driver``      what runs in that process: Ray Tune's loop over the packs
``source``      hands Ray Tune the packs in order, and waits while a search may add more
``cluster``     Ray started on this machine, or a cluster joined and checked
``losses``      why a worker was lost, in plain words
``packs``       how trials are cut into packs, and how many run at a time

Ray has a process of its own because Ray ends the process that drives it when one of its daemons dies, and
prints while it does. Nothing is lost with it: workers commit finished trials to the results folder
themselves, and what is left to do is always the plan less the finished rows.
"""
