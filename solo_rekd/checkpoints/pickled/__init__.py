"""Reading the pickle of a checkpoint as data: no function or class that it names is ever called.

`allowed` is the complete list of names that a file may use; `machine` interprets the opcodes;
`archive` and `legacy` are the two containers that `torch.save` writes.
"""
