"""An SFTP server of one folder, for one key: run by the environment of DVC's remotes, which has asyncssh.

python sftp_server.py PORT FOLDER KEY
"""

import asyncio
import sys

import asyncssh


async def serve(port: int, folder: str, key: str) -> None:
    """Serve until killed; the key is the host's and the client's."""

    def files(channel: asyncssh.SSHServerChannel) -> asyncssh.SFTPServer:
        return asyncssh.SFTPServer(channel, chroot=folder)

    keys = {"server_host_keys": [key], "authorized_client_keys": f"{key}.pub"}
    await asyncssh.listen("127.0.0.1", port, sftp_factory=files, **keys)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), *sys.argv[2:]))
