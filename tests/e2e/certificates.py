"""Certificates as an outsider sees them, and such as `sluice cert issue` would never make.

Built from docs/security.md alone: the authority's key is derived from the cluster key by HKDF.
"""

import base64
import datetime
import hashlib
import hmac
import re
import subprocess

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n(.*?)-----END CERTIFICATE-----\n", re.S)
# A time of a certificate: tag and length of a UTCTime (RFC 5280 section 4.1.2.5.1), then YYMMDDHHMMSSZ.
_UTC_TIME = re.compile(rb"\x17\x0d(\d{12}Z)")
# What stands behind the signed part: the algorithm, and the bit string that is the signature (RFC 8410).
_SIGNATURE_HEAD = bytes.fromhex("300506032b6570034100")
_SIGNATURE_SIZE = 64
# The head of a private key in PKCS #8 (RFC 8410 section 7); 32 bytes follow.
_PRIVATE_KEY_HEAD = bytes.fromhex("302e020100300506032b657004220420")


def _derive(secret, purpose):
    """32 bytes by HKDF-SHA256 without a salt (RFC 5869)."""
    extracted = hmac.digest(bytes(32), secret, hashlib.sha256)
    return hmac.digest(extracted, purpose + b"\x01", hashlib.sha256)


def _authority_key(key_file):
    line = next(line for line in key_file.read_text().splitlines() if line.startswith("sluice-key-1 "))
    return _derive(base64.b64decode(line.split()[1]), b"sluice authority 1")


def _sign(private_key, data, folder):
    key_path, data_path = folder / "signing.der", folder / "signed.bin"
    key_path.write_bytes(_PRIVATE_KEY_HEAD + private_key)
    data_path.write_bytes(data)
    command = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", key_path, "-keyform", "DER", "-in", data_path]
    try:
        return subprocess.run(command, capture_output=True, check=True).stdout
    finally:
        key_path.unlink()


def _pem(der):
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[at:at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def _length_size(der):
    """How many bytes the head of the outermost DER element has."""
    return 2 + (der[1] & 0x7f if der[1] & 0x80 else 0)


def redate(credential_file, key_file, not_before, not_after):
    """Gives the certificate of a credential file other dates, signed by the authority again."""
    text = credential_file.read_text()
    der = base64.b64decode(_CERTIFICATE.search(text)[1])
    times = iter([not_before, not_after])
    der = _UTC_TIME.sub(lambda _: b"\x17\x0d" + next(times).strftime("%y%m%d%H%M%SZ").encode(), der)
    head = der[:_length_size(der)]
    signed = der[len(head):-(_SIGNATURE_SIZE + len(_SIGNATURE_HEAD))]
    assert der[len(head) + len(signed):-_SIGNATURE_SIZE] == _SIGNATURE_HEAD
    signature = _sign(_authority_key(key_file), signed, credential_file.parent)
    assert len(signature) == _SIGNATURE_SIZE
    new = _pem(head + signed + _SIGNATURE_HEAD + signature)
    credential_file.write_text(_CERTIFICATE.sub(lambda _: new, text, count=1))


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def hours(count):
    return datetime.timedelta(hours=count)
