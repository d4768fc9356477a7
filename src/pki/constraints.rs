//! Name constraints of a CA (RFC 5280, 4.2.1.10): which names are valid in the certificates below it.

use super::seen::{SeenName, context, general_name, next};
use crate::model::Host;

/// The name constraints of a CA certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenNameConstraints {
    /// Names of a kind that stands here have to be below one of them.
    pub permitted: Vec<SeenName>,
    /// Names may not be below any of them.
    pub excluded: Vec<SeenName>,
}

impl SeenNameConstraints {
    /// Reads the content of the extension's sequence; what it does not understand it leaves out.
    pub(super) fn read(mut inside: &[u8]) -> Self {
        let mut read = Self::default();
        while let Some(list) = next(&mut inside) {
            let mut subtrees = list.value();
            while let Some(subtree) = next(&mut subtrees) {
                let Some(base) = next(&mut subtree.value()).map(|base| general_name(&base)) else { continue };
                match context(&list) {
                    Some(0) => read.permitted.push(base),
                    _ => read.excluded.push(base),
                }
            }
        }
        read
    }

    /// Reads the value of the extension; what it does not understand it leaves out.
    pub(super) fn of_extension(mut value: &[u8]) -> Self {
        next(&mut value).map(|list| Self::read(list.value())).unwrap_or_default()
    }

    /// Whether a certificate below the CA may have `name`.
    pub fn permits(&self, name: &SeenName) -> bool {
        let same_kind = |base: &&SeenName| std::mem::discriminant(*base) == std::mem::discriminant(name);
        let mut permitted = self.permitted.iter().filter(same_kind).peekable();
        let is_permitted = permitted.peek().is_none() || permitted.any(|base| is_below(name, base));
        is_permitted && !self.excluded.iter().any(|base| is_below(name, base))
    }
}

impl From<&Host> for SeenName {
    fn from(host: &Host) -> Self {
        match host {
            Host::Dns(name) => Self::Dns(name.clone()),
            Host::Ip(std::net::IpAddr::V4(ip)) => Self::Ip(ip.octets().to_vec()),
            Host::Ip(std::net::IpAddr::V6(ip)) => Self::Ip(ip.octets().to_vec()),
        }
    }
}

/// A DNS name is below another that it ends with; an address is in its network.
fn is_below(name: &SeenName, base: &SeenName) -> bool {
    match (name, base) {
        (SeenName::Dns(name), SeenName::Dns(base)) => {
            let (name, base) = (name.to_ascii_lowercase(), base.trim_start_matches('.').to_ascii_lowercase());
            base.is_empty() || name == base || name.strip_suffix(&base).is_some_and(|rest| rest.ends_with('.'))
        }
        (SeenName::Ip(ip), SeenName::Ip(network)) if network.len() == 2 * ip.len() => {
            let (network, mask) = network.split_at(ip.len());
            ip.iter().zip(network).zip(mask).all(|((ip, network), mask)| ip & mask == network & mask)
        }
        _ => false,
    }
}
