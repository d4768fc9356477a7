//! cluster.toml: what parses names no node twice, gives each its certificates, and holds only values that read back.
#![no_main]

use std::collections::BTreeSet;

use kluis::model::{Cidr, ClusterConfig, Endpoint, Host};
use kluis::pki::{organizations, subject_alt_names};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(config) = ClusterConfig::parse(text) else { return };
    let names: BTreeSet<_> = config.nodes.iter().map(|node| &node.name).collect();
    assert_eq!(names.len(), config.nodes.len());
    for node in &config.nodes {
        let profiles: Vec<_> = node.profiles(config.distribution).collect();
        assert_eq!(profiles.is_empty(), config.distribution.makes_leaves());
        for profile in profiles {
            let sans = subject_alt_names(profile, node, &config);
            assert_eq!(sans.iter().collect::<BTreeSet<_>>().len(), sans.len());
            assert!(sans.iter().all(|host| Host::parse(&host.to_string()).as_ref() == Ok(host)));
            organizations(profile, &config);
        }
    }
    assert_eq!(Endpoint::parse(config.endpoint.as_str()).as_ref(), Ok(&config.endpoint));
    for cidr in &config.service_cidrs {
        assert_eq!(Cidr::parse(&cidr.to_string()).as_ref(), Ok(cidr));
        assert_ne!(cidr.first(), cidr.network);
    }
});
