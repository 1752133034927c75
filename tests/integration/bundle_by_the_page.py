"""Another verifier of bundles, written from docs/reference/audit-bundle.md alone: nothing of courante is imported."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Line = dict[str, Any]


def check(lines: Sequence[bytes], anchors: Sequence[bytes] = ()) -> int:
    """Return the number of events. Raises where something is not as the page says."""
    read: list[Line] = [json.loads(line) for line in lines]
    kept = {anchor["number"]: anchor for anchor in map(json.loads, anchors)}
    header = read[0]
    assert (header["line"], header["format"], header["version"]) == ("header", "courante.audit", 1)
    run, head, seq, count, proved = "", b"", 0, 0, 0
    ends: tuple[Any, Any] = (None, None)
    for line in read:
        match line["line"]:
            case "ir":
                assert blake(line["content"].encode(), 16) == line["hash"]
            case "run":
                run, head, seq, proved = line["run_id"], bytes(32), 0, 0
                ends = line.get("last_seq"), line.get("last_hash")
            case "content":
                assert blake(content(line, "content"), 16) == line["digest"]
            case "event":
                seq += 1
                assert line["seq"] == seq
                head, count = next_head(run, head, line), count + 1
            case "proof":
                root = climb(f"{header['env']}|{run}|{seq}|{head.hex()}".encode(), line)
                anchor = kept.get(line["anchor"])
                assert anchor is None or (line["size"], root) == (anchor["heads"], anchor["root"])
                proved = seq if anchor else proved
            case "head":
                assert (line["run_id"], line["seq"], line["hash"]) == (run, seq, head.hex())
                assert ends in ((None, None), (seq, head.hex()))
                assert not kept or proved == seq
            case _:
                pass
    close(lines, read, count)
    return count


def next_head(run: str, head: bytes, line: Line) -> bytes:
    facts, payload = content(line, "facts"), content(line, "payload")
    digest = bytes.fromhex(line.get("digest", ""))
    assert line["prev_hash"] == head.hex()
    assert not payload or blake(payload, 16) == line["digest"]
    place = f"{run}|{line['seq']}|{line['at']}|".encode()
    found = blake(head + place + len(facts).to_bytes(4, "big") + facts + digest, 32)
    assert found == line["hash"]
    return bytes.fromhex(found)


def close(lines: Sequence[bytes], read: Sequence[Line], count: int) -> None:
    """Trailer, and signature where there is one."""
    signature = read[-1] if read[-1]["line"] == "signature" else None
    place = len(lines) - (2 if signature else 1)
    trailer = read[place]
    assert (trailer["line"], trailer["lines"], trailer["events"]) == ("trailer", place, count)
    assert trailer["sha256"] == hashlib.sha256(b"".join(lines[:place])).hexdigest()
    if signature is not None:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature["key"]))
        key.verify(bytes.fromhex(signature["signature"]), lines[place].removesuffix(b"\n"))


def climb(leaf: bytes, proof: Line) -> str:
    """The root that a proof leads to, as RFC 9162 (section 2.1.3.2) has it."""
    found, at, last = hashlib.sha256(b"\x00" + leaf).digest(), proof["position"], proof["size"] - 1
    for beside in map(bytes.fromhex, proof.get("path", ())):
        assert last > 0
        if at % 2 or at == last:
            found = hashlib.sha256(b"\x01" + beside + found).digest()
            while not at % 2 and at:
                at, last = at // 2, last // 2
        else:
            found = hashlib.sha256(b"\x01" + found + beside).digest()
        at, last = at // 2, last // 2
    assert last == 0
    return found.hex()


def check_anchors(lines: Sequence[bytes]) -> None:
    """Lines of one environment, each without its end: they follow each other, and are signed by who says so."""
    before = bytes(32).hex()
    for number, line in enumerate(lines, start=1):
        read = json.loads(line)
        assert (read["format"], read["version"], read["number"]) == ("courante.anchor", 1, number)
        assert read["previous"] == before
        before = hashlib.sha256(line).hexdigest()
        if "signature" in read:
            signed = line.replace(f',"signature":"{read["signature"]}"'.encode(), b"")
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(read["key"])).verify(
                bytes.fromhex(read["signature"]), signed
            )


def content(line: Line, name: str) -> bytes:
    if f"{name}_base64" in line:
        return base64.b64decode(line[f"{name}_base64"])
    return str(line.get(name, "")).encode()


def blake(content: bytes, size: int) -> str:
    return hashlib.blake2b(content, digest_size=size).hexdigest()
