"""Reading the pickle of a checkpoint as data: no function or class that it names is ever called.

`allowed` is the whole list of what a file may ask for; `machine` interprets the opcodes; `archive`
and `legacy` are the two containers that `torch.save` writes.
"""
