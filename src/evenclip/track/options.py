"""Options of the track stage."""

from evenclip.options import FilePath, Options


class TrackOptions(Options):
    """Options of tracking with MLflow."""

    tracking_uri: FilePath = "sqlite:///mlflow.db"
    """MLflow store: a local SQLite file, relative to the project's folder, or the address of a server."""
