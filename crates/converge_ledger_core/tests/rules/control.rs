//! What the payloads of control entries state.

use converge_ledger_core::control::{erased_entries, ControlKey, ErasedEntry, Resolve, Takeover};
use converge_ledger_core::Hash;

#[test]
fn control_keys_are_exactly_three() {
    for (key, control) in [
        ("$takeover", ControlKey::Takeover),
        ("$erase", ControlKey::Erase),
        ("$resolve", ControlKey::Resolve),
    ] {
        assert_eq!(ControlKey::from_key(key), Some(control));
        assert_eq!(control.as_str(), key);
    }
    for key in ["", "$", "takeover", "$takeover ", "$Takeover", "$other"] {
        assert_eq!(ControlKey::from_key(key), None, "{key}");
    }
}

#[test]
fn a_takeover_states_size_and_root() {
    let root = Hash::from_bytes([0xab; 32]);
    let payload = |root: &str| {
        format!(r#"{{"size":7,"rfc6962":"{root}","previous_owner":"a","reason":"fire"}}"#)
    };
    let takeover = Takeover {
        size: 7,
        rfc6962: root,
    };
    let text = payload(&root.to_string());
    assert_eq!(Takeover::from_payload(text.as_bytes()), Some(takeover));
    let upper = payload(&root.to_string().to_uppercase());
    for other in [
        upper.as_str(),
        "",
        "{}",
        "[]",
        "{\"size\":7}",
        "\u{fffd}",
        &text[1..],
    ] {
        assert_eq!(Takeover::from_payload(other.as_bytes()), None, "{other}");
    }
    assert_eq!(
        Takeover::from_payload(text.replace(":7", ":7.0").as_bytes()),
        None
    );
    assert_eq!(
        Takeover::from_payload(text.replace(":7", ":-7").as_bytes()),
        None
    );
    assert_eq!(Takeover::from_payload(b"\xff"), None);
}

#[test]
fn a_resolve_is_written_as_the_format_says() {
    let resolve = Resolve {
        size: 7,
        rfc6962: Hash::from_bytes([0x0f; 32]),
        abandoned: Hash::from_bytes([0xa0; 32]),
    };
    let payload = resolve.to_payload("\"both\" went on \u{2028}").unwrap();
    let (root, abandoned) = ("0f".repeat(32), "a0".repeat(32));
    let expected = format!(
        r#"{{"size":7,"rfc6962":"{root}","abandoned":"{abandoned}","reason":"\"both\" went on {}"}}"#,
        '\u{2028}'
    );
    assert_eq!(payload, expected);
    assert_eq!(Resolve::from_payload(payload.as_bytes()), Some(resolve));
    for missing in ["size", "rfc6962", "abandoned"] {
        let other = payload.replace(missing, "other");
        assert_eq!(Resolve::from_payload(other.as_bytes()), None, "{missing}");
    }
}

#[test]
fn a_takeover_is_written_as_the_format_says() {
    let takeover = Takeover {
        size: 9_007_199_254_740_990,
        rfc6962: Hash::from_bytes([0x0f; 32]),
    };
    let root = "0f".repeat(32);
    let expected = |owner: &str, reason: &str| {
        format!(
            r#"{{"size":9007199254740990,"rfc6962":"{root}","previous_owner":"{owner}","reason":"{reason}"}}"#
        )
    };
    for (owner, reason, written_owner, written_reason) in [
        ("a", "burnt down", "a", "burnt down"),
        // Nothing is escaped but what JSON demands.
        ("é/<&>'\u{2028}", "日本 🔥", "é/<&>'\u{2028}", "日本 🔥"),
        (r#"a"b\c"#, r#"",""#, r#"a\"b\\c"#, r#"\",\""#),
        ("", "", "", ""),
    ] {
        let payload = takeover.to_payload(owner, reason).unwrap();
        assert_eq!(payload, expected(written_owner, written_reason));
        assert_eq!(Takeover::from_payload(payload.as_bytes()), Some(takeover));
        let value: serde_json::Value = serde_json::from_str(&payload).unwrap();
        assert_eq!(value["previous_owner"], owner);
        assert_eq!(value["reason"], reason);
        assert_eq!(value.as_object().unwrap().len(), 4);
    }
}

fn erased(payload: &[u8]) -> Option<Vec<ErasedEntry>> {
    erased_entries(payload).map(Iterator::collect)
}

#[test]
fn an_erasure_lists_sequences_and_leaves() {
    let leaf = Hash::from_bytes([0xcd; 32]);
    let text = format!(r#"{{"erased":[{{"sequence":3,"leaf":"{leaf}"}}],"reason":"Art. 17"}}"#);
    assert_eq!(
        erased(text.as_bytes()),
        Some(vec![ErasedEntry { sequence: 3, leaf }])
    );
    assert_eq!(erased(b"{\"erased\":[],\"reason\":\"\"}"), Some(Vec::new()));
    for other in [
        "",
        "{}",
        "{\"erased\":3}",
        "{\"erased\":[{\"sequence\":3}]}",
        &text[1..],
    ] {
        assert_eq!(erased(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn a_statement_is_an_object_with_each_member_once() {
    let hash = "0f".repeat(32);
    let takeover = format!(r#"{{"size":7,"rfc6962":"{hash}"}}"#);
    let resolve = format!(r#"{{"size":7,"rfc6962":"{hash}","abandoned":"{hash}"}}"#);
    let erasure = format!(r#"{{"erased":[{{"sequence":3,"leaf":"{hash}"}}]}}"#);
    assert!(Takeover::from_payload(takeover.as_bytes()).is_some());
    assert!(Resolve::from_payload(resolve.as_bytes()).is_some());
    assert!(erased_entries(erasure.as_bytes()).is_some());

    let read_by_all = |text: &str| {
        let text = text.as_bytes();
        [
            Takeover::from_payload(text).is_some(),
            Resolve::from_payload(text).is_some(),
            erased_entries(text).is_some(),
        ]
    };
    for text in [
        format!(r#"[7,"{hash}"]"#),
        format!(r#"[7,"{hash}","{hash}"]"#),
        format!(r#"[[{{"sequence":3,"leaf":"{hash}"}}]]"#),
        format!(r#"{{"erased":[[3,"{hash}"]]}}"#),
        format!("[{takeover}]"),
        format!("[{resolve}]"),
        format!("[{erasure}]"),
    ] {
        assert_eq!(read_by_all(&text), [false; 3], "{text}");
    }
    let quoted = format!("\"{hash}\"");
    let values = [
        ("size", "7"),
        ("rfc6962", &quoted),
        ("abandoned", &quoted),
        ("erased", "[]"),
        ("sequence", "3"),
        ("leaf", &quoted),
    ];
    for (reader, text) in [takeover, resolve, erasure].iter().enumerate() {
        let mut others = vec![
            text.replacen(":7", ":7e0", 1).replacen(":3", ":3e0", 1),
            text.replacen(":7", ":7.0", 1).replacen(":3", ":3.0", 1),
        ];
        for (member, value) in values {
            let name = format!("\"{member}\":");
            let twice = text.replacen(&name, &format!("{name}{value},{name}"), 1);
            others.extend((twice != *text).then_some(twice));
        }
        assert!(others.len() > 3);
        for other in others {
            assert!(!read_by_all(&other)[reader], "{other}");
        }
    }
}
