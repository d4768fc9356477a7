//! X.509: keys, authorities and leaf certificates, requests, their PEM, and the judgement of what a
//! certificate says. Pure: bytes in, bytes or facts out; time and random numbers are arguments.
//!
//! The one module that names rcgen, x509-cert, rsa, p256 and p384. It must not know trust (who may issue
//! what), files, or OpenPGP.
//!
//! Two writers, for one reason: rcgen writes the self-signed certificates and the requests (`authority`,
//! `request`), but its distinguished names hold one value a type. It can neither write two O's nor repeat
//! an imported authority's name byte for byte, so leaves are put together here from DER (`leaf`).

mod authority;
mod check;
mod constraints;
mod desired;
mod encode;
mod error;
mod facts;
mod given;
#[cfg(test)]
mod golden;
mod halves;
mod key;
mod kind;
mod leaf;
mod material;
mod name;
mod pem;
mod request;
mod seen;
mod signature;
mod signer;
mod wrap;

pub use authority::{CaSpec, NameConstraints, Validity, issue_ca};
pub use check::{check_issued_by, check_leaf};
pub use constraints::SeenNameConstraints;
pub use desired::{organizations, subject_alt_names};
pub use error::PkiError;
pub use facts::{ExtensionFacts, Facts, not_after};
pub use given::{Given, GivenError, adoptable_authority};
pub use halves::SeenKey;
pub use key::PrivateKey;
pub use kind::{KeyKind, SignatureKind};
pub use leaf::{LeafSpec, check_names, issue_leaf};
pub use material::Material;
pub use pem::{
    certificate_pem, count_pem_blocks, holds_private_key, parse_pem, parse_secret_pem, pem_blocks, public_pem,
    service_account_public,
};
pub use request::{CsrFacts, build_csr, check_csr_pop, parse_given_csr, read_csr};
pub use seen::{Seen, SeenConstraints, SeenKeyUsage, SeenName, SeenUsages};
pub use signature::spki_strength;
pub use wrap::{WrapSpec, wrap};
