"""A page that holds a model: one HTML file that generates, records and verifies in a browser, without a server or a network.

Read `tokenizer` (a tokenizer as the page has it).
"""
