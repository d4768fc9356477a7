//! cluster.toml: what parses names no node twice, and gives each its certificates.
#![no_main]

use std::collections::BTreeSet;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(config) = kluis::model::ClusterConfig::parse(text) {
        let names: BTreeSet<_> = config.nodes.iter().map(|node| &node.name).collect();
        assert_eq!(names.len(), config.nodes.len());
        assert!(config.nodes.iter().all(|node| node.profiles().count() > 0));
    }
});
