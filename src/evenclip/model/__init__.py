"""CLIP models: plain open_clip modules, built from a name or a JSON file, saved so that open_clip reads them."""
