"""Images in containerd's stores: lists, imports from a tar archive, removes, and unpacks them for new containers.

A blob is kept only while something refers to it: labels "containerd.io/gc.ref.content.*" from the blob above it, the
image's record at the top, and a lease while they are created. A snapshot's name is its chain id. Source: OCI
image-spec, config.md, "Layer ChainID"; containerd docs/garbage-collection.md.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from runtime.engines.containerd import translate
from runtime.engines.containerd.client import ContainerdClient
from runtime.engines.containerd.proto import containerd_pb2 as pb
from runtime.errors import ConflictError, EngineError, NotFoundError, UnsupportedError
from runtime.model import Image

UPLOAD_CHUNK_BYTES: Final = 1 << 20
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_MACHINES: Final[Mapping[str, str]] = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
_LEASE_EXPIRY_LABEL: Final = "containerd.io/gc.expire"
MAX_LEASE_TIME: Final = datetime.timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class UnpackedImage:
    """An image with unpacked layers: its full name, its configuration, the snapshot of its layers ("" for none)."""

    name: str
    config: Mapping[str, Any]
    snapshot: str


class ContainerdImages:
    """The images of one namespace."""

    def __init__(self, client: ContainerdClient, namespace: str, snapshotter: str) -> None:
        self._client = client
        self._namespace = namespace
        self._snapshotter = snapshotter

    async def list(self) -> list[Image]:
        title = "list containerd's images"
        answer = await self._client.call(
            "images.v1.Images/List", pb.ListImagesRequest(), pb.ListImagesResponse, title, namespace=self._namespace
        )
        return translate.images(answer.images)

    async def remove(self, name: str) -> None:
        image = await self.get(name, f"remove the image {name}")
        request = pb.DeleteImageRequest(name=image.name, sync=True)
        await self._client.tell(
            "images.v1.Images/Delete", request, f"remove the image {name}", namespace=self._namespace
        )

    async def get(self, name: str, title: str) -> pb.Image:
        """Get an image by its full name or by the short name of a Docker Hub image. Raises `NotFoundError`."""
        for candidate in _names(name):
            try:
                answer = await self._client.call(
                    "images.v1.Images/Get",
                    pb.GetImageRequest(name=candidate),
                    pb.ImageMessage,
                    title,
                    namespace=self._namespace,
                )
            except NotFoundError:
                continue
            return answer.image
        raise NotFoundError(
            title,
            detail=f"there is no image {name} in the namespace {self._namespace}",
            hint=f"ctr -n {self._namespace} images pull NAME brings one, with its registry in the name",
        )

    async def make(self, name: str, rootfs: bytes) -> Image:
        """Create an image of one layer."""
        title = f"import the image {name}"
        layer = _descriptor(_LAYER, rootfs)
        architecture = _MACHINES.get(platform.machine(), platform.machine())
        config = {
            "architecture": architecture,
            "os": "linux",
            "created": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        }
        config_blob = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config_blob),
            "layers": [layer],
        }
        manifest_blob = json.dumps(manifest).encode()
        target = _descriptor(_MANIFEST, manifest_blob)
        refers = {
            "containerd.io/gc.ref.content.config": manifest["config"]["digest"],  # type: ignore[index]
            "containerd.io/gc.ref.content.l.0": layer["digest"],
        }
        async with self.lease(title) as lease:
            await self._write(rootfs, {}, title, lease)
            await self._write(config_blob, {}, title, lease)
            await self._write(manifest_blob, refers, title, lease)
            entry = pb.Image(name=name, target=_message(target))
            try:
                return await self._record("Create", entry, title, lease)
            except ConflictError:  # the name exists: it is moved to this image
                return await self._record("Update", entry, title, lease)

    async def _record(self, verb: str, entry: pb.Image, title: str, lease: str) -> Image:
        answer = await self._client.call(
            f"images.v1.Images/{verb}",
            pb.ImageMessage(image=entry),
            pb.ImageMessage,
            title,
            namespace=self._namespace,
            lease=lease,
        )
        return translate.image(answer.image)

    async def unpack(self, name: str) -> UnpackedImage:
        """Unpack the image's layers to snapshots, as far as these do not exist yet."""
        title = f"create a container of {name}"
        image = await self.get(name, title)
        manifest = await self._manifest(image.target.digest, title)
        config = await self._json(manifest["config"]["digest"], title)
        layers = list(zip(manifest["layers"], chain_ids(config["rootfs"]["diff_ids"]), strict=True))
        top = layers[-1][1] if layers else ""
        if top and not await self._has_snapshot(top, title):
            async with self.lease(title) as lease:
                parent = ""
                for layer, chain in layers:
                    if not await self._has_snapshot(chain, title):
                        await self._apply(layer, parent, chain, title, lease)
                    parent = chain
                await self._refer(manifest["config"]["digest"], top, title, lease)
        return UnpackedImage(image.name, config.get("config") or {}, top)

    async def _has_snapshot(self, key: str, title: str) -> bool:
        request = pb.SnapshotRequest(snapshotter=self._snapshotter, key=key)
        return await self._knows("snapshots.v1.Snapshots/Stat", request, title)

    async def _manifest(self, digest: str, title: str) -> Mapping[str, Any]:
        """The manifest for this machine's architecture; an index has one for each architecture."""
        document = await self._json(digest, title)
        if "manifests" not in document:
            return document
        machine = _MACHINES.get(platform.machine(), platform.machine())
        for entry in document["manifests"]:
            where = entry.get("platform") or {}
            if where.get("os", "linux") == "linux" and where.get("architecture", machine) == machine:
                return await self._manifest(entry["digest"], title)
        raise UnsupportedError(title, detail=f"the image is not made for linux/{machine}")

    async def _json(self, digest: str, title: str) -> dict[str, Any]:
        request, pieces = pb.DigestRequest(digest=digest), []
        async for answer in self._client.stream(
            "content.v1.Content/Read", request, pb.ReadContentResponse, title, namespace=self._namespace
        ):
            pieces.append(answer.data)
        try:
            document = json.loads(b"".join(pieces))
        except ValueError as error:
            raise EngineError(title, detail=f"the blob {digest} is not JSON") from error
        return dict(document)

    async def _write(self, data: bytes, labels: Mapping[str, str], title: str, lease: str) -> None:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        reference = f"pytop-{secrets.token_hex(8)}"

        if await self._knows("content.v1.Content/Info", pb.DigestRequest(digest=digest), title):
            return
        same = {"ref": reference, "total": len(data), "expected": digest}
        pieces = [
            pb.WriteContentRequest(action=pb.WRITE, offset=start, data=data[start : start + UPLOAD_CHUNK_BYTES], **same)  # type: ignore[arg-type]
            for start in range(0, len(data), UPLOAD_CHUNK_BYTES)
        ]
        end = pb.WriteContentRequest(action=pb.COMMIT, offset=len(data), labels=labels, **same)  # type: ignore[arg-type]
        await self._client.upload(
            "content.v1.Content/Write",
            [*pieces, end],
            pb.WriteContentResponse,
            title,
            namespace=self._namespace,
            lease=lease,
        )

    async def _knows(self, path: str, request: Message, title: str) -> bool:
        try:
            await self._client.tell(path, request, title, namespace=self._namespace)
        except NotFoundError:
            return False
        return True

    async def _apply(self, layer: Mapping[str, Any], parent: str, chain: str, title: str, lease: str) -> None:
        key = f"pytop-{secrets.token_hex(8)} {chain}"
        space = self._namespace
        path = "snapshots.v1.Snapshots"
        request = pb.SnapshotRequest(snapshotter=self._snapshotter, key=key, parent=parent)
        prepared = await self._client.call(
            f"{path}/Prepare", request, pb.MountsResponse, title, namespace=space, lease=lease
        )
        committed = False
        try:
            wanted = pb.ApplyRequest(diff=_message(layer), mounts=prepared.mounts)
            await self._client.call(
                "diff.v1.Diff/Apply", wanted, pb.ApplyResponse, title, namespace=space, lease=lease, timeout=None
            )
            commit = pb.CommitSnapshotRequest(snapshotter=self._snapshotter, name=chain, key=key)
            await self._client.tell(f"{path}/Commit", commit, title, namespace=space, lease=lease)
            committed = True
        except ConflictError:  # another client has committed the same snapshot meanwhile
            pass
        finally:
            if not committed:
                await self._client.tell(f"{path}/Remove", request, title, namespace=space, lease=lease)

    async def _refer(self, config: str, snapshot: str, title: str, lease: str) -> None:
        """Add a reference from the configuration to the snapshot, so that it is kept as long as the image."""
        label = f"containerd.io/gc.ref.snapshot.{self._snapshotter}"
        request = pb.UpdateContentRequest(info=pb.ContentInfo(digest=config, labels={label: snapshot}))
        request.update_mask.paths.append(f"labels.{label}")
        await self._client.tell("content.v1.Content/Update", request, title, namespace=self._namespace, lease=lease)

    @asynccontextmanager
    async def lease(self, title: str) -> AsyncIterator[str]:
        """A lease: what is created during the block is not garbage collected."""
        name = f"pytop-{secrets.token_hex(8)}"
        until = datetime.datetime.now(datetime.UTC) + MAX_LEASE_TIME  # if this program is killed meanwhile
        request = pb.CreateLeaseRequest(id=name, labels={_LEASE_EXPIRY_LABEL: f"{until:%Y-%m-%dT%H:%M:%SZ}"})
        await self._client.tell("leases.v1.Leases/Create", request, title, namespace=self._namespace)
        try:
            yield name
        finally:
            await self._client.tell("leases.v1.Leases/Delete", pb.IdRequest(id=name), title, namespace=self._namespace)


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The chain id of each layer: the name of the snapshot with it and all layers below."""
    ids: list[str] = []
    for diff in diff_ids:
        ids.append("sha256:" + hashlib.sha256(f"{ids[-1]} {diff}".encode()).hexdigest() if ids else diff)
    return ids


def _descriptor(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}


def _message(descriptor: Mapping[str, Any]) -> pb.Descriptor:
    return pb.Descriptor(media_type=descriptor["mediaType"], digest=descriptor["digest"], size=descriptor["size"])


def _names(name: str) -> list[str]:
    """The name itself, and Docker Hub's full name if it has no registry: "docker.io/library/busybox:latest"."""
    first, slash, _ = name.partition("/")
    tagged = name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
    if slash and ("." in first or ":" in first or first == "localhost"):
        return [name, tagged]
    return list(dict.fromkeys((name, tagged, f"docker.io/{tagged}" if slash else f"docker.io/library/{tagged}")))
