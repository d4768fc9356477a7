//! A kubeconfig of somebody's: what is added to it is there, everything else is as it was to another reader, and adding it
//! again changes nothing.
#![no_main]

use kluis::export::merge::{Access, Earlier, Login, merge};
use kluis::secret::Secret;
use serde_yaml_ng::Value;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let login = Login::Exec {
        command: "kluis".to_owned(),
        args: ["credential", "-c", "prod"].map(str::to_owned).to_vec(),
        hint: "install it".to_owned(),
    };
    let access = Access {
        context: "alice@prod",
        cluster: "prod",
        user: "alice@prod",
        server: "https://api.example.org:6443",
        authorities: b"ca",
        login: &login,
        earlier: Earlier { cluster: "prod", person: "alice", program: "kluis", authorities: &[] },
    };
    let existing = Secret::new(bytes.to_vec());
    let Ok(once) = merge(Some(&existing), &access, true) else { return };
    let Ok(again) = merge(Some(&once.content), &access, true) else { panic!("what was written is not read again") };
    assert!(again.content.expose() == once.content.expose());
    assert_eq!((once.current.as_deref(), again.previous.as_deref()), (Some("alice@prod"), Some("alice@prod")));
    let after: Value = serde_yaml_ng::from_slice(once.content.expose()).expect("what was written is YAML");
    let Ok(before) = serde_yaml_ng::from_slice::<Value>(bytes) else { return };
    let entries = |root: &Value, section: &str, own: &str| -> Vec<Value> {
        let all = root.get(section).and_then(Value::as_sequence).cloned().unwrap_or_default();
        all.into_iter().filter(|entry| entry.get("name").and_then(Value::as_str) != Some(own)).collect()
    };
    for (section, own) in [("clusters", "prod"), ("contexts", "alice@prod"), ("users", "alice@prod")] {
        assert!(entries(&before, section, own) == entries(&after, section, own), "{section}");
    }
    for (key, value) in before.as_mapping().into_iter().flatten() {
        let ours = ["clusters", "contexts", "users", "current-context"].iter().any(|own| key == own);
        assert!(ours || after.get(key) == Some(value));
    }
});
