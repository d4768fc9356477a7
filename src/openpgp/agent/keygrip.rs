//! Keygrips: the names that gpg-agent knows keys by, a SHA-1 over the public key in libgcrypt's notation.
//!
//! Only a name: nothing trusts it. RSA and the curves that gpg's keys use have one here; the algorithms that RFC
//! 9580 and RFC 9980 brought have none that an agent would know, so such keys are "not held".

use std::fmt::Write as _;

use sequoia_openpgp::crypto::mpi::PublicKey;
use sequoia_openpgp::types::Curve;
use sha1::{Digest as _, Sha1};

/// The keygrip of `key` in upper-case hex, or `None` if there is none.
pub(super) fn of(key: &PublicKey) -> Option<String> {
    let mut hash = Sha1::new();
    match key {
        PublicKey::RSA { n, .. } => {
            // libgcrypt writes the modulus as a signed number; its highest bit is set, so a zero stands before it.
            hash.update([0]);
            hash.update(n.value());
        }
        PublicKey::EdDSA { curve, q } | PublicKey::ECDSA { curve, q } | PublicKey::ECDH { curve, q, .. } => {
            let [p, a, b, g, n] = domain(curve)?;
            // The native encoding's marker is not part of the point.
            let native = matches!(curve, Curve::Ed25519 | Curve::Cv25519);
            let point = if native { q.value().strip_prefix(&[0x40])? } else { q.value() };
            let parts =
                [("p", from_hex(p)), ("a", from_hex(a)), ("b", from_hex(b)), ("g", from_hex(g)), ("n", from_hex(n))];
            for (name, value) in parts {
                update(&mut hash, name, &value);
            }
            update(&mut hash, "q", point);
        }
        _ => return None,
    }
    let digest = hash.finalize();
    Some(digest.iter().fold(String::with_capacity(40), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    }))
}

fn update(hash: &mut Sha1, name: &str, value: &[u8]) {
    hash.update(format!("(1:{name}{}:", value.len()));
    hash.update(value);
    hash.update(")");
}

/// p, a, b, base point and order of a curve, as libgcrypt writes them (its `cipher/ecc-curves.c`; the values are
/// those of FIPS 186, RFC 8032 and RFC 7748).
fn domain(curve: &Curve) -> Option<[&'static str; 5]> {
    Some(match curve {
        Curve::NistP256 => [
            "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
            "ffffffff00000001000000000000000000000000fffffffffffffffffffffffc",
            "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
            "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e16\
             2bce33576b315ececbb6406837bf51f5",
            "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
        ],
        Curve::NistP384 => [
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000fffffffc",
            "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
            "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7\
             3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
            "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
        ],
        Curve::NistP521 => [
            "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
             ffffffffffffffffffffffffffffffffff",
            "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
             fffffffffffffffffffffffffffffffffc",
            "51953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf07\
             3573df883d2c34f1ef451fd46b503f00",
            "0400c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ff\
             a8de3348b3c1856a429bf97e7e31c2e5bd66011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd1727\
             3e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650",
            "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5\
             d03bb5c9b8899c47aebb6fb71e91386409",
        ],
        Curve::Ed25519 => [
            "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed",
            "01",
            "2dfc9311d490018c7338bf8688861767ff8ff5b2bebe27548a14b235eca6874a",
            "04216936d3cd6e53fec0a4e231fdd6dc5c692cc7609525a7b2c9562d608f25d51a66666666666666666666666666666666\
             66666666666666666666666666666658",
            "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed",
        ],
        Curve::Cv25519 => [
            "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed",
            "01db41",
            "01",
            "04000000000000000000000000000000000000000000000000000000000000000920ae19a1b8a086b4e01edd2c7748d14c\
             923d4d7e6d7c61b229e9c5a27eced3d9",
            "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed",
        ],
        _ => return None,
    })
}

fn from_hex(digits: &str) -> Vec<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0);
    digits.as_bytes().chunks_exact(2).map(|two| (value(two[0]) << 4 | value(two[1])).to_be_bytes()[3]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sequoia_openpgp::parse::Parse as _;

    #[test]
    fn the_keygrip_of_a_known_key_is_the_agents() {
        // Sequoia's public example key, and the keygrip that its documentation gives for it.
        let key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n\
            xjMEWlNvABYJKwYBBAHaRw8BAQdA+EC2pvebpEbzPA9YplVgVXzkIG5eK+7wEAez\nlcBgLJrNMVRlc3R5IE1jVGVzdGZhY2UgKG15IG5ldyBrZXkpIDx0ZXN0eUBleGFt\n\
            cGxlLm9yZz7CkAQTFggAOBYhBDnRAKtn1b2MBAECBfs3UfFYfa7xBQJaU28AAhsD\nBQsJCAcCBhUICQoLAgQWAgMBAh4BAheAAAoJEPs3UfFYfa7xJHQBAO4/GABMWUcJ\n\
            5D/DZ9b+6YiFnysSjCT/gILJgxMgl7uoAPwJherI1pAAh49RnPHBR1IkWDtwzX65\nCJG8sDyO2FhzDg==\n-----END PGP PUBLIC KEY BLOCK-----\n";
        let cert = sequoia_openpgp::Cert::from_bytes(key.as_bytes()).unwrap();
        assert_eq!(of(cert.primary_key().key().mpis()).unwrap(), "DD143ABA8D1D7D09875D6209E01BCF020788FF77");
    }
}
