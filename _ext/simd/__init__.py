"""Loops that are compiled once per instruction set; `dispatch` chooses one set at run time.

`simd.h` lists what each set offers. `kernel_table.h` and `density_table.h` define the kernels, and
`tile.h` and `pairwise.h` evaluate and multiply with them; each `.pyx` calls the `.h` of its name.
"""
