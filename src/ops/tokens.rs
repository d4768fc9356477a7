//! Join secrets: what a machine shows to become a node, where the distribution has such a thing (FORMAT 9, `tokens`).
//! Makes them; where they lie in files is a layout's.

use zeroize::Zeroizing;

use crate::env::Rng;
use crate::model::Distribution;
use crate::seal::{KeyBody, SealedKey};
use crate::secret::Secret;

/// New join secrets for a cluster of this distribution, by name; none where it makes its own.
///
/// k3s and RKE2: `server` and `agent`. One would do for both, and that is their default; but whoever has the server's can
/// join as a server, and opens with it the copy of all CA keys in the datastore (kubernetes-pki B.1). So workers get one that
/// is good for workers alone. Talos: `bootstrap` and `trustd` in the form of a kubeadm token, and 32 bytes each for
/// `cluster-id` and `cluster-secret` (B.3).
pub(super) fn make(distribution: Distribution, rng: &mut Rng) -> Vec<SealedKey> {
    let made: Vec<(&str, Secret)> = match distribution {
        Distribution::K3s | Distribution::Rke2 => vec![("agent", hex(rng)), ("server", hex(rng))],
        Distribution::Talos => vec![
            ("bootstrap", join_token(rng)),
            ("cluster-id", random(rng)),
            ("cluster-secret", random(rng)),
            ("trustd", join_token(rng)),
        ],
        Distribution::Kubeadm | Distribution::K0s => Vec::new(),
    };
    let sealed = |(name, bytes): (&str, Secret), rng: &mut Rng| {
        SealedKey::new(name, KeyBody::Symmetric { salt: rng.bytes(), bytes })
    };
    made.into_iter().map(|one| sealed(one, rng)).collect()
}

fn random(rng: &mut Rng) -> Secret {
    Secret::new(Zeroizing::new(rng.bytes::<32>()).to_vec())
}

/// 128 bits in hex, as k3s makes its own.
fn hex(rng: &mut Rng) -> Secret {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bytes = Zeroizing::new(rng.bytes::<16>());
    let digit = |nibble: u8| DIGITS[usize::from(nibble)];
    Secret::new(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
}

/// `abcdef.0123456789abcdef`: 22 characters of 36, every one as likely as any other.
fn join_token(rng: &mut Rng) -> Secret {
    const CHARACTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    // 252 is the last multiple of 36 in an octet: what is above would make some characters likelier.
    let mut text = Zeroizing::new(Vec::with_capacity(23));
    while text.len() < 23 {
        if text.len() == 6 {
            text.push(b'.');
        }
        let [octet] = rng.bytes::<1>();
        if octet < 252 {
            text.push(CHARACTERS[usize::from(octet % 36)]);
        }
    }
    Secret::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn talos_tokens_have_the_form_that_kubeadm_gave_them() {
        for seed in 0..32 {
            let token = join_token(&mut Rng::seeded([seed; 32]));
            let text = std::str::from_utf8(token.expose()).unwrap().to_owned();
            let (id, secret) = text.split_once('.').unwrap();
            assert_eq!((id.len(), secret.len()), (6, 16), "{text}");
            assert!(id.bytes().chain(secret.bytes()).all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()), "{text}");
        }
    }

    #[test]
    fn every_distribution_with_tokens_has_names_for_them_in_order() {
        for distribution in Distribution::ALL {
            let made = make(distribution, &mut Rng::system());
            let has = distribution.keysets().contains(&crate::model::Keyset::Tokens);
            assert_eq!(!made.is_empty(), has, "{distribution}");
            assert!(made.windows(2).all(|two| two[0].name < two[1].name), "{distribution}");
        }
        let k3s = make(Distribution::K3s, &mut Rng::system());
        for token in &k3s {
            let KeyBody::Symmetric { bytes, .. } = token.body() else { panic!("a token is no key pair") };
            assert_eq!(bytes.len(), 32);
        }
    }
}
