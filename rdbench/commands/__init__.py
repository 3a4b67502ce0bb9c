"""What the verbs do: plan and run a sweep, say how it stands, measure afterwards, look at the machine.

May import all but ``cli``. Start with ``sweep``, the main job, or with the verb's own file or folder.
"""
