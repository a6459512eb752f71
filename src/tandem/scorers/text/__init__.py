"""Judgements of one answer of a language model, one file each (`base.py` has the table). Pure: no network, no file, no clock."""
