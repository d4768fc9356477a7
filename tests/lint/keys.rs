//! KY001 to KY019, and RD001.

use crate::pki::{AUTHORITY, CLIENT, LEAF, Make, P256, Pki};
use crate::{breaks, breaks_with};

const KUBELET_CLIENT: Make<'_> = Make { subject: "/CN=kube-apiserver-kubelet-client", ..LEAF };

/// The API server's client certificate, made otherwise.
fn client(make: Make<'static>) -> impl Fn(&Pki) {
    move |pki| pki.make("pki/apiserver-kubelet-client", &make)
}

#[test]
fn ky001_ky002_and_ky003_sizes_and_curves() {
    let rsa = |bits| Make { key: Some(bits), ..KUBELET_CLIENT };
    breaks(&["KY001 error"], client(rsa("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024")));
    breaks(&[], client(rsa("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048")));
    let curve = |words| Make { key: Some(words), ..KUBELET_CLIENT };
    breaks(&["KY003 error"], client(curve("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1")));
    breaks(&[], client(curve("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521")));
    for (bits, rules) in [(2048, &["KY002 attention"][..]), (3072, &[])] {
        breaks(rules, |pki| {
            let key = format!("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:{bits}");
            pki.make("pki/front-proxy-ca", &Make { subject: "/CN=front-proxy-ca-g1", key: Some(&key), ..AUTHORITY });
            let make = Make { subject: "/CN=front-proxy-client", issuer: Some("pki/front-proxy-ca"), ..LEAF };
            pki.make("pki/front-proxy-client", &make);
        });
    }
}

#[test]
fn ky004_old_hashes() {
    breaks(&["KY004 error"], client(Make { words: "-md sha1", ..KUBELET_CLIENT }));
    breaks(&[], client(Make { words: "-md sha384", ..KUBELET_CLIENT }));
}

#[test]
fn ky005_weak_rsa() {
    let exponent = Make { key: Some("genpkey -algorithm RSA -pkeyopt rsa_keygen_pubexp:3"), ..KUBELET_CLIENT };
    breaks(&["KY005 error"], client(exponent));
    // A modulus as the broken generator makes them: 65537^a modulo the product of the small primes, plus a multiple of it.
    breaks(&["KY005 error", "KY006 error"], |pki| {
        let product: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
        let modulus = crate::keys::multiple_plus_one(&product, 2048);
        pki.write(
            "weak.cnf",
            &format!(
                "asn1=SEQUENCE:spki\n[spki]\na=SEQUENCE:alg\nk=BITWRAP,SEQUENCE:rsa\n[alg]\n\
            o=OID:rsaEncryption\np=NULL\n[rsa]\nn=INTEGER:0x{modulus}\ne=INTEGER:0x10001\n"
            ),
        );
        pki.openssl("asn1parse -genconf weak.cnf -noout -out weak.der");
        pki.openssl("pkey -pubin -inform DER -in weak.der -pubout -out weak");
        forced(pki, "weak");
        ["weak.cnf", "weak.der"].iter().for_each(|file| pki.remove(file));
    });
}

/// The API server's client certificate with a public key that nobody has to have.
fn forced(pki: &Pki, public: &str) {
    pki.write("ext", CLIENT);
    pki.openssl("req -new -key pki/apiserver-kubelet-client.key -subj /CN=kube-apiserver-kubelet-client -out request");
    pki.openssl(&format!(
        "x509 -req -in request -force_pubkey {public} -CA pki/ca.crt -CAkey pki/ca.key -days 300 -extfile ext \
         -out pki/apiserver-kubelet-client.crt"
    ));
}

