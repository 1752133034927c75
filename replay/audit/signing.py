"""Signing: Ed25519 (RFC 8032) over trailers of bundles and lines of anchors. Keys are files in PEM.

The package ``cryptography`` comes with the extra ``encryption``, and is loaded only here and when it is needed.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ...sdk.errors import CouranteError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ALGORITHM = "ed25519"
KEY_FILE_BYTES_MAX = 65_536
_MAKE_HINT = "'courante audit keygen' makes one"
_GIVE_HINT = "give the FILE.pub that 'courante audit keygen' has made"


class KeyUnusable(CouranteError):
    """A key that cannot be read, is of another kind, or needs a package that is not there."""

    code = "key_unusable"


class Signer:
    """Signs with one private key. ``public``: the public one, 32 bytes as hex."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = _raw(key.public_key())

    @classmethod
    def read(cls, path: Path) -> Signer:
        """Raises KeyUnusable."""
        _needs_package()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        content = _content(path)
        try:
            key = load_pem_private_key(content, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            is_public = b"PUBLIC KEY" in content
            hint = "FILE signs, FILE.pub only checks" if is_public else _MAKE_HINT
            raise KeyUnusable(f"{path} holds no private key that can be read", hint=hint) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyUnusable(f"{path} holds a private key, but none of Ed25519", hint=_MAKE_HINT)
        return cls(key)

    def sign(self, content: bytes) -> str:
        """Return the signature, 64 bytes as hex."""
        return self._key.sign(content).hex()


def make_keys(private: Path, public: Path) -> str:
    """Write a new pair of keys; return the public one as hex. Raises KeyUnusable where one of the files is there."""
    _needs_package()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    shown = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    if public.exists():
        raise KeyUnusable(f"{public} is there already", hint="give another name")
    _write_new(private, secret, mode=0o600)
    _write_new(public, shown, mode=0o644)
    return _raw(key.public_key())


def read_public(path: Path) -> str:
    """Return the public key of a file, as hex; of a private key the one that belongs to it. Raises KeyUnusable."""
    _needs_package()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _content(path)
    if b"PRIVATE KEY" in content:
        return Signer.read(path).public
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnusable(f"{path} holds no public key", hint=_GIVE_HINT) from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnusable(f"{path} holds a public key, but none of Ed25519", hint=_GIVE_HINT)
    return _raw(key)


def is_signed(public: str, signature: str, content: bytes) -> bool:
    """Whether the signature is that of the content by this key; both as hex. Raises KeyUnusable without the package."""
    _needs_package()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _raw(key: Ed25519PublicKey) -> str:
    return key.public_bytes_raw().hex()


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(KEY_FILE_BYTES_MAX)
    except OSError as error:
        raise KeyUnusable(f"{path} cannot be read: {error.strerror}") from error


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except FileExistsError as error:
        raise KeyUnusable(f"{path} is there already", hint="give another name") from error
    except OSError as error:
        raise KeyUnusable(f"{path} cannot be written: {error.strerror}") from error


def _needs_package() -> None:
    if find_spec("cryptography") is None:
        raise KeyUnusable("signatures need the package cryptography", hint="pip install 'courante[encryption]'")
