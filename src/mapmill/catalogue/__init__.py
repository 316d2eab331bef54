"""Catalogues and downloads: the only package that opens the network."""
