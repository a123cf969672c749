"""The values that each figure shows, read from a record's chunks into frozen dataclasses.

In: a record. Out: one view a figure (`tokens_view(record) -> TokensView`), with the model, the pieces of tokens and the numbers
as plain Python values, and for each where it stands in the record and how far it can be trusted (`Shows`). Views know no
places, colours or times; `labels` writes numbers as they are read on pictures.
"""
