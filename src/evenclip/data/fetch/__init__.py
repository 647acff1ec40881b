"""Fetch data sets: the files of the registry, and the images of url lists.

Commands: `evenclip data fetch NAME`, `evenclip data verify NAME --root DIR`, `evenclip data fetch-images LIST`.
"""

from evenclip.data.fetch.dataset import fetch_dataset
from evenclip.data.fetch.options import FetchOptions, UrlListOptions
from evenclip.data.fetch.url_list import fetch_images
from evenclip.data.fetch.verify import verify_raw

__all__ = ["FetchOptions", "UrlListOptions", "fetch_dataset", "fetch_images", "verify_raw"]
