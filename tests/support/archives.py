"""Small archives for tests."""

import io
import tarfile


def tar_of(files: dict[str, bytes]) -> bytes:
    """The bytes of a tar with these files, in their order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
