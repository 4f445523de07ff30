"""Attack a protected model as an adversary would, and measure what each attack recovers.

``keyprotect audit`` runs the attacks. :data:`~mmseg_keyprotect.audit.attacks.ATTACKS` lists them, and
:func:`~mmseg_keyprotect.audit.run.run_audit` is the function behind the command. Importing this package loads neither
torch nor OpenMMLab.
"""
