"""Content credentials (C2PA) for test images, signed and read by the tool that others use."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from functools import cache

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

MIMES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
_GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_MANIFEST = {
    "claim_generator_info": [{"name": "a provider", "version": "1"}],
    "assertions": [
        {
            "label": "c2pa.actions",
            "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": _GENERATED}]},
        }
    ],
}


def signed(content: bytes, kind: str, *, manifest_at: str | None = None) -> bytes:
    """*content* with a manifest in it; or, where an address is given, with that address alone."""
    builder = c2pa.Builder(json.dumps(_MANIFEST))
    if manifest_at is not None:
        builder.set_remote_url(manifest_at)
        builder.set_no_embed()
    out = io.BytesIO()
    builder.sign(_signer(), MIMES[kind], io.BytesIO(content), out)
    return out.getvalue()


def validation(content: bytes, kind: str) -> str:
    """`Valid` or `Invalid`, as the reader says."""
    reader = c2pa.Reader(MIMES[kind], io.BytesIO(content))
    state: str = json.loads(reader.json())["validation_state"]
    return state


@cache
def _signer() -> c2pa.Signer:
    """A certificate of an authority that nobody trusts: signatures are valid all the same."""
    authority, key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    chain = [
        _certificate("signer", key, authority),
        _certificate("authority", authority, authority),
    ]
    pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return c2pa.Signer.from_info(
        c2pa.C2paSignerInfo(alg=b"es256", sign_cert=pem, private_key=private, ta_url=None)
    )


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    is_authority, now = key is issuer, datetime.now(UTC)
    use = dict.fromkeys(
        (
            "content_commitment", "crl_sign", "data_encipherment", "decipher_only",
            "digital_signature", "encipher_only", "key_agreement", "key_cert_sign",
            "key_encipherment",
        ),
        False,
    )  # fmt: skip
    use["key_cert_sign" if is_authority else "digital_signature"] = True
    use["crl_sign"] = is_authority
    made = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named("authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**use), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False
        )
    )
    if not is_authority:
        mail = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        made = made.add_extension(mail, critical=False)
    return made.sign(issuer, hashes.SHA256())


def _named(name: str) -> x509.Name:
    parts = ((NameOID.COMMON_NAME, name), (NameOID.ORGANIZATION_NAME, "tests"))
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])
