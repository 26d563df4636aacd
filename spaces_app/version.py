"""The version of the package, also told to the site."""

__version__ = "1.0.1"
