//! Where pkilint has the same rule as kluis, both find the same certificates, and neither finds the good one beside them.

#[path = "../programs/mod.rs"]
mod programs;

use std::process::Command;

use crate::pki::{AUTHORITY, CA, CLIENT, LEAF, Make, Pki, server};

/// The findings of pkilint from WARNING on: `pkix.name_empty`.
fn theirs(pki: &Pki, place: &str) -> Vec<String> {
    let mut pkilint = Command::new(programs::lint_pkix_cert());
    let output = pkilint.args(["lint", "-s", "WARNING", "-f", "JSON"]).arg(pki.at(place)).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let results = report["results"].as_array().unwrap();
    let codes = results.iter().flat_map(|result| result["finding_descriptions"].as_array().unwrap());
    codes.map(|code| code["code"].as_str().unwrap().to_owned()).collect()
}

/// Both find the certificate at `place`: we by `rule`, they by `code`.
#[track_caller]
fn agree(pki: &Pki, place: &str, rule: &str, code: &str) {
    let ours = pki.found_in("", &[&pki.at(place)]);
    assert!(ours.iter().any(|found| found.starts_with(rule)), "{rule}: {ours:?}");
    let theirs = theirs(pki, place);
    assert!(theirs.iter().any(|found| found == code), "{rule}: {theirs:?}");
}

#[test]
fn pkilint_and_kluis_find_nothing_in_the_good_ones() {
    let pki = Pki::good();
    for place in ["pki/ca.crt", "pki/apiserver.crt", "pki/apiserver-kubelet-client.crt", "pki/etcd/peer.crt"] {
        let mut theirs = theirs(&pki, place);
        // It wants a dot in every name; `kubernetes` and `localhost` have none.
        theirs.retain(|code| {
            code != "pkix.invalid_domain_name_syntax" || !place.contains("server") && !place.contains("peer")
        });
        assert_eq!(theirs, Vec::<String>::new(), "{place}");
        assert!(pki.found_in("", &[&pki.at(place)]).is_empty(), "{place}");
    }
}

#[test]
fn pkilint_and_kluis_agree_on_cas() {
    let pki = Pki::good();
    for (rule, code, extensions) in [
        ("CA001", "pkix.basic_constraints_extension_not_critical", CA.replace("critical,CA", "CA")),
        ("CA002", "pkix.key_usage_extension_not_critical", CA.replace("critical,keyCertSign", "keyCertSign")),
        ("CA002", "pkix.ca_certificate_no_ku_extension", CA.replace("keyUsage=critical,keyCertSign,cRLSign\n", "")),
        ("CA002", "pkix.ca_certificate_keycertsign_keyusage_not_set", CA.replace("keyCertSign,", "")),
        ("CA008", "pkix.certificate_skid_ca_missing", CA.replace("Identifier=hash", "Identifier=none")),
    ] {
        pki.make("x", &Make { extensions: &extensions, ..AUTHORITY });
        agree(&pki, "x.crt", rule, code);
    }
    pki.openssl("req -x509 -key x.key -subj / -days 3000 -out x.crt -addext keyUsage=critical,keyCertSign,cRLSign");
    agree(&pki, "x.crt", "CA010", "pkix.name_empty");
}

#[test]
fn pkilint_and_kluis_agree_on_leaves() {
    let pki = Pki::good();
    let names = |names: &str| server(names);
    for (rule, code, extensions) in [
        (
            "LF008",
            "pkix.ee_certificate_keycertsign_keyusage_set",
            CLIENT.replace("digitalSignature", "digitalSignature,keyCertSign"),
        ),
        (
            "LF013",
            "pkix.authority_key_identifier_extension_absent",
            CLIENT.replace("Identifier=keyid", "Identifier=none"),
        ),
        (
            "KY018",
            "pkix.key_usage_value_prohibited_for_ec",
            CLIENT.replace("digitalSignature", "digitalSignature,keyEncipherment"),
        ),
        ("LF022", "pkix.invalid_domain_name_syntax", names("DNS:a.example.org.")),
        ("LF022", "pkix.invalid_domain_name_syntax", names("DNS:a.example.org:6443")),
        ("LF022", "pkix.invalid_domain_name_syntax", names("DNS:10.0.0.1")),
    ] {
        pki.make("x", &Make { subject: "/CN=x", extensions: &extensions, ..LEAF });
        agree(&pki, "x.crt", rule, code);
    }
    pki.write("ext", CLIENT);
    pki.openssl("req -new -key x.key -subj /CN=x -out request");
    for number in ["0", "-81985529216486895", "0x7F0102030405060708090A0B0C0D0E0F1011121314"] {
        let words =
            "x509 -req -in request -CA pki/ca.crt -CAkey pki/ca.key -days 300 -extfile ext -out x.crt -set_serial";
        pki.openssl(&format!("{words} {number}"));
        agree(&pki, "x.crt", "KY016", "pkix.certificate_serial_number_out_of_range");
    }
}
