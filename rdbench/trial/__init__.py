"""One pack of trials, from settings to rows: trained, measured, committed, on whatever machine it runs.

May import ``vae``, ``results``, ``spec``, ``metrics``, ``datasets`` and what is below; never Ray. Start with
``worker``, which runs a pack, and ``run``, which makes a trial's tables. ``scheduler`` says what runs many;
``serial`` does in this process.
"""
