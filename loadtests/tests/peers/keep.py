"""A handler for aiosmtpd that keeps each message as it came, in a file of its own."""

import os


class Keep:
    def __init__(self, folder):
        self.folder = folder
        self.count = 0

    @classmethod
    def from_cli(cls, parser, folder):
        return cls(folder)

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        # Whole or not at all, for whoever looks into the folder.
        begun = os.path.join(os.path.dirname(self.folder), "begun")
        with open(begun, "wb") as out:
            out.write(envelope.original_content)
        os.rename(begun, os.path.join(self.folder, str(self.count)))
        return "250 kept"
