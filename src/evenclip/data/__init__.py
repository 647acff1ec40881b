"""The data stage: image-text pairs, drawn or imported, as img2dataset/WebDataset shards with a manifest."""
