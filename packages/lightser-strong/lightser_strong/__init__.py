"""The folder ``strong`` in here is a model of lightser; nothing else is, and no code."""
