//! Self-signed CA certificates, written by rcgen.

use super::key::PrivateKey;
use super::signer::Signer;
use crate::env::Rng;
use crate::model::{Cidr, Host, Time};

/// The life of a certificate; both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: Time,
    /// The last second.
    pub not_after: Time,
}

/// What a CA certificate may vouch for (RFC 5280, 4.2.1.10); everything else of the same kind is excluded.
#[derive(Debug, Clone, Copy, Default)]
pub struct NameConstraints<'a> {
    /// Addresses, and DNS names with everything below them.
    pub hosts: &'a [Host],
    /// Networks.
    pub networks: &'a [Cidr],
}

/// What a CA certificate says.
#[derive(Debug, Clone, Copy)]
pub struct CaSpec<'a> {
    /// The subject, which is unique to the generation: `kubernetes-ca-g2`.
    pub common_name: &'a str,
    /// Its life.
    pub validity: Validity,
    /// Written only if asked for: a node added later may have another name.
    pub name_constraints: Option<NameConstraints<'a>>,
}

/// Issues a self-signed CA certificate and returns its DER. It has a random serial of 128 bits, basic
/// constraints CA:TRUE without a path length (a path length would forbid a later cross-signing), key usage
/// exactly keyCertSign and cRLSign (kops insists), both key identifiers, and nothing else: no SAN, no EKU.
pub fn issue_ca(key: &PrivateKey, spec: &CaSpec, rng: &mut Rng) -> Vec<u8> {
    let serial = serial(rng);
    let signer = Signer::new(key, rng);
    let mut params = params(spec.common_name, spec.validity, signer.key_identifier());
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.name_constraints = spec.name_constraints.as_ref().map(constraints);
    let certificate = params.self_signed(&signer).expect("rcgen writes what has a serial and plain names");
    certificate.der().to_vec()
}

/// The parameters of a certificate or request with one CN. `CertificateParams::default()` is valid from 1975
/// to 4096 and says "rcgen self signed cert", so both are replaced in the only place that calls it.
pub(super) fn params(common_name: &str, validity: Validity, key_identifier: Vec<u8>) -> rcgen::CertificateParams {
    let mut distinguished_name = rcgen::DistinguishedName::new();
    distinguished_name.push(rcgen::DnType::CommonName, rcgen::DnValue::Utf8String(common_name.to_owned()));
    let mut params = rcgen::CertificateParams::default();
    params.not_before = validity.not_before.calendar();
    params.not_after = validity.not_after.calendar();
    params.distinguished_name = distinguished_name;
    params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(key_identifier);
    params
}

fn constraints(wanted: &NameConstraints) -> rcgen::NameConstraints {
    use rcgen::{CidrSubnet, GeneralSubtree};
    let host = |host: &Host| match host {
        Host::Dns(name) => GeneralSubtree::DnsName(name.strip_prefix("*.").unwrap_or(name).to_owned()),
        Host::Ip(ip) => {
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*ip, if ip.is_ipv4() { 32 } else { 128 }))
        }
    };
    let network = |cidr: &Cidr| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(cidr.network, cidr.prefix));
    let permitted = wanted.hosts.iter().map(host).chain(wanted.networks.iter().map(network));
    rcgen::NameConstraints { permitted_subtrees: permitted.collect(), excluded_subtrees: Vec::new() }
}

/// A serial of 16 octets from the generator. The first is 1 to 127, so that DER neither adds an octet nor
/// drops one and every serial has 32 hex digits (FORMAT 2); a bit and a little of chance is what that costs.
pub(super) fn serial(rng: &mut Rng) -> [u8; 16] {
    loop {
        let mut serial = rng.bytes::<16>();
        serial[0] &= 0x7f;
        if serial[0] != 0 {
            return serial;
        }
    }
}
