"""What servers of scenes share: their files, and what can be wrong with them."""

import struct
import urllib.parse
import zlib

from servers import blobs, scene_faults
from servers.answers import RefusedError
from servers.blobs import Blob
from servers.listening import LocalServer


class SceneServer(LocalServer):
    """A server of scenes (imagery.py) and of the files of their bands."""

    kinds = scene_faults.KINDS
    usual = "asset"
    reach = {  # noqa: RUF012
        "page": ("search", "items"),
        "document": ("search", "items", "item", "static"),
        "file": ("asset",),
    }

    def __init__(self, scenes, *, ranges=True):
        super().__init__()
        self.ranges = ranges
        self.scenes, self.blobs = [], {}
        self.aliases, self.shown = {}, []
        """Other ids of scenes; the features that searches have shown."""
        for scene in scenes:
            self.add(scene)

    # ----------------------------------------------------------------- scenes
    def add(self, scene):
        """One more scene in the catalogue, also while it is being asked."""
        held = {self.asset_path(scene, band): Blob(path) for band, path in scene.files.items()}
        held[self.asset_path(scene, "thumbnail", ".png")] = Blob(THUMBNAIL)
        with self.lock:
            self.scenes.append(scene)
            self.blobs |= held

    def scene(self, id, collection=None):
        """The scene of this id, or None."""
        id = self.aliases.get(id, id)
        fits = [s for s in self.scenes if s.id == id and collection in (None, s.collection)]
        return fits[0] if fits else None

    def asset_path(self, scene, band, suffix=".tif"):
        """Path below which a file is served."""
        raise NotImplementedError

    def blob(self, id, band):
        """The file of a band, with `content`, `size` and `multihash`."""
        return self.blobs[self.asset_path(self.scene(id), band)]

    def href(self, id, band):
        """The address of a file, without any signature or token."""
        return self.url + self.asset_path(self.scene(id), band)

    def spoil(self, id, band, name, **options):
        """Let a fault of files (zeros, wrong_crs ...) be in the file from the beginning, so that
        the size and the checksum that the item tells are those of the bad file."""
        blob = self.blob(id, band)
        stage, function = self.kinds[name]
        if stage != "file":
            raise ValueError(f"{name} is no fault of files")
        self.blobs[self.asset_path(self.scene(id), band)] = Blob(
            function(self, blob.content, **options)
        )

    # ----------------------------------------------------------------- answering
    def document(self, request, content):
        """A document of features, with what is wrong about it."""
        fault = self.take(request, late=True)
        if fault:
            fault.strike(self, request, content)
        if request.endpoint == "search":
            listed = [f for features in scene_faults.feature_lists(content) for f in features]
            with self.lock:
                self.shown.extend(listed)
        return content

    def authorize(self, request):
        """Refuse a request for a file that has no right to it."""

    def _asset(self, request):
        if request.method not in ("GET", "HEAD"):
            raise RefusedError(405, "Method Not Allowed", headers={"Allow": "GET, HEAD"})
        self.authorize(request)
        blob = self.blobs.get(urllib.parse.unquote(request.path))
        if blob is None:
            raise RefusedError(404, "The specified blob does not exist.")
        fault = self.take(request, late=True)
        content = fault.strike(self, blob.content) if fault else blob.content
        return blobs.answer(request, content, ranges=self.ranges)

    def loop(self, request, content):
        """Let a page of a search lead to itself."""
        raise NotImplementedError

    def revoke(self):
        """Let all rights that were given so far end."""


def _png():
    """A picture of one grey pixel."""
    found = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0\x80")), (b"IEND", b"")):
        found += struct.pack(">I", len(data)) + name + data
        found += struct.pack(">I", zlib.crc32(name + data))
    return found


THUMBNAIL = _png()