/// `k·M + 1` with `bits` bits, in hex, where M is the product of `primes`: a power of anything modulo each of them.
pub fn multiple_plus_one(primes: &[u32], bits: usize) -> String {
    // Little-endian octets of a number that is multiplied by each prime, and then by 257 until it is long enough.
    let mut number = vec![1u8];
    let times = |number: &mut Vec<u8>, factor: u32| {
        let mut carry = 0u32;
        for octet in number.iter_mut() {
            carry += u32::from(*octet) * factor;
            *octet = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        while carry > 0 {
            number.push(carry.to_le_bytes()[0]);
            carry >>= 8;
        }
    };
    primes.iter().for_each(|prime| times(&mut number, *prime));
    times(&mut number, 2);
    while number.len() < bits / 8 + 1 {
        times(&mut number, 251);
    }
    number[0] |= 1; // even until now
    number.iter().rev().map(|octet| format!("{octet:02X}")).collect()
}

#[test]
fn ky006_a_key_of_something_else() {
    breaks(&["KY006 error"], |pki| pki.openssl(&format!("{P256} -out pki/apiserver.key")));
}

#[test]
fn ky007_and_ky008_keys_that_are_used_twice() {
    breaks(&["KY007 attention"], |pki| {
        pki.write("pki/etcd/peer.key", &pki.read("pki/etcd/server.key"));
        let member = crate::pki::member();
        let make = Make { subject: "/CN=cp-1", extensions: &member, issuer: Some("pki/etcd/ca"), key: None, ..LEAF };
        pki.make("pki/etcd/peer", &make);
    });
    breaks(&["KY008 error"], |pki| {
        pki.write("pki/apiserver-kubelet-client.key", &pki.read("pki/ca.key"));
        pki.make("pki/apiserver-kubelet-client", &Make { key: None, ..KUBELET_CLIENT });
    });
}

#[test]
fn ky009_keys_that_nothing_loads() {
    breaks(&["KY009 error"], |pki| {
        pki.openssl("pkey -in pki/apiserver.key -aes256 -passout pass:secret -out locked");
        pki.write("pki/apiserver.key", &pki.read("locked"));
    });
    breaks(&["KY009 error"], |pki| {
        pki.openssl("ec -in pki/apiserver.key -aes256 -passout pass:secret -out locked");
        pki.write("pki/apiserver.key", &pki.read("locked"));
    });
    breaks(&["KY009 error"], |pki| {
        pki.write("pki/apiserver.key", &pki.read("pki/apiserver.key").replace("PRIVATE", "ED25519 PRIVATE"));
    });
    breaks(&[], |pki| {
        pki.openssl("ec -in pki/apiserver.key -out plain");
        pki.write("pki/apiserver.key", &pki.read("plain"));
    });
}

#[test]
fn ky010_modes() {
    let mode = |pki: &Pki, place: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(pki.at(place), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    breaks(&["KY010 error"], |pki| mode(pki, "pki/ca.key", 0o640));
    breaks(&["KY010 error"], |pki| mode(pki, "admin.conf", 0o644));
    breaks(&[], |pki| mode(pki, "pki/ca.key", 0o400));
    breaks(&[], |pki| mode(pki, "pki/ca.crt", 0o666));
}

#[test]
fn ky011_ky012_and_ky014_service_accounts() {
    let publics = |pki: &Pki, from: &str| pki.openssl(&format!("pkey -in {from} -pubout -out pki/sa.pub"));
    breaks(&["KY011 error", "KY012 error"], |pki| publics(pki, "pki/apiserver.key"));
    breaks(&["KY012 error"], |pki| {
        pki.write("pki/sa.key", &pki.read("pki/apiserver.key"));
        publics(pki, "pki/sa.key");
    });
    breaks(&["KY014 error"], |pki| {
        pki.openssl("genpkey -algorithm ED25519 -out pki/sa.key");
        publics(pki, "pki/sa.key");
    });
    let former = |pki: &Pki| {
        pki.openssl(&format!("{P256} -out former"));
        pki.openssl("pkey -in former -pubout -out former.txt");
        let text = pki.read("former.txt");
        pki.remove("former");
        pki.remove("former.txt");
        text
    };
    breaks(&["KY011 error"], |pki| pki.write("pki/sa.pub", &format!("{}{}", former(pki), pki.read("pki/sa.pub"))));
    breaks(&[], |pki| pki.write("pki/sa.pub", &format!("{}{}", pki.read("pki/sa.pub"), former(pki))));
}

#[test]
fn ky015_ky016_and_ky017_serial_numbers() {
    breaks(&["KY015 note"], client(Make { serial: Some("01"), ..KUBELET_CLIENT }));
    breaks(&["KY015 note"], client(Make { serial: Some("7FFFFFFFFFFFFFFF"), ..KUBELET_CLIENT }));
    breaks(&[], client(Make { serial: Some("FFFFFFFFFFFFFFFF"), ..KUBELET_CLIENT }));
    for (number, rules) in [
        ("0", &["KY016 error"][..]),
        ("-81985529216486895", &["KY016 error"]),
        ("0x7F0102030405060708090A0B0C0D0E0F1011121314", &["KY016 error"]),
    ] {
        breaks(rules, |pki| {
            pki.write("ext", CLIENT);
            pki.openssl(
                "req -new -key pki/apiserver-kubelet-client.key -subj /CN=kube-apiserver-kubelet-client -out request",
            );
            pki.openssl(&format!(
                "x509 -req -in request -CA pki/ca.crt -CAkey pki/ca.key -days 300 -extfile ext \
                -set_serial {number} -out pki/apiserver-kubelet-client.crt"
            ));
            pki.remove("ext");
            pki.remove("request");
        });
    }
    let serial = Some("5A0102030405060708090A0B0C0D0E0F");
    breaks(&["KY017 error"], |pki| {
        pki.make("pki/apiserver-kubelet-client", &Make { serial, ..KUBELET_CLIENT });
        pki.access(
            "scheduler.conf",
            "https://10.0.0.11:6443",
            &Make { subject: "/CN=system:kube-scheduler", serial, ..LEAF },
        );
    });
}

#[test]
fn ky018_an_elliptic_key_that_enciphers() {
    breaks(&["KY018 note"], |pki| {
        let extensions = CLIENT.replace("digitalSignature", "digitalSignature,keyEncipherment");
        pki.make("pki/apiserver-kubelet-client", &Make { extensions: &extensions, ..KUBELET_CLIENT });
    });
}

#[test]
fn ky019_signatures_that_go_does_not_know() {
    let proxy = |words: &'static str| {
        move |pki: &Pki| {
            let key = Some("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072");
            pki.make("pki/front-proxy-ca", &Make { subject: "/CN=front-proxy-ca-g1", key, ..AUTHORITY });
            let make = Make { subject: "/CN=front-proxy-client", issuer: Some("pki/front-proxy-ca"), words, ..LEAF };
            pki.make("pki/front-proxy-client", &make);
        }
    };
    breaks(&["KY019 error"], proxy("-sigopt rsa_padding_mode:pss"));
    breaks(&[], proxy("-md sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -sigopt rsa_mgf1_md:sha256"));
    breaks(&["KY006 error", "KY019 error"], |pki| {
        pki.openssl("genpkey -algorithm X25519 -out other");
        pki.openssl("pkey -in other -pubout -out public");
        forced(pki, "public");
    });
}

#[test]
fn rd001_what_can_not_be_read() {
    breaks(&["RD001 error"], |pki| pki.write("pki/extra.crt", "hello"));
    breaks(&["RD001 error"], |pki| {
        let broken = pki.read("pki/etcd/ca.crt").replace("-----END CERTIFICATE-----", "");
        pki.write("pki/extra.pem", &broken);
    });
    breaks(&["RD001 error"], |pki| pki.write("extra.conf", "clusters: []\nusers: 3\nserver: x\n"));
    breaks_with("--rule KY001", &[], |pki| pki.write("pki/extra.crt", "hello"));
}
